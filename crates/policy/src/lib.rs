//! Judgement: policies + facts + exceptions + now → a verdict with every rule's result.
//!
//! Pure and total: [`decide`] cannot fail, does no I/O, reads no clock, and gives the same
//! answer for the same input on any machine; replaying a stored verdict is calling it again.
//! "We don't know" is never "fine": what cannot be judged is indeterminate. Deliberately
//! absent: recording, caching, asking; those are the clearance room's.
#![forbid(unsafe_code)]

mod cases;
mod cause;
mod decide;
mod demands;
mod error;
mod evidence;
mod exception;
mod facts;
mod parse;
mod pattern;
mod policy;
mod settings;
mod workload;
mod yaml;

/// Named limits of this crate.
pub mod limit {
    /// Longest policy or case file, in bytes.
    pub const FILE_BYTES: usize = 256 * 1024;
    /// Deepest nesting of a policy file.
    pub const DEPTH: usize = 16;
    /// Most values in one file.
    pub const NODES: usize = 20_000;
    /// Rules of one policy.
    pub const RULES: usize = 100;
    /// Repository patterns of one policy; a policy with more is refused, as with all limits above.
    pub const PATTERNS: usize = 100;
    /// Longest life of an exception, in seconds (90 days).
    pub const EXCEPTION_SECONDS: i64 = 90 * 24 * 3600;
    /// Findings or paths named in one message; all are counted, and `…` says that there are more.
    pub const EXAMPLES: usize = 5;
    /// Names that prove one rule's result, and secrets or problems that a verdict's facts list; all are
    /// counted.
    pub const LISTED: usize = 1_000;
    /// Bytes of such a list.
    pub const LISTED_BYTES: usize = 64 * 1024;
    /// Host paths, or devices, of one container's settings.
    pub const MOUNTS: usize = 1_000;
    /// Longest user of one container's settings, in bytes.
    pub const USER_BYTES: usize = 256;
    /// Longest path in one container's settings, in bytes, as in the kernel.
    pub const PATH_BYTES: usize = 4_096;
}

pub use cases::{CaseOutcome, run_cases};
pub use cause::{Cause, Count, Example, Language};
pub use decide::{Decision, Reason, RuleResult, Verdict, decide};
pub use error::PolicyError;
pub use evidence::Evidence;
pub use exception::{Exception, ExceptionError, ExceptionScope};
pub use facts::{Counting, Facts, InventoryFacts, Settling};
pub use pattern::{PatternError, RepoPattern};
pub use policy::{Condition, Mode, Policy, Rule, SupportLevel};
pub use settings::{Setting, WorkloadSettings};
pub use workload::{Demand, HostPaths, Origin, Source, Weakness, WorkloadFacts, weaknesses};
