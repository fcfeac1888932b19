//! Taking tags, manifests and blobs out of a repository.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{DbError, Row, Tx, args};

use super::enqueue_named;

pub(crate) async fn delete_tag(tx: &mut Tx<'_>, repository: &RepoName, tag: &Tag) -> Result<bool, DbError> {
    let deleted = tx
        .execute(
            "DELETE FROM registry_tags WHERE repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    Ok(deleted == 1)
}

/// Deletes a manifest of a repository with its tags and references; false when it was not there.
pub(crate) async fn delete_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, DbError> {
    enqueue_named(tx, repository, Some(digest), now).await?;
    let (name, text) = (repository.as_str(), digest.to_string());
    tx.execute(
        "DELETE FROM registry_referrers WHERE repository = $1 AND digest = $2
         AND subject = (SELECT subject FROM registry_manifests WHERE repository = $1 AND digest = $2)",
        args![name, &text],
    )
    .await?;
    let deleted = tx
        .execute("DELETE FROM registry_manifests WHERE repository = $1 AND digest = $2", args![name, &text])
        .await?;
    tx.execute("DELETE FROM registry_tags WHERE repository = $1 AND digest = $2", args![name, &text]).await?;
    tx.execute("DELETE FROM registry_references WHERE repository = $1 AND manifest = $2", args![name, &text])
        .await?;
    tx.execute(
        "DELETE FROM registry_manifest_bytes WHERE digest = $1
         AND NOT EXISTS (SELECT 1 FROM registry_manifests WHERE digest = $1)",
        args![&text],
    )
    .await?;
    Ok(deleted == 1)
}

/// Takes a blob's links out of a repository; `None` when a manifest there still names it.
pub(crate) async fn unlink_blob(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<bool>, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let named = tx
        .fetch_optional(
            "SELECT 1 FROM registry_references WHERE repository = $1 AND digest = $2 LIMIT 1",
            args![name, &text],
        )
        .await?;
    if named.is_some() {
        return Ok(None);
    }
    let removed = tx
        .execute("DELETE FROM registry_links WHERE repository = $1 AND digest = $2", args![name, &text])
        .await?;
    Ok(Some(removed > 0))
}

/// The names that a repository holds.
#[derive(Debug)]
pub(crate) struct Emptied {
    pub(crate) manifests: Vec<String>,
    pub(crate) tags: Vec<String>,
}

/// Manifests and tags of a repository, at most `most` of each.
pub(crate) async fn names_in(tx: &mut Tx<'_>, repository: &RepoName, most: i64) -> Result<Emptied, DbError> {
    let manifests = tx
        .fetch_all(
            "SELECT digest FROM registry_manifests WHERE repository = $1 ORDER BY digest LIMIT $2",
            args![repository.as_str(), most],
        )
        .await?;
    let tags = tx
        .fetch_all(
            "SELECT name FROM registry_tags WHERE repository = $1 ORDER BY name LIMIT $2",
            args![repository.as_str(), most],
        )
        .await?;
    Ok(Emptied { manifests: texts(&manifests)?, tags: texts(&tags)? })
}

fn texts(rows: &[Row]) -> Result<Vec<String>, DbError> {
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Deletes a repository with all that it holds. Uploads that are under way end with their sessions.
pub(crate) async fn delete_repository(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    now: Timestamp,
) -> Result<(), DbError> {
    enqueue_named(tx, repository, None, now).await?;
    let name = repository.as_str();
    tx.execute(
        "DELETE FROM registry_manifest_bytes WHERE
             digest IN (SELECT digest FROM registry_manifests WHERE repository = $1)
             AND NOT EXISTS (SELECT 1 FROM registry_manifests AS m
                 WHERE m.digest = registry_manifest_bytes.digest AND m.repository <> $1)",
        args![name],
    )
    .await?;
    tx.execute("DELETE FROM registry_referrers WHERE repository = $1", args![name]).await?;
    tx.execute("DELETE FROM registry_tags WHERE repository = $1", args![name]).await?;
    tx.execute("DELETE FROM registry_references WHERE repository = $1", args![name]).await?;
    tx.execute("DELETE FROM registry_manifests WHERE repository = $1", args![name]).await?;
    tx.execute("DELETE FROM registry_links WHERE repository = $1", args![name]).await?;
    tx.execute("DELETE FROM registry_repositories WHERE path = $1", args![name]).await.map(|_| ())
}
