//! The product as its users meet it: the binary, real engines, real feeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod agent;
mod alerts;
mod azure;
mod bad_input;
mod bench;
mod caching;
mod chain;
mod clients;
mod conformance;
mod console;
mod cut;
mod deploy;
mod disks;
mod doors;
mod expected;
mod files;
mod foreign;
mod hostile;
mod http;
mod image;
mod killed;
mod killed_registry;
mod killing;
mod names;
mod openapi;
mod openapi_alerts;
mod openapi_registry;
mod people;
mod podman;
mod promotion;
mod receiver;
mod references;
mod remote;
mod running;
mod server;
mod skopeo;
mod stopped;
mod story;
mod transfer;
mod transfer_clients;
mod transfer_hostile;
mod typed;
mod wire;
