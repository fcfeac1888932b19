//! How a container is run, and what the fleet tells about one.

use seaworthy_oci::{Digest, RepoName};
use serde::{Deserialize, Serialize};

use crate::{ContentId, HostId, Timestamp};

/// How a container is confined.
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the runtime")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// All capabilities, all devices, no confinement.
    pub privileged: bool,
    /// The user as configured, `""` for the image's.
    pub user: String,
    /// Shares the host's network.
    pub host_network: bool,
    /// Sees the host's processes.
    pub host_pid: bool,
    /// Shares the host's System V IPC.
    pub host_ipc: bool,
    /// Capabilities added, without `CAP_`, upper case, sorted.
    pub added_capabilities: Vec<String>,
    /// Capabilities dropped, the same way.
    pub dropped_capabilities: Vec<String>,
    /// Bind mounts and volumes.
    pub mounts: Vec<Mount>,
    /// Host devices inside.
    pub devices: Vec<String>,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// Processes cannot gain privileges.
    pub no_new_privileges: bool,
    /// No system call filter.
    pub seccomp_unconfined: bool,
    /// No `AppArmor` profile.
    pub apparmor_unconfined: bool,
    /// Names of environment variables; values never leave the host.
    pub environment: Vec<String>,
}

/// A part of the host's or a volume's files inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, …: the runtime's word.
    pub kind: String,
    /// Path on the host, or the volume's name.
    pub source: String,
    /// Path inside.
    pub target: String,
    /// True when it can be written.
    pub writable: bool,
}

/// Names a container: ids are unique within a host and runtime.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerKey {
    /// Its host.
    pub host: HostId,
    /// `docker`, `podman`.
    pub runtime: String,
    /// The runtime's id, as the fleet keeps it.
    pub id: String,
}

/// Whether a container is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It has processes, or will have them again by itself.
    Live,
    /// It is there and does not run.
    Stopped,
    /// It was removed, or is missing.
    Gone,
}

impl Presence {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stopped => "stopped",
            Self::Gone => "gone",
        }
    }

    /// What a stable word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Live, Self::Stopped, Self::Gone].into_iter().find(|it| it.word() == word)
    }
}

/// A container is (now) this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSeen {
    /// Which.
    pub key: ContainerKey,
    /// Grows with each change of this container: a smaller one than already stored is dropped.
    pub revision: i64,
    /// Its host's name.
    pub host_name: String,
    /// Its name: hostile text as it is.
    pub name: String,
    /// Whether it is there.
    pub presence: Presence,
    /// When it was last started, by its host's clock.
    pub started_at: Option<Timestamp>,
    /// The image as it was named when the container was made.
    pub reported: String,
    /// The image's repository with its registry's host, `docker.io/library/nginx`; `None` when the
    /// engine names none.
    pub named: Option<String>,
    /// The repository whose policies apply: of an image that is known here this registry's, else
    /// what `named` says, as a repository.
    pub repository: RepoName,
    /// The manifest it stands for, when what it runs is known.
    pub digest: Option<Digest>,
    /// Every digest that its engine calls the image by: a config, a manifest, an index; known here or not.
    #[serde(default)]
    pub names: Vec<Digest>,
    /// What it runs, when that is known.
    pub content_id: Option<ContentId>,
    /// True when what it runs was pushed here, and an inspection is still to say what that is.
    pub is_awaited: bool,
    /// How it is confined.
    pub settings: Settings,
}
