//! Rules of the tree: what may be where, and what no file may contain.

use std::{collections::BTreeSet, path::Path};

use super::{File, Finding, graph::Graph};

/// Folders at the root.
const FOLDERS: &[&str] = &["crates", "web", "docs", "examples", "fuzz", "deploy", "xtask", ".ci", ".cargo"];

/// Files at the root.
const FILES: &[&str] = &[
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.ja.md",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
];

/// Names that say nothing about what is inside.
const DRAWERS: &[&str] = &[
    "core", "common", "utils", "util", "misc", "types", "helpers", "manager", "service", "handler", "base",
    "shared",
];

/// Folders of developers' machines. In pieces, so that this file does not contain them.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Hosts of package registries and mirrors: what is fetched is the package clients' business.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("proxy.go", "lang.org"),
    concat!("sum.go", "lang.org"),
    concat!("deb.de", "bian.org"),
    concat!("security.de", "bian.org"),
    concat!("snapshot.de", "bian.org"),
    concat!("archive.ub", "untu.com"),
];

/// True for `….extension`.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|it| it == extension)
}

/// Nothing at the root but what is listed.
pub(crate) fn root_entries(paths: &[String]) -> Vec<Finding> {
    let entries: BTreeSet<(&str, bool)> = paths
        .iter()
        .map(|path| path.split_once('/').map_or((path.as_str(), false), |(folder, _)| (folder, true)))
        .collect();
    let unknown = |(name, is_folder): &(&str, bool)| {
        let known = if *is_folder { FOLDERS } else { FILES };
        !known.contains(name)
    };
    entries
        .into_iter()
        .filter(unknown)
        .map(|(name, _)| {
            Finding::new(name, "has no place at the root (xtask/src/tidy/tree.rs lists what has)")
        })
        .collect()
}

/// No module, file or folder of the code is a drawer.
pub(crate) fn module_names(paths: &[String]) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    for path in paths.iter().filter(|path| has_extension(path, "rs")) {
        for part in path.split('/').map(|part| part.trim_end_matches(".rs")) {
            if DRAWERS.contains(&part) {
                findings.insert((path, part));
            }
        }
    }
    findings
        .into_iter()
        .map(|(path, part)| Finding::new(path, format!("`{part}` says nothing; name the noun of the field")))
        .collect()
}

/// Decision records are `NNNN-title.md`, numbered from 1 without gaps or repeats.
pub(crate) fn decision_records(paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expected = 1;
    for path in paths.iter().filter(|path| path.starts_with("docs/adr/") && !path.ends_with("/README.md")) {
        let name = path.trim_start_matches("docs/adr/");
        let number = name
            .split_once('-')
            .filter(|(digits, title)| {
                digits.len() == 4 && title.len() > ".md".len() && has_extension(title, "md")
            })
            .and_then(|(digits, _)| digits.parse::<u32>().ok());
        if number != Some(expected) {
            findings.push(Finding::new(path, format!("a decision record is named `{expected:04}-title.md`")));
        }
        expected = number.map_or(expected, |number| number + 1);
    }
    findings
}

/// The code map names every crate by its folder.
pub(crate) fn architecture(files: &[File], graph: &Graph) -> Vec<Finding> {
    let page = "ARCHITECTURE.md";
    let text = files.iter().find(|file| file.path == page).map_or("", |file| file.text.as_str());
    graph
        .members()
        .filter(|member| !text.contains(&format!("`{}`", member.folder)))
        .map(|member| Finding::new(page, format!("does not tell what `{}` is for", member.folder)))
        .collect()
}

/// No trailing whitespace, no carriage returns, one newline at the end.
pub(crate) fn whitespace(file: &File) -> Vec<Finding> {
    // Fixtures are kept byte by byte, and so is the console's bundle, which a build writes.
    let kept = ["/fixtures/", "/snapshots/", "web/dist/"];
    if kept.iter().any(|folder| file.path.contains(folder)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::new(format!("{}:{}", file.path, index + 1), "trailing whitespace"));
        }
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        findings.push(Finding::new(&file.path, "a file ends with one newline"));
    }
    findings
}

/// Nothing names a developer's machine or a package registry.
pub(crate) fn foreign_names(file: &File) -> Vec<Finding> {
    if matches!(file.path.as_str(), "Cargo.lock" | "fuzz/Cargo.lock") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let place = || format!("{}:{}", file.path, index + 1);
        findings.extend(
            MACHINE_PATHS
                .iter()
                .filter(|path| line.contains(*path))
                .map(|path| Finding::new(place(), format!("`{path}` is a path of somebody's machine"))),
        );
        findings.extend(
            REGISTRY_HOSTS
                .iter()
                .filter(|host| line.contains(*host))
                .map(|host| Finding::new(place(), format!("`{host}` is the host of a package registry"))),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::graph::tests::workspace;

    fn paths(list: &[&str]) -> Vec<String> {
        list.iter().map(|path| (*path).to_owned()).collect()
    }

    fn places(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|it| it.place.as_str()).collect()
    }

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_root_is_closed() {
        let good = paths(&["Cargo.toml", "crates/oci/src/lib.rs", ".ci/run", "docs/a.md"]);
        assert_eq!(root_entries(&good), []);
        let bad = paths(&["notes.txt", "scripts/a.sh", "crates"]);
        assert_eq!(places(&root_entries(&bad)), ["crates", "notes.txt", "scripts"]);
    }

    #[test]
    fn drawers_are_refused() {
        let good = paths(&["crates/oci/src/basement.rs", "docs/core/a.md", "crates/x/src/git_util.rs"]);
        assert_eq!(module_names(&good), []);
        let bad = paths(&["crates/oci/src/utils.rs", "crates/x/src/common/mod.rs", "crates/core/src/lib.rs"]);
        assert_eq!(module_names(&bad).len(), 3);
    }

    #[test]
    fn decision_records_are_numbered() {
        let good = paths(&["docs/adr/0001-a.md", "docs/adr/0002-b.md", "docs/adr/README.md", "docs/x.md"]);
        assert_eq!(decision_records(&good), []);
        let check = |list: &[&str], expected: &[&str]| {
            assert_eq!(places(&decision_records(&paths(list))), expected, "{list:?}");
        };
        check(&["docs/adr/0001-a.md", "docs/adr/0003-b.md"], &["docs/adr/0003-b.md"]);
        check(&["docs/adr/0001-a.md", "docs/adr/0001-b.md"], &["docs/adr/0001-b.md"]);
        check(&["docs/adr/why.md"], &["docs/adr/why.md"]);
        check(&["docs/adr/1-a.md"], &["docs/adr/1-a.md"]);
    }

    #[test]
    fn the_code_map_names_every_crate() {
        let graph = workspace("oci >\nmodel > oci");
        let page = file("ARCHITECTURE.md", "`crates/oci`: words. crates/model is not marked as code.\n");
        let findings = architecture(&[page], &graph);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("crates/model"));
        assert_eq!(architecture(&[], &graph).len(), 2);
    }

    #[test]
    fn whitespace_at_ends() {
        assert_eq!(whitespace(&file("a", "x\n\ny\n")), []);
        assert_eq!(whitespace(&file("a", "")), []);
        assert_eq!(places(&whitespace(&file("a", "x\ny \n"))), ["a:2"]);
        assert_eq!(places(&whitespace(&file("a", "x\r\n"))), ["a:1"]);
        assert_eq!(places(&whitespace(&file("a", "x"))), ["a"]);
        assert_eq!(places(&whitespace(&file("a", "x\n\n"))), ["a"]);
    }

    #[test]
    fn machines_and_registries_are_not_named() {
        for word in MACHINE_PATHS.iter().chain(REGISTRY_HOSTS) {
            assert_eq!(places(&foreign_names(&file("a", &format!("x\nsee {word}y\n")))), ["a:2"], "{word}");
            assert_eq!(foreign_names(&file("Cargo.lock", word)), []);
        }
        assert_eq!(foreign_names(&file("a", "a workspace/ and a root/ folder, docker.io/library/x\n")), []);
    }
}
