//! The distribution API through its own routes, on both engines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod acr;
mod blobs;
mod cache;
mod cache_import;
mod cache_lists;
mod cache_stream;
mod cache_trust;
mod cache_upstreams;
mod catalog;
mod client;
mod far;
mod foreign;
mod gate;
mod hostile;
mod locks;
mod manifests;
mod mirrors;
mod naming;
mod protocol;
mod queries;
mod referrers;
mod replication;
mod replication_deletions;
mod replication_stops;
mod rights;
mod rules;
mod uploads;
mod upstream;
