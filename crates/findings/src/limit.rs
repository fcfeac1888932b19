//! Named limits of this room.

/// Files of one import, those in folders counted.
pub const FILES: usize = 200_000;
/// Largest file of an import, in bytes (1 GiB).
pub const FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// Most bytes of one folder (4 GiB). An import with more is refused.
pub const FOLDER_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// How deep folders of an import may be nested.
pub const FOLDER_DEPTH: usize = 32;
/// Archives in a folder that are larger than this, in bytes, are read by a child of their own.
pub const ALONE_BYTES: u64 = 1024 * 1024;
/// Files read at once, each by a child of its own with the sandbox's memory limit.
pub const READERS: usize = 2;
/// Packages of one image. One with more is not matched, and so never allowed; inspection keeps no more.
pub const PACKAGES: usize = 50_000;
/// Longest finding set, in bytes of JSON (8 MiB): an event carries one. Of a longer one the first
/// rows are kept and the set counts as not covered.
pub const FINDING_SET_BYTES: usize = 8 * 1024 * 1024;
/// Images named by the events of one transaction, and so by one event; the rest in the next.
pub const EVENT_CONTENTS: i64 = 1_000;
/// Bytes of finding sets in the events of one transaction, beyond which the next set waits (16 MiB).
pub const EVENT_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Package sets that are matched again between two looks at the cursor; the rest after the next.
pub const REMATCH_SETS: usize = 64;
/// How often a result is computed again because an import became active meanwhile; then the delivery
/// waits and is tried again.
pub const GENERATION_RACES: u32 = 8;
/// Inventories matched at once.
pub const MATCHERS: usize = 4;
/// How long an import's lease lasts unless renewed, in seconds.
pub const LEASE_SECONDS: i64 = 30;
/// How long an import waits for another one to end, in tries of [`LEASE_RETRY_MS`].
pub const LEASE_TRIES: u32 = 240;
/// Time between two such tries, in milliseconds.
pub const LEASE_RETRY_MS: u64 = 250;
/// How often an import that was cut off is looked for, in seconds.
pub const RECOVERY_SECONDS: u64 = 5;
/// Past imports that are remembered; the oldest go.
pub const HISTORY: i64 = 1_000;
/// Rows on one page; a larger number is clamped.
pub const PAGE: u32 = 1_000;
/// Package sets read per query.
pub const SETS_PAGE: i64 = 1_000;
/// Rows of finding sets that are kept after they were read, some 150 MiB at most.
pub const READ_ROWS: u64 = 250_000;
/// How many finding sets that is expected to be.
pub const READ_SETS: usize = 2_000;
/// Images that run, read per query.
pub const RUNNING_PAGE: i64 = 10_000;
/// How long the trace of a container that ended is kept, in seconds: later news of it than that is
/// none.
pub const ENDED_SECONDS: i64 = 24 * 3_600;
/// Answers of feed readers that commands without a server keep; one is about as large as the
/// feed's compiled form, a few MiB.
pub const CACHED_FEEDS: usize = 16;
