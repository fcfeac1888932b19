//! Containers: the same judgement as their images', with their settings and their origin.

use seaworthy_clearance::{Workload, limit};
use seaworthy_model::{
    Actor, ClearanceChange, ClearanceChanged, ContainerKey, ContainerSeen, Event, FeedState, HostId,
    Presence, Settings, Timestamp,
};
use seaworthy_policy::{RuleResult, Verdict, WorkloadSettings};
use seaworthy_store::args;
use seaworthy_testkit::TestDb;
use serde_json::Value;

use super::{World, content, digest, repo};

const CONFINED: &str = "policy: confined
selects: ['prod/**']
rules:
  - container: { privileged: forbid, user: non_root }
    mode: enforce
  - registries: { allow: [this] }
";

fn key(id: &str) -> ContainerKey {
    ContainerKey { host: HostId::from_u128(7), runtime: "docker".into(), id: id.into() }
}

/// A confined container of `prod/web@name`.
fn container(id: &str, name: &str) -> ContainerSeen {
    ContainerSeen {
        key: key(id),
        revision: 1,
        host_name: "h1".into(),
        name: format!("web-{id}"),
        presence: Presence::Live,
        started_at: Some(Timestamp::from_micros(1_000)),
        reported: "localhost:5000/prod/web:1".into(),
        named: Some("localhost:5000/prod/web".into()),
        repository: repo("prod/web"),
        digest: Some(digest(name)),
        names: vec![],
        content_id: Some(content(name)),
        is_awaited: false,
        settings: Settings { user: "1000".into(), ..Settings::default() },
    }
}

impl World {
    async fn seen(&self, it: &ContainerSeen) {
        self.tell(Event::ContainerSeen(Box::new(it.clone()))).await;
    }

    async fn workload(&self, id: &str) -> Option<Workload> {
        self.settled().await;
        self.room.workload(&key(id)).await.expect("read")
    }

    /// The verdict once it holds.
    async fn deploy(&self, id: &str) -> Verdict {
        let decided = async {
            loop {
                let workload = self.workload(id).await.expect("a container");
                let holds = self.room.deploy_verdict(&workload).await.expect("answer");
                let judged = workload.judgement.as_ref().map(|it| it.verdict);
                if Some(holds) == judged {
                    let listed = self.room.deploy_verdicts(&[key(id), key("nobody")]).await;
                    assert_eq!(listed.expect("answers"), [Some(holds), None]);
                    return holds;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), decided).await.expect("a verdict")
    }

    /// What the telemetry room is told, oldest first.
    async fn told(&self) -> Vec<ClearanceChanged> {
        let sql = "SELECT payload FROM store_deliveries WHERE consumer = 'telemetry' ORDER BY id";
        let rows = self.db.fetch_all(sql, args![]).await.expect("query");
        let event = |row: &seaworthy_store::Row| match row.json(0).expect("an event") {
            Event::ClearanceChanged(changed) => *changed,
            other => panic!("{other:?}"),
        };
        rows.iter().map(event).collect()
    }

    async fn acts(&self, action: &str, id: &str) -> Vec<Value> {
        let sql = "SELECT object, leaf FROM ledger_leaves WHERE action = $1 ORDER BY id";
        let rows = self.db.fetch_all(sql, args![action]).await.expect("query");
        let object = format!("hosts/h1/containers/{id}");
        let of = rows.iter().filter(|row| row.text(0).expect("object") == object);
        of.map(|row| row.json::<Value>(1).expect("leaf")["details"].clone()).collect()
    }
}

pub(super) async fn a_container_is_judged_before_it_runs(test: TestDb) {
    let world = World::new(test).await;
    world.room.apply_policy(&Actor::operator(0), CONFINED).await.expect("applied");
    let asked = async |name: &str, settings: &str| {
        let settings = WorkloadSettings::parse(settings).expect("settings");
        let facts = settings.facts(&"localhost:5000/prod/web".parse().expect("reference"), Some("1000"));
        world.room.judge_deploy(&repo("prod/web"), &digest(name), facts).await.expect("answer")
    };
    let verdict =
        async |name: &str, settings: &str| asked(name, settings).await.expect("an image").decision.verdict;
    // Announced a moment ago, pushed, inspected: what is under way is pending, a known weakness is not.
    assert_eq!(verdict("good", "{}").await, Verdict::Pending);
    world.tell(world.pushed("prod/web", "good", &[])).await;
    world.tell(World::inspected("prod/web", "good")).await;
    world.settled().await;
    assert_eq!(verdict("good", "{}").await, Verdict::Pending);
    assert_eq!(verdict("good", "privileged: true").await, Verdict::Blocked);
    world.tell(World::matched("good", 1, &[])).await;
    world.settled().await;
    assert_eq!(verdict("good", "{}").await, Verdict::Allowed);
    assert_eq!(verdict("good", "user: unknown").await, Verdict::Blocked);
    assert_eq!(verdict("good", "privileged: true").await, Verdict::Blocked);

    // What runs like this gets the very same answer, and only that is recorded.
    let recorded = world.decisions("good").await;
    let before = asked("good", "{}").await.expect("an image");
    assert_eq!(world.decisions("good").await, recorded);
    world.seen(&container("a", "good")).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
    let after = world.workload("a").await.expect("known").judgement.expect("judged");
    assert_eq!((before.decision.reasons, before.policies), (after.reasons, after.policies));
    assert_eq!(before.facts, after.facts);

    // An index is no image.
    world.tell(world.pushed("prod/web", "many", &["good"])).await;
    world.settled().await;
    assert_eq!(asked("many", "{}").await, None);
}

pub(super) async fn a_container_is_judged_with_its_settings(test: TestDb) {
    let world = World::new(test).await;
    world.room.apply_policy(&Actor::operator(0), CONFINED).await.expect("applied");
    world.push("prod/web", "good", &[]).await;
    world.seen(&container("a", "good")).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
    let mut privileged = container("b", "good");
    privileged.settings.privileged = true;
    world.seen(&privileged).await;
    assert_eq!(world.deploy("b").await, Verdict::Blocked);
    let judged = world.workload("b").await.expect("known").judgement.expect("judged");
    let failed: Vec<_> = judged.reasons.iter().filter(|it| it.result == RuleResult::Fail).collect();
    assert_eq!((failed.len(), failed[0].rule.as_str()), (1, "confined/container"));
    assert!(world.stored("prod/web", "good").await.reasons.iter().all(|it| it.rule != "confined/container"));
    // An advisory, with nothing seen again; and its end.
    world.tell(World::matched("good", 2, &["CVE-1"])).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    world.tell(World::matched("good", 3, &[])).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
    let verdicts: Vec<_> =
        world.acts("clearance.decide", "a").await.iter().map(|it| it["verdict"].clone()).collect();
    assert_eq!(verdicts, ["allowed", "blocked", "allowed"]);
    // A policy holds at the next question.
    let loose = CONFINED.replace("mode: enforce", "mode: audit");
    world.room.apply_policy(&Actor::operator(0), &loose).await.expect("applied");
    let workload = world.room.workload(&key("b")).await.expect("read").expect("known");
    let holds = world.room.deploy_verdict(&workload).await.expect("answer");
    assert_ne!(holds, Verdict::Blocked);
    let listed = world.room.deploy_verdicts(std::slice::from_ref(&workload.seen.key)).await;
    assert_eq!(listed.expect("answers"), [Some(holds)]);
    assert_eq!(world.deploy("b").await, Verdict::Allowed);
}

pub(super) async fn what_is_seen_again_is_never_pending(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "bad", &["CVE-1"]).await;
    let mut it = container("a", "bad");
    world.seen(&it).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    let done = std::sync::atomic::AtomicBool::new(false);
    let again = async {
        for revision in 2..30 {
            (it.revision, it.name) = (revision, format!("web-{revision}"));
            world.seen(&it).await;
            world.settled().await;
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let ask = async {
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let workload = world.room.workload(&key("a")).await.expect("read").expect("a container");
            let verdict = world.room.deploy_verdict(&workload).await.expect("answer");
            assert_eq!(verdict, Verdict::Blocked, "{}", workload.seen.name);
        }
    };
    tokio::join!(again, ask);
    assert_eq!(world.workload("a").await.expect("known").seen.name, "web-29");
}

pub(super) async fn each_start_of_a_blocked_image_is_reported_once(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "bad", &["CVE-1"]).await;
    let mut it = container("a", "bad");
    it.presence = Presence::Stopped;
    world.seen(&it).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    assert_eq!(world.acts("clearance.violation", "a").await.len(), 0, "it does not run");
    (it.presence, it.revision) = (Presence::Live, 2);
    world.seen(&it).await;
    world.seen(&it).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    let violations = world.acts("clearance.violation", "a").await;
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0]["image"], "localhost:5000/prod/web:1");
    it.revision = 3;
    it.name = "renamed".into();
    world.seen(&it).await;
    world.deploy("a").await;
    assert_eq!(world.acts("clearance.violation", "a").await.len(), 1, "the same start");
    (it.started_at, it.revision) = (Some(Timestamp::from_micros(2_000)), 4);
    world.seen(&it).await;
    world.deploy("a").await;
    assert_eq!(world.acts("clearance.violation", "a").await.len(), 2, "another start");
    // Allowed, and blocked again while it runs: newly blocked is news.
    world.tell(World::matched("bad", 2, &[])).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
    world.tell(World::matched("bad", 3, &["CVE-2"])).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    assert_eq!(world.acts("clearance.violation", "a").await.len(), 3);
}

pub(super) async fn what_nobody_pushed_is_judged_as_unknown(test: TestDb) {
    let world = World::new(test).await;
    let unknown = |id: &str, repository: &str| ContainerSeen {
        repository: repo(repository),
        digest: None,
        content_id: None,
        ..container(id, "nobody's")
    };
    world.seen(&unknown("a", "prod/web")).await;
    world.seen(&unknown("b", "docker.io/library/nginx")).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked, "unknown is not fine where a policy enforces");
    assert_eq!(world.deploy("b").await, Verdict::Allowed, "elsewhere it is shown");
    let judged = world.workload("b").await.expect("known").judgement.expect("judged");
    let doubts = judged.reasons.iter().filter(|it| it.result == RuleResult::Indeterminate).count();
    assert!(doubts >= 3, "{:?}", judged.reasons);
    // Pushed and not inspected yet: it is under way.
    let awaited = ContainerSeen { is_awaited: true, revision: 2, ..unknown("a", "prod/web") };
    world.seen(&awaited).await;
    world.settled().await;
    assert_eq!(world.deploy("a").await, Verdict::Pending);
    world.push("prod/web", "found", &[]).await;
    let found = ContainerSeen { revision: 3, ..container("a", "found") };
    world.seen(&found).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
}

pub(super) async fn the_order_of_news_does_not_matter(test: TestDb) {
    let world = World::new(test).await;
    for (n, order) in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]].into_iter().enumerate() {
        let (id, name) = (format!("c{n}"), format!("image {n}"));
        let old = ContainerSeen { content_id: None, digest: None, ..container(&id, &name) };
        let new = ContainerSeen { revision: 2, ..container(&id, &name) };
        let events = [
            Event::ContainerSeen(Box::new(old)),
            Event::ContainerSeen(Box::new(new)),
            World::inspected("prod/web", &name),
            World::matched(&name, 1, &["CVE-1"]),
        ];
        for at in order {
            world.tell(events[at].clone()).await;
            world.settled().await;
        }
        assert_eq!(world.deploy(&id).await, Verdict::Blocked, "{order:?}");
        let judged = world.workload(&id).await.expect("known").judgement.expect("judged");
        assert!(judged.facts.findings.is_some(), "by its findings: {order:?}");
    }
}

pub(super) async fn a_container_that_is_gone_stays_gone(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "good", &[]).await;
    world.seen(&container("a", "good")).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
    let gone = ContainerSeen { presence: Presence::Gone, revision: 3, ..container("a", "good") };
    world.seen(&gone).await;
    assert_eq!(world.workload("a").await, None);
    world.seen(&ContainerSeen { revision: 2, ..container("a", "good") }).await;
    assert_eq!(world.workload("a").await, None, "late news");
    // Forgotten after a day, not before, when another one goes.
    for (id, seconds, left) in [("b", limit::GONE_SECONDS, 2), ("c", 1, 2)] {
        world.clock.advance(seconds);
        world.seen(&ContainerSeen { presence: Presence::Gone, ..container(id, "good") }).await;
        world.settled().await;
        let rows = world
            .db
            .fetch_all("SELECT id FROM clearance_workloads ORDER BY id", args![])
            .await
            .expect("rows");
        assert_eq!(rows.len(), left, "{id}");
    }
}

pub(super) async fn what_becomes_blocked_is_told_once(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "a", &[]).await;
    let mut it = container("a", "a");
    it.name = "w".repeat(300);
    world.seen(&it).await;
    assert_eq!(world.deploy("a").await, Verdict::Allowed);
    assert_eq!(world.told().await, [], "what is fine is no news");
    // An advisory, while it runs.
    world.tell(World::matched("a", 2, &["CVE-1"])).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    world.seen(&ContainerSeen { revision: 2, ..it.clone() }).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    let told = world.told().await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((told[0].change, told[0].before.as_deref()), (ClearanceChange::NewlyBlocked, Some("allowed")));
    assert_eq!((told[0].verdict.as_str(), &told[0].host_name), ("blocked", &it.host_name));
    assert_eq!((told[0].digest, told[0].name.len()), (Some(digest("a")), 200), "shortened");
    let reason = &told[0].reasons[0];
    assert_eq!((reason.rule.as_str(), reason.mode.as_str()), ("prod/vulns", "enforce"), "what blocks first");
    assert!(reason.message.contains("CVE-1") && reason.message_ja.contains("脆弱性"), "{reason:?}");
    // Another start of what is blocked is another kind of news; one that does not run is none.
    it.presence = Presence::Stopped;
    world.seen(&ContainerSeen { revision: 3, ..it.clone() }).await;
    world.deploy("a").await;
    assert_eq!(world.told().await.len(), 1);
    it.presence = Presence::Live;
    it.started_at = Some(Timestamp::from_micros(9_000));
    world.seen(&ContainerSeen { revision: 4, ..it.clone() }).await;
    world.deploy("a").await;
    let told = world.told().await;
    assert_eq!((told.len(), told[1].change), (2, ClearanceChange::BlockedStarted), "{told:#?}");
    // More rules than are told: as many as the limit, the rest counted.
    let strict = "policy: strict\nselects: ['prod/**']\nrules:
  - container: { privileged: forbid }
    name: r1
    mode: audit
  - container: { user: non_root }
    name: r2
    mode: enforce
  - container: { host_network: forbid }
    name: r3
    mode: enforce
";
    world.room.apply_policy(&Actor::operator(0), strict).await.expect("applied");
    let mut weak = ContainerSeen { name: "weak".into(), ..container("b", "a") };
    weak.settings.privileged = true;
    weak.settings.host_network = true;
    weak.settings.user = "0".into();
    world.seen(&weak).await;
    assert_eq!(world.deploy("b").await, Verdict::Blocked);
    let told = world.told().await;
    let last = told.last().expect("told");
    assert_eq!((last.name.as_str(), last.reasons.len()), ("weak", limit::TOLD_REASONS));
    assert!(last.more_reasons >= 1 && last.reasons.iter().all(|it| it.mode == "enforce"), "{last:#?}");
}

/// While an import runs, what is indeterminate is pending. What was told before it is not told again.
pub(super) async fn an_import_tells_nothing_twice(test: TestDb) {
    let world = World::new(test).await;
    let unknown = ContainerSeen { digest: None, content_id: None, ..container("a", "nobody's") };
    world.seen(&unknown).await;
    assert_eq!(world.deploy("a").await, Verdict::Blocked);
    assert_eq!(world.told().await.len(), 1);
    for revision in [2, 4] {
        world.tell(world.feeds(revision, FeedState::Importing)).await;
        world.settled().await;
        world.tell(world.feeds(revision + 1, FeedState::Settled)).await;
        world.settled().await;
        assert_eq!(world.deploy("a").await, Verdict::Blocked);
    }
    assert_eq!(world.told().await.len(), 1, "the same start");
    assert_eq!(world.acts("clearance.violation", "a").await.len(), 1);
}
