//! What the fleet shows: hosts, containers and the image a container runs.

use seaworthy_link::{Container, Host};
use seaworthy_model::{ContainerKey, ContentId, HostId, Presence, Timestamp};
use seaworthy_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::{Cursor, alias, db::containers::sort_name, limit};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$of])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            pub(crate) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// How surely a container's image is known.
    Mapping {
        /// The names the engine reports lead to one measured content.
        Exact = "exact",
        /// Read on its host, whose word it is.
        ScannedHere = "scanned-here",
        /// Not known; see [`Unmapped`].
        Unmapped = "unmapped",
    }
}

words! {
    /// Why a container's image is not known.
    Unmapped {
        /// The engine reports no digest.
        NoDigest = "no-digest",
        /// No digest that it reports was ever pushed here.
        NeverPushed = "never-pushed",
        /// It was pushed here and is not inspected yet.
        NotInspected = "not-inspected",
        /// It is an index without an image for this platform, or the platform is not known.
        NoPlatform = "no-platform",
        /// One name, and several measured contents: a config that lies about its layers.
        Ambiguous = "ambiguous",
        /// The names that the engine reports lead to different images.
        Contradiction = "contradiction",
    }
}

/// The image of a container: what the engine says, and what that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageView {
    /// As it was named when the container was made.
    pub reported: String,
    /// The id that the engine reports.
    pub reported_id: String,
    /// How surely the rest is known.
    pub mapping: Mapping,
    /// Why it is not.
    pub reason: Option<Unmapped>,
    /// What it is. Of one that its host read, an id that no other host and no image here has.
    pub content_id: Option<ContentId>,
    /// The repository it stands for. Of an exact one this registry's, `prod/web`; else with its
    /// host, `docker.io/library/nginx`.
    pub repository: Option<String>,
    /// The manifest in that repository, of an exact one.
    pub digest: Option<Digest>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerView {
    /// Its host.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// As the agent last saw it: hostile texts as they are. Times are the agent's.
    pub container: Container,
    /// Its image.
    pub image: ImageView,
    /// Whether it is there.
    pub presence: Presence,
    /// When it was last heard of, by our clock.
    pub received_at: Timestamp,
    /// When it was removed, or was missed, by the agent's clock.
    pub gone_at: Option<Timestamp>,
}

impl ContainerView {
    /// The container's name for other rooms.
    pub fn key(&self) -> ContainerKey {
        let runtime = self.container.runtime.word().to_owned();
        ContainerKey { host: self.host, runtime, id: alias::key(&self.container.id) }
    }

    /// Where the page after this container begins.
    pub fn cursor(&self) -> Cursor {
        let ContainerKey { host, runtime, id } = self.key();
        Cursor { name: sort_name(&self.container.name), host: Some(host), runtime, id }
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Its name, given when it joined.
    pub name: String,
    /// When it joined.
    pub joined_at: Timestamp,
    /// What its agent says of it.
    pub facts: Option<Host>,
    /// When its last batch arrived, by our clock.
    pub heard_at: Option<Timestamp>,
    /// How far its clock was before ours then, in microseconds. A batch that had to wait looks
    /// like a slow clock until the next one.
    pub skew_micros: Option<i64>,
    /// Containers that run.
    pub live: u64,
    /// Containers that do not.
    pub stopped: u64,
}

impl HostView {
    /// True when the agent's clock differs from ours by more than [`limit::SKEW_SECONDS`].
    pub fn has_wrong_clock(&self) -> bool {
        let most = limit::SKEW_SECONDS.unsigned_abs().saturating_mul(1_000_000);
        self.skew_micros.is_some_and(|skew| skew.unsigned_abs() > most)
    }
}
