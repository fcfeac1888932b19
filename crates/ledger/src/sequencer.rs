//! The one writer of tiles: numbers leaves, writes bundles and tiles, signs the checkpoint.
//!
//! Order of durability: leaf (with its change) → number → bundles and tiles → head in SQL →
//! checkpoint file → partial files whose full one is there go. A crash between any two is finished
//! by the next run from what is in SQL. Narrower partial files stay until then: whoever read an
//! older checkpoint still needs them (C2SP tlog-tiles, "Partial Tiles").

use std::{path::Path, sync::Arc, time::Duration};

use seaworthy_store::{Db, DbError, Lease, chain};
use seaworthy_trust::{Checkpoint, Signer, TILE_WIDTH, Tile, encode_entry, leaf_hash};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    LedgerError,
    db::{self, Head},
    files::{Above, Batch, Files},
    limit,
    tree::Edge,
};

/// Rung by every commit that appended a leaf.
pub(crate) const BELL: &str = "ledger";
const LEASE: &str = "ledger-sequencer";
/// There while what is in SQL is known not to be what was signed; says what was found.
const MISMATCH: &str = "mismatch";

/// Builds the tree. One per process; of several replicas the holder of the lease works.
pub struct Sequencer {
    db: Db,
    files: Files,
    signer: Arc<Signer>,
    owner: String,
    edge: Edge,
    /// Entries of the bundle that is not full yet.
    bundle: Vec<u8>,
    /// Full bundles and tiles since the last head, whose partial files are to go.
    filled: Vec<String>,
    /// True once the records in SQL were found to have the root that was signed.
    looked: bool,
    /// Until a step has made them durable.
    above: Above,
    /// Held since the last step.
    lease: Option<Lease>,
}

impl Sequencer {
    /// A sequencer over the leaves in `db`, writing below `directory` (DATA/ledger).
    ///
    /// The tree up to the last signed head is recomputed from SQL, and a root that differs is an error: a ledger
    /// that lost or changed a record must not go on as if it had not. Up to [`limit::LOOK_FIRST`] records that
    /// happens here; with more, [`run`](Self::run) does it before it numbers or signs anything, unless a
    /// difference was found at an earlier time (ADR 0025).
    pub async fn open(
        db: Db,
        directory: &Path,
        signer: Arc<Signer>,
        owner: String,
    ) -> Result<Self, LedgerError> {
        let mut sequencer = Self {
            db,
            files: Files::new(directory),
            signer,
            owner,
            edge: Edge::default(),
            bundle: Vec::new(),
            filled: Vec::new(),
            looked: false,
            above: Above::Unknown,
            lease: None,
        };
        let head = sequencer.signed_head().await?;
        if head.map_or(0, |head| head.size) <= limit::LOOK_FIRST || sequencer.files.read(MISMATCH)?.is_some()
        {
            sequencer.look().await.inspect_err(|error| sequencer.remember(error))?;
        }
        Ok(sequencer)
    }

    /// Works until cancelled, and once more then, so that a clean stop leaves nothing unsigned (but one before the
    /// look is done). Ends before that with what says that the ledger is not what was signed, or when it cannot be
    /// looked at: nothing may go on then.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), LedgerError> {
        let bell = self.db.bell(BELL);
        let mut next = Instant::now();
        for tried in 1.. {
            if self.looked {
                break;
            }
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                outcome = self.look() => outcome,
            };
            let Err(error) = outcome else { break };
            if tried == limit::LOOKS {
                self.remember(&error);
                return Err(error);
            }
            self.unless_evidence(error)?;
            tokio::time::sleep(Duration::from_millis(limit::POLL_MS)).await;
        }
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let (begun, before) = (Instant::now(), self.edge.size());
            let is_last = cancel.is_cancelled();
            if let Err(error) = self.step().await {
                self.unless_evidence(error)?;
            }
            if is_last {
                self.release().await;
                return Ok(());
            }
            if self.edge.size() != before {
                next = begun + Duration::from_millis(limit::CHECKPOINT_MS);
            }
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep(Duration::from_millis(limit::POLL_MS)) => {}
                () = cancel.cancelled() => continue,
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = cancel.cancelled() => {}
            }
        }
    }

    /// Lets another replica go on at once.
    async fn release(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if let Err(error) = self.db.release_lease(&lease).await {
            tracing::warn!(error = %chain(&error), "releasing the ledger's lease failed; it will expire");
        }
    }

    /// What a later attempt may mend is logged. What says that the ledger is not what was signed stays an error,
    /// and is remembered in a file: the next start looks before anything else.
    fn unless_evidence(&self, error: LedgerError) -> Result<(), LedgerError> {
        self.remember(&error);
        if error.is_evidence() {
            return Err(error);
        }
        tracing::error!(error = %chain(&error), "ledger sequencer failed, will try again");
        Ok(())
    }

    /// Keeps what is evidence, for the next start.
    fn remember(&self, error: &LedgerError) {
        if !error.is_evidence() {
            return;
        }
        let said = format!("{}\n", chain(error));
        if let Err(error) = self.files.write(MISMATCH, said.as_bytes()) {
            tracing::error!(error = %chain(&error), "what was found in the ledger cannot be kept");
        }
    }

    /// Numbers, writes and signs what is waiting when it begins; false when another replica has the lease. What comes
    /// meanwhile is for the next one: under a load there is always something.
    pub async fn step(&mut self) -> Result<bool, LedgerError> {
        self.lease = self.db.acquire_lease(LEASE, &self.owner, limit::LEASE_SECONDS).await?;
        let Some(lease) = self.lease.clone() else { return Ok(false) };
        let head = db::head(&self.db).await?;
        if head.as_ref().map_or(0, |head| head.size) != self.edge.size() {
            // Another replica signed meanwhile: start over from what is in SQL.
            self.look().await?;
        }
        loop {
            let from = self.edge.size();
            let numbered = db::number_leaves(&self.db, &lease).await?;
            if numbered == from {
                self.publish_missing(head.as_ref())?;
                return Ok(true);
            }
            self.extend(&lease, numbered).await?;
            if numbered - from < limit::BATCH.unsigned_abs() {
                return Ok(true);
            }
        }
    }

    async fn extend(&mut self, lease: &Lease, to: u64) -> Result<(), LedgerError> {
        let from = self.edge.size();
        let (edge, bundle) = (self.edge.clone(), self.bundle.clone());
        let outcome = self.write_up_to(to).await;
        let stored = match outcome {
            Ok(head) => {
                db::store_head(&self.db, lease, from, &head).await.map(|()| head).map_err(LedgerError::from)
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok(head) => self.publish(&head),
            Err(error) => {
                // What was written is below the signed size or equal to what will be written again.
                (self.edge, self.bundle) = (edge, bundle);
                self.filled.clear();
                self.above = Above::Unknown;
                Err(error)
            }
        }
    }

    /// Replaces the checkpoint file; then what only older ones needed goes.
    fn publish(&mut self, head: &Head) -> Result<(), LedgerError> {
        self.files.write("checkpoint", head.checkpoint.as_bytes())?;
        self.filled.drain(..).for_each(|name| self.files.remove_partials(&name));
        Ok(())
    }

    /// Writes bundles and tiles for the leaves up to `to`, and signs.
    async fn write_up_to(&mut self, to: u64) -> Result<Head, LedgerError> {
        let from = self.edge.size();
        let rows = db::leaves(&self.db, from, to).await?;
        if rows.len() as u64 != to - from {
            return Err(LedgerError::Missing { from, to });
        }
        let mut batch = self.files.batch(self.above);
        for row in rows {
            self.append(&mut batch, row.position, row.leaf.as_bytes())?;
        }
        if !self.bundle.is_empty() {
            batch.write(&Files::bundle(to / TILE_WIDTH, to % TILE_WIDTH), &self.bundle)?;
        }
        for tile in self.edge.partial() {
            batch.write(&tile.path(), &tile.to_bytes())?;
        }
        batch.finish()?;
        self.above = Above::Durable;
        let root = self.edge.root();
        let origin = self.signer.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size: to, root }.sign(&self.signer);
        Ok(Head { size: to, root: root.0.to_vec(), checkpoint })
    }

    fn append(&mut self, batch: &mut Batch, index: u64, leaf: &[u8]) -> Result<(), LedgerError> {
        encode_entry(&mut self.bundle, leaf).map_err(|source| LedgerError::Bundle { index, source })?;
        let mut full: Vec<Tile> = Vec::new();
        self.edge.push(leaf_hash(leaf), &mut |tile| full.push(tile));
        if (index + 1).is_multiple_of(TILE_WIDTH) {
            let name = Files::bundle(index / TILE_WIDTH, TILE_WIDTH);
            batch.write(&name, &self.bundle)?;
            self.filled.push(name);
            self.bundle.clear();
        }
        for tile in full {
            batch.write(&tile.path(), &tile.to_bytes())?;
            self.filled.push(tile.path());
        }
        Ok(())
    }

    /// The last signed head: it is what the checkpoint says whose signature is believed, and no record behind it
    /// that has a number is missing.
    async fn signed_head(&self) -> Result<Option<Head>, LedgerError> {
        // Before the head, which is always stored first: another replica may sign meanwhile.
        let published = self.published()?;
        let head = db::head(&self.db).await?;
        if let Some(head) = &head {
            let signed = Checkpoint::open(&head.checkpoint, &self.signer.verifier())?;
            if (signed.size, signed.root.0.as_slice()) != (head.size, head.root.as_slice()) {
                return Err(LedgerError::RootMismatch { size: signed.size });
            }
        }
        let from = head.as_ref().map_or(0, |head| head.size);
        if let Some(published) = published.filter(|published| published.size > from) {
            return Err(LedgerError::Behind { size: from, signed: published.size });
        }
        let (count, to) = db::numbered_from(&self.db, from).await?;
        if from + count != to {
            return Err(LedgerError::Missing { from, to });
        }
        Ok(head)
    }

    /// Recomputes the edge from the leaves in SQL up to the signed head, whose root must be theirs.
    async fn look(&mut self) -> Result<(), LedgerError> {
        self.rebuild().await?;
        self.looked = true;
        self.files.remove(MISMATCH)
    }

    async fn rebuild(&mut self) -> Result<(), LedgerError> {
        let head = self.signed_head().await?;
        let size = head.as_ref().map_or(0, |head| head.size);
        (self.edge, self.bundle, self.filled) = (Edge::default(), Vec::new(), Vec::new());
        // What the bundle that is not full has already.
        let begun = size - size % TILE_WIDTH;
        let mut from = 0;
        while from < size {
            let to = size.min(from + TILE_WIDTH * 16);
            let rows = db::leaf_texts(&self.db, from, to).await?;
            if rows.len() as u64 != to - from {
                return Err(LedgerError::RootMismatch { size });
            }
            for (row, index) in rows.iter().zip(from..) {
                let leaf = row.text(0)?.as_bytes();
                self.edge.push(leaf_hash(leaf), &mut |_| {});
                if index >= begun {
                    encode_entry(&mut self.bundle, leaf)
                        .map_err(|source| LedgerError::Bundle { index, source })?;
                }
            }
            from = to;
        }
        match head {
            Some(head) if head.root != self.edge.root().0 => Err(LedgerError::RootMismatch { size }),
            _ => Ok(()),
        }
    }

    /// The checkpoint file, when it is believed. One that is not stays as it is: it is evidence, and `verify` names it.
    fn published(&self) -> Result<Option<Checkpoint>, LedgerError> {
        let text = self.files.read("checkpoint")?;
        let open =
            |text: Vec<u8>| Checkpoint::open(&String::from_utf8_lossy(&text), &self.signer.verifier()).ok();
        Ok(text.and_then(open))
    }

    /// The checkpoint file may be one behind after a crash; it is written again when it is missing or older.
    fn publish_missing(&mut self, head: Option<&Head>) -> Result<(), LedgerError> {
        let Some(head) = head else { return Ok(()) };
        let older = match self.published()? {
            Some(found) => found.size < head.size,
            None => self.files.read("checkpoint")?.is_none(),
        };
        if older && head.size == self.edge.size() {
            self.publish(head)?;
        }
        Ok(())
    }
}

impl From<LedgerError> for DbError {
    /// Inside a transaction only the database's own errors and a leaf that is too long can occur.
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Db(error) => error,
            LedgerError::LeafTooLong { bytes, .. } => Self::EventTooLong { bytes, limit: limit::LEAF_BYTES },
            _ => Self::WriterGone,
        }
    }
}
