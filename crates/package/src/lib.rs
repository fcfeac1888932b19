//! Packages as their own ecosystems see them: names, versions and their order, URLs.
//!
//! Pure words: nothing here reads an image or a feed, and nothing guesses. A version that
//! an ecosystem's rules do not accept is an error, never "equal" or "older".
//!
//! A further ecosystem is one variant of [`Ecosystem`], one file beside `deb.rs` and one arm
//! in [`compare`] and [`sort_key`].
#![forbid(unsafe_code)]

mod deb;
mod installed;
mod purl;
mod version;

/// Sizes this crate refuses to exceed.
pub mod limit;

pub use deb::DebVersion;
pub use installed::{Ecosystem, InstalledPackage, SourcePackage, UnknownEcosystem};
pub use purl::{Purl, PurlError};
pub use version::{VersionError, compare, sort_key};
