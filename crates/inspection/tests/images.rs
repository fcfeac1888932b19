use seaworthy_inspection::LayerReader;
use seaworthy_model::{ChildManifest, ContentId, Event, ManifestPushed};
use seaworthy_oci::{Digest, Platform};
use seaworthy_sandbox::{Limits, Sandbox};
use seaworthy_testkit::{TestDb, db_tests};

use crate::{
    archive::{config, curl, debian, gzip},
    world::{World, lines, pushed, stored},
};

const EXPECTED: [&str; 3] = ["bash 5.2-1 0", "curl 7.88.1 1", "zlib1g 1.2.13 0"];

db_tests! { crate::world::ROOMS;
    two_layers_in_the_sandbox,
    the_same_content_elsewhere,
    arriving_together,
    an_index_and_an_artifact,
    what_is_not_read_any_more_is_told,
}

/// Puts the two-layer image into the source; gives its push.
fn image(world: &World, repository: &str) -> ManifestPushed {
    let layers = [world.blob(&gzip(&debian())), world.blob(&gzip(&curl()))];
    let config = world.blob(&config(&[&debian(), &curl()]));
    pushed(repository, config, &layers)
}

async fn two_layers_in_the_sandbox(test: TestDb) {
    let sandbox = Sandbox::new(Limits::default()).through_test("sandbox_child");
    let world = World::with_reader(test, LayerReader::Sandboxed(sandbox.into()));
    let push = image(&world, "team/app");
    world.send(push.layers.iter().map(|layer| stored(layer.digest)).collect()).await;
    world.drain().await;
    assert!(world.outputs().await.is_empty());

    world.send(vec![Event::ManifestPushed(push.clone())]).await;
    world.drain().await;
    let outputs = world.outputs().await;
    assert_eq!(outputs.len(), 1);
    let ready = &outputs[0];
    assert_eq!(lines(&ready.inventory), EXPECTED);
    assert_eq!(ready.manifests, [(push.repository.clone(), push.digest)]);
    assert_eq!((ready.config, ready.image.user.as_str()), (push.config.expect("config"), "1000"));
    let diff_ids = [Digest::sha256(&debian()), Digest::sha256(&curl())];
    assert_eq!(*ready.content_id(), ContentId::of(&Platform::linux_amd64(), &diff_ids));
    let support = ready.support.expect("Debian 12 is known");
    assert_eq!(support.lts_ends.to_string(), "2028-07-01T00:00:00Z");
    for layer in &push.layers {
        assert_eq!(world.opens(&layer.digest), 1, "read once, when it was stored");
    }
    assert_eq!(world.inspection.of_manifest(&push.digest).await.expect("read").as_ref(), Some(ready));
    let content = world.inspection.of_content(ready.content_id()).await.expect("read");
    assert_eq!(content.as_ref(), Some(&ready.inventory));
    assert_eq!(world.inspection.of_manifest(&Digest::sha256(b"other")).await.expect("read"), None);
}

async fn the_same_content_elsewhere(test: TestDb) {
    let world = World::new(test);
    let first = image(&world, "team/app");
    let second = ManifestPushed { repository: "other/app".parse().expect("repository"), ..first.clone() };
    world.send(vec![Event::ManifestPushed(first.clone())]).await;
    world.drain().await;
    world.send(vec![Event::ManifestPushed(second.clone())]).await;
    world.drain().await;
    // Sent twice by a registry that was not sure: answered again, nothing is read again.
    world.send(vec![Event::ManifestPushed(second.clone())]).await;
    world.drain().await;
    for digest in first.layers.iter().map(|layer| layer.digest).chain(first.config) {
        assert_eq!(world.opens(&digest), 1);
    }
    let outputs = world.outputs().await;
    let places: Vec<&str> = outputs.iter().map(|ready| ready.manifests[0].0.as_str()).collect();
    assert_eq!(places, ["team/app", "other/app", "other/app"]);
    assert!(outputs.iter().all(|ready| ready.inventory == outputs[0].inventory));
    let kept = world.inspection.of_manifest(&first.digest).await.expect("read").expect("kept");
    let places: Vec<&str> = kept.manifests.iter().map(|(repository, _)| repository.as_str()).collect();
    assert_eq!(places, ["other/app", "team/app"]);

    // Another config over the same layers is read; the layers are not.
    let other = world.blob(&[config(&[&debian(), &curl()]).as_slice(), b" "].concat());
    let layers: Vec<Digest> = first.layers.iter().map(|layer| layer.digest).collect();
    world.send(vec![Event::ManifestPushed(pushed("team/app", other, &layers))]).await;
    world.drain().await;
    assert_eq!((world.opens(&other), world.opens(&layers[0])), (1, 1));
    assert_eq!(world.outputs().await.len(), 4);
}

async fn arriving_together(test: TestDb) {
    let world = World::new(test);
    let push = image(&world, "team/app");
    world.source.door.forget_permits(1_000_000);
    let layer = push.layers[0].digest;
    world
        .send(vec![
            stored(layer),
            Event::ManifestPushed(push.clone()),
            stored(layer),
            Event::ManifestPushed(push),
        ])
        .await;
    let all_claimed = async {
        let sql = "SELECT COUNT(*) FROM store_deliveries WHERE consumer = 'inspection' AND attempts = 1";
        while world.db.fetch_optional(sql, &[]).await.expect("count").expect("row").int(0).expect("int") < 4 {
        }
        world.source.door.add_permits(1_000);
    };
    tokio::join!(world.drain(), all_claimed);
    assert_eq!(world.opens(&layer), 1);
    let outputs = world.outputs().await;
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|ready| lines(&ready.inventory) == EXPECTED));
}

async fn an_index_and_an_artifact(test: TestDb) {
    let world = World::new(test);
    let blob = world.blob(b"{}");
    let artifact = ManifestPushed { is_image: false, ..pushed("team/app", blob, &[blob]) };
    let index = ManifestPushed {
        config: None,
        layers: Vec::new(),
        children: vec![ChildManifest { digest: artifact.digest, platform: None }],
        ..artifact.clone()
    };
    world.send(vec![Event::ManifestPushed(artifact), Event::ManifestPushed(index)]).await;
    world.drain().await;
    assert!(world.outputs().await.is_empty());
    assert_eq!(world.opens(&blob), 0);
}

/// A config that an earlier version took, pushed again or told anew: the inventory of that time is not the answer.
async fn what_is_not_read_any_more_is_told(test: TestDb) {
    let world = World::new(test);
    let push = image(&world, "team/app");
    world.send(vec![Event::ManifestPushed(push.clone())]).await;
    world.drain().await;
    let config = push.config.expect("a config");
    // Believed until the next start.
    for _ in 0..2 {
        world.send(vec![Event::ManifestPushed(push.clone())]).await;
        world.drain().await;
    }
    assert_eq!(world.opens(&config), 1);
    const { assert!(seaworthy_inspection::limit::CONFIGS > 1) };
    // One that is away for a while says nothing of what it was.
    world.take(&config);
    let later = world.restarted(world.db.clone());
    world.send(vec![Event::ManifestPushed(push.clone())]).await;
    crate::world::drain(&later, &world.db).await;
    assert_eq!(world.outputs().await[3].inventory, world.outputs().await[0].inventory);
    world.set_bytes(config, br#"{"config":{"User":"1000","user":"0"}}"#);
    let later = world.restarted(world.db.clone());
    world.send(vec![Event::ManifestPushed(push)]).await;
    crate::world::drain(&later, &world.db).await;
    let outputs = world.outputs().await;
    assert_eq!(outputs.len(), 5);
    assert!(lines(&outputs[4].inventory).contains(&"config-unreadable@-".to_owned()), "{outputs:?}");
}
