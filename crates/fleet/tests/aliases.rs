//! Names lead to contents in every order of arrival.

use seaworthy_fleet::{Mapping, Unmapped, limit};
use seaworthy_link::{Item, Runtime, Scanned};
use seaworthy_model::{Event, consumer};
use seaworthy_oci::{Digest, Platform};
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{
    World, arm, batch, container, content, digest, host_facts, image, index, item, measured, pushed,
};

db_tests!(crate::world::ROOMS; every_name_leads_home_in_every_order, the_own_repository_is_preferred,
    what_is_not_sure_is_unmapped, claims_stay_on_their_host,
    what_a_host_reads_counts_for_that_host_alone, every_name_is_told_and_told_again_after_an_upgrade);

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

async fn what_a_host_reads_counts_for_that_host_alone(test: TestDb) {
    let world = World::new(test).await;
    let id = digest("own").to_string();
    let Event::InventoryReady(ready) = measured("prod/web", "m", "c", "k") else { unreachable!() };
    let scanned = |id: &str| {
        let ready = (*ready).clone();
        Item::Scanned(Box::new(Scanned { runtime: Runtime::Docker, image_id: id.to_owned(), ready }))
    };
    let about = |name: &str| vec![image(&id, &[], Platform::linux_amd64()), item(container(name, &id, 1))];
    world.receive(batch(1, 1, about("here"))).await.unwrap();
    let other = world.fleet.join(&seaworthy_model::Actor::system(), "beta").await.unwrap();
    world.fleet.receive(other, batch(2, 1, about("there"))).await.unwrap();
    let unknown = scanned(&digest("an image that the engine never described").to_string());
    world.receive(batch(1, 2, vec![scanned(&id), unknown])).await.unwrap();
    let here = world.one("here").await.image;
    assert_eq!((here.mapping, here.reason, here.digest), (Mapping::ScannedHere, None, None));
    assert!(here.content_id.is_some_and(|it| it != content("k")), "an id of its own");
    assert_eq!(world.one("there").await.image.reason, Some(Unmapped::NeverPushed));
    // The other host reads the same: two words, and neither is that of the other.
    world.fleet.receive(other, batch(2, 2, vec![scanned(&id)])).await.unwrap();
    let there = world.one("there").await.image;
    assert_eq!(there.mapping, Mapping::ScannedHere);
    assert_ne!(there.content_id, here.content_id);
    // What it claims to stand for is no name here; what is pushed and measured here counts more.
    let claimed = container("claimed", &digest("m").to_string(), 2);
    world.receive(batch(1, 3, vec![item(claimed)])).await.unwrap();
    assert_eq!(world.one("claimed").await.image.reason, Some(Unmapped::NeverPushed));
    world.tell(measured("prod/web", "own", "c2", "k2")).await;
    for name in ["here", "there"] {
        let image = world.one(name).await.image;
        assert_eq!((image.mapping, image.content_id), (Mapping::Exact, Some(content("k2"))), "{name}");
    }
    for room in [consumer::REGISTRY, consumer::FINDINGS, consumer::CLEARANCE] {
        assert!(world.db.waiting_deliveries(room).await.unwrap() >= 2, "{room:?} is told of both");
    }
}

/// The registry keeps whatever an engine calls what it runs, known here or not.
async fn every_name_is_told_and_told_again_after_an_upgrade(test: TestDb) {
    let world = World::new(test).await;
    let id = digest("config").to_string();
    let names: Vec<String> = (0..limit::NAMES).map(|at| format!("a@{}", digest(&at.to_string()))).collect();
    let about = |number: usize, second: i64| {
        let mut it = container("one", &id, second);
        it.manifest = Some(digest("manifest"));
        it.image = format!("localhost:5000/a@{}", digest("index"));
        vec![image(&id, &names[..number], Platform::linux_amd64()), item(it)]
    };
    world.receive(batch(1, 1, about(1, 1))).await.unwrap();
    let told = world.told_names().await;
    for name in ["config", "manifest", "index", "0"] {
        assert!(told.contains(&digest(name)), "{name}");
    }
    assert_eq!(told.len(), 4);
    // Told once; and again by a server that is new to it, without the agent saying anything.
    world.tell(pushed("other", "x", "y")).await;
    assert_eq!(world.db.waiting_deliveries(consumer::REGISTRY).await.unwrap(), 1);
    let forget = "UPDATE fleet_containers SET told_hash = NULL";
    let done: Result<u64, DbError> =
        world.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(forget, args![]).await })).await;
    done.unwrap();
    world.tell(pushed("other", "x", "y")).await;
    for room in [consumer::REGISTRY, consumer::FINDINGS, consumer::CLEARANCE] {
        assert_eq!(world.db.waiting_deliveries(room).await.unwrap(), 2, "{room}");
    }
    // An engine that calls it by more names than there is room for is told of all the same.
    world.receive(batch(1, 2, about(limit::NAMES, 2))).await.unwrap();
    assert_eq!(world.told_names().await.len(), limit::NAMES, "three names over the limit");
}

impl World {
    /// The names in what the registry was told last.
    async fn told_names(&self) -> Vec<Digest> {
        let sql = "SELECT payload FROM store_deliveries WHERE consumer = $1";
        let rows = self.db.fetch_all(sql, args![consumer::REGISTRY]).await.unwrap();
        let seen = rows.iter().map(|row| match row.json(0).unwrap() {
            Event::ContainerSeen(seen) => seen,
            other => panic!("{other:?}"),
        });
        seen.max_by_key(|seen| seen.revision).unwrap().names
    }
}

impl World {
    /// An empty fleet again.
    async fn forget(&self) {
        let done: Result<_, DbError> = self
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
