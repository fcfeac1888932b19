//! The findings room: feeds, generations of the advisory index, matching, and matching again.
//!
//! Invariants:
//! - a generation is a set of immutable segments, durable before one transaction makes it active;
//!   a failed or interrupted import changes nothing but the state, which settles by itself;
//! - a stored finding set is what the newest generation gives, or a row of `findings_rematch`
//!   promises that it will be: no result is stored that rests on an older generation;
//! - equal package sets (operating system and packages) share one finding set and are matched once;
//! - one import at a time over all replicas, with everything that it causes: a lease fences it;
//! - bytes of feeds are read by a [`FeedReader`], which in the product is a confined child.
//!
//! Absent on purpose: verdicts, manifests and tags (results are about content ids), fetching feeds.
#![forbid(unsafe_code)]

mod activation;
mod cache;
mod db;
mod error;
mod findings;
mod generation;
mod import;
mod input;
mod matching;
mod package_set;
mod read_sets;
mod rematch;
mod report;
mod status;

/// Sizes and times this room refuses to exceed.
pub mod limit;

pub use cache::FeedCache;
pub use db::SCHEMA;
pub use error::FindingsError;
pub use findings::{Findings, FindingsConfig};
pub use input::{FeedReader, READER, ReadSummary, index_of_paths};
pub use rematch::Rematched;
pub use report::{Change, ImportOutcome, ImportReport, ImportedFeed};
pub use status::{FeedStatus, FindingsStatus, PastImport};

/// The room's name: its tables, its blobs.
pub(crate) const ROOM: &str = "findings";
