use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where a permission holds: a path such as `/`, `/repositories/dev` or `/policies/prod`.
/// A scope covers itself and what lies below it, on path boundaries only:
/// `/repositories/dev` covers `/repositories/dev/app`, never `/repositories/development`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(String);

/// Why a text is not a scope.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("scope `{scope}` {problem}")]
pub struct ScopeError {
    /// What was given, shortened.
    pub scope: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Longest scope, in bytes.
pub(crate) const SCOPE_BYTES: usize = 512;

impl Scope {
    /// Everything.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The scope of one repository.
    pub fn repository(name: &seaworthy_oci::RepoName) -> Self {
        Self(format!("/repositories/{name}"))
    }

    /// The scope as text; starts with `/`, ends with `/` only when it is the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when `other` is this scope or lies below it.
    pub fn covers(&self, other: &Self) -> bool {
        self.0 == "/"
            || other.0.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let bad = |problem| ScopeError { scope: text.chars().take(80).collect(), problem };
        if text.len() > SCOPE_BYTES {
            return Err(bad("is longer than 512 bytes"));
        }
        let Some(rest) = text.strip_prefix('/') else { return Err(bad("does not begin with `/`")) };
        if rest.is_empty() {
            return Ok(Self::root());
        }
        for part in rest.split('/') {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
            if part.is_empty() {
                return Err(bad("has an empty part"));
            }
            if part == "." || part == ".." || !part.chars().all(plain) {
                return Err(bad("has a part with characters other than letters, digits, `.`, `_`, `-`, `:`"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_on_path_boundaries() {
        let scope = |text: &str| text.parse::<Scope>().expect(text);
        for (outer, inner, covers) in [
            ("/", "/repositories/dev", true),
            ("/repositories/dev", "/repositories/dev", true),
            ("/repositories/dev", "/repositories/dev/app", true),
            ("/repositories/dev", "/repositories/development", false),
            ("/repositories/dev/app", "/repositories/dev", false),
            ("/policies", "/repositories", false),
        ] {
            assert_eq!(scope(outer).covers(&scope(inner)), covers, "{outer} {inner}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for bad in [
            "",
            "dev",
            "/a/",
            "//",
            "/a//b",
            "/..",
            "/a/../b",
            "/a b",
            "/é",
            &format!("/{}", "a".repeat(512)),
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
        assert!(format!("/{}", "a".repeat(511)).parse::<Scope>().is_ok());
    }
}
