//! The bytes of a layer as entries, and layers folded into one file tree as the kernel
//! and the container runtimes do it.
//!
//! Invariants: formats are told by their magic, never by a media type; one pass, nothing
//! is unpacked to disk; every number that a layer claims is checked before it is believed;
//! where tar dialects disagree, entries are read as Go's `archive/tar` reads them, because
//! that is what every runtime unpacks with. Deliberately absent: hashing of compressed
//! bytes (the registry did that), owners, times, and any knowledge of packages.
#![forbid(unsafe_code)]

mod decode;
mod error;
mod fold;
mod header;
mod path;
mod pax;
mod read;
mod sparse;
mod table;
mod walk;

/// Sizes this crate refuses to exceed.
pub mod limit;

pub use error::LayerError;
pub use fold::{EntryRef, FoldError, Node, NodeId, NodeKind, Removed, Tree};
pub use limit::Limits;
pub use path::{EntryPath, escape};
pub use read::{Body, Chunk, Entry, EntryKind, LayerDigest, Visitor, read_layer};
pub use table::{Magic, PathTable, TableRow};
pub use walk::Follow;
