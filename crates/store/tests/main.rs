//! Db, deliveries, leases and blobs on both engines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod blobs;
mod database;
mod deliveries;
mod mark;
