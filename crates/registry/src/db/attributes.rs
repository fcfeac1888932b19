//! What repositories, manifests and tags are like, for lists of them.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, DbError, Row, args};

use crate::lock::{Ability, Locks};

/// How a page is ordered, and the last item of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By name or digest.
    Name { after: String },
    /// By the last update, then by name: the oldest first.
    Oldest { after: (i64, String) },
    /// The other way around.
    Newest { after: (i64, String) },
}

pub(crate) struct RepositoryRow {
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) manifests: u64,
    pub(crate) tags: u64,
    pub(crate) locks: Locks,
}

pub(crate) async fn repository_row(db: &Db, repository: &RepoName) -> Result<Option<RepositoryRow>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT r.created_at, COALESCE(r.locks, 0),
                 (SELECT COUNT(*) FROM registry_manifests WHERE repository = $1),
                 (SELECT COUNT(*) FROM registry_tags WHERE repository = $1),
                 COALESCE((SELECT MAX(pushed_at) FROM registry_manifests WHERE repository = $1), r.created_at),
                 COALESCE((SELECT MAX(updated_at) FROM registry_tags WHERE repository = $1), r.created_at)
             FROM registry_repositories AS r WHERE r.path = $1",
            args![repository.as_str()],
        )
        .await?;
    row.map(|row| {
        Ok(RepositoryRow {
            created_at: Timestamp::from_micros(row.int(0)?),
            updated_at: Timestamp::from_micros(row.int(4)?.max(row.int(5)?)),
            manifests: row.count(2)?,
            tags: row.count(3)?,
            locks: Locks::from_bits(row.int(1)?),
        })
    })
    .transpose()
}

pub(crate) struct TagRow {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) locks: Locks,
}

fn read_tag(row: &Row) -> Result<TagRow, DbError> {
    Ok(TagRow {
        name: row.text(0)?.to_owned(),
        digest: row.parsed(1)?,
        created_at: Timestamp::from_micros(row.int(2)?),
        updated_at: Timestamp::from_micros(row.int(3)?),
        locks: Locks::from_bits(row.int(4)?),
    })
}

pub(crate) async fn tag_row(db: &Db, repository: &RepoName, tag: &Tag) -> Result<Option<TagRow>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT name, digest, COALESCE(created_at, updated_at), updated_at, COALESCE(locks, 0)
             FROM registry_tags WHERE repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    row.map(|row| read_tag(&row)).transpose()
}

macro_rules! tags_listed {
    ($rest:literal) => {
        concat!(
            "SELECT name, digest, COALESCE(created_at, updated_at), updated_at, COALESCE(locks, 0)
             FROM registry_tags WHERE repository = $1 AND (COALESCE(locks, 0) & $2) = 0 AND ",
            $rest
        )
    };
}

pub(super) const OLDEST_TAGS: &str =
    tags_listed!("(updated_at, name) > ($3, $4) ORDER BY updated_at, name LIMIT $5");

pub(super) const NEWEST_TAGS: &str =
    tags_listed!("(updated_at, name) < ($3, $4) ORDER BY updated_at DESC, name DESC LIMIT $5");

/// A page of the tags that are listed; with a digest, of those that point at it.
pub(crate) async fn tags_page(
    db: &Db,
    repository: &RepoName,
    digest: Option<&Digest>,
    order: &Order,
    most: i64,
) -> Result<Vec<TagRow>, DbError> {
    let (repository, hidden) = (repository.as_str(), Ability::List.bit());
    let digest = digest.map(ToString::to_string);
    let rows = match (order, digest) {
        (Order::Name { after }, None) => {
            let sql = tags_listed!("name > $3 ORDER BY name LIMIT $4");
            db.fetch_all(sql, args![repository, hidden, after, most]).await?
        }
        (Order::Name { after }, Some(digest)) => {
            let sql = tags_listed!("name > $3 AND digest = $5 ORDER BY name LIMIT $4");
            db.fetch_all(sql, args![repository, hidden, after, most, &digest]).await?
        }
        (Order::Oldest { after: (time, name) }, None) => {
            db.fetch_all(OLDEST_TAGS, args![repository, hidden, *time, name, most]).await?
        }
        (Order::Newest { after: (time, name) }, None) => {
            db.fetch_all(NEWEST_TAGS, args![repository, hidden, *time, name, most]).await?
        }
        (Order::Oldest { after: (time, name) }, Some(digest)) => {
            let sql = tags_listed!(
                "digest = $6 AND (updated_at, name) > ($3, $4) ORDER BY updated_at, name LIMIT $5"
            );
            db.fetch_all(sql, args![repository, hidden, *time, name, most, &digest]).await?
        }
        (Order::Newest { after: (time, name) }, Some(digest)) => {
            let sql = tags_listed!(
                "digest = $6 AND (updated_at, name) < ($3, $4) ORDER BY updated_at DESC, name DESC LIMIT $5"
            );
            db.fetch_all(sql, args![repository, hidden, *time, name, most, &digest]).await?
        }
    };
    rows.iter().map(read_tag).collect()
}

pub(crate) struct ManifestRow {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    /// Its own length.
    pub(crate) size: u64,
    /// Length of the blobs that it names and that are here.
    pub(crate) blob_bytes: u64,
    pub(crate) pushed_at: Timestamp,
    pub(crate) locks: Locks,
}

macro_rules! manifests_of {
    ($rest:literal) => {
        concat!(
            "SELECT m.digest, m.media_type, m.size, m.pushed_at, COALESCE(m.locks, 0),
                 (SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM registry_references AS f
                  JOIN registry_blobs AS b ON b.digest = f.digest
                  WHERE f.repository = m.repository AND f.manifest = m.digest AND f.kind NOT IN ('child', 'foreign')
                    AND (NOT EXISTS (SELECT 1 FROM registry_cached AS c
                            WHERE c.repository = m.repository AND c.digest = m.digest)
                        OR EXISTS (SELECT 1 FROM registry_links AS l
                            WHERE l.repository = m.repository AND l.digest = f.digest AND l.reader = 1)))
             FROM registry_manifests AS m WHERE m.repository = $1 AND ",
            $rest
        )
    };
}

fn read_manifest(row: &Row) -> Result<ManifestRow, DbError> {
    Ok(ManifestRow {
        digest: row.parsed(0)?,
        media_type: row.text(1)?.to_owned(),
        size: row.count(2)?,
        pushed_at: Timestamp::from_micros(row.int(3)?),
        locks: Locks::from_bits(row.int(4)?),
        blob_bytes: row.count(5)?,
    })
}

pub(crate) async fn manifest_row(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<ManifestRow>, DbError> {
    let sql = manifests_of!("m.digest = $2");
    let row = db.fetch_optional(sql, args![repository.as_str(), &digest.to_string()]).await?;
    row.map(|row| read_manifest(&row)).transpose()
}

const OLDEST_MANIFESTS: &str = manifests_of!(
    "(m.pushed_at, m.digest) > ($2, $3) AND (COALESCE(m.locks, 0) & $4) = 0
     ORDER BY m.pushed_at, m.digest LIMIT $5"
);

const NEWEST_MANIFESTS: &str = manifests_of!(
    "(m.pushed_at, m.digest) < ($2, $3) AND (COALESCE(m.locks, 0) & $4) = 0
     ORDER BY m.pushed_at DESC, m.digest DESC LIMIT $5"
);

/// A page of the manifests that are listed.
pub(crate) async fn manifests_page(
    db: &Db,
    repository: &RepoName,
    order: &Order,
    most: i64,
) -> Result<Vec<ManifestRow>, DbError> {
    let (repository, hidden) = (repository.as_str(), Ability::List.bit());
    let rows = match order {
        Order::Name { after } => {
            let sql =
                manifests_of!("m.digest > $2 AND (COALESCE(m.locks, 0) & $3) = 0 ORDER BY m.digest LIMIT $4");
            db.fetch_all(sql, args![repository, after, hidden, most]).await?
        }
        Order::Oldest { after: (time, digest) } => {
            db.fetch_all(OLDEST_MANIFESTS, args![repository, *time, digest, hidden, most]).await?
        }
        Order::Newest { after: (time, digest) } => {
            db.fetch_all(NEWEST_MANIFESTS, args![repository, *time, digest, hidden, most]).await?
        }
    };
    rows.iter().map(read_manifest).collect()
}

/// Listed tags that point at a manifest, in name order.
pub(crate) async fn tags_of(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    most: i64,
) -> Result<Vec<String>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT name FROM registry_tags
             WHERE repository = $1 AND digest = $2 AND (COALESCE(locks, 0) & $3) = 0 ORDER BY name LIMIT $4",
            args![repository.as_str(), &digest.to_string(), Ability::List.bit(), most],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// The config that a manifest names; of one from an upstream, if it came from there.
pub(crate) async fn config_of(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<Digest>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT f.digest FROM registry_references AS f
             WHERE f.repository = $1 AND f.manifest = $2 AND f.kind = 'config'
               AND (NOT EXISTS (SELECT 1 FROM registry_cached AS c
                       WHERE c.repository = $1 AND c.digest = $2)
                   OR EXISTS (SELECT 1 FROM registry_links AS l
                       WHERE l.repository = $1 AND l.digest = f.digest AND l.reader = 1)) LIMIT 1",
            args![repository.as_str(), &digest.to_string()],
        )
        .await?;
    row.map(|row| row.parsed(0)).transpose()
}
