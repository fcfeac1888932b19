//! Alerts are stored once, and their messages arrive, wait, or are given up where people see it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod follow;

use std::{sync::Arc, time::Duration};

use seaworthy_model::{
    Actor, AlertMessageId, AlertTargetId, ChangeReason, ClearanceChange, ClearanceChanged, ContainerKey,
    Event, FixedClock, HostId, Timestamp, consumer,
};
use seaworthy_store::{Db, DbError, args};
use seaworthy_telemetry::{
    AlertKind, Body, Failure, Format, Message, NewTarget, Retry, Target, TargetKind, Telemetry,
    TelemetryError, Wanted, limit,
};
use seaworthy_testkit::{TestDb, db_tests};
use tokio_util::sync::CancellationToken;

db_tests!(&[seaworthy_ledger::SCHEMA, seaworthy_telemetry::SCHEMA]; an_alert_is_stored_once_and_told_to_who_wants_it,
    what_fails_is_tried_later_and_given_up_in_the_end, what_was_given_up_is_sent_again,
    a_killed_sender_leaves_its_messages_under_their_ids, many_mails_become_one_summary,
    targets_end_at_their_limits, what_waits_for_one_target_ends_at_its_limit, old_rows_end_at_their_limits,
    acts_are_recorded);

struct World {
    room: Telemetry,
    db: Db,
    clock: Arc<FixedClock>,
    cancel: CancellationToken,
    test: TestDb,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn changed(name: &str, change: ClearanceChange) -> ClearanceChanged {
    ClearanceChanged {
        change,
        key: ContainerKey { host: HostId::from_u128(7), runtime: "docker".into(), id: name.into() },
        host_name: "h1".into(),
        name: name.into(),
        reported: "localhost:5000/prod/web:1".into(),
        repository: "prod/web".parse().expect("name"),
        digest: None,
        content_id: None,
        started_at: None,
        verdict: "blocked".into(),
        before: Some("allowed".into()),
        reasons: vec![ChangeReason {
            rule: "prod/vulns".into(),
            result: "fail".into(),
            mode: "enforce".into(),
            message: "1 fixable vulnerability".into(),
            message_ja: "修正できる脆弱性 1 件".into(),
        }],
        more_reasons: 0,
        decided_at: "2026-11-23".parse().expect("date"),
    }
}

fn new(name: &str, kind: TargetKind, events: &[AlertKind]) -> NewTarget {
    NewTarget {
        id: AlertTargetId::generate(),
        name: name.into(),
        kind,
        shown: "https://hooks.example.com".into(),
        sealed: b"sealed".to_vec(),
        events: events.iter().copied().map(Wanted::Alert).collect(),
        repositories: vec![],
        format: Format::CloudEvents,
        networks: vec![],
    }
}

fn later() -> Failure {
    Failure { reason: "answered 500".into(), retry: Retry::Later }
}

impl World {
    async fn new(test: TestDb) -> Self {
        let clock = Arc::new(FixedClock::at("2026-11-23".parse().expect("date")));
        let db = test.reopen(clock.clone()).await;
        let room = Telemetry::new(db.clone());
        let cancel = CancellationToken::new();
        tokio::spawn(room.clone().run(cancel.clone()));
        Self { room, db, clock, cancel, test }
    }

    async fn target(&self, name: &str, kind: TargetKind) -> Target {
        self.room.create_target(&Actor::operator(0), new(name, kind, &[])).await.expect("made")
    }

    /// Tells of containers, and waits until it is stored.
    async fn tell(&self, names: impl IntoIterator<Item = String>, change: ClearanceChange) {
        let now = self.db.now();
        let events: Vec<Event> =
            names.into_iter().map(|it| Event::ClearanceChanged(Box::new(changed(&it, change)))).collect();
        let sent = self.db.upkeep(events, move |events, tx| {
            Box::pin(async move {
                for event in events {
                    tx.deliver(consumer::TELEMETRY, event, now).await?;
                }
                Ok::<_, DbError>(())
            })
        });
        sent.await.expect("told");
        let handled = async {
            while self.db.waiting_deliveries(consumer::TELEMETRY).await.expect("count") > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), handled).await.expect("handled");
    }

    async fn blocked(&self, names: &[&str]) {
        self.tell(names.iter().map(|it| (*it).to_owned()), ClearanceChange::NewlyBlocked).await;
    }

    async fn claim(&self, target: &Target) -> Vec<Message> {
        self.room.claim(target.id, 1_000).await.expect("claimed")
    }

    async fn due(&self) -> Vec<AlertTargetId> {
        self.room.due_targets().await.expect("targets")
    }

    async fn health(&self, name: &str) -> seaworthy_telemetry::TargetHealth {
        self.room.target(name).await.expect("there").health
    }

    async fn acts(&self, action: &str) -> Vec<serde_json::Value> {
        let sql = "SELECT leaf FROM ledger_leaves WHERE action = $1 ORDER BY id";
        let rows = self.db.fetch_all(sql, args![action]).await.expect("query");
        rows.iter().map(|row| row.json(0).expect("leaf")).collect()
    }
}

fn container(message: &Message) -> &str {
    match &message.body {
        Body::Alert(alert) => &alert.about.name,
        other => panic!("{other:?}"),
    }
}

async fn an_alert_is_stored_once_and_told_to_who_wants_it(test: TestDb) {
    let world = World::new(test).await;
    let all = world.target("all", TargetKind::Webhook).await;
    let starts = new("starts", TargetKind::Webhook, &[AlertKind::ContainerViolation]);
    let starts = world.room.create_target(&Actor::operator(0), starts).await.expect("made");
    world.blocked(&["a"]).await;
    world.tell(["b".to_owned()], ClearanceChange::BlockedStarted).await;
    let alerts = world.room.alerts(None, limit::PAGE).await.expect("alerts");
    let kinds: Vec<_> = alerts.iter().map(|it| (it.about.name.as_str(), it.kind)).collect();
    assert_eq!(kinds, [("b", AlertKind::ContainerViolation), ("a", AlertKind::ContainerBlocked)]);
    let older = world.room.alerts(Some(alerts[0].id), limit::PAGE).await.expect("alerts");
    assert_eq!(older, alerts[1..], "the page after");
    assert_eq!(world.room.alerts(None, 1).await.expect("alerts"), alerts[..1]);
    let told: Vec<String> = world.claim(&all).await.iter().map(|it| container(it).to_owned()).collect();
    assert_eq!(told, ["a", "b"]);
    let told = world.claim(&starts).await;
    assert_eq!(told.iter().map(container).collect::<Vec<_>>(), ["b"]);
    world.room.delivered(&told[0]).await.expect("settled");
    let health = world.health("starts").await;
    assert_eq!((health.waiting, health.delivered, health.delivered_at), (0, 1, Some(world.db.now())));
    assert_eq!(world.due().await, [], "what is claimed is nobody else's");
    // The same delivery handled twice, as after a kill before its end was stored.
    let again = "INSERT INTO store_deliveries (id, consumer, kind, payload, created_at, due_at, attempts, epoch)
                 SELECT id, 'telemetry', kind, $1, at, at, 0, 0 FROM telemetry_alerts WHERE kind = 'container.violation'";
    let event = Event::ClearanceChanged(Box::new(changed("b", ClearanceChange::BlockedStarted)));
    let payload = serde_json::to_string(&event).expect("JSON");
    let sent = world.db.upkeep(payload, move |payload, tx| {
        Box::pin(async move { tx.execute(again, args![payload]).await.map(|_| ()) })
    });
    sent.await.map_err(|error: DbError| panic!("{error}")).ok();
    world.tell([], ClearanceChange::NewlyBlocked).await;
    assert_eq!(world.room.alerts(None, limit::PAGE).await.expect("alerts").len(), 2);
    assert_eq!(world.health("starts").await.waiting, 0, "and nobody is told twice");
}

async fn what_fails_is_tried_later_and_given_up_in_the_end(test: TestDb) {
    let world = World::new(test).await;
    let target = world.target("hook", TargetKind::Webhook).await;
    world.blocked(&["a"]).await;
    let (began, mut attempts, mut waits) = (world.db.now(), 0, Vec::new());
    let id = loop {
        let message = world.claim(&target).await.pop().expect("due");
        attempts += 1;
        assert_eq!(message.attempts, attempts - 1);
        let is_dead = world.room.failed(&message, later()).await.expect("put back");
        if is_dead {
            break message.id;
        }
        let before = world.db.now();
        while world.due().await.is_empty() {
            world.clock.advance(1 + waits.last().copied().unwrap_or(0) / 8);
        }
        waits.push((world.db.now().as_micros() - before.as_micros()) / 1_000_000);
        assert!(attempts < 40, "never given up: {waits:?}");
    };
    let tried = (world.db.now().as_micros() - began.as_micros()) / 1_000_000;
    assert!(tried >= limit::RETRY_SECONDS, "{tried}");
    assert!(waits[0] <= limit::BACKOFF_SECONDS + 1 && waits[0] >= limit::BACKOFF_SECONDS / 2, "{waits:?}");
    assert!(attempts >= 15 && waits.iter().all(|it| *it <= limit::BACKOFF_SECONDS_MAX * 5 / 4), "{waits:?}");
    let dead = world.room.dead(None, limit::PAGE).await.expect("dead");
    assert_eq!((dead[0].id, dead[0].target.as_str(), dead[0].attempts), (id, "hook", attempts));
    assert_eq!(dead[0].failure, "answered 500");
    let health = world.health("hook").await;
    assert_eq!((health.waiting, health.dead, health.failure.as_deref()), (0, 1, Some("answered 500")));
    let counts = world.room.counts().await.expect("counts");
    assert_eq!((counts.waiting, counts.dead, counts.dropped), (0, 1, 0));
    // What the receiver refuses for good is given up at once; what it asks to wait for, waits.
    world.blocked(&["b", "c"]).await;
    let both = world.claim(&target).await;
    let long = "x".repeat(limit::FAILURE_CHARS + 1);
    let gone = Failure { reason: long, retry: Retry::Never };
    assert!(world.room.failed(&both[0], gone).await.expect("given up"));
    let dead = world.room.dead(None, limit::PAGE).await.expect("dead");
    assert_eq!(dead[0].failure.len(), limit::FAILURE_CHARS, "newest first");
    let asked = Failure { reason: "answered 429".into(), retry: Retry::After(100) };
    assert!(!world.room.failed(&both[1], asked).await.expect("put back"));
    world.clock.advance(99);
    assert_eq!(world.due().await, []);
    world.clock.advance(1);
    assert_eq!(world.due().await, [target.id]);
    let message = world.claim(&target).await.pop().expect("due");
    let for_ever = Failure { reason: "answered 429".into(), retry: Retry::After(i64::MAX) };
    world.room.failed(&message, for_ever).await.expect("put back");
    world.clock.advance(limit::BACKOFF_SECONDS_MAX);
    assert_eq!(world.due().await, [target.id], "no longer than the longest wait");
}

async fn what_was_given_up_is_sent_again(test: TestDb) {
    let world = World::new(test).await;
    let target = world.target("hook", TargetKind::Webhook).await;
    world.blocked(&["a"]).await;
    let message = world.claim(&target).await.pop().expect("due");
    let never = Failure { reason: "answered 410".into(), retry: Retry::Never };
    assert!(world.room.failed(&message, never).await.expect("given up"));
    assert_eq!(world.due().await, []);
    let unknown = world.room.resend(&Actor::operator(0), AlertMessageId::from_u128(1)).await;
    assert!(matches!(unknown, Err(TelemetryError::NotDead { .. })), "{unknown:?}");
    world.clock.advance(limit::RETRY_SECONDS * 2);
    world.room.resend(&Actor::operator(0), message.id).await.expect("again");
    let again = world.claim(&target).await.pop().expect("due");
    assert_eq!((again.id, &again.body, again.attempts), (message.id, &message.body, 0));
    assert!(!world.room.failed(&again, later()).await.expect("put back"), "with all its time again");
    let acts = world.acts("alert.resend").await;
    assert_eq!(acts[0]["object"], format!("alerts/messages/{}", message.id));
}

async fn a_killed_sender_leaves_its_messages_under_their_ids(test: TestDb) {
    let world = World::new(test).await;
    let target = world.target("hook", TargetKind::Webhook).await;
    world.blocked(&["a"]).await;
    // Claimed, perhaps sent, and never settled.
    let lost = world.claim(&target).await.pop().expect("due");
    world.clock.advance(limit::LEASE_SECONDS - 1);
    assert_eq!(world.due().await, [], "its lease holds");
    world.clock.advance(1);
    let again = world.claim(&target).await.pop().expect("due");
    assert_eq!((again.id, again.attempts), (lost.id, 0));
    // The first one wakes up: what it has to say is about a claim that is over.
    world.room.delivered(&lost).await.expect("no error");
    assert!(!world.room.failed(&lost, later()).await.expect("no error"));
    assert_eq!(world.health("hook").await.delivered, 0);
    // The holder of a data directory's lock need not wait for the lease.
    world.room.reclaim().await.expect("reclaimed");
    let third = world.claim(&target).await.pop().expect("due");
    world.room.delivered(&again).await.expect("no error");
    world.room.delivered(&third).await.expect("settled");
    assert_eq!(world.health("hook").await.delivered, 1);
    assert_eq!(world.room.counts().await.expect("counts").waiting, 0);
}

async fn many_mails_become_one_summary(test: TestDb) {
    let world = World::new(test).await;
    let target = world.target("ops", TargetKind::Mail).await;
    let few: Vec<String> = (0..limit::SUMMARY_OVER).map(|n| format!("few{n}")).collect();
    world.tell(few.clone(), ClearanceChange::NewlyBlocked).await;
    world.clock.advance(limit::SUMMARY_SECONDS - 1);
    world.room.gather().await.expect("gathered");
    assert_eq!(world.due().await, [], "the minute is not over");
    world.clock.advance(1);
    world.room.gather().await.expect("gathered");
    let told = world.claim(&target).await;
    let names: Vec<&str> = told.iter().map(container).collect();
    assert_eq!(names, few, "as many as the limit are told one by one");
    for message in &told {
        world.room.delivered(message).await.expect("settled");
    }
    // One more than the limit, over the whole minute.
    world.blocked(&["more"]).await;
    world.clock.advance(limit::SUMMARY_SECONDS - 1);
    world.tell(few, ClearanceChange::BlockedStarted).await;
    world.clock.advance(1);
    world.room.gather().await.expect("gathered");
    let told = world.claim(&target).await;
    let Body::Summary(summary) = &told[0].body else { panic!("{told:?}") };
    assert_eq!((told.len(), summary.count()), (1, limit::SUMMARY_OVER + 1));
    assert_eq!(summary.kinds[&AlertKind::ContainerBlocked], 1);
    assert_eq!(summary.first.len(), 6, "all of them are shown");
    assert_eq!(summary.until.as_micros() - summary.since.as_micros(), limit::SUMMARY_SECONDS * 1_000_000);
    world.room.delivered(&told[0]).await.expect("settled");
    // A thousand.
    world.tell((0..1_000).map(|n| format!("c{n}")), ClearanceChange::NewlyBlocked).await;
    world.clock.advance(limit::SUMMARY_SECONDS);
    world.room.gather().await.expect("gathered");
    world.room.gather().await.expect("gathered");
    let told = world.claim(&target).await;
    let Body::Summary(summary) = &told[0].body else { panic!("{told:?}") };
    assert_eq!((told.len(), summary.count()), (1, 1_000));
    assert_eq!(i64::try_from(summary.first.len()), Ok(limit::SUMMARY_SHOWN));
    assert_eq!(summary.first[0].about.name, "c0");
    assert_eq!(world.health("ops").await.waiting, 1, "nothing else waits");
}

async fn targets_end_at_their_limits(test: TestDb) {
    let world = World::new(test).await;
    let operator = Actor::operator(0);
    let long = "a".repeat(limit::NAME_BYTES);
    for (name, is_name) in [
        (long.as_str(), true),
        (&format!("{long}a"), false),
        ("", false),
        ("A", false),
        ("1a", false),
        ("a b", false),
    ] {
        let made = world.room.create_target(&operator, new(name, TargetKind::Webhook, &[])).await;
        assert_eq!(made.is_ok(), is_name, "`{name}`");
    }
    let taken = world.room.create_target(&operator, new(&long, TargetKind::Mail, &[])).await;
    assert!(matches!(taken, Err(TelemetryError::TargetTaken { .. })), "{taken:?}");
    let with = |name: &str, networks: usize| NewTarget {
        networks: vec!["10.0.0.0/8".into(); networks],
        ..new(name, TargetKind::Webhook, &[])
    };
    assert!(world.room.create_target(&operator, with("n", limit::NETWORKS)).await.is_ok());
    let more = world.room.create_target(&operator, with("m", limit::NETWORKS + 1)).await;
    assert!(matches!(more, Err(TelemetryError::TooMany { .. })), "{more:?}");
    for n in 2..limit::TARGETS {
        world.target(&format!("t{n}"), TargetKind::Webhook).await;
    }
    let more = world.room.create_target(&operator, new("more", TargetKind::Mail, &[])).await;
    assert!(matches!(more, Err(TelemetryError::TooMany { limit: limit::TARGETS, .. })), "{more:?}");
    world.room.delete_target(&operator, "t2").await.expect("deleted");
    assert!(world.room.create_target(&operator, new("more", TargetKind::Mail, &[])).await.is_ok());
}

async fn what_waits_for_one_target_ends_at_its_limit(test: TestDb) {
    let world = World::new(test).await;
    let target = world.target("hook", TargetKind::Webhook).await;
    world.blocked(&["a"]).await;
    // Copies of the one message up to one less than the limit.
    let copy = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
        INSERT INTO telemetry_messages
            (id, target, state, kind, body, created_at, due_at, give_up_at, attempts, epoch)
        SELECT CAST('copy' || i AS BYTEA), target, state, kind, body, created_at, due_at, give_up_at, 0, 0
        FROM telemetry_messages, n";
    let sqlite = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
        INSERT INTO telemetry_messages
            (id, target, state, kind, body, created_at, due_at, give_up_at, attempts, epoch)
        SELECT CAST('copy' || i AS BLOB), target, state, kind, body, created_at, due_at, give_up_at, 0, 0
        FROM telemetry_messages, n";
    let is_sqlite = world.db.dialect() == seaworthy_store::schema::Dialect::Sqlite;
    let sql = if is_sqlite { sqlite } else { copy };
    let copied = world.db.upkeep((), move |(), tx| {
        Box::pin(async move { tx.execute(sql, args![limit::WAITING - 2]).await.map(|_| ()) })
    });
    copied.await.map_err(|error: DbError| panic!("{error:?}")).ok();
    world.blocked(&["last"]).await;
    let health = world.health("hook").await;
    assert_eq!((health.waiting, health.dropped), (limit::WAITING, 0));
    world.blocked(&["more", "and more"]).await;
    let health = world.health("hook").await;
    assert_eq!((health.waiting, health.dropped), (limit::WAITING, 2));
    assert_eq!(world.room.alerts(None, 10).await.expect("alerts").len(), 4, "the alerts are there");
    assert_eq!(world.room.counts().await.expect("counts").dropped, 2);
    world.room.delete_target(&Actor::operator(0), &target.name).await.expect("deleted");
    assert_eq!(world.room.counts().await.expect("counts").waiting, 0);
}

async fn old_rows_end_at_their_limits(test: TestDb) {
    let day = 24 * 3_600;
    const { assert!(limit::UPKEEP_SECONDS * 24 <= 24 * 3_600, "a limit in days is kept within the hour") };
    let world = World::new(test).await;
    let target = world.target("hook", TargetKind::Webhook).await;
    world.blocked(&["old"]).await;
    let message = world.claim(&target).await.pop().expect("due");
    let never = Failure { reason: "answered 410".into(), retry: Retry::Never };
    world.room.failed(&message, never).await.expect("given up");
    world.clock.advance(limit::DEAD_DAYS * day);
    world.room.forget_old().await.expect("cleaned");
    assert_eq!(world.health("hook").await.dead, 1);
    world.clock.advance(limit::LEASE_SECONDS + 1);
    world.room.forget_old().await.expect("cleaned");
    assert_eq!(world.health("hook").await.dead, 0);
    let count = async || world.room.alerts(None, limit::PAGE).await.expect("alerts").len();
    world.clock.advance((limit::ALERT_DAYS - limit::DEAD_DAYS) * day - limit::LEASE_SECONDS - 1);
    world.room.forget_old().await.expect("cleaned");
    assert_eq!(count().await, 1);
    world.clock.advance(1);
    world.room.forget_old().await.expect("cleaned");
    assert_eq!(count().await, 0);
    // One more than are kept: the oldest goes. Rows are made by the engine, ids in their order.
    let is_sqlite = world.db.dialect() == seaworthy_store::schema::Dialect::Sqlite;
    let sql = if is_sqlite {
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO telemetry_alerts (id, at, kind, body)
         SELECT CAST(printf('%08d', i) AS BLOB), $2, '', '' FROM n"
    } else {
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO telemetry_alerts (id, at, kind, body)
         SELECT CAST(lpad(CAST(i AS TEXT), 8, '0') AS BYTEA), $2, '', '' FROM n"
    };
    let now = world.db.now().as_micros();
    let filled = world.db.upkeep((), move |(), tx| {
        Box::pin(async move { tx.execute(sql, args![limit::ALERTS + 1, now]).await.map(|_| ()) })
    });
    filled.await.map_err(|error: DbError| panic!("{error:?}")).ok();
    for _ in 0..2 {
        world.room.forget_old().await.expect("cleaned");
        let sql = "SELECT id FROM telemetry_alerts ORDER BY id";
        let rows = world.db.fetch_all(sql, args![]).await.expect("rows");
        assert_eq!(u64::try_from(rows.len()), Ok(limit::ALERTS));
        assert_eq!(rows[0].bytes(0).expect("id"), b"00000002");
    }
}

async fn acts_are_recorded(test: TestDb) {
    let world = World::new(test).await;
    let operator = Actor::operator(0);
    let target = world.target("hook", TargetKind::Webhook).await;
    world.room.record_test(&operator, &target, None).await.expect("recorded");
    let failed = Some(Err("answered 500".to_owned()));
    world.room.record_test(&operator, &target, failed).await.expect("recorded");
    world.room.delete_target(&operator, "hook").await.expect("deleted");
    let gone = world.room.delete_target(&operator, "hook").await;
    assert!(matches!(gone, Err(TelemetryError::UnknownTarget { .. })), "{gone:?}");
    let created = world.acts("alert.target.create").await;
    assert_eq!((&created[0]["object"], created.len()), (&"alerts/targets/hook".into(), 1));
    assert_eq!(created[0]["actor"]["name"], "uid:0");
    assert!(!created[0].to_string().contains("sealed"), "{}", created[0]);
    let tests = world.acts("alert.target.test").await;
    assert_eq!(tests[0]["details"]["phase"], "intent");
    assert_eq!(tests[1]["details"]["failure"], "answered 500");
    assert_eq!(world.acts("alert.target.delete").await.len(), 1);
    let _: Timestamp = target.created_at;
}
