//! Images that older readers inspected.

use std::sync::atomic::Ordering;

use seaworthy_inspection::limit;
use seaworthy_model::{ManifestPushed, consumer};
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{config, debian, gzip},
    world::{World, lines, pushed},
};

db_tests! { crate::world::ROOMS;
what_older_readers_inspected_is_inspected_again, images_are_told_of_behind_what_is_pushed,
an_image_that_cannot_be_inspected_again_keeps_its_inventory }

const EXPECTED: [&str; 2] = ["bash 5.2-1 0", "zlib1g 1.2.13 0"];

impl World {
    async fn change(&self, sql: &'static str) -> u64 {
        let changed: Result<u64, DbError> =
            self.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await })).await;
        changed.expect("changed")
    }

    /// As an older server left it.
    async fn inspected_by_older_readers(&self) {
        self.change("UPDATE inspection_inventories SET reader_version = 1").await;
        self.change("UPDATE inspection_layers SET reader_version = 1").await;
    }
}

async fn renew(world: &World) {
    let renewal = world.inspection.clone().renew(CancellationToken::new());
    tokio::time::timeout(std::time::Duration::from_mins(1), renewal).await.expect("it ends by itself");
}

/// As many images as two looks see and one more, each with a config of its own.
fn images(world: &World) -> Vec<ManifestPushed> {
    let layer = world.blob(&gzip(&debian()));
    let image = |at: usize| {
        let config = world.blob(&[config(&[&debian()]), vec![b' '; at]].concat());
        pushed(&format!("team/a{at:02}"), config, &[layer])
    };
    (0..=2 * usize::try_from(limit::RENEW_PAGE).expect("small")).map(image).collect()
}

async fn what_older_readers_inspected_is_inspected_again(test: TestDb) {
    let world = World::new(test);
    let images = images(&world);
    let layer = images[0].layers[0].digest;
    world.push(images.clone()).await;
    world.drain().await;
    renew(&world).await;
    assert_eq!(world.asked(), Vec::<usize>::new(), "these readers inspected all of them");
    world.inspected_by_older_readers().await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(world.inspection.clone().run(cancel.clone()));
    renew(&world).await;
    cancel.cancel();
    running.await.expect("ended");
    world.drain().await;
    let page = usize::try_from(limit::RENEW_PAGE).expect("small");
    assert_eq!(world.asked(), [page, page, 1]);
    assert_eq!(world.opens(&layer), 2, "read by each version once");
    let outputs = world.sent_to(consumer::CLEARANCE).await;
    assert_eq!(outputs.len(), 2 * images.len());
    assert!(outputs.iter().all(|ready| lines(&ready.inventory) == EXPECTED));
    renew(&world).await;
    assert_eq!(world.asked().len(), 3, "once");
}

async fn images_are_told_of_behind_what_is_pushed(test: TestDb) {
    let world = World::new(test);
    let images = images(&world);
    world.push(images.clone()).await;
    world.drain().await;
    world.inspected_by_older_readers().await;
    let waiting = usize::try_from(limit::RENEW_WAITING).expect("small");
    world.push(images[..waiting].to_vec()).await;
    let cancel = CancellationToken::new();
    let mut renewal = Box::pin(world.inspection.clone().renew(cancel.clone()));
    // Long enough to look twice.
    let looked = std::time::Duration::from_millis(2 * limit::RENEW_MS);
    tokio::time::timeout(looked, &mut renewal).await.expect_err("it waits");
    assert_eq!(world.asked(), Vec::<usize>::new());
    // Another server leaves it to this one.
    let other = world.restarted(world.db.clone()).renew(cancel.clone());
    let mut other = Box::pin(other);
    world.change("DELETE FROM store_deliveries WHERE id = (SELECT id FROM store_deliveries ORDER BY id DESC LIMIT 1)").await;
    tokio::time::timeout(looked, &mut other).await.expect_err("it waits for its turn");
    assert_eq!(world.asked(), Vec::<usize>::new());
    tokio::time::timeout(looked, &mut renewal).await.expect_err("it waits again");
    assert_eq!(world.asked(), [usize::try_from(limit::RENEW_PAGE).expect("small")], "one fewer waits");
    cancel.cancel();
    renewal.await;
    other.await;
}

async fn an_image_that_cannot_be_inspected_again_keeps_its_inventory(test: TestDb) {
    let world = World::new(test);
    let image = images(&world).remove(0);
    world.push(vec![image.clone()]).await;
    world.drain().await;
    world.inspected_by_older_readers().await;
    // The blobs cannot be reached, until the delivery is set aside.
    world.source.is_away.store(true, Ordering::SeqCst);
    world.push(vec![image.clone()]).await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(world.inspection.clone().run(cancel.clone()));
    let set_aside = async {
        while world.db.failed_deliveries(1).await.expect("list").is_empty() {
            world
                .change("UPDATE store_deliveries SET due_at = 0 WHERE consumer = 'inspection' AND due_at > 0")
                .await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), set_aside).await.expect("it fails for good");
    cancel.cancel();
    running.await.expect("ended");
    assert_eq!(world.outputs().await.len(), 1, "nothing is told");
    let kept = world.inspection.of_manifest(&image.digest).await.expect("read").expect("inspected");
    assert_eq!(lines(&kept.inventory), EXPECTED);
}
