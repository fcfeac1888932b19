//! A delivery's effect is stored once, whatever its handler does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use seaworthy_model::{BlobStored, Event, FindingSet, FindingsChanged, FixedClock, Timestamp, consumer};
use seaworthy_oci::Digest;
use seaworthy_store::{
    Db, DbError, WorkerConfig, args, limit,
    schema::{Column, Migration, RoomSchema, Step, Table},
    work,
};
use seaworthy_testkit::{TestDb, db_tests};
use tokio_util::sync::CancellationToken;

const ROOM: &[RoomSchema] = &[RoomSchema {
    room: "t",
    migrations: &[Migration {
        id: 1,
        steps: &[Step::Create(Table {
            name: "t_effects",
            columns: &[Column::int("n"), Column::int("times")],
            primary_key: &["n"],
            indexes: &[],
        })],
    }],
}];

db_tests!(super::ROOM; every_effect_once_in_spite_of_failures, a_poisoned_delivery_is_set_aside,
    what_ends_every_process_is_set_aside_before_it_is_handled,
    a_stopped_worker_waits_for_its_handler, an_event_ends_at_its_limit,
    what_a_process_that_is_gone_had_is_due_again);

fn event(n: u64) -> Event {
    Event::BlobStored(BlobStored { digest: Digest::sha256(b""), size: n })
}

async fn insert(db: &Db, numbers: std::ops::Range<u64>) {
    let now = db.now();
    db.upkeep(numbers, move |numbers, tx| {
        Box::pin(async move {
            for n in numbers.clone() {
                tx.deliver("t", &event(n), now).await?;
            }
            Ok::<_, DbError>(())
        })
    })
    .await
    .expect("inserted");
}

async fn until(db: &Db, what: &str, done: impl AsyncFn(&Db) -> bool) {
    let waiting = async {
        while !done(db).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn every_effect_once_in_spite_of_failures(test: TestDb) {
    let db = test.db.clone();
    let clock = Arc::new(FixedClock::at(db.now()));
    let replica = test.reopen(clock.clone()).await;
    let tried: Arc<Mutex<HashMap<u64, u32>>> = Arc::default();
    let cancel = CancellationToken::new();
    insert(&db, 0..200).await;
    let mut workers = Vec::new();
    for db in [replica.clone(), replica.clone()] {
        let tried = tried.clone();
        let config = WorkerConfig { consumer: "t", concurrency: 8 };
        let handler_db = db.clone();
        workers.push(tokio::spawn(work(db, config, cancel.clone(), move |delivery| {
            let (db, tried) = (handler_db.clone(), tried.clone());
            async move {
                let Event::BlobStored(blob) = &delivery.event else { panic!("kind") };
                let n = blob.size;
                let first = {
                    let mut tried = tried.lock().expect("lock");
                    let times = tried.entry(n).or_default();
                    *times += 1;
                    *times == 1
                };
                db.upkeep((delivery, n, first), |(delivery, n, first), tx| {
                    Box::pin(async move {
                        tx.execute(
                            "INSERT INTO t_effects (n, times) VALUES ($1, 1)
                             ON CONFLICT (n) DO UPDATE SET times = t_effects.times + 1",
                            args![*n],
                        )
                        .await?;
                        // Every third fails once after its effect and must leave no trace.
                        if *first && n % 3 == 0 {
                            return Err(DbError::LeaseLost);
                        }
                        tx.settle(delivery).await
                    })
                })
                .await
            }
        })));
    }
    until(&db, "all handled", async |db| {
        clock.advance(1);
        db.waiting_deliveries("t").await.expect("count") == 0
    })
    .await;
    cancel.cancel();
    for worker in workers {
        worker.await.expect("worker ends");
    }
    let rows = db.fetch_all("SELECT n, times FROM t_effects ORDER BY n", args![]).await.expect("query");
    assert_eq!(rows.len(), 200);
    assert!(rows.iter().all(|row| row.int(1).expect("times") == 1));
}

async fn a_poisoned_delivery_is_set_aside(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_000_000)));
    let db = test.reopen(clock.clone()).await;
    insert(&db, 7..8).await;
    let cancel = CancellationToken::new();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = attempts.clone();
    let worker = tokio::spawn(work(
        db.clone(),
        // One at a time: the clock runs past leases, and another slot would claim what is being put back.
        WorkerConfig { consumer: "t", concurrency: 1 },
        cancel.clone(),
        move |delivery| {
            seen.lock().expect("lock").push(delivery.attempts);
            async { Err::<(), _>(std::io::Error::other("no way")) }
        },
    ));
    until(&db, "set aside", async |db| {
        clock.advance(400);
        !db.failed_deliveries(10).await.expect("list").is_empty()
    })
    .await;
    cancel.cancel();
    worker.await.expect("worker ends");
    let failed = db.failed_deliveries(10).await.expect("list");
    assert_eq!((failed[0].reason.as_str(), failed[0].kind.as_str()), ("no way", "blob_stored"));
    let tried: Vec<i64> = (1..=limit::DELIVERY_ATTEMPTS).collect();
    assert_eq!(*attempts.lock().expect("lock"), tried, "that often, and not once more");
    assert_eq!(db.waiting_deliveries("t").await.expect("count"), 0);
}

/// Claimed so many times by processes that ended of it: the last attempt is made, and not once more.
async fn what_ends_every_process_is_set_aside_before_it_is_handled(test: TestDb) {
    let db = test.db.clone();
    insert(&db, 0..2).await;
    db.upkeep((), move |(), tx| {
        Box::pin(async move {
            let sql = "UPDATE store_deliveries SET attempts = $1 - (CASE WHEN payload LIKE '%\"size\":0%' THEN 1 ELSE 0 END)";
            tx.execute(sql, args![limit::DELIVERY_ATTEMPTS]).await.map(|_| ())
        })
    })
    .await
    .expect("claimed so often");
    let cancel = CancellationToken::new();
    let handled = Arc::new(Mutex::new(Vec::new()));
    let worker =
        tokio::spawn(work(db.clone(), WorkerConfig { consumer: "t", concurrency: 2 }, cancel.clone(), {
            let (db, handled) = (db.clone(), handled.clone());
            move |delivery| {
                let Event::BlobStored(blob) = &delivery.event else { panic!("kind") };
                handled.lock().expect("lock").push((blob.size, delivery.attempts));
                let db = db.clone();
                async move {
                    db.upkeep(delivery, |delivery, tx| Box::pin(async move { tx.settle(delivery).await }))
                        .await
                }
            }
        }));
    until(&db, "nothing waits", async |db| db.waiting_deliveries("t").await.expect("count") == 0).await;
    cancel.cancel();
    worker.await.expect("worker ends");
    assert_eq!(*handled.lock().expect("lock"), [(0, limit::DELIVERY_ATTEMPTS)]);
    let failed = db.failed_deliveries(10).await.expect("list");
    let reasons: Vec<&str> = failed.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["the server ended each time while it was handled"]);
}

async fn a_stopped_worker_waits_for_its_handler(test: TestDb) {
    let db = test.db.clone();
    insert(&db, 0..1).await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let channels = Arc::new(Mutex::new(Some((begun, released))));
    let cancel = CancellationToken::new();
    let config = WorkerConfig { consumer: "t", concurrency: 2 };
    let worker = tokio::spawn(work(db.clone(), config, cancel.clone(), {
        let db = db.clone();
        move |delivery| {
            let (db, channels) = (db.clone(), channels.clone());
            async move {
                let (begun, released) = channels.lock().expect("lock").take().expect("claimed once");
                begun.send(()).expect("somebody waits");
                released.await.expect("released");
                db.upkeep(delivery, |delivery, tx| Box::pin(async move { tx.settle(delivery).await })).await
            }
        }
    }));
    has_begun.await.expect("claimed");
    cancel.cancel();
    // It hangs for as long as its handler does; who waits for it has the deadline.
    let mut worker = worker;
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut worker).await.is_err());
    assert_eq!(db.waiting_deliveries("t").await.expect("count"), 1);
    release.send(()).expect("it waits");
    worker.await.expect("it ends");
    assert_eq!(db.waiting_deliveries("t").await.expect("count"), 0);
}

async fn an_event_ends_at_its_limit(test: TestDb) {
    let deliver = async |bytes: usize| {
        let set = FindingSet {
            id: "x".repeat(bytes),
            index_hash: String::new(),
            release: None,
            covered: true,
            rows: Vec::new(),
        };
        let changed = FindingsChanged { set, content_ids: Vec::new(), generation: 1 };
        let event = Event::FindingsChanged(changed);
        let length = serde_json::to_string(&event).expect("JSON").len();
        let now = test.db.now();
        let outcome: Result<(), DbError> = test
            .db
            .upkeep(event, move |event, tx| Box::pin(async move { tx.deliver("t", event, now).await }))
            .await;
        (length, outcome)
    };
    let (empty, _) = deliver(0).await;
    let (longest, outcome) = deliver(limit::EVENT_BYTES - empty).await;
    assert_eq!(longest, limit::EVENT_BYTES);
    outcome.expect("at the limit");
    let (_, outcome) = deliver(limit::EVENT_BYTES - empty + 1).await;
    let Err(DbError::EventTooLong { bytes, limit: most }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((bytes, most), (limit::EVENT_BYTES + 1, limit::EVENT_BYTES));
    assert_eq!(test.db.waiting_deliveries("t").await.expect("count"), 2, "the long one is not there");
}

async fn what_a_process_that_is_gone_had_is_due_again(test: TestDb) {
    let db = &test.db;
    let later = db.now().plus_seconds(3_600);
    db.upkeep((), move |(), tx| {
        Box::pin(async move {
            for (n, name) in consumer::ALL.iter().enumerate() {
                tx.deliver(name, &event(n as u64), later).await?;
            }
            tx.deliver("t", &event(99), later).await?;
            let failed = "UPDATE store_deliveries SET failed = 'x' WHERE consumer = 'fleet'";
            tx.execute(failed, args![]).await.map(|_| ())
        })
    })
    .await
    .expect("told");
    db.reclaim().await.expect("reclaimed");
    let due = "SELECT consumer FROM store_deliveries WHERE due_at < $1 ORDER BY consumer";
    let rows = db.fetch_all(due, args![later.as_micros()]).await.expect("query");
    let due: Vec<&str> = rows.iter().map(|row| row.text(0).expect("a name")).collect();
    assert_eq!(due, ["clearance", "findings", "inspection", "registry", "telemetry"]);
}
