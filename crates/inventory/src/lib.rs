//! What is inside an image: packages, owners of paths, secrets, and, as carefully, what
//! could not be judged.
//!
//! One pass over a layer gives its [`LayerFacts`], which depend on that layer alone and are
//! kept for ever; [`inspect`] folds the facts of an image's layers into its
//! [`seaworthy_model::Inventory`]. Both are pure: bytes and values in, values out.
//!
//! Invariants: hostile input is a problem in the result, never a panic; a problem never
//! stops the reading of the rest; "unknown" is never dropped. Deliberately absent: advisories,
//! severity, the clock (support dates are asked with a time), and secret values.
#![forbid(unsafe_code)]

mod codec;
mod config;
mod coverage;
mod dpkg;
mod facts;
mod history;
mod inspect;
mod os_release;
mod secret;
mod secret_rows;
mod support;

/// Sizes this crate refuses to exceed.
pub mod limit;
/// The layer reader as the sandbox runs it, and its answers.
pub mod sandboxed_reader;

pub use codec::FactsError;
pub use config::image_facts;
pub use dpkg::{Stated, StatusFile, parse_status};
pub use facts::{LayerFacts, READER_VERSION, SecretHit, read_layer};
pub use inspect::{LayerResult, inspect};
pub use os_release::parse_os_release;
pub use secret::SecretRule;
pub use support::{Phase, Support, os_support, os_support_dates};
