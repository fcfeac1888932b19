//! Names lead to contents in every order of arrival.

use seaworthy_fleet::{Mapping, Unmapped};
use seaworthy_model::Event;
use seaworthy_oci::Platform;
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{
    World, arm, batch, container, content, digest, host_facts, image, index, item, measured, pushed,
};

db_tests!(crate::world::ROOMS; every_name_leads_home_in_every_order, the_own_repository_is_preferred,
    what_is_not_sure_is_unmapped, claims_stay_on_their_host);

enum Step {
    Told(Box<Event>),
    Seen,
}

fn steps() -> [Step; 5] {
    let children = [("m", Platform::linux_amd64()), ("other", arm())];
    let told = |event| Step::Told(Box::new(event));
    [
        told(pushed("prod/web", "m", "c")),
        told(index("prod/web", "index", &children)),
        told(measured("prod/web", "m", "c", "k")),
        told(measured("old/web", "m2", "c", "k")),
        Step::Seen,
    ]
}

async fn see_everything(world: &World) {
    let id = |name: &str| digest(name).to_string();
    let by_manifest = |name: &str, image_id: &str| {
        let mut it = container(name, image_id, 1);
        it.manifest = Some(digest("m"));
        it
    };
    let repository_digest = format!("r.example/x@{}", digest("index"));
    let items = vec![
        host_facts(),
        item(container("config", &id("c"), 1)),
        item(container("bare", &digest("c").hex(), 1)),
        item(container("manifest", &id("m"), 1)),
        item(container("index", &id("index"), 1)),
        item(by_manifest("descriptor", &id("unknown index"))),
        item(container("claimed", &id("unknown"), 1)),
        image(&id("unknown"), &[repository_digest], Platform::linux_amd64()),
    ];
    world.receive(batch(1, 1, items)).await.unwrap();
}

/// All orders of five things.
fn orders() -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for n in 0..5 {
        let longer = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=order.len()).map(move |place| {
                let mut longer = order.clone();
                longer.insert(place, n);
                longer
            })
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

async fn every_name_leads_home_in_every_order(test: TestDb) {
    let world = World::new(test).await;
    let orders = orders();
    assert_eq!(orders.len(), 120);
    for order in orders {
        let steps = steps();
        for step in order.iter().map(|n| &steps[*n]) {
            match step {
                Step::Told(event) => world.tell(event.as_ref().clone()).await,
                Step::Seen => see_everything(&world).await,
            }
        }
        let containers = world.all().await;
        assert_eq!(containers.len(), 6);
        for it in containers {
            let image = &it.image;
            assert_eq!(image.mapping, Mapping::Exact, "{} {order:?} {:?}", it.container.id, image.reason);
            assert_eq!(image.content_id, Some(content("k")));
            let place = (image.repository.as_deref(), image.digest);
            assert_eq!(place, (Some("prod/web"), Some(digest("m"))), "{} {order:?}", it.container.id);
        }
        world.forget().await;
    }
}

async fn the_own_repository_is_preferred(test: TestDb) {
    let world = World::new(test).await;
    let mut foreign = container("foreign", &digest("c").to_string(), 1);
    foreign.image = "nginx:1".into();
    let own = container("own", &digest("c").to_string(), 1);
    world.receive(batch(1, 1, vec![item(own), item(foreign)])).await.unwrap();
    let unknown = world.one("foreign").await.image;
    assert_eq!(unknown.repository.as_deref(), Some("docker.io/library/nginx"));
    assert_eq!((unknown.mapping, unknown.reason), (Mapping::Unmapped, Some(Unmapped::NeverPushed)));
    // The longer a name of this test, the later its push.
    world.tell(pushed("mirror/nginx", "m", "c")).await;
    assert_eq!(world.one("own").await.image.reason, Some(Unmapped::NotInspected));
    world.tell(measured("mirror/nginx", "m", "c", "k")).await;
    assert_eq!(world.one("own").await.image.repository.as_deref(), Some("mirror/nginx"));
    world.tell(pushed("prod/web", "m later", "c")).await;
    world.tell(measured("prod/web", "m later", "c", "k")).await;
    assert_eq!(world.one("own").await.image.repository.as_deref(), Some("prod/web"));
    assert_eq!(world.one("foreign").await.image.repository.as_deref(), Some("mirror/nginx"));
    // The same manifest in an older place, and a tag that moves on to something else.
    world.tell(pushed("prod/web", "moved", "other")).await;
    world.tell(measured("prod/web", "moved", "other", "other")).await;
    assert_eq!(world.one("own").await.image.digest, Some(digest("m later")));
}

async fn what_is_not_sure_is_unmapped(test: TestDb) {
    let world = World::new(test).await;
    let mut apart = container("apart", &digest("m1").to_string(), 1);
    apart.manifest = Some(digest("m3"));
    let items = vec![
        item(container("liar", &digest("c").to_string(), 1)),
        item(apart),
        item(container("index", &digest("index").to_string(), 1)),
        item(container("none", "not a digest", 1)),
        image(&digest("c").to_string(), &[format!("r.example/x@{}", digest("m1"))], Platform::linux_amd64()),
    ];
    world.receive(batch(1, 1, items)).await.unwrap();
    world.tell(measured("prod/web", "m1", "c", "k1")).await;
    assert_eq!(world.one("liar").await.image.content_id, Some(content("k1")));
    world.tell(measured("prod/web", "m2", "c", "k2")).await;
    world.tell(measured("prod/web", "m3", "c3", "k3")).await;
    world.tell(index("prod/web", "index", &[("m1", Platform::linux_amd64())])).await;
    for (id, reason) in [
        ("liar", Unmapped::Ambiguous),
        ("apart", Unmapped::Contradiction),
        ("index", Unmapped::NoPlatform),
        ("none", Unmapped::NoDigest),
    ] {
        let image = world.one(id).await.image;
        assert_eq!((image.content_id, image.reason), (None, Some(reason)), "{id}");
    }
    world.receive(batch(1, 2, vec![host_facts()])).await.unwrap();
    assert_eq!(world.one("index").await.image.content_id, Some(content("k1")));
}

async fn claims_stay_on_their_host(test: TestDb) {
    let world = World::new(test).await;
    world.tell(measured("prod/web", "m", "c", "k")).await;
    let id = digest("claimed").to_string();
    let claim = image(&id, &[format!("r.example/x@{}", digest("m"))], Platform::linux_amd64());
    world.receive(batch(1, 1, vec![claim, item(container("here", &id, 1))])).await.unwrap();
    let other = world.fleet.join(&seaworthy_model::Actor::system(), "beta").await.unwrap();
    world.fleet.receive(other, batch(2, 1, vec![item(container("there", &id, 1))])).await.unwrap();
    assert_eq!(world.one("here").await.image.content_id, Some(content("k")));
    assert_eq!(world.one("there").await.image.reason, Some(Unmapped::NeverPushed));
}

impl World {
    /// An empty fleet again.
    async fn forget(&self) {
        let done: Result<_, seaworthy_store::DbError> = self
            .db
            .upkeep((), |(), tx| {
                Box::pin(async move {
                    for table in [
                        "DELETE FROM fleet_containers",
                        "DELETE FROM fleet_manifests",
                        "DELETE FROM fleet_children",
                        "DELETE FROM fleet_images",
                        "DELETE FROM fleet_image_digests",
                        "DELETE FROM fleet_spools",
                        "UPDATE fleet_hosts SET spool = NULL, facts = NULL",
                    ] {
                        tx.execute(table, &[]).await?;
                    }
                    Ok(())
                })
            })
            .await;
        done.unwrap();
    }
}
