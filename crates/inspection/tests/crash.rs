use std::{fs, path::Path, sync::Arc};

use seaworthy_inspection::limit;
use seaworthy_model::{Clock as _, Event, FixedClock, SystemClock};
use seaworthy_oci::Digest;
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{config, debian, gzip, many_files},
    world::{World, drain, lines, pushed, stored},
};

db_tests! { crate::world::ROOMS; killed_between_facts_and_row, killed_while_working, killed_by_an_image_each_time,
damaged_facts_are_read_again }

const EXPECTED: [&str; 2] = ["bash 5.2-1 0", "zlib1g 1.2.13 0"];

async fn layer_rows(world: &World) -> Vec<(String, String)> {
    let rows = world
        .db
        .fetch_all("SELECT digest, answer FROM inspection_layers ORDER BY digest", &[])
        .await
        .expect("rows");
    rows.iter()
        .map(|row| (row.text(0).expect("digest").into(), row.text(1).expect("answer").into()))
        .collect()
}

async fn forget_layers(world: &World) {
    let deleted: Result<u64, DbError> = world
        .db
        .upkeep((), |(), tx| Box::pin(async { tx.execute("DELETE FROM inspection_layers", args![]).await }))
        .await;
    assert_eq!(deleted.expect("deleted"), 2);
}

fn two_sizes(world: &World) -> (Digest, [Digest; 2]) {
    let layers = [world.blob(&gzip(&debian())), world.blob(&gzip(&many_files()))];
    (world.blob(&config(&[&debian(), &many_files()])), layers)
}

/// Both the facts in SQL and those in a file are there, and no row.
async fn killed_between_facts_and_row(test: TestDb) {
    let world = World::new(test);
    let (config, layers) = two_sizes(&world);
    world.send(layers.map(stored).to_vec()).await;
    world.drain().await;
    let before = layer_rows(&world).await;
    forget_layers(&world).await;
    world.send(layers.map(stored).to_vec()).await;
    world.send(vec![Event::ManifestPushed(pushed("team/app", config, &layers))]).await;
    world.drain().await;
    assert_eq!(layer_rows(&world).await, before);
    assert_eq!(lines(&world.outputs().await[0].inventory), EXPECTED);
}

async fn killed_while_working(test: TestDb) {
    let world = World::new(test);
    let (config, layers) = two_sizes(&world);
    world.source.door.forget_permits(1_000_000);
    world.send(vec![stored(layers[0]), Event::ManifestPushed(pushed("team/app", config, &layers))]).await;
    let killed = tokio::spawn(world.inspection.clone().run(CancellationToken::new()));
    while world.opens(&layers[0]) + world.opens(&layers[1]) < 2 {
        tokio::task::yield_now().await;
    }
    killed.abort();

    // The next start, after the leases: other flights, and what hung before still hangs.
    let clock = FixedClock::at(SystemClock.now());
    clock.advance(120);
    let db = world.test.reopen(Arc::new(clock)).await;
    let restarted = world.restarted(db.clone());
    let finished = drain(&restarted, &db);
    world.source.door.add_permits(1_000);
    finished.await;
    let outputs = world.outputs().await;
    assert_eq!(outputs.len(), 1);
    assert_eq!(lines(&outputs[0].inventory), EXPECTED);
}

/// Every process that looked at the image ended: then that is its result, and nobody looks any more.
async fn killed_by_an_image_each_time(test: TestDb) {
    let world = World::new(test);
    let (config, layers) = two_sizes(&world);
    let change = async |sql: &'static str| {
        let changed: Result<u64, DbError> =
            world.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await })).await;
        changed.expect("changed")
    };
    assert_eq!(limit::ANSWER_ATTEMPTS, 12);
    let last = "UPDATE store_deliveries SET attempts = 11 WHERE consumer = 'inspection'";
    let last_but_one = "UPDATE store_deliveries SET attempts = 10 WHERE consumer = 'inspection'";
    let unread = ["reader-failed@-", "reader-failed@0", "reader-failed@1"];
    for (repository, attempts, expected) in [
        ("a/last-but-one", last_but_one, EXPECTED.as_slice()),
        ("b/has-an-answer", last, &EXPECTED),
        ("c/last", last, &unread),
    ] {
        if repository == "c/last" {
            forget_inventories(&world).await;
            assert_eq!(change("DELETE FROM inspection_manifests").await, 2);
        }
        world.send(vec![Event::ManifestPushed(pushed(repository, config, &layers))]).await;
        assert_eq!(change(attempts).await, 1);
        world.drain().await;
        let outputs = world.outputs().await;
        assert_eq!(lines(&outputs.last().expect("answered").inventory), expected, "{repository}");
        assert_eq!(world.opens(&layers[0]), 1, "{repository}");
    }
    // What nobody managed to read may be readable the next time it is pushed.
    world.send(vec![Event::ManifestPushed(pushed("d/later", config, &layers))]).await;
    world.drain().await;
    assert_eq!(lines(&world.outputs().await.last().expect("answered").inventory), EXPECTED);
}

async fn damaged_facts_are_read_again(test: TestDb) {
    let world = World::new(test);
    let (config, layers) = two_sizes(&world);
    world.send(layers.map(stored).to_vec()).await;
    world.drain().await;
    let file = only_file(&world.test.path().join("blobs/inspection"));
    let mut bytes = fs::read(&file).expect("facts");
    *bytes.last_mut().expect("byte") ^= 1;
    bytes[0] ^= 0x40;
    fs::write(&file, &bytes).expect("damaged");
    world.send(vec![Event::ManifestPushed(pushed("a/flipped", config, &layers))]).await;
    world.drain().await;
    fs::remove_file(&file).expect("gone");
    forget_inventories(&world).await;
    world.send(vec![Event::ManifestPushed(pushed("b/gone", config, &layers))]).await;
    world.drain().await;
    assert_eq!((world.opens(&layers[0]), world.opens(&layers[1])), (1, 3));
    let outputs = world.outputs().await;
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|ready| lines(&ready.inventory) == EXPECTED));
}

async fn forget_inventories(world: &World) {
    let deleted: Result<u64, DbError> = world
        .db
        .upkeep((), |(), tx| {
            Box::pin(async { tx.execute("DELETE FROM inspection_inventories", args![]).await })
        })
        .await;
    assert_eq!(deleted.expect("deleted"), 1);
}

fn only_file(directory: &Path) -> std::path::PathBuf {
    let entries: Vec<_> =
        fs::read_dir(directory).expect("directory").map(|it| it.expect("entry").path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    if entries[0].is_dir() { only_file(&entries[0]) } else { entries[0].clone() }
}
