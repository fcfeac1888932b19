//! Layers as a whole: archives in, entries out; stacks of layers against a slow model.
#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    reason = "the whole crate is tests: its helpers fail as tests do"
)]

mod archive;
mod fold;
mod model;
mod read;
