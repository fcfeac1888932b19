//! Runs a *pure reader* of hostile bytes in a confined child process: the current binary
//! executed again, with no network, no files, no credentials, and bounded memory and time.
//! Whatever happens to the child is a [`SandboxError`], never a crash of the parent.
//!
//! Invariants: the child is confined *before* it reads its first hostile byte; it has only
//! the input, the frame and its standard error (all other descriptors of the parent are
//! close-on-exec, as `std` opens them); a result counts only when its frame is complete.
//! Deliberately absent: any knowledge of what is read, async code, and `unsafe`.
#![forbid(unsafe_code)]

mod child;
mod confine;
mod error;
mod frame;
mod parent;
mod rights;

/// Sizes and times this crate refuses to exceed.
pub mod limit;

pub use child::{ReaderFn, child};
pub use error::{SandboxError, TimeLimit};
pub use limit::Limits;
pub use parent::{Confinement, Enforced, Input, Sandbox};
pub use rights::{give_up_rights, keep_files};
