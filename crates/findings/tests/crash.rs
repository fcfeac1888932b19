//! Kill -9 at any instant: a dropped future is what is left of a process in the database.

use std::{sync::Arc, time::Duration};

use seaworthy_model::{Actor, FeedState, FixedClock, Timestamp};
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{World, content, findings_changed, installed, open, tracker};

db_tests!(crate::world::ROOMS; an_import_cut_off_before_activation_settles, a_rematch_cut_off_goes_on);

async fn an_import_cut_off_before_activation_settles(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[("expat", "CVE-2026-1001", "2.0")])).await.unwrap();
    // What a process leaves that ends right after its import began.
    world
        .db
        .upkeep((), |(), tx| {
            Box::pin(async move {
                let sql = "UPDATE findings_state SET state = 'importing', revision = revision + 1";
                tx.execute(sql, &[]).await?;
                let sql = "INSERT INTO findings_imports (revision, actor, started_at, outcome, report)
                           VALUES (99, 'uid:0', 0, 'running', '{}')";
                tx.execute(sql, &[]).await
            })
        })
        .await
        .map_err(|error: seaworthy_store::DbError| error)
        .unwrap();
    assert_eq!(world.findings.status().await.unwrap().state, FeedState::Importing);
    let again = open(&world.db, world.test.path()).await;
    let status = again.status().await.unwrap();
    assert_eq!((status.state, status.generation), (FeedState::Settled, 1));
    assert_eq!(again.history(1).await.unwrap()[0].outcome, "interrupted");
    assert_eq!(crate::world::feeds_changed(&world.told().await).last().unwrap().state, FeedState::Settled);
}

async fn a_rematch_cut_off_goes_on(test: TestDb) {
    let world = World::new(test).await;
    let feed = |fixed: &str| tracker(&[("expat", "CVE-2026-1001", fixed)]);
    world.import("t.json", &feed("2.0")).await.unwrap();
    world.inventory(0, &[installed("expat", "1.0")]).await;
    for number in 10_000..10_003 {
        world.inventory(number, &[installed("expat", "1.0"), installed("zlib", &format!("{number}"))]).await;
    }
    world.copies(1..4_500).await;
    world.told().await;
    let path = world.write("feeds/t.json", &feed("3.0"));
    let actor = Actor::operator(0);
    let first_batch = async {
        while findings_changed(&world.peek().await).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // The import's future is dropped somewhere between its first and its last batch.
    let finished = tokio::select! {
        report = world.findings.import(&actor, std::slice::from_ref(&path)) => Some(report.unwrap()),
        () = first_batch => None,
    };
    if finished.is_some() {
        println!("the import was quicker than the look at its first batch: nothing to resume");
    }
    // The lease of the process that is gone runs out; the next start goes on.
    let later = world.db.now().plus_seconds(3_600);
    let db = world.test.reopen(Arc::new(FixedClock::at(Timestamp::from_micros(later.as_micros())))).await;
    let next = open(&db, world.test.path()).await;
    if finished.is_none() {
        assert_eq!(
            next.status().await.unwrap().state,
            FeedState::Importing,
            "open leaves the long work to run"
        );
        assert!(next.recover().await.unwrap());
    }
    assert!(!next.recover().await.unwrap(), "once");
    let status = next.status().await.unwrap();
    assert_eq!((status.state, status.generation), (FeedState::Settled, 2));
    let events = findings_changed(&world.told().await);
    let told: Vec<_> = events.iter().flat_map(|event| &event.content_ids).collect();
    let distinct: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(distinct.len(), 4_503, "everybody was told");
    assert_eq!(told.len(), 4_503, "and nobody twice: the cursor moves with the events");
    assert!(events.iter().all(|event| event.set.rows[0].fixed_version.as_deref() == Some("3.0")));
    for number in [0, 1, 4_499, 10_000, 10_002] {
        let set = next.of_content(&content(number)).await.unwrap().unwrap();
        assert_eq!(set.rows[0].fixed_version.as_deref(), Some("3.0"));
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM findings_rematch").await, 0);
}
