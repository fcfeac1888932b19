use std::{fmt, str::FromStr};

use seaworthy_oci::RepoName;
use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Problem, Scope, ScopeError};

/// A part of the repositories: all, or one and what lies below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(Option<RepoName>);

impl Prefix {
    /// True of a repository that it is, or that lies below it.
    pub fn covers(&self, repository: &RepoName) -> bool {
        let Some(prefix) = &self.0 else { return true };
        let rest = repository.as_str().strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The repository; empty for all.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", RepoName::as_str)
    }

    /// Where rights on it are looked for.
    pub fn scope(&self) -> Result<Scope, Problem> {
        match &self.0 {
            Some(prefix) => Ok(Scope::repository(prefix)),
            None => "/repositories"
                .parse()
                .map_err(|error: ScopeError| Problem::new(ErrorCode::Invalid, error.to_string())),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("*", RepoName::as_str))
    }
}

impl FromStr for Prefix {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text == "*" {
            return Ok(Self(None));
        }
        text.parse().map(|name| Self(Some(name))).map_err(|error: seaworthy_oci::ReferenceError| {
            Problem::new(ErrorCode::Invalid, error.to_string())
                .hint("name a repository or what it begins with, such as `prod`; `*` is all of them")
        })
    }
}

impl TryFrom<String> for Prefix {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_boundary() {
        let covers = |prefix: &str, name: &str| {
            prefix.parse::<Prefix>().expect("a prefix").covers(&name.parse().expect("a name"))
        };
        assert!(covers("prod", "prod") && covers("prod", "prod/web") && covers("prod/web", "prod/web/a"));
        assert!(!covers("prod", "production") && !covers("prod/web", "prod") && !covers("prod", "a/prod"));
        assert!(covers("*", "anything/at/all"));
        for wrong in ["", "**", "prod/*", "Prod", "prod/", "a b"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }
}
