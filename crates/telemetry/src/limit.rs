//! Named limits of this room.

/// Targets; one more is refused.
pub const TARGETS: u64 = 100;
/// Longest name of a target, in bytes.
pub const NAME_BYTES: usize = 63;
/// Networks that one target may allow.
pub const NETWORKS: usize = 20;
/// Messages that wait for one target; alerts beyond it make none, and are counted at the target.
pub const WAITING: u64 = 10_000;
/// For how long a message is tried, in seconds: three days.
pub const RETRY_SECONDS: i64 = 3 * 24 * 3_600;
/// Wait after the first failed attempt, in seconds; four times as long after each further one.
pub const BACKOFF_SECONDS: i64 = 5;
/// Longest wait between two attempts, in seconds.
pub const BACKOFF_SECONDS_MAX: i64 = 6 * 3_600;
/// How long a claimed message belongs to its sender, in seconds: longer than any attempt takes.
pub const LEASE_SECONDS: i64 = 60;
/// How long mails of one target are gathered, in seconds, counted from the first.
pub const SUMMARY_SECONDS: i64 = 60;
/// More mails of one target than this, gathered in that time, become one summary.
pub const SUMMARY_OVER: u64 = 5;
/// Alerts that a summary shows; the rest is counted.
pub const SUMMARY_SHOWN: i64 = 20;
/// Longest reason of a failure that is kept, in characters.
pub const FAILURE_CHARS: usize = 300;
/// Alerts that are kept; of more the oldest are removed.
pub const ALERTS: u64 = 100_000;
/// How long an alert is kept, in days.
pub const ALERT_DAYS: i64 = 90;
/// How long a message that was given up is kept, in days.
pub const DEAD_DAYS: i64 = 30;
/// Rows of one page of alerts or of given-up messages.
pub const PAGE: u32 = 1_000;
/// Records of the ledger that are read in one go.
pub const FOLLOWED: u32 = 200;
/// How often the ledger is looked at for records that another replica signed, in milliseconds.
pub const FOLLOW_POLL_MS: u64 = 500;
/// Prefixes of repositories that one target may name.
pub const PREFIXES: usize = 20;
/// How often old rows are looked for, in seconds.
pub const UPKEEP_SECONDS: u64 = 3_600;
