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

/// The purl type whose packages a file of this name belongs to.
fn marker(path: &[u8]) -> Option<&'static str> {
    let mut parts = path.rsplit(|byte| *byte == b'/');
    let name = parts.next()?;
    let parent = parts.next().unwrap_or_default();
    match (parent, name) {
        (_, b"package.json") => return Some("npm"),
        (b"composer", b"installed.json") => return Some("composer"),
        _ => {}
    }
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let extension = dot.and_then(|dot| name.get(dot + 1..)).unwrap_or_default();
    match extension {
        b"jar" | b"war" | b"ear" => return Some("maven"),
        b"gemspec" if parent == b"specifications" || parent == b"default" => return Some("gem"),
        b"egg-info" => return Some("pypi"),
        b"json" if name.ends_with(b".deps.json") => return Some("nuget"),
        _ => {}
    }
    if (name == b"METADATA" && parent.ends_with(b".dist-info"))
        || (name == b"PKG-INFO" && parent.ends_with(b".egg-info"))
    {
        return Some("pypi");
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
        ] {
            assert_eq!(marker(path.as_bytes()), expected, "{path}");
        }
    }
}
