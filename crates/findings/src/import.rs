//! Imports: from files to an active generation, one at a time over all replicas.
//!
//! Order of durability: state `importing` → blobs named as garbage → blobs → one transaction that
//! makes the generation active and names what it causes → results and events, in batches → state
//! `settled`. A crash between any two is finished or undone by [`Findings::recover`].

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use seaworthy_advisories::{CompiledSegment, Import, Index, Segment};
use seaworthy_model::{Actor, FeedState, UploadId};
use seaworthy_oci::Digest;
use seaworthy_store::{DbError, Lease, Stored, chain, limit::SMALL_BLOB_BYTES};
use serde_json::json;

use crate::{
    Findings, FindingsError, ImportOutcome, ImportReport, ROOM,
    activation::Activation,
    db::{self, SegmentRow},
    generation::Generation,
    input::{Gathered, gather, summary},
    limit,
    report::{is_same, report, to_json},
};

const LEASE: &str = "findings-import";

impl Findings {
    /// Imports files and folders. Whole or not at all: one damaged file fails the import. Of several
    /// files of one feed the newest counts; single OSV records change the feed `local`.
    ///
    /// Waits for an import that is running, at most a minute. Returns when every image has its new
    /// findings. Dropped midway, it is finished or undone by [`Findings::recover`].
    pub async fn import(&self, actor: &Actor, paths: &[PathBuf]) -> Result<ImportReport, FindingsError> {
        let paths = paths.to_vec();
        let found = tokio::task::spawn_blocking(move || gather(&paths))
            .await
            .map_err(|_| FindingsError::Interrupted { step: "listing files" })??;
        let owner = UploadId::generate().to_string();
        let lease = self.import_lease(&owner).await?;
        let outcome = self.holding(&lease, &owner, self.import_holding(actor, found, &lease)).await;
        self.release(&lease).await;
        outcome
    }

    /// Finishes what a process that ended in the middle of an import left: the rematch of an activated
    /// generation, or the state. False when there was nothing, or another replica is at it.
    pub async fn recover(&self) -> Result<bool, FindingsError> {
        if db::state(self.db()).await?.feeds == FeedState::Settled {
            return Ok(false);
        }
        let owner = UploadId::generate().to_string();
        let Some(lease) = self.db().acquire_lease(LEASE, &owner, limit::LEASE_SECONDS).await? else {
            return Ok(false);
        };
        let outcome = self.holding(&lease, &owner, self.finish_interrupted(&lease)).await;
        self.release(&lease).await;
        outcome
    }

    /// The part of [`Findings::recover`] that takes no time: the state, when nothing was activated.
    pub(crate) async fn settle_interrupted(&self) -> Result<(), FindingsError> {
        if db::rematch(self.db()).await?.is_none() {
            self.recover().await?;
        }
        Ok(())
    }

    async fn finish_interrupted(&self, lease: &Lease) -> Result<bool, FindingsError> {
        if db::state(self.db()).await?.feeds == FeedState::Settled {
            return Ok(false);
        }
        let done = self.rematch(lease).await?;
        self.settle(lease).await?;
        self.collect_garbage(lease).await?;
        tracing::info!(sets = done.sets, changed = done.changed, "finished an interrupted import");
        Ok(true)
    }

    /// An owner for each import: two in one process exclude each other as two replicas do.
    async fn import_lease(&self, owner: &str) -> Result<Lease, FindingsError> {
        for _ in 0..limit::LEASE_TRIES {
            if let Some(lease) = self.db().acquire_lease(LEASE, owner, limit::LEASE_SECONDS).await? {
                return Ok(lease);
            }
            tokio::time::sleep(Duration::from_millis(limit::LEASE_RETRY_MS)).await;
        }
        Err(FindingsError::Busy)
    }

    /// Runs `work` and renews the lease meanwhile; ends it when the lease is lost.
    async fn holding<T>(
        &self,
        lease: &Lease,
        owner: &str,
        work: impl Future<Output = Result<T, FindingsError>>,
    ) -> Result<T, FindingsError> {
        tokio::pin!(work);
        let renewal = Duration::from_secs(u64::try_from(limit::LEASE_SECONDS / 3).unwrap_or(1));
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                () = tokio::time::sleep(renewal) => {}
            }
            match self.db().acquire_lease(lease.name, owner, limit::LEASE_SECONDS).await {
                Ok(Some(renewed)) if renewed.epoch == lease.epoch => {}
                Ok(_) => return Err(DbError::LeaseLost.into()),
                Err(error) => tracing::warn!(error = %chain(&error), "renewing an import's lease failed"),
            }
        }
    }

    async fn release(&self, lease: &Lease) {
        if let Err(error) = self.db().release_lease(lease).await {
            tracing::warn!(error = %chain(&error), "releasing an import's lease failed; it will expire");
        }
    }

    async fn import_holding(
        &self,
        actor: &Actor,
        found: Gathered,
        lease: &Lease,
    ) -> Result<ImportReport, FindingsError> {
        self.finish_interrupted(lease).await?;
        let revision = self.begin(actor, lease).await?;
        let mut report = match self.activate(actor, found, (lease, revision)).await {
            Ok(report) => report,
            Err(error) => {
                self.undo(lease, revision, &error).await;
                return Err(error);
            }
        };
        // From here on the import stands, whatever happens: `recover` does what is left.
        match self.conclude(lease, revision, &mut report).await {
            Ok(()) => tracing::info!(generation = report.generation, "imported advisories"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "matching again was cut off, it will be finished");
            }
        }
        Ok(report)
    }

    async fn begin(&self, actor: &Actor, lease: &Lease) -> Result<i64, FindingsError> {
        let context = (lease.clone(), actor.name.clone(), self.db().now());
        let begun: Result<i64, DbError> = self
            .db()
            .upkeep(context, |(lease, actor, now), tx| {
                Box::pin(async move {
                    tx.check_lease(lease).await?;
                    let revision = db::set_state(tx, FeedState::Importing, *now).await?;
                    db::insert_import(tx, revision, actor, *now).await?;
                    Ok(revision)
                })
            })
            .await;
        Ok(begun?)
    }

    /// Reads everything and makes it the active generation, in one transaction.
    async fn activate(
        &self,
        actor: &Actor,
        mut found: Gathered,
        (lease, revision): (&Lease, i64),
    ) -> Result<ImportReport, FindingsError> {
        let base = self.generation().await?;
        let imports = self.read_all(&mut found).await?;
        let (import, index_hash) = merge(imports, &base).await?;
        let mut activation = Activation {
            lease: lease.clone(),
            revision,
            base: base.number,
            report: report(&import, &base, summary(&import, found.skipped)),
            rows: Vec::new(),
            small: Vec::new(),
            index_hash,
            now: self.db().now(),
        };
        if activation.report.outcome == ImportOutcome::Imported {
            self.store_segments(import, &base, &mut activation).await?;
        }
        seaworthy_ledger::write(self.db(), actor, activation, |activation, tx| {
            Box::pin(async move { Ok::<_, FindingsError>(activation.store(tx).await?) })
        })
        .await
    }

    async fn read_all(&self, found: &mut Gathered) -> Result<Vec<Import>, FindingsError> {
        let sources = std::mem::take(&mut found.sources);
        futures_util::stream::iter(sources)
            .map(|source| {
                let reader = self.inner.config.reader.clone();
                async move {
                    tokio::task::spawn_blocking(move || reader.read(source))
                        .await
                        .map_err(|_| FindingsError::Interrupted { step: "reading a feed" })?
                }
            })
            .buffered(limit::READERS)
            .try_collect()
            .await
    }

    /// Makes the segments that differ durable, and fills in the rows of the new generation.
    async fn store_segments(
        &self,
        import: Import,
        base: &Generation,
        activation: &mut Activation,
    ) -> Result<(), FindingsError> {
        let mut rows: BTreeMap<String, SegmentRow> = db::segments(self.db(), base.number)
            .await?
            .into_iter()
            .map(|row| (row.feed.clone(), row))
            .collect();
        for segment in import.segments {
            if is_same(base, &segment) {
                continue;
            }
            let CompiledSegment { feed, records, newest, covers, content_hash, bytes } = segment;
            let size = bytes.len() as u64;
            let digest = Digest::sha256(&bytes);
            let context = (activation.lease.clone(), digest, size);
            let named: Result<(), DbError> = self
                .db()
                .upkeep(context, |(lease, digest, size), tx| {
                    Box::pin(async move {
                        tx.check_lease(lease).await?;
                        db::insert_garbage(tx, digest, *size).await
                    })
                })
                .await;
            named?;
            if let Stored::Small(small) = self.blobs().put(ROOM, bytes.into()).await? {
                activation.small.push(small);
            }
            let since = base.number + 1;
            let row = SegmentRow { feed, digest, size, content_hash, records, newest, covers, since };
            rows.insert(row.feed.clone(), row);
        }
        activation.rows = rows.into_values().collect();
        Ok(())
    }

    /// Everything that a successful import still causes.
    async fn conclude(
        &self,
        lease: &Lease,
        revision: i64,
        report: &mut ImportReport,
    ) -> Result<(), FindingsError> {
        if report.outcome == ImportOutcome::Imported {
            let rematched = self.rematch(lease).await?;
            self.settle(lease).await?;
            report.rematched = Some(rematched);
            self.remember(revision, report).await?;
        }
        self.collect_garbage(lease).await
    }

    async fn remember(&self, revision: i64, report: &ImportReport) -> Result<(), FindingsError> {
        let context = (revision, report.outcome.word(), to_json(report), self.db().now());
        let stored: Result<(), DbError> = self
            .db()
            .upkeep(context, |(revision, word, report, now), tx| {
                Box::pin(db::finish_import(tx, *revision, word, report, *now))
            })
            .await;
        Ok(stored?)
    }

    /// Nothing was activated: only the state goes back.
    async fn undo(&self, lease: &Lease, revision: i64, error: &FindingsError) {
        let report = json!({ "error": chain(error).chars().take(2_000).collect::<String>() }).to_string();
        let context = (lease.clone(), revision, report, self.db().now());
        let undone: Result<(), DbError> = self
            .db()
            .upkeep(context, |(lease, revision, report, now), tx| {
                Box::pin(async move {
                    tx.check_lease(lease).await?;
                    if db::is_rematching(tx).await? {
                        // The commit was reported lost and is there: the import stands, `recover` goes on.
                        return Ok(());
                    }
                    db::finish_import(tx, *revision, "failed", report, *now).await?;
                    db::set_state(tx, FeedState::Settled, *now).await.map(|_| ())
                })
            })
            .await;
        if let Err(error) = undone {
            tracing::warn!(error = %chain(&error), "settling a failed import failed, it will be tried again");
        }
    }

    /// Removes segments that no generation needs. Readers that still map one keep it.
    async fn collect_garbage(&self, lease: &Lease) -> Result<(), FindingsError> {
        for (digest, size) in db::garbage(self.db()).await? {
            if size > SMALL_BLOB_BYTES as u64 {
                self.blobs().remove(ROOM, &(&digest).into()).await?;
            }
            let removed: Result<(), DbError> = self
                .db()
                .upkeep((lease.clone(), digest), |(lease, digest), tx| {
                    Box::pin(async move {
                        tx.check_lease(lease).await?;
                        tx.remove_small_blob(ROOM, digest).await?;
                        db::delete_garbage(tx, digest).await
                    })
                })
                .await;
            removed?;
        }
        Ok(())
    }
}

/// One import of several, and the hash of the index that it makes.
async fn merge(imports: Vec<Import>, base: &Generation) -> Result<(Import, String), FindingsError> {
    let base = base.clone();
    tokio::task::spawn_blocking(move || {
        let import = Import::merge(imports, base.segment("local").map(AsRef::as_ref))?;
        let mut segments: Vec<Arc<Segment>> = base.index.segments().to_vec();
        for segment in import.segments.iter().filter(|segment| !is_same(&base, segment)) {
            segments.push(Arc::new(segment.open()?));
        }
        let hash = Index::new(segments).hash().to_owned();
        Ok((import, hash))
    })
    .await
    .map_err(|_| FindingsError::Interrupted { step: "putting feeds together" })?
}
