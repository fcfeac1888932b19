use std::{fmt, str::FromStr};

use seaworthy_model::{PrincipalId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{AccessError, limit};

/// A principal's unique name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PrincipalName(String);

impl PrincipalName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `anonymous`: what its roles give to read, everybody has who asks for a token.
    pub fn is_anonymous(&self) -> bool {
        self.0 == "anonymous"
    }

    /// True for `operator-` and a number: the operator of this machine with that uid.
    pub(crate) fn is_operator(&self) -> bool {
        let uid = self.0.strip_prefix("operator-").unwrap_or_default();
        !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl FromStr for PrincipalName {
    type Err = AccessError;

    fn from_str(name: &str) -> Result<Self, AccessError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > limit::NAME_BYTES || !name.chars().all(plain) {
            return Err(AccessError::BadName { name: name.chars().take(80).collect() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What kind of principal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program.
    ServicePrincipal,
    /// A program that a scope map says the rights of.
    Token,
}

impl PrincipalKind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ServicePrincipal => "service_principal",
            Self::Token => "token",
        }
    }
}

impl FromStr for PrincipalKind {
    type Err = AccessError;

    fn from_str(word: &str) -> Result<Self, AccessError> {
        match word {
            "user" => Ok(Self::User),
            "service_principal" => Ok(Self::ServicePrincipal),
            "token" => Ok(Self::Token),
            _ => Err(AccessError::Unreadable { what: "kind of a principal" }),
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// Its id, which is also its client id.
    pub id: PrincipalId,
    /// Its unique name.
    pub name: PrincipalName,
    /// Kind.
    pub kind: PrincipalKind,
    /// A disabled principal has no valid credential or token.
    pub disabled: bool,
    /// Grows with every change of its rights; tokens carry it.
    #[serde(skip)]
    pub epoch: i64,
    /// What a token may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope_map: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}
