//! What Debian's own files say: which packages are installed, and where this host gets its
//! packages from. Pure, but for [`host_sources`].

use std::fs;

/// A base image: Debian's `bookworm` as of some suites.
pub(crate) struct Base {
    /// Its file in the cache.
    pub(crate) file: &'static str,
    /// The suites it may take packages from.
    pub(crate) suites: &'static [&'static str],
}

/// One base with known holes (the release as it came out) and one with all updates.
pub(crate) const BASES: &[Base] = &[
    Base { file: "base-main.tar", suites: &["bookworm"] },
    Base { file: "base-security.tar", suites: &["bookworm", "bookworm-updates", "bookworm-security"] },
];

/// Where one suite comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    uri: String,
    suite: String,
}

/// The wanted packages that `list` (`name status` lines of dpkg-query) does not show as installed.
pub(crate) fn missing<'p>(wanted: &[&'p str], list: &str) -> Vec<&'p str> {
    let installed = |name: &str| {
        list.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(name) && words.next() == Some("ii")
        })
    };
    wanted.iter().copied().filter(|name| !installed(name)).collect()
}

/// The one-line sources that take `main` of each suite from where this host takes it, or the
/// first suite that the host has no source for.
pub(crate) fn source_lines(sources: &[Source], suites: &[&'static str]) -> Result<String, &'static str> {
    let mut lines = String::new();
    for suite in suites {
        let source = sources.iter().find(|source| source.suite == *suite).ok_or(*suite)?;
        lines.extend(["deb ", &source.uri, " ", suite, " main\n"]);
    }
    Ok(lines)
}

/// The sources with `main` that this host's apt reads.
pub(crate) fn host_sources() -> Vec<Source> {
    let mut files = vec![std::path::PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|it| it.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// `deb [options] uri suite component…` (sources.list(5)).
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    words
        .any(|component| component == "main")
        .then(|| Source { uri: uri.to_owned(), suite: suite.to_owned() })
}

/// The stanzas of a deb822 file (sources.list(5)).
fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|it| format!("{it}\n")).collect();
    for stanza in text.split("\n\n") {
        let words = |field: &str| field_words(stanza, field);
        if words("Enabled") == ["no"]
            || !words("Types").contains(&"deb")
            || !words("Components").contains(&"main")
        {
            continue;
        }
        for uri in words("URIs") {
            for suite in words("Suites") {
                sources.push(Source { uri: uri.to_owned(), suite: suite.to_owned() });
            }
        }
    }
    sources
}

/// The words of a field, continuation lines included.
fn field_words<'s>(stanza: &'s str, field: &str) -> Vec<&'s str> {
    let mut words = Vec::new();
    let mut inside = false;
    for line in stanza.lines() {
        if line.starts_with([' ', '\t']) {
            if inside {
                words.extend(line.split_whitespace());
            }
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        inside = name.eq_ignore_ascii_case(field);
        if inside {
            words.extend(value.split_whitespace());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_installed_is_missing() {
        let list = "git ii \ngcc rc \nzstd un \n";
        assert_eq!(missing(&["git", "gcc", "zstd", "podman"], list), ["gcc", "zstd", "podman"]);
    }

    #[test]
    fn deb822_and_one_line_sources_agree() {
        let stanzas = "# a comment\nTypes: deb\n# http://other/\nURIs: http://mirror/debian\n\
                       Suites: bookworm\n bookworm-updates\nComponents: main contrib\n\n\
                       Types: deb\nURIs: http://mirror/security\nSuites: bookworm-security\nComponents: main\n\n\
                       Types: deb\nEnabled: no\nURIs: http://off/\nSuites: bookworm\nComponents: main\n\n\
                       Types: deb-src\nURIs: http://src/\nSuites: bookworm\nComponents: main\n";
        let lines = "# deb http://off/ bookworm main\n\
                     deb [signed-by=/k.gpg arch=amd64] http://mirror/debian bookworm main contrib\n\
                     deb http://mirror/debian bookworm-updates main # why\n\
                     deb-src http://src/ bookworm main\n\
                     deb http://no-main/ bookworm contrib\n\
                     deb http://mirror/security bookworm-security main\n";
        let sources: Vec<Source> = lines.lines().filter_map(one_line).collect();
        assert_eq!(deb822(stanzas), sources);
        assert_eq!(
            source_lines(&sources, BASES[1].suites).expect("all suites"),
            "deb http://mirror/debian bookworm main\n\
             deb http://mirror/debian bookworm-updates main\n\
             deb http://mirror/security bookworm-security main\n"
        );
        assert_eq!(source_lines(&sources[..1], BASES[1].suites), Err("bookworm-updates"));
    }
}
