//! Rules of repositories.

use seaworthy_model::Prefix;
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use super::holdings::{count_usage, forget_usage, read_quota};
use crate::{limit, rules::RepositoryRules};

/// The tables that [`rules`] reads.
pub(crate) const RULES_IN: &[&str] = &["registry_rules"];

/// Holds the rules of all repositories: none is set until the transaction has ended, so what it does is done before any
/// that is told. Before its first query, which decides what it sees.
pub(crate) async fn hold_rules(tx: &mut Tx<'_>) -> Result<(), DbError> {
    tx.lock_table("LOCK TABLE registry_rules IN ROW SHARE MODE").await
}

/// [`hold_rules`] for who sets some: waits for all who write by the old ones.
pub(crate) async fn hold_rules_alone(tx: &mut Tx<'_>) -> Result<(), DbError> {
    tx.lock_table_alone("LOCK TABLE registry_rules IN EXCLUSIVE MODE").await
}

/// All rules, in order of their prefixes.
pub(crate) async fn rules(db: &Db) -> Result<Vec<RepositoryRules>, DbError> {
    let sql = "SELECT prefix, promotion_only, immutable, quota_bytes, quota_tags, quota_repositories, COALESCE(quarantine, 0)
         FROM registry_rules ORDER BY prefix";
    db.fetch_all(sql, args![]).await?.iter().map(read).collect()
}

/// Those that hold for `repository`.
pub(crate) async fn rules_for(
    tx: &mut Tx<'_>,
    repository: &RepoName,
) -> Result<Vec<RepositoryRules>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT prefix, promotion_only, immutable, quota_bytes, quota_tags, quota_repositories, COALESCE(quarantine, 0)
             FROM registry_rules WHERE prefix = '*' OR prefix = $1
             OR substr($1, 1, length(prefix) + 1) = prefix || '/' ORDER BY prefix",
            args![repository.as_str()],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Those that are set for just this prefix.
pub(crate) async fn rules_at(tx: &mut Tx<'_>, prefix: &Prefix) -> Result<Option<RepositoryRules>, DbError> {
    let sql = "SELECT prefix, promotion_only, immutable, quota_bytes, quota_tags, quota_repositories, COALESCE(quarantine, 0)
         FROM registry_rules WHERE prefix = $1";
    tx.fetch_optional(sql, args![&prefix.to_string()]).await?.map(|row| read(&row)).transpose()
}

fn read(row: &Row) -> Result<RepositoryRules, DbError> {
    Ok(RepositoryRules {
        prefix: row.parsed(0)?,
        promotion_only: row.int(1)? != 0,
        immutable: row.json(2)?,
        quota: read_quota(row, 3)?,
        quarantine: row.int(6)? != 0,
    })
}

pub(crate) async fn count_rules(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM registry_rules", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

pub(crate) async fn put_rules(tx: &mut Tx<'_>, it: &RepositoryRules) -> Result<(), DbError> {
    let immutable = serde_json::to_string(&it.immutable).unwrap_or_default();
    let prefix = it.prefix.to_string();
    let [bytes, tags, repositories] = [it.quota.bytes, it.quota.tags, it.quota.repositories]
        .map(|it| it.and_then(|it| i64::try_from(it).ok()));
    tx.execute(
        "INSERT INTO registry_rules (prefix, promotion_only, immutable, quota_bytes, quota_tags, quota_repositories,
             quarantine)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (prefix) DO UPDATE SET promotion_only = $2, immutable = $3,
             quota_bytes = $4, quota_tags = $5, quota_repositories = $6, quarantine = $7",
        args![&prefix, it.promotion_only, &immutable, bytes, tags, repositories, it.quarantine],
    )
    .await?;
    if it.quota.is_none() { forget_usage(tx, &prefix).await } else { count_usage(tx, &it.prefix).await }
}

pub(crate) async fn remove_rules(tx: &mut Tx<'_>, prefix: &str) -> Result<bool, DbError> {
    forget_usage(tx, prefix).await?;
    Ok(tx.execute("DELETE FROM registry_rules WHERE prefix = $1", args![prefix]).await? == 1)
}

/// What a tag stands for.
pub(crate) async fn target_of(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<Digest>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT digest FROM registry_tags WHERE repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    row.map(|row| row.parsed(0)).transpose()
}

/// The tags that point at a manifest, the first [`limit::TOLD_TAGS`] of them.
pub(crate) async fn tags_on_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Vec<Tag>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT name FROM registry_tags WHERE repository = $1 AND digest = $2 ORDER BY name LIMIT $3",
            args![repository.as_str(), &digest.to_string(), limit::TOLD_TAGS],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// Tags of a repository, or of one manifest of it and of the indexes above it (two levels), in name order
/// after `after`.
pub(crate) async fn tags_on(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: Option<&Digest>,
    (after, most): (&str, i64),
) -> Result<Vec<Tag>, DbError> {
    let digest = digest.map(ToString::to_string);
    let rows = tx
        .fetch_all(
            concat!(
                "SELECT name FROM registry_tags WHERE repository = $1 AND name > $3 AND ",
                is_or_is_above!(),
                " ORDER BY name LIMIT $4"
            ),
            args![repository.as_str(), digest.as_deref().unwrap_or_default(), after, most],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}
