//! Base images of Debian's `bookworm`: `cargo xtask prepare` builds them once, with the packages
//! `nginx-light`, `python3` and `rsync`. What is absent is built here, the same way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

/// Which updates a base has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The release alone, as of its last point release: has known, fixed vulnerabilities.
    Main,
    /// With `bookworm-updates` and `bookworm-security`.
    Security,
}

impl Base {
    fn file(self) -> &'static str {
        match self {
            Self::Main => "base-main.tar",
            Self::Security => "base-security.tar",
        }
    }

    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Main => &["bookworm"],
            Self::Security => &["bookworm", "bookworm-updates", "bookworm-security"],
        }
    }
}

static BUILDING: Mutex<()> = Mutex::new(());

/// The tar of a base image, from the cache folder, else built into it. Needs root, `mmdebstrap`
/// and, for the first time, the network.
pub fn base(base: Base) -> PathBuf {
    let _one = BUILDING.lock().expect("no build failed");
    let home = std::env::var_os("HOME").expect("HOME is set");
    let cache = Path::new(&home).join(".cache/seaworthy");
    newest(&cache, base.file()).unwrap_or_else(|| build(&cache.join("bases-test"), base))
}

/// The file in that of the cache's folders which was changed last.
fn newest(cache: &Path, file: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(cache).ok()?.filter_map(Result::ok).map(|it| it.path());
    folders
        .filter_map(|folder| Some((fs::metadata(&folder).ok()?.modified().ok()?, folder.join(file))))
        .filter(|(_, path)| path.is_file())
        .max()
        .map(|(_, path)| path)
}

fn build(folder: &Path, base: Base) -> PathBuf {
    fs::create_dir_all(folder).expect("cache folder");
    let sources = sources();
    let lines: String = base
        .suites()
        .iter()
        .map(|suite| {
            let found = sources.iter().find(|(_, it)| it == suite);
            let (uri, _) = found.unwrap_or_else(|| panic!("no apt source of this host has `{suite}`"));
            format!("deb {uri} {suite} main\n")
        })
        .collect();
    let list = folder.join(format!("{}.list", base.file()));
    fs::write(&list, lines).expect("source list");
    let part = folder.join(format!("{}.part", base.file()));
    let output = Command::new("mmdebstrap")
        .args(["--quiet", "--mode=root", "--format=tar", "--variant=minbase"])
        .args(["--include=nginx-light,python3,rsync", "bookworm"])
        .args([&part, &list])
        .stdin(Stdio::null())
        .output()
        .expect("mmdebstrap runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let place = folder.join(base.file());
    fs::rename(&part, &place).expect("rename");
    place
}

/// (URI, suite) of every source with `main` that this host's apt reads.
fn sources() -> Vec<(String, String)> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).flat_map(|text| sources_of(&text)).collect()
}

fn sources_of(text: &str) -> Vec<(String, String)> {
    let lines = || text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut out = Vec::new();
    for line in lines().filter_map(|line| line.strip_prefix("deb ")) {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with('['));
        if let (Some(uri), Some(suite)) = (words.next(), words.next())
            && words.any(|word| word == "main")
        {
            out.push((uri.to_owned(), suite.to_owned()));
        }
    }
    let text: String = lines().map(|line| format!("{line}\n")).collect();
    for stanza in text.split("\n\n") {
        let field = |name: &str| -> Vec<&str> {
            let value = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().split_whitespace().collect()
        };
        if field("Types").contains(&"deb") && field("Components").contains(&"main") {
            for uri in field("URIs") {
                out.extend(field("Suites").iter().map(|suite| (uri.to_owned(), (*suite).to_owned())));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::sources_of;

    #[test]
    fn both_forms_of_sources_are_read() {
        let text = "# a comment\nTypes: deb\n# another\nURIs: http://mirror/debian\nSuites: bookworm \
                    bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://other/\nSuites: x\n\
                    Components: contrib\n";
        let pairs = |suites: &[&str]| -> Vec<(String, String)> {
            suites.iter().map(|suite| ("http://mirror/debian".to_owned(), (*suite).to_owned())).collect()
        };
        assert_eq!(sources_of(text), pairs(&["bookworm", "bookworm-updates"]));
        assert_eq!(sources_of("deb http://mirror/debian bookworm main\n"), pairs(&["bookworm"]));
        assert_eq!(sources_of("deb [arch=amd64] http://mirror/debian bookworm main\n"), pairs(&["bookworm"]));
        assert_eq!(sources_of("deb http://mirror/debian bookworm contrib\n"), []);
    }
}
