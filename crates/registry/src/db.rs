//! The registry's SQL.

/// That a row is of the manifest `$2` of the repository `$1`, or of an index above it (two levels); of any, where `$2` is
/// empty.
macro_rules! is_or_is_above {
    () => {
        "($2 = '' OR digest = $2 OR digest IN (
             SELECT manifest FROM registry_references WHERE repository = $1 AND digest = $2 AND kind = 'child'
             UNION SELECT o.manifest FROM registry_references AS i
                 JOIN registry_references AS o ON o.repository = i.repository AND o.digest = i.manifest
                 WHERE i.repository = $1 AND i.digest = $2 AND i.kind = 'child' AND o.kind = 'child'))"
    };
}

mod attributes;
mod blobs;
mod caches;
mod catalog;
mod deleted;
mod deletion;
mod fates;
mod holdings;
mod locks;
mod mirrors;
mod referrers;
mod replications;
mod retention;
mod reviews;
mod rules;
mod running;
mod schema;
mod storage;
mod uploads;

use std::collections::HashMap;

use seaworthy_model::{ManifestPushed, PrincipalId, Timestamp};
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use crate::{
    NameRange,
    lock::{Ability, Locks},
    path::ManifestName,
    quota::Change,
};

pub(crate) use attributes::{
    ManifestRow, Order, TagRow, config_of, manifest_row, manifests_page, repository_row, tag_row, tags_of,
    tags_page,
};
pub(crate) use blobs::{
    BLOBS_IN, BlobRow, BlobState, Entered, Hold, blob, blob_in, enter_blob, forget_blob, has_link,
    has_link_in, hold_on, insert_link, is_worn, name_blob, pin, pin_from, set_state,
};
pub(crate) use caches::{
    CACHES_IN, CacheRow, DueFill, cache_of, caches, came_from_elsewhere, count_caches, due_fills, fill_from,
    fill_tries, filled, filled_in, indexes_lacking, lacks_children, link_again, listing, mark_cached,
    ns_of_caches, pushed_below, put_cache, put_off_fill, remove_cache, set_filled, stop_caching, stop_fill,
    was_given,
};
pub(crate) use catalog::{held, push_of, repository_names, tags_to_show};
pub(crate) use deleted::{
    DeletedManifest, DeletedRow, deleted_manifest, deleted_page, deleted_parts, deleted_tag, purge_manifest,
    purge_tags, undelete_manifest, undelete_tag, undelete_tags,
};
pub(crate) use deletion::{
    Emptied, Reason, Removal, delete_manifest, delete_repository, delete_tag, names_in, unlink_blob,
};
pub(crate) use fates::{Runner, facts, manifest_facts, runners, runs};
pub(crate) use holdings::{
    adjust, all_usage, forget_brought, hold_blob, holds, is_brought_in_vain, usage_for, usage_now,
};
pub(crate) use locks::{
    children, held_alone, held_locks, held_tag, kept, lock_manifest, lock_repository, lock_tag,
    locks_of_manifest, locks_of_tag, quarantine, quarantine_details, quarantine_details_in, repository_locks,
    touch_repository,
};
pub(crate) use mirrors::{
    MirrorKey, claim_mirror, hold_mirror, mirrors, put_mirrors, remove_mirrors, settle_mirror,
};
use referrers::insert_referrer;
pub(crate) use referrers::{ReferrerRow, Unlisted, annotations, manifests_among, referrers, referring};
pub(crate) use replications::{
    Claimed, OutgoingKey, ReplicationRow, Settled, There, behind, claim_outgoing, count_replications,
    due_outgoing, gone_manifests, gone_tag, hold_outgoing, is_so, note_sent, outgoing_page, prefix_of,
    put_replication, remove_replication, replications, seed, seed_again, send, settle_outgoing,
};
pub(crate) use retention::{
    count_retention, hold_retention, hold_retention_alone, newest, remove_retention, retention, retention_of,
    set_retention, tag_to_judge, tags_to_judge,
};
pub(crate) use reviews::{
    Review, Subject, claim, enqueue, enqueue_named, first_due, loosen, postpone, settle, touch,
};
pub(crate) use rules::{
    RULES_IN, count_rules, hold_rules, hold_rules_alone, put_rules, remove_rules, rules, rules_at, rules_for,
    tags_on, tags_on_manifest, target_of,
};
pub(crate) use running::put_running;
pub use schema::SCHEMA;
pub(crate) use storage::{
    Waiting, adopt, blobs_page, clear_damage, count_damaged, knows_blobs, links, manifest_places,
    manifests_held, naming, naming_blob, review_of, set_damage, set_scrubbed, unknown_blobs, waiting,
};
pub(crate) use uploads::{
    UploadRow, advance_upload, count_uploads, delete_upload, delete_upload_unchanged, expired_uploads,
    insert_upload, oldest_uploads, upload, upload_exists, upload_version,
};

/// The key of a link: who brought a blob into a repository.
pub(crate) fn bearer(principal: Option<PrincipalId>) -> String {
    principal.map_or_else(|| "operator".to_owned(), |id| id.to_string())
}

/// A stored manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    /// Its own, its repository's, and the tag's that led to it.
    pub(crate) locks: Locks,
}

/// The tables that [`manifest`] and [`tagged`] read.
pub(crate) const NAMED_BY: &[&str] = &["registry_tags", "registry_manifests", "registry_repositories"];

const MANIFEST: &str = "SELECT m.digest, m.media_type, m.size, COALESCE(m.locks, 0) | COALESCE(r.locks, 0)
     FROM registry_manifests AS m JOIN registry_repositories AS r ON r.path = m.repository
     WHERE m.repository = $1 AND m.digest = $2";

const TAGGED: &str = "SELECT m.digest, m.media_type, m.size,
         COALESCE(t.locks, 0) | COALESCE(m.locks, 0) | COALESCE(r.locks, 0)
     FROM registry_tags AS t
     JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
     JOIN registry_repositories AS r ON r.path = t.repository
     WHERE t.repository = $1 AND t.name = $2";

pub(crate) async fn manifest(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<StoredManifest>, DbError> {
    let row = db.fetch_optional(MANIFEST, args![repository.as_str(), &digest.to_string()]).await?;
    row.map(|row| read_manifest(&row)).transpose()
}

pub(crate) async fn tagged(
    db: &Db,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<StoredManifest>, DbError> {
    let row = db.fetch_optional(TAGGED, args![repository.as_str(), tag.as_str()]).await?;
    row.map(|row| read_manifest(&row)).transpose()
}

fn read_manifest(row: &Row) -> Result<StoredManifest, DbError> {
    Ok(StoredManifest {
        digest: row.parsed(0)?,
        media_type: row.text(1)?.to_owned(),
        size: row.count(2)?,
        locks: Locks::from_bits(row.int(3)?),
    })
}

/// [`manifest_bytes`] as the transaction sees them.
pub(crate) async fn bytes_of_manifest(tx: &mut Tx<'_>, digest: &Digest) -> Result<Option<Vec<u8>>, DbError> {
    let sql = "SELECT bytes FROM registry_manifest_bytes WHERE digest = $1";
    let row = tx.fetch_optional(sql, args![&digest.to_string()]).await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

pub(crate) async fn manifest_bytes(db: &Db, digest: &Digest) -> Result<Option<Vec<u8>>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT bytes FROM registry_manifest_bytes WHERE digest = $1",
            args![&digest.to_string()],
        )
        .await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

/// What a manifest must be to reach a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaching {
    /// It opens it: what its pusher could name, which for a child of an index nobody asked. One that came from an upstream
    /// says nothing about bytes that the upstream did not give: it
    /// opens what somebody had the bytes of, in this repository.
    Opens,
    /// It names it.
    Names,
}

/// The tables that [`reaching`] reads.
pub(crate) const REACHED_BY: &[&str] = &[
    "registry_references",
    "registry_manifests",
    "registry_repositories",
    "registry_cached",
    "registry_links",
];

const REACHING: &str = "SELECT DISTINCT f.manifest, COALESCE(m.locks, 0) | COALESCE(r.locks, 0)
     FROM registry_references AS f
     LEFT JOIN registry_manifests AS m ON m.repository = f.repository AND m.digest = f.manifest
     LEFT JOIN registry_repositories AS r ON r.path = f.repository
     WHERE f.repository = $1 AND f.digest = $2 AND f.kind <> 'foreign' AND f.manifest > $3
       AND ($5 = 1
         OR CASE WHEN EXISTS (SELECT 1 FROM registry_cached AS c
                 WHERE c.repository = f.repository AND c.digest = f.manifest)
             THEN EXISTS (SELECT 1 FROM registry_links AS l
                 WHERE l.repository = f.repository AND l.digest = f.digest AND l.reader = 1)
             ELSE f.kind <> 'child' END)
     ORDER BY f.manifest LIMIT $4";

/// Manifests of the repository that reach the blob, after `after` in digest order, each with its own
/// and the repository's locks.
pub(crate) async fn reaching(
    db: &Db,
    (repository, digest): (&RepoName, &Digest),
    how: Reaching,
    after: &str,
    most: i64,
) -> Result<Vec<(Digest, Locks)>, DbError> {
    let digest = digest.to_string();
    let args = args![repository.as_str(), &digest, after, most, how == Reaching::Names];
    let rows = db.fetch_all(REACHING, args).await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, Locks::from_bits(row.int(1)?)))).collect()
}

/// Repositories that have the blob: first those that `principal` brought it to, then those where a
/// manifest names it; `most` of each, in name order.
pub(crate) async fn sources(
    db: &Db,
    digest: &Digest,
    principal: &str,
    most: i64,
) -> Result<Vec<RepoName>, DbError> {
    let digest = digest.to_string();
    let linked = db
        .fetch_all(
            "SELECT repository FROM registry_links WHERE digest = $1 AND principal = $2
             ORDER BY repository LIMIT $3",
            args![&digest, principal, most],
        )
        .await?;
    let named = db
        .fetch_all(
            "SELECT DISTINCT repository FROM registry_references
             WHERE digest = $1 AND kind <> 'foreign' AND kind <> 'child'
             ORDER BY repository LIMIT $2",
            args![&digest, most],
        )
        .await?;
    linked.iter().chain(&named).map(|row| row.parsed(0)).collect()
}

pub(crate) async fn tags(
    db: &Db,
    repository: &RepoName,
    after: &str,
    most: i64,
) -> Result<Vec<String>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT name FROM registry_tags
             WHERE repository = $1 AND name > $2 AND (COALESCE(locks, 0) & $4) = 0 ORDER BY name LIMIT $3",
            args![repository.as_str(), after, most, Ability::List.bit()],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Tags after `after`, also those that lists leave out, with their locks.
pub(crate) async fn tags_with_locks(
    db: &Db,
    repository: &RepoName,
    after: &str,
    most: i64,
) -> Result<Vec<(String, Locks)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT name, COALESCE(locks, 0) FROM registry_tags
             WHERE repository = $1 AND name > $2 ORDER BY name LIMIT $3",
            args![repository.as_str(), after, most],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), Locks::from_bits(row.int(1)?)))).collect()
}

pub(crate) async fn repositories(
    db: &Db,
    range: &NameRange,
    after: &str,
    most: i64,
) -> Result<Vec<String>, DbError> {
    if range.end.as_str() <= after {
        return Ok(Vec::new());
    }
    let rows = db
        .fetch_all(
            "SELECT path FROM registry_repositories
             WHERE path > $1 AND path >= $4 AND path < $5 AND (COALESCE(locks, 0) & $3) = 0
             ORDER BY path LIMIT $2",
            args![after, most, Ability::List.bit(), range.first.as_str(), range.end.as_str()],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Lines of the image list, in a range of names.
pub(crate) async fn images(
    db: &Db,
    range: &NameRange,
    after: (&str, &str),
    most: i64,
) -> Result<Vec<Row>, DbError> {
    // One bound alone, that the index begins there.
    let first = range.first.as_str().max(after.0);
    if first >= range.end.as_str() {
        return Ok(Vec::new());
    }
    db.fetch_all(
        "SELECT t.repository, t.name, t.digest, m.media_type, m.size, m.pushed_at, m.pushed_by,
             COALESCE(t.locks, 0) | COALESCE(m.locks, 0) | COALESCE(r.locks, 0)
         FROM registry_tags AS t
         JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
         JOIN registry_repositories AS r ON r.path = t.repository
         WHERE t.repository >= $1 AND t.repository < $2
           AND (t.repository, t.name) > ($3, $4)
         ORDER BY t.repository, t.name LIMIT $5",
        args![first, range.end.as_str(), after.0, after.1, most],
    )
    .await
}

/// [`images`] of one manifest, in name order.
pub(crate) async fn images_of(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    most: i64,
) -> Result<Vec<Row>, DbError> {
    db.fetch_all(
        "SELECT t.repository, t.name, t.digest, m.media_type, m.size, m.pushed_at, m.pushed_by,
             COALESCE(t.locks, 0) | COALESCE(m.locks, 0) | COALESCE(r.locks, 0)
         FROM registry_tags AS t
         JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
         JOIN registry_repositories AS r ON r.path = t.repository
         WHERE t.repository = $1 AND t.digest = $2 ORDER BY t.name LIMIT $3",
        args![repository.as_str(), &digest.to_string(), most],
    )
    .await
}

/// A manifest on its way into its tables.
pub(crate) struct NewManifest<'m> {
    pub(crate) pushed: &'m ManifestPushed,
    pub(crate) artifact_type: Option<&'m str>,
    /// JSON.
    pub(crate) annotations: &'m str,
    pub(crate) bytes: &'m [u8],
    pub(crate) by: &'m str,
    /// It is as if pushed now, whenever it was first.
    pub(crate) now: Timestamp,
    /// It came from an upstream: what it names need not be here.
    pub(crate) is_cached: bool,
}

/// Stores a manifest; one that was deleted is back. Returns what its repository holds more, and the media type under which
/// it is there if that is another one.
pub(crate) async fn insert_manifest(
    tx: &mut Tx<'_>,
    new: &NewManifest<'_>,
) -> Result<(Change, Option<String>), DbError> {
    let pushed = new.pushed;
    let (repository, digest) = (pushed.repository.as_str(), pushed.digest.to_string());
    let created = tx
        .execute(
            "INSERT INTO registry_repositories (path, created_at) VALUES ($1, $2) ON CONFLICT (path) DO NOTHING",
            args![repository, new.now.as_micros()],
        )
        .await?;
    let mut held = Change::default();
    if created == 1 {
        held = held.and(Change::REPOSITORY);
        enqueue(tx, &Subject::Repository(pushed.repository.clone()), new.now, "created").await?;
    }
    let fresh = tx
        .execute(
            "INSERT INTO registry_manifest_bytes (digest, bytes) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING",
            args![&digest, new.bytes],
        )
        .await?;
    let mut locks = Locks::default();
    // Only what has bytes can have been deleted.
    if fresh == 0 {
        // Those that are there may have rotted.
        let sql = "UPDATE registry_manifest_bytes SET bytes = $2 WHERE digest = $1 AND bytes <> $2";
        tx.execute(sql, args![&digest, new.bytes]).await?;
        let (back, more) = undelete(tx, (&pushed.repository, &pushed.digest), new.now).await?;
        (locks, held) = (back, held.and(more));
    }
    let subject = pushed.subject.map(|subject| subject.to_string());
    let inserted = tx
        .execute(
            "INSERT INTO registry_manifests
                 (repository, digest, media_type, artifact_type, subject, size, pushed_at, pushed_by, touched_at, locks)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (repository, digest) DO NOTHING",
            args![
                repository,
                &digest,
                &pushed.media_type,
                new.artifact_type,
                subject.as_deref(),
                new.bytes.len() as u64,
                pushed.pushed_at.as_micros(),
                new.by,
                new.now.as_micros(),
                locks.bits(),
            ],
        )
        .await?;
    let mut other = None;
    match inserted {
        0 => {
            touch(tx, &pushed.repository, &pushed.digest, new.now).await?;
            let sql = "SELECT media_type FROM registry_manifests WHERE repository = $1 AND digest = $2";
            let row = tx.fetch_optional(sql, args![repository, &digest]).await?;
            let stored = row.map(|row| row.text(0).map(str::to_owned)).transpose()?;
            other = stored.filter(|stored| *stored != pushed.media_type);
        }
        _ => held = held.and(Change::bytes(new.bytes.len() as u64)),
    }
    insert_references(tx, pushed).await?;
    insert_referrer(tx, new).await?;
    if pushed.subject.is_some() {
        send(tx, &pushed.repository, &ManifestName::Digest(pushed.digest), new.now).await?;
    }
    let named = holdings::hold_named(tx, (&pushed.repository, &pushed.digest), new.is_cached).await?;
    Ok((held.and(named), other))
}

/// What a manifest names.
async fn insert_references(tx: &mut Tx<'_>, pushed: &ManifestPushed) -> Result<(), DbError> {
    let (repository, digest) = (pushed.repository.as_str(), pushed.digest.to_string());
    let config = pushed.config.iter().map(|config| ("config", config));
    // What is foreign may have been pushed as well: then it is kept, and opens nothing to anybody.
    let layers = pushed.layers.iter().map(|it| (if it.foreign { "foreign" } else { "layer" }, &it.digest));
    let children = pushed.children.iter().map(|child| ("child", &child.digest));
    for (kind, target) in config.chain(layers).chain(children) {
        tx.execute(
            "INSERT INTO registry_references (repository, manifest, kind, digest) VALUES ($1, $2, $3, $4)
             ON CONFLICT (repository, manifest, kind, digest) DO NOTHING",
            args![repository, &digest, kind, &target.to_string()],
        )
        .await?;
    }
    Ok(())
}

/// A manifest whose bytes are here is back, if it was deleted: its locks, and what its repository holds more.
async fn undelete(
    tx: &mut Tx<'_>,
    (repository, digest): (&RepoName, &Digest),
    now: Timestamp,
) -> Result<(Locks, Change), DbError> {
    // The engine's look for a conflict is no read of a transaction: without one, these bytes may be removed by another
    // that does not see this manifest.
    let sql = "SELECT 1 FROM registry_manifest_bytes WHERE digest = $1";
    tx.fetch_optional(sql, args![&digest.to_string()]).await?;
    let mut held = Change::default();
    for (blob, size) in deleted_blobs(tx, (repository, digest), "held").await? {
        held = held.and(hold_blob(tx, repository, &blob, size).await?);
    }
    Ok((undelete_manifest(tx, repository, digest, now).await?.unwrap_or_default(), held))
}

/// Names a blob that is here in a stored index; returns what the repository holds more.
pub(crate) async fn name_in_index(
    tx: &mut Tx<'_>,
    (repository, index): (&RepoName, &Digest),
    (digest, size): (&Digest, u64),
) -> Result<Change, DbError> {
    tx.execute(
        "INSERT INTO registry_references (repository, manifest, kind, digest) VALUES ($1, $2, 'blob', $3)
         ON CONFLICT (repository, manifest, kind, digest) DO NOTHING",
        args![repository.as_str(), &index.to_string(), &digest.to_string()],
    )
    .await?;
    hold_blob(tx, repository, digest, size).await
}

const BLOBS_OF_INDEX: &str = "SELECT r.digest, b.size FROM registry_references AS r
     JOIN registry_blobs AS b ON b.digest = r.digest
     WHERE r.repository = $1 AND r.manifest = $2 AND r.kind = 'blob' ORDER BY r.digest";

/// The blobs that an index names, with their sizes.
pub(crate) async fn blobs_of_index(
    db: &Db,
    repository: &RepoName,
    index: &Digest,
) -> Result<Vec<(Digest, u64)>, DbError> {
    read_blobs(&db.fetch_all(BLOBS_OF_INDEX, args![repository.as_str(), &index.to_string()]).await?)
}

/// [`blobs_of_index`] as the transaction sees them.
pub(crate) async fn blobs_of_index_in(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    index: &Digest,
) -> Result<Vec<(Digest, u64)>, DbError> {
    read_blobs(&tx.fetch_all(BLOBS_OF_INDEX, args![repository.as_str(), &index.to_string()]).await?)
}

/// The blobs of a manifest that was deleted and can be restored: what an index named as `blob`, or what an image said
/// to be elsewhere and was held all the same, as `held`.
pub(crate) async fn deleted_blobs(
    tx: &mut Tx<'_>,
    (repository, manifest): (&RepoName, &Digest),
    kind: &str,
) -> Result<Vec<(Digest, u64)>, DbError> {
    let sql = "SELECT r.digest, b.size FROM registry_deleted_references AS r
         JOIN registry_blobs AS b ON b.digest = r.digest
         WHERE r.repository = $1 AND r.manifest = $2 AND r.kind = $3 AND b.state <> 'deleting' ORDER BY r.digest";
    read_blobs(&tx.fetch_all(sql, args![repository.as_str(), &manifest.to_string(), kind]).await?)
}

fn read_blobs(rows: &[Row]) -> Result<Vec<(Digest, u64)>, DbError> {
    rows.iter().map(|row| Ok((row.parsed(0)?, row.count(1)?))).collect()
}

/// Children of a stored index that the repository does not have: how many, and one of them.
pub(crate) async fn absent_children(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    index: &Digest,
) -> Result<Option<(u64, Digest)>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT COUNT(*), MIN(r.digest) FROM registry_references AS r
             WHERE r.repository = $1 AND r.manifest = $2 AND r.kind = 'child'
               AND NOT EXISTS
                 (SELECT 1 FROM registry_manifests AS m WHERE m.repository = $1 AND m.digest = r.digest)
               AND NOT EXISTS (SELECT 1 FROM registry_references AS b
                 WHERE b.repository = $1 AND b.manifest = $2 AND b.kind = 'blob' AND b.digest = r.digest)",
            args![repository.as_str(), &index.to_string()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.count(0)? == 0 { Ok(None) } else { Ok(Some((row.count(0)?, row.parsed(1)?))) }
}

/// Lengths of those children of a stored index that the repository has, manifests or blobs.
pub(crate) async fn sizes_of_children(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    index: &Digest,
) -> Result<HashMap<Digest, u64>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT r.digest, m.size FROM registry_references AS r
             JOIN registry_manifests AS m ON m.repository = r.repository AND m.digest = r.digest
             WHERE r.repository = $1 AND r.manifest = $2 AND r.kind = 'child'
             UNION ALL
             SELECT r.digest, b.size FROM registry_references AS r JOIN registry_blobs AS b ON b.digest = r.digest
             WHERE r.repository = $1 AND r.manifest = $2 AND r.kind = 'blob'",
            args![repository.as_str(), &index.to_string()],
        )
        .await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, row.count(1)?))).collect()
}

/// Sets a tag; returns what its repository holds more. One that was deleted and can be restored has the locks that it
/// had, whatever it points at, and is not deleted if it points there.
pub(crate) async fn set_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    digest: &Digest,
    now: Timestamp,
) -> Result<Change, DbError> {
    send(tx, repository, &ManifestName::Tag(tag.clone()), now).await?;
    let text = digest.to_string();
    let args = args![repository.as_str(), tag.as_str(), &text, now.as_micros()];
    let inserted = tx.execute(
        "INSERT INTO registry_tags (repository, name, digest, updated_at, created_at, locks) VALUES ($1, $2, $3, $4, $4,
             (SELECT locks FROM registry_deleted WHERE repository = $1 AND kind = 'tag' AND name = $2
                AND until > $4 ORDER BY deleted_at DESC, digest LIMIT 1))
         ON CONFLICT (repository, name) DO NOTHING",
        args,
    )
    .await?;
    undelete_tag(tx, repository, tag, digest).await?;
    if inserted == 1 {
        return Ok(Change::TAG);
    }
    let sql = "UPDATE registry_tags SET digest = $3, updated_at = $4 WHERE repository = $1 AND name = $2";
    tx.execute(sql, args).await?;
    Ok(Change::default())
}

/// Adds pulls of a manifest.
pub(crate) async fn add_pulls(
    tx: &mut Tx<'_>,
    (repository, digest): (&RepoName, &Digest),
    count: u64,
    last: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_pulls (repository, digest, count, last_pull) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repository, digest) DO UPDATE SET count = registry_pulls.count + $3,
             last_pull = CASE WHEN registry_pulls.last_pull > $4 THEN registry_pulls.last_pull ELSE $4 END",
        args![repository.as_str(), &digest.to_string(), count, last.as_micros()],
    )
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seaworthy_model::SystemClock;

    use super::*;

    /// A page costs the same whatever the repository has.
    #[tokio::test]
    async fn lists_of_tags_by_time_sort_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("test.sqlite");
        let db = Db::open_sqlite(&path, Arc::new(SystemClock)).await.expect("opens");
        db.migrate(&[SCHEMA]).await.expect("tables");
        let index = "registry_tags_repository_updated_at_name (repository=?";
        for sql in [
            attributes::OLDEST_TAGS,
            attributes::NEWEST_TAGS,
            retention::NTH_NEWEST,
            retention::NTH_NEWEST_OWN,
        ] {
            let sql: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {sql}").into_boxed_str());
            let some = args!["", "", "", "", ""];
            let plan =
                db.fetch_all(sql, &some[..if sql.contains("$5") { 5 } else { 2 }]).await.expect("a plan");
            let plan: Vec<&str> = plan.iter().map(|row| row.text(3).expect("a step")).collect();
            assert!(
                plan[0].contains(index) && !plan.iter().any(|step| step.contains("ORDER BY")),
                "{plan:?}"
            );
        }
    }

    /// What is kept of these rows is dropped when their tables change: so it must know all of them.
    #[test]
    fn names_are_read_from_the_tables_that_are_watched() {
        for (statements, watched) in
            [(&[MANIFEST, TAGGED][..], NAMED_BY), (&[REACHING], REACHED_BY), (&[blobs::BLOB], BLOBS_IN)]
        {
            let words = statements.iter().flat_map(|sql| sql.split_whitespace());
            let tables =
                |words: Vec<&'static str>| words.into_iter().collect::<std::collections::BTreeSet<_>>();
            let read = tables(words.filter(|word| word.starts_with("registry_")).collect());
            assert_eq!(read, tables(watched.to_vec()));
        }
    }
}
