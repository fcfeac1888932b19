//! The host agent: sees the containers of one engine and tells the control plane.
//!
//! It lists all containers at its start and every minute, follows the engine's events between, and
//! inspects what changed. Observations wait in memory, one per container, until they are a batch on
//! disk; batches are delivered one at a time, in order, until each is acknowledged.
//!
//! Invariants:
//! - What may have been missed is said as a gap: after a restart of the agent, and after a lost
//!   event stream unless the engine repeats the last event that was seen.
//! - A batch is on disk, whole, before it is sent, and leaves it after its acknowledgement is.
//!   Numbers have no hole and no second meaning, whenever the agent is killed.
//! - Memory, disk, answers and batches have named limits ([`limit`]). What is dropped at one becomes
//!   a gap and a new full list.
//! - An engine that hangs, lies or breaks off is an error value; one bad container does not hide the
//!   others.
//! - Values of environment variables are dropped while an answer is read.
//!
//! - Another machine's control plane is the one that made the join token: its CA is pinned, and no
//!   other certificate is believed. The host's key never leaves the host.
//!
//! Deliberately absent: verdicts, enforcement, and what only changes between two lists when no event
//! says so.
#![forbid(unsafe_code)]

mod agent;
mod answer;
mod backoff;
mod door;
mod host;
mod membership;
mod observe;
mod outage;
mod pending;
mod pieces;
mod remote;
mod socket;
mod watch;

/// The Docker Engine API over its socket.
pub mod engine;
/// Named limits.
pub mod limit;
mod scratch;
/// Batches on disk.
pub mod spool;

/// What containers use.
pub mod usage;

pub use agent::{Agent, AgentConfig, Paces, Reports};
pub use door::{Door, DoorError};
pub use membership::{Membership, MembershipError};
pub use remote::Remote;
pub use scratch::{Scratch, Tried};
