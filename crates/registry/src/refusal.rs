//! Refused pulls in the ledger: the first of a principal and digest at once, its repeats
//! within the minute counted and closed by one record.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, PoisonError},
};

use seaworthy_ledger::{Act, Action, LedgerError};
use seaworthy_model::{Actor, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::Db;
use serde_json::json;

use crate::{Refusal, RegistryError, limit};

pub(crate) struct Refusals {
    db: Db,
    open: Mutex<HashMap<(String, RepoName, Digest), Count>>,
}

#[derive(Clone)]
struct Count {
    actor: Actor,
    since: Timestamp,
    repeats: u64,
}

/// Which counts to close.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those whose minute is over.
    Old,
    /// Every one: the server stops.
    All,
}

impl Refusals {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, open: Mutex::default() }
    }

    /// Records a refusal, or counts it as a repeat. The first one is durable when this returns.
    pub(crate) async fn record(
        &self,
        actor: &Actor,
        repository: &RepoName,
        digest: &Digest,
        refusal: &Refusal,
    ) -> Result<(), RegistryError> {
        let now = self.db.now();
        let key = (actor.name.clone(), repository.clone(), *digest);
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let full = open.len() >= limit::REFUSALS;
            match open.entry(key) {
                Entry::Occupied(mut entry)
                    if now < entry.get().since.plus_seconds(limit::REFUSAL_SECONDS) =>
                {
                    entry.get_mut().repeats += 1;
                    return Ok(());
                }
                Entry::Vacant(entry) if !full => {
                    entry.insert(Count { actor: actor.clone(), since: now, repeats: 0 });
                }
                // Its minute is over and the sweep has not come by, or there is no room to count.
                Entry::Occupied(_) | Entry::Vacant(_) => {}
            }
        }
        let act = Act::new(Action::PullRefuse, object(repository, digest))
            .details(json!({"verdict": refusal.verdict, "message": refusal.problem.message}));
        self.write(actor, act).await?;
        Ok(())
    }

    /// Closes counts with one record each; those without repeats need none.
    pub(crate) async fn close(&self, which: Which) {
        let now = self.db.now();
        let closed: Vec<_> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let over = |count: &Count| now >= count.since.plus_seconds(limit::REFUSAL_SECONDS);
            open.extract_if(|_, count| which == Which::All || over(count)).collect()
        };
        for ((_, repository, digest), count) in closed {
            if count.repeats == 0 {
                continue;
            }
            let act = Act::new(Action::PullRefuseRepeat, object(&repository, &digest))
                .details(json!({"repeats": count.repeats, "since": count.since}));
            if let Err(error) = self.write(&count.actor, act).await {
                tracing::error!(error = %seaworthy_store::chain(&error), repeats = count.repeats, "refused pulls were not recorded");
            }
        }
    }

    async fn write(&self, actor: &Actor, act: Act) -> Result<(), LedgerError> {
        seaworthy_ledger::write(&self.db, actor, act, |act, _| {
            let act = act.clone();
            Box::pin(async move { Ok(((), vec![act])) })
        })
        .await
    }
}

/// How the ledger names a manifest of a repository.
pub(crate) fn object(repository: &RepoName, digest: &Digest) -> String {
    format!("repositories/{repository}@{digest}")
}

#[cfg(test)]
mod tests {
    use seaworthy_model::{ErrorCode, Problem};
    use seaworthy_testkit::TestDb;

    use super::*;

    const ROOMS: &[seaworthy_store::schema::RoomSchema] = &[seaworthy_ledger::SCHEMA];

    async fn beyond_the_limit_each_is_recorded(test: TestDb) {
        let refusals = Refusals::new(test.db.clone());
        let (actor, digest) = (Actor::system(), Digest::sha256(b"image"));
        let repository = |number: usize| format!("r{number}").parse::<RepoName>().expect("name");
        let count = Count { actor: actor.clone(), since: test.db.now(), repeats: 0 };
        let open = (1..limit::REFUSALS)
            .map(|number| ((actor.name.clone(), repository(number), digest), count.clone()));
        refusals.open.lock().expect("lock").extend(open);
        let refusal = Refusal { problem: Problem::new(ErrorCode::Denied, "no"), verdict: "blocked" };
        let twice = async |number: usize| {
            for _ in 0..2 {
                refusals.record(&actor, &repository(number), &digest, &refusal).await.expect("recorded");
            }
            let sql = "SELECT COUNT(*) FROM ledger_leaves";
            let rows = test.db.fetch_all(sql, seaworthy_store::args![]).await.expect("query");
            rows[0].int(0).expect("count")
        };
        assert_eq!(twice(limit::REFUSALS).await, 1, "there is room for one more");
        assert_eq!(twice(limit::REFUSALS + 1).await, 3, "none is lost");
        assert_eq!(refusals.open.lock().expect("lock").len(), limit::REFUSALS);
    }

    seaworthy_testkit::db_tests!(super::ROOMS; beyond_the_limit_each_is_recorded);
}
