//! Limits that only show through the database.

use seaworthy_inspection::limit;
use seaworthy_model::Event;
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};

use crate::{
    archive::{config, debian, gzip},
    world::{World, lines, pushed, stored},
};

db_tests! { crate::world::ROOMS;
    stored_facts_are_bounded_together,
    repositories_of_one_manifest,
}

const READ: [&str; 2] = ["bash 5.2-1 0", "zlib1g 1.2.13 0"];

/// The room believes what it wrote about the length of stored facts; here that is changed.
async fn stored_facts_are_bounded_together(test: TestDb) {
    let world = World::new(test);
    let layer = world.blob(&gzip(&debian()));
    let config = world.blob(&config(&[&debian()]));
    for (repository, bytes, expected, is_read) in [
        // Not what the file has, so the layer is read again, as any damaged one.
        ("a/limit", limit::IMAGE_FACTS_BYTES, READ.as_slice(), true),
        ("b/beyond", limit::IMAGE_FACTS_BYTES + 1, &["layer-too-large@0"], false),
    ] {
        world.send(vec![stored(layer)]).await;
        world.drain().await;
        let opened = world.opens(&layer);
        let changed: Result<(), DbError> = world
            .db
            .upkeep(i64::try_from(bytes).expect("bytes"), |bytes, tx| {
                Box::pin(async move {
                    tx.execute("UPDATE inspection_layers SET answer_bytes = $1", args![*bytes]).await?;
                    tx.execute("DELETE FROM inspection_inventories", args![]).await?;
                    Ok(())
                })
            })
            .await;
        changed.expect("changed");
        world.send(vec![Event::ManifestPushed(pushed(repository, config, &[layer]))]).await;
        world.drain().await;
        let outputs = world.outputs().await;
        assert_eq!(lines(&outputs.last().expect("answered").inventory), expected, "{repository}");
        // A busy machine may need more than one attempt.
        assert_eq!(world.opens(&layer) > opened, is_read, "{repository}");
    }
}

async fn repositories_of_one_manifest(test: TestDb) {
    let world = World::new(test);
    let layer = world.blob(&gzip(&debian()));
    let push = pushed("r/0000", world.blob(&config(&[&debian()])), &[layer]);
    world.send(vec![Event::ManifestPushed(push.clone())]).await;
    world.drain().await;
    let named = async |range: std::ops::Range<i64>| {
        let added: Result<(), DbError> = world
            .db
            .upkeep(range, |range, tx| {
                Box::pin(async move {
                    for at in range.clone() {
                        tx.execute(
                            "INSERT INTO inspection_manifests
                                 (digest, repository, content_id, config, inspected_at)
                             SELECT digest, $1, content_id, config, inspected_at FROM inspection_manifests
                             WHERE repository = 'r/0000'",
                            args![&format!("r/{at:04}")],
                        )
                        .await?;
                    }
                    Ok(())
                })
            })
            .await;
        added.expect("added");
    };
    let repositories = async || {
        let ready = world.inspection.of_manifest(&push.digest).await.expect("read").expect("inspected");
        ready.manifests.len()
    };
    let most = usize::try_from(limit::REPOSITORIES).expect("small");
    named(1..limit::REPOSITORIES).await;
    assert_eq!(repositories().await, most);
    named(limit::REPOSITORIES..limit::REPOSITORIES + 1).await;
    assert_eq!(repositories().await, most, "the rest are not named");
}
