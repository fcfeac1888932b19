//! What changed, told to whoever listens: one task reads revisions for all listeners, and only
//! while there are any. The numbers come from the database, so that all replicas tell the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use seaworthy_ledger::Action;
use seaworthy_model::{ErrorCode, Problem, consumer};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{api::Rooms, limit};

/// Revisions of what the console shows: one that is another than before says "ask again".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Revisions {
    /// Records of the ledger.
    ledger: u64,
    /// Imports of feeds.
    advisories: i64,
    /// Policies and exceptions.
    policies: u64,
    /// Pushes, deletions, verdicts, locks, and the rules of repositories.
    images: u64,
    /// Hosts, containers and their verdicts.
    fleet: i64,
}

const POLICIES: &[Action] =
    &[Action::PolicyApply, Action::ExceptionRequest, Action::ExceptionApprove, Action::ExceptionRevoke];
const IMAGES: &[Action] = &[
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
    Action::BlobDelete,
    Action::LockChange,
    Action::ImagePromote,
    Action::RepositoryRuleSet,
    Action::RepositoryRuleRemove,
    Action::RetentionSet,
    Action::RetentionRemove,
    Action::ClearanceDecide,
];
const FLEET: &[Action] =
    &[Action::ClearanceDecide, Action::ClearanceViolation, Action::HostJoin, Action::HostRemove];

impl Revisions {
    /// A dozen reads of one row or one index entry each.
    pub(crate) async fn read(rooms: &Rooms) -> Result<Self, Problem> {
        let history = rooms.fleet.revision().await?;
        let verdicts = seaworthy_ledger::last_of(&rooms.db, FLEET).await?;
        Ok(Self {
            ledger: seaworthy_ledger::size(&rooms.db).await?,
            advisories: rooms.findings.revision().await?,
            policies: seaworthy_ledger::last_of(&rooms.db, POLICIES).await?,
            images: seaworthy_ledger::last_of(&rooms.db, IMAGES).await?,
            // Both grow, so their sum does.
            fleet: history.saturating_add_unsigned(verdicts),
        })
    }
}

/// Shortest time between two states.
const PAUSE: Duration = Duration::from_millis(250);

/// How long after that pause the numbers are read without a bell: other replicas ring none here.
const POLL: Duration = Duration::from_millis(750);

/// What a listener is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nobody has looked yet.
    Unknown,
    Changed(Revisions),
    /// The server stops.
    Stopped,
}

/// The one source of all live streams: cheap to clone.
#[derive(Clone)]
pub(crate) struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    moment: watch::Sender<Moment>,
    /// Listeners by principal.
    seats: Mutex<HashMap<String, usize>>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Inner { moment: watch::Sender::new(Moment::Unknown), seats: Mutex::default() }),
        }
    }

    /// Reads while anybody listens, until `cancel`; then every stream ends.
    pub(crate) async fn run(self, rooms: Rooms, cancel: CancellationToken) {
        let (head, told) = (rooms.db.bell(seaworthy_ledger::HEAD_BELL), rooms.db.bell(consumer::CLEARANCE));
        while !cancel.is_cancelled() {
            let (head, told) = (head.notified(), told.notified());
            tokio::pin!(head, told);
            // What rings while the numbers are read is not missed.
            head.as_mut().enable();
            told.as_mut().enable();
            if self.inner.moment.receiver_count() > 0 {
                self.look(&rooms).await;
            }
            let _ = tokio::time::timeout(PAUSE, cancel.cancelled()).await;
            tokio::select! {
                () = head => {}
                () = told => {}
                () = tokio::time::sleep(POLL) => {}
                () = cancel.cancelled() => {}
            }
        }
        self.inner.moment.send_replace(Moment::Stopped);
    }

    async fn look(&self, rooms: &Rooms) {
        match Revisions::read(rooms).await {
            Ok(now) => {
                let now = Moment::Changed(now);
                self.inner.moment.send_if_modified(|before| std::mem::replace(before, now) != now);
            }
            Err(problem) => tracing::warn!(%problem, "the live stream cannot read what changed"),
        }
    }

    /// A seat for one more listener, and what they are told from now on.
    pub(crate) fn listen(&self, name: &str) -> Result<(Seat, watch::Receiver<Moment>), Problem> {
        let mut seats = self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = seats.values().sum();
        let own = seats.get(name).copied().unwrap_or_default();
        if all >= limit::LISTENERS || own >= limit::LISTENERS_EACH {
            let problem = Problem::new(ErrorCode::TooManyRequests, "too many live streams are open");
            return Err(problem.hint("close other windows of the console").retry_after(RETRY_SECONDS));
        }
        seats.insert(name.to_owned(), own + 1);
        let mut moments = self.inner.moment.subscribe();
        if *moments.borrow() == Moment::Stopped {
            moments.mark_changed();
        }
        Ok((Seat { live: self.clone(), name: name.to_owned() }, moments))
    }
}

/// Seconds after which a browser without a seat asks again.
const RETRY_SECONDS: u32 = 10;

/// One listener's place; free again when it goes.
pub(crate) struct Seat {
    live: Live,
    name: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.live.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = seats.get_mut(&self.name) {
            *own -= 1;
            if *own == 0 {
                seats.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_free_again() {
        let live = Live::new();
        let mut ann: Vec<_> =
            (0..limit::LISTENERS_EACH).map(|_| live.listen("ann").expect("a seat")).collect();
        let full = live.listen("ann").map(|_| ()).expect_err("one past the limit");
        assert_eq!((full.code.status(), full.retry_after_seconds), (429, Some(RETRY_SECONDS)));
        assert!(live.listen("ben").is_ok(), "others have their own");
        ann.pop();
        ann.push(live.listen("ann").expect("free again"));

        let left = limit::LISTENERS - limit::LISTENERS_EACH;
        let mut others: Vec<_> =
            (0..left).map(|at| live.listen(&format!("p{at}")).expect("a seat")).collect();
        assert!(live.listen("late").is_err(), "all seats are taken");
        others.pop();
        assert!(live.listen("late").is_ok());
        drop((ann, others));
        assert!(live.inner.seats.lock().expect("lock").is_empty());
        assert_eq!(live.inner.moment.receiver_count(), 0, "nobody listens, nothing is read");
    }
}
