use seaworthy_model::{
    ContentId, FeedCoverage, FeedState, FeedsChanged, FindingSet, FindingsChanged, InventoryReady, OsRelease,
    OsSupport, ProblemCode,
};
use seaworthy_oci::RepoName;
use serde::{Deserialize, Serialize};

use crate::{Origin, WorkloadFacts, limit};

/// Whether work that is queued or running can still settle what is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settling {
    /// Nothing is under way: what is unknown stays unknown.
    Settled,
    /// An inspection, a match or an import is under way.
    UnderWay,
}

/// How several versions of one source package with one vulnerability count: always once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// As the first of them. Facts that were stored before there was another way are decided again as they were.
    #[default]
    FirstVersion,
    /// As the worst of them: fixable if any can be fixed, exploited if any is, as severe as the severest.
    AnyVersion,
}

impl Counting {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    const fn is_first(&self) -> bool {
        matches!(self, Self::FirstVersion)
    }
}

/// Everything a verdict depends on, besides policies, exceptions and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Where the image stands, or would stand.
    pub repository: RepoName,
    /// What the inspection found; `None` until there is one.
    pub inventory: Option<InventoryFacts>,
    /// What matching found; `None` until it has run.
    pub findings: Option<FindingSet>,
    /// Loaded feeds.
    pub feeds: Vec<FeedCoverage>,
    /// Whether an inspection or a match of this image is under way.
    pub image: Settling,
    /// Whether a feed is being imported.
    pub import: Settling,
    /// How findings count.
    #[serde(default, skip_serializing_if = "Counting::is_first")]
    pub counting: Counting,
    /// The container that is to run the image, or runs it; `None` for a pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadFacts>,
}

/// The part of an inventory that rules look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InventoryFacts {
    /// What the image is.
    pub content_id: ContentId,
    /// Version of what read it; 0 of facts that do not say.
    #[serde(default)]
    pub reader_version: u32,
    /// Distribution.
    pub os: Option<OsRelease>,
    /// Until when it is supported.
    pub support: Option<OsSupport>,
    /// Secrets: rule and path, in layer order; the first, up to [`limit::LISTED`].
    pub secrets: Vec<(String, String)>,
    /// Secrets beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_secrets: u32,
    /// Problems: code, layer, message; the first, up to [`limit::LISTED`].
    pub problems: Vec<(ProblemCode, Option<u32>, String)>,
    /// Problems beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_problems: u32,
    /// Ecosystems without a reader.
    pub uncovered: Vec<String>,
    /// Executables that no package owns.
    pub unowned_binaries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The first of a list, as many as are kept, and how many more there are. One is always kept.
fn first<T>(all: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> (Vec<T>, u32) {
    let (mut kept, mut more, mut left) = (Vec::new(), 0u32, limit::LISTED_BYTES);
    for item in all {
        let rest = left.checked_sub(bytes(&item)).filter(|_| more == 0 && kept.len() < limit::LISTED);
        match rest {
            Some(rest) => {
                left = rest;
                kept.push(item);
            }
            None if kept.is_empty() => kept.push(item),
            None => more = more.saturating_add(1),
        }
    }
    (kept, more)
}

impl InventoryFacts {
    /// What rules look at, of one inspection.
    pub fn from_event(ready: &InventoryReady) -> Self {
        let secret = |row: &seaworthy_model::SecretRow| (row.rule.clone(), row.path.clone());
        let problem = |row: &seaworthy_model::InventoryProblem| (row.code, row.layer, row.message.clone());
        let unreadable = ready
            .coverage()
            .unreadable
            .iter()
            .map(|path| (ProblemCode::LayerUnreadable, None, format!("`{path}` could not be read")));
        let (secrets, more_secrets) =
            first(ready.secrets().iter().map(secret), |(rule, path)| rule.len() + path.len() + 1);
        let problems = ready.problems().iter().map(problem).chain(unreadable);
        let (problems, more_problems) = first(problems, |(_, _, message)| message.len());
        Self {
            content_id: *ready.content_id(),
            reader_version: ready.inventory.reader_version,
            os: ready.os().cloned(),
            support: ready.support,
            secrets,
            more_secrets,
            problems,
            more_problems,
            uncovered: ready.coverage().uncovered.clone(),
            unowned_binaries: ready.coverage().unowned_binaries,
        }
    }

    pub(crate) fn secrets_found(&self) -> u32 {
        found(self.secrets.len(), self.more_secrets)
    }

    pub(crate) fn problems_found(&self) -> u32 {
        found(self.problems.len(), self.more_problems)
    }
}

fn found(listed: usize, more: u32) -> u32 {
    u32::try_from(listed).unwrap_or(u32::MAX).saturating_add(more)
}

impl Facts {
    /// The facts of an image, from what the rooms before have told. The one door through which
    /// facts are made: server, agent and a command line without a server judge alike.
    pub fn from_events(
        repository: &RepoName,
        inventory: Option<&InventoryFacts>,
        findings: Option<&FindingsChanged>,
        feeds: Option<&FeedsChanged>,
        image: Settling,
    ) -> Self {
        let importing = feeds.is_some_and(|feeds| feeds.state == FeedState::Importing);
        Self {
            repository: repository.clone(),
            inventory: inventory.cloned(),
            findings: findings.map(|findings| findings.set.clone()),
            feeds: feeds.map(|feeds| feeds.feeds.clone()).unwrap_or_default(),
            image,
            import: if importing { Settling::UnderWay } else { Settling::Settled },
            counting: Counting::AnyVersion,
            workload: None,
        }
    }

    /// The same facts for a container that runs the image.
    #[must_use]
    pub fn for_workload(self, workload: WorkloadFacts) -> Self {
        Self { workload: Some(workload), ..self }
    }

    /// True for a container whose image nobody pushed here.
    pub(crate) fn is_unmapped(&self) -> bool {
        self.workload.as_ref().is_some_and(|workload| workload.origin == Origin::Unknown)
    }

    /// True when a feed that covers `what` is loaded.
    pub(crate) fn has_feed(&self, what: &str) -> bool {
        self.feeds.iter().any(|feed| feed.covers.iter().any(|covered| covered == what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_and_all_is_counted() {
        let kept = |items: usize, bytes: usize| {
            let (kept, more) = first((0..items).map(|_| bytes), |bytes| *bytes);
            (kept.len(), more)
        };
        assert_eq!(kept(0, 0), (0, 0));
        assert_eq!(kept(limit::LISTED, 1), (limit::LISTED, 0));
        assert_eq!(kept(limit::LISTED + 1, 1), (limit::LISTED, 1));
        assert_eq!(kept(4, limit::LISTED_BYTES / 4), (4, 0));
        assert_eq!(kept(5, limit::LISTED_BYTES / 4), (4, 1));
        assert_eq!(kept(3, limit::LISTED_BYTES + 1), (1, 2), "the first is always said");
    }
}
