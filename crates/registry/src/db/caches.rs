//! Caches of other registries, and what came from them.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName, media};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use super::insert_link;
use crate::{CacheSettings, HostName, lock::Ability};

/// The tables that [`caches`] reads.
pub(crate) const CACHES_IN: &[&str] = &["registry_caches"];

/// A cache as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct CacheRow {
    pub(crate) settings: CacheSettings,
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) changed_at: Timestamp,
}

/// All caches, in order of their prefixes.
pub(crate) async fn caches(db: &Db) -> Result<Vec<CacheRow>, DbError> {
    let sql = "SELECT settings, sealed, changed_at FROM registry_caches ORDER BY prefix";
    let read = |row: &Row| {
        Ok(CacheRow {
            settings: row.json(0)?,
            sealed: row.bytes_opt(1)?.map(<[u8]>::to_vec),
            changed_at: Timestamp::from_micros(row.int(2)?),
        })
    };
    db.fetch_all(sql, args![]).await?.iter().map(read).collect()
}

/// The cache that a repository belongs to: the one with the longest prefix.
pub(crate) async fn cache_of(tx: &mut Tx<'_>, repository: &RepoName) -> Result<Option<String>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT prefix FROM registry_caches WHERE prefix = $1
             OR substr($1, 1, length(prefix) + 1) = prefix || '/' ORDER BY length(prefix) DESC LIMIT 1",
            args![repository.as_str()],
        )
        .await?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

pub(crate) async fn count_caches(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM registry_caches", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

pub(crate) async fn put_cache(tx: &mut Tx<'_>, row: &CacheRow) -> Result<(), DbError> {
    let settings = serde_json::to_string(&row.settings).unwrap_or_default();
    tx.execute(
        "INSERT INTO registry_caches (prefix, settings, sealed, changed_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (prefix) DO UPDATE SET settings = $2, sealed = $3, changed_at = $4",
        args![&row.settings.prefix.to_string(), &settings, row.sealed.as_deref(), row.changed_at.as_micros()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn remove_cache(tx: &mut Tx<'_>, prefix: &str) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM registry_caches WHERE prefix = $1", args![prefix]).await? == 1)
}

/// A repository at or below a prefix with a manifest that came from no upstream.
pub(crate) async fn pushed_below(tx: &mut Tx<'_>, prefix: &str) -> Result<Option<RepoName>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT m.repository FROM registry_manifests AS m
             WHERE (m.repository = $1 OR (m.repository > $1 || '/' AND m.repository < $1 || '0'))
               AND NOT EXISTS (SELECT 1 FROM registry_cached AS c
                   WHERE c.repository = m.repository AND c.digest = m.digest)
             ORDER BY m.repository LIMIT 1",
            args![prefix],
        )
        .await?;
    row.map(|row| row.parsed(0)).transpose()
}

/// A repository at or below a prefix with a manifest that came from elsewhere than `host/remote/…`, or `host/…`, and from
/// where. `pushed_by` of what came from an upstream is where it came from.
pub(crate) async fn came_from_elsewhere(
    tx: &mut Tx<'_>,
    prefix: &str,
    upstream: &str,
) -> Result<Option<(RepoName, String)>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT m.repository, m.pushed_by FROM registry_cached AS c
             JOIN registry_manifests AS m ON m.repository = c.repository AND m.digest = c.digest
             WHERE (c.repository = $1 OR (c.repository > $1 || '/' AND c.repository < $1 || '0'))
               AND m.pushed_by <> $2 || SUBSTR(c.repository, LENGTH($1) + 1)
             ORDER BY c.repository LIMIT 1",
            args![prefix, upstream],
        )
        .await?;
    row.map(|row| Ok((row.parsed(0)?, row.text(1)?.to_owned()))).transpose()
}

/// Marks a manifest as one that came from an upstream; what is known of it stays.
pub(crate) async fn mark_cached(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_cached (repository, digest, filled, tries) VALUES ($1, $2, 0, 0)
         ON CONFLICT (repository, digest) DO NOTHING",
        args![repository.as_str(), &digest.to_string()],
    )
    .await
    .map(|_| ())
}

/// Whether a manifest came from an upstream, and then whether all its blobs are here.
pub(crate) async fn filled(db: &Db, repository: &RepoName, digest: &Digest) -> Result<Option<bool>, DbError> {
    let row = db.fetch_optional(FILLED, args![repository.as_str(), &digest.to_string()]).await?;
    row.map(|row| Ok(row.int(0)? == 1)).transpose()
}

/// [`filled`] as the transaction sees it.
pub(crate) async fn filled_in(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<bool>, DbError> {
    let row = tx.fetch_optional(FILLED, args![repository.as_str(), &digest.to_string()]).await?;
    row.map(|row| Ok(row.int(0)? == 1)).transpose()
}

const FILLED: &str = "SELECT filled FROM registry_cached WHERE repository = $1 AND digest = $2";

/// Has an image fetched as a whole, from then on until it is done.
pub(crate) async fn fill_from(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    due: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_cached SET due = $3, tries = tries + 1
         WHERE repository = $1 AND digest = $2 AND filled = 0",
        args![repository.as_str(), &digest.to_string(), due.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Has an image fetched as a whole then, which was not tried now.
pub(crate) async fn put_off_fill(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    due: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_cached SET due = $3 WHERE repository = $1 AND digest = $2 AND filled = 0
           AND (due IS NULL OR due < $3)",
        args![repository.as_str(), &digest.to_string(), due.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Notes that an image is here as a whole; false when that was known.
pub(crate) async fn set_filled(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_cached SET filled = 1, due = NULL
             WHERE repository = $1 AND digest = $2 AND filled = 0",
            args![repository.as_str(), &digest.to_string()],
        )
        .await?;
    Ok(changed == 1)
}

/// Leaves an image alone that was deleted meanwhile.
pub(crate) async fn stop_fill(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_cached SET due = NULL WHERE repository = $1 AND digest = $2",
        args![repository.as_str(), &digest.to_string()],
    )
    .await
    .map(|_| ())
}

/// An image that is to be fetched as a whole, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueFill {
    pub(crate) due: Timestamp,
    pub(crate) repository: RepoName,
    pub(crate) digest: Digest,
}

const DUE_FILLS: &str = "SELECT due, repository, digest FROM registry_cached
     WHERE due <= $1 AND (due, repository, digest) > ($2, $3, $4)
     ORDER BY due, repository, digest LIMIT $5";

/// Images that are to be fetched as a whole now, those that are due for longest first: the ones behind `after`.
pub(crate) async fn due_fills(
    db: &Db,
    now: Timestamp,
    after: Option<&DueFill>,
    most: i64,
) -> Result<Vec<DueFill>, DbError> {
    let (due, repository, digest) = match after {
        Some(it) => (it.due.as_micros(), it.repository.as_str(), it.digest.to_string()),
        None => (i64::MIN, "", String::new()),
    };
    let rows = db.fetch_all(DUE_FILLS, args![now.as_micros(), due, repository, &digest, most]).await?;
    let read = |row: &Row| {
        Ok(DueFill {
            due: Timestamp::from_micros(row.int(0)?),
            repository: row.parsed(1)?,
            digest: row.parsed(2)?,
        })
    };
    rows.iter().map(read).collect()
}

/// How often it was tried to fetch an image as a whole.
pub(crate) async fn fill_tries(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<i64, DbError> {
    let sql = "SELECT tries FROM registry_cached WHERE repository = $1 AND digest = $2";
    let row = tx.fetch_optional(sql, args![repository.as_str(), &digest.to_string()]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// A manifest is none that came from an upstream any more.
pub(crate) async fn stop_caching(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<(), DbError> {
    let sql = "DELETE FROM registry_cached WHERE repository = $1 AND digest = $2";
    tx.execute(sql, args![repository.as_str(), &digest.to_string()]).await.map(|_| ())
}

const GIVEN: &str = "SELECT 1 FROM registry_links AS l JOIN registry_blobs AS b ON b.digest = l.digest
     WHERE l.digest = $1 AND l.principal = $2 AND l.reader = 1 AND b.state = 'live' AND b.damage IS NULL LIMIT 1";

/// True when a blob is here that `bearer` had the bytes of, for whichever repository.
pub(crate) async fn was_given(db: &Db, digest: &Digest, bearer: &str) -> Result<bool, DbError> {
    Ok(db.fetch_optional(GIVEN, args![&digest.to_string(), bearer]).await?.is_some())
}

/// Links a blob to `repository` that [`was_given`]; false when it is so no more. That `bearer` would give it for
/// this repository as well is the caller's to know.
pub(crate) async fn link_again(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    bearer: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    if tx.fetch_optional(GIVEN, args![&digest.to_string(), bearer]).await?.is_none() {
        return Ok(false);
    }
    insert_link(tx, repository, digest, bearer, now).await?;
    Ok(true)
}

/// True when a repository lacks a manifest that an index of it names.
pub(crate) async fn lacks_children(db: &Db, repository: &RepoName, index: &Digest) -> Result<bool, DbError> {
    let row = db
        .fetch_optional(
            "SELECT 1 FROM registry_references AS r
             WHERE r.repository = $1 AND r.manifest = $2 AND r.kind = 'child' AND NOT EXISTS
                 (SELECT 1 FROM registry_manifests AS m WHERE m.repository = $1 AND m.digest = r.digest) LIMIT 1",
            args![repository.as_str(), &index.to_string()],
        )
        .await?;
    Ok(row.is_some())
}

/// The indexes of a repository that list a digest, in order: those behind `after`.
pub(crate) async fn listing(
    db: &Db,
    (repository, digest): (&RepoName, &Digest),
    after: &str,
    most: i64,
) -> Result<Vec<Digest>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT manifest FROM registry_references
             WHERE digest = $1 AND repository = $2 AND manifest > $3 AND kind = 'child' ORDER BY manifest LIMIT $4",
            args![&digest.to_string(), repository.as_str(), after, most],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// Indexes that may be read and name manifests that the repository lacks, the newest first.
pub(crate) async fn indexes_lacking(
    db: &Db,
    repository: &RepoName,
    most: i64,
) -> Result<Vec<Digest>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT m.digest FROM registry_manifests AS m
             WHERE m.repository = $1 AND m.media_type IN ($2, $3) AND (COALESCE(m.locks, 0) & $4) = 0 AND EXISTS
                 (SELECT 1 FROM registry_references AS r
                  WHERE r.repository = $1 AND r.manifest = m.digest AND r.kind = 'child' AND NOT EXISTS
                     (SELECT 1 FROM registry_manifests AS c WHERE c.repository = $1 AND c.digest = r.digest))
             ORDER BY m.touched_at DESC, m.digest LIMIT $5",
            args![repository.as_str(), media::OCI_INDEX, media::DOCKER_LIST, Ability::Read.bit(), most],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// What `ns=` calls each cache's upstream, with the cache's prefix.
pub(crate) async fn ns_of_caches(tx: &mut Tx<'_>) -> Result<Vec<(String, HostName)>, DbError> {
    let rows = tx.fetch_all("SELECT settings FROM registry_caches", args![]).await?;
    let mut all = Vec::new();
    for row in &rows {
        let settings: CacheSettings = row.json(0)?;
        all.extend(settings.ns.into_iter().map(|host| (settings.prefix.to_string(), host)));
    }
    Ok(all)
}
