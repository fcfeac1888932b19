//! What runs is told before everything else, whichever way news of it came.

use seaworthy_model::{ContainerKey, ContainerSeen, ContentId, Event, HostId, Presence, Settings, consumer};
use seaworthy_store::DbError;
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{World, content, drain, findings_changed, installed, tracker};

db_tests!(crate::world::ROOMS; what_runs_is_told_first, late_news_of_a_container_counts_for_nothing,
    traces_of_what_ended_are_forgotten, more_than_one_page_runs);

fn seen(id: u32, number: u64, (presence, revision): (Presence, i64)) -> ContainerSeen {
    ContainerSeen {
        key: ContainerKey { host: HostId::from_u128(1), runtime: "docker".into(), id: id.to_string() },
        revision,
        host_name: "alpha".into(),
        name: "web".into(),
        presence,
        started_at: None,
        reported: "web".into(),
        named: None,
        repository: "prod/web".parse().unwrap(),
        digest: None,
        names: vec![],
        content_id: Some(content(number)),
        is_awaited: false,
        settings: Settings::default(),
    }
}

async fn tell(world: &World, all: Vec<ContainerSeen>) {
    let now = world.db.now();
    let sent: Result<(), DbError> = world
        .db
        .upkeep(all, move |all, tx| {
            Box::pin(async move {
                for seen in all {
                    let event = Event::ContainerSeen(Box::new(seen.clone()));
                    tx.deliver(consumer::FINDINGS, &event, now).await?;
                }
                Ok(())
            })
        })
        .await;
    sent.unwrap();
    drain(&world.findings, &world.db).await;
}

/// Ten images with a set of their own each, and forty more like the first.
async fn world(test: TestDb) -> World {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[("expat", "CVE-2026-1001", "2.0")])).await.unwrap();
    for number in 0..10 {
        let own = installed("zlib", &number.to_string());
        world.inventory(number, &[installed("expat", "1.0"), own]).await;
    }
    world.copies(100..140).await;
    world.told().await;
    world
}

/// Whom each event of the next import names, in order.
async fn named(world: &World, fixed: &str) -> Vec<Vec<ContentId>> {
    world.import("t.json", &tracker(&[("expat", "CVE-2026-1001", fixed)])).await.unwrap();
    let events = findings_changed(&world.told().await);
    events.into_iter().map(|event| event.content_ids).collect()
}

async fn what_runs_is_told_first(test: TestDb) {
    let world = world(test).await;
    let mut running: Vec<ContentId> = [3, 8, 120].map(content).to_vec();
    let live = (Presence::Live, 1);
    // Twice the same image, one that ended, one that nobody has inspected.
    let all = [(1, 3, live), (2, 3, live), (3, 8, live), (4, 120, live), (6, 999, live)];
    let mut all: Vec<_> = all.map(|(id, number, how)| seen(id, number, how)).to_vec();
    all.push(seen(5, 4, (Presence::Stopped, 1)));
    tell(&world, all).await;
    let named = named(&world, "3.0").await;
    let mut first: Vec<ContentId> = named.iter().take(3).flatten().copied().collect();
    first.sort();
    running.sort();
    assert_eq!(first, running);
    // And all are told once more, with the rest.
    let mut rest: Vec<ContentId> = named.iter().skip(3).flatten().copied().collect();
    rest.sort();
    let mut every: Vec<ContentId> = (0..10).chain(100..140).map(content).collect();
    every.sort();
    assert_eq!(rest, every);
    // An import that changes nothing for them tells nobody.
    assert!(self::named(&world, "3.0").await.is_empty());
}

async fn late_news_of_a_container_counts_for_nothing(test: TestDb) {
    let world = world(test).await;
    tell(&world, vec![seen(1, 3, (Presence::Gone, 2))]).await;
    tell(&world, vec![seen(1, 3, (Presence::Live, 1)), seen(2, 8, (Presence::Live, 1))]).await;
    let named = named(&world, "3.0").await;
    assert_eq!(named[0], [content(8)]);
    assert_eq!(named.iter().skip(1).flatten().filter(|id| **id == content(3)).count(), 1);
}

async fn traces_of_what_ended_are_forgotten(test: TestDb) {
    let world = world(test).await;
    let ended = seaworthy_findings::limit::ENDED_SECONDS * 1_000_000;
    tell(&world, vec![seen(1, 3, (Presence::Gone, 1)), seen(2, 3, (Presence::Gone, 1))]).await;
    let count = "SELECT COUNT(*) FROM findings_running";
    assert_eq!(world.count(count).await, 2);
    for (id, age) in [("1", ended - 60_000_000), ("2", ended + 1)] {
        let context = (id, world.db.now().as_micros() - age);
        let aged: Result<u64, DbError> = world
            .db
            .upkeep(context, |(id, at), tx| {
                Box::pin(async move {
                    let sql = "UPDATE findings_running SET changed_at = $1 WHERE id = $2";
                    tx.execute(sql, seaworthy_store::args![*at, *id]).await
                })
            })
            .await;
        aged.unwrap();
    }
    tell(&world, vec![seen(3, 3, (Presence::Gone, 1))]).await;
    assert_eq!(world.count(count).await, 2, "the older trace is gone");
}

async fn more_than_one_page_runs(test: TestDb) {
    let world = World::new(test).await;
    world.import("t.json", &tracker(&[("expat", "CVE-2026-1001", "2.0")])).await.unwrap();
    world.inventory(0, &[installed("expat", "1.0")]).await;
    let most = u64::try_from(seaworthy_findings::limit::RUNNING_PAGE).unwrap();
    world.copies(1..most + 1).await;
    world.told().await;
    let ran: Result<(), DbError> = world
        .db
        .upkeep(most + 1, |count, tx| {
            Box::pin(async move {
                for number in 0..*count {
                    let sql = "INSERT INTO findings_running (host, runtime, id, told, content, changed_at)
                               VALUES ($1, 'docker', $2, 1, $3, 0)";
                    let (host, id, content) = (HostId::from_u128(1), number.to_string(), content(number));
                    let args = seaworthy_store::args![host.as_bytes(), &id, content.as_bytes()];
                    tx.execute(sql, args).await?;
                }
                Ok(())
            })
        })
        .await;
    ran.unwrap();
    // All of the first page and the one behind it are told first, then all again.
    let named = named(&world, "3.0").await;
    let running = usize::try_from(most + 1).unwrap();
    let (mut first, mut told) = (std::collections::BTreeSet::new(), 0);
    for ids in &named {
        assert!(ids.len() <= usize::try_from(seaworthy_findings::limit::EVENT_CONTENTS).unwrap());
        if told < running {
            first.extend(ids.iter().copied());
        }
        told += ids.len();
    }
    assert_eq!((first.len(), told), (running, 2 * running));
}
