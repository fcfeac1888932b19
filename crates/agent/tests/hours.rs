//! Hours without an agent and without a control plane. The clock is moved, and what comes is stored by
//! the fleet as a server stores it.

use std::sync::Arc;

use seaworthy_fleet::{Filter, Fleet, FleetConfig, Happening, HistoryRow, Presence};
use seaworthy_model::{Actor, Clock as _, FixedClock, HostId, Timestamp};
use seaworthy_store::{Db, schema::RoomSchema};
use seaworthy_testkit::{TestDb, db_tests};

use crate::{
    agent_at,
    fake::FakeEngine,
    kill,
    plane::Plane,
    wrong::{engine_of, event, id},
};

const ROOMS: &[RoomSchema] = &[seaworthy_ledger::SCHEMA, seaworthy_fleet::SCHEMA];
const HOUR: i64 = 3_600;

/// A host, its engine, its control plane, and the hand on their clock.
struct Voyage {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    fleet: Fleet,
    host: HostId,
    plane: Plane,
    engine: FakeEngine,
    _db: Db,
}

impl Voyage {
    async fn begin(test: &TestDb) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let db = test.reopen(clock.clone()).await;
        let fleet = Fleet::new(FleetConfig { db: db.clone(), registry_hosts: vec![] });
        let host = fleet.join(&Actor::system(), "alpha").await.expect("a host");
        let plane = Plane::of(folder.path(), fleet.clone(), host);
        let engine = FakeEngine::open(folder.path(), engine_of(vec![id('a'), id('b')], String::new()));
        Self { folder, clock, fleet, host, plane, engine, _db: db }
    }

    fn agent(&self) -> tokio::task::JoinHandle<()> {
        agent_at(&self.engine.socket, self.folder.path(), &self.plane.socket, self.clock.clone())
    }

    /// Waits until exactly these containers are there.
    async fn there(&self, names: &[&str]) {
        let filter = Filter { presence: vec![Presence::Live, Presence::Stopped], ..Filter::default() };
        let is_so = async || {
            let page = self.fleet.containers(&filter, None, 100).await.expect("a page");
            page.containers.iter().map(|it| it.container.name.as_str()).eq(names.iter().copied())
        };
        self.plane.until(&format!("{names:?} are there"), is_so).await;
    }

    /// What happened to a container and to its host, oldest first.
    async fn history(&self, letter: char) -> Vec<HistoryRow> {
        let found = self.fleet.container_of(self.host, &id(letter)).await.expect("an answer");
        let view = found.unwrap_or_else(|| panic!("`{letter}` is known"));
        let mut rows = self.fleet.history(&view, None).await.expect("a history");
        rows.reverse();
        rows
    }

    /// All that was ever said is said again and changes nothing.
    async fn check_repeats(&self) {
        let filter =
            Filter { presence: vec![Presence::Live, Presence::Stopped, Presence::Gone], ..Filter::default() };
        let all = async || {
            let page = self.fleet.containers(&filter, None, 100).await.expect("a page");
            let mut rows = Vec::new();
            for view in &page.containers {
                rows.extend(self.fleet.history(view, None).await.expect("a history"));
            }
            (page.containers, rows)
        };
        let before = all().await;
        self.plane.repeat_all().await;
        assert_eq!(all().await, before);
    }
}

/// Since when, until when and why the host was not followed.
fn gaps(rows: &[HistoryRow]) -> Vec<(Option<Timestamp>, Timestamp, &str)> {
    rows.iter()
        .filter_map(|row| match &row.what {
            Happening::Gap { from, reason } => Some((*from, row.at, reason.as_str())),
            _ => None,
        })
        .collect()
}

fn words(rows: &[HistoryRow]) -> Vec<&'static str> {
    rows.iter()
        .map(|row| match row.what {
            Happening::Started => "started",
            Happening::Ended { .. } => "ended",
            Happening::Removed => "removed",
            Happening::Missing => "missing",
            Happening::Gap { .. } => "gap",
        })
        .collect()
}

async fn an_agent_is_away_for_an_hour(test: TestDb) {
    let voyage = Voyage::begin(&test).await;
    let first = voyage.agent();
    voyage.there(&["a", "b"]).await;
    let left = voyage.clock.now();
    kill(first).await;
    voyage.clock.advance(HOUR);
    // Meanwhile `b` went, `c` came, and `d` came and went: nobody will ever know of `d`.
    let missed = event("start", &id('d'), left.as_micros() * 1_000 + 1);
    voyage.engine.answer(engine_of(vec![id('a'), id('c')], missed));
    let second = voyage.agent();
    voyage.there(&["a", "c"]).await;
    let told = voyage.history('b').await;
    let [(Some(from), until, why)] = gaps(&told)[..] else { panic!("one gap: {told:#?}") };
    assert_eq!((from, until, why), (left, voyage.clock.now(), "the agent was not running"));
    assert_eq!(words(&told), ["started", "gap", "missing"], "{told:#?}");
    assert_eq!(words(&voyage.history('a').await), ["started", "gap"]);
    kill(second).await;
    voyage.plane.check_numbers();
    voyage.check_repeats().await;
}

async fn a_server_is_away_for_an_hour(test: TestDb) {
    let mut voyage = Voyage::begin(&test).await;
    let first = voyage.agent();
    voyage.there(&["a", "b"]).await;
    voyage.plane.go_away().await;
    let at = |voyage: &Voyage| voyage.clock.now().as_micros() * 1_000;
    // In the first half `c` comes and `b` goes: the agent sees both and keeps them.
    voyage.clock.advance(HOUR / 2);
    voyage.engine.answer(engine_of(vec![id('a'), id('c')], String::new()));
    let seen = event("start", &id('c'), at(&voyage)) + &event("destroy", &id('b'), at(&voyage));
    voyage.engine.events.send(Some(seen)).expect("a listener");
    let spool = voyage.folder.path().join("spool");
    let kept = || {
        let files = std::fs::read_dir(&spool).expect("a spool").flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        texts.collect::<String>()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !(kept().contains(r#""name":"c""#) && kept().contains(r#""item":"removed""#)) {
        assert!(std::time::Instant::now() < deadline, "nothing is kept: {}", kept());
        tokio::task::yield_now().await;
    }
    // In the second half the agent is killed, and `d` comes while it is gone.
    kill(first).await;
    voyage.clock.advance(HOUR / 2);
    voyage.engine.answer(engine_of(vec![id('a'), id('c'), id('d')], String::new()));
    let second = voyage.agent();
    voyage.plane.come_back();
    voyage.there(&["a", "c", "d"]).await;
    let until = async || words(&voyage.history('d').await).contains(&"started");
    voyage.plane.until("`d` began", until).await;
    let told = voyage.history('b').await;
    assert_eq!(words(&told), ["started", "removed", "gap"], "{told:#?}");
    let began = told.first().map(|row| row.at);
    let removed = told.iter().find(|row| row.what == Happening::Removed).expect("a removal");
    assert_eq!(removed.received_at, voyage.clock.now(), "heard when the server was back");
    assert_eq!(removed.at.as_micros(), voyage.clock.now().as_micros() - HOUR / 2 * 1_000_000);
    assert!(began.is_some_and(|began| began < removed.at));
    assert_eq!(words(&voyage.history('c').await), ["started", "gap"]);
    assert_eq!(words(&voyage.history('a').await), ["started", "gap"]);
    kill(second).await;
    voyage.plane.check_numbers();
    voyage.check_repeats().await;
}

db_tests!(super::ROOMS; an_agent_is_away_for_an_hour, a_server_is_away_for_an_hour);
