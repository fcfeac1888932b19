//! Reading `container` and `registries` rules.

use crate::{
    Condition, PolicyError, limit,
    workload::{Demand, HostPaths, Source},
    yaml::Node,
};

const KEYS: &[&str] = &[
    "privileged",
    "user",
    "host_network",
    "host_pid",
    "host_ipc",
    "capabilities",
    "engine_socket",
    "host_paths",
    "devices",
    "root_filesystem",
    "privilege_escalation",
    "seccomp",
    "apparmor",
];

/// `container: { privileged: forbid, user: non_root, … }`.
pub(crate) fn container(node: &Node) -> Result<Condition, PolicyError> {
    let mut demands = Vec::new();
    for (key, value) in node.map("`container`")? {
        let word = key.word("key", KEYS)?;
        demands.push(demand(word, value)?);
    }
    if demands.is_empty() {
        return Err(node.error("`container` asks nothing"));
    }
    Ok(Condition::Container { demands })
}

fn demand(key: &str, value: &Node) -> Result<Demand, PolicyError> {
    let only = |word: &'static str, demand: Demand| value.word("value", &[word]).map(|_| demand);
    match key {
        "privileged" => only("forbid", Demand::NotPrivileged),
        "user" => only("non_root", Demand::NonRoot),
        "host_network" => only("forbid", Demand::NoHostNetwork),
        "host_pid" => only("forbid", Demand::NoHostPid),
        "host_ipc" => only("forbid", Demand::NoHostIpc),
        "capabilities" => capability_names(value).map(Demand::Capabilities),
        "engine_socket" => only("forbid", Demand::NoEngineSocket),
        "host_paths" => Ok(Demand::HostPaths(match value.word("value", &["forbid", "read_only"])? {
            "forbid" => HostPaths::Forbid,
            _ => HostPaths::ReadOnly,
        })),
        "devices" => only("forbid", Demand::NoDevices),
        "root_filesystem" => only("read_only", Demand::ReadOnlyRoot),
        "privilege_escalation" => only("forbid", Demand::NoEscalation),
        "seccomp" => only("required", Demand::Seccomp),
        _ => only("required", Demand::Apparmor),
    }
}

/// Names as in capabilities(7), without `CAP_`.
pub(crate) fn capability_names(node: &Node) -> Result<Vec<String>, PolicyError> {
    let items = node.list("`capabilities`")?;
    if items.len() > limit::PATTERNS {
        return Err(node.error(format!("`capabilities` has at most {} names", limit::PATTERNS)));
    }
    let name = |item: &Node| {
        let text = item.text("a capability")?;
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if text.is_empty() || text.starts_with("CAP_") || !text.chars().all(plain) {
            return Err(item.error(format!("`{text}` is not a capability like `NET_BIND_SERVICE`")));
        }
        Ok(text.to_owned())
    };
    items.iter().map(name).collect()
}

/// `registries: { allow: [this, "docker.io/library/*"] }`.
pub(crate) fn registries(node: &Node, allow: &Node) -> Result<Condition, PolicyError> {
    let items = allow.list("`allow`")?;
    if items.is_empty() || items.len() > limit::PATTERNS {
        return Err(node.error(format!("`allow` has 1 to {} registries", limit::PATTERNS)));
    }
    let source = |item: &Node| Source::parse(item.text("a registry")?).map_err(|message| item.error(message));
    Ok(Condition::Registries { allow: items.iter().map(source).collect::<Result<_, _>>()? })
}
