//! The post: what is stored is sent, and what breaks in between loses and repeats nothing that a
//! receiver cannot tell.

use std::{sync::Arc, time::Duration};

use seaworthy_clearance::Clearance;
use seaworthy_model::{
    Actor, AlertTargetId, ClearanceChanged, ContainerKey, ContainerSeen, Event, FixedClock, HostId, Presence,
    Settings, Timestamp, consumer,
};
use seaworthy_policy::Language;
use seaworthy_seal::Seal;
use seaworthy_server::{
    MailConfig,
    alerts::{Links, Post, PostConfig, sealed_for},
    limit,
    mail::Mail,
    trusted,
    webhook::{Address, Endpoint, Key, Webhook},
};
use seaworthy_store::{Db, DbError};
use seaworthy_telemetry::{NewTarget, TargetKind, Telemetry};
use seaworthy_testkit::TestDb;
use tokio_util::sync::CancellationToken;

use crate::{
    mails::about,
    receiver::Receiver,
    smtp::{Behaviour, MailServer, header},
};

struct World {
    db: Db,
    clock: Arc<FixedClock>,
    telemetry: Telemetry,
    seal: Arc<Seal>,
    mail: Option<Mail>,
    cancel: CancellationToken,
    _test: TestDb,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl World {
    async fn new(test: TestDb) -> Self {
        let clock = Arc::new(FixedClock::at("2026-11-23".parse().expect("date")));
        let db = test.reopen(clock.clone()).await;
        let telemetry = Telemetry::new(db.clone());
        let cancel = CancellationToken::new();
        tokio::spawn(telemetry.clone().run(cancel.clone()));
        let keys = test.path().join("keys");
        std::fs::create_dir(&keys).expect("a folder");
        let seal = Arc::new(Seal::open(&keys).expect("a key"));
        Self { db, clock, telemetry, seal, mail: None, cancel, _test: test }
    }

    fn post(&self) -> Post {
        Post::new(PostConfig {
            telemetry: self.telemetry.clone(),
            seal: self.seal.clone(),
            webhook: Webhook::new(trusted::roots(None).expect("roots"), &[]).expect("TLS"),
            mail: self.mail.clone(),
            language: Language::English,
            links: Links { base: "http://localhost:5000".into() },
        })
    }

    /// A target that receives at `receiver`; its secret.
    async fn target(&self, name: &str, receiver: &Receiver) -> String {
        let url = format!("http://127.0.0.1:{}/", receiver.port);
        let address = Address::parse(&url).expect("an address");
        let endpoint = Endpoint { address, key: Key::generate().expect("random") };
        let id = AlertTargetId::generate();
        let sealed = self.seal.wrap(&sealed_for(id), endpoint.keep().expose()).expect("sealed");
        self.create(NewTarget {
            id,
            name: name.into(),
            kind: TargetKind::Webhook,
            shown: endpoint.address.shown(),
            sealed,
            events: vec![],
            repositories: vec![],
            format: seaworthy_telemetry::Format::CloudEvents,
            networks: vec!["127.0.0.1".into()],
        })
        .await;
        endpoint.key.told().expose().clone()
    }

    async fn create(&self, new: NewTarget) {
        self.telemetry.create_target(&Actor::operator(0), new).await.expect("made");
    }

    async fn deliver(&self, to: &'static str, events: Vec<Event>) {
        let now = self.db.now();
        let sent = self.db.upkeep(events, move |events, tx| {
            Box::pin(async move {
                for event in events {
                    tx.deliver(to, event, now).await?;
                }
                Ok::<_, DbError>(())
            })
        });
        sent.await.expect("told");
    }

    async fn tell(&self, names: &[&str]) {
        let events = names.iter().map(|name| {
            let changed = ClearanceChanged { name: (*name).to_owned(), ..about("") };
            Event::ClearanceChanged(Box::new(changed))
        });
        self.deliver(consumer::TELEMETRY, events.collect()).await;
    }

    async fn until(&self, what: &str, mut is: impl AsyncFnMut(&Telemetry) -> bool) {
        let waiting = async {
            while !is(&self.telemetry).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn delivered(&self, name: &str, count: u64) {
        let is = async |it: &Telemetry| it.target(name).await.expect("there").health.delivered == count;
        self.until(&format!("{count} delivered to {name}"), is).await;
    }
}

pub(super) async fn a_slow_target_holds_up_itself_alone(test: TestDb) {
    let world = World::new(test).await;
    let (slow, quick) = (Receiver::http(&[0]).await, Receiver::http(&[204]).await);
    world.target("a-slow", &slow).await;
    let secret = world.target("quick", &quick).await;
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    world.tell(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let post = tokio::spawn(world.post().run(world.cancel.clone()));
    world.delivered("quick", 20).await;
    let mut told: Vec<String> = Vec::new();
    for request in quick.came(20).await {
        told.push(request.believed(&secret)["data"]["container"]["name"].as_str().expect("name").to_owned());
    }
    told.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(told, expected, "each once");
    assert_eq!(slow.came(limit::PER_TARGET).await.len(), limit::PER_TARGET, "and no more at once");
    let ids: std::collections::BTreeSet<String> =
        quick.requests().iter().map(|it| it.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 20, "each its own id");
    post.abort();
}

pub(super) async fn a_killed_sender_is_followed_under_the_same_id(test: TestDb) {
    let world = World::new(test).await;
    // The first request is taken and not answered: whoever sent it dies before it settles.
    let receiver = Receiver::http(&[0, 204]).await;
    let secret = world.target("hook", &receiver).await;
    world.tell(&["web"]).await;
    let first = tokio::spawn(world.post().run(CancellationToken::new()));
    receiver.came(1).await;
    first.abort();
    assert!(first.await.is_err_and(|it| it.is_cancelled()));
    let second = tokio::spawn(world.post().run(world.cancel.clone()));
    world.clock.advance(seaworthy_telemetry::limit::LEASE_SECONDS);
    world.delivered("hook", 1).await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[0].believed(&secret), requests[1].believed(&secret));
    assert_ne!(requests[0].header("webhook-timestamp"), requests[1].header("webhook-timestamp"));
    // Told to stop, it finishes what it sends.
    world.cancel.cancel();
    second.await.expect("it ended");
}

pub(super) async fn what_fails_is_sent_again_until_it_is_given_up(test: TestDb) {
    let world = World::new(test).await;
    let receiver = Receiver::http(&[500, 503, 204, 410]).await;
    let secret = world.target("hook", &receiver).await;
    let post = tokio::spawn(world.post().run(world.cancel.clone()));
    world.tell(&["web"]).await;
    for attempts in 1..=2 {
        receiver.came(attempts).await;
        world
            .until("the failure is stored", async |it| {
                it.target("hook").await.expect("there").health.failed_at == Some(world.db.now())
            })
            .await;
        assert_eq!(receiver.requests().len(), attempts, "not before its time");
        // Nothing rings for time that passes: it is noticed by looking.
        world.clock.advance(seaworthy_telemetry::limit::BACKOFF_SECONDS * 4);
        let began = std::time::Instant::now();
        receiver.came(attempts + 1).await;
        assert!(began.elapsed() < Duration::from_millis(limit::POST_POLL_MS * 20), "{:?}", began.elapsed());
    }
    world.delivered("hook", 1).await;
    assert_eq!(receiver.requests()[2].believed(&secret)["data"]["container"]["name"], "web");
    world.tell(&["gone"]).await;
    world.until("given up", async |it| it.counts().await.expect("counts").dead == 1).await;
    let dead = world.telemetry.dead(None, 10).await.expect("dead");
    assert!(dead[0].failure.contains("answered 410"), "{dead:?}");
    post.abort();
}

/// A container without an image that is known here, run as root.
fn seen(n: u32) -> ContainerSeen {
    ContainerSeen {
        key: ContainerKey { host: HostId::from_u128(7), runtime: "docker".into(), id: format!("{n:064x}") },
        revision: 1,
        host_name: "h1".into(),
        name: format!("c{n}"),
        presence: Presence::Live,
        started_at: Some(Timestamp::from_micros(1_000)),
        reported: "localhost:5000/dev/web:1".into(),
        named: Some("localhost:5000/dev/web".into()),
        repository: "dev/web".parse().expect("name"),
        digest: None,
        names: vec![],
        content_id: None,
        is_awaited: false,
        settings: Settings { user: "0".into(), ..Settings::default() },
    }
}

/// A policy that blocks a thousand running containers is one mail.
pub(super) async fn a_summary_is_one_mail(test: TestDb) {
    const COUNT: u32 = 1_000;
    let behaviour = Behaviour { tls: "none", identity: None, login: None, answer: "250" };
    let Some(server) = MailServer::start("a_summary_is_one_mail", &behaviour) else { return };
    let mut world = World::new(test).await;
    let config = MailConfig {
        host: "127.0.0.1".into(),
        port: server.port,
        tls: "none".into(),
        from: "seaworthy@example.com".into(),
        ..MailConfig::default()
    };
    world.mail = Some(Mail::new(&config, None).expect("usable"));
    let post = tokio::spawn(world.post().run(world.cancel.clone()));
    world
        .create(NewTarget {
            id: AlertTargetId::generate(),
            name: "ops".into(),
            kind: TargetKind::Mail,
            shown: "ops@example.com".into(),
            sealed: vec![],
            events: vec![],
            repositories: vec![],
            format: seaworthy_telemetry::Format::CloudEvents,
            networks: vec![],
        })
        .await;
    let clearance = Clearance::open(world.db.clone()).await.expect("opens");
    clearance.install(seaworthy_server::DEFAULT_POLICIES).await.expect("installed");
    tokio::spawn(clearance.clone().run(world.cancel.clone()));
    let events = (0..COUNT).map(|n| Event::ContainerSeen(Box::new(seen(n)))).collect();
    world.deliver(consumer::CLEARANCE, events).await;
    world
        .until("all are judged", async |it| {
            it.db().waiting_deliveries(consumer::CLEARANCE).await.expect("count") == 0
        })
        .await;
    assert_eq!(world.telemetry.alerts(None, 1).await.expect("alerts"), [], "what is allowed is no news");

    let strict =
        "policy: strict\nselects: ['dev/**']\nrules:\n  - container: { user: non_root }\n    mode: enforce\n";
    clearance.apply_policy(&Actor::operator(0), strict).await.expect("applied");
    let waiting = async |it: &Telemetry| it.counts().await.expect("counts").waiting == u64::from(COUNT);
    world.until("all are told", waiting).await;
    assert!(!server.has_more(), "the minute is not over");
    world.clock.advance(seaworthy_telemetry::limit::SUMMARY_SECONDS);
    world.delivered("ops", 1).await;
    let mail = server.next();
    assert_eq!(header(&mail, "Subject"), "[seaworthy] 1000 alerts about running containers");
    let text = mail["text"].as_str().expect("text");
    assert!(text.contains("running and newly blocked: 1000") && text.contains("- and 980 more"), "{text}");
    assert!(text.contains("(strict/container)"), "{text}");
    assert!(!server.has_more(), "one summary and nothing else");
    assert_eq!(world.telemetry.counts().await.expect("counts").waiting, 0);
    post.abort();
}
