//! The current Docker engine with its containerd image store, which no stable Debian has: built from
//! the modules of its projects, once. Tests start it privately, from the cache.

use std::path::Path;

use crate::{go, step::Outcome};

/// The folder in the cache. A change of what is built changes its name, here and in
/// `crates/testkit/src/engine.rs`.
const FOLDER: &str = "moby-2.0.0-beta.24-1";
/// What is built: build tags, and the package at its version. Tagged ones are built with C.
const PROGRAMS: &[(&str, &str)] = &[
    ("", "github.com/moby/moby/v2/cmd/dockerd@v2.0.0-beta.24"),
    ("", "github.com/containerd/containerd/v2/cmd/containerd@v2.4.2"),
    ("", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v2.4.2"),
    ("seccomp", "github.com/opencontainers/runc@v1.5.2"),
];
/// The oldest Go, minor version of 1, that builds them.
const GO_MINOR: u32 = 26;

/// Builds the engine into the cache, unless it is there.
pub(crate) fn modern(cache: &Path) -> Outcome {
    go::programs(cache, FOLDER, GO_MINOR, PROGRAMS)
}
