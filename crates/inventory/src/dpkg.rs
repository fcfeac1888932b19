use seaworthy_package::{Ecosystem, InstalledPackage, SourcePackage};

use crate::limit;

/// What a package database states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusFile {
    /// Packages whose files are on disk, in file order.
    pub packages: Vec<Stated>,
    /// The first thing that is wrong with the file; packages that are readable are listed all
    /// the same.
    pub damage: Option<&'static str>,
}

/// One package, before the distribution's name is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stated {
    /// `Package`.
    pub name: String,
    /// `Version`, as written.
    pub version: String,
    /// `Architecture`.
    pub architecture: String,
    /// `Source`, with its version when it has one in parentheses.
    pub source: SourcePackage,
}

/// Where a paragraph stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    /// `/var/lib/dpkg/status`: every paragraph has a `Status`, every one ends in a blank line.
    Status,
    /// A file of `/var/lib/dpkg/status.d`: one package, always installed.
    StatusD,
}

impl Stated {
    /// The package as `distribution`'s.
    pub fn installed(&self, distribution: &str) -> InstalledPackage {
        InstalledPackage {
            ecosystem: Ecosystem::Deb,
            distribution: distribution.to_owned(),
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            source: self.source.clone(),
        }
    }
}

/// Reads `/var/lib/dpkg/status` (deb822(5), dpkg-query(1) "package states"). Whatever is
/// unpacked to disk counts, configured or not; what only left its configuration does not.
pub fn parse_status(content: &[u8]) -> StatusFile {
    parse(content, DatabaseKind::Status)
}

pub(crate) fn parse(content: &[u8], kind: DatabaseKind) -> StatusFile {
    let mut file = StatusFile::default();
    let mut paragraph = Paragraph::default();
    let mut real = false;
    if content.contains(&0) {
        file.damage = Some("has NUL bytes");
    } else if content.last().is_some_and(|last| *last != b'\n') {
        file.damage = Some("is cut short in a line");
    }
    let lines = content.strip_suffix(b"\n").unwrap_or(content).split(|byte| *byte == b'\n');
    let mut open = false;
    for line in lines.filter(|_| !content.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            paragraph.end(kind, &mut file);
            paragraph = Paragraph::default();
            open = false;
            continue;
        }
        open = true;
        paragraph.line(line);
        real |= line.starts_with(b"Maintainer:");
    }
    paragraph.end(kind, &mut file);
    // dpkg writes a blank line after every paragraph, the last one too. Every real package
    // has a maintainer; a database written by hand for a test need not be so neat.
    if kind == DatabaseKind::Status && real && open {
        file.damage.get_or_insert("ends inside a paragraph");
    }
    file
}

/// The fields we read of one paragraph, as they come.
#[derive(Default)]
struct Paragraph<'a> {
    any: bool,
    name: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    architecture: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    damage: Option<&'static str>,
}

impl<'a> Paragraph<'a> {
    fn line(&mut self, line: &'a [u8]) {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if !self.any {
                self.damage = Some("begins a paragraph with a continuation line");
            }
            return;
        }
        self.any = true;
        let Some(colon) = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0) else {
            self.damage = Some("has a line that is no field");
            return;
        };
        let (key, value) = line.split_at(colon);
        let slot = if key.eq_ignore_ascii_case(b"Package") {
            &mut self.name
        } else if key.eq_ignore_ascii_case(b"Version") {
            &mut self.version
        } else if key.eq_ignore_ascii_case(b"Architecture") {
            &mut self.architecture
        } else if key.eq_ignore_ascii_case(b"Source") {
            &mut self.source
        } else if key.eq_ignore_ascii_case(b"Status") {
            &mut self.status
        } else {
            if key.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
                self.damage = Some("has a line that is no field");
            }
            return;
        };
        if slot.is_some() {
            self.damage = Some("has a field twice in one paragraph");
            return;
        }
        *slot = Some(value.get(1..).unwrap_or_default().trim_ascii());
    }

    fn end(&self, kind: DatabaseKind, file: &mut StatusFile) {
        if !self.any && self.damage.is_none() {
            return;
        }
        let mut damaged = |what| {
            file.damage.get_or_insert(what);
        };
        if let Some(damage) = self.damage {
            damaged(damage);
        }
        let on_disk = match (self.status, kind) {
            (Some(status), _) => on_disk(status).unwrap_or_else(|| {
                damaged("has a package with a malformed status");
                true
            }),
            (None, DatabaseKind::StatusD) => true,
            (None, DatabaseKind::Status) => {
                damaged("has a package without a status");
                true
            }
        };
        if !on_disk {
            return;
        }
        match self.package() {
            Ok(package) => file.packages.push(package),
            Err(damage) => damaged(damage),
        }
    }

    fn package(&self) -> Result<Stated, &'static str> {
        let name = word(self.name.ok_or("has a paragraph without a package name")?)?;
        let version = word(self.version.ok_or("has a package without a version")?)?;
        let architecture = self.architecture.map_or(Ok(String::new()), word)?;
        let source = match self.source {
            None => SourcePackage { name: name.clone(), version: version.clone() },
            Some(text) => parse_source(text, &version)?,
        };
        Ok(Stated { name, version, architecture, source })
    }
}

/// `want flag state`; `None` when it is something else.
fn on_disk(status: &[u8]) -> Option<bool> {
    let mut words = status.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (_, _, state) = (words.next()?, words.next()?, words.next()?);
    match state {
        b"installed" | b"unpacked" | b"half-configured" | b"half-installed" | b"triggers-awaited"
        | b"triggers-pending" => Some(true),
        b"config-files" | b"not-installed" => Some(false),
        _ => None,
    }
    .filter(|_| words.next().is_none())
}

/// `name` or `name (version)`.
fn parse_source(text: &[u8], binary_version: &str) -> Result<SourcePackage, &'static str> {
    let Some(open) = text.iter().position(|byte| *byte == b'(') else {
        return Ok(SourcePackage { name: word(text)?, version: binary_version.to_owned() });
    };
    let (name, rest) = text.split_at(open);
    let version =
        rest.get(1..).and_then(|rest| rest.strip_suffix(b")")).ok_or("has a malformed source version")?;
    Ok(SourcePackage { name: word(name.trim_ascii())?, version: word(version.trim_ascii())? })
}

fn word(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.is_empty() {
        return Err("has an empty field");
    }
    if bytes.len() > limit::FIELD_BYTES {
        return Err("has a field that is too long");
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err("has a name or version with unprintable characters");
    }
    Ok(bytes.iter().map(|byte| char::from(*byte)).collect())
}

/// Paths of a `.list` file, or of an `.md5sums` file (`HASH  PATH`), without a leading slash.
pub(crate) fn listed_paths<'a>(content: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let sums = name.ends_with(b".md5sums");
    content.split(|byte| *byte == b'\n').filter_map(move |line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let path = if sums { line.get(32..)?.trim_ascii_start() } else { line };
        let path = path.strip_prefix(b"/").or_else(|| path.strip_prefix(b"./")).unwrap_or(path);
        (!path.is_empty() && path != b".").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(content: &str, expected: &[&str], damage: Option<&str>) {
        let file = parse_status(content.as_bytes());
        let lines: Vec<String> = file
            .packages
            .iter()
            .map(|it| {
                format!(
                    "{} {} {} {} {}",
                    it.name, it.version, it.architecture, it.source.name, it.source.version
                )
            })
            .collect();
        assert_eq!(lines, expected, "{content}");
        assert_eq!(file.damage, damage, "{content}");
    }

    #[test]
    fn sources_and_their_versions() {
        let head =
            "Package: libexpat1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.5.0-1+b1\n";
        check(
            &format!("{head}Source: expat (2.5.0-1)\n\n"),
            &["libexpat1 2.5.0-1+b1 amd64 expat 2.5.0-1"],
            None,
        );
        check(&format!("{head}Source: expat\n"), &["libexpat1 2.5.0-1+b1 amd64 expat 2.5.0-1+b1"], None);
        check(head, &["libexpat1 2.5.0-1+b1 amd64 libexpat1 2.5.0-1+b1"], None);
        let crlf = head.replace('\n', "\r\n");
        check(&crlf, &["libexpat1 2.5.0-1+b1 amd64 libexpat1 2.5.0-1+b1"], None);
        check(&format!("{head}Source: expat (2.5\n\n"), &[], Some("has a malformed source version"));
    }

    #[test]
    fn states() {
        for (status, listed) in [
            ("install ok installed", true),
            ("hold ok installed", true),
            ("deinstall ok config-files", false),
            ("purge ok not-installed", false),
            ("install ok unpacked", true),
            ("install reinstreq half-installed", true),
            ("install ok half-configured", true),
            ("install ok triggers-awaited", true),
            ("install ok triggers-pending", true),
        ] {
            let expected: &[&str] = if listed { &["a 1  a 1"] } else { &[] };
            check(&format!("Package: a\nStatus: {status}\nVersion: 1\n\n"), expected, None);
        }
        check(
            "Package: a\nStatus: odd\nVersion: 1\n",
            &["a 1  a 1"],
            Some("has a package with a malformed status"),
        );
        check("Package: a\nVersion: 1\n", &["a 1  a 1"], Some("has a package without a status"));
    }

    #[test]
    fn damage_is_told_and_the_rest_is_read() {
        let good = "Package: a\nStatus: install ok installed\nVersion: 1\nDescription: x\n more\n\n";
        check(good, &["a 1  a 1"], None);
        check("", &[], None);
        let rest = |bad: &str, damage| check(&format!("{good}{bad}"), &["a 1  a 1"], Some(damage));
        rest("Package: b\nStatus: install ok inst", "is cut short in a line");
        rest("Package: b\nStatus: install ok installed\n", "has a package without a version");
        rest("\0\0\0\0\n", "has NUL bytes");
        rest("just text\n", "has a line that is no field");
        rest("Version: 1\nStatus: install ok installed\n\n", "has a paragraph without a package name");
        rest(
            &format!(
                "Package: {}\nStatus: install ok installed\nVersion: 1\n",
                "b".repeat(limit::FIELD_BYTES + 1)
            ),
            "has a field that is too long",
        );
        let longest = "b".repeat(limit::FIELD_BYTES);
        let longest = format!("Package: {longest}\nStatus: install ok installed\nVersion: 1\n\n");
        assert_eq!(parse_status(longest.as_bytes()).damage, None);
        let real = "Package: a\nStatus: install ok installed\nMaintainer: m\nVersion: 1\n";
        check(real, &["a 1  a 1"], Some("ends inside a paragraph"));
        check(&format!("{real}\n"), &["a 1  a 1"], None);
    }

    #[test]
    fn lists_and_sums() {
        let paths =
            |content: &'static [u8], name: &[u8]| -> Vec<&[u8]> { listed_paths(content, name).collect() };
        assert_eq!(paths(b"/.\n/usr\n/usr/bin/x\r\n\n", b"a.list"), [&b"usr"[..], b"usr/bin/x"]);
        assert_eq!(
            paths(b"d41d8cd98f00b204e9800998ecf8427e  usr/bin/x\nbad\n", b"a.md5sums"),
            [b"usr/bin/x"]
        );
    }

    fn paragraph(name: &str, state: &str, version: &str) -> String {
        format!(
            "Package: {name}\nStatus: {state}\nArchitecture: all\nVersion: {version}\nDescription: d\n .\n\n"
        )
    }

    fn any_status() -> impl Strategy<Value = (String, String, bool)> {
        ("[a-z][a-z0-9.+-]{0,8}", "[0-9][a-z0-9.+~:-]{0,8}", any::<bool>())
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = parse_status(&bytes);
            let _ = listed_paths(&bytes, b"x.md5sums").count();
        }

        #[test]
        fn damaged_text_never_panics(text in "((Package|Version|Status|Source): ?[ a-z0-9()]{0,9}\n|\n| x\n|\r\n){0,20}") {
            let _ = parse_status(text.as_bytes());
        }

        /// A second, naive reader: split at blank lines, split at `": "`, collect a map.
        #[test]
        fn agrees_with_a_naive_reader(packages in proptest::collection::vec(any_status(), 0..20)) {
            let mut text = String::new();
            for (name, version, installed) in &packages {
                let state = if *installed { "install ok installed" } else { "deinstall ok config-files" };
                text += &paragraph(name, state, version);
            }
            let naive: Vec<(String, String)> = text.split("\n\n").filter_map(|paragraph| {
                let map: std::collections::HashMap<_, _> =
                    paragraph.lines().filter_map(|line| line.split_once(": ")).collect();
                map.get("Status").is_some_and(|status| status.ends_with(" installed"))
                    .then(|| (map["Package"].to_owned(), map["Version"].to_owned()))
            }).collect();
            let file = parse_status(text.as_bytes());
            let ours: Vec<(String, String)> = file.packages.into_iter().map(|it| (it.name, it.version)).collect();
            prop_assert_eq!(ours, naive);
            prop_assert_eq!(file.damage, None);
        }
    }
}
