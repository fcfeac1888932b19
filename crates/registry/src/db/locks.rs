//! What is locked, and the rows that a deletion takes.

use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use crate::lock::Locks;

fn locks_of(row: Option<Row>) -> Result<Option<Locks>, DbError> {
    row.map(|row| Ok(Locks::from_bits(row.int(0)?))).transpose()
}

/// A repository's locks; `None` when there is no such repository.
pub(crate) async fn repository_locks(db: &Db, repository: &RepoName) -> Result<Option<Locks>, DbError> {
    locks_of(
        db.fetch_optional(
            "SELECT COALESCE(locks, 0) FROM registry_repositories WHERE path = $1",
            args![repository.as_str()],
        )
        .await?,
    )
}

/// [`repository_locks`] as the transaction sees them.
pub(crate) async fn locks_of_repository(
    tx: &mut Tx<'_>,
    repository: &RepoName,
) -> Result<Option<Locks>, DbError> {
    locks_of(
        tx.fetch_optional(
            "SELECT COALESCE(locks, 0) FROM registry_repositories WHERE path = $1",
            args![repository.as_str()],
        )
        .await?,
    )
}

/// A tag's own locks.
pub(crate) async fn locks_of_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<Locks>, DbError> {
    locks_of(
        tx.fetch_optional(
            "SELECT COALESCE(locks, 0) FROM registry_tags WHERE repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?,
    )
}

/// A tag's own locks, and the manifest that it points at.
pub(crate) async fn tag_to_move(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<(Locks, Digest)>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT COALESCE(locks, 0), digest FROM registry_tags WHERE repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    row.map(|row| Ok((Locks::from_bits(row.int(0)?), row.parsed(1)?))).transpose()
}

/// A manifest's own locks.
pub(crate) async fn locks_of_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<Locks>, DbError> {
    locks_of(
        tx.fetch_optional(
            "SELECT COALESCE(locks, 0) FROM registry_manifests WHERE repository = $1 AND digest = $2",
            args![repository.as_str(), &digest.to_string()],
        )
        .await?,
    )
}

/// A tag of the repository that a lock keeps from deletion; with a digest, one that points at it.
pub(crate) async fn kept_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: Option<&Digest>,
    keeping: i64,
) -> Result<Option<(String, Locks)>, DbError> {
    let digest = digest.map(ToString::to_string).unwrap_or_default();
    let row = tx
        .fetch_optional(
            "SELECT name, COALESCE(locks, 0) FROM registry_tags
             WHERE repository = $1 AND ($2 = '' OR digest = $2) AND (COALESCE(locks, 0) & $3) > 0
             ORDER BY name LIMIT 1",
            args![repository.as_str(), &digest, keeping],
        )
        .await?;
    row.map(|row| Ok((row.text(0)?.to_owned(), Locks::from_bits(row.int(1)?)))).transpose()
}

/// A manifest of the repository that a lock keeps from deletion.
pub(crate) async fn kept_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    keeping: i64,
) -> Result<Option<(String, Locks)>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT digest, COALESCE(locks, 0) FROM registry_manifests
             WHERE repository = $1 AND (COALESCE(locks, 0) & $2) > 0 ORDER BY digest LIMIT 1",
            args![repository.as_str(), keeping],
        )
        .await?;
    row.map(|row| Ok((row.text(0)?.to_owned(), Locks::from_bits(row.int(1)?)))).transpose()
}

pub(crate) async fn lock_repository(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    locks: Locks,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_repositories SET locks = $2 WHERE path = $1",
        args![repository.as_str(), locks.bits()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn lock_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    locks: Locks,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_tags SET locks = $3 WHERE repository = $1 AND name = $2",
        args![repository.as_str(), tag.as_str(), locks.bits()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn lock_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    locks: Locks,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_manifests SET locks = $3 WHERE repository = $1 AND digest = $2",
        args![repository.as_str(), &digest.to_string(), locks.bits()],
    )
    .await
    .map(|_| ())
}
