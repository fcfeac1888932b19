//! The host agent. Until it observes, this crate is the thin client of the Docker Engine API
//! that reads local images.
#![forbid(unsafe_code)]

/// The Docker Engine API over its socket.
pub mod engine;
