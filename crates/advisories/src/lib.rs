//! Vulnerability feeds to index segments, packages to findings, findings to remedies.
//!
//! Invariants:
//! - pure: bytes in, bytes out; no files, no clock, no network. [`feed_reader`] runs in a confined child;
//! - an import is whole or fails; what is not understood is listed, never silently dropped;
//! - a record whose versions cannot be judged counts as affecting every version, with a warning;
//! - a feed covers the releases it has rows for; the feed `local` and a few samples cover nothing;
//! - a generation ([`Index`]) is a set of immutable [`Segment`]s, at most one for each feed.
//!
//! Absent on purpose: which feeds exist where, when they are fetched, who may import them.
#![forbid(unsafe_code)]

mod catalogue;
mod collect;
mod csv;
mod cvss;
mod document;
mod draft;
mod error;
mod import;
mod index;
mod inverted;
mod local;
mod osv;
mod release;
mod remedy;
mod segment;
mod tar;
mod text;
mod touched;
mod tracker;

/// Sizes this crate refuses to exceed.
pub mod limit;

pub use error::ImportError;
pub use import::{
    CompiledSegment, Import, InputKind, NamedInput, Skipped, Warnings, feed_reader, feed_request, import,
    read,
};
pub use index::Index;
pub use inverted::{PackageSetIndex, SetId};
pub use release::release_key;
pub use remedy::{references, remedy};
pub use segment::{Segment, SegmentError};
pub use tar::{append_file, finish as finish_folder};
pub use touched::{Touched, touched};
