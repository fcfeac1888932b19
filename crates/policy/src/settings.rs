//! How a container is to be run, as people write it: files of `check --settings`, and cases.
//!
//! The words are those of `container` rules; the values say what is instead of what must be. What is
//! left out is as a plain `docker run IMAGE` has it, and `unknown` is a value everywhere.

use std::collections::BTreeSet;

use seaworthy_model::{Mount, Settings};
use seaworthy_oci::Reference;
use serde::{Deserialize, Serialize};

use crate::{
    Origin, PolicyError, WorkloadFacts, demands, limit,
    yaml::{Node, Value},
};

const KEYS: &[&str] = &[
    "privileged",
    "user",
    "host_network",
    "host_pid",
    "host_ipc",
    "capabilities",
    "host_paths",
    "devices",
    "root_filesystem",
    "privilege_escalation",
    "seccomp",
    "apparmor",
];
const PATH_KEYS: &[&str] = &["path", "writable"];
const UNKNOWN: &str = "unknown";

/// A setting that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// All capabilities, all devices, no confinement.
    Privileged,
    /// Whom it runs as.
    User,
    /// The host's network.
    HostNetwork,
    /// The host's processes.
    HostPid,
    /// The host's IPC.
    HostIpc,
    /// Capabilities added to the runtime's own set.
    Capabilities,
    /// Paths of the host, and with them the engine's socket.
    HostPaths,
    /// Devices of the host.
    Devices,
    /// Whether its root file system can be written.
    RootFilesystem,
    /// Whether its processes can gain privileges.
    PrivilegeEscalation,
    /// The system call filter.
    Seccomp,
    /// The `AppArmor` profile.
    Apparmor,
}

impl Setting {
    /// All of them.
    const ALL: [Self; 12] = [
        Self::Privileged,
        Self::User,
        Self::HostNetwork,
        Self::HostPid,
        Self::HostIpc,
        Self::Capabilities,
        Self::HostPaths,
        Self::Devices,
        Self::RootFilesystem,
        Self::PrivilegeEscalation,
        Self::Seccomp,
        Self::Apparmor,
    ];

    /// Its key in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::User => "user",
            Self::HostNetwork => "host_network",
            Self::HostPid => "host_pid",
            Self::HostIpc => "host_ipc",
            Self::Capabilities => "capabilities",
            Self::HostPaths => "host_paths",
            Self::Devices => "devices",
            Self::RootFilesystem => "root_filesystem",
            Self::PrivilegeEscalation => "privilege_escalation",
            Self::Seccomp => "seccomp",
            Self::Apparmor => "apparmor",
        }
    }
}

/// How a container is to be run, before its image is known. The default is a plain
/// `docker run IMAGE`.
///
/// ```
/// # use seaworthy_policy::WorkloadSettings;
/// let settings = WorkloadSettings::parse("privileged: true\nseccomp: unknown\n")?;
/// let facts = settings.facts(&"prod/web:1".parse().unwrap(), Some("1000"));
/// assert!(facts.settings.privileged);
/// assert_eq!(facts.settings.user, "1000");
/// # Ok::<(), seaworthy_policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadSettings {
    /// All but the user.
    settings: Settings,
    /// `None` for the image's.
    user: Option<String>,
    unknown: BTreeSet<Setting>,
}

impl WorkloadSettings {
    /// Reads a settings file, YAML or JSON. Unknown keys and values are refused with their place
    /// and the nearest valid word.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::read(&Node::parse(text)?)
    }

    /// The facts of a container with these settings, of an image that stands in this registry, or
    /// would. Only a reference with a host says how a container would name its registry.
    /// `image_user` is the user of the image's config, `None` when that is not known.
    pub fn facts(&self, reference: &Reference, image_user: Option<&str>) -> WorkloadFacts {
        let named = reference.host.as_ref().map(|host| format!("{host}/{}", reference.repository));
        self.of_origin(named, Origin::Here, image_user)
    }

    pub(crate) fn of_origin(
        &self,
        named: Option<String>,
        origin: Origin,
        image_user: Option<&str>,
    ) -> WorkloadFacts {
        let mut unknown = self.unknown.clone();
        let user = self.user.as_deref().or(image_user);
        if user.is_none() {
            unknown.insert(Setting::User);
        }
        let settings = Settings { user: user.unwrap_or_default().to_owned(), ..self.settings.clone() };
        WorkloadFacts { named, origin, settings, unknown: unknown.into_iter().collect() }
    }

    pub(crate) fn read(node: &Node) -> Result<Self, PolicyError> {
        let mut out = Self::default();
        for (key, value) in node.map("a container")? {
            if key.value == Value::Text("engine_socket".into()) {
                let mut error = key.error("`engine_socket` is a rule, not a setting");
                error.hint = Some("list the socket's path under `host_paths`".into());
                return Err(error);
            }
            let word = key.word("key", KEYS)?;
            if value.value == Value::Text(UNKNOWN.into()) {
                out.unknown.insert(setting(word));
                // Not the image's: nobody knows whose.
                out.user = out.user.or_else(|| (word == "user").then(String::new));
            } else {
                out.set(word, value)?;
            }
        }
        Ok(out)
    }

    fn set(&mut self, word: &str, value: &Node) -> Result<(), PolicyError> {
        let either = |words: [&'static str; 2]| {
            value.word("value", &[words[0], words[1], UNKNOWN]).map(|word| word == words[0])
        };
        let yes = || either(["true", "false"]);
        let it = &mut self.settings;
        match word {
            "privileged" => it.privileged = yes()?,
            "user" => self.user = Some(user(value)?),
            "host_network" => it.host_network = yes()?,
            "host_pid" => it.host_pid = yes()?,
            "host_ipc" => it.host_ipc = yes()?,
            "capabilities" => it.added_capabilities = demands::capability_names(value)?,
            "host_paths" => {
                it.mounts = bounded(value, "`host_paths`")?.iter().map(mount).collect::<Result<_, _>>()?;
            }
            "devices" => {
                it.devices = bounded(value, "`devices`")?.iter().map(host_path).collect::<Result<_, _>>()?;
            }
            "root_filesystem" => it.read_only_root = either(["read_only", "writable"])?,
            "privilege_escalation" => it.no_new_privileges = !yes()?,
            "seccomp" => it.seccomp_unconfined = either(["unconfined", "confined"])?,
            _ => it.apparmor_unconfined = either(["unconfined", "confined"])?,
        }
        Ok(())
    }
}

fn setting(word: &str) -> Setting {
    Setting::ALL.into_iter().find(|it| it.word() == word).unwrap_or(Setting::Apparmor)
}

/// `USER[:GROUP]`, as in an image's config; nobody writes down an empty one.
fn user(node: &Node) -> Result<String, PolicyError> {
    let text = node.text("`user`")?;
    if text.is_empty() || text.len() > limit::USER_BYTES || text.chars().any(char::is_control) {
        return Err(
            node.error(format!("`user` is 1 to {} bytes like `1000` or `1000:1000`", limit::USER_BYTES))
        );
    }
    Ok(text.to_owned())
}

fn bounded<'n>(node: &'n Node, what: &str) -> Result<&'n [Node], PolicyError> {
    let items = node.list(what)?;
    if items.len() > limit::MOUNTS {
        return Err(node.error(format!("{what} has at most {} entries", limit::MOUNTS)));
    }
    Ok(items)
}

/// `{ path: /srv, writable: false }`; writable, as the engine's own default, unless it says otherwise.
fn mount(node: &Node) -> Result<Mount, PolicyError> {
    let (mut path, mut writable) = (None, true);
    for (key, value) in node.map("a host path")? {
        match key.word("key", PATH_KEYS)? {
            "path" => path = Some(host_path(value)?),
            _ => writable = value.word("value", &["true", "false"])? == "true",
        }
    }
    let source = path.ok_or_else(|| node.error("`path` is missing"))?;
    // Where it is inside is not judged.
    Ok(Mount { kind: "bind".into(), target: source.clone(), source, writable })
}

/// An absolute path without `.`, `..` and empty parts: engines would resolve them, rules do not.
fn host_path(node: &Node) -> Result<String, PolicyError> {
    let text = node.text("a path")?;
    let inner = text.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    match inner {
        Some("") if text == "/" => Ok(text.to_owned()),
        Some(inner) if inner.split('/').all(plain) && text.len() <= limit::PATH_BYTES => Ok(text.to_owned()),
        _ => Err(node.error(format!(
            "a path is absolute, without `.`, `..` and empty parts, and at most {} bytes long",
            limit::PATH_BYTES
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str, image_user: Option<&str>) -> WorkloadFacts {
        let settings = WorkloadSettings::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        settings.facts(&"localhost:5000/prod/web:1".parse().expect("reference"), image_user)
    }

    fn refused(text: &str) -> String {
        let error = WorkloadSettings::parse(text).expect_err(text);
        format!("{error}{}", error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())
    }

    #[test]
    fn every_word_is_read_as_yaml_and_as_json() {
        let yaml = "privileged: true\nuser: 1000:1000\nhost_network: true\nhost_pid: true\nhost_ipc: true\n\
                    capabilities: [NET_RAW]\nhost_paths: [{ path: /srv }, { path: /etc/, writable: false }]\n\
                    devices: [/dev/fuse]\nroot_filesystem: read_only\nprivilege_escalation: false\n\
                    seccomp: unconfined\napparmor: unconfined\n";
        let json = r#"{
	"privileged": true, "user": "1000:1000", "host_network": true, "host_pid": true, "host_ipc": true,
	"capabilities": ["NET_RAW"], "host_paths": [{"path": "\/srv"}, {"path": "/etc/", "writable": false}],
	"devices": ["/dev/fuse"], "root_filesystem": "read_only", "privilege_escalation": false,
	"seccomp": "unconfined", "apparmor": "unconfined"
}"#;
        let it = facts(yaml, Some("0")).settings;
        assert_eq!(it, facts(json, None).settings);
        let bind = |path: &str, writable| Mount {
            kind: "bind".into(),
            source: path.into(),
            target: path.into(),
            writable,
        };
        let expected = Settings {
            privileged: true,
            user: "1000:1000".into(),
            host_network: true,
            host_pid: true,
            host_ipc: true,
            added_capabilities: vec!["NET_RAW".into()],
            mounts: vec![bind("/srv", true), bind("/etc/", false)],
            devices: vec!["/dev/fuse".into()],
            read_only_root: true,
            no_new_privileges: true,
            seccomp_unconfined: true,
            apparmor_unconfined: true,
            ..Settings::default()
        };
        assert_eq!(it, expected);
    }

    #[test]
    fn what_is_left_out_is_plain_and_the_user_is_the_images() {
        let plain = facts("{}", Some("app"));
        assert_eq!(plain.settings, Settings { user: "app".into(), ..Settings::default() });
        assert_eq!((plain.unknown.as_slice(), plain.origin), (&[][..], Origin::Here));
        assert_eq!(plain.named.as_deref(), Some("localhost:5000/prod/web"));
        let hostless = WorkloadSettings::default().facts(&"prod/web".parse().expect("reference"), Some(""));
        assert_eq!((hostless.named, hostless.settings), (None, Settings::default()));
    }

    #[test]
    fn what_nobody_knows_is_kept_as_unknown() {
        assert_eq!(facts("{}", None).unknown, [Setting::User]);
        assert_eq!(facts("user: unknown", Some("1000")).unknown, [Setting::User]);
        for word in KEYS {
            let unknown = facts(&format!("{word}: unknown"), Some("1000")).unknown;
            assert_eq!(unknown.iter().map(|it| it.word()).collect::<Vec<_>>(), [*word]);
        }
        assert_eq!(KEYS.len(), Setting::ALL.len());
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        for (text, says) in [
            ("", "1:1: file is empty"),
            ("privileged", "1:1: a container is a map of keys and values"),
            ("user: x\npriviledged: true", "2:1: unknown key `priviledged` (did you mean `privileged`?)"),
            ("privileged: yes", "1:13: unknown value `yes` (valid here: `true`, `false`, `unknown`)"),
            ("user: ''", "1:7: `user` is 1 to 256 bytes like `1000` or `1000:1000`"),
            (
                "engine_socket: true",
                "1:1: `engine_socket` is a rule, not a setting (list the socket's path under `host_paths`)",
            ),
            ("capabilities: [CAP_KILL]", "1:16: `CAP_KILL` is not a capability like `NET_BIND_SERVICE`"),
            ("host_paths: [/srv]", "1:14: a host path is a map of keys and values"),
            ("host_paths: [{ writable: true }]", "1:14: `path` is missing"),
            (
                "host_paths: [{ path: /srv, mode: ro }]",
                "1:28: unknown key `mode` (valid here: `path`, `writable`)",
            ),
            ("root_filesystem: readonly", "1:18: unknown value `readonly` (did you mean `read_only`?)"),
            ("user: a\nuser: b", "2:1: key `user` is already on line 1"),
        ] {
            assert_eq!(refused(text), says, "{text}");
        }
        for path in ["srv", "", "/a/../b", "/a//b", "/./a", "//", "/var/run/.."] {
            let says = refused(&format!("devices: ['{path}']"));
            assert!(says.contains("a path is absolute"), "{path}: {says}");
        }
        assert!(WorkloadSettings::parse("host_paths: [{ path: / }]").is_ok());
    }

    #[test]
    fn settings_are_bounded() {
        let parses = |text: String| WorkloadSettings::parse(&text).is_ok();
        let user = |n: usize| parses(format!("user: {}", "a".repeat(n)));
        assert!(user(limit::USER_BYTES) && !user(limit::USER_BYTES + 1));
        let path = |n: usize| parses(format!("devices: [/{}]", "a".repeat(n - 1)));
        assert!(path(limit::PATH_BYTES) && !path(limit::PATH_BYTES + 1));
        let devices = |n: usize| parses(format!("devices: [{}]", vec!["/dev/fuse"; n].join(", ")));
        assert!(devices(limit::MOUNTS) && !devices(limit::MOUNTS + 1));
        let mounts = |n: usize| parses(format!("host_paths: [{}]", vec!["{ path: /srv }"; n].join(", ")));
        assert!(mounts(limit::MOUNTS) && !mounts(limit::MOUNTS + 1));
        let names = |n: usize| parses(format!("capabilities: [{}]", vec!["KILL"; n].join(", ")));
        assert!(names(limit::PATTERNS) && !names(limit::PATTERNS + 1));
    }
}
