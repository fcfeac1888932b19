//! The ledger: the append-only, tamper-evident record of who did what.
//!
//! A change and its leaf commit together ([`write`]); one leased [`Sequencer`] gives leaves
//! their index and builds C2SP `tlog-tiles` and a signed checkpoint from them; [`verify`]
//! compares all that is kept twice and names what differs. Deliberately absent: deletion,
//! and any way to append outside a transaction.
#![forbid(unsafe_code)]

mod act;
mod db;
mod error;
mod files;
mod proof;
mod sequencer;
mod tree;
mod verify;
mod write;

/// Named limits of this crate.
pub mod limit {
    /// Longest leaf, in bytes of canonical JSON (a bundle entry's length is 16 bits).
    pub const LEAF_BYTES: usize = 65_535;
    /// Leaves given an index in one step of the sequencer.
    pub const BATCH: i64 = 1_024;
    /// Most records that are looked at before the server opens its doors: more are looked at behind them, before
    /// another is numbered.
    pub const LOOK_FIRST: u64 = 16_384;
    /// How often the look is tried when the database does not answer, each [`POLL_MS`] later.
    pub const LOOKS: u32 = 5;
    /// Shortest time between two checkpoints, in milliseconds: appends in between share one, the first after a pause
    /// has one at once.
    pub const CHECKPOINT_MS: u64 = 500;
    /// How often the sequencer looks for leaves of other replicas, in milliseconds.
    pub const POLL_MS: u64 = 500;
    /// How long a sequencer owns the lease, in seconds.
    pub const LEASE_SECONDS: i64 = 30;
    /// Most records of one object, or of those that begin with it, that a list is sorted of; of more, the newest
    /// records are searched.
    pub const SORTED: u64 = 10_000;
    /// Most records one page of the list holds.
    pub const PAGE: u32 = 1_000;
}

pub use act::{Act, Action, Record};
pub use db::{Filter, HEAD_BELL, SCHEMA, from, last_of, list, size};
pub use error::LedgerError;
pub use proof::{Proof, prove};
pub use sequencer::Sequencer;
pub use verify::{Broken, Report, verify};
pub use write::write;
