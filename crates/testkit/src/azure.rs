//! Azure's own client of a registry, which `cargo xtask prepare` installs.

use std::path::{Path, PathBuf};

use crate::tier::wanted;

/// Where `cargo xtask prepare` puts it, below the home directory (see `xtask/src/azure.rs`).
const FOLDER: &str = ".cache/seaworthy/azure-sdk-1.2.0-1";

/// The folder with its Python packages, or `None` after saying which test was not run.
pub fn azure_sdk(test: &str) -> Option<PathBuf> {
    let folder = Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(FOLDER);
    if !folder.join("azure/containerregistry").is_dir() {
        wanted(test, "the Azure client of a registry (`cargo xtask prepare` installs it)");
        return None;
    }
    Some(folder)
}
