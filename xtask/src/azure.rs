//! Azure's own client of a registry, which drives our server in a test: Python packages, unmodified.

use std::{fs, path::Path, process::Command};

use crate::step::{self, Outcome};

/// The folder in the cache. A change of a version changes its name, here and in
/// `crates/testkit/src/azure.rs`.
const FOLDER: &str = "azure-sdk-1.2.0-1";
const PACKAGES: &[&str] = &["azure-containerregistry==1.2.0", "azure-core==1.41.0", "aiohttp==3.14.5"];

/// Installs the packages into the cache, unless they are there.
pub(crate) fn sdk(cache: &Path) -> Outcome {
    let place = cache.join(FOLDER);
    if place.exists() {
        println!("    {FOLDER} is cached");
        return Ok(());
    }
    // Installed beside its place and renamed: a name that exists is complete.
    let part = cache.join(format!("{FOLDER}.part"));
    drop(fs::remove_dir_all(&part));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--target"]);
    step::run(pip.arg(&part).args(PACKAGES))?;
    fs::rename(&part, &place).map_err(|error| format!("failed to rename {}: {error}", part.display()))
}
