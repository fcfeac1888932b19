//! What agents send, in whatever order and number it comes.

use std::collections::BTreeMap;

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use seaworthy_fleet::{FleetError, Happening, Presence, limit};
use seaworthy_link::{Batch, ContainerState, Gap, Item, Listed, Removed, Runtime, limit as link};
use seaworthy_model::SpoolId;
use seaworthy_store::DbError;
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{World, at, batch, container, host_facts, image, item};

db_tests!(crate::world::ROOMS; any_sequence_gives_the_table_of_a_simple_model, numbers_count_once,
    a_batch_is_stored_whole_or_not, hostile_texts_are_kept, history_tells_what_happened,
    a_wrong_clock_is_visible, a_set_back_clock_heals_with_a_new_spool);

/// What an agent sees: container, second, and whether it runs; or that it is gone; or a list.
#[derive(Clone, Debug)]
enum Sight {
    Seen(u8, i64, bool),
    Removed(u8, i64),
    Listed(Vec<u8>, i64),
}

/// What happens to the next batch on its way.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    ArrivesTwice,
    /// An older one comes once more.
    Old(u64),
    /// One that is not its turn.
    Early(u64),
    NewSpool,
}

fn sight() -> impl Strategy<Value = Sight> {
    prop_oneof![
        6 => (0..6_u8, 0..30_i64, any::<bool>()).prop_map(|(id, at, runs)| Sight::Seen(id, at, runs)),
        2 => (0..6_u8, 0..30_i64).prop_map(|(id, at)| Sight::Removed(id, at)),
        1 => (prop::collection::vec(0..6_u8, 0..6), 0..30_i64).prop_map(|(ids, at)| Sight::Listed(ids, at)),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Arrives),
        1 => Just(Fate::ArrivesTwice),
        1 => (1..4_u64).prop_map(Fate::Old),
        1 => (1..3_u64).prop_map(Fate::Early),
        1 => Just(Fate::NewSpool),
    ]
}

/// Container → (spool, second) of its last word, and its presence.
type Model = BTreeMap<u8, ((u128, i64), Presence)>;

fn apply(model: &mut Model, spool: u128, sight: &Sight) {
    match sight {
        Sight::Seen(id, second, runs) => {
            let now = (spool, *second);
            let presence = if *runs { Presence::Live } else { Presence::Stopped };
            match model.get(id) {
                Some((last, Presence::Gone)) if now <= *last => {}
                Some((last, _)) if now < *last => {}
                _ => drop(model.insert(*id, (now, presence))),
            }
        }
        Sight::Removed(id, second) => go(model, *id, (spool, *second)),
        Sight::Listed(ids, second) => {
            for id in (0..6).filter(|id| !ids.contains(id)) {
                go(model, id, (spool, *second));
            }
        }
    }
}

fn go(model: &mut Model, id: u8, now: (u128, i64)) {
    if let Some(it) = model.get_mut(&id).filter(|it| it.1 != Presence::Gone && it.0 <= now) {
        *it = (now, Presence::Gone);
    }
}

fn as_item(sight: &Sight) -> Item {
    let runtime = Runtime::Docker;
    match sight {
        Sight::Seen(id, second, runs) => {
            let mut it = container(&id.to_string(), "", *second);
            it.state = if *runs { ContainerState::Paused } else { ContainerState::Exited };
            item(it)
        }
        Sight::Removed(id, second) => Item::Removed(Removed { runtime, id: id.to_string(), at: at(*second) }),
        Sight::Listed(ids, second) => {
            let ids = ids.iter().map(ToString::to_string).collect();
            Item::Listed(Listed { runtime, ids, at: at(*second) })
        }
    }
}

async fn any_sequence_gives_the_table_of_a_simple_model(test: TestDb) {
    let world = World::new(test).await;
    let step = (fate(), prop::collection::vec(sight(), 0..8));
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step, 120..121).new_tree(&mut runner).unwrap().current();
    let (mut spool, mut number, mut model) = (1, 0, Model::new());
    for (fate, sights) in steps {
        let items: Vec<Item> = sights.iter().map(as_item).collect();
        match fate {
            Fate::Old(back) if back <= number => {
                let ack = world.receive(batch(spool, number - back + 1, items)).await.unwrap();
                assert_eq!(ack.number, number);
            }
            Fate::Early(ahead) => {
                let early = world.receive(batch(spool, number + 1 + ahead, items)).await;
                assert!(matches!(early, Err(FleetError::Order { expected, .. }) if expected == number + 1));
            }
            ref fate => {
                if matches!(fate, Fate::NewSpool) {
                    (spool, number) = (spool + 1, 0);
                }
                number += 1;
                for _ in 0..if matches!(fate, Fate::ArrivesTwice) { 2 } else { 1 } {
                    assert_eq!(
                        world.receive(batch(spool, number, items.clone())).await.unwrap().number,
                        number
                    );
                }
                sights.iter().for_each(|sight| apply(&mut model, spool, sight));
            }
        }
        let stored: BTreeMap<u8, Presence> =
            world.all().await.iter().map(|it| (it.container.id.parse().unwrap(), it.presence)).collect();
        let expected: BTreeMap<u8, Presence> = model.iter().map(|(id, it)| (*id, it.1)).collect();
        assert_eq!(stored, expected, "{fate:?} {sights:?}");
    }
    assert!(spool > 3 && model.len() == 6);
}

async fn numbers_count_once(test: TestDb) {
    let world = World::new(test).await;
    let early = world.receive(batch(1, 2, vec![])).await;
    assert!(matches!(early, Err(FleetError::Order { expected: 1, .. })));
    assert_eq!(world.fleet.revision().await.unwrap(), 0);
    world.receive(batch(1, 1, vec![item(container("a", "", 1))])).await.unwrap();
    let started = world.fleet.revision().await.unwrap();
    assert!(started > 0);
    world.clock.advance(1);
    world.receive(batch(2, 1, vec![])).await.unwrap();
    assert!(world.fleet.revision().await.unwrap() > started, "a gap is an entry too");
    // Of the spool before: what was stored is acknowledged, more is not taken.
    let ack = world.receive(batch(1, 1, vec![item(container("b", "", 1))])).await.unwrap();
    assert_eq!((ack.spool, ack.number), (SpoolId::from_u128(1), 1));
    let more = world.receive(batch(1, 2, vec![item(container("b", "", 1))])).await;
    assert!(matches!(more, Err(FleetError::SpoolReplaced { .. })));
    assert_eq!(world.all().await.len(), 1);
    let history = world.fleet.history(&world.one("a").await, None).await.unwrap();
    assert!(matches!(&history[0].what, Happening::Gap { from: None, .. }));
    assert_eq!(history.len(), 2, "a start, and the gap of the new spool");
}

async fn a_batch_is_stored_whole_or_not(test: TestDb) {
    let world = World::new(test).await;
    world.receive(batch(1, 1, vec![item(container("first", "", 1))])).await.unwrap();
    let filled: Result<_, DbError> = world
        .db
        .upkeep((), |(), tx| {
            Box::pin(async move {
                let most = i64::try_from(limit::CONTAINERS).unwrap() - 1;
                tx.execute(
                    "INSERT INTO fleet_containers (host, runtime, id, name, presence, body, generation, seen_at,
                       received_at, image_id, mapping)
                     WITH RECURSIVE n AS (SELECT 2 AS i UNION ALL SELECT i + 1 FROM n WHERE i < $1)
                     SELECT host, runtime, CAST(n.i AS TEXT), '', presence, body, generation, seen_at, received_at,
                       image_id, mapping FROM n, fleet_containers WHERE id = 'first'",
                    &[most.into()],
                )
                .await
            })
        })
        .await;
    filled.unwrap();
    // One is still free: at the limit, and one past it.
    world.receive(batch(1, 2, vec![host_facts(), item(container("last", "", 1))])).await.unwrap();
    let items = vec![item(container("one too many", "", 1))];
    let refused = world.receive(batch(1, 3, items)).await;
    assert!(matches!(refused, Err(FleetError::TooMany { limit: limit::CONTAINERS, .. })), "{refused:?}");
    assert!(world.fleet.container(None, "one too many").await.unwrap().is_none());
    let gone = Removed { runtime: Runtime::Docker, id: "first".into(), at: at(2) };
    let ack = world.receive(batch(1, 3, vec![Item::Removed(gone)])).await.unwrap();
    assert_eq!(ack.number, 3, "the refused one left no number");
}

async fn hostile_texts_are_kept(test: TestDb) {
    let world = World::new(test).await;
    let long = "\u{10ffff}\u{202e}<script>".repeat(link::TEXT_BYTES / 16);
    let random: String = (0..link::TEXT_BYTES).map(|n| char::from(b"!#%+-09AZaz~"[n * n % 11])).collect();
    let names = ["\0", "a\0b", "'; DROP TABLE x --", "\u{202e}\u{7}\r\n", &long, &random, ""];
    let mut items = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let mut it = container(&format!("{name}{}", n % 2), name, 1);
        it.id.truncate(it.id.floor_char_boundary(link::TEXT_BYTES));
        (*name).clone_into(&mut it.name);
        (*name).clone_into(&mut it.image);
        it.labels.insert((*name).to_owned(), (*name).to_owned());
        items.push(item(it));
        items.push(image(
            name,
            &[format!("@{}", &name[..name.floor_char_boundary(1_000)])],
            seaworthy_oci::Platform::linux_amd64(),
        ));
    }
    world.receive(batch(1, 1, items.clone())).await.unwrap();
    let stored: Vec<_> = world.all().await.into_iter().map(|it| it.container).collect();
    for sent in items {
        let Item::Container(sent) = sent else { continue };
        assert!(stored.contains(&sent), "{:?}", sent.name);
        let found = world.fleet.container(None, &sent.name).await.unwrap();
        assert_eq!(found.map(|it| it.container), Some(*sent));
    }
    let over = Batch { items: vec![host_facts(); link::BATCH_ITEMS + 1], ..batch(1, 2, vec![]) };
    assert!(matches!(world.receive(over).await, Err(FleetError::Batch(_))));
    let edge = Batch { items: vec![host_facts(); link::BATCH_ITEMS], ..batch(1, 2, vec![]) };
    world.receive(edge).await.unwrap();
}

async fn history_tells_what_happened(test: TestDb) {
    let world = World::new(test).await;
    let mut ended = container("a", "", 3);
    (ended.state, ended.finished_at, ended.exit_code) = (ContainerState::Exited, Some(at(2)), Some(137));
    let mut again = container("a", "", 5);
    again.started_at = Some(at(4));
    let gap = Gap { from: at(5), until: at(6), reason: "away".into() };
    let list = Listed { runtime: Runtime::Docker, ids: vec![], at: at(7) };
    let items = vec![
        item(container("a", "", 1)),
        item(container("a", "", 2)),
        item(ended.clone()),
        item(again),
        item(ended),
        Item::Gap(gap.clone()),
        Item::Listed(list),
    ];
    world.receive(batch(1, 1, items)).await.unwrap();
    let mut history = world.fleet.history(&world.one("a").await, None).await.unwrap();
    history.reverse();
    let told: Vec<_> = history.into_iter().map(|row| (row.at, row.what)).collect();
    let expected = vec![
        (at(0), Happening::Started),
        (at(2), Happening::Ended { exit_code: Some(137) }),
        (at(4), Happening::Started),
        (at(6), Happening::Gap { from: Some(at(5)), reason: gap.reason }),
        (at(7), Happening::Missing),
    ];
    assert_eq!(told, expected);
}

async fn a_wrong_clock_is_visible(test: TestDb) {
    let world = World::new(test).await;
    for (number, (second, wrong)) in
        [(limit::SKEW_SECONDS, false), (limit::SKEW_SECONDS + 1, true), (-3_600, true), (0, false)]
            .into_iter()
            .enumerate()
    {
        let sent = Batch { made_at: at(second), ..batch(1, number as u64 + 1, vec![]) };
        world.receive(sent).await.unwrap();
        assert_eq!(world.fleet.hosts().await.unwrap()[0].has_wrong_clock(), wrong, "{second}");
    }
}

async fn a_set_back_clock_heals_with_a_new_spool(test: TestDb) {
    let world = World::new(test).await;
    world.receive(batch(1, 1, vec![item(container("a", "", 1_000_000))])).await.unwrap();
    let mut stopped = container("a", "", 1);
    stopped.state = ContainerState::Exited;
    world.receive(batch(1, 2, vec![item(stopped.clone())])).await.unwrap();
    assert_eq!(world.one("a").await.presence, Presence::Live, "older, and dropped");
    world.receive(batch(2, 1, vec![item(stopped)])).await.unwrap();
    assert_eq!(world.one("a").await.presence, Presence::Stopped);
}
