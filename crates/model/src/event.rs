use seaworthy_oci::{Digest, Platform, RepoName};
use serde::{Deserialize, Serialize};

use crate::{
    ContainerKey, ContainerSeen, ContentId, Coverage, FeedCoverage, FindingSet, ImageFacts, InventoryProblem,
    OsRelease, OsSupport, ProblemCode, SecretRow, Timestamp,
};
use crate::{Inventory, LayerRow};

/// Who receives deliveries: a consumer's name is its room's.
pub mod consumer {
    /// The registry room.
    pub const REGISTRY: &str = "registry";
    /// The inspection room.
    pub const INSPECTION: &str = "inspection";
    /// The findings room.
    pub const FINDINGS: &str = "findings";
    /// The clearance room.
    pub const CLEARANCE: &str = "clearance";
    /// The fleet room.
    pub const FLEET: &str = "fleet";
    /// The telemetry room.
    pub const TELEMETRY: &str = "telemetry";

    /// All of them.
    pub const ALL: &[&str] = &[REGISTRY, INSPECTION, FINDINGS, CLEARANCE, FLEET, TELEMETRY];
}

/// What one room tells the next. The variant's payload carries all the next room needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// registry → inspection.
    BlobStored(BlobStored),
    /// registry → inspection, clearance, fleet.
    ManifestPushed(ManifestPushed),
    /// inspection → findings, clearance, fleet.
    InventoryReady(Box<InventoryReady>),
    /// findings → clearance.
    FindingsChanged(FindingsChanged),
    /// findings → clearance.
    FeedsChanged(FeedsChanged),
    /// fleet → registry, findings, clearance.
    ContainerSeen(Box<ContainerSeen>),
    /// clearance → telemetry.
    ClearanceChanged(Box<ClearanceChanged>),
}

impl Event {
    /// The variant's stable word, as in its JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::BlobStored(_) => "blob_stored",
            Self::ManifestPushed(_) => "manifest_pushed",
            Self::InventoryReady(_) => "inventory_ready",
            Self::FindingsChanged(_) => "findings_changed",
            Self::FeedsChanged(_) => "feeds_changed",
            Self::ContainerSeen(_) => "container_seen",
            Self::ClearanceChanged(_) => "clearance_changed",
        }
    }
}

/// A blob arrived, verified and durable. It may be a layer, a config or anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobStored {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A manifest arrived and is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPushed {
    /// Where.
    pub repository: RepoName,
    /// Its name.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// True for a runnable image; false for an index or another artifact.
    pub is_image: bool,
    /// The config, of an image.
    pub config: Option<Digest>,
    /// Layers, bottom first, of an image: digest of the blob as stored, claimed media type, foreign or not.
    pub layers: Vec<LayerRef>,
    /// The children, of an index.
    pub children: Vec<ChildManifest>,
    /// The manifest this one refers to.
    pub subject: Option<Digest>,
    /// When.
    pub pushed_at: Timestamp,
}

/// A layer as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRef {
    /// Digest of the (usually compressed) blob.
    pub digest: Digest,
    /// The manifest's claim of what it is.
    pub media_type: String,
    /// True when the registry need not hold it.
    pub foreign: bool,
}

/// A child of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its platform, as the index claims.
    pub platform: Option<Platform>,
}

/// An image was inspected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReady {
    /// Repositories and manifests this answers for.
    pub manifests: Vec<(RepoName, Digest)>,
    /// The image's config digest.
    pub config: Digest,
    /// Facts of that config.
    pub image: ImageFacts,
    /// Until when the image's distribution release is supported, when that is known.
    pub support: Option<OsSupport>,
    /// The inventory. Findings matches its packages; clearance keeps only what rules look at.
    pub inventory: Inventory,
}

impl InventoryReady {
    /// What the image is.
    pub const fn content_id(&self) -> &ContentId {
        &self.inventory.content_id
    }

    /// The user that the config names, empty for root; `None` when the config could not be read.
    pub fn user(&self) -> Option<&str> {
        let is_unread =
            self.inventory.problems.iter().any(|problem| problem.code == ProblemCode::ConfigUnreadable);
        (!is_unread).then_some(self.image.user.as_str())
    }

    /// The distribution, when there is one.
    pub const fn os(&self) -> Option<&OsRelease> {
        self.inventory.os.as_ref()
    }

    /// Secrets found.
    pub fn secrets(&self) -> &[SecretRow] {
        &self.inventory.secrets
    }

    /// What could not be judged.
    pub const fn coverage(&self) -> &Coverage {
        &self.inventory.coverage
    }

    /// What went wrong.
    pub fn problems(&self) -> &[InventoryProblem] {
        &self.inventory.problems
    }

    /// The layers.
    pub fn layers(&self) -> &[LayerRow] {
        &self.inventory.layers
    }
}

/// The findings of some images are (now) these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingsChanged {
    /// The set.
    pub set: FindingSet,
    /// The images that have it: at most 1,000, running ones first.
    pub content_ids: Vec<ContentId>,
    /// Index generation: a smaller one than already stored is dropped.
    pub generation: i64,
}

/// Whether a feed can still change pending answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// No import is running.
    Settled,
    /// An import is running: what is indeterminate for want of a feed stays pending.
    Importing,
}

/// The loaded feeds changed, or an import began or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedsChanged {
    /// Index generation.
    pub generation: i64,
    /// Counts changes of this list: a smaller one than already stored is dropped.
    pub revision: i64,
    /// Hash of the active index, hex.
    pub index_hash: String,
    /// All loaded feeds.
    pub feeds: Vec<FeedCoverage>,
    /// Whether an import is running.
    pub state: FeedState,
}

/// What became worse for something that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearanceChange {
    /// It ran, was allowed, and is blocked now: a new advisory, another policy, an exception's end.
    NewlyBlocked,
    /// It was started although it is blocked.
    BlockedStarted,
}

/// A rule that did not pass, in both languages: who tells it further knows its reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReason {
    /// `prod/vulns`.
    pub rule: String,
    /// `fail` or `indeterminate`.
    pub result: String,
    /// `enforce`, `warn` or `audit`.
    pub mode: String,
    /// Why, in English.
    pub message: String,
    /// Why, in Japanese.
    pub message_ja: String,
}

/// A running container is blocked, and was not before; told once for each time that this becomes so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearanceChanged {
    /// How it came to be.
    pub change: ClearanceChange,
    /// Which container.
    pub key: ContainerKey,
    /// Its host's name.
    pub host_name: String,
    /// Its name, shortened: hostile text as it is.
    pub name: String,
    /// The image as its engine names it, shortened.
    pub reported: String,
    /// The repository whose policies applied.
    pub repository: RepoName,
    /// The manifest it stands for, when what it runs is known.
    pub digest: Option<Digest>,
    /// What it runs, when that is known.
    pub content_id: Option<ContentId>,
    /// When it was started, by its host's clock.
    pub started_at: Option<Timestamp>,
    /// `blocked`.
    pub verdict: String,
    /// The verdict before, when there was one.
    pub before: Option<String>,
    /// The first rules that did not pass: enforced ones before others.
    pub reasons: Vec<ChangeReason>,
    /// How many more did not pass.
    pub more_reasons: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
}
