//! Packages as their own ecosystems see them: names, versions and their order, URLs.
//!
//! Pure words: nothing here reads an image or a feed, and nothing guesses. A version that
//! an ecosystem's rules do not accept is an error, never "equal" or "older".
#![forbid(unsafe_code)]

mod installed;

pub use installed::{Ecosystem, InstalledPackage, SourcePackage};
