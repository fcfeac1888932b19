//! The transaction that makes a generation active.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{FeedState, Timestamp};
use seaworthy_store::{DbError, Lease, SmallBlob, Tx};
use serde_json::json;

use crate::{
    Change, ImportOutcome, ImportReport, ROOM,
    db::{self, SegmentRow},
    report::to_json,
};

/// A generation on its way into its transaction.
pub(crate) struct Activation {
    pub(crate) lease: Lease,
    pub(crate) revision: i64,
    pub(crate) base: i64,
    pub(crate) report: ImportReport,
    /// All segments of the new generation; empty when nothing differs.
    pub(crate) rows: Vec<SegmentRow>,
    pub(crate) small: Vec<SmallBlob>,
    pub(crate) index_hash: String,
    pub(crate) now: Timestamp,
}

impl Activation {
    pub(crate) async fn store(&self, tx: &mut Tx<'_>) -> Result<(ImportReport, Vec<Act>), DbError> {
        tx.check_lease(&self.lease).await?;
        if db::state_in(tx).await?.generation != self.base {
            return Err(DbError::LeaseLost);
        }
        for feed in &self.report.feeds {
            let imported_at = (feed.change != Change::Unchanged).then_some(self.now);
            db::touch_feed(tx, &feed.feed, self.now, imported_at).await?;
        }
        let word = self.report.outcome.word();
        db::finish_import(tx, self.revision, word, &to_json(&self.report), self.now).await?;
        match self.report.outcome {
            ImportOutcome::Unchanged => {
                db::set_state(tx, FeedState::Settled, self.now).await?;
            }
            ImportOutcome::Imported => {
                self.store_generation(tx).await?;
                // Still importing: images get their new findings now, and until then what they lack is pending.
                db::set_state(tx, FeedState::Importing, self.now).await?;
            }
        }
        let acts = if self.report.feeds.is_empty() { Vec::new() } else { vec![self.act()] };
        Ok((self.report.clone(), acts))
    }

    async fn store_generation(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        let generation = self.report.generation;
        for small in &self.small {
            tx.put_small_blob(ROOM, small).await?;
        }
        for row in &self.rows {
            db::insert_segment(tx, generation, row).await?;
        }
        db::set_generation(tx, generation, &self.index_hash).await?;
        db::insert_rematch(tx, generation, self.base).await?;
        db::forget_before(tx, self.base).await
    }

    fn act(&self) -> Act {
        let feeds: Vec<_> = self
            .report
            .feeds
            .iter()
            .map(|feed| {
                json!({
                    "feed": feed.feed, "records": feed.records, "newest": feed.newest,
                    "content_hash": feed.content_hash, "change": feed.change,
                })
            })
            .collect();
        let skipped = self.report.skipped.len() as u64 + self.report.skipped_more;
        Act::new(Action::FeedImport, "advisories").details(json!({
            "outcome": self.report.outcome, "generation": self.report.generation,
            "index_hash": self.index_hash, "feeds": feeds, "skipped": skipped,
        }))
    }
}
