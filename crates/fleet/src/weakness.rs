//! Which settings weaken the walls of a container.

use seaworthy_link::{Mount, Settings};
use serde::Serialize;

/// A kind of setting that weakens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weakening {
    /// All rights, all devices, no confinement.
    Privileged,
    /// Its processes begin as root.
    Root,
    /// The host's network.
    HostNetwork,
    /// The host's processes.
    HostPid,
    /// The host's System V IPC.
    HostIpc,
    /// Capabilities beyond the runtime's own set.
    Capabilities,
    /// The socket of a container engine: as good as root on the host.
    EngineSocket,
    /// A path of the host that can be written, or that tells of or steers the host.
    HostPath,
    /// Devices of the host.
    Devices,
    /// No system call filter.
    NoSeccomp,
    /// No `AppArmor` profile.
    NoApparmor,
}

/// A setting that weakens a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weakness {
    /// Which.
    pub setting: Weakening,
    /// What it is set to, where there is more to say: a claim of the host, hostile text as it is.
    pub value: Option<String>,
}

/// Paths of the host that matter also when they are read only, with all below them.
const SENSITIVE: [&str; 9] =
    ["/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib/docker", "/var/run"];
const ENGINES: [&str; 5] = ["docker.sock", "containerd.sock", "podman.sock", "crio.sock", "cri-dockerd.sock"];

/// Everything that weakens a container with these settings, the worst first.
pub fn weaknesses(settings: &Settings) -> Vec<Weakness> {
    use Weakening::{
        Capabilities, Devices, HostIpc, HostNetwork, HostPid, NoApparmor, NoSeccomp, Privileged, Root,
    };
    let mut found = Vec::new();
    let mut add = |setting, value: Option<String>| found.push(Weakness { setting, value });
    let list = |all: &[String]| (!all.is_empty()).then(|| all.join(", "));
    if settings.privileged {
        add(Privileged, None);
    }
    if is_root(&settings.user) {
        add(Root, None);
    }
    for (setting, is_set) in [
        (HostNetwork, settings.host_network),
        (HostPid, settings.host_pid),
        (HostIpc, settings.host_ipc),
        (NoSeccomp, settings.seccomp_unconfined),
        (NoApparmor, settings.apparmor_unconfined),
    ] {
        if is_set {
            add(setting, None);
        }
    }
    for (setting, value) in
        [(Capabilities, list(&settings.added_capabilities)), (Devices, list(&settings.devices))]
    {
        if value.is_some() {
            add(setting, value);
        }
    }
    for mount in &settings.mounts {
        if let Some(setting) = of_mount(mount) {
            let how = if mount.writable { "rw" } else { "ro" };
            add(setting, Some(format!("{} -> {} ({how})", mount.source, mount.target)));
        }
    }
    found
}

/// Engines fill in the image's user: when there is still none, it is root.
fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    name.is_empty() || name == "root" || name.parse() == Ok(0_u32)
}

fn of_mount(mount: &Mount) -> Option<Weakening> {
    if mount.kind != "bind" {
        return None;
    }
    // A socket answers whoever may connect, however its mount is set.
    if ENGINES.iter().any(|name| mount.source.rsplit('/').next() == Some(name)) {
        return Some(Weakening::EngineSocket);
    }
    let below = |path: &&str| {
        mount.source.strip_prefix(*path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_sensitive = mount.source == "/" || SENSITIVE.iter().any(below);
    (mount.writable || is_sensitive).then_some(Weakening::HostPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(settings: &Settings) -> Vec<String> {
        let value = |it: &Weakness| it.value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
        let word =
            |it: &Weakness| serde_json::to_value(it.setting).expect("a word").as_str().map(str::to_owned);
        weaknesses(settings).iter().map(|it| word(it).expect("text") + &value(it)).collect()
    }

    fn user(user: &str) -> Settings {
        Settings { user: user.into(), ..Settings::default() }
    }

    #[test]
    fn a_plain_container_of_a_user_has_none() {
        let plain =
            Settings { read_only_root: true, dropped_capabilities: vec!["ALL".into()], ..user("7:7") };
        assert_eq!(weaknesses(&plain), []);
        for root in ["", "root", "0", "0:1000", "root:app", "00"] {
            assert_eq!(words(&user(root)), ["root"], "{root}");
        }
        for other in ["app", "1000", "10", "rooted", "1000:0"] {
            assert_eq!(weaknesses(&user(other)), [], "{other}");
        }
    }

    #[test]
    fn every_switch_is_named() {
        let all = Settings {
            privileged: true,
            host_network: true,
            host_pid: true,
            host_ipc: true,
            seccomp_unconfined: true,
            apparmor_unconfined: true,
            added_capabilities: vec!["NET_ADMIN".into(), "SYS_ADMIN".into()],
            devices: vec!["/dev/sda".into()],
            ..user("7")
        };
        let expected = [
            "privileged",
            "host-network",
            "host-pid",
            "host-ipc",
            "no-seccomp",
            "no-apparmor",
            "capabilities=NET_ADMIN, SYS_ADMIN",
            "devices=/dev/sda",
        ];
        assert_eq!(words(&all), expected);
    }

    #[test]
    fn mounts_count_when_they_reach_the_host() {
        for (kind, source, writable, expected) in [
            ("bind", "/srv/data", true, "host-path=/srv/data -> /t (rw)"),
            ("bind", "/srv/data", false, ""),
            ("bind", "/", false, "host-path=/ -> /t (ro)"),
            ("bind", "/etc", false, "host-path=/etc -> /t (ro)"),
            ("bind", "/etc/ssl", false, "host-path=/etc/ssl -> /t (ro)"),
            ("bind", "/etcetera", false, ""),
            ("bind", "/var/run/docker.sock", false, "engine-socket=/var/run/docker.sock -> /t (ro)"),
            ("volume", "/etc", true, ""),
            ("tmpfs", "", true, ""),
        ] {
            let mount = Mount { kind: kind.into(), source: source.into(), target: "/t".into(), writable };
            let settings = Settings { mounts: vec![mount], ..user("7") };
            assert_eq!(words(&settings).join(";"), expected, "{kind} {source} {writable}");
        }
    }
}
