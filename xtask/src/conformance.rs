//! The distribution spec's own conformance suite, built from its module, once. Tests run it against
//! our server.

use std::path::Path;

use crate::{go, step::Outcome};

/// The folder in the cache. A change of the version changes its name, here and in
/// `crates/testkit/src/conformance.rs`.
const FOLDER: &str = "oci-conformance-20260831";
const PROGRAMS: &[(&str, &str)] =
    &[("", "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111")];
/// The oldest Go, minor version of 1, that builds it.
const GO_MINOR: u32 = 24;

/// Builds the suite into the cache, unless it is there.
pub(crate) fn suite(cache: &Path) -> Outcome {
    go::programs(cache, FOLDER, GO_MINOR, PROGRAMS)
}
