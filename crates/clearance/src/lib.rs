//! The clearance room: may this be pulled from there, and how do we know?
//!
//! Facts arrive as events from inspection and findings; `policy::decide` computes, this room
//! alone records. A verdict row keeps everything it rests on, so that deciding again from it
//! gives the same answer ([`Clearance::replay`]). The pull path reads a bounded cache, a miss
//! is one primary-key read, and what is pending is waited for briefly, never computed there.
#![forbid(unsafe_code)]

mod ask;
mod clearance;
mod db;
mod error;
mod exceptions;
mod judge;
mod policies;
mod verdict;
mod work;
mod workload;

/// Named limits of this room.
pub mod limit {
    /// Answers kept in memory; the rest is read from the database each time.
    pub const CACHE: usize = 100_000;
    /// Memory that these answers take, in bytes (128 MiB); one that would take it all is not kept.
    pub const CACHE_BYTES: u64 = 128 * 1024 * 1024;
    /// Parts of these, each with as much room as the others.
    pub const CACHE_SHARDS: usize = 4;
    /// Numbers that say whether what was read is still so: an answer shares one with few others.
    pub const EPOCHS: usize = 1_024;
    /// How long another replica's change may go unseen, in milliseconds (PostgreSQL only).
    pub const CACHE_MS: i64 = 1_000;
    /// How long a pull waits for a pending answer, in milliseconds.
    pub const WAIT_MS: u64 = 2_000;
    /// Subjects judged in one round of the background worker; the rest in the next.
    pub const BATCH: i64 = 200;
    /// How often due verdicts are looked for, in milliseconds.
    pub const DUE_MS: u64 = 500;
    /// Children of an index that are looked at for its answer. Of a longer index an unknown image is
    /// never taken for an allowed one.
    pub const CHILDREN: usize = 1_000;
    /// Policies; one more is refused, a new version of one is not.
    pub const POLICIES: i64 = 200;
    /// Exceptions that are not over; one more is refused.
    pub const EXCEPTIONS: i64 = 10_000;
    /// How long a container that is gone is remembered, so that late news of it are not believed, in
    /// seconds.
    pub const GONE_SECONDS: i64 = 24 * 3_600;
    /// Rules that did not pass which people are told of; the rest is counted.
    pub const TOLD_REASONS: usize = 3;
    /// Deliveries handled at once.
    pub const CONCURRENCY: usize = 4;
}

pub use ask::Answer;
pub use clearance::Clearance;
pub use db::SCHEMA;
pub use error::ClearanceError;
pub use exceptions::{ExceptionRow, NewException};
pub use judge::Unrecorded;
pub use policies::PolicyRow;
pub use verdict::{PolicyRef, Purpose, StoredVerdict};
pub use workload::{Judgement, Workload};
