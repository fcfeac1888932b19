//! Feeds, matching and matching again, through the room's own doors, on both engines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "a test fails by panicking, and reads as one story"
)]

mod crash;
mod imports;
mod matching;
mod pack;
mod property;
mod running;
mod world;

/// The door of the confined child: returns at once in a normal test run.
#[test]
fn sandbox_child() {
    seaworthy_sandbox::child(&[seaworthy_findings::READER]);
}
