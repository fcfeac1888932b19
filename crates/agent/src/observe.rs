//! From an engine's answers to what is sent: pure, bounded, and without values of environment
//! variables.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_link::{
    Container, ContainerState, EngineImage, Mount, Runtime, Settings,
    limit::{ENTRIES, LAYERS, TEXT_BYTES},
};
use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, Platform};
use serde::Serialize;

use crate::{
    answer::{ContainerAnswer, Event, HostAnswer, ImageAnswer, MountAnswer, Row, StateAnswer},
    limit,
};

/// Why an engine's answer is not used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ObserveError {
    /// The answer names no container or image, or another one.
    #[error("the engine answered for `{asked}` with `{answered}`")]
    Id {
        /// What was asked for.
        asked: String,
        /// What came, shortened.
        answered: String,
    },
    /// A layer of an image is not a digest.
    #[error("image `{image}` has a layer that is not a digest")]
    Layer {
        /// The image.
        image: String,
    },
}

/// True for what can be an id of a container or an image.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
    !text.is_empty() && text.len() <= limit::ID_BYTES && text.bytes().all(plain)
}

/// When an event happened, in nanoseconds since 1970.
pub(crate) fn event_nanos(event: &Event) -> i64 {
    if event.nanos == 0 { event.seconds.saturating_mul(1_000_000_000) } else { event.nanos }
}

/// A container out of an inspection that was asked for at `seen_at`.
pub(crate) fn container(
    runtime: Runtime,
    id: &str,
    answer: ContainerAnswer,
    seen_at: Timestamp,
) -> Result<Container, ObserveError> {
    if answer.id != id {
        return Err(ObserveError::Id { asked: id.into(), answered: answer.id.chars().take(80).collect() });
    }
    let mut cut = Cut::default();
    let state = state(&answer.state);
    let finished_at = moment(&answer.state.finished);
    let has_ended = !state.is_live() && state != ContainerState::Created && finished_at.is_some();
    let settings = settings(&mut cut, &answer);
    let mut container = Container {
        runtime,
        id: answer.id,
        name: cut.text(answer.name.trim_start_matches('/')),
        image: cut.text(&answer.config.image),
        image_id: cut.text(&answer.image),
        manifest: answer.manifest.digest.parse().ok(),
        state,
        created_at: moment(&answer.created),
        started_at: moment(&answer.state.started),
        finished_at,
        exit_code: has_ended.then_some(answer.state.exit_code),
        settings,
        labels: cut.labels(answer.config.labels),
        seen_at,
        cut: false,
    };
    while json_bytes(&container) > limit::ITEM_BYTES {
        cut.happened = true;
        halve(&mut container);
    }
    container.cut = cut.happened;
    Ok(container)
}

/// An image that containers name `id`.
pub(crate) fn image(runtime: Runtime, id: &str, answer: &ImageAnswer) -> Result<EngineImage, ObserveError> {
    let layers: Result<Vec<Digest>, _> =
        answer.root.layers.iter().take(LAYERS).map(|it| it.parse()).collect();
    let mut cut = Cut::default();
    let mut image = EngineImage {
        runtime,
        id: id.to_owned(),
        tags: cut.texts(&answer.tags),
        repository_digests: cut.texts(&answer.digests),
        diff_ids: layers.map_err(|_| ObserveError::Layer { image: id.to_owned() })?,
        platform: Platform {
            os: cut.text(&answer.os),
            architecture: cut.text(&answer.architecture),
            variant: Some(cut.text(&answer.variant)).filter(|variant| !variant.is_empty()),
        },
    };
    while json_bytes(&image) > limit::ITEM_BYTES {
        image.tags.truncate(image.tags.len() / 2);
        image.repository_digests.truncate(image.repository_digests.len() / 2);
    }
    Ok(image)
}

/// What of a list's row changes when the container does.
pub(crate) fn row_mark(row: &Row) -> u64 {
    mark(&row.names, &row.image_id, &row.state)
}

/// The mark that the list's row of an inspected container has.
pub(crate) fn answer_mark(answer: &ContainerAnswer) -> u64 {
    mark(std::slice::from_ref(&answer.name), &answer.image, &answer.state.status)
}

fn mark(names: &[String], image_id: &str, state: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (names, image_id, state).hash(&mut hasher);
    hasher.finish()
}

fn state(answer: &StateAnswer) -> ContainerState {
    match answer.status.as_str() {
        "created" | "configured" | "initialized" => ContainerState::Created,
        "running" | "stopping" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "removing" => ContainerState::Removing,
        "exited" | "stopped" => ContainerState::Exited,
        _ if answer.running => ContainerState::Running,
        _ => ContainerState::Dead,
    }
}

/// Engines say year 1 for "never".
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|moment: &Timestamp| moment.as_micros() > 0)
}

fn settings(cut: &mut Cut, answer: &ContainerAnswer) -> Settings {
    let host = &answer.host;
    let unconfined = |what: &str| {
        let named = format!("{what}=unconfined");
        let opts = || host.security.iter().map(|it| it.replacen(':', "=", 1));
        let chosen = opts().any(|it| it.starts_with(what) && it != named);
        opts().any(|it| it == named) || (host.privileged && !chosen)
    };
    let no_new = ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"];
    let (added_capabilities, dropped_capabilities) = capabilities(cut, host);
    let names = answer.config.environment.iter().map(|variable| &variable.0);
    let devices: Vec<String> = host.devices.iter().map(|it| it.path.clone()).collect();
    Settings {
        privileged: host.privileged,
        user: cut.text(&answer.config.user),
        host_network: host.network == "host",
        host_pid: host.pid == "host",
        host_ipc: host.ipc == "host",
        added_capabilities,
        dropped_capabilities,
        mounts: cut.entries(&answer.mounts).iter().map(|it| mount(cut, it)).collect(),
        devices: cut.texts(&devices),
        read_only_root: host.read_only,
        no_new_privileges: host.security.iter().any(|it| no_new.contains(&it.as_str())),
        seccomp_unconfined: unconfined("seccomp"),
        apparmor_unconfined: answer.apparmor == "unconfined" || unconfined("apparmor"),
        environment: cut.texts(&names.collect::<BTreeSet<_>>().into_iter().cloned().collect::<Vec<_>>()),
    }
}

/// Both lists together hold at most [`ENTRIES`].
fn capabilities(cut: &mut Cut, host: &HostAnswer) -> (Vec<String>, Vec<String>) {
    let mut normal = |names: &[String]| {
        let upper = names.iter().map(|name| name.to_ascii_uppercase());
        let bare = upper.map(|name| name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned));
        let sorted: Vec<String> = bare.collect::<BTreeSet<_>>().into_iter().collect();
        cut.happened |= sorted.len() > ENTRIES / 2;
        cut.texts(sorted.get(..ENTRIES / 2).unwrap_or(&sorted))
    };
    (normal(&host.added), normal(&host.dropped))
}

fn mount(cut: &mut Cut, answer: &MountAnswer) -> Mount {
    let source = if answer.kind == "volume" { &answer.name } else { &answer.source };
    Mount {
        kind: cut.text(&answer.kind),
        source: cut.text(source),
        target: cut.text(&answer.target),
        writable: answer.writable,
    }
}

/// Halves what has no natural end: labels first, for rules read them least.
fn halve(container: &mut Container) {
    let keep = container.labels.len() / 2;
    container.labels = std::mem::take(&mut container.labels).into_iter().take(keep).collect();
    let it = &mut container.settings;
    it.environment.truncate(it.environment.len() / 2);
    it.devices.truncate(it.devices.len() / 2);
    if container.labels.is_empty() && it.environment.is_empty() {
        it.mounts.truncate(it.mounts.len() / 2);
        it.added_capabilities.truncate(it.added_capabilities.len() / 2);
        it.dropped_capabilities.truncate(it.dropped_capabilities.len() / 2);
    }
}

fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

/// Cuts at the link's limits and remembers that it did.
#[derive(Debug, Default)]
struct Cut {
    happened: bool,
}

impl Cut {
    fn text(&mut self, text: &str) -> String {
        if text.len() <= TEXT_BYTES {
            return text.to_owned();
        }
        self.happened = true;
        text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or_default().to_owned()
    }

    fn entries<'l, T>(&mut self, list: &'l [T]) -> &'l [T] {
        self.happened |= list.len() > ENTRIES;
        list.get(..ENTRIES).unwrap_or(list)
    }

    fn texts(&mut self, list: &[String]) -> Vec<String> {
        self.entries(list).iter().map(|text| self.text(text)).collect()
    }

    fn labels(&mut self, labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        self.happened |= labels.len() > ENTRIES;
        let kept = labels.into_iter().take(ENTRIES);
        kept.map(|(name, value)| (self.text(&name), self.text(&value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d";

    fn sha(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn read(json: Value) -> Container {
        let answer = serde_json::from_value(json).expect("an answer");
        let seen = container(Runtime::Docker, ID, answer, Timestamp::from_seconds(9)).expect("a container");
        let text = serde_json::to_string(&seen).expect("json");
        assert!(text.len() <= limit::ITEM_BYTES && !text.contains("hunter2"), "{text}");
        let batch = seaworthy_link::Batch {
            version: seaworthy_link::VERSION,
            spool: seaworthy_model::SpoolId::from_u128(1),
            number: 1,
            made_at: seen.seen_at,
            items: vec![seaworthy_link::Item::Container(Box::new(seen.clone()))],
        };
        assert_eq!(batch.check(), Ok(()));
        seen
    }

    /// Engine 20.10 with a graph driver: the image's id is the config's digest.
    fn graph_driver() -> Value {
        json!({
            "Id": ID, "Name": "/web", "Created": "2026-11-23T10:00:00.123456789Z", "Image": sha("a"),
            "AppArmorProfile": "", "RestartCount": 0,
            "State": {"Status": "running", "Running": true, "Paused": false, "Pid": 12, "ExitCode": 0,
                "StartedAt": "2026-11-23T10:00:01.5Z", "FinishedAt": "0001-01-01T00:00:00Z"},
            "Config": {"Image": "localhost:5000/prod/web:1", "User": "1000:1000",
                "Env": ["TOKEN=hunter2", "PATH=/bin=hunter2", "EMPTY", "TOKEN=hunter2"], "Labels": {"team": "web"}},
            "HostConfig": {"Privileged": false, "NetworkMode": "host", "PidMode": "host", "IpcMode": "private",
                "CapAdd": ["net_admin", "CAP_SYS_TIME", "NET_ADMIN"], "CapDrop": ["ALL"],
                "Devices": [{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm", "CgroupPermissions": "rwm"}],
                "ReadonlyRootfs": true, "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]},
            "Mounts": [{"Type": "bind", "Source": "/etc", "Destination": "/host", "Mode": "ro", "RW": false},
                {"Type": "volume", "Name": "data", "Source": "/var/lib/docker/volumes/data/_data",
                 "Destination": "/data", "RW": true}]
        })
    }

    #[test]
    fn a_graph_driver_container_is_read_whole() {
        let seen = read(graph_driver());
        let mount = |kind: &str, source: &str, target: &str, writable| Mount {
            kind: kind.into(),
            source: source.into(),
            target: target.into(),
            writable,
        };
        let expected = Container {
            runtime: Runtime::Docker,
            id: ID.into(),
            name: "web".into(),
            image: "localhost:5000/prod/web:1".into(),
            image_id: sha("a"),
            manifest: None,
            state: ContainerState::Running,
            created_at: Some("2026-11-23T10:00:00.123456Z".parse().expect("time")),
            started_at: Some("2026-11-23T10:00:01.5Z".parse().expect("time")),
            finished_at: None,
            exit_code: None,
            settings: Settings {
                user: "1000:1000".into(),
                host_network: true,
                host_pid: true,
                added_capabilities: vec!["NET_ADMIN".into(), "SYS_TIME".into()],
                dropped_capabilities: vec!["ALL".into()],
                mounts: vec![mount("bind", "/etc", "/host", false), mount("volume", "data", "/data", true)],
                devices: vec!["/dev/kvm".into()],
                read_only_root: true,
                no_new_privileges: true,
                seccomp_unconfined: true,
                environment: vec!["EMPTY".into(), "PATH".into(), "TOKEN".into()],
                ..Settings::default()
            },
            labels: BTreeMap::from([("team".into(), "web".into())]),
            seen_at: Timestamp::from_seconds(9),
            cut: false,
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_containerd_store_names_the_platforms_manifest() {
        let mut json = graph_driver();
        json["ImageManifestDescriptor"] = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha("b"), "size": 7,
            "platform": {"architecture": "amd64", "os": "linux"}});
        json["State"] = json!({"Status": "exited", "Running": false, "ExitCode": 137,
            "StartedAt": "2026-11-23T10:00:01Z", "FinishedAt": "2026-11-23T10:00:02Z"});
        json["HostConfig"] = json!({"Privileged": true, "SecurityOpt": ["apparmor=docker-default"]});
        let seen = read(json);
        assert_eq!(seen.manifest.map(|it| it.to_string()), Some(sha("b")));
        assert_eq!((seen.state, seen.exit_code), (ContainerState::Exited, Some(137)));
        let it = &seen.settings;
        assert!(it.privileged && it.seccomp_unconfined && !it.apparmor_unconfined, "{it:?}");
    }

    #[test]
    fn podman_leaves_out_and_says_null() {
        let seen = read(json!({
            "Id": ID, "Name": "web", "Image": sha("c"), "Mounts": null, "ImageManifestDescriptor": null,
            "Created": "2026-11-23T10:00:00.5+09:00",
            "State": {"Status": "configured", "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z"},
            "Config": {"Env": null, "Labels": null},
            "HostConfig": {"CapAdd": [], "SecurityOpt": null, "NetworkMode": "slirp4netns"}
        }));
        assert_eq!((seen.state, seen.exit_code, seen.started_at), (ContainerState::Created, None, None));
        assert_eq!(seen.created_at, Some("2026-11-23T01:00:00.5Z".parse().expect("time")));
        assert_eq!(seen.settings, Settings::default());
        let nothing = read(json!({"Id": ID}));
        assert_eq!((nothing.state, nothing.created_at), (ContainerState::Dead, None));
    }

    #[test]
    fn hostile_texts_are_kept_or_cut_and_said() {
        let mut json = graph_driver();
        json["Name"] = "/\u{1b}[31m\u{202e}<script>\u{0}".into();
        assert_eq!(
            (read(json.clone()).name.as_str(), read(json.clone()).cut),
            ("\u{1b}[31m\u{202e}<script>\u{0}", false)
        );
        json["Name"] = "é".repeat(10_000).into();
        let seen = read(json.clone());
        assert_eq!((seen.name.len(), seen.cut), (TEXT_BYTES, true));
        json["Name"] = "/web".into();
        let many = |count: usize| (0..count).map(|n| json!(format!("N{n:04}=hunter2"))).collect::<Vec<_>>();
        for (count, cut) in [(ENTRIES, false), (ENTRIES + 1, true)] {
            json["Config"]["Env"] = many(count).into();
            let seen = read(json.clone());
            assert_eq!((seen.settings.environment.len(), seen.cut), (ENTRIES, cut));
        }
        let labels =
            (0..600).map(|n| (format!("{n}{}", "\u{1}".repeat(5_000)), json!("\u{1}".repeat(5_000))));
        json["Config"]["Labels"] = Value::Object(labels.collect());
        json["Mounts"] = vec![json!({"Source": "\u{1}".repeat(5_000)}); 600].into();
        assert!(read(json).cut);
    }

    #[test]
    fn lies_are_errors() {
        let other = serde_json::from_value(json!({"Id": "another"})).expect("an answer");
        let now = Timestamp::from_seconds(0);
        assert!(matches!(container(Runtime::Docker, ID, other, now), Err(ObserveError::Id { .. })));
        for lie in [json!({"Id": 7}), json!({"Id": ID, "HostConfig": {"Privileged": "yes"}}), json!("x")] {
            assert!(serde_json::from_value::<ContainerAnswer>(lie.clone()).is_err(), "{lie}");
        }
        for id in ["", "../../images/json", "a b", "a\n", &"a".repeat(limit::ID_BYTES + 1)] {
            assert!(!is_id(id), "{id}");
        }
        assert!(is_id(&"a".repeat(limit::ID_BYTES)) && is_id(&sha("a")));
    }

    #[test]
    fn images_are_what_the_engine_says_of_them() {
        let json = json!({"Id": sha("a"), "RepoTags": ["web:1"], "RepoDigests": [format!("web@{}", sha("b"))],
            "RootFS": {"Type": "layers", "Layers": [sha("c"), sha("d")]}, "Os": "linux", "Architecture": "arm64",
            "Variant": "v8"});
        let answer: ImageAnswer = serde_json::from_value(json).expect("an answer");
        let seen = image(Runtime::Docker, "asked", &answer).expect("an image");
        assert_eq!((seen.id.as_str(), seen.tags.len(), seen.diff_ids.len()), ("asked", 1, 2));
        assert_eq!(seen.platform.to_string(), "linux/arm64/v8");
        let bad = ImageAnswer { root: crate::answer::RootFs { layers: vec!["x".into()] }, ..answer };
        assert_eq!(image(Runtime::Docker, "a", &bad), Err(ObserveError::Layer { image: "a".into() }));
    }
}
