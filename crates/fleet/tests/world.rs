//! A fleet, and what agents, registry and inspection tell it.

use std::{collections::BTreeMap, sync::Arc};

use seaworthy_fleet::{ContainerView, Filter, Fleet, FleetConfig, FleetError, Presence};
use seaworthy_link::{
    Ack, Batch, Container, ContainerState, EngineImage, Host, Item, Runtime, Settings, VERSION,
};
use seaworthy_model::{
    Actor, ChildManifest, ContentId, Coverage, Event, FixedClock, HostId, ImageFacts, Inventory,
    InventoryReady, ManifestPushed, SpoolId, Timestamp, consumer,
};
use seaworthy_oci::{Digest, Platform};
use seaworthy_store::{Db, DbError, schema::RoomSchema};
use seaworthy_testkit::TestDb;
use tokio_util::sync::CancellationToken;

pub(crate) const ROOMS: &[RoomSchema] = &[seaworthy_ledger::SCHEMA, seaworthy_fleet::SCHEMA];
const NOW: i64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) db: Db,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) host: HostId,
    _test: TestDb,
}

pub(crate) fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

pub(crate) fn content(name: &str) -> ContentId {
    ContentId::of(&Platform::linux_amd64(), &[digest(name)])
}

pub(crate) fn arm() -> Platform {
    Platform { architecture: "arm64".into(), ..Platform::linux_amd64() }
}

/// Second `at` of the test.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + second)
}

pub(crate) fn container(id: &str, image_id: &str, seen: i64) -> Container {
    Container {
        runtime: Runtime::Docker,
        id: id.into(),
        name: format!("name of {id}"),
        image: "localhost:5000/prod/web:1".into(),
        image_id: image_id.into(),
        manifest: None,
        state: ContainerState::Running,
        created_at: Some(at(0)),
        started_at: Some(at(0)),
        finished_at: None,
        exit_code: None,
        settings: Settings::default(),
        labels: BTreeMap::new(),
        seen_at: at(seen),
        cut: false,
    }
}

pub(crate) fn item(container: Container) -> Item {
    Item::Container(Box::new(container))
}

pub(crate) fn image(id: &str, repository_digests: &[String], platform: Platform) -> Item {
    Item::Image(Box::new(EngineImage {
        runtime: Runtime::Docker,
        id: id.into(),
        tags: vec![],
        repository_digests: repository_digests.to_vec(),
        diff_ids: vec![digest("claimed")],
        platform,
    }))
}

pub(crate) fn host_facts() -> Item {
    Item::Host(Host {
        name: "claimed".into(),
        kernel: "Linux".into(),
        platform: Platform::linux_amd64(),
        engine: None,
        agent: "1".into(),
        processors: 1,
        memory_bytes: 1,
    })
}

pub(crate) fn batch(spool: u128, number: u64, items: Vec<Item>) -> Batch {
    Batch { version: VERSION, spool: SpoolId::from_u128(spool), number, made_at: at(0), items }
}

pub(crate) fn pushed(repository: &str, name: &str, config: &str) -> Event {
    Event::ManifestPushed(ManifestPushed {
        repository: repository.parse().unwrap(),
        digest: digest(name),
        media_type: String::new(),
        is_image: true,
        config: Some(digest(config)),
        layers: vec![],
        children: vec![],
        subject: None,
        pushed_at: at(i64::try_from(name.len()).unwrap()),
    })
}

pub(crate) fn index(repository: &str, name: &str, children: &[(&str, Platform)]) -> Event {
    let child = |(name, platform): &(&str, Platform)| ChildManifest {
        digest: digest(name),
        platform: Some(platform.clone()),
    };
    let Event::ManifestPushed(image) = pushed(repository, name, "") else { unreachable!() };
    Event::ManifestPushed(ManifestPushed {
        is_image: false,
        config: None,
        children: children.iter().map(child).collect(),
        ..image
    })
}

pub(crate) fn measured(repository: &str, name: &str, config: &str, what: &str) -> Event {
    Event::InventoryReady(Box::new(InventoryReady {
        manifests: vec![(repository.parse().unwrap(), digest(name))],
        config: digest(config),
        image: ImageFacts::default(),
        support: None,
        inventory: Inventory {
            content_id: content(what),
            platform: Platform::linux_amd64(),
            layers: vec![],
            os: None,
            packages: vec![],
            secrets: vec![],
            coverage: Coverage::default(),
            problems: vec![],
            reader_version: 1,
        },
    }))
}

impl World {
    pub(crate) async fn new(test: TestDb) -> Self {
        let clock = Arc::new(FixedClock::at(at(0)));
        let db = test.reopen(clock.clone()).await;
        let config = FleetConfig { db: db.clone(), registry_hosts: vec!["localhost:5000".into()] };
        let fleet = Fleet::new(config);
        let host = fleet.join(&Actor::system(), "alpha").await.unwrap();
        Self { fleet, db, clock, host, _test: test }
    }

    pub(crate) async fn receive(&self, batch: Batch) -> Result<Ack, FleetError> {
        self.fleet.receive(self.host, batch).await
    }

    /// Tells an event and waits until it is handled.
    pub(crate) async fn tell(&self, event: Event) {
        let now = self.db.now();
        let sent: Result<_, DbError> = self
            .db
            .upkeep(event, move |event, tx| {
                Box::pin(async move { tx.deliver(consumer::FLEET, event, now).await })
            })
            .await;
        sent.unwrap();
        let cancel = CancellationToken::new();
        let running = tokio::spawn(self.fleet.clone().run(cancel.clone()));
        while self.db.waiting_deliveries(consumer::FLEET).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        running.await.unwrap();
        assert!(self.db.failed_deliveries(1).await.unwrap().is_empty());
    }

    pub(crate) async fn all(&self) -> Vec<ContainerView> {
        let presence = vec![Presence::Live, Presence::Stopped, Presence::Gone];
        let filter = Filter { presence, ..Filter::default() };
        self.fleet.containers(&filter, None, 1_000).await.unwrap().containers
    }

    pub(crate) async fn one(&self, id: &str) -> ContainerView {
        self.fleet.container(None, id).await.unwrap().unwrap()
    }
}
