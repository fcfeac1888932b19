use seaworthy_oci::{Digest, Platform};
use seaworthy_package::InstalledPackage;
use serde::{Deserialize, Serialize};

use crate::{ContentId, Timestamp};

/// The folded view of one image: what is inside. A fact about a content id; immutable for
/// one reader version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// What the image is.
    pub content_id: ContentId,
    /// What it runs on.
    pub platform: Platform,
    /// Layers, bottom first.
    pub layers: Vec<LayerRow>,
    /// The distribution, when the image has one.
    pub os: Option<OsRelease>,
    /// Installed packages, in name order.
    pub packages: Vec<PackageRow>,
    /// Secrets, in effective and in shadowed files.
    pub secrets: Vec<SecretRow>,
    /// What could not be judged.
    pub coverage: Coverage,
    /// What went wrong while reading; anything here may hide a finding.
    pub problems: Vec<InventoryProblem>,
    /// Version of the readers that made this; a newer reader reads again.
    pub reader_version: u32,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRow {
    /// Position, bottom is 0.
    pub index: u32,
    /// Digest of the uncompressed bytes, as measured.
    pub diff_id: Digest,
    /// The instruction that made it, when the config's history tells.
    pub created_by: Option<String>,
}

/// The distribution, from `os-release(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `ID`: `debian`, `alpine`, …
    pub id: String,
    /// `VERSION_ID`: `12`; absent in rolling releases.
    pub version: Option<String>,
    /// `VERSION_CODENAME`: `bookworm`.
    pub codename: Option<String>,
    /// `PRETTY_NAME`.
    pub name: String,
}

/// Until when a distribution release is supported for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsSupport {
    /// First moment without support by the distribution itself.
    pub full_ends: Timestamp,
    /// First moment without support by its long-term team; equal when there is none.
    pub lts_ends: Timestamp,
}

/// One installed package and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRow {
    /// The package.
    #[serde(flatten)]
    pub package: InstalledPackage,
    /// The layer whose change made this version appear, bottom is 0.
    pub layer: u32,
    /// The database files that state it.
    pub paths: Vec<String>,
}

/// A secret found in a file of some layer. The value is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// The detector: `private-key-pem`, `private-key-openssh`.
    pub rule: String,
    /// The file.
    pub path: String,
    /// The layer that holds the file.
    pub layer: u32,
    /// The layer that removed or replaced the file: it is still in the blob.
    pub removed_in_layer: Option<u32>,
    /// SHA-256 of the normalised value, hex: input for a keyed fingerprint, never shown as it is.
    pub value_sha256: String,
}

/// What an inspection did not or could not judge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Ecosystems whose marker files are there, not owned by the distribution's packages,
    /// and for which no reader exists yet (purl types: `npm`, `pypi`, `maven`, `rpm`, `apk`, …).
    pub uncovered: Vec<String>,
    /// Executables that no package owns.
    pub unowned_binaries: u32,
    /// Some of their paths, at most 100, for people.
    pub unowned_examples: Vec<String>,
    /// Files that should have been read and could not be.
    pub unreadable: Vec<String>,
}

/// A stable word for something that went wrong while reading an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// A layer is truncated, corrupt or of an unknown format.
    LayerUnreadable,
    /// A layer passes a limit of size, ratio, entries, path length or time.
    LayerTooLarge,
    /// The sandboxed reader died or ran out of time or memory.
    ReaderFailed,
    /// A layer's blob is not in this registry.
    LayerMissing,
    /// The config is unreadable.
    ConfigUnreadable,
    /// The config's `diff_ids` are not what the layers hash to.
    DiffIdMismatch,
    /// The package database was deleted while its files stay.
    PackageDbRemoved,
    /// A package database is cut short or malformed.
    PackageDbUnreadable,
    /// The package database was rewritten by a layer that did not install packages.
    PackageDbRewritten,
    /// The platform has no reader (Windows).
    PlatformUnsupported,
}

impl ProblemCode {
    /// The stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LayerUnreadable => "layer-unreadable",
            Self::LayerTooLarge => "layer-too-large",
            Self::ReaderFailed => "reader-failed",
            Self::LayerMissing => "layer-missing",
            Self::ConfigUnreadable => "config-unreadable",
            Self::DiffIdMismatch => "diff-id-mismatch",
            Self::PackageDbRemoved => "package-db-removed",
            Self::PackageDbUnreadable => "package-db-unreadable",
            Self::PackageDbRewritten => "package-db-rewritten",
            Self::PlatformUnsupported => "platform-unsupported",
        }
    }
}

/// Something that went wrong while reading, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryProblem {
    /// The stable word.
    pub code: ProblemCode,
    /// The layer, bottom is 0, when it belongs to one.
    pub layer: Option<u32>,
    /// What happened; never more than 300 characters of image content.
    pub message: String,
}

/// Facts of an image's config digest that rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// User the process runs as; empty is root.
    pub user: String,
    /// Names of environment variables; values stay in the config.
    pub env_names: Vec<String>,
    /// Entry point and command.
    pub command: Vec<String>,
}
