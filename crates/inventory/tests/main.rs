//! Images as a whole: layers in, inventories out.
#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "the whole crate is tests: its helpers fail as tests do"
)]

mod archive;
mod facts;
mod image;
mod limits;
mod packages;
mod secrets;
