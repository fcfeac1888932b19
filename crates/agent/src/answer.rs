//! What engines answer, as far as it is read: the Docker Engine API, of which podman leaves out
//! some fields. A missing or null field is its default; one of another type is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Structs whose fields may be missing or null.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $json:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        pub(crate) struct $name {$(
            $(#[$field_doc])*
            #[serde(rename = $json, default, deserialize_with = "or_default")]
            pub(crate) $field: $kind,
        )*}
    )*};
}

answers! {
    /// `GET /version`.
    VersionAnswer {
        /// The newest API it speaks.
        api_version: String = "ApiVersion",
        /// The oldest.
        oldest_api: String = "MinAPIVersion",
        /// The engine's version.
        version: String = "Version",
        /// Its parts: the first is the engine.
        components: Vec<Component> = "Components",
    }

    /// A part of an engine.
    Component {
        /// `Engine`, `Podman Engine`.
        name: String = "Name",
    }

    /// One container of `GET /containers/json`.
    Row {
        /// The container's id.
        id: String = "Id",
        /// Its names, with `/`.
        names: Vec<String> = "Names",
        /// Its image's id.
        image_id: String = "ImageID",
        /// `running`, `exited`, …
        state: String = "State",
    }

    /// One image of `GET /images/json`.
    ImageRow {
        /// The image's id.
        id: String = "Id",
        /// Tags.
        tags: Vec<String> = "RepoTags",
        /// `repository@digest`.
        digests: Vec<String> = "RepoDigests",
    }

    /// `GET /images/{id}/json`.
    ImageAnswer {
        /// The image's id.
        id: String = "Id",
        /// Tags.
        tags: Vec<String> = "RepoTags",
        /// `repository@digest`.
        digests: Vec<String> = "RepoDigests",
        /// Layers.
        root: RootFs = "RootFS",
        /// `linux`.
        os: String = "Os",
        /// `amd64`.
        architecture: String = "Architecture",
        /// `v8`.
        variant: String = "Variant",
    }

    /// Layers of an image.
    RootFs {
        /// Digests of the uncompressed layers, bottom first.
        layers: Vec<String> = "Layers",
    }

    /// `GET /containers/{id}/json`.
    ContainerAnswer {
        /// The container's id.
        id: String = "Id",
        /// Its name, with `/`.
        name: String = "Name",
        /// When it was made, RFC 3339.
        created: String = "Created",
        /// Its image's id.
        image: String = "Image",
        /// The profile of `AppArmor`.
        apparmor: String = "AppArmorProfile",
        /// What it does.
        state: StateAnswer = "State",
        /// What was asked for.
        config: ConfigAnswer = "Config",
        /// How it is confined.
        host: HostAnswer = "HostConfig",
        /// Mounts.
        mounts: Vec<MountAnswer> = "Mounts",
        /// The manifest for the platform, since API 1.48 with the containerd image store.
        manifest: DescriptorAnswer = "ImageManifestDescriptor",
    }

    /// What a container does.
    StateAnswer {
        /// `running`, `exited`, …
        status: String = "Status",
        /// Has processes.
        running: bool = "Running",
        /// Its first process, as the host counts; 0 while there is none.
        pid: u32 = "Pid",
        /// When it was last started.
        started: String = "StartedAt",
        /// When it last ended.
        finished: String = "FinishedAt",
        /// The last exit code.
        exit_code: i64 = "ExitCode",
    }

    /// What was asked for.
    ConfigAnswer {
        /// The image as it was named.
        image: String = "Image",
        /// User.
        user: String = "User",
        /// `NAME=value`: values are dropped at once.
        environment: Vec<Variable> = "Env",
        /// Labels.
        labels: BTreeMap<String, String> = "Labels",
    }

    /// How a container is confined.
    HostAnswer {
        /// All rights.
        privileged: bool = "Privileged",
        /// `host`, `none`, …
        network: String = "NetworkMode",
        /// `host`, …
        pid: String = "PidMode",
        /// `host`, …
        ipc: String = "IpcMode",
        /// Capabilities added.
        added: Vec<String> = "CapAdd",
        /// Capabilities dropped.
        dropped: Vec<String> = "CapDrop",
        /// Devices.
        devices: Vec<DeviceAnswer> = "Devices",
        /// The root file system cannot be written.
        read_only: bool = "ReadonlyRootfs",
        /// `seccomp=…`, `no-new-privileges`, …
        security: Vec<String> = "SecurityOpt",
    }

    /// A device of the host.
    DeviceAnswer {
        /// Its path on the host.
        path: String = "PathOnHost",
    }

    /// A mount.
    MountAnswer {
        /// `bind`, `volume`, …
        kind: String = "Type",
        /// A volume's name.
        name: String = "Name",
        /// The path on the host.
        source: String = "Source",
        /// The path inside.
        target: String = "Destination",
        /// It can be written.
        writable: bool = "RW",
    }

    /// A descriptor.
    DescriptorAnswer {
        /// Its digest.
        digest: String = "digest",
    }

    /// One event.
    Event {
        /// `start`, `die`, …
        action: String = "Action",
        /// Whom it is about.
        actor: ActorAnswer = "Actor",
        /// Seconds since 1970.
        seconds: i64 = "time",
        /// Nanoseconds since 1970.
        nanos: i64 = "timeNano",
    }

    /// Whom an event is about.
    ActorAnswer {
        /// The container's id.
        id: String = "ID",
    }
}

/// The name of an environment variable. The value is not kept, not even in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variable(pub(crate) String);

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self(text.split('=').next().unwrap_or_default().to_owned()))
    }
}

impl VersionAnswer {
    /// `Docker Engine 20.10.24`.
    pub(crate) fn engine_name(&self) -> String {
        let is_podman = self.components.iter().any(|part| part.name.starts_with("Podman"));
        let product = if is_podman { "Podman Engine" } else { "Docker Engine" };
        format!("{product} {}", self.version)
    }
}
