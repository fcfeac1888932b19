use seaworthy_model::Severity;
use seaworthy_oci::{Digest, RepoName};
use serde::{Deserialize, Serialize};

use crate::{Demand, RepoPattern, Source};

/// What a rule's failure does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Blocks.
    Enforce,
    /// Is shown.
    Warn,
    /// Is recorded.
    Audit,
}

impl Mode {
    pub(crate) const WORDS: [&'static str; 3] = ["enforce", "warn", "audit"];

    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

/// How long a distribution release must be supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SupportLevel {
    /// By the distribution itself.
    Full,
    /// At least by its long-term team.
    Lts,
}

/// What a rule asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// At most so many distinct (vulnerability, source package) pairs of each kind.
    Vulnerabilities {
        /// Of any kind.
        any: Option<u32>,
        /// With a fixed version.
        any_fixable: Option<u32>,
        /// Known to be exploited.
        kev: Option<u32>,
        /// Of a severity or above.
        at_or_above: Vec<(Severity, u32)>,
    },
    /// At most so many secrets in any layer.
    Secrets {
        /// How many.
        max: u32,
    },
    /// An inventory of every layer exists, without problems that could hide a finding.
    Inspected,
    /// A loaded feed covers the release, and every ecosystem found has a reader.
    Covered,
    /// A feed that covers the image was imported or verified within this time.
    Advisories {
        /// Seconds.
        checked_within: i64,
    },
    /// The distribution release is supported.
    Os {
        /// By whom at least.
        supported: SupportLevel,
    },
    /// At most so many executables that no package owns.
    Binaries {
        /// How many.
        max_unowned: u32,
    },
    /// How a container is confined. Not asked about a pull.
    Container {
        /// What its settings must hold.
        demands: Vec<Demand>,
    },
    /// Where a container's image comes from. Not asked about a pull.
    Registries {
        /// One of these.
        allow: Vec<Source>,
    },
}

impl Condition {
    /// True for what is asked about containers alone.
    pub(crate) const fn is_about_workloads(&self) -> bool {
        matches!(self, Self::Container { .. } | Self::Registries { .. })
    }
}

/// One condition of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name within the policy: `vulns`.
    pub name: String,
    /// What its failure does.
    pub mode: Mode,
    /// What it asks.
    pub condition: Condition,
}

/// A versioned set of rules for some repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name: `prod`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Which repositories.
    pub selects: Vec<RepoPattern>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// SHA-256 of the source text, hex.
    pub hash: String,
    /// The text it was compiled from.
    pub source: String,
}

impl Policy {
    /// Compiles a policy file. Unknown keys, contradictions and doubled names are refused with
    /// their place and the nearest valid word.
    pub fn parse(source: &str) -> Result<Self, crate::PolicyError> {
        let mut policy = crate::parse::policy(source)?;
        policy.hash = Digest::sha256(source.as_bytes()).hex();
        source.clone_into(&mut policy.source);
        Ok(policy)
    }

    /// True when the policy is about `repository`.
    pub fn selects(&self, repository: &RepoName) -> bool {
        self.selects.iter().any(|pattern| pattern.matches(repository))
    }
}
