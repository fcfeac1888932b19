//! Inventories: matched once for equal packages, and always with the newest generation.

use seaworthy_model::Event;
use seaworthy_testkit::{Engine, TestDb, db_tests};

use crate::world::{World, content, drain, findings_changed, installed, open, ready, row, tracker};

db_tests!(crate::world::ROOMS; an_inventory_becomes_findings, newer_readers_win, replicas_use_what_the_other_imported,
    an_import_meanwhile_is_not_missed, no_result_rests_on_an_older_generation);

const FEED: &[(&str, &str, &str)] = &[("expat", "CVE-2026-1001", "2.0"), ("expat", "CVE-2026-1002", "")];

async fn an_inventory_becomes_findings(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(FEED)).await.unwrap();
    world.told().await;
    let packages = [installed("expat", "1.0"), installed("zlib", "1.0")];
    let twice = [packages[1].clone(), packages[0].clone(), packages[0].clone()];
    world.deliver(vec![ready(content(1), &packages), ready(content(2), &twice)]).await;
    drain(&world.findings, &world.db).await;
    let changed = findings_changed(&world.told().await);
    assert_eq!(changed.len(), 2);
    assert_eq!(changed[0].set, changed[1].set);
    let expected = [row("CVE-2026-1001", "expat", "2.0"), row("CVE-2026-1002", "expat", "")];
    assert_eq!(crate::world::rows(&changed[0].set), expected);
    assert!(changed.iter().all(|it| it.generation == 1 && it.content_ids.len() == 1));
    assert_eq!(world.found(2).await, expected);
    assert_eq!(world.count("SELECT COUNT(*) FROM findings_sets").await, 1, "equal packages are one set");
    assert_eq!(world.findings.of_content(&content(3)).await.unwrap(), None);
    // Told again, it says the same again.
    world.inventory(1, &packages).await;
    assert_eq!(findings_changed(&world.told().await)[0].set, changed[0].set);
    assert_eq!(world.findings.contents_with("CVE-2026-1002").await.unwrap(), [content(1), content(2)].into());
}

async fn newer_readers_win(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(FEED)).await.unwrap();
    world.inventory(1, &[installed("expat", "3.0")]).await;
    let mut newer = ready(content(1), &[installed("expat", "1.0")]);
    newer.inventory.reader_version = 2;
    world.deliver(vec![newer]).await;
    drain(&world.findings, &world.db).await;
    assert_eq!(world.found(1).await.len(), 2);
    assert_eq!(world.count("SELECT COUNT(*) FROM findings_sets").await, 1, "the old set is forgotten");
    world.told().await;
    world.inventory(1, &[installed("expat", "3.0")]).await;
    assert_eq!(world.found(1).await.len(), 2, "what older readers saw is dropped");
    assert!(world.told().await.is_empty());
}

async fn replicas_use_what_the_other_imported(test: TestDb) {
    if test.engine == Engine::Sqlite {
        return;
    }
    let world = World::new(test).await;
    let other_db = world.test.reopen(world.db.clock()).await;
    let other = open(&other_db, world.test.path()).await;
    world.import("t.json", &tracker(FEED)).await.unwrap();
    world.deliver(vec![ready(content(1), &[installed("expat", "1.0")])]).await;
    drain(&other, &other_db).await;
    assert_eq!(world.found(1).await.len(), 2);
    // The set came through the other replica; this one must know it when it imports.
    let report = world.import("t.json", &tracker(&FEED[..1])).await.unwrap();
    assert_eq!(report.rematched.unwrap().changed, 1);
    assert_eq!(world.found(1).await.len(), 1);
    let answer = other.find(Some(&crate::world::debian()), &[installed("expat", "1.0")]).await.unwrap();
    assert_eq!((answer.generation, answer.set.rows.len()), (2, 1));
}

/// Inventories arrive while one import after the other becomes active: in the end every image has
/// what the newest index gives, and the last word that clearance heard is that.
async fn an_import_meanwhile_is_not_missed(test: TestDb) {
    let world = World::new(test).await;
    let images = 60_u64;
    let feed = |n: u64| tracker(&[("expat", "CVE-2026-1001", &format!("{}", 10 + n))]);
    let inventories = async {
        for number in 0..images {
            // Few sets, so that images join sets that are being matched again.
            let packages = [installed("expat", "1.0"), installed("zlib", &format!("{}", number % 5))];
            world.deliver(vec![ready(content(number), &packages)]).await;
            drain(&world.findings, &world.db).await;
        }
    };
    let imports = async {
        for n in 0..8 {
            world.import("t.json", &feed(n)).await.unwrap();
        }
    };
    tokio::join!(inventories, imports);
    let mut last = std::collections::BTreeMap::new();
    for event in world.peek().await {
        if let Event::FindingsChanged(changed) = event {
            for id in changed.content_ids {
                let entry = last.entry(id).or_insert((changed.generation, changed.set.clone()));
                if changed.generation >= entry.0 {
                    *entry = (changed.generation, changed.set.clone());
                }
            }
        }
    }
    for number in 0..images {
        assert_eq!(world.found(number).await, [row("CVE-2026-1001", "expat", "17")], "image {number}");
        assert_eq!(crate::world::rows(&last[&content(number)].1), [row("CVE-2026-1001", "expat", "17")]);
    }
}

/// Sets so large that an import begins and ends while they are matched: what was found before must
/// not be stored after. One import a round, because the next would repair what the last one missed.
async fn no_result_rests_on_an_older_generation(test: TestDb) {
    let world = World::new(test).await;
    let inventory = |number: u64| {
        let mut packages: Vec<_> = (0..6_000).map(|at| installed(&format!("s{at}"), "1")).collect();
        packages.push(installed("expat", &format!("1.{number}")));
        ready(content(number), &packages)
    };
    for round in 0..6_u64 {
        let images = round * 4..round * 4 + 4;
        world.deliver(images.clone().map(inventory).collect()).await;
        let fixed = format!("{}", 10 + round);
        let feed = tracker(&[("expat", "CVE-2026-1001", &fixed)]);
        let import = async {
            tokio::time::sleep(std::time::Duration::from_millis(40 + 30 * round)).await;
            world.import("t.json", &feed).await.unwrap();
        };
        tokio::join!(drain(&world.findings, &world.db), import);
        // An import that stands may have been cut off while matching again (a database that let it
        // retry too often): it then left a promise, which a running server keeps within seconds.
        world.findings.recover().await.unwrap();
        for number in images {
            let expected = [row("CVE-2026-1001", "expat", &fixed)];
            assert_eq!(world.found(number).await, expected, "image {number}");
        }
    }
}
