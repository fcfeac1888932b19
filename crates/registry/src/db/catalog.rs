//! What pages about repositories show.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, DbError, args};

use crate::{
    NameRange,
    catalog::TagShown,
    lock::{Ability, Locks},
};

/// What a repository holds.
pub(crate) struct Held {
    pub(crate) tags: u64,
    pub(crate) manifests: u64,
    pub(crate) bytes: u64,
    pub(crate) pushed_at: Option<Timestamp>,
    /// Everything was counted.
    pub(crate) complete: bool,
}

/// Names of repositories in a range and after `after`, in order. No lock hides one here.
pub(crate) async fn repository_names(
    db: &Db,
    range: &NameRange,
    after: &str,
    most: i64,
) -> Result<Vec<RepoName>, DbError> {
    if range.first.as_str().max(after) >= range.end.as_str() {
        return Ok(Vec::new());
    }
    let rows = db
        .fetch_all(
            "SELECT path FROM registry_repositories
             WHERE path >= $1 AND path < $2 AND path > $3 ORDER BY path LIMIT $4",
            args![range.first.as_str(), range.end.as_str(), after, most],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// Counts what a repository holds: of each kind `most` rows, and one to know that there are more.
pub(crate) async fn held(db: &Db, repository: &RepoName, most: i64) -> Result<Held, DbError> {
    let row = db
        .fetch_optional(
            "SELECT t.number, m.number, m.bytes, m.pushed_at, b.number, b.bytes
             FROM (SELECT COUNT(*) AS number FROM
                     (SELECT name FROM registry_tags WHERE repository = $1 LIMIT $2) AS first) AS t,
                 (SELECT COUNT(*) AS number, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes,
                     MAX(pushed_at) AS pushed_at FROM
                     (SELECT size, pushed_at FROM registry_manifests WHERE repository = $1 LIMIT $2) AS first) AS m,
                 (SELECT COUNT(*) AS number, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM
                     (SELECT size FROM registry_holdings WHERE repository = $1 LIMIT $2) AS first) AS b",
            args![repository.as_str(), most.saturating_add(1)],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Held { tags: 0, manifests: 0, bytes: 0, pushed_at: None, complete: true });
    };
    let (tags, manifests, blobs) = (row.count(0)?, row.count(1)?, row.count(4)?);
    let most = u64::try_from(most).unwrap_or_default();
    Ok(Held {
        tags,
        manifests,
        bytes: row.count(2)?.saturating_add(row.count(5)?),
        pushed_at: row.int_opt(3)?.map(Timestamp::from_micros),
        complete: [tags, manifests, blobs].iter().all(|rows| *rows <= most),
    })
}

/// Tags in name order after `after`; no lock hides one. What rules say is not known here: whether one never moves, and
/// whether what was not let out of quarantine is in it.
pub(crate) async fn tags_to_show(
    db: &Db,
    repository: &RepoName,
    after: &str,
    most: i64,
) -> Result<Vec<TagShown>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT t.name, t.digest, m.media_type, m.size, t.updated_at, p.last_pull,
                 COALESCE(t.locks, 0) | COALESCE(m.locks, 0) | COALESCE(r.locks, 0), COALESCE(m.locks, 0)
             FROM registry_tags AS t
             JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
             JOIN registry_repositories AS r ON r.path = t.repository
             LEFT JOIN registry_pulls AS p ON p.repository = t.repository AND p.digest = t.digest
             WHERE t.repository = $1 AND t.name > $2 ORDER BY t.name LIMIT $3",
            args![repository.as_str(), after, most],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(TagShown {
                tag: row.text(0)?.to_owned(),
                digest: row.parsed(1)?,
                media_type: row.text(2)?.to_owned(),
                manifest_bytes: row.count(3)?,
                set_at: Timestamp::from_micros(row.int(4)?),
                last_pull: row.int_opt(5)?.map(Timestamp::from_micros),
                locked: row.int(6)? & (Ability::Delete.bit() | Ability::Write.bit()) != 0,
                immutable: false,
                quarantined: !Locks::from_bits(row.int(7)?).has_passed(),
            })
        })
        .collect()
}

/// When a manifest was pushed, and by whom.
pub(crate) async fn push_of(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<(Timestamp, String)>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT pushed_at, pushed_by FROM registry_manifests WHERE repository = $1 AND digest = $2",
            args![repository.as_str(), &digest.to_string()],
        )
        .await?;
    row.map(|row| Ok((Timestamp::from_micros(row.int(0)?), row.text(1)?.to_owned()))).transpose()
}
