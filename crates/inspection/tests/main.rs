//! Events in, inventories out, on both engines; and once through the real sandbox.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod archive;
mod crash;
mod images;
mod limits;
mod local;
mod problems;
mod world;

/// The door of the sandboxed child: returns at once in a normal test run.
#[test]
fn sandbox_child() {
    use seaworthy_inspection::{ARCHIVE_READER, archive_reader};
    use seaworthy_inventory::sandboxed_reader::{NAME, layer_reader};
    seaworthy_sandbox::child(&[(NAME, layer_reader), (ARCHIVE_READER, archive_reader)]);
}
