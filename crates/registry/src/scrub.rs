//! Reading stored bytes now and then, slowly: disks forget. One server of all does it.

use std::time::Duration;

use seaworthy_model::{Actor, UploadId};
use seaworthy_store::{BlobError, chain, limit::SMALL_BLOB_BYTES};
use tokio_util::sync::CancellationToken;

use crate::{
    Registry, RegistryError,
    db::{self, BlobRow, BlobState},
    limit,
    verify::{Depth, FOLDERS},
};

/// Where the round stands. It is begun anew by each start, and what was read lately is passed over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    after: String,
    folder: u16,
}

impl Registry {
    /// Reads what was not read for long, and removes files that nobody knows, until cancelled.
    pub async fn scrub(self, cancel: CancellationToken) {
        let owner = UploadId::generate().to_string();
        let mut round = Round::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(limit::SCRUB_SECONDS)) => {}
                () = cancel.cancelled() => return,
            }
            let scrubbed = tokio::select! {
                scrubbed = self.scrub_as(&owner, &mut round) => scrubbed,
                () = cancel.cancelled() => return,
            };
            if let Err(error) = scrubbed {
                tracing::warn!(error = %chain(&error), "reading stored bytes failed");
            }
        }
    }

    async fn scrub_as(&self, owner: &str, round: &mut Round) -> Result<(), RegistryError> {
        let seconds = 3 * i64::try_from(limit::SCRUB_SECONDS).unwrap_or(60);
        if self.db().acquire_lease("registry_scrub", owner, seconds).await?.is_none() {
            return Ok(());
        }
        self.scrub_some(round).await
    }

    /// Reads up to [`limit::SCRUB_BYTES`], and looks through one folder of files.
    pub(crate) async fn scrub_some(&self, round: &mut Round) -> Result<(), RegistryError> {
        let now = self.inner.clock.now();
        let before =
            (now.plus_seconds(-limit::SCRUB_DAYS * 24 * 3600), now.plus_seconds(-limit::DAMAGED_SECONDS));
        let mut bytes = 0;
        for _ in 0..limit::PAGE {
            if bytes >= limit::SCRUB_BYTES {
                break;
            }
            let rows = db::blobs_page(self.db(), &round.after, before, 1).await?;
            let Some(row) = rows.first() else {
                round.after.clear();
                break;
            };
            round.after = row.copy.digest.to_string();
            bytes += row.size;
            if row.state != BlobState::Deleting {
                self.scrub_one(row).await?;
            }
        }
        let folder = round.folder;
        round.folder = (folder + 1) % FOLDERS;
        // They are told of first: `registry verify` shows them a week before they go.
        for file in self.orphans(folder, limit::ORPHAN_SWEEP_SECONDS, &mut 0).await? {
            let done = self.end_orphan(&Actor::system(), &file).await?;
            tracing::info!(digest = %file.copy.digest, bytes = file.size, done, "a file that no row names");
        }
        Ok(())
    }

    async fn scrub_one(&self, row: &BlobRow) -> Result<(), RegistryError> {
        let damage = self.look_at(row, Depth::Bytes).await?;
        if let Some(damage) = damage.filter(|_| row.damage.is_none()) {
            return self.damaged(row, damage).await;
        }
        let is_healed = damage.is_none() && row.damage.is_some();
        if is_healed {
            tracing::info!(digest = %row.copy.digest, "a blob that was damaged is whole again");
        }
        let context = (row.clone(), is_healed, self.inner.clock.now());
        self.in_upkeep(context, |(row, is_healed, now), tx| {
            Box::pin(async move {
                if *is_healed {
                    return db::clear_damage(tx, row, *now).await.map(|_| ());
                }
                db::set_scrubbed(tx, row, *now).await
            })
        })
        .await
    }

    /// Keeps damaged bytes from everybody; a push of them heals the blob, and so does a look that finds them
    /// whole. Files that are all away mark nothing.
    pub(crate) async fn damaged(&self, row: &BlobRow, damage: &'static str) -> Result<(), RegistryError> {
        if self.is_away(row, damage) {
            tracing::error!(digest = %row.copy.digest, "no file of a blob is there: is its disk mounted?");
            return Ok(());
        }
        tracing::error!(digest = %row.copy.digest, damage, "a blob is damaged; push it again to heal it");
        let context = (row.clone(), damage, self.inner.clock.now());
        self.in_upkeep(context, |(row, damage, now), tx| {
            Box::pin(async move { db::set_damage(tx, row, damage, *now).await.map(|_| ()) })
        })
        .await
    }

    /// Whether the file of a blob is there by its length: who brings it, or is told not to, must not be told wrong. What is
    /// not there is marked.
    pub(crate) async fn see(&self, row: &BlobRow) -> Result<bool, RegistryError> {
        if row.size <= SMALL_BLOB_BYTES as u64 {
            return Ok(true);
        }
        let Some(damage) = self.look_at(row, Depth::Lengths).await? else { return Ok(true) };
        if self.is_away(row, damage) {
            return Err(BlobError::Away.into());
        }
        self.damaged(row, damage).await?;
        Ok(false)
    }

    /// True when a file is missing because all are: a disk that is not mounted says nothing of one blob, and neither do
    /// wrong rights.
    pub(crate) fn is_away(&self, row: &BlobRow, damage: &str) -> bool {
        row.size > SMALL_BLOB_BYTES as u64
            && (damage == "denied" || (matches!(damage, "missing" | "unreadable") && self.blobs().is_away()))
    }

    /// How many blobs are damaged.
    pub async fn damaged_blobs(&self) -> Result<u64, RegistryError> {
        Ok(db::count_damaged(self.db()).await?)
    }
}
