//! Words of the OCI image and distribution specifications: digests, references,
//! media types, descriptors, manifests, indexes, image configs, platforms.
//!
//! Invariants: everything here is parsed strictly once, at the door, and is then a
//! type; manifests are *read*, never written back (the stored bytes stay exact, so
//! there is deliberately no `Serialize` on [`Manifest`]); nothing here does I/O.
#![forbid(unsafe_code)]

mod config;
mod digest;
mod json;
mod manifest;
mod platform;
mod reference;
mod tag_list;

/// Sizes this crate refuses to exceed.
pub mod limit;
/// Media types of manifests, indexes, configs and layers.
pub mod media;

pub use config::{ConfigError, HistoryEntry, ImageConfig, RunConfig, config_may_be_run};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use json::{JsonError, check_json, read_json};
pub use manifest::{Descriptor, ImageIndex, ImageManifest, Manifest, ManifestError};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError, RepoName, Tag};
pub use tag_list::{TagList, TagListError};
