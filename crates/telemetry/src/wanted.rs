use std::{fmt, str::FromStr};

use seaworthy_ledger::{Action, Record};
use seaworthy_model::Prefix;
use seaworthy_oci::RepoName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AlertKind;

/// What a target can be told of: alerts, and what happens in the registry, by the ledger's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wanted {
    /// An alert.
    Alert(AlertKind),
    /// An act that the ledger records.
    Act(Action),
}

/// The acts that a target can be told of.
pub const ACTS: &[Action] = &[
    Action::ManifestPush,
    Action::ManifestQuarantine,
    Action::ManifestRelease,
    Action::ManifestReject,
    Action::ManifestDelete,
    Action::ManifestCollect,
    Action::ManifestRestore,
    Action::TagDelete,
    Action::TagExpire,
    Action::TagRestore,
    Action::RepositoryDelete,
    Action::ImagePromote,
];

/// A word that is nothing a target can be told of.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("nobody is told of `{word}`: see `seaworthy alert target create --help` for the events")]
pub struct UnknownEvent {
    /// What was given, shortened.
    pub word: String,
}

impl Wanted {
    /// All that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let acts = ACTS.iter().copied().map(Self::Act);
        AlertKind::ALL.iter().copied().map(Self::Alert).chain(acts)
    }

    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alert(kind) => kind.word(),
            Self::Act(action) => action.word(),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Wanted {
    type Err = UnknownEvent;

    fn from_str(word: &str) -> Result<Self, UnknownEvent> {
        let found = Self::all().find(|it| it.word() == word);
        found.ok_or_else(|| UnknownEvent { word: word.chars().take(40).collect() })
    }
}

impl TryFrom<String> for Wanted {
    type Error = UnknownEvent;

    fn try_from(word: String) -> Result<Self, UnknownEvent> {
        word.parse()
    }
}

impl From<Wanted> for String {
    fn from(wanted: Wanted) -> Self {
        wanted.word().to_owned()
    }
}

/// What the body of a webhook looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A `CloudEvent`.
    #[default]
    CloudEvents,
    /// As Azure's registry sends it: for pushes and deletions alone.
    Acr,
}

impl Format {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Acr => "acr",
        }
    }

    /// True when it has words for this.
    pub const fn tells(self, wanted: Wanted) -> bool {
        match (self, wanted) {
            (Self::CloudEvents, _) => true,
            (Self::Acr, Wanted::Act(action)) => acr_action(action).is_some(),
            (Self::Acr, Wanted::Alert(_)) => false,
        }
    }
}

/// What Azure's registry calls an act; it has no word for what happens to tags alone.
pub const fn acr_action(action: Action) -> Option<&'static str> {
    match action {
        // Azure tells of a push when quarantine is over.
        Action::ManifestPush | Action::ManifestRelease => Some("push"),
        Action::ManifestQuarantine => Some("quarantine"),
        Action::ManifestDelete | Action::ManifestCollect | Action::RepositoryDelete => Some("delete"),
        _ => None,
    }
}

/// An act of the registry, on its way to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its index in the ledger.
    pub index: u64,
    /// Its record.
    pub record: Record,
    /// That of its several tags which this message is about; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// The thing that a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'r> {
    /// Repository.
    pub repository: RepoName,
    /// Manifest.
    pub digest: Option<&'r str>,
    /// Tag.
    pub tag: Option<&'r str>,
}

impl Told {
    /// What it is about; `None` when that is not in the registry.
    pub fn subject(&self) -> Option<Subject<'_>> {
        let name = self.record.object.strip_prefix("repositories/")?;
        // Neither is a letter of repositories or tags.
        let (repository, digest, tag) = match (name.split_once('@'), name.split_once(':')) {
            (Some((repository, digest)), _) => (repository, Some(digest), None),
            (None, Some((repository, tag))) => (repository, None, Some(tag)),
            (None, None) => (name, None, None),
        };
        Some(Subject { repository: repository.parse().ok()?, digest, tag })
    }

    /// The messages that a format makes of it: Azure's registry names one tag in each, and tells of no push when what is
    /// let out was not hidden.
    pub(crate) fn messages(&self, format: Format) -> Vec<Self> {
        if format == Format::Acr && self.record.details.get("effective") == Some(&Value::Bool(false)) {
            return Vec::new();
        }
        let names_tags = matches!(acr_action(self.record.action), Some("push" | "quarantine"));
        let tags = match self.record.details.get("tags") {
            Some(Value::Array(tags)) if format == Format::Acr && names_tags && tags.len() > 1 => tags,
            _ => return vec![self.clone()],
        };
        let one = |tag: &str| Self { tag: Some(tag.to_owned()), ..self.clone() };
        tags.iter().filter_map(Value::as_str).map(one).collect()
    }

    /// True when it is below one of these; everything is when there are none.
    pub(crate) fn is_below(&self, prefixes: &[Prefix]) -> bool {
        let Some(subject) = self.subject() else { return false };
        prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.covers(&subject.repository))
    }
}
