//! What happened to containers, from what was seen of them.

use seaworthy_link::{Container, ContainerState};
use seaworthy_model::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened. Times are the agent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "happening", rename_all = "snake_case")]
pub enum Happening {
    /// A container began to run.
    Started,
    /// A container ended.
    Ended {
        /// Its exit code, when it was seen.
        exit_code: Option<i64>,
    },
    /// A container was removed.
    Removed,
    /// A container was not in a complete list any more: its removal was missed.
    Missing,
    /// Events may have been missed until this entry's time.
    Gap {
        /// Since when; `None`: since the agent was last heard of.
        from: Option<Timestamp>,
        /// Why.
        reason: String,
    },
}

/// An entry of a host's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// Its number on its host, growing.
    pub number: u64,
    /// The container's id; `None` concerns the whole host.
    pub container: Option<String>,
    /// When, by the agent's clock.
    pub at: Timestamp,
    /// When it was heard, by our clock.
    pub received_at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What was known of a container before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) live: bool,
    pub(crate) started_at: Option<Timestamp>,
}

/// What must have happened between two sights of a container. A container that is first seen
/// stopped has no story here.
pub(crate) fn between(before: Option<Before>, now: &Container) -> Vec<(Timestamp, Happening)> {
    let before = before.unwrap_or(Before { live: false, started_at: now.started_at });
    let ran_anew = now.started_at.is_some() && now.started_at != before.started_at;
    let started_at = now.started_at.unwrap_or(now.seen_at);
    let ended_at = now.finished_at.unwrap_or(now.seen_at);
    let exit_code = now.exit_code.filter(|_| now.state != ContainerState::Running);
    let started = (started_at, Happening::Started);
    let ended = |at| (at, Happening::Ended { exit_code });
    match (before.live, now.state.is_live()) {
        (false, true) => vec![started],
        (false, false) if ran_anew => vec![started, ended(ended_at)],
        // Its end was between the two.
        (true, true) if ran_anew => vec![ended(now.finished_at.unwrap_or(started_at)), started],
        (false, false) | (true, true) => vec![],
        (true, false) if ran_anew => vec![ended(started_at), started, ended(ended_at)],
        (true, false) => vec![ended(ended_at)],
    }
}
