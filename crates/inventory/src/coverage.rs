//! Marker files of ecosystems that have no reader yet, and executables that nobody owns.

use std::collections::BTreeSet;

use seaworthy_layer::{Magic, Node, NodeKind, TableRow, escape};
use seaworthy_model::Coverage;

use crate::limit;

/// Gathers coverage while the effective files pass by.
#[derive(Default)]
pub(crate) struct Gatherer {
    uncovered: BTreeSet<&'static str>,
    unowned: u32,
    examples: Vec<String>,
}

impl Gatherer {
    /// Looks at an effective file that no package of the distribution owns.
    ///
    /// An executable is a regular file with an execute bit that begins as ELF or `#!`;
    /// package scripts of dpkg itself are its database, not programs.
    pub(crate) fn unowned(&mut self, path: &[u8], node: Node, row: Option<TableRow<'_>>) {
        if !matches!(node.kind, NodeKind::File | NodeKind::Symlink) {
            return;
        }
        self.uncovered.extend(marker(path));
        let Some(row) = row.filter(|_| node.kind == NodeKind::File) else { return };
        let executable = row.mode & 0o111 != 0 && row.magic != Magic::Other;
        if executable && !path.starts_with(b"var/lib/dpkg/info/") {
            self.unowned = self.unowned.saturating_add(1);
            if self.examples.len() < limit::EXAMPLES {
                self.examples.push(escape(path));
            }
        }
    }

    pub(crate) fn finish(mut self, unreadable: Vec<String>) -> Coverage {
        self.examples.sort();
        Coverage {
            uncovered: self.uncovered.into_iter().map(str::to_owned).collect(),
            unowned_binaries: self.unowned,
            unowned_examples: self.examples,
            unreadable,
        }
    }
}

/// Databases that are folders with one entry for each package, and their purl type.
const DATABASES: &[(&[u8], &str)] = &[
    (b"var/lib/pacman/local/", "alpm"),
    (b"var/db/pkg/", "ebuild"),
    (b"nix/store/", "nix"),
    (b"home/linuxbrew/.linuxbrew/Cellar/", "brew"),
];

/// The purl type whose packages a file of this name belongs to.
fn marker(path: &[u8]) -> Option<&'static str> {
    let mut parts = path.rsplit(|byte| *byte == b'/');
    let name = parts.next()?;
    let parent = parts.next().unwrap_or_default();
    match (parent, name) {
        (_, b"package.json") => return Some("npm"),
        (b"composer", b"installed.json") => return Some("composer"),
        (b"conda-meta", name) if name.ends_with(b".json") => return Some("conda"),
        (b"opkg", b"status") => return Some("opkg"),
        _ => {}
    }
    if parent.ends_with(b".dist-info") || parent.ends_with(b".egg-info") {
        return Some("pypi");
    }
    for (database, ecosystem) in DATABASES {
        if path.strip_prefix(*database).is_some_and(|rest| rest.contains(&b'/')) {
            return Some(ecosystem);
        }
    }
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let extension = dot.and_then(|dot| name.get(dot + 1..)).unwrap_or_default().to_ascii_lowercase();
    match extension.as_slice() {
        b"jar" | b"war" | b"ear" | b"par" | b"hpi" | b"aar" => return Some("maven"),
        b"nupkg" => return Some("nuget"),
        b"snap" => return Some("snap"),
        b"gemspec" if parent == b"specifications" || parent == b"default" => return Some("gem"),
        b"egg" | b"whl" | b"egg-info" => return Some("pypi"),
        b"json" if name.ends_with(b".deps.json") => return Some("nuget"),
        _ => {}
    }
    if (parent == b"rpm" && matches!(name, b"Packages" | b"Packages.db" | b"rpmdb.sqlite"))
        && (path.ends_with(b"lib/rpm/Packages")
            || path.ends_with(b"lib/rpm/Packages.db")
            || path.ends_with(b"lib/rpm/rpmdb.sqlite")
            || memchr::memmem::find(path, b"lib/sysimage/rpm/").is_some())
    {
        return Some("rpm");
    }
    (parent == b"db" && name == b"installed" && path.ends_with(b"apk/db/installed")).then_some("apk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        for (path, expected) in [
            ("app/node_modules/x/package.json", Some("npm")),
            ("package.json", Some("npm")),
            ("app/package.jsonx", None),
            ("usr/lib/python3/dist-packages/a-1.dist-info/METADATA", Some("pypi")),
            ("usr/lib/python3/dist-packages/a-1.egg-info", Some("pypi")),
            ("usr/lib/python3/dist-packages/a-1.egg-info/PKG-INFO", Some("pypi")),
            ("opt/METADATA", None),
            ("opt/a.jar", Some("maven")),
            ("opt/a.war", Some("maven")),
            ("opt/jar", None),
            ("usr/lib/ruby/gems/3.1.0/specifications/a.gemspec", Some("gem")),
            ("usr/lib/ruby/gems/3.1.0/specifications/default/a.gemspec", Some("gem")),
            ("src/a.gemspec", None),
            ("app/vendor/composer/installed.json", Some("composer")),
            ("app/App.deps.json", Some("nuget")),
            ("var/lib/rpm/Packages", Some("rpm")),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", Some("rpm")),
            ("lib/apk/db/installed", Some("apk")),
            ("usr/lib/apk/db/installed", Some("apk")),
            ("etc/passwd", None),
            ("opt/A.JAR", Some("maven")),
            ("opt/a.nupkg", Some("nuget")),
            ("opt/a.egg", Some("pypi")),
            ("usr/lib/python3/a-1.dist-info/RECORD", Some("pypi")),
            ("opt/conda/conda-meta/a-1.json", Some("conda")),
            ("usr/lib/opkg/status", Some("opkg")),
            ("var/lib/pacman/local/a-1/desc", Some("alpm")),
            ("var/lib/pacman/local/ALPM_DB_VERSION", None),
            ("var/db/pkg/app/a-1/PF", Some("ebuild")),
            ("nix/store/abc-openssl-3/lib/x", Some("nix")),
        ] {
            assert_eq!(marker(path.as_bytes()), expected, "{path}");
        }
    }
}
