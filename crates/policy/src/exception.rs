use seaworthy_model::{ExceptionId, Finding, Timestamp};
use seaworthy_oci::RepoName;
use serde::{Deserialize, Serialize};

use crate::{RepoPattern, limit};

/// What an exception is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionScope {
    /// Which repositories.
    pub repositories: RepoPattern,
    /// Which rule: `prod/vulns`.
    pub rule: String,
    /// Only this vulnerability, by any of its names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advisory: Option<String>,
    /// Only this source package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// A time-limited accepted risk. Only approved ones reach [`crate::decide`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Its id.
    pub id: ExceptionId,
    /// What it is about.
    pub scope: ExceptionScope,
    /// Who answers for the risk.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
    /// Who approved; never who asked.
    pub approved_by: Option<String>,
    /// From when.
    pub created_at: Timestamp,
    /// Until when, at most [`limit::EXCEPTION_SECONDS`] later.
    pub expires_at: Timestamp,
}

/// Why an exception is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExceptionError {
    /// Too long, or in the past.
    #[error("an exception ends within 90 days, and not in the past")]
    Expiry,
    /// Without owner or reason.
    #[error("an exception has an owner and a reason of at most 500 characters")]
    Unexplained,
    /// The rule is not `policy/rule`.
    #[error("rule `{rule}` is not like `prod/vulns`")]
    Rule {
        /// What was given, shortened.
        rule: String,
    },
    /// Requester and approver are one.
    #[error("`{name}` asked for this exception and cannot approve it")]
    SelfApproval {
        /// Who.
        name: String,
    },
}

impl Exception {
    /// Checks what can be checked before it is stored.
    pub fn check(&self) -> Result<(), ExceptionError> {
        let life = self.expires_at.as_micros().saturating_sub(self.created_at.as_micros());
        if life <= 0 || life > limit::EXCEPTION_SECONDS * 1_000_000 {
            return Err(ExceptionError::Expiry);
        }
        let told = |text: &str| !text.trim().is_empty() && text.chars().count() <= 500;
        if !told(&self.owner) || !told(&self.reason) {
            return Err(ExceptionError::Unexplained);
        }
        if self.scope.rule.split('/').filter(|part| !part.is_empty()).count() != 2 {
            return Err(ExceptionError::Rule { rule: self.scope.rule.chars().take(80).collect() });
        }
        Ok(())
    }

    /// Approves it as `name`, who must not have asked.
    pub fn approve(&mut self, name: &str) -> Result<(), ExceptionError> {
        if name == self.requested_by {
            return Err(ExceptionError::SelfApproval { name: name.to_owned() });
        }
        self.approved_by = Some(name.to_owned());
        Ok(())
    }

    /// True when it holds for `rule` of `repository` now.
    pub(crate) fn applies(&self, repository: &RepoName, rule: &str, now: Timestamp) -> bool {
        self.approved_by.is_some()
            && now < self.expires_at
            && self.created_at <= now
            && self.scope.rule == rule
            && self.scope.repositories.matches(repository)
    }

    /// True when it is about the whole rule, not about some findings.
    pub(crate) const fn is_whole_rule(&self) -> bool {
        self.scope.advisory.is_none() && self.scope.package.is_none()
    }

    /// True when it accepts this finding.
    pub(crate) fn accepts(&self, finding: &Finding) -> bool {
        let advisory = self.scope.advisory.as_ref();
        let package = self.scope.package.as_ref();
        advisory.is_none_or(|id| finding.id == *id || finding.aliases.contains(id))
            && package.is_none_or(|name| finding.source == *name)
    }
}
