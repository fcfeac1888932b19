//! Transactions, migrations and types behave the same on both engines.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use seaworthy_model::{FixedClock, SystemClock, Timestamp};
use seaworthy_store::{
    Arg, Db, DbError, args, limit,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};
use seaworthy_testkit::{TestDb, db_tests};

const ROOM: &[RoomSchema] = &[RoomSchema {
    room: "t",
    migrations: &[
        Migration {
            id: 1,
            steps: &[Step::Create(Table {
                name: "t_rows",
                columns: &[
                    Column::text("name"),
                    Column::int("n").optional(),
                    Column::bytes("raw").optional(),
                ],
                primary_key: &["name"],
                indexes: &[Index::on(&["n"])],
            })],
        },
        Migration { id: 2, steps: &[Step::AddColumn("t_rows", Column::text("note").optional())] },
    ],
}];

const CHANGED: &[RoomSchema] =
    &[RoomSchema { room: "t", migrations: &[Migration { id: 1, steps: &[Step::Sql("SELECT 1")] }] }];

db_tests!(super::ROOM; what_is_held_stays_until_its_holder_has_committed, round_trips_every_type, failed_work_leaves_nothing, concurrent_increments_all_count, the_slow_are_not_starved,
    a_newer_or_changed_schema_is_refused, a_clustered_table_keeps_its_rows, text_sorts_as_bytes, leases_change_hands_when_they_expire, a_panic_is_an_error,
    closing_ends_and_keeps_what_was_told);

async fn round_trips_every_type(test: TestDb) {
    let db = &test.db;
    for (name, n, raw) in [
        ("null", None, None),
        ("max", Some(i64::MAX), Some(&[0u8, 255][..])),
        ("min", Some(i64::MIN), Some(&[][..])),
        ("日本語 \u{202e}'\"\\", Some(0), None),
    ] {
        db.upkeep((name, n, raw), |(name, n, raw), tx| {
            Box::pin(async move {
                let args = [Arg::from(*name), Arg::from(*n), Arg::from(*raw)];
                tx.execute("INSERT INTO t_rows (name, n, raw) VALUES ($1, $2, $3)", &args).await
            })
        })
        .await
        .map_err(|error: DbError| panic!("{error}"))
        .ok();
        let row = db
            .fetch_optional("SELECT name, n, raw, note FROM t_rows WHERE name = $1", args![name])
            .await
            .expect("query")
            .expect("row");
        assert_eq!(row.text(0).expect("text"), name);
        assert_eq!(row.int_opt(1).expect("int"), n);
        assert_eq!(row.bytes_opt(2).expect("bytes"), raw);
        assert_eq!(row.text_opt(3).expect("text"), None);
        assert!(row.int(0).is_err(), "text is not an integer");
    }
}

async fn failed_work_leaves_nothing(test: TestDb) {
    let db = &test.db;
    let works = (0..20).map(|n: i64| {
        db.upkeep(n, |n, tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO t_rows (name, n) VALUES ($1, $2)", args![&format!("row {n}"), *n])
                    .await?;
                if n % 2 == 1 {
                    tx.execute("INSERT INTO t_rows (name, n) VALUES ($1, $2)", args!["no such", "type"])
                        .await?;
                }
                Ok::<_, DbError>(())
            })
        })
    });
    let results = futures_util::future::join_all(works).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
    let rows = db.fetch_all("SELECT n FROM t_rows ORDER BY n", args![]).await.expect("query");
    let found: Vec<_> = rows.iter().map(|row| row.int(0).expect("int")).collect();
    assert_eq!(found, (0..20).filter(|n| n % 2 == 0).collect::<Vec<_>>());
}

async fn concurrent_increments_all_count(test: TestDb) {
    let db = &test.db;
    let increment = |db: Db| async move {
        db.upkeep((), |(), tx| {
            Box::pin(async move {
                let row = tx.fetch_optional("SELECT n FROM t_rows WHERE name = 'n'", args![]).await?;
                let n = row.map_or(Ok(0), |row| row.int(0))?;
                tx.execute(
                    "INSERT INTO t_rows (name, n) VALUES ('n', $1) ON CONFLICT (name) DO UPDATE SET n = $1",
                    args![n + 1],
                )
                .await
            })
        })
        .await
    };
    increment(db.clone()).await.map_err(|error: DbError| panic!("{error}")).ok();
    // On PostgreSQL, who loses too often runs alone: nobody is starved.
    let all = futures_util::future::join_all((0..400).map(|_| increment(db.clone()))).await;
    assert_eq!(all.iter().find(|result| result.is_err()).map(|result| format!("{result:?}")), None);
    let row = db
        .fetch_optional("SELECT n FROM t_rows WHERE name = 'n'", args![])
        .await
        .expect("query")
        .expect("row");
    assert_eq!(row.count(0).expect("count"), 401);
}

/// Others change what a long transaction has read, for as long as it takes.
async fn the_slow_are_not_starved(test: TestDb) {
    let change =
        "INSERT INTO t_rows (name, n) VALUES ('n', 1) ON CONFLICT (name) DO UPDATE SET n = t_rows.n + 1";
    let quick = |db: Db| async move {
        db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(change, args![]).await })).await
    };
    quick(test.db.clone()).await.map_err(|error: DbError| panic!("{error}")).ok();
    let ended = Arc::new(AtomicBool::new(false));
    let slow = async {
        let done: Result<_, DbError> = test
            .db
            .upkeep((), move |(), tx| {
                Box::pin(async move {
                    for _ in 0..400 {
                        tx.fetch_optional("SELECT n FROM t_rows WHERE name = 'n'", args![]).await?;
                    }
                    tx.execute(change, args![]).await
                })
            })
            .await;
        ended.store(true, Ordering::Release);
        done.expect("its turn came");
    };
    let others = (0..8).map(|_| {
        let (db, ended) = (test.db.clone(), ended.clone());
        async move {
            while !ended.load(Ordering::Acquire) {
                quick(db.clone()).await.expect("quick");
            }
        }
    });
    futures_util::future::join(slow, futures_util::future::join_all(others)).await;
}

const _: () = assert!(limit::TX_ATTEMPTS_SHARED < limit::TX_ATTEMPTS, "some run alone");

async fn a_newer_or_changed_schema_is_refused(test: TestDb) {
    let db = &test.db;
    db.migrate(ROOM).await.expect("running it again changes nothing");
    assert!(matches!(db.migrate(CHANGED).await, Err(DbError::Newer { found: 2, known: 1, .. })));
    db.upkeep((), |(), tx| {
        Box::pin(async move {
            tx.execute("DELETE FROM store_migrations WHERE room = 't' AND id = 2", args![]).await
        })
    })
    .await
    .map_err(|error: DbError| panic!("{error}"))
    .ok();
    assert!(matches!(db.migrate(CHANGED).await, Err(DbError::Changed { id: 1, .. })));
}

/// A table whose rows move into the tree of its key keeps them, their columns' order and its indexes.
async fn a_clustered_table_keeps_its_rows(test: TestDb) {
    const ROWS: Table = Table {
        name: "t_rows",
        columns: &[
            Column::text("note").optional(),
            Column::text("name"),
            Column::int("n").optional(),
            Column::bytes("raw").optional(),
        ],
        primary_key: &["name"],
        indexes: &[Index::unique(&["n", "name"])],
    };
    const CLUSTERED: &[RoomSchema] = &[RoomSchema {
        room: "t",
        migrations: &[
            ROOM[0].migrations[0],
            ROOM[0].migrations[1],
            Migration { id: 3, steps: &[Step::Cluster(ROWS)] },
        ],
    }];
    let db = &test.db;
    let insert = async |name: &'static str| {
        db.upkeep(name, |name, tx| {
            Box::pin(async move {
                let sql = "INSERT INTO t_rows (name, n, raw, note) VALUES ($1, 7, $2, $3)";
                tx.execute(sql, args![*name, &b"\0\xff"[..], "a note"]).await
            })
        })
        .await as Result<u64, DbError>
    };
    for name in ["b", "a"] {
        insert(name).await.expect("inserted");
    }
    db.migrate(CLUSTERED).await.expect("migrated");
    insert("c").await.expect("inserted");
    assert!(insert("a").await.is_err(), "the key is one still");
    let rows =
        db.fetch_all("SELECT name, n, raw, note FROM t_rows ORDER BY name", args![]).await.expect("read");
    let row = |row: &seaworthy_store::Row| {
        let text = |at| row.text(at).expect("text").to_owned();
        (text(0), row.int(1).expect("n"), row.bytes(2).expect("raw").to_vec(), text(3))
    };
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 7, vec![0, 255], "a note".to_owned()));
    assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), expected);
    // On SQLite there is no other tree.
    let other = db.fetch_all("SELECT rowid FROM t_rows", args![]).await;
    assert!(other.is_err());
}

async fn text_sorts_as_bytes(test: TestDb) {
    let names = ["a/b", "a", "a-b", "B", "ab", "é", "a_b"];
    for name in names {
        test.db
            .upkeep(name, |name, tx| {
                Box::pin(
                    async move { tx.execute("INSERT INTO t_rows (name) VALUES ($1)", args![*name]).await },
                )
            })
            .await
            .map_err(|error: DbError| panic!("{error}"))
            .ok();
    }
    let rows = test.db.fetch_all("SELECT name FROM t_rows ORDER BY name", args![]).await.expect("query");
    let found: Vec<_> = rows.iter().map(|row| row.text(0).expect("text").to_owned()).collect();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}

async fn leases_change_hands_when_they_expire(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_000)));
    let db = test.reopen(clock.clone()).await;
    let take = |owner: &'static str| {
        let db = db.clone();
        async move { db.acquire_lease("job", owner, 10).await.expect("lease").map(|lease| lease.epoch) }
    };
    assert_eq!(take("a").await, Some(1));
    assert_eq!(take("b").await, None);
    assert_eq!(take("a").await, Some(1), "renewed");
    clock.advance(10);
    assert_eq!(take("b").await, Some(2));
    assert_eq!(take("a").await, None);
    let lease = db.acquire_lease("job", "b", 10).await.expect("lease").expect("held");
    db.release_lease(&lease).await.expect("release");
    assert_eq!(take("a").await, Some(3));
    assert_eq!(take("b").await, None);
    db.reclaim().await.expect("whoever held it is gone");
    assert_eq!((take("b").await, take("a").await), (Some(4), None));
    let fenced = db.upkeep(lease, |lease, tx| Box::pin(async move { tx.check_lease(lease).await })).await;
    assert!(matches!(fenced, Err(DbError::LeaseLost)));
}

async fn a_panic_is_an_error(test: TestDb) {
    let db = test.reopen(Arc::new(SystemClock)).await;
    let outcome = db
        .upkeep((), |(), tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO t_rows (name) VALUES ('half')", args![]).await?;
                assert!(std::hint::black_box(false), "a bug in a handler");
                Ok::<(), DbError>(())
            })
        })
        .await;
    assert!(outcome.is_err());
    let rows = db.fetch_all("SELECT name FROM t_rows", args![]).await.expect("the writer goes on");
    assert!(rows.is_empty());
}

async fn closing_ends_and_keeps_what_was_told(test: TestDb) {
    let insert = |n: i64| {
        let db = test.db.clone();
        async move {
            let told = db
                .upkeep(n, |n, tx| {
                    Box::pin(async move {
                        let name = n.to_string();
                        tx.execute("INSERT INTO t_rows (name, n) VALUES ($1, $2)", args![&name, *n]).await
                    })
                })
                .await;
            told.map(|_| n).map_err(|error: DbError| error)
        }
    };
    let queued: Vec<_> = (0..100).map(|n| tokio::spawn(insert(n))).collect();
    let closing = test.db.clone();
    let closed = tokio::time::timeout(std::time::Duration::from_secs(60), closing.close()).await;
    closed.expect("it ends though others still hold the database");
    let mut told = Vec::new();
    for answer in queued {
        told.extend(answer.await.expect("no panic").ok());
    }
    assert!(insert(1_000).await.is_err(), "nothing is taken in any more");
    let db = test.reopen(Arc::new(SystemClock)).await;
    let rows = db.fetch_all("SELECT n FROM t_rows ORDER BY n", args![]).await.expect("query");
    let kept: Vec<i64> = rows.iter().map(|row| row.int(0).expect("a number")).collect();
    assert!(told.iter().all(|n| kept.contains(n)), "told {told:?}, kept {kept:?}");
}

/// A changer that would commit first waits for the holder, whose commit is seen by who reads after.
async fn what_is_held_stays_until_its_holder_has_committed(test: TestDb) {
    let db = test.db.clone();
    db.upkeep((), |(), tx| {
        Box::pin(
            async move { tx.execute("INSERT INTO t_rows (name, n) VALUES ('generation', 1)", args![]).await },
        )
    })
    .await
    .map_err(|error: DbError| panic!("{error}"))
    .ok();
    let (held, is_held) = tokio::sync::mpsc::channel::<()>(1);
    let (changed, is_changed) = tokio::sync::mpsc::channel::<()>(1);
    let is_changed = Arc::new(tokio::sync::Mutex::new(is_changed));
    let holder = db.upkeep((held, is_changed), |(held, is_changed), tx| {
        Box::pin(async move {
            tx.fetch_held("SELECT 1 FROM t_rows WHERE name = 'generation' FOR SHARE", args![]).await?;
            held.send(()).await.ok();
            // Long enough for a changer that does not wait; one that waits only makes this time out.
            let mut is_changed = is_changed.lock().await;
            let early = tokio::time::timeout(std::time::Duration::from_millis(300), is_changed.recv()).await;
            assert!(early.is_err(), "changed while it was held");
            tx.execute("INSERT INTO t_rows (name, n) VALUES ('stored', 1)", args![]).await?;
            Ok::<_, DbError>(())
        })
    });
    let reader = async {
        let mut is_held = is_held;
        is_held.recv().await.expect("held");
        let change: Result<u64, DbError> = db
            .upkeep((), |(), tx| {
                Box::pin(async move {
                    tx.execute("UPDATE t_rows SET n = 2 WHERE name = 'generation'", args![]).await
                })
            })
            .await;
        change.expect("changed");
        changed.send(()).await.ok();
        // In no transaction, after the change was committed.
        let row = db.fetch_optional("SELECT n FROM t_rows WHERE name = 'stored'", args![]).await;
        assert!(row.expect("read").is_some(), "what the holder stored is there");
    };
    let (holder, ()) = tokio::join!(holder, reader);
    holder.expect("held and stored");
}

/// Servers that start together over an empty database are all served by one's work.
#[tokio::test]
async fn servers_that_begin_together_begin() {
    let Some(url) = seaworthy_testkit::fresh_database() else {
        seaworthy_testkit::missing("servers_that_begin_together_begin", "PostgreSQL");
        return;
    };
    let many = (0..8).map(|_| async {
        let db = Db::open_postgres(&url, Arc::new(SystemClock)).await.expect("opens");
        db.migrate(ROOM).await
    });
    for (number, done) in futures_util::future::join_all(many).await.into_iter().enumerate() {
        assert!(done.is_ok(), "{number}: {done:?}");
    }
    const { assert!(limit::MIGRATE_ATTEMPTS > 100) };
}
