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

/// [`repository_locks`] for a push: no lock in the repository is set until the transaction has ended, so what it does
/// is done before any that is set. Whoever sets one, of a tag or a manifest too, changes this row.
pub(crate) async fn held_locks(tx: &mut Tx<'_>, repository: &RepoName) -> Result<Option<Locks>, DbError> {
    let sql = "SELECT COALESCE(locks, 0) FROM registry_repositories WHERE path = $1 FOR SHARE";
    locks_of(tx.fetch_held(sql, args![repository.as_str()]).await?.into_iter().next())
}

/// [`held_locks`] for a deletion, beside which there is no other and no push: each takes rows that the other may have,
/// and they would wait for one another. So does who is to change the locks.
pub(crate) async fn held_alone(tx: &mut Tx<'_>, repository: &RepoName) -> Result<Option<Locks>, DbError> {
    let sql = "SELECT COALESCE(locks, 0) FROM registry_repositories WHERE path = $1 FOR UPDATE";
    locks_of(tx.fetch_held(sql, args![repository.as_str()]).await?.into_iter().next())
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

/// A tag's own locks, and the manifest that it points at, from which it is to be moved. Others who would move it wait
/// here, before they write anything: behind it, each would wait for the other.
pub(crate) async fn held_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<(Locks, Digest)>, DbError> {
    let rows = tx
        .fetch_held(
            "SELECT COALESCE(locks, 0), digest FROM registry_tags WHERE repository = $1 AND name = $2 FOR UPDATE",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    rows.into_iter().next().map(|row| Ok((Locks::from_bits(row.int(0)?), row.parsed(1)?))).transpose()
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

/// What a lock keeps from deletion, and the lock: a tag as `:tag` or a manifest as `@digest`, any of the repository, or
/// those of `digest` and of the indexes above it.
pub(crate) async fn kept(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: Option<&Digest>,
    keeping: i64,
) -> Result<Option<(String, Locks)>, DbError> {
    let digest = digest.map(ToString::to_string).unwrap_or_default();
    let row = tx
        .fetch_optional(
            concat!(
                "SELECT ':' || name, COALESCE(locks, 0) FROM registry_tags
                 WHERE repository = $1 AND (COALESCE(locks, 0) & $3) > 0 AND ",
                is_or_is_above!(),
                " UNION ALL
                 SELECT '@' || digest, COALESCE(locks, 0) FROM registry_manifests
                 WHERE repository = $1 AND (COALESCE(locks, 0) & $3) > 0 AND ",
                is_or_is_above!(),
                " ORDER BY 1 LIMIT 1"
            ),
            args![repository.as_str(), &digest, keeping],
        )
        .await?;
    row.map(|row| Ok((row.text(0)?.to_owned(), Locks::from_bits(row.int(1)?)))).transpose()
}

/// Changes a repository's row and nothing in it, for a lock below it: see [`held_locks`].
pub(crate) async fn touch_repository(tx: &mut Tx<'_>, repository: &RepoName) -> Result<(), DbError> {
    let sql = "UPDATE registry_repositories SET locks = locks WHERE path = $1";
    tx.execute(sql, args![repository.as_str()]).await.map(|_| ())
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

/// What is told of a manifest that leaves quarantine.
pub(crate) struct Judged {
    pub(crate) tags: Vec<Tag>,
    pub(crate) media_type: String,
    pub(crate) bytes: u64,
}

/// Keeps what was said of a manifest in quarantine.
pub(crate) async fn quarantine(
    tx: &mut Tx<'_>,
    (repository, digest): (&RepoName, &Digest),
    locks: Locks,
    details: &str,
) -> Result<Judged, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let rows = tx
        .fetch_all(
            "UPDATE registry_manifests SET locks = $3, quarantine_details = $4
             WHERE repository = $1 AND digest = $2 RETURNING media_type, size",
            args![name, &text, locks.bits(), details],
        )
        .await?;
    let tags = super::tags_on_manifest(tx, repository, digest).await?;
    let row = rows.first();
    Ok(Judged {
        tags,
        media_type: row.map_or(Ok(String::new()), |row| row.text(0).map(str::to_owned))?,
        bytes: row.map_or(Ok(0), |row| row.count(1))?,
    })
}

const DETAILS: &str = "SELECT COALESCE(quarantine_details, '') FROM registry_manifests
     WHERE repository = $1 AND digest = $2";

/// What was said of a manifest in quarantine.
pub(crate) async fn quarantine_details(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
) -> Result<String, DbError> {
    let row = db.fetch_optional(DETAILS, args![repository.as_str(), &digest.to_string()]).await?;
    row.map_or(Ok(String::new()), |row| row.text(0).map(str::to_owned))
}

/// [`quarantine_details`] as the transaction sees it.
pub(crate) async fn quarantine_details_in(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<String, DbError> {
    let row = tx.fetch_optional(DETAILS, args![repository.as_str(), &digest.to_string()]).await?;
    row.map_or(Ok(String::new()), |row| row.text(0).map(str::to_owned))
}

/// The manifests that an index names and its repository has.
pub(crate) async fn children(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    index: &Digest,
) -> Result<Vec<Digest>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT f.digest FROM registry_references AS f
             JOIN registry_manifests AS m ON m.repository = f.repository AND m.digest = f.digest
             WHERE f.repository = $1 AND f.manifest = $2 AND f.kind = 'child' ORDER BY f.digest",
            args![repository.as_str(), &index.to_string()],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
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
