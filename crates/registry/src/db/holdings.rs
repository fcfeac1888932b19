//! What repositories hold, and what is used of quotas.
//!
//! A repository holds a blob once, from when it is brought there: as long as a manifest there names it, or
//! until it is found that none came. It holds its manifests and its tags. What was deleted is not held.

use seaworthy_model::Prefix;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use crate::quota::{Change, Quota, Usage};

/// Holds a blob that is here; what that adds.
pub(crate) async fn hold_blob(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    size: u64,
) -> Result<Change, DbError> {
    // Read and not left to a conflict, of which another transaction that lets go of it is not told.
    let sql = "SELECT 1 FROM registry_holdings WHERE repository = $1 AND digest = $2";
    if tx.fetch_optional(sql, args![repository.as_str(), &digest.to_string()]).await?.is_some() {
        return Ok(Change::default());
    }
    let added = tx
        .execute(
            "INSERT INTO registry_holdings (repository, digest, size) VALUES ($1, $2, $3)
             ON CONFLICT (repository, digest) DO NOTHING",
            args![repository.as_str(), &digest.to_string(), size],
        )
        .await?;
    Ok(if added == 1 { Change::bytes(size) } else { Change::default() })
}

/// True when a repository holds the blob.
pub(crate) async fn holds(db: &Db, repository: &RepoName, digest: &Digest) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM registry_holdings WHERE repository = $1 AND digest = $2";
    Ok(db.fetch_optional(sql, args![repository.as_str(), &digest.to_string()]).await?.is_some())
}

/// Holds the blobs that a manifest names. What is foreign is held where it was brought; and so is what comes
/// from an upstream.
pub(super) async fn hold_named(
    tx: &mut Tx<'_>,
    (repository, manifest): (&RepoName, &Digest),
    is_cached: bool,
) -> Result<Change, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT DISTINCT f.digest, b.size FROM registry_references AS f
             JOIN registry_blobs AS b ON b.digest = f.digest
             WHERE f.repository = $1 AND f.manifest = $2 AND b.state <> 'deleting'
               AND f.kind <> 'child' AND f.kind <> 'foreign'
               AND NOT EXISTS (SELECT 1 FROM registry_holdings AS h
                   WHERE h.repository = f.repository AND h.digest = f.digest)
               AND ($3 = 0 OR EXISTS (SELECT 1 FROM registry_links AS l
                   WHERE l.repository = f.repository AND l.digest = f.digest AND l.reader = 1))
             ORDER BY f.digest",
            args![repository.as_str(), &manifest.to_string(), is_cached],
        )
        .await?;
    let mut held = Change::default();
    for row in &rows {
        held = held.and(hold_blob(tx, repository, &row.parsed(0)?, row.count(1)?).await?);
    }
    Ok(held)
}

fn sum(rows: &[Row], column: usize) -> Result<Change, DbError> {
    rows.iter().try_fold(Change::default(), |sum, row| Ok(sum.and(Change::bytes(row.count(column)?))))
}

/// Lets go of manifests from `first` to `last` with their tags, and of the blobs that no other names: before
/// their rows are deleted.
pub(super) async fn let_go(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    (first, last): (&str, &str),
) -> Result<(), DbError> {
    let args = args![repository.as_str(), first, last];
    let row = tx
        .fetch_optional(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT),
                 (SELECT COUNT(*) FROM registry_tags WHERE repository = $1 AND digest >= $2 AND digest <= $3)
             FROM registry_manifests WHERE repository = $1 AND digest >= $2 AND digest <= $3",
            args,
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    let held = Change { bytes: row.int(0)?, tags: row.int(1)?, repositories: 0 };
    let blobs = tx
        .fetch_all(
            "DELETE FROM registry_holdings WHERE repository = $1
             AND digest IN (SELECT digest FROM registry_references
                 WHERE repository = $1 AND manifest >= $2 AND manifest <= $3 AND kind <> 'child')
             AND NOT EXISTS (SELECT 1 FROM registry_references AS o
                 WHERE o.repository = $1 AND o.digest = registry_holdings.digest AND o.kind <> 'child'
                   AND (o.manifest < $2 OR o.manifest > $3))
             RETURNING size",
            args,
        )
        .await?;
    adjust(tx, repository, held.and(sum(&blobs, 0)?).negated()).await
}

/// Lets go of all that a repository holds besides its manifests and tags, and of itself.
pub(super) async fn let_go_of_repository(tx: &mut Tx<'_>, repository: &RepoName) -> Result<(), DbError> {
    let blobs = tx
        .fetch_all(
            "DELETE FROM registry_holdings WHERE repository = $1 RETURNING size",
            args![repository.as_str()],
        )
        .await?;
    adjust(tx, repository, sum(&blobs, 0)?.and(Change::REPOSITORY).negated()).await
}

/// Lets go of a blob in one repository.
pub(super) async fn let_go_of_blob(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<(), DbError> {
    let sql = "DELETE FROM registry_holdings WHERE repository = $1 AND digest = $2 RETURNING size";
    let rows = tx.fetch_all(sql, args![repository.as_str(), &digest.to_string()]).await?;
    adjust(tx, repository, sum(&rows, 0)?.negated()).await
}

/// Lets go of a blob wherever no manifest names it.
pub(super) async fn let_go_of_unnamed(tx: &mut Tx<'_>, digest: &Digest) -> Result<(), DbError> {
    let rows = tx
        .fetch_all(
            "DELETE FROM registry_holdings WHERE digest = $1 AND NOT EXISTS
                 (SELECT 1 FROM registry_references AS f WHERE f.repository = registry_holdings.repository
                   AND f.digest = registry_holdings.digest AND f.kind <> 'child')
             RETURNING repository, size",
            args![&digest.to_string()],
        )
        .await?;
    for row in &rows {
        adjust(tx, &row.parsed(0)?, Change::bytes(row.count(1)?).negated()).await?;
    }
    Ok(())
}

/// True when some repository was brought the blob and no manifest there names it.
pub(crate) async fn is_brought_in_vain(tx: &mut Tx<'_>, digest: &Digest) -> Result<bool, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT 1 FROM registry_links AS l WHERE l.digest = $1 AND NOT EXISTS
                 (SELECT 1 FROM registry_references AS f
                  WHERE f.repository = l.repository AND f.digest = $1 AND f.kind <> 'child') LIMIT 1",
            args![&digest.to_string()],
        )
        .await?;
    Ok(row.is_some())
}

/// Forgets that a blob was brought to repositories where no manifest names it, nor would if it were restored.
pub(crate) async fn forget_brought(tx: &mut Tx<'_>, digest: &Digest) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM registry_links WHERE digest = $1 AND NOT EXISTS
             (SELECT 1 FROM registry_references AS f WHERE f.repository = registry_links.repository
               AND f.digest = $1 AND f.kind <> 'child')
         AND NOT EXISTS (SELECT 1 FROM registry_deleted_references AS d WHERE d.repository = registry_links.repository
               AND d.digest = $1 AND d.kind NOT IN ('child', 'subject'))",
        args![&digest.to_string()],
    )
    .await?;
    let_go_of_unnamed(tx, digest).await
}

const USAGE: &str = "SELECT u.prefix, u.bytes, u.tags, u.repositories,
         r.quota_bytes, r.quota_tags, r.quota_repositories
     FROM registry_usage AS u JOIN registry_rules AS r ON r.prefix = u.prefix
     WHERE u.prefix = '*' OR u.prefix = $1 OR substr($1, 1, length(u.prefix) + 1) = u.prefix || '/'
     ORDER BY u.prefix";

/// What is used of the quotas that hold for a repository.
pub(crate) async fn usage_for(tx: &mut Tx<'_>, repository: &RepoName) -> Result<Vec<Usage>, DbError> {
    tx.fetch_all(USAGE, args![repository.as_str()]).await?.iter().map(read_usage).collect()
}

/// [`usage_for`] outside of a transaction.
pub(crate) async fn usage_now(db: &Db, repository: &RepoName) -> Result<Vec<Usage>, DbError> {
    db.fetch_all(USAGE, args![repository.as_str()]).await?.iter().map(read_usage).collect()
}

/// What is used of all quotas, in order of their prefixes.
pub(crate) async fn all_usage(db: &Db) -> Result<Vec<Usage>, DbError> {
    let sql = "SELECT u.prefix, u.bytes, u.tags, u.repositories,
             r.quota_bytes, r.quota_tags, r.quota_repositories
         FROM registry_usage AS u JOIN registry_rules AS r ON r.prefix = u.prefix ORDER BY u.prefix";
    db.fetch_all(sql, args![]).await?.iter().map(read_usage).collect()
}

fn read_usage(row: &Row) -> Result<Usage, DbError> {
    Ok(Usage {
        prefix: row.parsed(0)?,
        used: Change { bytes: row.int(1)?, tags: row.int(2)?, repositories: row.int(3)? },
        quota: read_quota(row, 4)?,
    })
}

pub(super) fn read_quota(row: &Row, first: usize) -> Result<Quota, DbError> {
    let most = |column| row.int_opt(column)?.map(|_| row.count(column)).transpose();
    Ok(Quota { bytes: most(first)?, tags: most(first + 1)?, repositories: most(first + 2)? })
}

/// Adds to what is used of the quotas that hold for a repository.
pub(crate) async fn adjust(tx: &mut Tx<'_>, repository: &RepoName, by: Change) -> Result<(), DbError> {
    if by.is_nothing() {
        return Ok(());
    }
    tx.execute(
        "UPDATE registry_usage SET bytes = bytes + $2, tags = tags + $3, repositories = repositories + $4
         WHERE prefix = '*' OR prefix = $1 OR substr($1, 1, length(prefix) + 1) = prefix || '/'",
        args![repository.as_str(), by.bytes, by.tags, by.repositories],
    )
    .await
    .map(|_| ())
}

/// Counts what is held below a prefix, from now on.
pub(super) async fn count_usage(tx: &mut Tx<'_>, prefix: &Prefix) -> Result<(), DbError> {
    let name = prefix.name();
    // Of `a`: `a` itself, and from `a/` up to `a0`, the byte after the slash.
    let (first, last) = (format!("{name}/"), format!("{name}0"));
    let (first, last) = if name.is_empty() { ("", "\u{10ffff}") } else { (first.as_str(), last.as_str()) };
    tx.execute("DELETE FROM registry_usage WHERE prefix = $1", args![&prefix.to_string()]).await?;
    tx.execute(
        "INSERT INTO registry_usage (prefix, bytes, tags, repositories) VALUES ($1,
             (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM registry_holdings
              WHERE repository = $2 OR (repository >= $3 AND repository < $4))
           + (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM registry_manifests
              WHERE repository = $2 OR (repository >= $3 AND repository < $4)),
             (SELECT COUNT(*) FROM registry_tags
              WHERE repository = $2 OR (repository >= $3 AND repository < $4)),
             (SELECT COUNT(*) FROM registry_repositories WHERE path = $2 OR (path >= $3 AND path < $4)))",
        args![&prefix.to_string(), name, first, last],
    )
    .await
    .map(|_| ())
}

pub(super) async fn forget_usage(tx: &mut Tx<'_>, prefix: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM registry_usage WHERE prefix = $1", args![prefix]).await.map(|_| ())
}
