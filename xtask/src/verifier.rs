//! The ledger's foreign verifier: a Go program over the Go project's own transparency log. Built
//! here, once, because its module comes from the network; the tests only run it.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use crate::{
    go,
    step::{self, Outcome},
};

/// Its sources.
const SOURCES: &str = "crates/ledger/tests/verifier";
const FILES: &[&str] = &["go.mod", "go.sum", "main.go"];
/// The oldest Go, minor version of 1, that reads its `go.mod`.
const GO_MINOR: u32 = 21;

/// Builds the verifier into the cache, unless these sources are there by this Go. Beside it lie
/// the sources that it was built from: by them the tests find theirs.
pub(crate) fn verifier(cache: &Path) -> Outcome {
    let go = go::go(cache, GO_MINOR)?;
    let version = step::read(go::local(&go).arg("version"))?;
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
    step::run(go::local(&go).args(["build", "-trimpath", "-o", "verifier", "."]).current_dir(&part))?;
    fs::rename(&part, &folder).map_err(|error| failed(&folder, error))
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("failed to read {}: {error}", path.display()))
}
