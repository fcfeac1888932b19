//! Reading stored bytes now and then, slowly: disks forget. One server of all does it.

use std::time::Duration;

use seaworthy_model::{Actor, UploadId};
use seaworthy_store::{DbError, chain};
use tokio_util::sync::CancellationToken;

use crate::{
    Registry, RegistryError,
    db::{self, BlobRow},
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
        let before = now.plus_seconds(-limit::SCRUB_DAYS * 24 * 3600);
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
            if row.is_present() {
                self.scrub_one(row).await?;
            }
        }
        let folder = round.folder;
        round.folder = (folder + 1) % FOLDERS;
        // They are told of first: `registry verify` shows them a week before they go.
        for file in self.orphans(folder, limit::ORPHAN_SWEEP_SECONDS, &mut 0).await? {
            tracing::info!(digest = %file.copy.digest, bytes = file.size, "removing a file that no row names");
            self.remove_orphan(&Actor::system(), &file).await?;
        }
        Ok(())
    }

    async fn scrub_one(&self, row: &BlobRow) -> Result<(), RegistryError> {
        if let Some(damage) = self.look_at(row, Depth::Bytes).await? {
            return self.damaged(row, damage).await;
        }
        let context = (row.clone(), self.inner.clock.now());
        self.db()
            .upkeep(context, |(row, now), tx| Box::pin(async move { db::set_scrubbed(tx, row, *now).await }))
            .await
            .map_err(|error: DbError| RegistryError::Db(error))
    }

    /// Keeps damaged bytes from everybody; a push of them heals the blob.
    pub(crate) async fn damaged(&self, row: &BlobRow, damage: &'static str) -> Result<(), RegistryError> {
        tracing::error!(digest = %row.copy.digest, damage, "a blob is damaged; push it again to heal it");
        let context = (row.clone(), damage, self.inner.clock.now());
        self.db()
            .upkeep(context, |(row, damage, now), tx| {
                Box::pin(async move { db::set_damage(tx, row, damage, *now).await.map(|_| ()) })
            })
            .await
            .map_err(|error: DbError| RegistryError::Db(error))
    }

    /// How many blobs are damaged.
    pub async fn damaged_blobs(&self) -> Result<u64, RegistryError> {
        Ok(db::count_damaged(self.db()).await?)
    }
}
