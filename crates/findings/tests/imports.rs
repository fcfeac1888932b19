//! What an import changes, and what a failed one does not.

use seaworthy_findings::{Change, FeedCache, FeedReader, FindingsError, ImportOutcome, limit};
use seaworthy_model::{Actor, ErrorCode, FeedState, Problem};
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{World, debian, feeds_changed, findings_changed, installed, record, row, tracker};

db_tests!(crate::world::ROOMS; only_touched_sets_are_told, a_withdrawn_record_undoes, an_unchanged_feed_is_only_checked,
    a_failed_import_changes_nothing, catalogues_reach_the_images, many_images_are_told_in_batches,
    old_segments_are_removed, signed_kernels_are_found_under_linux, an_import_is_recorded,
    a_feed_that_begins_to_cover_reaches_images_without_rows, nothing_recognised_changes_nothing,
    more_sets_than_one_round_are_all_matched, past_imports_are_remembered);

const EXPAT: (&str, &str, &str) = ("expat", "CVE-2026-1001", "2.0");
const ZLIB: (&str, &str, &str) = ("zlib", "CVE-2026-1002", "1.5");

async fn only_touched_sets_are_told(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    world.inventory(1, &[installed("expat", "1.0")]).await;
    world.inventory(2, &[installed("zlib", "1.0")]).await;
    assert_eq!(world.found(1).await, [row("CVE-2026-1001", "expat", "2.0")]);
    assert_eq!(world.found(2).await, []);
    world.told().await;

    let report = world.import("t.json", &tracker(&[EXPAT, ZLIB])).await.unwrap();
    assert_eq!((report.outcome, report.generation), (ImportOutcome::Imported, 2));
    assert_eq!(report.feeds[0].change, Change::Changed);
    let rematched = report.rematched.unwrap();
    assert_eq!((rematched.sets, rematched.changed, rematched.images), (1, 1, 1));
    assert_eq!(world.found(1).await, [row("CVE-2026-1001", "expat", "2.0")]);
    assert_eq!(world.found(2).await, [row("CVE-2026-1002", "zlib", "1.5")]);

    let events = world.told().await;
    let changed = findings_changed(&events);
    assert_eq!(changed.len(), 1, "the other set hears nothing");
    assert_eq!(changed[0].content_ids, [crate::world::content(2)]);
    assert_eq!(changed[0].generation, 2);
    let feeds = feeds_changed(&events);
    let states: Vec<_> = feeds.iter().map(|feeds| (feeds.generation, feeds.state)).collect();
    let (importing, settled) = (FeedState::Importing, FeedState::Settled);
    assert_eq!(states, [(1, importing), (2, importing), (2, settled)]);
    assert!(feeds.is_sorted_by_key(|feeds| feeds.revision));
    assert_eq!(feeds[2].feeds[0].covers, ["deb:debian:12"]);
    assert_eq!(feeds[2].index_hash, changed[0].set.index_hash);
    assert_eq!(world.findings.feeds().await.unwrap(), feeds[2]);
    let status = world.findings.status().await.unwrap();
    assert_eq!((status.feeds[0].feed.as_str(), status.feeds[0].records), ("debian", 2));

    // And back: what is no longer said is no longer found.
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    assert_eq!(world.found(2).await, []);
    assert_eq!(findings_changed(&world.told().await).len(), 1);
}

async fn a_withdrawn_record_undoes(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    world.inventory(1, &[installed("expat", "3.0")]).await;
    world.import("one.json", &record("X-1", "expat", "4.0", "")).await.unwrap();
    assert_eq!(world.found(1).await, [row("X-1", "expat", "4.0")]);
    world.import("two.json", &record("X-2", "expat", "5.0", "")).await.unwrap();
    assert_eq!(world.found(1).await.len(), 2, "records add up");
    let withdrawn = record("X-1", "expat", "4.0", r#","withdrawn":"2026-02-01T00:00:00Z""#);
    world.import("one.json", &withdrawn).await.unwrap();
    assert_eq!(world.found(1).await, [row("X-2", "expat", "5.0")]);
}

async fn an_unchanged_feed_is_only_checked(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    world.inventory(1, &[installed("expat", "1.0")]).await;
    let before = world.findings.status().await.unwrap();
    let revision = world.findings.revision().await.unwrap();
    world.told().await;
    let report = world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    assert_eq!((report.outcome, report.generation), (ImportOutcome::Unchanged, 1));
    assert_eq!(world.findings.revision().await.unwrap(), revision + 2, "it began and ended");
    let after = world.findings.status().await.unwrap();
    assert_eq!((after.generation, &after.index_hash), (1, &before.index_hash));
    assert!(after.feeds[0].checked_at > before.feeds[0].checked_at);
    assert_eq!(after.feeds[0].imported_at, before.feeds[0].imported_at);
    let events = world.told().await;
    assert!(findings_changed(&events).is_empty());
    let feeds = feeds_changed(&events);
    assert_eq!(feeds.len(), 2);
    assert_eq!(feeds[1].state, FeedState::Settled);
    assert_eq!(feeds[1].feeds[0].checked_at, after.feeds[0].checked_at);
    let history = world.findings.history(10).await.unwrap();
    assert_eq!(history.iter().map(|it| it.outcome.as_str()).collect::<Vec<_>>(), ["unchanged", "imported"]);
}

async fn a_failed_import_changes_nothing(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    world.inventory(1, &[installed("expat", "1.0")]).await;
    let before = world.findings.status().await.unwrap();
    world.told().await;
    let whole = format!("{{\n{}", &tracker(&[EXPAT, ZLIB])[1..]);
    let error = world.import("half.json", &whole[..whole.len() - 9]).await.unwrap_err();
    assert!(matches!(error, FindingsError::Feed { .. }), "{error:?}");
    let problem = Problem::from(error);
    assert!(problem.message.contains("half.json") && problem.message.contains("line 2"), "{problem}");
    assert_eq!(problem.code.exit_code(), 3);
    let after = world.findings.status().await.unwrap();
    assert_eq!((after.generation, &after.feeds, after.state), (1, &before.feeds, FeedState::Settled));
    let feeds = feeds_changed(&world.told().await);
    let states: Vec<_> = feeds.iter().map(|feeds| feeds.state).collect();
    assert_eq!(states, [FeedState::Importing, FeedState::Settled]);
    assert_eq!(world.found(1).await, [row("CVE-2026-1001", "expat", "2.0")]);
    let history = world.findings.history(1).await.unwrap();
    assert_eq!(history[0].outcome, "failed");
    assert!(history[0].report["error"].as_str().unwrap().contains("half.json"));
    let missing = world.findings.import(&Actor::operator(0), &["/no/such".into()]).await.unwrap_err();
    assert_eq!(Problem::from(missing).code, ErrorCode::NotFound);
    assert!(world.told().await.is_empty(), "refused before anything began");
}

async fn catalogues_reach_the_images(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[EXPAT, ZLIB])).await.unwrap();
    world.inventory(1, &[installed("expat", "1.0")]).await;
    world.inventory(2, &[installed("zlib", "1.0")]).await;
    world.told().await;
    let kev = r#"{"catalogVersion":"2026.08.07","vulnerabilities":[{"cveID":"CVE-2026-1001"}]}"#;
    world.import("kev.json", kev).await.unwrap();
    let epss = "#model_version:v1,score_date:2026-08-01\ncve,epss,percentile\nCVE-2026-1001,0.25,0.9\n";
    world.import("epss.csv", epss).await.unwrap();
    let changed = findings_changed(&world.told().await);
    assert_eq!(changed.len(), 2, "twice one image: {changed:?}");
    let (first, second) = (&changed[0].set.rows[0], &changed[1].set.rows[0]);
    assert_eq!((first.kev, first.epss, second.kev, second.epss), (true, None, true, Some(0.25)));
    let names: Vec<_> = world.findings.feeds().await.unwrap().feeds.into_iter().map(|it| it.feed).collect();
    assert_eq!(names, ["debian", "epss", "kev"]);
}

async fn many_images_are_told_in_batches(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[ZLIB])).await.unwrap();
    world.inventory(0, &[installed("expat", "1.0")]).await;
    // With content 0: exactly two full events, then one more.
    assert_eq!(limit::EVENT_CONTENTS, 1_000);
    world.copies(1..2_000).await;
    world.told().await;
    for (extra, expected) in [(2_000..2_000, vec![1_000, 1_000]), (2_000..2_001, vec![1_000, 1_000, 1])] {
        world.copies(extra.clone()).await;
        let fixed = format!("2.{}", extra.end);
        let report = world.import("t.json", &tracker(&[("expat", "CVE-2026-1001", &fixed)])).await.unwrap();
        assert_eq!(report.rematched.unwrap().images, extra.end);
        let changed = findings_changed(&world.told().await);
        assert_eq!(changed.iter().map(|it| it.content_ids.len()).collect::<Vec<_>>(), expected);
        let all: std::collections::BTreeSet<_> = changed.iter().flat_map(|it| &it.content_ids).collect();
        assert_eq!(all.len() as u64, extra.end);
    }
    assert_eq!(world.findings.contents_with("CVE-2026-1001").await.unwrap().len(), 2_001);
    assert!(world.findings.contents_with("CVE-2026-1002").await.unwrap().is_empty());
}

async fn more_sets_than_one_round_are_all_matched(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[ZLIB])).await.unwrap();
    let sets = limit::REMATCH_SETS as u64 + 1;
    for at in 0..sets {
        world.inventory(at, &[installed("expat", "1.0"), installed(&format!("p{at}"), "1")]).await;
    }
    world.told().await;
    let report = world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    let rematched = report.rematched.unwrap();
    assert_eq!((rematched.changed, rematched.images), (sets, sets));
    let changed = findings_changed(&world.told().await);
    let all: std::collections::BTreeSet<_> = changed.iter().flat_map(|it| &it.content_ids).collect();
    assert_eq!(all.len() as u64, sets, "nobody is forgotten");
}

async fn past_imports_are_remembered(test: TestDb) {
    let world = World::new(test).await;
    let added: Result<(), DbError> = world
        .db
        .upkeep((), |(), tx| {
            Box::pin(async move {
                for revision in 1..limit::HISTORY {
                    tx.execute(
                        "INSERT INTO findings_imports (revision, actor, started_at, outcome, report)
                         VALUES ($1, 'x', 1, 'failed', '{}')",
                        args![-revision],
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await;
    added.unwrap();
    let remembered = async || world.count("SELECT COUNT(*) FROM findings_imports").await;
    assert_eq!(remembered().await, limit::HISTORY - 1);
    world.import("t.json", &tracker(&[ZLIB])).await.unwrap();
    assert_eq!(remembered().await, limit::HISTORY);
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    assert_eq!(remembered().await, limit::HISTORY, "the oldest went");
}

async fn old_segments_are_removed(test: TestDb) {
    let world = World::new(test).await;
    let large = |n: usize| {
        let names: Vec<String> = (0..400).map(|at| format!("CVE-2026-{}", n * 1_000 + at)).collect();
        tracker(&names.iter().map(|cve| ("expat", cve.as_str(), "2.0")).collect::<Vec<_>>())
    };
    let mut files = Vec::new();
    for n in 1..=4 {
        world.import("t.json", &large(n)).await.unwrap();
        world.import("x.json", &record(&format!("X-{n}"), "zlib", "9", "")).await.unwrap();
        let mut pending = vec![world.test.path().join("blobs/findings")];
        let mut count = 0;
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() { pending.push(entry.path()) } else { count += 1 }
            }
        }
        files.push(count);
    }
    assert_eq!(files[3], 1, "of the tracker's segments one is left: {files:?}");
    let small = "SELECT COUNT(*) FROM store_small_blobs WHERE room = 'findings'";
    assert_eq!(world.count(small).await, 2, "the local feed of two generations");
    assert_eq!(world.count("SELECT COUNT(*) FROM findings_garbage").await, 0);
    assert_eq!(world.count("SELECT COUNT(DISTINCT generation) FROM findings_segments").await, 2);
}

async fn signed_kernels_are_found_under_linux(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[ZLIB])).await.unwrap();
    world.inventory(1, &[installed("linux-signed-amd64", "6.1.90+1")]).await;
    world.import("t.json", &tracker(&[ZLIB, ("linux", "CVE-2026-1003", "6.1.91-1")])).await.unwrap();
    assert_eq!(world.found(1).await, [row("CVE-2026-1003", "linux-signed-amd64", "6.1.91-1")]);
}

async fn an_import_is_recorded(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    let leaves = world
        .db
        .fetch_all("SELECT leaf FROM ledger_leaves WHERE action = 'feed.import' AND actor = 'uid:0'", args![])
        .await
        .unwrap();
    assert_eq!(leaves.len(), 1);
    let leaf: serde_json::Value = leaves[0].json(0).unwrap();
    assert_eq!(leaf["details"]["feeds"][0]["feed"], "debian");
    assert_eq!(leaf["details"]["feeds"][0]["records"], 1);
    assert_eq!(leaf["details"]["generation"], 1);
}

async fn a_feed_that_begins_to_cover_reaches_images_without_rows(test: TestDb) {
    let world = World::new(test).await;
    world.inventory(1, &[installed("bash", "1.0")]).await;
    let before = findings_changed(&world.told().await);
    assert_eq!((before[0].generation, before[0].set.covered), (0, false));
    assert_eq!(before[0].set.release.as_deref(), Some("deb:debian:12"));
    world.import("t.json", &tracker(&[EXPAT])).await.unwrap();
    let after = findings_changed(&world.told().await);
    assert!(after.len() == 1 && after[0].set.covered && after[0].set.rows.is_empty(), "{after:?}");
    // An image that was never pushed gets the same answer, and leaves nothing.
    let answer = world.findings.find(Some(&debian()), &[installed("bash", "1.0")]).await.unwrap();
    assert_eq!((&answer.set, answer.generation), (&after[0].set, 1));
    assert!(answer.content_ids.is_empty() && world.told().await.is_empty());
}

async fn nothing_recognised_changes_nothing(test: TestDb) {
    let world = World::new(test).await;
    let report = world.import("readme.txt", "hello").await.unwrap();
    assert_eq!((report.outcome, report.generation), (ImportOutcome::Unchanged, 0));
    assert!(report.feeds.is_empty() && report.skipped[0].path.ends_with("readme.txt"), "{report:?}");
    assert_eq!(world.findings.status().await.unwrap().state, FeedState::Settled);
    assert_eq!(world.count("SELECT COUNT(*) FROM ledger_leaves").await, 0);
}

#[test]
fn an_index_without_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("feeds");
    std::fs::create_dir_all(path.join("more")).unwrap();
    std::fs::write(path.join("t.json"), tracker(&[EXPAT])).unwrap();
    std::fs::write(path.join("more/notes.txt"), "notes").unwrap();
    let now = "2026-08-22".parse().unwrap();
    let (index, coverage, summary) = seaworthy_findings::index_of_paths(
        std::slice::from_ref(&path),
        &FeedReader::InProcess,
        &FeedCache::none(),
        now,
    )
    .unwrap();
    assert_eq!(index.find(Some(&debian()), &[installed("expat", "1.0")]).rows.len(), 1);
    assert_eq!((coverage[0].feed.as_str(), coverage[0].checked_at), ("debian", now));
    assert_eq!(summary.skipped.len(), 1);

    // The same through a confined child, which says no as clearly.
    let limits = seaworthy_sandbox::Limits { memory_bytes: 2 << 30, ..Default::default() };
    let sandbox = seaworthy_sandbox::Sandbox::new(limits).through_test("sandbox_child");
    let reader = FeedReader::Sandboxed(std::sync::Arc::new(sandbox));
    let (again, ..) =
        seaworthy_findings::index_of_paths(std::slice::from_ref(&path), &reader, &FeedCache::none(), now)
            .unwrap();
    assert_eq!(again.hash(), index.hash());
    std::fs::write(path.join("t.json"), &tracker(&[EXPAT])[..60]).unwrap();
    let Err(FindingsError::Feed { message }) =
        seaworthy_findings::index_of_paths(&[path], &reader, &FeedCache::none(), now)
    else {
        panic!("half a feed")
    };
    assert!(message.contains("t.json") && message.contains("line 1"), "{message}");
}
