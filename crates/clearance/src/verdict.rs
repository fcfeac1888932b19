use seaworthy_model::{ContentId, ExceptionId, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::{Facts, Reason, Verdict};
use serde::{Deserialize, Serialize};

/// What is to be done with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Pulled from the registry.
    Pull,
    /// Run; the workload's settings count as well.
    Deploy,
}

impl Purpose {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Deploy => "deploy",
        }
    }
}

/// A policy as a verdict names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Name.
    pub name: String,
    /// Version, from 1.
    pub version: i64,
    /// SHA-256 of its text, hex.
    pub hash: String,
}

/// A recorded verdict with everything it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredVerdict {
    /// Where.
    pub repository: RepoName,
    /// What.
    pub digest: Digest,
    /// What it is, once inspected.
    pub content_id: Option<ContentId>,
    /// The answer.
    pub verdict: Verdict,
    /// Every rule's result.
    pub reasons: Vec<Reason>,
    /// The policies that applied.
    pub policies: Vec<PolicyRef>,
    /// Exceptions that were used.
    pub exceptions: Vec<ExceptionId>,
    /// The facts; the findings' rows are kept once, under the set's id.
    pub facts: Facts,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When time alone may change it.
    pub valid_until: Option<Timestamp>,
    /// Revision of policies and exceptions it was decided under.
    pub revision: i64,
}

impl StoredVerdict {
    /// False when time or a policy change made it pending until it is decided again.
    pub fn holds(&self, revision: i64, now: Timestamp) -> bool {
        self.revision >= revision && self.valid_until.is_none_or(|until| now < until)
    }
}
