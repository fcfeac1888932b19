//! `cargo metadata` as the rules need it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::step::Outcome;

/// How one crate depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

/// A crate of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    id: String,
    /// Without `seaworthy-`: the name in the table of edges.
    pub(crate) name: String,
    /// Its folder below the root, as `crates/store`.
    pub(crate) folder: String,
    /// Workspace crates in its `Cargo.toml`.
    pub(crate) uses: Vec<(String, Kind)>,
    /// Names of its integration tests.
    pub(crate) tests: Vec<String>,
}

/// The workspace's crates, and who reaches what.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    members: Vec<Member>,
    /// Package name by id.
    names: BTreeMap<String, String>,
    /// Normal and build dependencies, by id.
    arrows: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Reads the JSON of `cargo metadata`, format 1.
    pub(crate) fn parse(metadata: &str) -> Outcome<Self> {
        let value: Value = serde_json::from_str(metadata)
            .map_err(|error| format!("failed to read what `cargo metadata` printed: {error}"))?;
        let workspace: BTreeSet<&str> = list(&value, "workspace_members").filter_map(Value::as_str).collect();
        let root = text(&value, "workspace_root");
        let mut graph = Self::default();
        for package in list(&value, "packages") {
            let (id, name) = (text(package, "id"), text(package, "name"));
            graph.names.insert(id.to_owned(), name.to_owned());
            if workspace.contains(id) {
                graph.members.push(member(package, root));
            }
        }
        for node in value.get("resolve").into_iter().flat_map(|resolve| list(resolve, "nodes")) {
            let arrows = list(node, "deps")
                .filter(|dep| list(dep, "dep_kinds").any(|kind| text(kind, "kind") != "dev"))
                .map(|dep| text(dep, "pkg").to_owned())
                .collect();
            graph.arrows.insert(text(node, "id").to_owned(), arrows);
        }
        Ok(graph)
    }

    /// The crates of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Names of all packages that a member is built with, its own left out.
    pub(crate) fn reached_by(&self, member: &Member) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![member.id.as_str()];
        while let Some(id) = open.pop() {
            for next in self.arrows.get(id).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen.into_iter().filter_map(|id| self.names.get(id)).map(String::as_str).collect()
    }
}

fn member(package: &Value, root: &str) -> Member {
    let manifest = text(package, "manifest_path");
    let folder = manifest.strip_prefix(root).unwrap_or(manifest).trim_start_matches('/');
    let uses = list(package, "dependencies")
        .filter(|dep| dep.get("path").is_some_and(Value::is_string))
        .map(|dep| {
            let kind = match text(dep, "kind") {
                "dev" => Kind::Dev,
                "build" => Kind::Build,
                _ => Kind::Normal,
            };
            (short(text(dep, "name")), kind)
        })
        .collect();
    let tests = list(package, "targets")
        .filter(|target| list(target, "kind").any(|kind| kind == "test"))
        .map(|target| text(target, "name").to_owned())
        .collect();
    Member {
        id: text(package, "id").to_owned(),
        name: short(text(package, "name")),
        folder: folder.trim_end_matches("/Cargo.toml").to_owned(),
        uses,
        tests,
    }
}

fn short(name: &str) -> String {
    name.strip_prefix("seaworthy-").unwrap_or(name).to_owned()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A workspace in few words: `name > normal, normal | dev` per line; everything that is
    /// not itself a line is a foreign package.
    pub(crate) fn workspace(lines: &str) -> Graph {
        let mut graph = Graph::default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, rest) = line.split_once('>').expect("a name and its arrows");
            let (normal, dev) = rest.split_once('|').unwrap_or((rest, ""));
            let words = |list: &str| -> Vec<String> {
                list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
            };
            let name = name.trim().to_owned();
            let mut uses: Vec<_> = words(normal).into_iter().map(|it| (it, Kind::Normal)).collect();
            uses.extend(words(dev).into_iter().map(|it| (it, Kind::Dev)));
            for id in words(normal).into_iter().chain([name.clone()]) {
                graph.names.insert(id.clone(), id);
            }
            graph.arrows.insert(name.clone(), words(normal));
            let folder = format!("crates/{name}");
            graph.members.push(Member { id: name.clone(), name, folder, uses, tests: Vec::new() });
        }
        graph
    }

    #[test]
    fn metadata_is_read() {
        let metadata = r#"{
            "workspace_root": "/w", "workspace_members": ["a"],
            "packages": [
                {"id": "a", "name": "seaworthy-store", "manifest_path": "/w/crates/store/Cargo.toml",
                 "dependencies": [
                    {"name": "seaworthy-oci", "kind": null, "path": "/w/crates/oci"},
                    {"name": "seaworthy-testkit", "kind": "dev", "path": "/w/crates/testkit"},
                    {"name": "sqlx", "kind": null}],
                 "targets": [{"name": "main", "kind": ["test"]}, {"name": "x", "kind": ["lib"]}]},
                {"id": "b", "name": "sqlx"}, {"id": "c", "name": "tokio"}, {"id": "d", "name": "proptest"}],
            "resolve": {"nodes": [
                {"id": "a", "deps": [
                    {"pkg": "b", "dep_kinds": [{"kind": null}]}, {"pkg": "d", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "b", "deps": [{"pkg": "c", "dep_kinds": [{"kind": "build"}]}]}]}}"#;
        let graph = Graph::parse(metadata).expect("valid");
        let store = graph.members().next().expect("one member");
        assert_eq!((store.name.as_str(), store.folder.as_str()), ("store", "crates/store"));
        assert_eq!(store.uses, [("oci".to_owned(), Kind::Normal), ("testkit".to_owned(), Kind::Dev)]);
        assert_eq!(store.tests, ["main"]);
        assert_eq!(graph.reached_by(store).into_iter().collect::<Vec<_>>(), ["sqlx", "tokio"]);
        assert!(Graph::parse("{").is_err());
    }
}
