//! Refused sign-ins in the ledger: the first at once, its repeats within the minute counted and
//! closed by one record. A name that nobody has is never recorded: it may be a mistyped password.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use seaworthy_ledger::{Act, Action, LedgerError};
use seaworthy_model::{Actor, Timestamp};
use seaworthy_store::Db;
use serde_json::json;

use crate::{PrincipalName, limit};

pub(crate) struct RefusedSignIns {
    db: Db,
    open: Mutex<HashMap<Key, Count>>,
}

/// Whose sign-in was refused, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The principal, when there is one of that name.
    pub(crate) name: Option<PrincipalName>,
    pub(crate) source: Option<String>,
}

#[derive(Clone, Copy)]
struct Count {
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

impl RefusedSignIns {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, open: Mutex::default() }
    }

    /// Records a refusal, or counts it as a repeat. The first one is durable when this returns.
    pub(crate) async fn record(&self, key: Key) -> Result<(), LedgerError> {
        let now = self.db.now();
        // Who is not signed in must not make the ledger grow as fast as they can: beyond the limit
        // all are one.
        let (key, before) = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let key =
                if open.len() < limit::REFUSALS || open.contains_key(&key) { key } else { Key::default() };
            let count = open.get(&key).copied();
            match count {
                Some(count) if now < count.since.plus_seconds(limit::REFUSAL_SECONDS) => {
                    open.insert(key, Count { repeats: count.repeats + 1, ..count });
                    return Ok(());
                }
                before => {
                    open.insert(key.clone(), Count { since: now, repeats: 0 });
                    (key, before)
                }
            }
        };
        // Its minute is over and the sweep has not come by.
        if let Some(before) = before {
            self.repeated(&key, before).await?;
        }
        self.write(&key, Act::new(Action::SessionRefuse, object(&key))).await
    }

    /// Closes counts with one record each; those without repeats need none.
    pub(crate) async fn close(&self, which: Which) {
        let now = self.db.now();
        let closed: Vec<_> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let over = |count: &Count| now >= count.since.plus_seconds(limit::REFUSAL_SECONDS);
            open.extract_if(|_, count| which == Which::All || over(count)).collect()
        };
        for (key, count) in closed {
            if let Err(error) = self.repeated(&key, count).await {
                tracing::error!(error = %seaworthy_store::chain(&error), repeats = count.repeats, "refused sign-ins were not recorded");
            }
        }
    }

    async fn repeated(&self, key: &Key, count: Count) -> Result<(), LedgerError> {
        if count.repeats == 0 {
            return Ok(());
        }
        let act = Act::new(Action::SessionRefuseRepeat, object(key))
            .details(json!({"repeats": count.repeats, "since": count.since}));
        self.write(key, act).await
    }

    async fn write(&self, key: &Key, act: Act) -> Result<(), LedgerError> {
        let actor = Actor::anonymous(key.source.clone());
        seaworthy_ledger::write(&self.db, &actor, act, |act, _| {
            let act = act.clone();
            Box::pin(async move { Ok(((), vec![act])) })
        })
        .await
    }
}

fn object(key: &Key) -> String {
    key.name.as_ref().map_or_else(|| "principals".to_owned(), |name| format!("principals/{name}"))
}

#[cfg(test)]
mod tests {
    use seaworthy_testkit::TestDb;

    use super::*;

    const ROOMS: &[seaworthy_store::schema::RoomSchema] = &[seaworthy_ledger::SCHEMA];

    async fn recorded(test: &TestDb) -> Vec<(String, String)> {
        let sql = "SELECT action, object FROM ledger_leaves ORDER BY id";
        let rows = test.db.fetch_all(sql, seaworthy_store::args![]).await.expect("query");
        let text = |row: &seaworthy_store::Row, at| row.text(at).expect("text").to_owned();
        rows.iter().map(|row| (text(row, 0), text(row, 1))).collect()
    }

    async fn beyond_the_limit_all_are_one(test: TestDb) {
        let refused = RefusedSignIns::new(test.db.clone());
        let key = |number: usize| Key { name: None, source: Some(format!("192.0.2.{number}")) };
        let open = (1..limit::REFUSALS).map(|it| (key(it), Count { since: test.db.now(), repeats: 0 }));
        refused.open.lock().expect("lock").extend(open);
        for number in [limit::REFUSALS, limit::REFUSALS, limit::REFUSALS + 1, limit::REFUSALS + 2] {
            refused.record(key(number)).await.expect("recorded");
        }
        let both = ("session.refuse".to_owned(), "principals".to_owned());
        assert_eq!(recorded(&test).await, [both.clone(), both.clone()]);
        assert_eq!(refused.open.lock().expect("lock").len(), limit::REFUSALS + 1);
        refused.close(Which::All).await;
        let repeats = ("session.refuse.repeat".to_owned(), "principals".to_owned());
        assert_eq!(recorded(&test).await, [both.clone(), both, repeats.clone(), repeats]);
    }

    async fn repeats_are_counted_for_a_minute(test: TestDb) {
        let clock =
            std::sync::Arc::new(seaworthy_model::FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let refused = RefusedSignIns::new(test.reopen(clock.clone()).await);
        let key = || Key { name: Some("ann".parse().expect("name")), source: None };
        for _ in 0..3 {
            refused.record(key()).await.expect("recorded");
        }
        clock.advance(limit::REFUSAL_SECONDS - 1);
        refused.close(Which::Old).await;
        assert_eq!(recorded(&test).await.len(), 1);
        clock.advance(1);
        // The next one comes before the sweep.
        refused.record(key()).await.expect("recorded");
        let words: Vec<_> = recorded(&test)
            .await
            .into_iter()
            .map(|(action, object)| {
                assert_eq!(object, "principals/ann");
                action
            })
            .collect();
        assert_eq!(words, ["session.refuse", "session.refuse.repeat", "session.refuse"]);
        refused.close(Which::All).await;
        assert_eq!(recorded(&test).await.len(), 3, "nothing was repeated");
    }

    seaworthy_testkit::db_tests!(super::ROOMS; beyond_the_limit_all_are_one, repeats_are_counted_for_a_minute);
}
