//! Rows of blobs one after the other: for looking after their bytes, and for telling of them.

use seaworthy_model::{Timestamp, UploadId};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{BlobCopy, Db, DbError, Row, Tx, args};

use super::blobs::{BlobRow, read_blob};
use crate::NameRange;

/// Blobs after a digest, in order, whose bytes were not read since then; of damaged ones, since the second
/// time.
pub(crate) async fn blobs_page(
    db: &Db,
    after: &str,
    (read_before, damaged_before): (Timestamp, Timestamp),
    most: i64,
) -> Result<Vec<BlobRow>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT copy, size, state, generation, pinned_until, changed_at, damage, digest
             FROM registry_blobs WHERE digest > $1
               AND COALESCE(scrubbed_at, 0) < CASE WHEN damage IS NULL THEN $2 ELSE $3 END
             ORDER BY digest LIMIT $4",
            args![after, read_before.as_micros(), damaged_before.as_micros(), most],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let digest: Digest = row.parsed(7)?;
            read_blob(&digest, row)
        })
        .collect()
}

/// Notes that a copy's bytes were read and are right.
pub(crate) async fn set_scrubbed(tx: &mut Tx<'_>, row: &BlobRow, now: Timestamp) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_blobs SET scrubbed_at = $3 WHERE digest = $1 AND generation = $2",
        args![&row.copy.digest.to_string(), row.generation, now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Notes that a copy's bytes cannot be served; false when it is another by now.
pub(crate) async fn set_damage(
    tx: &mut Tx<'_>,
    row: &BlobRow,
    damage: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_blobs SET damage = $3, generation = generation + 1, scrubbed_at = $4
             WHERE digest = $1 AND generation = $2 AND state <> 'deleting'",
            args![&row.copy.digest.to_string(), row.generation, damage, now.as_micros()],
        )
        .await?;
    Ok(changed == 1)
}

/// Notes that a copy's bytes are right again; false when it is another by now.
pub(crate) async fn clear_damage(tx: &mut Tx<'_>, row: &BlobRow, now: Timestamp) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_blobs SET damage = NULL, generation = generation + 1, scrubbed_at = $3
             WHERE digest = $1 AND generation = $2 AND state <> 'deleting' AND damage IS NOT NULL",
            args![&row.copy.digest.to_string(), row.generation, now.as_micros()],
        )
        .await?;
    Ok(changed == 1)
}

/// Has a blob's row name another copy, which is whole; false when it is another row by now.
pub(crate) async fn adopt(
    tx: &mut Tx<'_>,
    row: &BlobRow,
    copy: &BlobCopy,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_blobs SET copy = $3, damage = NULL, generation = generation + 1, scrubbed_at = $4
             WHERE digest = $1 AND generation = $2 AND state <> 'deleting'",
            args![
                &copy.digest.to_string(),
                row.generation,
                copy.upload.as_ref().map(UploadId::as_bytes),
                now.as_micros()
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// A manifest whose bytes are to be looked at.
pub(crate) struct HeldManifest {
    pub(crate) repository: RepoName,
    pub(crate) digest: Digest,
    /// By its row.
    pub(crate) size: u64,
    /// Of the bytes that are there, if any are.
    pub(crate) found: Option<u64>,
}

/// Manifests behind (`repository`, `digest`), in order.
pub(crate) async fn manifests_held(
    db: &Db,
    after: (&str, &str),
    most: i64,
) -> Result<Vec<HeldManifest>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT m.repository, m.digest, m.size, LENGTH(b.bytes) FROM registry_manifests AS m
             LEFT JOIN registry_manifest_bytes AS b ON b.digest = m.digest
             WHERE (m.repository, m.digest) > ($1, $2) ORDER BY m.repository, m.digest LIMIT $3",
            args![after.0, after.1, most],
        )
        .await?;
    let read = |row: &Row| {
        let found = row.int_opt(3)?.map(|length| u64::try_from(length).unwrap_or_default());
        Ok(HeldManifest { repository: row.parsed(0)?, digest: row.parsed(1)?, size: row.count(2)?, found })
    };
    rows.iter().map(read).collect()
}

/// Blobs that a manifest needs and that no row knows. What came from an upstream may not be here yet.
pub(crate) async fn unknown_blobs(
    db: &Db,
    repository: &RepoName,
    manifest: &Digest,
) -> Result<Vec<Digest>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT r.digest FROM registry_references AS r
             WHERE r.repository = $1 AND r.manifest = $2 AND r.kind IN ('config', 'layer', 'blob')
               AND NOT EXISTS (SELECT 1 FROM registry_blobs AS b WHERE b.digest = r.digest)
               AND NOT EXISTS (SELECT 1 FROM registry_cached AS c
                   WHERE c.repository = r.repository AND c.digest = r.manifest)
             ORDER BY r.digest",
            args![repository.as_str(), &manifest.to_string()],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// True when there is any blob.
pub(crate) async fn knows_blobs(db: &Db) -> Result<bool, DbError> {
    Ok(db.fetch_optional("SELECT 1 FROM registry_blobs LIMIT 1", args![]).await?.is_some())
}

/// How many blobs are damaged.
pub(crate) async fn count_damaged(db: &Db) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM registry_blobs WHERE damage IS NOT NULL";
    db.fetch_optional(sql, args![]).await?.map_or(Ok(0), |row| row.count(0))
}

/// A manifest that names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) repository: RepoName,
    pub(crate) manifest: Digest,
    pub(crate) kind: String,
    /// It was deleted, and can be restored.
    pub(crate) is_deleted: bool,
}

/// Manifests that name a digest, in a range of repositories.
pub(crate) async fn naming(
    db: &Db,
    digest: &Digest,
    range: &NameRange,
    most: i64,
) -> Result<Vec<Naming>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository, manifest, kind, 0 FROM registry_references
                 WHERE digest = $1 AND repository >= $3 AND repository < $4
             UNION ALL SELECT repository, manifest, CASE WHEN kind = 'held' THEN 'foreign' ELSE kind END, 1
                 FROM registry_deleted_references
                 WHERE digest = $1 AND kind <> 'subject' AND repository >= $3 AND repository < $4
             ORDER BY 1, 2, 3 LIMIT $2",
            args![&digest.to_string(), most, range.first.as_str(), range.end.as_str()],
        )
        .await?;
    read_naming(&rows)
}

/// Manifests that name a blob and open it, in a range of repositories: see [`super::Reaching::Opens`].
pub(crate) async fn naming_blob(
    db: &Db,
    digest: &Digest,
    range: &NameRange,
    most: i64,
) -> Result<Vec<Naming>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT n.repository, n.manifest, n.kind, n.deleted FROM
                 (SELECT repository, manifest, kind, digest, 0 AS deleted FROM registry_references
                  WHERE digest = $1 AND repository >= $3 AND repository < $4
                  UNION ALL SELECT repository, manifest, kind, digest, 1 FROM registry_deleted_references
                  WHERE digest = $1 AND repository >= $3 AND repository < $4) AS n
             WHERE n.kind NOT IN ('foreign', 'held', 'subject')
               AND CASE WHEN EXISTS (SELECT 1 FROM registry_cached AS c
                       WHERE c.repository = n.repository AND c.digest = n.manifest)
                   THEN EXISTS (SELECT 1 FROM registry_links AS l
                       WHERE l.repository = n.repository AND l.digest = n.digest AND l.reader = 1)
                   ELSE n.kind <> 'child' END
             ORDER BY 1, 2, 3 LIMIT $2",
            args![&digest.to_string(), most, range.first.as_str(), range.end.as_str()],
        )
        .await?;
    read_naming(&rows)
}

fn read_naming(rows: &[Row]) -> Result<Vec<Naming>, DbError> {
    rows.iter()
        .map(|row| {
            Ok(Naming {
                repository: row.parsed(0)?,
                manifest: row.parsed(1)?,
                kind: row.text(2)?.to_owned(),
                is_deleted: row.int(3)? != 0,
            })
        })
        .collect()
}

/// Repositories that have a manifest, or had it and can have it back until then.
pub(crate) async fn manifest_places(
    db: &Db,
    digest: &Digest,
    range: &NameRange,
    most: i64,
) -> Result<Vec<(RepoName, Option<Timestamp>)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository, NULL FROM registry_manifests
             WHERE digest = $1 AND repository >= $3 AND repository < $4
             UNION ALL SELECT repository, until FROM registry_deleted
             WHERE digest = $1 AND kind = 'manifest' AND repository >= $3 AND repository < $4
             ORDER BY 1 LIMIT $2",
            args![&digest.to_string(), most, range.first.as_str(), range.end.as_str()],
        )
        .await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, row.int_opt(1)?.map(Timestamp::from_micros)))).collect()
}

/// Repositories that somebody brought a blob to, and when last.
pub(crate) async fn links(
    db: &Db,
    digest: &Digest,
    principal: &str,
    most: i64,
) -> Result<Vec<(RepoName, Timestamp)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository, linked_at FROM registry_links WHERE digest = $1 AND principal = $2
             ORDER BY repository LIMIT $3",
            args![&digest.to_string(), principal, most],
        )
        .await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, Timestamp::from_micros(row.int(1)?)))).collect()
}

/// A review as it waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) kind: String,
    pub(crate) repository: String,
    pub(crate) digest: String,
    pub(crate) reason: String,
}

/// Reviews that wait, after one, in order.
pub(crate) async fn waiting(db: &Db, after: (&str, &str, &str), most: i64) -> Result<Vec<Waiting>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT kind, repository, digest, reason FROM registry_reviews
             WHERE (kind, repository, digest) > ($1, $2, $3) ORDER BY kind, repository, digest LIMIT $4",
            args![after.0, after.1, after.2, most],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Waiting {
                kind: row.text(0)?.to_owned(),
                repository: row.text(1)?.to_owned(),
                digest: row.text(2)?.to_owned(),
                reason: row.text(3)?.to_owned(),
            })
        })
        .collect()
}

/// The review of a blob or a manifest.
pub(crate) async fn review_of(
    db: &Db,
    kind: &str,
    repository: &str,
    digest: &Digest,
) -> Result<Option<(Timestamp, String)>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT due, reason FROM registry_reviews WHERE kind = $1 AND repository = $2 AND digest = $3",
            args![kind, repository, &digest.to_string()],
        )
        .await?;
    row.map(|row| Ok((Timestamp::from_micros(row.int(0)?), row.text(1)?.to_owned()))).transpose()
}
