//! What an import tells.

use std::collections::BTreeMap;

use seaworthy_advisories::{CompiledSegment, Import, Skipped};
use serde::{Deserialize, Serialize};

use crate::{Rematched, generation::Generation, input::ReadSummary};

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Whether anything is other than before.
    pub outcome: ImportOutcome,
    /// The generation that is active now.
    pub generation: i64,
    /// Feeds that were recognised, by name; empty when none was.
    pub feeds: Vec<ImportedFeed>,
    /// Files that gave nothing, the first of them.
    pub skipped: Vec<Skipped>,
    /// How many more there were.
    pub skipped_more: u64,
    /// Records taken with reservations, one sentence each.
    pub warnings: Vec<String>,
    /// OSV records of ecosystems whose versions are not compared yet, by ecosystem.
    pub not_covered: BTreeMap<String, u64>,
    /// What it changed for images; `None` while that is still under way.
    pub rematched: Option<Rematched>,
}

/// Whether an import changed the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    /// A new generation is active.
    Imported,
    /// Every feed was there in equal form, and was verified so; or no feed was recognised.
    Unchanged,
}

impl ImportOutcome {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One feed of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFeed {
    /// Its name.
    pub feed: String,
    /// Its records.
    pub records: u64,
    /// Its own date.
    pub newest: Option<String>,
    /// What it covers.
    pub covers: Vec<String>,
    /// Hash of its content, hex.
    pub content_hash: String,
    /// Against what was loaded before.
    pub change: Change,
}

/// A feed against what was loaded before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not loaded.
    New,
    /// Its content differs.
    Changed,
    /// Its content is the same.
    Unchanged,
}

pub(crate) fn is_same(base: &Generation, segment: &CompiledSegment) -> bool {
    base.segment(&segment.feed).is_some_and(|loaded| loaded.content_hash() == segment.content_hash)
}

pub(crate) fn report(import: &Import, base: &Generation, summary: ReadSummary) -> ImportReport {
    let feed = |segment: &CompiledSegment| ImportedFeed {
        feed: segment.feed.clone(),
        records: segment.records,
        newest: segment.newest.clone(),
        covers: segment.covers.clone(),
        content_hash: segment.content_hash.clone(),
        change: match base.segment(&segment.feed) {
            None => Change::New,
            Some(_) if is_same(base, segment) => Change::Unchanged,
            Some(_) => Change::Changed,
        },
    };
    let feeds: Vec<ImportedFeed> = import.segments.iter().map(feed).collect();
    let differs = feeds.iter().any(|feed| feed.change != Change::Unchanged);
    let ReadSummary { skipped, skipped_more, warnings, not_covered } = summary;
    ImportReport {
        outcome: if differs { ImportOutcome::Imported } else { ImportOutcome::Unchanged },
        generation: base.number + i64::from(differs),
        feeds,
        skipped,
        skipped_more,
        warnings,
        not_covered,
        rematched: (!differs).then(Rematched::default),
    }
}

pub(crate) fn to_json(report: &ImportReport) -> String {
    serde_json::to_string(report).unwrap_or_else(|_| "{}".to_owned())
}
