//! What was deleted and can come back, and its end.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use super::{deletion::Reason, reviews::enqueue_followers};
use crate::{NameRange, lock::Locks};

/// A deleted manifest as it was pushed.
pub(crate) struct DeletedManifest {
    pub(crate) media_type: String,
    pub(crate) pushed_at: Timestamp,
    pub(crate) pushed_by: String,
    pub(crate) deleted_at: Timestamp,
    pub(crate) until: Timestamp,
    /// Nobody asked for it: nothing led to it.
    pub(crate) is_collected: bool,
}

pub(crate) async fn deleted_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<DeletedManifest>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT media_type, pushed_at, pushed_by, deleted_at, until, reason FROM registry_deleted
             WHERE repository = $1 AND kind = 'manifest' AND name = '' AND digest = $2",
            args![repository.as_str(), &digest.to_string()],
        )
        .await?;
    row.map(|row| {
        Ok(DeletedManifest {
            media_type: row.text(0)?.to_owned(),
            pushed_at: Timestamp::from_micros(row.int(1)?),
            pushed_by: row.text(2)?.to_owned(),
            deleted_at: Timestamp::from_micros(row.int(3)?),
            until: Timestamp::from_micros(row.int(4)?),
            is_collected: row.text(5)? == Reason::Untagged.word(),
        })
    })
    .transpose()
}

/// The manifest that a deleted tag pointed at last, or `pointed_at` if it did.
pub(crate) async fn deleted_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    (tag, pointed_at): (&Tag, Option<&Digest>),
    now: Timestamp,
) -> Result<Option<Digest>, DbError> {
    let digest = pointed_at.map(ToString::to_string).unwrap_or_default();
    let row = tx
        .fetch_optional(
            "SELECT digest FROM registry_deleted WHERE repository = $1 AND kind = 'tag' AND name = $2 AND until > $3
             AND ($4 = '' OR digest = $4) ORDER BY deleted_at DESC, digest LIMIT 1",
            args![repository.as_str(), tag.as_str(), now.as_micros(), &digest],
        )
        .await?;
    row.map(|row| row.parsed(0)).transpose()
}

/// What belongs to a manifest, was deleted and can be restored `now`: its children, and what referred to it and was
/// deleted at the same time.
pub(crate) async fn deleted_parts(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    (manifest, deleted_at): (&Digest, Timestamp),
    now: Timestamp,
) -> Result<Vec<Digest>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT d.digest FROM registry_references AS f
             JOIN registry_deleted AS d ON d.repository = f.repository AND d.digest = f.digest
                 AND d.kind = 'manifest' AND d.name = ''
             WHERE f.repository = $1 AND f.manifest = $2 AND f.kind = 'child' AND d.until > $4
             UNION SELECT d.digest FROM registry_deleted_references AS f
             JOIN registry_deleted AS d ON d.repository = f.repository AND d.digest = f.manifest
                 AND d.kind = 'manifest' AND d.name = ''
             WHERE f.digest = $2 AND f.repository = $1 AND f.kind = 'subject' AND d.deleted_at = $3
                 AND d.until > $4
             ORDER BY 1",
            args![repository.as_str(), &manifest.to_string(), deleted_at.as_micros(), now.as_micros()],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// A manifest is back, or over: forgets that it was deleted, and returns the locks that it had. `None` when it was
/// not deleted. What only it kept is looked at.
pub(crate) async fn undelete_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<Locks>, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let sql = "DELETE FROM registry_deleted
         WHERE repository = $1 AND kind = 'manifest' AND name = '' AND digest = $2
         RETURNING COALESCE(locks, 0)";
    let rows = tx.fetch_all(sql, args![name, &text]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    tx.execute(
        "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
         SELECT DISTINCT 'blob', '', digest, CAST($3 AS BIGINT), 0, 'manifest', 0 FROM registry_deleted_references
         WHERE repository = $1 AND manifest = $2 AND kind NOT IN ('child', 'subject')
         ON CONFLICT (kind, repository, digest) DO UPDATE SET reason = excluded.reason,
             epoch = registry_reviews.epoch + 1,
             due = CASE WHEN registry_reviews.due < excluded.due THEN registry_reviews.due ELSE excluded.due END",
        args![name, &text, now.as_micros()],
    )
    .await?;
    let sql = "DELETE FROM registry_deleted_references WHERE repository = $1 AND manifest = $2";
    tx.execute(sql, args![name, &text]).await?;
    Ok(Some(Locks::from_bits(row.int(0)?)))
}

/// Brings the tags back that went with a manifest, unless they are others now; returns their names.
pub(crate) async fn undelete_tags(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    deleted_at: Timestamp,
) -> Result<Vec<Tag>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT name FROM registry_deleted WHERE repository = $1 AND kind = 'tag' AND digest = $2
             AND deleted_at = $3 ORDER BY name",
            args![repository.as_str(), &digest.to_string(), deleted_at.as_micros()],
        )
        .await?;
    let mut back = Vec::new();
    for row in &rows {
        let tag: Tag = row.parsed(0)?;
        if super::target_of(tx, repository, &tag).await?.is_none() {
            back.push(tag);
        }
    }
    Ok(back)
}

/// Forgets that a tag was deleted when it pointed at this manifest.
pub(crate) async fn undelete_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    digest: &Digest,
) -> Result<(), DbError> {
    let sql = "DELETE FROM registry_deleted
         WHERE repository = $1 AND kind = 'tag' AND name = $2 AND digest = $3";
    tx.execute(sql, args![repository.as_str(), tag.as_str(), &digest.to_string()]).await.map(|_| ())
}

/// Forgets deleted tags of a manifest whose time is over.
pub(crate) async fn purge_tags(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "DELETE FROM registry_deleted
         WHERE repository = $1 AND digest = $2 AND kind = 'tag' AND until <= $3";
    tx.execute(sql, args![repository.as_str(), &digest.to_string(), now.as_micros()]).await.map(|_| ())
}

/// Ends a deleted manifest for good: what only it kept is looked at.
pub(crate) async fn purge_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<(), DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    enqueue_followers(tx, repository, digest, now).await?;
    undelete_manifest(tx, repository, digest, now).await?;
    for sql in [
        // A tag alone cannot come back.
        "DELETE FROM registry_deleted WHERE repository = $1 AND digest = $2 AND kind = 'tag'",
        "DELETE FROM registry_pulls WHERE repository = $1 AND digest = $2",
        "DELETE FROM registry_cached WHERE repository = $1 AND digest = $2",
    ] {
        tx.execute(sql, args![name, &text]).await?;
    }
    tx.execute(
        "DELETE FROM registry_manifest_bytes WHERE digest = $1
         AND NOT EXISTS (SELECT 1 FROM registry_manifests WHERE digest = $1)
         AND NOT EXISTS (SELECT 1 FROM registry_deleted WHERE digest = $1 AND kind = 'manifest')",
        args![&text],
    )
    .await
    .map(|_| ())
}

/// One thing that was deleted, for lists.
#[derive(Clone, Debug)]
pub(crate) struct DeletedRow {
    pub(crate) repository: RepoName,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) media_type: Option<String>,
    pub(crate) deleted_at: Timestamp,
    pub(crate) deleted_by: String,
    pub(crate) reason: String,
    pub(crate) until: Timestamp,
}

/// A page of what was deleted in a range of repositories and can be restored `now`: after (repository, tag, digest).
pub(crate) async fn deleted_page(
    db: &Db,
    (range, now): (&NameRange, Timestamp),
    after: (&str, &str, &str),
    most: i64,
) -> Result<Vec<DeletedRow>, DbError> {
    let first = range.first.as_str().max(after.0);
    if first >= range.end.as_str() {
        return Ok(Vec::new());
    }
    let rows = db
        .fetch_all(
            "SELECT repository, name, digest, media_type, deleted_at, deleted_by, reason, until
             FROM registry_deleted WHERE repository >= $1 AND repository < $2
               AND (repository, name, digest) > ($3, $4, $5) AND until > $7
             ORDER BY repository, name, digest LIMIT $6",
            args![first, range.end.as_str(), after.0, after.1, after.2, most, now.as_micros()],
        )
        .await?;
    rows.iter().map(read_deleted).collect()
}

fn read_deleted(row: &Row) -> Result<DeletedRow, DbError> {
    Ok(DeletedRow {
        repository: row.parsed(0)?,
        tag: Some(row.text(1)?).filter(|name| !name.is_empty()).map(str::to_owned),
        digest: row.parsed(2)?,
        media_type: row.text_opt(3)?.map(str::to_owned),
        deleted_at: Timestamp::from_micros(row.int(4)?),
        deleted_by: row.text(5)?.to_owned(),
        reason: row.text(6)?.to_owned(),
        until: Timestamp::from_micros(row.int(7)?),
    })
}
