use std::{collections::BTreeMap, fmt, str::FromStr};

use seaworthy_model::{AlertId, ClearanceChange, ClearanceChanged, Timestamp};
use serde::{Deserialize, Serialize};

/// What an alert is about. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlertKind {
    /// A running container is blocked now.
    #[serde(rename = "container.blocked")]
    ContainerBlocked,
    /// A container was started although it is blocked.
    #[serde(rename = "container.violation")]
    ContainerViolation,
}

/// A word that is no kind of alert.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{word}` is not an event that alerts: they are `container.blocked` and `container.violation`")]
pub struct UnknownAlertKind {
    /// What was given, shortened.
    pub word: String,
}

impl AlertKind {
    /// All kinds.
    pub const ALL: &[Self] = &[Self::ContainerBlocked, Self::ContainerViolation];

    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ContainerBlocked => "container.blocked",
            Self::ContainerViolation => "container.violation",
        }
    }

    /// The kind of what clearance told.
    pub const fn of(changed: &ClearanceChanged) -> Self {
        match changed.change {
            ClearanceChange::NewlyBlocked => Self::ContainerBlocked,
            ClearanceChange::BlockedStarted => Self::ContainerViolation,
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for AlertKind {
    type Err = UnknownAlertKind;

    fn from_str(word: &str) -> Result<Self, UnknownAlertKind> {
        let found = Self::ALL.iter().find(|kind| kind.word() == word);
        found.copied().ok_or_else(|| UnknownAlertKind { word: word.chars().take(40).collect() })
    }
}

/// Something that people are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id: that of the delivery that brought it.
    pub id: AlertId,
    /// What it is about.
    pub kind: AlertKind,
    /// When it was told.
    pub at: Timestamp,
    /// The container, and why.
    pub about: ClearanceChanged,
}

/// Many alerts as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When the first came.
    pub since: Timestamp,
    /// When it was made.
    pub until: Timestamp,
    /// How many of each kind.
    pub kinds: BTreeMap<AlertKind, u64>,
    /// The first of them.
    pub first: Vec<Alert>,
}

impl Summary {
    /// How many alerts it stands for.
    pub fn count(&self) -> u64 {
        self.kinds.values().sum()
    }
}
