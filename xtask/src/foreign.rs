//! The registry that most others are, built from its module, once: tests copy to it and from it, benches compare.

use std::path::Path;

use crate::{go, step::Outcome};

/// The folder in the cache. A change of the version changes its name, here and in
/// `crates/testkit/src/foreign.rs`.
pub(crate) const FOLDER: &str = "registry-3.1.2";
const PROGRAMS: &[(&str, &str)] = &[("", "github.com/distribution/distribution/v3/cmd/registry@v3.1.2")];
/// The oldest Go, minor version of 1, that builds it.
const GO_MINOR: u32 = 24;

/// Builds it into the cache, unless it is there.
pub(crate) fn registry(cache: &Path) -> Outcome {
    go::programs(cache, FOLDER, GO_MINOR, PROGRAMS)
}
