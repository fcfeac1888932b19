//! The inspection room: reads every layer once in its life, in a sandboxed child, and folds
//! the facts of an image's layers into its inventory.
//!
//! Invariants: a layer's facts are durable before the row that names them; whatever goes wrong
//! with an image is a problem in its inventory, never a reason to skip it or to try for ever;
//! handling an event twice ends as handling it once. Deliberately absent: who may see what
//! (the doors decide), advisories, and any global lock: only readings of the *same* blob wait
//! for one another.
//!
//! ```text
//! BlobStored ─► layer.rs: open at the source, read in the sandbox, keep the answer
//! ManifestPushed ─► image.rs: layers' rows (read now what is missing) ─► compose.rs ─► InventoryReady
//! ```
#![forbid(unsafe_code)]

mod answer;
mod archive;
mod compose;
mod db;
mod error;
mod flight;
mod image;
mod inspection;
mod layer;
mod local;
mod source;

pub mod limit;

pub use answer::LayerReader;
pub use archive::{ARCHIVE_READER, ArchiveError, ImageArchive, archive_reader};
pub use db::SCHEMA;
pub use error::InspectionError;
pub use inspection::{Inspection, InspectionConfig};
pub use local::{LocalConfig, inspect_local};
pub use source::LayerSource;

/// The room's name: its tables, its blobs, its sweeps.
pub(crate) const ROOM: &str = "inspection";
