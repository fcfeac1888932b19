use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Whose naming and version rules a package follows. The names are the purl types
/// (package-url specification, "Known purl types") and `advisories compare --type`'s words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ecosystem {
    /// Debian and its derivatives: dpkg.
    Deb,
}

impl Ecosystem {
    /// Every ecosystem whose version order is known here.
    pub const ALL: &[Self] = &[Self::Deb];

    /// The purl type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Ecosystem {
    type Err = UnknownEcosystem;

    fn from_str(name: &str) -> Result<Self, UnknownEcosystem> {
        Self::ALL
            .iter()
            .copied()
            .find(|ecosystem| ecosystem.name() == name)
            .ok_or_else(|| UnknownEcosystem { name: name.chars().take(40).collect() })
    }
}

/// No ecosystem of that name has a version order here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("package type `{name}` is not known")]
pub struct UnknownEcosystem {
    /// What was asked for, shortened.
    pub name: String,
}

/// The source package that a binary package was built from: distributions publish
/// advisories about sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourcePackage {
    /// Source name: dpkg's `Source:`, else the binary's own name.
    pub name: String,
    /// Source version: in parentheses after `Source:`, else the binary's own version.
    pub version: String,
}

/// One installed unit, as its package manager's database states it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstalledPackage {
    /// Ecosystem.
    #[serde(rename = "type")]
    pub ecosystem: Ecosystem,
    /// Distribution (`ID` of os-release, such as `debian`) the package belongs to; empty outside distributions.
    #[serde(default)]
    pub distribution: String,
    /// Binary package name.
    pub name: String,
    /// Binary version, exactly as written.
    pub version: String,
    /// Architecture, as the package manager names it; empty when it has none.
    #[serde(default)]
    pub architecture: String,
    /// What it was built from.
    pub source: SourcePackage,
}
