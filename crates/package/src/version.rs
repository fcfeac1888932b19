use std::cmp::Ordering;

use crate::{DebVersion, Ecosystem};

/// Why a text is not a version in its ecosystem. Such a text has no place in the order.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionError {
    /// Nothing but white space.
    #[error("version is empty")]
    Empty,
    /// White space between other characters.
    #[error("version has a space in it")]
    Space,
    /// A colon with nothing in front.
    #[error("epoch is empty")]
    EpochEmpty,
    /// What stands before the first colon is not digits.
    #[error("epoch is not a number")]
    EpochNotNumber,
    /// Epochs end at 2,147,483,647 (dpkg keeps them in an `int`).
    #[error("epoch is larger than 2147483647")]
    EpochTooBig,
    /// No upstream version after the epoch or before the revision.
    #[error("upstream version is empty")]
    UpstreamEmpty,
    /// The upstream version starts with something other than a digit.
    #[error("upstream version does not start with a digit")]
    UpstreamNotDigit,
    /// A hyphen with nothing behind it.
    #[error("revision is empty")]
    RevisionEmpty,
    /// A character that versions do not have.
    #[error("character `{}` is not allowed in the {part}", .character.escape_debug())]
    Character {
        /// `upstream version` or `revision`.
        part: &'static str,
        /// The first offender.
        character: char,
    },
}

/// Compares two versions as `ecosystem`'s package manager does.
///
/// ```
/// use std::cmp::Ordering;
/// use seaworthy_package::{Ecosystem, compare};
/// assert_eq!(compare(Ecosystem::Deb, "1.0~rc1-1", "1.0-1"), Ok(Ordering::Less));
/// assert!(compare(Ecosystem::Deb, "1.0", "latest").is_err());
/// ```
pub fn compare(ecosystem: Ecosystem, a: &str, b: &str) -> Result<Ordering, VersionError> {
    match ecosystem {
        Ecosystem::Deb => Ok(DebVersion::parse(a)?.cmp(&DebVersion::parse(b)?)),
    }
}

/// Bytes whose order (`memcmp`) is the order of versions in `ecosystem`: what is compared
/// often is encoded once.
pub fn sort_key(ecosystem: Ecosystem, version: &str) -> Result<Vec<u8>, VersionError> {
    match ecosystem {
        Ecosystem::Deb => Ok(DebVersion::parse(version)?.sort_key()),
    }
}
