//! Rules of what repositories keep, and what they are asked about.

use seaworthy_model::Timestamp;
use seaworthy_oci::{RepoName, Tag};
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Table},
};

use crate::{
    lock::Ability,
    retention::{Exception, Newest, Place, RetentionRules, TagFacts},
};

pub(super) const RETENTION: Table = Table {
    name: "registry_retention",
    columns: &[
        // Repositories at or below it; empty: all.
        Column::text("prefix"),
        Column::text("rules"),
        Column::int("set_at"),
        Column::text("set_by"),
    ],
    primary_key: &["prefix"],
    indexes: &[],
};

/// Rules as they were set.
#[derive(Clone, Debug)]
pub(crate) struct RetentionRow {
    pub(crate) prefix: String,
    pub(crate) rules: RetentionRules,
    pub(crate) set_at: Timestamp,
    pub(crate) set_by: String,
}

pub(crate) async fn retention(db: &Db, most: i64) -> Result<Vec<RetentionRow>, DbError> {
    let sql = "SELECT prefix, rules, set_at, set_by FROM registry_retention ORDER BY prefix LIMIT $1";
    let rows = db.fetch_all(sql, args![most]).await?;
    rows.iter()
        .map(|row| {
            Ok(RetentionRow {
                prefix: row.text(0)?.to_owned(),
                rules: row.json(1)?,
                set_at: Timestamp::from_micros(row.int(2)?),
                set_by: row.text(3)?.to_owned(),
            })
        })
        .collect()
}

pub(crate) async fn count_retention(tx: &mut Tx<'_>) -> Result<i64, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM registry_retention", args![]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// Holds the rules: none is set or removed until the transaction has ended. As [`super::hold_rules`].
pub(crate) async fn hold_retention(tx: &mut Tx<'_>) -> Result<(), DbError> {
    tx.lock_table("LOCK TABLE registry_retention IN ROW SHARE MODE").await
}

/// [`hold_retention`] for who sets or removes some.
pub(crate) async fn hold_retention_alone(tx: &mut Tx<'_>) -> Result<(), DbError> {
    tx.lock_table_alone("LOCK TABLE registry_retention IN EXCLUSIVE MODE").await
}

/// The rules of a repository. Behind [`hold_retention`].
pub(crate) async fn retention_of(
    tx: &mut Tx<'_>,
    repository: &RepoName,
) -> Result<Option<RetentionRules>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT rules FROM registry_retention WHERE prefix = '' OR prefix = $1
             OR substr($1, 1, length(prefix) + 1) = prefix || '/' ORDER BY length(prefix) DESC LIMIT 1",
            args![repository.as_str()],
        )
        .await?;
    row.map(|row| row.json(0)).transpose()
}

/// Sets the rules of a prefix, and has its repositories looked at.
pub(crate) async fn set_retention(
    tx: &mut Tx<'_>,
    (prefix, rules): (&str, &str),
    by: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_retention (prefix, rules, set_at, set_by) VALUES ($1, $2, $3, $4)
         ON CONFLICT (prefix) DO UPDATE SET rules = $2, set_at = $3, set_by = $4",
        args![prefix, rules, now.as_micros(), by],
    )
    .await?;
    // A slash is followed by a nought in the order of bytes.
    let (first, last) = (format!("{prefix}/"), format!("{prefix}0"));
    tx.execute(
        "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
         SELECT 'repository', path, '', CAST($4 AS BIGINT), 0, 'retention', 0 FROM registry_repositories
         WHERE $1 = '' OR path = $1 OR (path >= $2 AND path < $3)
         ON CONFLICT (kind, repository, digest) DO UPDATE SET due = excluded.due,
             epoch = registry_reviews.epoch + 1",
        args![prefix, &first, &last, now.as_micros()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn remove_retention(tx: &mut Tx<'_>, prefix: &str) -> Result<bool, DbError> {
    let sql = "DELETE FROM registry_retention WHERE prefix = $1";
    Ok(tx.execute(sql, args![prefix]).await? == 1)
}

/// A tag `t` is named after a manifest that it does not point at: [`names_another`].
macro_rules! names_another {
    () => {
        "(SUBSTR(t.name, 1, 7) IN ('sha256-', 'sha512-') AND LENGTH(t.name) >= 71
             AND LTRIM(SUBSTR(t.name, 8, 64), '0123456789abcdef') = '' AND SUBSTR(t.name, 72, 1) IN ('', '.')
             AND SUBSTR(t.digest, 1, 71) <> SUBSTR(t.name, 1, 6) || ':' || SUBSTR(t.name, 8, 64))"
    };
}

/// A tag `t` of a manifest `m` is a signature, or the like, of a manifest that is here.
macro_rules! has_subject {
    () => {
        concat!(
            "(EXISTS (SELECT 1 FROM registry_manifests AS s
                 WHERE s.repository = t.repository AND s.digest = m.subject) OR ",
            names_another!(),
            " AND EXISTS (SELECT 1 FROM registry_manifests AS s WHERE s.repository = t.repository
                 AND s.digest >= SUBSTR(t.name, 1, 6) || ':' || SUBSTR(t.name, 8, 64)
                 AND s.digest < SUBSTR(t.name, 1, 6) || ':' || SUBSTR(t.name, 8, 64) || 'g'))"
        )
    };
}

macro_rules! tag_facts {
    ($rest:literal) => {
        concat!(
            "SELECT t.name, t.digest, t.updated_at, p.last_pull,
                 COALESCE(t.locks, 0) | COALESCE(m.locks, 0) | COALESCE(r.locks, 0), ",
            has_subject!(),
            " FROM registry_tags AS t
             LEFT JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
             LEFT JOIN registry_pulls AS p ON p.repository = t.repository AND p.digest = t.digest
             LEFT JOIN registry_repositories AS r ON r.path = t.repository
             WHERE t.repository = $1 ",
            $rest
        )
    };
}

/// What is known of a repository's tags after one, in order. Whether a container runs one is not.
pub(crate) async fn tags_to_judge(
    db: &Db,
    repository: &RepoName,
    after: &str,
    most: i64,
) -> Result<Vec<TagFacts>, DbError> {
    let sql = tag_facts!("AND t.name > $2 ORDER BY t.name LIMIT $3");
    let rows = db.fetch_all(sql, args![repository.as_str(), after, most]).await?;
    rows.iter().map(read_tag).collect()
}

/// The same of one tag, as the transaction sees it.
pub(crate) async fn tag_to_judge(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<TagFacts>, DbError> {
    let sql = tag_facts!("AND t.name = $2");
    let row = tx.fetch_optional(sql, args![repository.as_str(), tag.as_str()]).await?;
    row.map(|row| read_tag(&row)).transpose()
}

macro_rules! nth_newest {
    ($and:expr) => {
        concat!(
            "SELECT t.updated_at, t.name FROM registry_tags AS t
             LEFT JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
             WHERE t.repository = $1 AND NOT ",
            has_subject!(),
            $and,
            " ORDER BY t.updated_at DESC, t.name DESC LIMIT 1 OFFSET $2"
        )
    };
}

pub(super) const NTH_NEWEST: &str = nth_newest!("");

pub(super) const NTH_NEWEST_OWN: &str = nth_newest!(concat!(" AND NOT ", names_another!()));

/// The tags of a repository that were set last, `most` of them. It reads those and the signatures between them.
pub(crate) async fn newest(db: &Db, repository: &RepoName, most: u32) -> Result<Newest, DbError> {
    let Some(before) = most.checked_sub(1) else { return Ok(Newest::default()) };
    let last = async |sql: &'static str| {
        let row = db.fetch_optional(sql, args![repository.as_str(), i64::from(before)]).await?;
        // Of fewer all are.
        let Some(row) = row else { return Ok((Timestamp::from_micros(i64::MIN), String::new())) };
        Ok::<Place, DbError>((Timestamp::from_micros(row.int(0)?), row.text(1)?.to_owned()))
    };
    Ok(Newest { all: Some(last(NTH_NEWEST).await?), own: Some(last(NTH_NEWEST_OWN).await?) })
}

fn read_tag(row: &Row) -> Result<TagFacts, DbError> {
    // What nobody may read is not collected either: see `db::fates`.
    let keeping = Ability::Delete.bit() | Ability::Write.bit() | Ability::Read.bit();
    let locked = row.int(4)? & keeping != 0;
    Ok(TagFacts {
        name: row.text(0)?.to_owned(),
        digest: row.parsed(1)?,
        set_at: Timestamp::from_micros(row.int(2)?),
        last_pull: row.int_opt(3)?.map(Timestamp::from_micros),
        has_subject: row.int(5)? != 0,
        exception: locked.then_some(Exception::Locked),
    })
}
