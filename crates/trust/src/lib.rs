//! What makes a claim checkable: Merkle trees (RFC 6962), their tiles (C2SP `tlog-tiles`),
//! signed notes and checkpoints (C2SP `signed-note`, `tlog-checkpoint`).
//!
//! Pure: bytes in, bytes or a verdict out. Deliberately absent: files, clocks, key storage.
#![forbid(unsafe_code)]

mod checkpoint;
mod merkle;
mod note;
mod tile;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use merkle::{Hash, check_inclusion, inclusion_path, leaf_hash, node_hash, root_of};
pub use note::{NoteError, Signer, Verifier};
pub use tile::{Bundle, BundleError, TILE_WIDTH, Tile, bundle_path, encode_entry};
