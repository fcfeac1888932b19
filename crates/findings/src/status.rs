//! What people ask: feeds, past imports, which images have a vulnerability.

use std::collections::BTreeSet;

use seaworthy_model::{ContentId, FeedState, Timestamp};
use seaworthy_oci::Digest;
use seaworthy_store::DbError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Findings, FindingsError,
    db::{self, SegmentRow, package_sets},
    limit,
    package_set::Matched,
};

/// All feeds of the active generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingsStatus {
    /// The active generation.
    pub generation: i64,
    /// Counts changes of this status.
    pub revision: i64,
    /// Hash of the active index, hex.
    pub index_hash: String,
    /// Whether an import is running.
    pub state: FeedState,
    /// Feeds, by name.
    pub feeds: Vec<FeedStatus>,
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Its name.
    pub feed: String,
    /// Its records.
    pub records: u64,
    /// Its own date.
    pub newest: Option<String>,
    /// When it was last imported or verified unchanged.
    pub checked_at: Timestamp,
    /// When its content came.
    pub imported_at: Timestamp,
    /// What it covers: `deb:debian:12`, `kev`.
    pub covers: Vec<String>,
    /// Its licence, when that is known.
    pub licence: Option<String>,
    /// The generation in which its content came.
    pub generation: i64,
}

/// One import of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastImport {
    /// The revision with which it began.
    pub revision: i64,
    /// Who asked for it.
    pub actor: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, or was found cut off.
    pub finished_at: Option<Timestamp>,
    /// `running`, `imported`, `unchanged`, `failed`, `interrupted`.
    pub outcome: String,
    /// The [`crate::ImportReport`], or `{"error": "…"}`.
    pub report: Value,
}

impl Findings {
    /// Grows with every import that began or ended.
    pub async fn revision(&self) -> Result<i64, FindingsError> {
        Ok(db::state(self.db()).await?.revision)
    }

    /// The loaded feeds.
    pub async fn status(&self) -> Result<FindingsStatus, FindingsError> {
        let read: Result<_, DbError> = self
            .db()
            .upkeep((), |(), tx| {
                Box::pin(async move {
                    let state = db::state_in(tx).await?;
                    let feeds = db::loaded_feeds(tx, state.generation).await?;
                    Ok((state, feeds))
                })
            })
            .await;
        let (state, feeds) = read?;
        Ok(FindingsStatus {
            generation: state.generation,
            revision: state.revision,
            index_hash: state.index_hash,
            state: state.feeds,
            feeds: feeds.into_iter().map(feed_status).collect(),
        })
    }

    /// Past imports, newest first, at most `most` (and never more than [`limit::PAGE`]).
    pub async fn history(&self, most: u32) -> Result<Vec<PastImport>, FindingsError> {
        let rows = db::imports(self.db(), most).await?;
        let read = |row: &seaworthy_store::Row| {
            Ok::<_, DbError>(PastImport {
                revision: row.int(0)?,
                actor: row.text(1)?.to_owned(),
                started_at: Timestamp::from_micros(row.int(2)?),
                finished_at: row.int_opt(3)?.map(Timestamp::from_micros),
                outcome: row.text(4)?.to_owned(),
                report: row.json(5)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Contents of all images whose findings have this id or alias.
    pub async fn contents_with(&self, vulnerability: &str) -> Result<BTreeSet<ContentId>, FindingsError> {
        let generation = self.generation().await?;
        self.inner.sets.synchronise(self.db()).await?;
        let candidates = self.inner.sets.with_vulnerability(&generation.index, vulnerability);
        let mut all = BTreeSet::new();
        for set in candidates {
            if !self.has_finding(&set, vulnerability).await? {
                continue;
            }
            let mut after = Vec::new();
            loop {
                let page = package_sets::contents(self.db(), &set, &after, limit::PAGE.into()).await?;
                let Some(last) = page.last() else { break };
                after = last.as_bytes().to_vec();
                all.extend(page);
            }
        }
        Ok(all)
    }

    async fn has_finding(&self, set: &Digest, name: &str) -> Result<bool, FindingsError> {
        let Some((_, body)) = package_sets::body(self.db(), set).await? else { return Ok(false) };
        let rows = Matched::from_body(body)?.set.rows;
        Ok(rows.iter().any(|row| row.id == name || row.aliases.iter().any(|alias| alias == name)))
    }
}

fn feed_status((segment, checked_at, imported_at): (SegmentRow, Timestamp, Timestamp)) -> FeedStatus {
    FeedStatus {
        licence: licence(&segment.feed).map(str::to_owned),
        feed: segment.feed,
        records: segment.records,
        newest: segment.newest,
        checked_at,
        imported_at,
        covers: segment.covers,
        generation: segment.since,
    }
}

/// Licences that the publishers state; Debian's tracker states none.
fn licence(feed: &str) -> Option<&'static str> {
    match feed {
        "kev" => Some("CC0-1.0"),
        "epss" => Some("free to use with credit to FIRST"),
        "debian" => Some("none stated"),
        _ => None,
    }
}
