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
mod local;
mod problems;
mod world;

/// The door of the sandboxed child: returns at once in a normal test run.
#[test]
fn sandbox_child() {
    use seaworthy_inventory::sandboxed_reader::{NAME, layer_reader};
    shrink_a_heap();
    seaworthy_sandbox::child(&[(NAME, layer_reader)]);
}

/// The harness runs tests on a thread, where glibc opens `/proc/sys/vm/overcommit_memory` the
/// first time it gives memory back, which ends a confined child. It asks once per process, so
/// that is made to happen before the door closes. A `main` uses the first heap and never asks.
fn shrink_a_heap() {
    let mut blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1; 100 * 1024]).collect();
    while let Some(block) = blocks.pop() {
        drop(std::hint::black_box(block));
    }
}
