//! Who may use whom. The one table of the house; ARCHITECTURE.md explains it.

use super::{
    Finding,
    graph::{Graph, Kind, Member},
};

/// A row of the table.
struct Row {
    name: &'static str,
    layer: u8,
    may_use: Uses,
}

/// What a crate may depend on. Words are the crates of layer 0.
enum Uses {
    These(&'static [&'static str]),
    WordsAnd(&'static [&'static str]),
    /// Every product crate of a lower layer.
    AllBelow,
}

use Uses::{AllBelow, These, WordsAnd};

const fn row(name: &'static str, layer: u8, may_use: Uses) -> Row {
    Row { name, layer, may_use }
}

/// Layer of development crates: nothing in the product depends on one.
const DEV: u8 = u8::MAX;

/// Rows whose crates do not exist yet keep their place.
const TABLE: &[Row] = &[
    row("oci", 0, These(&[])),
    row("package", 0, These(&[])),
    row("model", 0, These(&["oci", "package"])),
    row("link", 0, These(&["oci", "package", "model"])),
    row("layer", 1, These(&["oci", "model"])),
    row("inventory", 1, These(&["oci", "package", "model", "layer"])),
    row("advisories", 1, These(&["package", "model"])),
    row("trust", 1, These(&["oci", "model"])),
    row("policy", 1, These(&["oci", "package", "model"])),
    row("store", 1, These(&["oci", "model"])),
    row("sandbox", 1, These(&["model"])),
    row("seal", 2, WordsAnd(&["store"])),
    row("ledger", 2, WordsAnd(&["store", "trust", "seal"])),
    row("access", 2, WordsAnd(&["trust", "store", "seal", "ledger"])),
    row("registry", 3, WordsAnd(&["store", "access", "ledger", "seal"])),
    row("inspection", 3, WordsAnd(&["layer", "inventory", "sandbox", "store", "access", "ledger"])),
    row("findings", 3, WordsAnd(&["advisories", "sandbox", "store", "access", "ledger"])),
    row("clearance", 3, WordsAnd(&["policy", "trust", "store", "access", "ledger"])),
    row("vault", 3, WordsAnd(&["seal", "store", "access", "ledger"])),
    row("fleet", 3, WordsAnd(&["store", "access", "ledger"])),
    row("telemetry", 3, WordsAnd(&["store", "access", "ledger"])),
    row("server", 4, AllBelow),
    row("agent", 4, WordsAnd(&["layer", "inventory", "sandbox", "policy"])),
    row("seaworthy", 5, AllBelow),
    row("testkit", DEV, AllBelow),
    row("xtask", DEV, These(&[])),
];

/// Crates that judge or name, and so have no runtime, SQL, HTTP or TLS in their tree.
const PURE: &[&str] =
    &["oci", "package", "model", "link", "layer", "inventory", "advisories", "trust", "policy"];

/// What a pure crate's tree must not contain.
const IMPURE: &[&str] = &["tokio", "sqlx", "sqlx-core", "rusqlite", "hyper", "axum", "reqwest", "rustls"];

fn find(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

/// Every dependency between workspace crates is in the table.
pub(crate) fn crate_edges(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in graph.members() {
        let Some(from) = find(&member.name) else {
            let message =
                "a crate that is not in the table of edges; add its row in xtask, and say why in an ADR";
            findings.push(Finding::new(&member.folder, message));
            continue;
        };
        let wrong = member.uses.iter().filter(|(to, kind)| !is_allowed(from, to, *kind));
        findings.extend(wrong.map(|(to, kind)| {
            let how = if *kind == Kind::Dev { "as a dev-dependency " } else { "" };
            Finding::new(
                &member.folder,
                format!("`{}` may not use `{to}` {how}(table of edges)", member.name),
            )
        }));
    }
    findings
}

fn is_allowed(from: &Row, name: &str, kind: Kind) -> bool {
    let Some(to) = find(name) else { return false };
    if kind == Kind::Dev {
        // Tests may stand on anything below, never on a neighbour.
        return to.name == "testkit" || to.layer < from.layer || is_named(from, to);
    }
    to.layer != DEV && is_named(from, to)
}

fn is_named(from: &Row, to: &Row) -> bool {
    match from.may_use {
        These(names) => names.contains(&to.name),
        WordsAnd(names) => to.layer == 0 || names.contains(&to.name),
        AllBelow => to.layer < from.layer,
    }
}

/// Pure crates stay pure, through all their dependencies.
pub(crate) fn pure_trees(graph: &Graph) -> Vec<Finding> {
    let pure = graph.members().filter(|member| PURE.contains(&member.name.as_str()));
    pure.flat_map(|member| {
        let reached = graph.reached_by(member);
        IMPURE.iter().filter(move |name| reached.contains(*name)).map(|name| {
            Finding::new(&member.folder, format!("a pure crate, but `{name}` is in its dependency tree"))
        })
    })
    .collect()
}

/// One integration test binary per crate: each one more is linked anew.
pub(crate) fn test_binaries(graph: &Graph) -> Vec<Finding> {
    let too_many =
        |member: &&Member| member.tests.len() > 1 || member.tests.iter().any(|name| name != "main");
    graph
        .members()
        .filter(too_many)
        .map(|member| {
            let message =
                format!("integration tests are one `tests/main.rs`, not {}", member.tests.join(", "));
            Finding::new(&member.folder, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::graph::tests::workspace;

    fn check(lines: &str, expected: &[&str]) {
        let messages: Vec<String> = crate_edges(&workspace(lines)).into_iter().map(|it| it.message).collect();
        assert_eq!(messages.len(), expected.len(), "{lines}: {messages:?}");
        for (message, part) in messages.iter().zip(expected) {
            assert!(message.contains(part), "{message} has no {part}");
        }
    }

    #[test]
    fn arrows_point_down_and_are_listed() {
        check("store > oci, model | testkit", &[]);
        check("registry > oci, store, access | testkit, trust", &[]);
        check("server > clearance, registry, policy", &[]);
        check("seaworthy > server, agent, oci | testkit", &[]);
        check("oci > model", &["`oci` may not use `model`"]);
        check("clearance > findings", &["`clearance` may not use `findings`"]);
        check("clearance > oci | registry", &["`registry` as a dev-dependency"]);
        check("registry > policy", &["`registry` may not use `policy`"]);
        check("store > testkit", &["`store` may not use `testkit`"]);
        check("xtask > model", &["`xtask` may not use `model`"]);
        check("server > agent", &["`server` may not use `agent`"]);
        check("warehouse > oci", &["not in the table"]);
    }

    #[test]
    fn the_table_itself_points_down() {
        for from in TABLE {
            let (These(names) | WordsAnd(names)) = &from.may_use else { continue };
            for to in *names {
                let to = find(to).expect("a row");
                let down = to.layer < from.layer || (to.layer == from.layer && from.layer <= 2);
                assert!(down, "{} → {}", from.name, to.name);
            }
        }
    }

    #[test]
    fn impurity_is_found_at_any_depth() {
        let good = workspace("policy > serde\nstore > sqlx\nsqlx > tokio");
        assert_eq!(pure_trees(&good), []);
        let bad = workspace("policy > model\nmodel > helpful\nhelpful > tokio");
        let places: Vec<String> = pure_trees(&bad).into_iter().map(|it| it.place).collect();
        assert_eq!(places, ["crates/policy", "crates/model"]);
    }

    #[test]
    fn a_second_test_binary_is_named() {
        let metadata = |name: &str| {
            format!(
                r#"{{"workspace_root": "/w", "workspace_members": ["a"], "packages": [
                {{"id": "a", "name": "seaworthy-oci", "manifest_path": "/w/crates/oci/Cargo.toml",
                  "targets": [{{"name": "main", "kind": ["test"]}}, {{"name": "{name}", "kind": ["test"]}}]}}]}}"#
            )
        };
        let graph = Graph::parse(&metadata("other")).expect("valid");
        assert_eq!(test_binaries(&graph).len(), 1);
    }
}
