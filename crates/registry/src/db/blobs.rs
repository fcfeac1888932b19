//! Blobs: what is stored, who brought it where, and what becomes of it.
//!
//! A blob is `live`, then `condemned` (nobody needs it; whoever names it in time has it back), then
//! `deleting` (its bytes go; whoever brings them again replaces the row with another copy).

use seaworthy_model::{Timestamp, UploadId};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{BlobCopy, Db, DbError, Row, Tx, args};

use super::{Subject, enqueue, holdings::let_go_of_unnamed};
use crate::{limit, lock::Ability};

/// Where a blob stands on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlobState {
    Live,
    Condemned,
    Deleting,
}

impl BlobState {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Condemned => "condemned",
            Self::Deleting => "deleting",
        }
    }
}

/// A blob's row.
#[derive(Clone, Debug)]
pub(crate) struct BlobRow {
    pub(crate) copy: BlobCopy,
    pub(crate) size: u64,
    pub(crate) state: BlobState,
    /// Grows with each change of state, and with each copy.
    pub(crate) generation: i64,
    pub(crate) pinned_until: Timestamp,
    /// When the state became this.
    pub(crate) changed_at: Timestamp,
    /// Why its bytes cannot be served.
    pub(crate) damage: Option<String>,
}

impl BlobRow {
    /// Somebody may be given its bytes.
    pub(crate) const fn is_readable(&self) -> bool {
        matches!(self.state, BlobState::Live) && self.damage.is_none()
    }

    /// Its bytes are there, and whoever names it keeps them.
    pub(crate) const fn is_present(&self) -> bool {
        !matches!(self.state, BlobState::Deleting) && self.damage.is_none()
    }
}

/// The table that [`blob`] reads.
pub(crate) const BLOBS_IN: &[&str] = &["registry_blobs"];

pub(super) const BLOB: &str = "SELECT copy, size, state, generation, pinned_until, changed_at, damage
     FROM registry_blobs WHERE digest = $1";

pub(crate) fn read_blob(digest: &Digest, row: &Row) -> Result<BlobRow, DbError> {
    let upload = row.bytes_opt(0)?.map(UploadId::from_bytes).transpose();
    let upload = upload.map_err(|_| row.wrong(0, "an id"))?;
    let state = match row.text(2)? {
        "live" => BlobState::Live,
        "condemned" => BlobState::Condemned,
        "deleting" => BlobState::Deleting,
        _ => return Err(row.wrong(2, "a state")),
    };
    Ok(BlobRow {
        copy: BlobCopy { digest: *digest, upload },
        size: row.count(1)?,
        state,
        generation: row.int(3)?,
        pinned_until: Timestamp::from_micros(row.int(4)?),
        changed_at: Timestamp::from_micros(row.int_opt(5)?.unwrap_or_default()),
        damage: row.text_opt(6)?.map(str::to_owned),
    })
}

pub(crate) async fn blob(db: &Db, digest: &Digest) -> Result<Option<BlobRow>, DbError> {
    let row = db.fetch_optional(BLOB, args![&digest.to_string()]).await?;
    row.map(|row| read_blob(digest, &row)).transpose()
}

/// [`blob`] as the transaction sees it.
pub(crate) async fn blob_in(tx: &mut Tx<'_>, digest: &Digest) -> Result<Option<BlobRow>, DbError> {
    let row = tx.fetch_optional(BLOB, args![&digest.to_string()]).await?;
    row.map(|row| read_blob(digest, &row)).transpose()
}

/// Until when a blob is kept that somebody was told of now.
pub(crate) fn pin_from(now: Timestamp) -> Timestamp {
    now.plus_seconds(limit::LEASE_SECONDS)
}

/// True when so little of a pin is left that it is worth a write to prolong it.
pub(crate) fn is_worn(pinned_until: Timestamp, now: Timestamp) -> bool {
    pinned_until < now.plus_seconds(limit::LEASE_SECONDS / 2)
}

/// Keeps a blob's bytes for whoever is about to name it, and takes it back if it was condemned; false
/// when they are not there.
pub(crate) async fn pin(tx: &mut Tx<'_>, digest: &Digest, now: Timestamp) -> Result<bool, DbError> {
    let Some(row) = blob_in(tx, digest).await?.filter(BlobRow::is_present) else { return Ok(false) };
    match row.state {
        BlobState::Live if is_worn(row.pinned_until, now) => {
            let sql = "UPDATE registry_blobs SET pinned_until = $2 WHERE digest = $1";
            tx.execute(sql, args![&digest.to_string(), pin_from(now).as_micros()]).await?;
        }
        BlobState::Live => {}
        BlobState::Condemned | BlobState::Deleting => revive(tx, digest, now).await?,
    }
    Ok(true)
}

/// Takes a condemned blob back. Its review stays, and finds it live.
async fn revive(tx: &mut Tx<'_>, digest: &Digest, now: Timestamp) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_blobs SET state = 'live', generation = generation + 1, pinned_until = $2, changed_at = $3
         WHERE digest = $1 AND state = 'condemned'",
        args![&digest.to_string(), pin_from(now).as_micros(), now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// What became of a copy that was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It is the first.
    New,
    /// There is one, which stays.
    Present,
    /// It replaces this one, which was being removed or is damaged.
    Replaces(BlobCopy),
}

/// Enters a stored copy, and pins the blob.
pub(crate) async fn enter_blob(
    tx: &mut Tx<'_>,
    (copy, size): (&BlobCopy, u64),
    now: Timestamp,
) -> Result<Entered, DbError> {
    let (digest, upload) = (copy.digest.to_string(), copy.upload.as_ref().map(UploadId::as_bytes));
    let until = pin_from(now);
    let inserted = tx
        .execute(
            "INSERT INTO registry_blobs (digest, size, state, generation, pinned_until, stored_at, copy, changed_at)
             VALUES ($1, $2, 'live', 1, $3, $4, $5, $4) ON CONFLICT (digest) DO NOTHING",
            args![&digest, size, until.as_micros(), now.as_micros(), upload],
        )
        .await?;
    let review = Subject::Blob(copy.digest);
    if inserted == 1 {
        enqueue(tx, &review, until, "stored").await?;
        return Ok(Entered::New);
    }
    let Some(row) = blob_in(tx, &copy.digest).await? else { return Ok(Entered::New) };
    if row.is_present() {
        pin(tx, &copy.digest, now).await?;
        return Ok(Entered::Present);
    }
    tx.execute(
        "UPDATE registry_blobs SET state = 'live', generation = generation + 1, copy = $2, size = $3,
             pinned_until = $4, stored_at = $5, changed_at = $5, damage = NULL, scrubbed_at = NULL
         WHERE digest = $1",
        args![&digest, upload, size, until.as_micros(), now.as_micros()],
    )
    .await?;
    enqueue(tx, &review, until, "stored").await?;
    Ok(Entered::Replaces(row.copy))
}

/// What keeps a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A manifest names it, or one that can be restored does. What may stay away is kept where it was brought.
    Named,
    /// It is pinned, or was brought somewhere, and is looked at again then.
    Until(Timestamp),
    /// Nothing.
    Nothing,
}

/// What keeps a blob now. A manifest that is being pushed and would keep it makes this transaction, or
/// itself, start over.
pub(crate) async fn hold_on(tx: &mut Tx<'_>, row: &BlobRow, now: Timestamp) -> Result<Hold, DbError> {
    let digest = row.copy.digest.to_string();
    let named = tx
        .fetch_optional(
            "SELECT 1 FROM registry_references AS f WHERE f.digest = $1 AND f.kind <> 'child'
               AND (f.kind <> 'foreign' OR EXISTS (SELECT 1 FROM registry_holdings AS h
                   WHERE h.repository = f.repository AND h.digest = f.digest))
             UNION ALL
             SELECT 1 FROM registry_deleted_references
             WHERE digest = $1 AND kind NOT IN ('child', 'foreign', 'subject') LIMIT 1",
            args![&digest],
        )
        .await?;
    if named.is_some() {
        return Ok(Hold::Named);
    }
    if row.pinned_until > now {
        return Ok(Hold::Until(row.pinned_until));
    }
    // From before there were pins.
    let linked = tx
        .fetch_optional("SELECT MAX(linked_at) FROM registry_links WHERE digest = $1", args![&digest])
        .await?;
    let linked = linked.map(|row| row.int_opt(0)).transpose()?.flatten();
    let until = linked.map(|at| pin_from(Timestamp::from_micros(at))).filter(|until| *until > now);
    Ok(until.map_or(Hold::Nothing, Hold::Until))
}

/// Moves a blob on from the state it was seen in; false when it is not in it any more.
pub(crate) async fn set_state(
    tx: &mut Tx<'_>,
    row: &BlobRow,
    state: BlobState,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_blobs SET state = $3, generation = generation + 1, changed_at = $4
             WHERE digest = $1 AND generation = $2",
            args![&row.copy.digest.to_string(), row.generation, state.word(), now.as_micros()],
        )
        .await?;
    Ok(changed == 1)
}

/// Forgets a blob whose bytes are gone, with the links to it; false when it was brought again meanwhile.
pub(crate) async fn forget_blob(tx: &mut Tx<'_>, digest: &Digest, generation: i64) -> Result<bool, DbError> {
    let text = digest.to_string();
    let removed = tx
        .execute(
            "DELETE FROM registry_blobs WHERE digest = $1 AND state = 'deleting' AND generation = $2",
            args![&text, generation],
        )
        .await?;
    if removed == 1 {
        tx.remove_small_blob(crate::ROOM, digest).await?;
        tx.execute("DELETE FROM registry_links WHERE digest = $1", args![&text]).await?;
        let_go_of_unnamed(tx, digest).await?;
    }
    Ok(removed == 1)
}

/// True when `principal` brought the blob, or mounted it: it may read it until a manifest decides, and name it.
pub(crate) async fn has_link(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    principal: &str,
) -> Result<bool, DbError> {
    let row = db.fetch_optional(LINK, args![repository.as_str(), &digest.to_string(), principal]).await?;
    Ok(row.is_some())
}

const LINK: &str = "SELECT 1 FROM registry_links
     WHERE repository = $1 AND digest = $2 AND principal = $3 AND reader = 1";

/// [`has_link`] as the transaction sees it.
pub(crate) async fn has_link_in(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    principal: &str,
) -> Result<bool, DbError> {
    let row = tx.fetch_optional(LINK, args![repository.as_str(), &digest.to_string(), principal]).await?;
    Ok(row.is_some())
}

pub(crate) async fn insert_link(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    principal: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_links (repository, digest, principal, reader, linked_at)
         VALUES ($1, $2, $3, 1, $4) ON CONFLICT (repository, digest, principal) DO UPDATE SET
             reader = 1, linked_at = $4",
        args![repository.as_str(), &digest.to_string(), principal, now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Length of a blob that a manifest of `repository` by `pusher` may name: a manifest there that is not locked against
/// reading names it already; or one did until lately and the blob is pinned, so who asked was told that it is here; or the
/// pusher brought it. What only a manifest of an upstream names is not, until its bytes came. One that was condemned is
/// taken back.
pub(crate) async fn name_blob(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    pusher: &str,
    now: Timestamp,
) -> Result<Option<u64>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT size, state FROM registry_blobs WHERE digest = $2 AND state <> 'deleting' AND damage IS NULL
             AND (EXISTS (SELECT 1 FROM registry_links
                      WHERE repository = $1 AND digest = $2 AND principal = $3 AND reader = 1)
                  OR EXISTS (SELECT 1 FROM registry_references AS f
                      LEFT JOIN registry_manifests AS m ON m.repository = $1 AND m.digest = f.manifest
                      WHERE f.repository = $1 AND f.digest = $2 AND f.kind <> 'foreign' AND f.kind <> 'child'
                        AND (COALESCE(m.locks, 0) & $4) = 0
                        AND (NOT EXISTS (SELECT 1 FROM registry_cached AS c
                                WHERE c.repository = $1 AND c.digest = f.manifest)
                             OR EXISTS (SELECT 1 FROM registry_links AS l
                                WHERE l.repository = $1 AND l.digest = $2 AND l.reader = 1)))
                  OR pinned_until > $6 AND EXISTS (SELECT 1 FROM registry_deleted_references AS f
                      JOIN registry_deleted AS d ON d.repository = $1 AND d.digest = f.manifest
                          AND d.kind = 'manifest' AND d.name = ''
                      JOIN registry_repositories AS r ON r.path = $1 AND r.created_at <= d.deleted_at
                      WHERE f.repository = $1 AND f.digest = $2 AND f.kind IN ('config', 'layer', 'blob')
                        AND d.deleted_at > $5 AND (COALESCE(d.locks, 0) & $4) = 0
                        AND (NOT EXISTS (SELECT 1 FROM registry_cached AS c
                                WHERE c.repository = $1 AND c.digest = f.manifest)
                             OR EXISTS (SELECT 1 FROM registry_links AS l
                                WHERE l.repository = $1 AND l.digest = $2 AND l.reader = 1))))",
            args![
                repository.as_str(),
                &digest.to_string(),
                pusher,
                Ability::Read.bit(),
                now.plus_seconds(-limit::LEASE_SECONDS / 2).as_micros(),
                now.as_micros(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.text(1)? == BlobState::Condemned.word() {
        revive(tx, digest, now).await?;
    }
    Ok(Some(row.count(0)?))
}
