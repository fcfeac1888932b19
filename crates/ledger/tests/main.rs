//! The ledger loses nothing, and a changed byte anywhere is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod foreign;

use std::{fs, path::Path, sync::Arc};

use seaworthy_ledger::{
    Act, Action, Filter, HEAD_BELL, LedgerError, Report, Sequencer, last_of, limit, list, prove, size,
    verify, write,
};
use seaworthy_model::{Actor, FixedClock, SystemClock, Timestamp};
use seaworthy_store::{Db, DbError, Row, args};
use seaworthy_testkit::{Engine, TestDb, db_tests};
use seaworthy_trust::{Checkpoint, Signer, check_inclusion, leaf_hash};
use tokio_util::sync::CancellationToken;

db_tests!(&[seaworthy_ledger::SCHEMA]; a_whole_ledger_verifies_and_proves, a_changed_byte_is_named,
    a_failed_change_leaves_no_record, a_lost_record_stops_the_next_start, two_sequencers_sign_one_tree,
    more_records_than_the_first_look_takes_are_looked_at_before_another_is_signed,
    a_head_that_says_otherwise_than_its_checkpoint_is_evidence, what_was_signed_is_missed, a_numbered_record_that_is_missing_is_evidence,
    a_record_that_cannot_be_read_ends_the_look, a_look_that_fails_is_tried_again_and_ends,
    a_leaf_ends_at_its_limit, lists_by_actor_action_and_object, every_list_is_what_a_look_at_all_finds, crashes_between_steps_are_finished,
    an_older_checkpoint_stays_readable, more_than_one_batch_is_numbered, a_step_ends_while_others_append, revisions_grow_with_their_acts);

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_seed("ledger.test", &[1; 32]).expect("seed"))
}

async fn append(db: &Db, from: usize, to: usize) {
    let all = (from..to).map(|n| {
        let actor = Actor::operator(u32::try_from(n % 3).expect("small"));
        let db = db.clone();
        async move {
            write(&db, &actor, n, |n, _| {
                let act = Act::new(Action::PolicyApply, format!("policies/p{n}"))
                    .details(serde_json::json!({"z": n, "a": "日本"}));
                Box::pin(async move { Ok::<_, LedgerError>(((), vec![act])) })
            })
            .await
            .expect("appended");
        }
    });
    futures_util::future::join_all(all).await;
}

async fn sequencer(test: &TestDb, db: &Db, owner: &str) -> Result<Sequencer, LedgerError> {
    Sequencer::open(db.clone(), test.path(), signer(), owner.to_owned()).await
}

async fn check(test: &TestDb, db: &Db) -> Report {
    verify(db, test.path(), &signer().verifier()).await.expect("verification runs")
}

/// Checkpoints cost files: under a load there would be one after the other.
async fn a_step_ends_while_others_append(test: TestDb) {
    let db = &test.db;
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    append(db, 0, 3).await;
    let signed = async {
        assert!(sequencer.step().await.expect("step"));
        check(&test, db).await
    };
    let others = async {
        for from in (3..).step_by(3) {
            append(db, from, from + 3).await;
        }
    };
    let most = std::time::Duration::from_secs(60);
    let report = tokio::time::timeout(most, async {
        tokio::select! {
            report = signed => report,
            () = others => unreachable!("it goes on"),
        }
    });
    let report = report.await.expect("it ends");
    assert!(report.size >= 3, "{report:?}");
    assert_eq!(report.broken, []);
}

async fn a_whole_ledger_verifies_and_proves(test: TestDb) {
    let db = &test.db;
    assert_eq!(check(&test, db).await.size, 0);
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    let mut total = 0;
    for part in [1, 3, 250, 2, 1, 300] {
        append(db, total, total + part).await;
        total += part;
        assert!(sequencer.step().await.expect("step"));
        let report = check(&test, db).await;
        assert_eq!((report.size, report.broken), (total as u64, vec![]));
    }
    let verifier = signer().verifier();
    for index in [0, 1, 255, 256, 300, 511, 512, 556] {
        let proof = prove(db, test.path(), &verifier, index).await.expect("proof");
        let checkpoint = Checkpoint::open(&proof.checkpoint, &verifier).expect("signed");
        let hash = leaf_hash(proof.leaf.as_bytes());
        assert!(check_inclusion(hash, index, checkpoint.size, &proof.path, &checkpoint.root));
        assert!(proof.leaf.contains(r#""details":{"a":"日本","z":"#), "keys are sorted: {}", proof.leaf);
    }
    let beyond = prove(db, test.path(), &verifier, 557).await.map(|_| ());
    assert!(matches!(beyond, Err(LedgerError::NoRecord { index: 557, size: 557 })));
}

fn files_below(root: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(root).expect("list").map(|entry| entry.expect("entry").path()) {
        if entry.is_dir() {
            out.extend(files_below(&entry));
        } else if !entry.to_string_lossy().contains("test.sqlite") {
            out.push(entry);
        }
    }
    out
}

async fn a_changed_byte_is_named(test: TestDb) {
    let db = &test.db;
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    // Two checkpoints over the last, partial tile: the files of both stay.
    for (from, to) in [(0, 290), (290, 300)] {
        append(db, from, to).await;
        sequencer.step().await.expect("step");
    }
    assert_eq!(check(&test, db).await.broken, []);
    let files = files_below(test.path());
    assert_eq!(files.len(), 8, "checkpoint, 3 bundles, 3 tiles of level 0, 1 of level 1: {files:?}");
    for file in files {
        let whole = fs::read(&file).expect("read");
        for at in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&file, &changed).expect("write");
            let broken = check(&test, db).await.broken;
            let name = file.strip_prefix(test.path()).expect("below").display().to_string();
            assert!(broken.iter().any(|it| it.to_string().contains(&name)), "{name} byte {at}: {broken:?}");
        }
        fs::remove_file(&file).expect("remove");
        let needed = !file.ends_with("001.p/34");
        let broken = check(&test, db).await.broken;
        assert_eq!(!broken.is_empty(), needed, "{} is gone: {broken:?}", file.display());
        fs::write(&file, &whole).expect("write");
    }
    for sql in [
        "UPDATE ledger_leaves SET leaf = REPLACE(leaf, 'policies/p', 'policies/q') WHERE position = 257",
        "UPDATE ledger_leaves SET actor = 'uid:7' WHERE position = 257",
        "UPDATE ledger_leaves SET at = at + 1 WHERE position = 257",
        "UPDATE ledger_leaves SET object = 'policies/x' WHERE position = 257",
        "UPDATE ledger_leaves SET action = 'policy.applx' WHERE position = 257",
        "DELETE FROM ledger_leaves WHERE position = 257",
        // Not text. PostgreSQL does not take it.
        "UPDATE ledger_leaves SET leaf = CAST(x'ff' AS TEXT) WHERE position = 257",
    ] {
        if sql.contains("CAST") && test.engine == Engine::Postgres {
            continue;
        }
        let before = db
            .fetch_all("SELECT id, position, at, actor, action, object, leaf FROM ledger_leaves WHERE position = 257", args![])
            .await
            .expect("query");
        tamper(db, sql).await;
        let broken = check(&test, db).await.broken;
        assert!(broken[0].to_string().starts_with("record 257 in the database"), "{sql}: {broken:?}");
        assert_eq!(broken.len(), 1, "{sql}: {broken:?}");
        tamper(db, "DELETE FROM ledger_leaves WHERE position = 257").await;
        let row = before[0].clone();
        db.upkeep(row, |row, tx| {
            Box::pin(async move {
                tx.execute(
                    "INSERT INTO ledger_leaves (id, position, at, actor, action, object, leaf) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    args![row.bytes(0)?, row.int(1)?, row.int(2)?, row.text(3)?, row.text(4)?, row.text(5)?, row.text(6)?],
                )
                .await
            })
        })
        .await
        .map_err(|error: DbError| panic!("{error}"))
        .ok();
        assert_eq!(check(&test, db).await.broken, []);
    }
    for sql in [
        "UPDATE ledger_head SET size = size - 1",
        "UPDATE ledger_head SET checkpoint = REPLACE(checkpoint, 'ledger.test', 'ledger.tesu')",
        "DELETE FROM ledger_head",
        "UPDATE ledger_head SET checkpoint = CAST(x'ff' AS TEXT)",
    ] {
        if sql.contains("CAST") && test.engine == Engine::Postgres {
            continue;
        }
        let head =
            db.fetch_all("SELECT size, root, checkpoint FROM ledger_head", args![]).await.expect("query");
        tamper(db, sql).await;
        let broken = check(&test, db).await.broken;
        assert!(
            broken.iter().any(|it| it.to_string().starts_with("the checkpoint in the database")),
            "{sql}: {broken:?}"
        );
        put_head(db, head[0].clone()).await;
    }
    assert_eq!(check(&test, db).await.broken, []);
}

async fn tamper(db: &Db, sql: &str) {
    let sql: &'static str = Box::leak(sql.to_owned().into_boxed_str());
    db.upkeep(sql, |sql, tx| Box::pin(async move { tx.execute(sql, args![]).await }))
        .await
        .map_err(|error: DbError| panic!("{error}"))
        .ok();
}

async fn a_failed_change_leaves_no_record(test: TestDb) {
    let db = &test.db;
    let failed: Result<(), LedgerError> = write(db, &Actor::system(), (), |(), tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO no_such_table VALUES (1)", args![]).await?;
            Ok(((), vec![Act::new(Action::PolicyApply, "policies/p")]))
        })
    })
    .await;
    assert!(failed.is_err());
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    assert_eq!(check(&test, db).await.size, 0);
}

async fn a_lost_record_stops_the_next_start(test: TestDb) {
    let db = &test.db;
    append(db, 0, 10).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    assert!(sequencer(&test, db, "a").await.is_ok());
    tamper(
        db,
        "UPDATE ledger_leaves SET leaf = REPLACE(leaf, 'policies/p', 'policies/q') WHERE position = 3",
    )
    .await;
    let refused = sequencer(&test, db, "a").await.map(|_| ());
    assert!(matches!(refused, Err(LedgerError::RootMismatch { size: 10 })));
}

/// Whatever is changed together: what was signed is what the checkpoint says.
async fn a_head_that_says_otherwise_than_its_checkpoint_is_evidence(test: TestDb) {
    let db = &test.db;
    append(db, 0, 10).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    let signed =
        db.fetch_all("SELECT size, root, checkpoint FROM ledger_head", args![]).await.expect("query");
    for size in [10_u64, 9] {
        // The root of what was changed, made by an honest sequencer with the same key.
        tamper(db, "UPDATE ledger_leaves SET leaf = REPLACE(leaf, 'policies/p3', 'policies/q3')").await;
        tamper(db, "DELETE FROM ledger_head").await;
        fs::remove_file(test.path().join("checkpoint")).expect("removed");
        sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
        let checkpoint = signed[0].text(2).expect("text").to_owned();
        db.upkeep((checkpoint, size), |(checkpoint, size), tx| {
            Box::pin(async move {
                tx.execute("UPDATE ledger_head SET checkpoint = $1, size = $2", args![&*checkpoint, *size])
                    .await
            })
        })
        .await
        .map_err(|error: DbError| panic!("{error}"))
        .ok();
        let refused = sequencer(&test, db, "a").await.map(|_| ());
        assert!(matches!(&refused, Err(LedgerError::RootMismatch { size: 10 })), "{size}: {refused:?}");
        tamper(db, "UPDATE ledger_leaves SET leaf = REPLACE(leaf, 'policies/q3', 'policies/p3')").await;
        put_head(db, signed[0].clone()).await;
        sequencer(&test, db, "a").await.expect("mended");
    }
}

/// Whoever takes the checkpoints away, or brings back an older database, does not get the rest signed anew.
async fn what_was_signed_is_missed(test: TestDb) {
    let db = &test.db;
    append(db, 0, 300).await;
    let mut first = sequencer(&test, db, "a").await.expect("opens");
    first.step().await.expect("step");
    let head = |db: Db| async move {
        db.fetch_all("SELECT size, root, checkpoint FROM ledger_head", args![])
            .await
            .expect("a head")
            .remove(0)
    };
    let older = head(db.clone()).await;
    append(db, 300, 310).await;
    first.step().await.expect("step");
    drop(first);
    let newer = head(db.clone()).await;
    let named =
        async || -> Vec<String> { check(&test, db).await.broken.iter().map(ToString::to_string).collect() };
    let refused = async |size: u64| {
        let opened = sequencer(&test, db, "a").await.map(|_| ());
        assert!(
            matches!(opened, Err(LedgerError::Behind { size: it, signed: 310 }) if it == size),
            "{opened:?}"
        );
    };
    tamper(db, "DELETE FROM ledger_head").await;
    refused(0).await;
    assert_eq!(named().await, ["the checkpoint in the database is missing"]);
    // Without any checkpoint, what the bundles say is left.
    let checkpoint = fs::read(test.path().join("checkpoint")).expect("signed");
    fs::remove_file(test.path().join("checkpoint")).expect("removed");
    assert_eq!(named().await, [] as [&str; 0], "as after a crash over the first step");
    tamper(db, "UPDATE ledger_leaves SET leaf = REPLACE(leaf, 'policies', 'politics') WHERE position = 301")
        .await;
    assert_eq!(named().await, ["`tile/entries/001.p/54` (records 256 to 309) is damaged"]);
    tamper(db, "UPDATE ledger_leaves SET leaf = REPLACE(leaf, 'politics', 'policies') WHERE position = 301")
        .await;
    fs::write(test.path().join("checkpoint"), checkpoint).expect("written");
    put_head(db, older).await;
    refused(300).await;
    put_head(db, newer).await;
    sequencer(&test, db, "a").await.expect("all is back");
    // A number that no server gave.
    append(db, 310, 311).await;
    tamper(db, "UPDATE ledger_leaves SET position = 9223372036854775807 WHERE position IS NULL").await;
    assert_eq!(named().await, ["record 310 in the database is missing"]);
    let opened = sequencer(&test, db, "a").await.map(|_| ());
    assert!(matches!(opened, Err(LedgerError::Missing { from: 310, .. })), "{opened:?}");
}

async fn a_numbered_record_that_is_missing_is_evidence(test: TestDb) {
    let db = &test.db;
    append(db, 0, 10).await;
    let opened = sequencer(&test, db, "a").await.expect("opens");
    // Numbered and not signed, as a crash leaves them; then one of them goes.
    tamper(
        db,
        "UPDATE ledger_leaves SET position = w.rank - 1
         FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS rank FROM ledger_leaves) AS w
         WHERE ledger_leaves.id = w.id",
    )
    .await;
    tamper(db, "DELETE FROM ledger_leaves WHERE position = 4").await;
    let missing = |it: &Result<(), LedgerError>| matches!(it, Err(LedgerError::Missing { from: 0, to: 10 }));
    let run = opened.run(CancellationToken::new()).await;
    assert!(missing(&run), "{run:?}");
    assert!(test.path().join("mismatch").exists(), "remembered");
    let refused = sequencer(&test, db, "a").await.map(|_| ());
    assert!(missing(&refused), "{refused:?}");
    let broken: Vec<String> = check(&test, db).await.broken.iter().map(ToString::to_string).collect();
    assert_eq!(broken, ["record 4 in the database is missing"]);
}

/// What cannot be read as a record is as good as changed; what is remembered cannot always be kept.
async fn a_record_that_cannot_be_read_ends_the_look(test: TestDb) {
    let db = &test.db;
    let all = limit::LOOK_FIRST + 1;
    fill(db, 0..all).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    let last = format!("leaf {}", all - 1);
    tamper(db, &format!("UPDATE ledger_leaves SET leaf = '{}' WHERE leaf = '{last}'", "x".repeat(70_000)))
        .await;
    let opened = sequencer(&test, db, "a").await.expect("opens");
    // A folder is where the file would be.
    fs::create_dir(test.path().join("mismatch")).expect("made");
    let run = opened.run(CancellationToken::new()).await;
    assert!(matches!(&run, Err(LedgerError::Bundle { index, .. }) if *index == all - 1), "{run:?}");
}

/// A server whose record cannot be looked at does not go on, and knows of no change.
async fn a_look_that_fails_is_tried_again_and_ends(test: TestDb) {
    let db = &test.db;
    fill(db, 0..limit::LOOK_FIRST + 1).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    let opened = sequencer(&test, db, "a").await.expect("opens");
    tamper(db, "ALTER TABLE ledger_leaves RENAME TO elsewhere").await;
    let begun = std::time::Instant::now();
    let run = opened.run(CancellationToken::new()).await;
    assert!(matches!(run, Err(LedgerError::Db(_))), "{run:?}");
    let pauses = std::time::Duration::from_millis(limit::POLL_MS) * (limit::LOOKS - 1);
    assert!(begun.elapsed() >= pauses, "each a pause after the one before");
    assert!(!test.path().join("mismatch").exists());
    tamper(db, "ALTER TABLE elsewhere RENAME TO ledger_leaves").await;
    let stop = CancellationToken::new();
    let run = sequencer(&test, db, "a").await.expect("opens").run(stop.clone());
    let (run, ()) = futures_util::future::join(run, async { stop.cancel() }).await;
    run.expect("nothing was changed");
}

/// Rows that say no more than a leaf must, for a test that needs many.
async fn fill(db: &Db, rows: std::ops::Range<u64>) {
    db.upkeep(rows, |rows, tx| {
        Box::pin(async move {
            for n in rows.clone() {
                let sql = "INSERT INTO ledger_leaves (id, at, actor, action, object, leaf)
                           VALUES ($1, 0, 'a', 'policy.apply', 'policies/p', $2)";
                tx.execute(sql, args![&n.to_be_bytes().to_vec(), &format!("leaf {n}")]).await?;
            }
            Ok::<_, DbError>(())
        })
    })
    .await
    .expect("filled");
}

async fn more_records_than_the_first_look_takes_are_looked_at_before_another_is_signed(test: TestDb) {
    let db = &test.db;
    let swap = async |from: &str, to: &str| {
        tamper(db, &format!("UPDATE ledger_leaves SET leaf = '{to}' WHERE leaf = '{from}'")).await;
    };
    fill(db, 0..limit::LOOK_FIRST).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    swap("leaf 3", "leaf x").await;
    let refused = sequencer(&test, db, "a").await.map(|_| ());
    assert!(matches!(refused, Err(LedgerError::RootMismatch { size: limit::LOOK_FIRST })), "{refused:?}");
    swap("leaf x", "leaf 3").await;

    // One more: it opens at once, and numbers nothing over what was changed.
    let all = limit::LOOK_FIRST + 1;
    fill(db, limit::LOOK_FIRST..all).await;
    sequencer(&test, db, "a")
        .await
        .expect("what was remembered is not so any more")
        .step()
        .await
        .expect("step");
    swap("leaf 3", "leaf x").await;
    fill(db, all..all + 1).await;
    let run = sequencer(&test, db, "a").await.expect("opens").run(CancellationToken::new()).await;
    assert!(matches!(&run, Err(LedgerError::RootMismatch { size }) if *size == all), "{run:?}");
    let numbered = "SELECT COUNT(position) FROM ledger_leaves";
    let numbered =
        async || db.fetch_all(numbered, args![]).await.expect("query")[0].count(0).expect("number");
    assert_eq!((numbered().await, size(db).await.expect("size")), (all, all));

    // The next start knows, and one over what was mended goes on.
    let refused = sequencer(&test, db, "a").await.map(|_| ());
    assert!(matches!(&refused, Err(LedgerError::RootMismatch { size }) if *size == all), "{refused:?}");
    assert!(fs::read_to_string(test.path().join("mismatch")).expect("it says").contains(&all.to_string()));
    swap("leaf x", "leaf 3").await;
    let opened = sequencer(&test, db, "a").await.expect("opens");
    assert!(!test.path().join("mismatch").exists());
    let stop = CancellationToken::new();
    stop.cancel();
    opened.run(stop).await.expect("a last step, then it stops");
    assert_eq!((numbered().await, size(db).await.expect("size")), (all + 1, all + 1));

    // One that is stopped before it has looked signs nothing.
    fill(db, all + 1..all + 2).await;
    let stop = CancellationToken::new();
    stop.cancel();
    sequencer(&test, db, "a").await.expect("opens").run(stop).await.expect("stops");
    assert_eq!((numbered().await, size(db).await.expect("size")), (all + 1, all + 1));
}

async fn two_sequencers_sign_one_tree(test: TestDb) {
    let db = &test.db;
    let other = test.reopen(Arc::new(SystemClock)).await;
    let mut first = sequencer(&test, db, "a").await.expect("opens");
    let mut second = sequencer(&test, &other, "b").await.expect("opens");
    append(db, 0, 5).await;
    assert!(first.step().await.expect("step"));
    assert!(!second.step().await.expect("the lease is held"));
    tamper(db, "UPDATE store_leases SET until = 0").await;
    append(db, 5, 20).await;
    assert!(second.step().await.expect("taken over"));
    assert!(!first.step().await.expect("the lease is gone"));
    let report = check(&test, db).await;
    assert_eq!((report.size, report.broken), (20, vec![]));

    // One that stops lets the other go on at once.
    let stop = CancellationToken::new();
    stop.cancel();
    second.run(stop).await.expect("a last step, then it stops");
    append(db, 20, 30).await;
    assert!(first.step().await.expect("taken over"));
    let report = check(&test, db).await;
    assert_eq!((report.size, report.broken), (30, vec![]));
}

async fn a_leaf_ends_at_its_limit(test: TestDb) {
    // A leaf bears its time, whose text is as long as its fraction.
    let clock = FixedClock::at("2026-11-23T10:00:00Z".parse().expect("a time"));
    let db = test.reopen(Arc::new(clock)).await;
    let try_write = async |length: usize| {
        write(&db, &Actor::system(), length, |length, _| {
            let act = Act::new(Action::PolicyApply, "x".repeat(*length));
            Box::pin(async move { Ok::<_, LedgerError>(((), vec![act])) })
        })
        .await
    };
    try_write(1).await.expect("short");
    let row = test.db.fetch_all("SELECT leaf FROM ledger_leaves", args![]).await.expect("query");
    let rest = row[0].text(0).expect("leaf").len() - 1;
    try_write(limit::LEAF_BYTES - rest).await.expect("at the limit");
    let refused = try_write(limit::LEAF_BYTES - rest + 1).await;
    assert!(matches!(refused, Err(LedgerError::LeafTooLong { bytes: 65_536, .. })), "{refused:?}");
}

async fn lists_by_actor_action_and_object(test: TestDb) {
    let db = &test.db;
    append(db, 0, 30).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    let count = async |filter: Filter| list(db, &filter, 100).await.expect("list").len();
    assert_eq!(count(Filter::default()).await, 30);
    assert_eq!(count(Filter { actor: Some("uid:1".into()), ..Filter::default() }).await, 10);
    assert_eq!(count(Filter { action: Some(Action::TagDelete), ..Filter::default() }).await, 0);
    assert_eq!(count(Filter { object: Some("policies/p1".into()), ..Filter::default() }).await, 11);
    assert_eq!(count(Filter { before: Some(4), ..Filter::default() }).await, 4);
    let newest = list(db, &Filter::default(), 1).await.expect("list");
    assert_eq!(newest[0].0, 29);
}

/// Whichever index a list is read by, it is what a look at all records finds.
async fn every_list_is_what_a_look_at_all_finds(test: TestDb) {
    let db = &test.db;
    append(db, 0, 30).await;
    fill(db, 0..limit::SORTED).await;
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    sequencer.step().await.expect("step");
    tamper(db, "UPDATE ledger_leaves SET action = 'tag.delete' WHERE object = 'policies/p5'").await;
    // What is listed is the record; these had none.
    tamper(
        db,
        "UPDATE ledger_leaves SET leaf = (SELECT MIN(leaf) FROM ledger_leaves WHERE actor <> 'a') WHERE actor = 'a'",
    )
    .await;
    let all = db
        .fetch_all(
            "SELECT position, actor, action, object, at FROM ledger_leaves ORDER BY position DESC",
            args![],
        )
        .await
        .expect("query");
    let newest = all.iter().map(|row| row.int(4).expect("at")).max().expect("records");
    let (mut looked, mut found) = (0, 0);
    for actor in [None, Some("a"), Some("uid:1"), Some("nobody")] {
        for action in [None, Some(Action::PolicyApply), Some(Action::TagDelete)] {
            for object in [None, Some("policies/p1"), Some("policies/p"), Some("policies/p5"), Some("q")] {
                for (before, since) in [(None, None), (Some(limit::SORTED + 15), None), (None, Some(newest))]
                {
                    let filter = Filter {
                        actor: actor.map(str::to_owned),
                        action,
                        object: object.map(str::to_owned),
                        before,
                        since: since.map(Timestamp::from_micros),
                    };
                    let holds = |row: &Row| {
                        actor.is_none_or(|it| row.text(1).expect("actor") == it)
                            && action.is_none_or(|it| row.text(2).expect("action") == it.word())
                            && object.is_none_or(|it| row.text(3).expect("object").starts_with(it))
                            && before.is_none_or(|it| row.count(0).expect("position") < it)
                            && since.is_none_or(|it| row.int(4).expect("at") >= it)
                    };
                    let looks: Vec<u64> = all
                        .iter()
                        .filter(|row| holds(row))
                        .map(|row| row.count(0).expect("position"))
                        .take(7)
                        .collect();
                    let listed = list(db, &filter, 7).await.expect("list");
                    let listed: Vec<u64> = listed.into_iter().map(|(index, _)| index).collect();
                    assert_eq!(listed, looks, "{filter:?}");
                    looked += 1;
                    found += usize::from(!looks.is_empty());
                }
            }
        }
    }
    assert!(looked == 180 && found > 30, "{found} of {looked} found something");
}

async fn revisions_grow_with_their_acts(test: TestDb) {
    let db = &test.db;
    let applied = [Action::TagDelete, Action::PolicyApply];
    let now =
        async |actions: &[Action]| (size(db).await.expect("size"), last_of(db, actions).await.expect("last"));
    assert_eq!(now(&applied).await, (0, 0));
    append(db, 0, 3).await;
    assert_eq!(now(&applied).await, (0, 0), "not numbered yet");
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    let bell = db.bell(HEAD_BELL);
    let rung = bell.notified();
    sequencer.step().await.expect("step");
    tokio::time::timeout(std::time::Duration::from_secs(30), rung).await.expect("it rang");
    assert_eq!(now(&applied).await, (3, 3));
    append(db, 3, 4).await;
    sequencer.step().await.expect("step");
    assert_eq!(now(&applied).await, (4, 4));
    assert_eq!(now(&[Action::TagDelete]).await, (4, 0), "no such act yet");
    assert_eq!(now(&[]).await, (4, 0));
}

/// A batch is numbered at a time, and one step goes on until nothing waits.
async fn more_than_one_batch_is_numbered(test: TestDb) {
    let db = &test.db;
    let batch = usize::try_from(limit::BATCH).expect("small");
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    append(db, 0, batch).await;
    assert!(sequencer.step().await.expect("step"));
    append(db, batch, 2 * batch + 1).await;
    assert!(sequencer.step().await.expect("step"));
    let report = check(&test, db).await;
    assert_eq!((report.size, report.broken), (2 * batch as u64 + 1, vec![]));
    let page = list(db, &Filter::default(), limit::PAGE + 1).await.expect("list");
    assert_eq!(page.len(), limit::PAGE as usize, "a page ends at its limit");
    let before = page.last().map(|(position, _)| *position);
    let next = list(db, &Filter { before, ..Filter::default() }, limit::PAGE).await.expect("list");
    assert_eq!(next.first().map(|(position, _)| position + 1), before, "the next goes on behind it");
}

/// Who read a checkpoint finds its files, however far the tree has grown since.
async fn an_older_checkpoint_stays_readable(test: TestDb) {
    let db = &test.db;
    let mut sequencer = sequencer(&test, db, "a").await.expect("opens");
    let file = test.path().join("checkpoint");
    let mut seen = Vec::new();
    let mut from = 0;
    for size in [5, 100, 256, 260, 300, 513, 600] {
        append(db, from, size).await;
        from = size;
        sequencer.step().await.expect("step");
        let head = db.fetch_all("SELECT size, root, checkpoint FROM ledger_head", args![]).await;
        seen.push((size as u64, head.expect("query")[0].clone(), fs::read(&file).expect("checkpoint")));
    }
    for (size, head, checkpoint) in seen {
        put_head(db, head).await;
        fs::write(&file, checkpoint).expect("write");
        let report = check(&test, db).await;
        assert_eq!((report.size, report.broken), (size, vec![]));
        for index in [0, size / 2, size - 1] {
            prove(db, test.path(), &signer().verifier(), index).await.expect("proof");
        }
    }
    let partials =
        files_below(test.path()).iter().filter(|path| path.to_string_lossy().contains(".p/")).count();
    // Of the tiles that are not full: 513 and 600 in both bundles and tiles of level 0; 1 and 2 of
    // level 1 (256 records on, and 513 on).
    assert_eq!(partials, 6);
}

async fn put_head(db: &Db, row: Row) {
    tamper(db, "DELETE FROM ledger_head").await;
    db.upkeep(row, |row, tx| {
        Box::pin(async move {
            let sql = "INSERT INTO ledger_head (name, size, root, checkpoint) VALUES ('head', $1, $2, $3)";
            tx.execute(sql, args![row.int(0)?, row.bytes(1)?, row.text(2)?]).await
        })
    })
    .await
    .map_err(|error: DbError| panic!("{error}"))
    .ok();
}

async fn crashes_between_steps_are_finished(test: TestDb) {
    let db = &test.db;
    append(db, 0, 300).await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    // Numbered but not signed; signed but the file not renewed; partial tiles of a step that died.
    append(db, 300, 320).await;
    let old = fs::read(test.path().join("checkpoint")).expect("checkpoint");
    tamper(db, "UPDATE ledger_leaves SET position = 300 WHERE id = (SELECT id FROM ledger_leaves WHERE position IS NULL ORDER BY id LIMIT 1)").await;
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    fs::write(test.path().join("checkpoint"), &old).expect("write");
    assert_eq!(check(&test, db).await.broken, [], "one behind is not broken");
    sequencer(&test, db, "a").await.expect("opens").step().await.expect("step");
    assert_ne!(fs::read(test.path().join("checkpoint")).expect("checkpoint"), old);
    let report = check(&test, db).await;
    assert_eq!((report.size, report.broken), (320, vec![]));
}
