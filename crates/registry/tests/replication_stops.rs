//! What a server was sending when it ended.

use std::sync::Arc;

use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    client::{ROOMS, World},
    far::{Far, Fault},
    replication::{Running, digest_of, rows, run, set, settled},
};

db_tests!(super::ROOMS; a_killed_server_leaves_it_to_the_next, a_stopped_server_gives_it_back);

/// A server in the middle of sending an image.
async fn sending(world: &World) -> (Running, Digest) {
    let far = Far::of(world).await;
    let (image, _) = world.operator().put_image("prod/web:1", &[b"layer"]).await;
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    far.fault("PUT /v2/mirror/web/manifests/1", Fault::Wait(waits.clone(), go));
    set(world, far.address, json!({})).await;
    let running = run(world);
    waits.notified().await;
    (running, image)
}

/// In how many seconds it is due.
async fn due_in(world: &World) -> i64 {
    let due = rows(world).await[0].due.expect("due");
    (due.as_micros() - world.test.db.now().as_micros()) / 1_000_000
}

async fn arrives(world: &World, image: Digest) {
    let _running = run(world);
    settled(world).await;
    assert_eq!(digest_of(&world.operator(), "mirror/web:1").await, Some(image.to_string()));
}

async fn a_killed_server_leaves_it_to_the_next(test: TestDb) {
    let world = World::new(test).await;
    let (running, image) = sending(&world).await;
    running.kill().await;
    // Whoever had it is not asked: it is due again by itself.
    let left = due_in(&world).await;
    assert!((1..=limit::SEND_SECONDS).contains(&left), "{left}");
    let sooner = limit::SEND_SECONDS * 1_000_000;
    world.alter(format!("UPDATE registry_outgoing SET due = due - {sooner}")).await;
    arrives(&world, image).await;
}

async fn a_stopped_server_gives_it_back(test: TestDb) {
    let world = World::new(test).await;
    let (running, image) = sending(&world).await;
    running.stop().await;
    let left = due_in(&world).await;
    assert!(left <= 0, "{left}");
    arrives(&world, image).await;
}
