use std::collections::BTreeMap;

use seaworthy_model::{InventoryReady, Settings, SpoolId, Timestamp};
use seaworthy_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::limit;

/// Version of the messages. A control plane reads every older one and refuses a newer one.
pub const VERSION: u32 = 1;

/// Observations on their way to the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The spool it comes from.
    pub spool: SpoolId,
    /// From 1, without gaps within a spool.
    pub number: u64,
    /// The agent's clock when it was made: only to be compared with the agent's own times.
    pub made_at: Timestamp,
    /// What was seen, in order.
    pub items: Vec<Item>,
}

/// The control plane has stored everything up to `number` of `spool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The spool.
    pub spool: SpoolId,
    /// The highest number stored.
    pub number: u64,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum Item {
    /// The host itself.
    Host(Host),
    /// A container as it is now, whole: replaces what was known of it, unless that is newer.
    Container(Box<Container>),
    /// A container is gone.
    Removed(Removed),
    /// All containers that a runtime has: what is not among them is gone.
    Listed(Listed),
    /// An image of an engine, as the engine describes it.
    Image(Box<EngineImage>),
    /// What an image holds, read on its host: an image that the engine described before.
    Scanned(Box<Scanned>),
    /// A time in which events may have been missed.
    Gap(Gap),
}

/// Who runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Docker Engine, or another product behind its API.
    Docker,
    /// Podman, through its compatible API.
    Podman,
}

impl Runtime {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name for people.
    pub name: String,
    /// `Linux 6.1.0-26-amd64`.
    pub kernel: String,
    /// `linux/amd64`.
    pub platform: Platform,
    /// The runtime's name and version, `Docker Engine 20.10.24`; `None` when it does not answer.
    pub engine: Option<String>,
    /// Version of the agent.
    pub agent: String,
    /// Processors.
    pub processors: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// What a container does. Docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended, about to be started again.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// The engine gave up on it.
    Dead,
}

impl ContainerState {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// True while it has processes, or will have them again by itself.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Who runs it.
    pub runtime: Runtime,
    /// The runtime's id, 64 hex characters of docker's.
    pub id: String,
    /// Its name, without docker's leading `/`.
    pub name: String,
    /// The image as it was named when the container was made: `localhost:5000/prod/web:1`.
    pub image: String,
    /// The image's id as the engine reports it: a config digest with the graph drivers, a manifest
    /// or index digest with the containerd image store. See [`EngineImage`].
    pub image_id: String,
    /// The manifest for this platform, where the engine says it.
    pub manifest: Option<Digest>,
    /// What it does.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// Its last exit code.
    pub exit_code: Option<i64>,
    /// What weakens or hardens it.
    pub settings: Settings,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When the agent saw it so.
    pub seen_at: Timestamp,
    /// True when lists were cut at [`limit::ENTRIES`] or texts at [`limit::TEXT_BYTES`].
    pub cut: bool,
}

/// A container that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Who ran it.
    pub runtime: Runtime,
    /// Its id.
    pub id: String,
    /// When.
    pub at: Timestamp,
}

/// All that a runtime has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whose.
    pub runtime: Runtime,
    /// Ids of all containers, stopped ones too.
    pub ids: Vec<String>,
    /// When the list was asked for: a container seen later than this is not judged by it.
    pub at: Timestamp,
}

/// An image of an engine: claims, of which only digests that the registry knows itself are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineImage {
    /// Whose.
    pub runtime: Runtime,
    /// The id that containers report.
    pub id: String,
    /// Tags, `localhost:5000/prod/web:1`.
    pub tags: Vec<String>,
    /// `repository@digest`, as pulled or pushed.
    pub repository_digests: Vec<String>,
    /// Layers, uncompressed, bottom first.
    pub diff_ids: Vec<Digest>,
    /// Its platform.
    pub platform: Platform,
}

/// What an image holds, as its own host says: it counts for that host alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// Whose.
    pub runtime: Runtime,
    /// The id that containers report.
    pub image_id: String,
    /// What was read. Manifests that it claims to stand for are not listened to.
    pub ready: InventoryReady,
}

/// A time about which nothing is sure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// From.
    pub from: Timestamp,
    /// To.
    pub until: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// Why a batch is refused. What is refused is never stored in part.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// Not the JSON of a batch.
    #[error("batch is not readable: {reason}")]
    Format {
        /// What is wrong, and where.
        reason: String,
    },
    /// Written by a newer agent.
    #[error("batch has version {version}, newer than {VERSION}")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A named limit is passed.
    #[error("batch has more than {limit} {what}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Numbers begin at 1.
    #[error("batch has number 0")]
    Number,
}

impl Batch {
    /// Reads and checks a batch.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        at_most("bytes", bytes.len(), limit::BATCH_BYTES)?;
        let batch: Self = serde_json::from_slice(bytes)
            .map_err(|error| BatchError::Format { reason: error.to_string() })?;
        batch.check()?;
        Ok(batch)
    }

    /// Holds the limits.
    pub fn check(&self) -> Result<(), BatchError> {
        if self.version > VERSION {
            return Err(BatchError::Version { version: self.version });
        }
        if self.number == 0 {
            return Err(BatchError::Number);
        }
        at_most("items", self.items.len(), limit::BATCH_ITEMS)?;
        self.items.iter().try_for_each(Item::check)
    }
}

pub(crate) fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), BatchError> {
    if count > limit { Err(BatchError::TooLarge { what, limit }) } else { Ok(()) }
}

pub(crate) fn texts<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<(), BatchError> {
    let longest = texts.into_iter().map(String::len).max().unwrap_or(0);
    at_most("bytes in one text", longest, limit::TEXT_BYTES)
}

impl Item {
    fn check(&self) -> Result<(), BatchError> {
        match self {
            Self::Host(host) => {
                texts([&host.name, &host.kernel, &host.agent].into_iter().chain(&host.engine))
            }
            Self::Container(container) => container.check(),
            Self::Removed(removed) => texts([&removed.id]),
            Self::Listed(listed) => {
                at_most("containers", listed.ids.len(), limit::CONTAINERS)?;
                texts(&listed.ids)
            }
            Self::Image(image) => {
                at_most("layers", image.diff_ids.len(), limit::LAYERS)?;
                at_most("tags", image.tags.len(), limit::ENTRIES)?;
                at_most("repository digests", image.repository_digests.len(), limit::ENTRIES)?;
                texts(image.tags.iter().chain(&image.repository_digests).chain([&image.id]))
            }
            Self::Scanned(scanned) => {
                at_most("layers", scanned.ready.layers().len(), limit::LAYERS)?;
                texts([&scanned.image_id])
            }
            Self::Gap(gap) => texts([&gap.reason]),
        }
    }
}

impl Container {
    fn check(&self) -> Result<(), BatchError> {
        let it = &self.settings;
        for (what, count) in [
            ("labels", self.labels.len()),
            ("mounts", it.mounts.len()),
            ("capabilities", it.added_capabilities.len() + it.dropped_capabilities.len()),
            ("devices", it.devices.len()),
            ("environment names", it.environment.len()),
        ] {
            at_most(what, count, limit::ENTRIES)?;
        }
        texts([&self.id, &self.name, &self.image, &self.image_id, &it.user])?;
        texts(self.labels.iter().flat_map(|(name, value)| [name, value]))?;
        texts(it.mounts.iter().flat_map(|mount| [&mount.kind, &mount.source, &mount.target]))?;
        let lists = [&it.added_capabilities, &it.dropped_capabilities, &it.devices, &it.environment];
        texts(lists.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        let now = Timestamp::from_seconds(1_800_000_000);
        Container {
            runtime: Runtime::Docker,
            id: "a".repeat(64),
            name: "web".into(),
            image: "localhost:5000/prod/web:1".into(),
            image_id: Digest::sha256(b"config").to_string(),
            manifest: None,
            state: ContainerState::Running,
            created_at: Some(now),
            started_at: Some(now),
            finished_at: None,
            exit_code: None,
            settings: Settings { environment: vec!["PATH".into()], ..Settings::default() },
            labels: BTreeMap::from([("team".into(), "web".into())]),
            seen_at: now,
            cut: false,
        }
    }

    fn batch(items: Vec<Item>) -> Batch {
        let made_at = Timestamp::from_seconds(1_800_000_000);
        Batch { version: VERSION, spool: SpoolId::from_u128(7), number: 1, made_at, items }
    }

    #[test]
    fn batches_round_trip() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let items = vec![
            Item::Container(Box::new(container())),
            Item::Removed(Removed { runtime: Runtime::Podman, id: "b".into(), at: now }),
            Item::Listed(Listed { runtime: Runtime::Docker, ids: vec!["a".into()], at: now }),
            Item::Image(Box::new(EngineImage {
                runtime: Runtime::Docker,
                id: "sha256:0".into(),
                tags: vec![],
                repository_digests: vec![],
                diff_ids: vec![Digest::sha256(b"layer")],
                platform: Platform::linux_amd64(),
            })),
            Item::Gap(Gap { from: now, until: now, reason: "away".into() }),
        ];
        let sent = batch(items);
        let bytes = serde_json::to_vec(&sent).expect("json");
        assert_eq!(Batch::parse(&bytes).expect("read"), sent);
        for cut in 0..bytes.len() {
            assert!(matches!(Batch::parse(&bytes[..cut]), Err(BatchError::Format { .. })), "{cut}");
        }
    }

    #[test]
    fn versions_and_numbers_are_checked() {
        let newer = Batch { version: VERSION + 1, ..batch(vec![]) };
        assert_eq!(newer.check(), Err(BatchError::Version { version: VERSION + 1 }));
        assert_eq!(Batch { number: 0, ..batch(vec![]) }.check(), Err(BatchError::Number));
        assert_eq!(batch(vec![]).check(), Ok(()));
    }

    /// What is limited, at how many, and what makes so many.
    type Change<'c> = (&'static str, usize, &'c dyn Fn(&mut Container, usize));

    #[test]
    fn limits_hold_at_their_edge() {
        let with = |change: &dyn Fn(&mut Container, usize), count: usize| {
            let mut container = container();
            change(&mut container, count);
            batch(vec![Item::Container(Box::new(container))]).check()
        };
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let changes: [Change<'_>; 4] = [
            ("bytes in one text", limit::TEXT_BYTES, &|it, n| it.name = "x".repeat(n)),
            ("environment names", limit::ENTRIES, &|it, n| it.settings.environment = names(n)),
            ("devices", limit::ENTRIES, &|it, n| it.settings.devices = names(n)),
            ("labels", limit::ENTRIES, &|it, n| {
                it.labels = names(n).into_iter().map(|name| (name, String::new())).collect();
            }),
        ];
        for (what, limit, change) in changes {
            assert_eq!(with(change, limit), Ok(()), "{what}");
            assert_eq!(with(change, limit + 1), Err(BatchError::TooLarge { what, limit }));
        }
        let gaps = |count| {
            let now = Timestamp::from_seconds(0);
            batch(vec![Item::Gap(Gap { from: now, until: now, reason: String::new() }); count]).check()
        };
        assert_eq!(gaps(limit::BATCH_ITEMS), Ok(()));
        assert_eq!(
            gaps(limit::BATCH_ITEMS + 1),
            Err(BatchError::TooLarge { what: "items", limit: limit::BATCH_ITEMS })
        );
        let listed = |count| {
            let at = Timestamp::from_seconds(0);
            batch(vec![Item::Listed(Listed { runtime: Runtime::Docker, ids: names(count), at })]).check()
        };
        assert_eq!(listed(limit::CONTAINERS), Ok(()));
        assert!(listed(limit::CONTAINERS + 1).is_err());
        let layers = |count| {
            batch(vec![Item::Image(Box::new(EngineImage {
                runtime: Runtime::Docker,
                id: "sha256:0".into(),
                tags: vec![],
                repository_digests: vec![],
                diff_ids: vec![Digest::sha256(b"layer"); count],
                platform: Platform::linux_amd64(),
            }))])
            .check()
        };
        assert_eq!(layers(limit::LAYERS), Ok(()));
        assert_eq!(
            layers(limit::LAYERS + 1),
            Err(BatchError::TooLarge { what: "layers", limit: limit::LAYERS })
        );
        assert!(matches!(
            Batch::parse(&vec![b' '; limit::BATCH_BYTES + 1]),
            Err(BatchError::TooLarge { what: "bytes", .. })
        ));
    }
}
