//! Batches become the right table whatever happens on the way, and names lead to what was measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod aliases;
mod batches;
mod queries;
mod world;
