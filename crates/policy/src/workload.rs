//! Rules about how and from where an image is run: judged when a container is, never at a pull.

use std::fmt;

use seaworthy_model::Settings;
use serde::{Deserialize, Serialize};

use crate::{Cause, Evidence, Language, RepoPattern, RuleResult, Setting, decide::Outcome};

/// What a container adds to the facts of its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadFacts {
    /// The image's repository with its registry's host, as the container was started from:
    /// `docker.io/library/nginx`. The engine's word, and nothing when it names none.
    pub named: Option<String>,
    /// Whether what it runs was pushed here, and is known by its content.
    pub origin: Origin,
    /// How it is confined. Engines fill in the image's user.
    pub settings: Settings,
    /// Which of the settings nobody knows: what stands there for them is no statement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Setting>,
}

/// Where what a container runs comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Pushed to this registry: its content is known.
    Here,
    /// Known by the engine's word alone.
    Unknown,
}

/// Who may reach host paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPaths {
    /// Nobody.
    Forbid,
    /// They may be read.
    ReadOnly,
}

/// One thing that a `container` rule asks. Names follow the Pod Security Standards where they have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// `privileged: forbid`.
    NotPrivileged,
    /// `user: non_root`: a numeric user other than 0, as Kubernetes' `runAsNonRoot` asks.
    NonRoot,
    /// `host_network: forbid`.
    NoHostNetwork,
    /// `host_pid: forbid`.
    NoHostPid,
    /// `host_ipc: forbid`.
    NoHostIpc,
    /// `capabilities: [..]`: no others are added to the runtime's own set.
    Capabilities(Vec<String>),
    /// `engine_socket: forbid`: whoever holds it is root on the host.
    NoEngineSocket,
    /// `host_paths: forbid | read_only`.
    HostPaths(HostPaths),
    /// `devices: forbid`.
    NoDevices,
    /// `root_filesystem: read_only`.
    ReadOnlyRoot,
    /// `privilege_escalation: forbid`.
    NoEscalation,
    /// `seccomp: required`.
    Seccomp,
    /// `apparmor: required`.
    Apparmor,
}

impl Demand {
    /// Its key and value, as in a policy file.
    pub fn entry(&self) -> (&'static str, String) {
        let (key, value) = match self {
            Self::NotPrivileged => ("privileged", "forbid"),
            Self::NonRoot => ("user", "non_root"),
            Self::NoHostNetwork => ("host_network", "forbid"),
            Self::NoHostPid => ("host_pid", "forbid"),
            Self::NoHostIpc => ("host_ipc", "forbid"),
            Self::Capabilities(names) => return ("capabilities", format!("[{}]", names.join(", "))),
            Self::NoEngineSocket => ("engine_socket", "forbid"),
            Self::HostPaths(HostPaths::Forbid) => ("host_paths", "forbid"),
            Self::HostPaths(HostPaths::ReadOnly) => ("host_paths", "read_only"),
            Self::NoDevices => ("devices", "forbid"),
            Self::ReadOnlyRoot => ("root_filesystem", "read_only"),
            Self::NoEscalation => ("privilege_escalation", "forbid"),
            Self::Seccomp => ("seccomp", "required"),
            Self::Apparmor => ("apparmor", "required"),
        };
        (key, value.to_owned())
    }

    /// The settings that it looks at.
    const fn settings(&self) -> &'static [Setting] {
        match self {
            Self::NotPrivileged => &[Setting::Privileged],
            Self::NonRoot => &[Setting::User],
            Self::NoHostNetwork => &[Setting::HostNetwork],
            Self::NoHostPid => &[Setting::HostPid],
            Self::NoHostIpc => &[Setting::HostIpc],
            Self::Capabilities(_) => &[Setting::Capabilities],
            Self::NoEngineSocket | Self::HostPaths(_) => &[Setting::HostPaths],
            Self::NoDevices => &[Setting::Devices],
            Self::ReadOnlyRoot => &[Setting::RootFilesystem],
            Self::NoEscalation => &[Setting::PrivilegeEscalation],
            // A privileged container has neither.
            Self::Seccomp => &[Setting::Seccomp, Setting::Privileged],
            Self::Apparmor => &[Setting::Apparmor, Setting::Privileged],
        }
    }
}

/// What weakens a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "setting", rename_all = "kebab-case")]
pub enum Weakness {
    /// All capabilities, all devices, no confinement.
    Privileged,
    /// Runs as root.
    Root,
    /// Runs as a user that is named, not numbered: its number is the image's word.
    NamedUser {
        /// The name.
        user: String,
    },
    /// Shares the host's network.
    HostNetwork,
    /// Sees the host's processes.
    HostPid,
    /// Shares the host's IPC.
    HostIpc,
    /// A capability that the rule does not list.
    Capability {
        /// Its name, without `CAP_`.
        name: String,
    },
    /// Holds the container engine's socket.
    EngineSocket {
        /// Its path on the host.
        path: String,
    },
    /// A path of the host.
    HostPath {
        /// Which.
        path: String,
        /// True when it can be written.
        writable: bool,
    },
    /// A device of the host.
    Device {
        /// Which.
        path: String,
    },
    /// Its root file system can be written.
    WritableRoot,
    /// Its processes can gain privileges.
    Escalation,
    /// No system call filter.
    NoSeccomp,
    /// No `AppArmor` profile.
    NoApparmor,
    /// Nobody knows.
    Unknown {
        /// What.
        what: Setting,
    },
}

impl Weakness {
    /// True for what could as well be harmless.
    const fn is_doubt(&self) -> bool {
        matches!(self, Self::NamedUser { .. } | Self::Unknown { .. })
    }

    /// In words.
    pub fn message(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Japanese => self.japanese(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::Privileged => "is privileged".into(),
            Self::Root => "runs as root".into(),
            Self::NamedUser { user } => format!("runs as `{user}`, whose number is not known"),
            Self::HostNetwork => "shares the host's network".into(),
            Self::HostPid => "sees the host's processes".into(),
            Self::HostIpc => "shares the host's IPC".into(),
            Self::Capability { name } => format!("has the capability {name}"),
            Self::EngineSocket { path } => format!("holds the engine's socket `{path}`"),
            Self::HostPath { path, writable: true } => format!("can write the host's `{path}`"),
            Self::HostPath { path, writable: false } => format!("can read the host's `{path}`"),
            Self::Device { path } => format!("has the device `{path}`"),
            Self::WritableRoot => "can write its root file system".into(),
            Self::Escalation => "can gain privileges".into(),
            Self::NoSeccomp => "has no seccomp filter".into(),
            Self::NoApparmor => "has no AppArmor profile".into(),
            Self::Unknown { what } => format!("has an unknown `{}`", what.word()),
        }
    }

    fn japanese(&self) -> String {
        match self {
            Self::Privileged => "特権モード".into(),
            Self::Root => "root で実行".into(),
            Self::NamedUser { user } => format!("ユーザー `{user}` の番号が不明"),
            Self::HostNetwork => "ホストのネットワークを共有".into(),
            Self::HostPid => "ホストのプロセスを参照可能".into(),
            Self::HostIpc => "ホストの IPC を共有".into(),
            Self::Capability { name } => format!("ケーパビリティ {name} を追加"),
            Self::EngineSocket { path } => format!("エンジンのソケット `{path}` を保持"),
            Self::HostPath { path, writable: true } => format!("ホストの `{path}` に書き込み可能"),
            Self::HostPath { path, writable: false } => format!("ホストの `{path}` を読み取り可能"),
            Self::Device { path } => format!("デバイス `{path}` を使用"),
            Self::WritableRoot => "ルートファイルシステムに書き込み可能".into(),
            Self::Escalation => "権限の昇格が可能".into(),
            Self::NoSeccomp => "seccomp フィルターなし".into(),
            Self::NoApparmor => "AppArmor プロファイルなし".into(),
            Self::Unknown { what } => format!("`{}` が不明", what.word()),
        }
    }
}

/// What weakens a container with these settings, the worst first: more than a container has that
/// nobody configured. Demands can ask for more.
pub fn weaknesses(settings: &Settings) -> Vec<Weakness> {
    let demands = [
        Demand::NotPrivileged,
        Demand::NonRoot,
        Demand::NoHostNetwork,
        Demand::NoHostPid,
        Demand::NoHostIpc,
        Demand::Capabilities(Vec::new()),
        Demand::NoEngineSocket,
        Demand::HostPaths(HostPaths::Forbid),
        Demand::NoDevices,
        Demand::Seccomp,
        Demand::Apparmor,
    ];
    let all = demands.iter().flat_map(|demand| against(demand, settings));
    all.filter(|weakness| match weakness {
        Weakness::NamedUser { .. } => false,
        Weakness::HostPath { path, writable } => !is_engine_socket(path) && (*writable || is_sensitive(path)),
        // A privileged container has neither, and is told as such.
        Weakness::NoSeccomp => settings.seccomp_unconfined,
        Weakness::NoApparmor => settings.apparmor_unconfined,
        _ => true,
    })
    .collect()
}

/// Paths of the host that matter also when they are only read, with all below them.
fn is_sensitive(path: &str) -> bool {
    const PATHS: [&str; 9] =
        ["/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib/docker", "/var/run"];
    let below =
        |it: &&str| path.strip_prefix(*it).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == "/" || PATHS.iter().any(below)
}

/// Judges a `container` rule.
pub(crate) fn container(demands: &[Demand], workload: &WorkloadFacts, evidence: &mut Evidence) -> Outcome {
    let found: Vec<Weakness> = demands.iter().flat_map(|demand| asked(demand, workload)).collect();
    for weakness in &found {
        evidence.push(&weakness.english(), "");
    }
    let result = match found.iter().all(Weakness::is_doubt) {
        _ if found.is_empty() => return (RuleResult::Pass, Cause::Holds),
        true => RuleResult::Indeterminate,
        false => RuleResult::Fail,
    };
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let weaknesses = found.into_iter().take(crate::limit::EXAMPLES).collect();
    (result, Cause::Weak { weaknesses, found: count })
}

/// What is known to break a demand, else what nobody knows and could.
fn asked(demand: &Demand, workload: &WorkloadFacts) -> Vec<Weakness> {
    let unknown = |what: &&Setting| workload.unknown.contains(what);
    let looked_at = demand.settings();
    let own_is_unknown = looked_at.first().as_ref().is_some_and(unknown);
    // What stands for an unknown setting proves nothing; a privileged container has no filter whatever it says.
    let is_told = !own_is_unknown || (looked_at.len() > 1 && workload.settings.privileged);
    let found = if is_told { against(demand, &workload.settings) } else { Vec::new() };
    match looked_at.iter().find(unknown) {
        Some(what) if found.is_empty() => vec![Weakness::Unknown { what: *what }],
        _ => found,
    }
}

fn against(demand: &Demand, settings: &Settings) -> Vec<Weakness> {
    let when = |holds: bool, weakness: Weakness| if holds { vec![weakness] } else { Vec::new() };
    match demand {
        Demand::NotPrivileged => when(settings.privileged, Weakness::Privileged),
        Demand::NonRoot => user(&settings.user).into_iter().collect(),
        Demand::NoHostNetwork => when(settings.host_network, Weakness::HostNetwork),
        Demand::NoHostPid => when(settings.host_pid, Weakness::HostPid),
        Demand::NoHostIpc => when(settings.host_ipc, Weakness::HostIpc),
        Demand::Capabilities(allowed) => {
            let added = settings.added_capabilities.iter().filter(|name| !allowed.contains(name));
            added.map(|name| Weakness::Capability { name: name.clone() }).collect()
        }
        Demand::NoEngineSocket => {
            let sockets = settings.mounts.iter().filter(|mount| is_engine_socket(&mount.source));
            sockets.map(|mount| Weakness::EngineSocket { path: mount.source.clone() }).collect()
        }
        Demand::HostPaths(allowed) => {
            let host = settings.mounts.iter().filter(|mount| mount.kind == "bind");
            host.filter(|mount| mount.writable || *allowed == HostPaths::Forbid)
                .map(|mount| Weakness::HostPath { path: mount.source.clone(), writable: mount.writable })
                .collect()
        }
        Demand::NoDevices => {
            settings.devices.iter().map(|path| Weakness::Device { path: path.clone() }).collect()
        }
        Demand::ReadOnlyRoot => when(!settings.read_only_root, Weakness::WritableRoot),
        Demand::NoEscalation => when(!settings.no_new_privileges, Weakness::Escalation),
        Demand::Seccomp => when(settings.seccomp_unconfined || settings.privileged, Weakness::NoSeccomp),
        Demand::Apparmor => when(settings.apparmor_unconfined || settings.privileged, Weakness::NoApparmor),
    }
}

/// Nobody is root; a group behind `:` does not count.
fn user(user: &str) -> Option<Weakness> {
    let name = user.split(':').next().unwrap_or_default();
    match name.parse::<u64>() {
        Ok(0) => Some(Weakness::Root),
        Ok(_) => None,
        Err(_) if name.is_empty() || name == "root" => Some(Weakness::Root),
        Err(_) => Some(Weakness::NamedUser { user: name.to_owned() }),
    }
}

/// The sockets of docker, podman, containerd and CRI-O, wherever they lie, and the folders that hold them.
fn is_engine_socket(source: &str) -> bool {
    const NAMES: [&str; 5] =
        ["docker.sock", "podman.sock", "containerd.sock", "crio.sock", "docker.sock.raw"];
    const FOLDERS: [&str; 7] =
        ["/", "/var/run", "/run", "/run/podman", "/run/containerd", "/run/crio", "/run/user"];
    let path = source.trim_end_matches('/');
    let path = if path.is_empty() && source.starts_with('/') { "/" } else { path };
    FOLDERS.contains(&path) || path.rsplit('/').next().is_some_and(|name| NAMES.contains(&name))
}

/// Where images may come from: `this` for what was pushed here, or a registry's host with a
/// repository pattern, `docker.io/library/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Pushed to this registry.
    This,
    /// A registry and what it may hold.
    Registry {
        /// `docker.io`, `quay.io:443`.
        host: String,
        /// Which repositories.
        repositories: RepoPattern,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::This => f.write_str("this"),
            Self::Registry { host, repositories } => write!(f, "{host}/{repositories}"),
        }
    }
}

impl Source {
    /// Reads `this`, `HOST` or `HOST/PATTERN`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "this" {
            return Ok(Self::This);
        }
        let (host, rest) = text.split_once('/').unwrap_or((text, "**"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':');
        let is_host = host == "localhost" || host.contains(['.', ':']);
        if host.len() > 255 || !is_host || !host.chars().all(plain) {
            return Err(format!("`{text}` is not `this` or a registry like `docker.io/library/*`"));
        }
        let repositories = rest.parse().map_err(|error: crate::PatternError| error.to_string())?;
        Ok(Self::Registry { host: host.to_owned(), repositories })
    }

    fn allows(&self, workload: &WorkloadFacts) -> bool {
        match self {
            Self::This => workload.origin == Origin::Here,
            Self::Registry { host, repositories } => workload.named.as_deref().is_some_and(|named| {
                let (its, rest) = named.split_once('/').unwrap_or(("", named));
                its == host && rest.parse().is_ok_and(|repository| repositories.matches(&repository))
            }),
        }
    }
}

/// Judges a `registries` rule.
pub(crate) fn registries(allowed: &[Source], workload: &WorkloadFacts) -> Outcome {
    if allowed.iter().any(|source| source.allows(workload)) {
        return (RuleResult::Pass, Cause::Holds);
    }
    match &workload.named {
        Some(named) => (RuleResult::Fail, Cause::Registry { named: named.clone() }),
        None => (RuleResult::Indeterminate, Cause::Nameless),
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_model::{Mount, Timestamp};

    use super::*;
    use crate::{Decision, Facts, Mode, Policy, Settling, Verdict, decide};

    /// Hardened as far as it goes.
    fn hardened() -> WorkloadFacts {
        WorkloadFacts {
            named: Some("localhost:5000/prod/web".into()),
            origin: Origin::Here,
            settings: Settings {
                user: "1000:1000".into(),
                read_only_root: true,
                no_new_privileges: true,
                ..Settings::default()
            },
            unknown: Vec::new(),
        }
    }

    fn judged(rules: &str, workload: WorkloadFacts) -> Decision {
        let source = format!("policy: p\nselects: ['**']\nrules:\n{rules}");
        let policy = Policy::parse(&source).unwrap_or_else(|error| panic!("{error}: {source}"));
        let repository = "prod/web".parse().expect("name");
        let facts = Facts::from_events(&repository, None, None, None, Settling::Settled);
        decide(&[&policy], &facts.for_workload(workload), &[], Timestamp::from_micros(0))
    }

    fn bind(source: &str, writable: bool) -> Mount {
        Mount { kind: "bind".into(), source: source.into(), target: "/x".into(), writable }
    }

    type Change = fn(&mut WorkloadFacts);

    #[test]
    fn each_demand_sees_what_breaks_it_and_nothing_else() {
        let cases: [(&str, Change); 21] = [
            ("privileged: forbid", |it| it.settings.privileged = true),
            ("user: non_root", |it| it.settings.user = "0".into()),
            ("user: non_root", |it| it.settings.user = "root:app".into()),
            ("user: non_root", |it| it.settings.user = ":1000".into()),
            ("user: non_root", |it| it.settings.user = "000".into()),
            ("user: non_root", |it| it.settings.user = String::new()),
            ("host_network: forbid", |it| it.settings.host_network = true),
            ("host_pid: forbid", |it| it.settings.host_pid = true),
            ("host_ipc: forbid", |it| it.settings.host_ipc = true),
            ("capabilities: []", |it| it.settings.added_capabilities = vec!["NET_RAW".into()]),
            ("capabilities: [NET_RAW]", |it| it.settings.added_capabilities = vec!["ALL".into()]),
            ("engine_socket: forbid", |it| it.settings.mounts = vec![bind("/var/run/docker.sock", false)]),
            ("engine_socket: forbid", |it| {
                it.settings.mounts = vec![bind("/run//", false), bind("/run/", false)];
            }),
            ("engine_socket: forbid", |it| it.settings.mounts = vec![bind("/", false)]),
            ("host_paths: forbid", |it| it.settings.mounts = vec![bind("/srv", false)]),
            ("host_paths: read_only", |it| it.settings.mounts = vec![bind("/srv", true)]),
            ("devices: forbid", |it| it.settings.devices = vec!["/dev/kvm".into()]),
            ("root_filesystem: read_only", |it| it.settings.read_only_root = false),
            ("privilege_escalation: forbid", |it| it.settings.no_new_privileges = false),
            ("seccomp: required", |it| it.settings.seccomp_unconfined = true),
            ("apparmor: required", |it| it.settings.privileged = true),
        ];
        for (demand, change) in cases {
            let rule = format!("  - container: {{ {demand} }}\n    mode: enforce\n");
            let fine = judged(&rule, hardened());
            assert_eq!((fine.verdict, fine.reasons.len()), (Verdict::Allowed, 1), "{demand}");
            let mut weak = hardened();
            change(&mut weak);
            let decision = judged(&rule, weak.clone());
            assert_eq!(decision.verdict, Verdict::Blocked, "{demand}");
            assert_eq!(decision.reasons[0].result, RuleResult::Fail, "{demand}");
            assert!(!decision.reasons[0].evidence.is_empty(), "{demand}");
            for language in [Language::English, Language::Japanese] {
                assert!(!decision.reasons[0].cause.message(language).is_empty());
            }
            let stored = serde_json::to_string(&decision).expect("json");
            assert_eq!(serde_json::from_str::<Decision>(&stored).expect("json"), decision);
            let policy =
                Policy::parse(&format!("policy: p\nselects: ['**']\nrules:\n{rule}")).expect("compiles");
            let crate::Condition::Container { demands } = &policy.rules[0].condition else { panic!("kind") };
            let (key, value) = demands[0].entry();
            assert_eq!(format!("{key}: {value}"), demand);
        }
    }

    #[test]
    fn what_is_not_sure_is_indeterminate() {
        let rule = "  - container: { user: non_root }\n    mode: enforce\n";
        let mut named = hardened();
        named.settings.user = "nginx".into();
        let decision = judged(rule, named);
        assert_eq!(decision.reasons[0].result, RuleResult::Indeterminate);
        assert_eq!(decision.verdict, Verdict::Blocked, "unknown is not fine");
    }

    #[test]
    fn what_weakens_is_more_than_the_default() {
        let words = |change: Change| {
            let mut workload = hardened();
            (workload.settings.read_only_root, workload.settings.no_new_privileges) = (false, false);
            change(&mut workload);
            let all = weaknesses(&workload.settings).into_iter();
            let word =
                |it: Weakness| serde_json::to_value(it).expect("json")["setting"].as_str().map(str::to_owned);
            all.filter_map(word).collect::<Vec<_>>().join(" ")
        };
        let cases: [(Change, &str); 9] = [
            (|_| {}, ""),
            (|it| it.settings.user = "app".into(), ""),
            (|it| it.settings.user = "1000:0".into(), ""),
            (|it| it.settings.mounts = vec![bind("/srv", false), bind("/etcetera", false)], ""),
            (|it| it.settings.mounts = vec![bind("/srv", true)], "host-path"),
            (|it| it.settings.mounts = vec![bind("/etc/ssl", false)], "host-path"),
            (|it| it.settings.mounts = vec![bind("/var/run/docker.sock", true)], "engine-socket"),
            (|it| it.settings.privileged = true, "privileged"),
            (
                |it| {
                    let names = vec!["NET_ADMIN".into(), "SYS_ADMIN".into()];
                    (it.settings.seccomp_unconfined, it.settings.added_capabilities) = (true, names);
                },
                "capability capability no-seccomp",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(words(change), expected);
        }
    }

    #[test]
    fn settings_are_watched_before_they_are_enforced_and_never_asked_of_a_pull() {
        let mut weak = hardened();
        weak.settings.privileged = true;
        let audit = judged("  - container: { privileged: forbid }\n", weak);
        assert_eq!((audit.reasons[0].mode, audit.verdict), (Mode::Audit, Verdict::Allowed));
        let rules = "policy: p\nselects: ['**']\nrules:\n  - registries: { allow: [this] }\n  - container: { privileged: forbid }\n";
        let policy = Policy::parse(rules).expect("compiles");
        let repository = "prod/web".parse().expect("name");
        let facts = Facts::from_events(&repository, None, None, None, Settling::Settled);
        let pull = decide(&[&policy], &facts, &[], Timestamp::from_micros(0));
        assert_eq!((pull.reasons.len(), pull.verdict), (0, Verdict::Allowed));
    }

    #[test]
    fn what_nobody_knows_is_indeterminate_whatever_stands_there() {
        use Setting::{Apparmor, Capabilities, HostPaths, PrivilegeEscalation, Privileged, RootFilesystem};
        let result = |rule: &str, unknown: &[Setting], change: Change| {
            let mut workload = WorkloadFacts { unknown: unknown.to_vec(), ..hardened() };
            change(&mut workload);
            judged(&format!("  - container: {{ {rule} }}\n    mode: enforce\n"), workload).reasons[0].result
        };
        let same: Change = |_| {};
        let told: Change = |it| it.settings = Settings { privileged: true, ..Settings::default() };
        for (rule, unknown, change, expected) in [
            ("privileged: forbid", &[Privileged][..], same, RuleResult::Indeterminate),
            ("user: non_root", &[Setting::User], told, RuleResult::Indeterminate),
            ("root_filesystem: read_only", &[RootFilesystem], told, RuleResult::Indeterminate),
            ("privilege_escalation: forbid", &[PrivilegeEscalation], told, RuleResult::Indeterminate),
            ("capabilities: []", &[Capabilities], same, RuleResult::Indeterminate),
            ("engine_socket: forbid", &[HostPaths], same, RuleResult::Indeterminate),
            ("host_paths: read_only", &[HostPaths], same, RuleResult::Indeterminate),
            ("apparmor: required", &[Apparmor], same, RuleResult::Indeterminate),
            ("apparmor: required", &[Apparmor], told, RuleResult::Fail),
            ("seccomp: required", &[Privileged], same, RuleResult::Indeterminate),
            ("seccomp: required", &[Apparmor], same, RuleResult::Pass),
            ("privileged: forbid", &[Setting::User], same, RuleResult::Pass),
            ("privileged: forbid, user: non_root", &[Setting::User], told, RuleResult::Fail),
        ] {
            assert_eq!(result(rule, unknown, change), expected, "{rule} {unknown:?}");
        }
        let message = |language| Weakness::Unknown { what: Setting::User }.message(language);
        assert_eq!(message(Language::English), "has an unknown `user`");
        assert_eq!(message(Language::Japanese), "`user` が不明");
    }

    #[test]
    fn registries_are_matched_by_host_and_repository() {
        for (allow, named, origin, expected) in [
            ("this", Some("docker.io/library/web"), Origin::Here, RuleResult::Pass),
            ("this", Some("localhost:5000/prod/web"), Origin::Unknown, RuleResult::Fail),
            ("docker.io/library/*", Some("docker.io/library/nginx"), Origin::Unknown, RuleResult::Pass),
            ("docker.io/library/*", Some("docker.io/evil/nginx"), Origin::Unknown, RuleResult::Fail),
            (
                "docker.io/library/*",
                Some("docker.io.evil.example/library/nginx"),
                Origin::Unknown,
                RuleResult::Fail,
            ),
            ("quay.io", Some("quay.io/a/b/c"), Origin::Unknown, RuleResult::Pass),
            ("quay.io:443", Some("quay.io/a"), Origin::Unknown, RuleResult::Fail),
            ("localhost:5000/prod/**", Some("localhost:5000/prod/web"), Origin::Unknown, RuleResult::Pass),
            ("localhost/**", Some("localhost/a"), Origin::Unknown, RuleResult::Pass),
            ("quay.io", None, Origin::Unknown, RuleResult::Indeterminate),
            ("quay.io", Some("nonsense"), Origin::Unknown, RuleResult::Fail),
        ] {
            let workload = WorkloadFacts { named: named.map(str::to_owned), origin, ..hardened() };
            let decision = judged(&format!("  - registries: {{ allow: [\"{allow}\"] }}\n"), workload);
            assert_eq!(decision.reasons[0].result, expected, "{allow} {named:?}");
        }
        for wrong in ["", "that", "docker.io/A", "https://quay.io", "Quay.io", "quay.io/", "/x"] {
            assert!(Source::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_knows_what_an_unmapped_container_runs() {
        let unmapped = WorkloadFacts { origin: Origin::Unknown, ..hardened() };
        let decision = judged("  - vulnerabilities: { kev: 0 }\n", unmapped);
        assert_eq!(decision.verdict, Verdict::Blocked);
        let message = decision.reasons[0].cause.message(Language::English);
        assert_eq!(message, "what runs as `localhost:5000/prod/web` was never pushed here");
    }

    #[test]
    fn mistakes_in_rules_are_shown_where_they_are() {
        for (rules, expected) in [
            ("  - container: {}\n", "`container` asks nothing"),
            ("  - container: { privileged: never }\n", "unknown value `never`"),
            ("  - container: { priviledged: forbid }\n", "unknown key `priviledged`"),
            ("  - container: { capabilities: [CAP_KILL] }\n", "`CAP_KILL` is not a capability"),
            ("  - container: { capabilities: KILL }\n", "`capabilities` is a list"),
            ("  - registries: {}\n", "`allow` is missing"),
            ("  - registries: { allow: [] }\n", "`allow` has 1 to 100 registries"),
            ("  - registries: { allow: [web] }\n", "`web` is not `this` or a registry"),
        ] {
            let error = Policy::parse(&format!("policy: p\nselects: ['**']\nrules:\n{rules}"))
                .expect_err("a mistake")
                .to_string();
            assert!(error.contains(expected), "{rules}: {error}");
        }
        let many = |n: usize| {
            let names: Vec<String> = (0..n).map(|n| format!("A{n}")).collect();
            let hosts: Vec<String> = (0..n).map(|n| format!("r{n}.example")).collect();
            format!(
                "policy: p\nselects: ['**']\nrules:\n  - container: {{ capabilities: [{}] }}\n  - registries: {{ allow: [{}] }}\n",
                names.join(", "),
                hosts.join(", ")
            )
        };
        assert!(Policy::parse(&many(crate::limit::PATTERNS)).is_ok());
        assert!(Policy::parse(&many(crate::limit::PATTERNS + 1)).is_err());
    }
}
