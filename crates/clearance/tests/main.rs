//! Events become verdicts, exactly one final answer for each push, and every answer replays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

use std::{sync::Arc, time::Duration};

use seaworthy_clearance::{Clearance, ClearanceError, NewException, StoredVerdict, limit};
use seaworthy_model::{
    Actor, ChildManifest, ContentId, Coverage, Event, FeedCoverage, FeedState, FeedsChanged, Finding,
    FindingSet, FindingsChanged, FixState, FixedClock, ImageFacts, Inventory, InventoryReady, ManifestPushed,
    Severity, Timestamp, consumer,
};
use seaworthy_oci::{Digest, Platform, RepoName};
use seaworthy_policy::{ExceptionScope, Language, RuleResult, Verdict};
use seaworthy_store::{Db, DbError, args};
use seaworthy_testkit::{TestDb, db_tests};
use tokio_util::sync::CancellationToken;

db_tests!(&[seaworthy_ledger::SCHEMA, seaworthy_clearance::SCHEMA]; a_push_becomes_one_answer, the_order_of_events_does_not_matter,
    findings_flip_the_answer_and_back, an_import_keeps_answers_pending, an_index_needs_one_allowed_image,
    exceptions_need_a_second_person, a_policy_change_holds_at_the_next_question, time_alone_makes_an_answer_pending,
    every_answer_replays, children_beyond_the_limit_are_not_taken_for_allowed, policies_end_at_their_limit,
    exceptions_end_at_their_limit, more_subjects_than_one_round_are_all_judged, one_more_push_judges_no_other,
    what_older_readers_saw_replaces_nothing, news_that_cannot_be_judged_are_not_lost, one_that_cannot_be_judged_keeps_no_other_pending,
    a_container_is_judged_before_it_runs,
    a_container_is_judged_with_its_settings, each_start_of_a_blocked_image_is_reported_once,
    what_is_seen_again_is_never_pending,
    what_nobody_pushed_is_judged_as_unknown, the_order_of_news_does_not_matter,
    a_container_that_is_gone_stays_gone, what_becomes_blocked_is_told_once, an_import_tells_nothing_twice);

mod running;

use running::{
    a_container_is_judged_before_it_runs, a_container_is_judged_with_its_settings,
    a_container_that_is_gone_stays_gone, an_import_tells_nothing_twice,
    each_start_of_a_blocked_image_is_reported_once, the_order_of_news_does_not_matter,
    what_becomes_blocked_is_told_once, what_is_seen_again_is_never_pending,
    what_nobody_pushed_is_judged_as_unknown,
};

const PROD: &str = include_str!("../../../examples/policies/prod.yaml");
const EVERYWHERE: &str = include_str!("../../../examples/policies/everywhere.yaml");

struct World {
    room: Clearance,
    db: Db,
    clock: Arc<FixedClock>,
    cancel: CancellationToken,
    _test: TestDb,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn repo(name: &str) -> RepoName {
    name.parse().expect("name")
}

fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn content(name: &str) -> ContentId {
    ContentId::of(&Platform::linux_amd64(), &[digest(name)])
}

impl World {
    async fn new(test: TestDb) -> Self {
        let clock = Arc::new(FixedClock::at("2026-11-23".parse().expect("date")));
        let db = test.reopen(clock.clone()).await;
        let room = Clearance::open(db.clone()).await.expect("opens");
        room.install(&[PROD, EVERYWHERE]).await.expect("installed");
        let cancel = CancellationToken::new();
        tokio::spawn(room.clone().run(cancel.clone()));
        let world = Self { room, db, clock, cancel, _test: test };
        world.tell(world.feeds(1, FeedState::Settled)).await;
        // Events are handled side by side: an image before the first feed would be blocked for a moment.
        world.settled().await;
        world
    }

    async fn tell(&self, event: Event) {
        let now = self.db.now();
        self.db
            .upkeep(event, move |event, tx| {
                Box::pin(async move { tx.deliver(consumer::CLEARANCE, event, now).await })
            })
            .await
            .map_err(|error: DbError| panic!("{error}"))
            .ok();
    }

    /// As if a worker had claimed it before, and died.
    async fn tell_again(&self, event: Event) {
        let now = self.db.now();
        self.db
            .upkeep(event, move |event, tx| {
                Box::pin(async move {
                    tx.deliver(consumer::CLEARANCE, event, now).await?;
                    tx.execute("UPDATE store_deliveries SET attempts = attempts + 1", args![])
                        .await
                        .map(|_| ())
                })
            })
            .await
            .map_err(|error: DbError| panic!("{error}"))
            .ok();
    }

    fn feeds(&self, revision: i64, state: FeedState) -> Event {
        let feed = |name: &str, covers: &str| FeedCoverage {
            feed: name.into(),
            covers: vec![covers.into()],
            checked_at: self.db.now(),
            newest: None,
        };
        Event::FeedsChanged(FeedsChanged {
            generation: revision,
            revision,
            index_hash: format!("index {revision}"),
            feeds: vec![feed("debian", "deb:debian:12"), feed("kev", "kev")],
            state,
        })
    }

    fn pushed(&self, repository: &str, name: &str, children: &[&str]) -> Event {
        Event::ManifestPushed(ManifestPushed {
            repository: repo(repository),
            digest: digest(name),
            media_type: String::new(),
            is_image: children.is_empty(),
            config: children.is_empty().then(|| digest("config")),
            layers: vec![],
            children: children
                .iter()
                .map(|name| ChildManifest { digest: digest(name), platform: None })
                .collect(),
            subject: None,
            pushed_at: self.db.now(),
        })
    }

    fn inspected(repository: &str, name: &str) -> Event {
        Event::InventoryReady(Box::new(InventoryReady {
            manifests: vec![(repo(repository), digest(name))],
            config: digest("config"),
            image: ImageFacts::default(),
            support: None,
            inventory: Inventory {
                content_id: content(name),
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

    fn matched(name: &str, generation: i64, fixable: &[&str]) -> Event {
        let rows = fixable.iter().map(|id| Finding {
            id: (*id).to_owned(),
            aliases: vec![],
            ecosystem: seaworthy_package::Ecosystem::Deb,
            source: "expat".into(),
            version: "1".into(),
            severity: Severity::Unknown,
            severity_source: String::new(),
            state: FixState::Fixed,
            fixed_version: Some("2".into()),
            kev: false,
            epss: None,
            summary: String::new(),
        });
        Event::FindingsChanged(FindingsChanged {
            set: FindingSet {
                id: format!("set {}", fixable.join(" ")),
                index_hash: format!("index {generation}"),
                release: Some("deb:debian:12".into()),
                covered: true,
                rows: rows.collect(),
            },
            content_ids: vec![content(name)],
            generation,
        })
    }

    async fn push(&self, repository: &str, name: &str, fixable: &[&str]) {
        self.tell(self.pushed(repository, name, &[])).await;
        self.tell(World::inspected(repository, name)).await;
        self.tell(World::matched(name, 1, fixable)).await;
    }

    /// Waits until all events are handled, then asks.
    async fn verdict(&self, repository: &str, name: &str) -> Verdict {
        self.settled().await;
        // The worker forgets what was cached a moment after its transaction, which is all that
        // `settled` sees; an answer is final when it rests on what is stored.
        for _ in 0..1_000 {
            let wait = Duration::from_millis(600);
            let answer = self.room.ask_waiting(&repo(repository), &digest(name), wait).await.expect("answer");
            let Some(behind) = &answer.stored else { return answer.verdict };
            let stored = self.room.stored(&behind.repository, &behind.digest).await.expect("read");
            if stored.as_ref() == Some(behind.as_ref()) {
                return answer.verdict;
            }
            tokio::task::yield_now().await;
        }
        panic!("the cache never caught up with what is stored");
    }

    async fn settled(&self) {
        let waiting = async {
            while self.db.waiting_deliveries(consumer::CLEARANCE).await.expect("count") > 0 {
                self.clock.advance(0);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("events are handled");
    }

    async fn stored(&self, repository: &str, name: &str) -> StoredVerdict {
        self.room.stored(&repo(repository), &digest(name)).await.expect("read").expect("stored")
    }

    async fn decisions(&self, name: &str) -> Vec<String> {
        let rows = self
            .db
            .fetch_all(
                "SELECT object, leaf FROM ledger_leaves WHERE action = 'clearance.decide' ORDER BY id",
                args![],
            )
            .await
            .expect("query");
        rows.iter()
            .filter(|row| row.text(0).expect("object").ends_with(&digest(name).to_string()))
            .map(|row| {
                let leaf: serde_json::Value = row.json(1).expect("leaf");
                leaf["details"]["verdict"].as_str().expect("verdict").to_owned()
            })
            .collect()
    }
}

async fn a_push_becomes_one_answer(test: TestDb) {
    let world = World::new(test).await;
    assert_eq!(world.verdict("prod/web", "never pushed").await, Verdict::Pending);
    world.tell(world.pushed("prod/web", "a", &[])).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Pending);
    world.tell(World::inspected("prod/web", "a")).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Pending);
    world.tell(World::matched("a", 1, &["CVE-1"])).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked);
    let stored = world.stored("prod/web", "a").await;
    let failed = stored.reasons.iter().find(|reason| reason.rule == "prod/vulns").expect("judged");
    assert_eq!(failed.result, RuleResult::Fail);
    assert_eq!(failed.cause.message(Language::English), "1 fixable vulnerability (CVE-1 expat 1 → 2)");
    world.push("dev/web", "a", &["CVE-1"]).await;
    assert_eq!(world.verdict("dev/web", "a").await, Verdict::Allowed, "only warned there");
    let answers: Vec<_> = world.decisions("a").await;
    assert_eq!(answers, ["blocked", "allowed"], "one final answer for each push");
}

async fn the_order_of_events_does_not_matter(test: TestDb) {
    let world = World::new(test).await;
    for (n, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]].into_iter().enumerate() {
        let name = format!("image {n}");
        let events = [
            world.pushed("prod/web", &name, &[]),
            World::inspected("prod/web", &name),
            World::matched(&name, 1, &["CVE-1"]),
        ];
        for index in order {
            world.tell(events[index].clone()).await;
            world.settled().await;
        }
        assert_eq!(world.verdict("prod/web", &name).await, Verdict::Blocked, "{order:?}");
        world.tell(events[order[0]].clone()).await;
        assert_eq!(world.verdict("prod/web", &name).await, Verdict::Blocked, "told twice");
        assert_eq!(world.decisions(&name).await, ["blocked"]);
    }
}

async fn findings_flip_the_answer_and_back(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "a", &[]).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed);
    world.tell(World::matched("a", 3, &["CVE-9"])).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked);
    world.tell(World::matched("a", 2, &[])).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked, "an older generation is dropped");
    world.tell(World::matched("a", 4, &[])).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed);
    assert_eq!(world.decisions("a").await, ["allowed", "blocked", "allowed"]);
}

async fn an_import_keeps_answers_pending(test: TestDb) {
    let world = World::new(test).await;
    let uncovered = |generation| {
        let Event::FindingsChanged(mut findings) = World::matched("a", generation, &[]) else {
            panic!("kind")
        };
        findings.set.covered = generation > 1;
        findings.set.id = format!("covered {}", findings.set.covered);
        Event::FindingsChanged(findings)
    };
    world.tell(world.feeds(2, FeedState::Importing)).await;
    world.tell(world.pushed("prod/web", "a", &[])).await;
    world.tell(World::inspected("prod/web", "a")).await;
    world.tell(uncovered(1)).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Pending, "the import can settle it");
    world.tell(world.feeds(3, FeedState::Settled)).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked, "nothing can any more");
    world.tell(uncovered(2)).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed);
    world.tell(world.feeds(2, FeedState::Importing)).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed, "an older state is dropped");
}

async fn an_index_needs_one_allowed_image(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "good", &[]).await;
    world.push("prod/web", "bad", &["CVE-1"]).await;
    let Event::ManifestPushed(mut empty) = world.pushed("prod/web", "empty", &["absent"]) else {
        panic!("kind")
    };
    empty.children.clear();
    world.tell(Event::ManifestPushed(empty)).await;
    assert_eq!(world.verdict("prod/web", "empty").await, Verdict::Allowed, "there is nothing to run");
    for (name, children, expected) in [
        ("both", &["bad", "good"][..], Verdict::Allowed),
        ("only bad", &["bad"][..], Verdict::Blocked),
        ("bad and absent", &["bad", "absent"][..], Verdict::Blocked),
        ("nothing here", &["absent"][..], Verdict::Pending),
        ("only bad and empty", &["empty", "bad", "empty"][..], Verdict::Blocked),
    ] {
        world.tell(world.pushed("prod/web", name, children)).await;
        assert_eq!(world.verdict("prod/web", name).await, expected, "{name}");
    }
    // Pushed again, when what it named turned out to be no image.
    let Event::ManifestPushed(mut again) = world.pushed("prod/web", "nothing here", &["absent"]) else {
        panic!("kind")
    };
    again.children.clear();
    world.tell(Event::ManifestPushed(again)).await;
    assert_eq!(world.verdict("prod/web", "nothing here").await, Verdict::Allowed);
    world.tell(world.pushed("dev/web", "nothing here", &["absent"])).await;
    assert_eq!(world.verdict("dev/web", "nothing here").await, Verdict::Allowed, "nothing enforces there");
    world.tell(world.pushed("prod/web", "uninspected", &[])).await;
    world.tell(world.pushed("prod/web", "waiting", &["bad", "uninspected"])).await;
    assert_eq!(world.verdict("prod/web", "waiting").await, Verdict::Pending);
    let artifact = |name: &str, subject: Option<&str>| {
        let Event::ManifestPushed(mut pushed) = world.pushed("prod/web", name, &[]) else { panic!("kind") };
        pushed.is_image = false;
        pushed.subject = subject.map(digest);
        Event::ManifestPushed(pushed)
    };
    world.tell(artifact("signature of bad", Some("bad"))).await;
    world.tell(artifact("signature of good", Some("good"))).await;
    world.tell(artifact("chart", None)).await;
    assert_eq!(world.verdict("prod/web", "signature of bad").await, Verdict::Blocked);
    assert_eq!(world.verdict("prod/web", "signature of good").await, Verdict::Allowed);
    assert_eq!(world.verdict("prod/web", "chart").await, Verdict::Allowed);
    // Told again as what it is: an engine would start it.
    world.tell(world.pushed("prod/web", "chart", &[])).await;
    assert_eq!(world.verdict("prod/web", "chart").await, Verdict::Pending);
    world.tell(artifact("chart", None)).await;
    assert_eq!(world.verdict("prod/web", "chart").await, Verdict::Pending, "and not back");
}

async fn exceptions_need_a_second_person(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "a", &["CVE-1"]).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked);
    let (dev, boss) = (Actor::operator(1), Actor::operator(2));
    let new = |days: i64| NewException {
        scope: ExceptionScope {
            repositories: "prod/web".parse().expect("pattern"),
            rule: "prod/vulns".into(),
            advisory: Some("CVE-1".into()),
            package: Some("expat".into()),
        },
        owner: "team-web".into(),
        reason: "the parser is not reachable".into(),
        expires_at: world.db.now().plus_seconds(days * 86_400),
    };
    assert!(matches!(
        world.room.request_exception(&dev, new(91)).await,
        Err(ClearanceError::Exception { .. })
    ));
    let mut typo = new(90);
    typo.scope.rule = "prod/vuln".into();
    let refused = world.room.request_exception(&dev, typo).await.expect_err("no such rule");
    assert!(
        matches!(&refused, ClearanceError::UnknownRule { known, .. } if known.contains(&"prod/vulns".into()))
    );
    let id = world.room.request_exception(&dev, new(90)).await.expect("requested").exception.id;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked, "not approved yet");
    assert!(matches!(world.room.approve_exception(&dev, id).await, Err(ClearanceError::Exception { .. })));
    // The login that docker was given for an operator is that operator.
    let login = Actor { kind: seaworthy_model::ActorKind::User, name: "operator-1".into(), ..dev.clone() };
    assert!(matches!(world.room.approve_exception(&login, id).await, Err(ClearanceError::Exception { .. })));
    world.room.approve_exception(&boss, id).await.expect("approved");
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed);
    assert_eq!(world.room.exception(id).await.expect("row").uses, 1);
    assert_eq!(world.stored("prod/web", "a").await.exceptions, [id]);
    assert!(matches!(world.room.approve_exception(&boss, id).await, Err(ClearanceError::State { .. })));
    world.room.revoke_exception(&boss, id).await.expect("revoked");
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked);
    assert_eq!(world.decisions("a").await, ["blocked", "allowed", "blocked"]);
}

async fn a_policy_change_holds_at_the_next_question(test: TestDb) {
    let world = World::new(test).await;
    world.push("dev/web", "a", &["CVE-1"]).await;
    assert_eq!(world.verdict("dev/web", "a").await, Verdict::Allowed);
    let stricter = "policy: dev\nselects: ['dev/**']\nrules:\n  - vulnerabilities: {any: 0}\n";
    let row = world.room.apply_policy(&Actor::operator(0), stricter).await.expect("applied");
    assert_eq!(row.version, 1);
    let at_once = world.room.ask(&repo("dev/web"), &digest("a")).await.expect("answer").verdict;
    assert_ne!(at_once, Verdict::Allowed, "the old answer does not hold for a moment");
    assert_eq!(world.verdict("dev/web", "a").await, Verdict::Blocked);
    assert_eq!(world.room.apply_policy(&Actor::operator(0), stricter).await.expect("again").version, 1);
    let typo = world.room.apply_policy(&Actor::operator(0), "policy: x\nrulez: []\n").await;
    assert!(matches!(typo, Err(ClearanceError::Policy { .. })));
    let names: Vec<_> = world.room.policies().await.expect("list").into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["dev", "everywhere", "prod"]);
}

async fn time_alone_makes_an_answer_pending(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "a", &[]).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed);
    let until = world.stored("prod/web", "a").await.valid_until.expect("the feed ages");
    assert_eq!(until, Timestamp::from_micros(world.db.now().as_micros()).plus_seconds(86_400));
    world.clock.advance(86_400);
    assert_eq!(
        world.room.ask(&repo("prod/web"), &digest("a")).await.expect("answer").verdict,
        Verdict::Pending
    );
    assert_eq!(
        world.verdict("prod/web", "a").await,
        Verdict::Allowed,
        "decided again: a stale feed only warns"
    );
    let stale = world.stored("prod/web", "a").await;
    assert!(
        stale
            .reasons
            .iter()
            .any(|reason| reason.rule == "prod/advisories" && reason.result == RuleResult::Fail)
    );
}

async fn every_answer_replays(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "a", &["CVE-1", "CVE-2"]).await;
    world.push("dev/web", "b", &["CVE-1"]).await;
    world.push("prod/web", "c", &[]).await;
    for (repository, name) in [("prod/web", "a"), ("dev/web", "b"), ("prod/web", "c")] {
        world.verdict(repository, name).await;
        let stored = world.stored(repository, name).await;
        world.clock.advance(7 * 86_400);
        let again = world.room.replay(&stored).await.expect("replayed");
        assert_eq!((again.verdict, &again.reasons), (stored.verdict, &stored.reasons));
        assert_eq!(again.valid_until, stored.valid_until);
    }
}

async fn children_beyond_the_limit_are_not_taken_for_allowed(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "good", &[]).await;
    world.push("prod/web", "bad", &["CVE-1"]).await;
    let absent: Vec<String> = (0..limit::CHILDREN).map(|at| format!("absent {at}")).collect();
    let index = |name: &str, before: usize, last: &str| {
        let names: Vec<&str> = absent[..before].iter().map(String::as_str).chain([last]).collect();
        world.pushed("prod/web", name, &names)
    };
    for (name, before, last, expected) in [
        ("bad within", limit::CHILDREN - 1, "bad", Verdict::Blocked),
        ("good within", limit::CHILDREN - 1, "good", Verdict::Allowed),
        ("nothing within", limit::CHILDREN - 1, "absent", Verdict::Pending),
        ("bad beyond", limit::CHILDREN, "bad", Verdict::Blocked),
        ("good beyond", limit::CHILDREN, "good", Verdict::Blocked),
    ] {
        world.tell(index(name, before, last)).await;
        assert_eq!(world.verdict("prod/web", name).await, expected, "{name}");
    }
}

async fn policies_end_at_their_limit(test: TestDb) {
    let world = World::new(test).await;
    let actor = Actor::operator(1);
    let policy = |at: i64, mode: &str| {
        let text = EVERYWHERE.replace("policy: everywhere", &format!("policy: policy-{at:03}"));
        format!("{text}# {mode}\n")
    };
    // Two are installed.
    for at in 2..limit::POLICIES {
        world.room.apply_policy(&actor, &policy(at, "first")).await.expect("up to the limit");
    }
    let refused = world.room.apply_policy(&actor, &policy(limit::POLICIES, "first")).await;
    assert!(matches!(refused, Err(ClearanceError::TooMany { kind: "policies", limit: limit::POLICIES })));
    let next = world.room.apply_policy(&actor, &policy(2, "second")).await.expect("a version is no policy");
    assert_eq!(next.version, 2);
}

async fn exceptions_end_at_their_limit(test: TestDb) {
    let world = World::new(test).await;
    let dev = Actor::operator(1);
    let until = world.db.now().plus_seconds(3_600);
    let added: Result<(), DbError> = world
        .db
        .upkeep(until, |until, tx| {
            Box::pin(async move {
                for at in 1..limit::EXCEPTIONS {
                    tx.execute(
                        "INSERT INTO clearance_exceptions (id, state, body, expires_at, uses)
                         VALUES ($1, 'requested', '{}', $2, 0)",
                        args![at.to_be_bytes().as_slice(), until.as_micros()],
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await;
    added.expect("added");
    let request = async || {
        let new = NewException {
            scope: ExceptionScope {
                repositories: "prod/web".parse().expect("pattern"),
                rule: "prod/vulns".into(),
                advisory: None,
                package: None,
            },
            owner: "team-web".into(),
            reason: "the parser is not reachable".into(),
            expires_at: until,
        };
        world.room.request_exception(&dev, new).await
    };
    request().await.expect("at the limit");
    let refused = request().await;
    assert!(matches!(refused, Err(ClearanceError::TooMany { kind: "exceptions", limit: limit::EXCEPTIONS })));
    // Those that are over make room.
    world.clock.advance(3_600);
    let later = world.db.now().plus_seconds(60);
    let mut new = request().await;
    assert!(new.is_err(), "its own time is over");
    let scope = ExceptionScope {
        repositories: "prod/web".parse().expect("pattern"),
        rule: "prod/vulns".into(),
        advisory: None,
        package: None,
    };
    let (owner, reason) = ("team-web".into(), "the parser is not reachable".into());
    new = world.room.request_exception(&dev, NewException { scope, owner, reason, expires_at: later }).await;
    new.expect("room again");
}

async fn more_subjects_than_one_round_are_all_judged(test: TestDb) {
    let world = World::new(test).await;
    let names: Vec<String> = (0..=limit::BATCH).map(|at| format!("prod/r{at:03}")).collect();
    for name in &names {
        world.tell(world.pushed(name, "a", &[])).await;
    }
    let Event::InventoryReady(mut ready) = World::inspected("prod/r000", "a") else { panic!("kind") };
    ready.manifests = names.iter().map(|name| (repo(name), digest("a"))).collect();
    world.tell(Event::InventoryReady(ready)).await;
    world.tell(World::matched("a", 1, &["CVE-1"])).await;
    for name in &names {
        assert_eq!(world.verdict(name, "a").await, Verdict::Blocked, "{name}");
    }
    assert_eq!(world.decisions("a").await, vec!["blocked"; names.len()], "each once");
}

/// An image that is pushed under many names, or with other annotations, is one content: each push is judged, and
/// the others are not judged again, or the thousandth push would cost a thousand judgements.
async fn one_more_push_judges_no_other(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/one", "app", &[]).await;
    assert_eq!(world.verdict("prod/one", "app").await, Verdict::Allowed);
    let first = world.stored("prod/one", "app").await;
    world.clock.advance(60);
    world.push("prod/two", "app", &[]).await;
    assert_eq!(world.verdict("prod/two", "app").await, Verdict::Allowed);
    assert_eq!(world.stored("prod/one", "app").await, first);
    // What is new is for all: findings, and what a newer reader saw.
    world.tell(World::matched("app", 2, &["CVE-2026-1"])).await;
    assert_eq!(world.verdict("prod/one", "app").await, Verdict::Blocked);
    assert_eq!(world.verdict("prod/two", "app").await, Verdict::Blocked);
    let before = world.stored("prod/one", "app").await;
    world.clock.advance(60);
    let Event::InventoryReady(mut ready) = World::inspected("prod/two", "app") else {
        panic!("an inventory")
    };
    ready.inventory.coverage.uncovered.push("cargo".into());
    let sees_more = Event::InventoryReady(ready);
    world.tell(sees_more.clone()).await;
    world.settled().await;
    let after = world.stored("prod/one", "app").await;
    assert!(after.decided_at > before.decided_at, "{after:?}");
    // An event that is handled again may have been judged in part: all are judged.
    let before = world.stored("prod/two", "app").await;
    world.clock.advance(60);
    world.tell_again(World::matched("app", 2, &["CVE-2026-1"])).await;
    world.settled().await;
    let again = world.stored("prod/two", "app").await;
    assert!(again.decided_at > before.decided_at, "{again:?}");
    world.clock.advance(60);
    world.tell_again(sees_more).await;
    world.settled().await;
    let again = (world.stored("prod/one", "app").await.decided_at, again.decided_at);
    assert!(again.0 > again.1, "{again:?}");
    // Older news changes nothing, and newer news of the same keeps older ones out.
    world.tell(World::matched("app", 3, &["CVE-2026-1"])).await;
    world.tell(World::matched("app", 2, &[])).await;
    assert_eq!(world.verdict("prod/one", "app").await, Verdict::Blocked);
}

/// A policy that does not compile (a newer server's) stops judging: what was learnt meanwhile is stored, and until
/// somebody can judge it the image is not what it was before.
async fn news_that_cannot_be_judged_are_not_lost(test: TestDb) {
    let world = World::new(test).await;
    world.push("prod/web", "a", &[]).await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Allowed);
    let change = async |sql: &'static str| {
        let changed: Result<u64, DbError> =
            world.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await })).await;
        assert_eq!(changed.expect("changed"), 1);
    };
    change(
        "INSERT INTO clearance_policies (name, version, hash, source, applied_at, applied_by)
         VALUES ('newer', 1, 'x', 'no policy', 1, 'x')",
    )
    .await;
    world.tell(World::matched("a", 2, &["CVE-1"])).await;
    let set_aside = async {
        while world.db.failed_deliveries(1).await.expect("list").is_empty() {
            world.clock.advance(400);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), set_aside).await.expect("it fails for good");
    let answer = world.room.ask(&repo("prod/web"), &digest("a")).await.expect("an answer");
    assert_eq!(answer.verdict, Verdict::Pending);
    change("DELETE FROM clearance_policies WHERE name = 'newer'").await;
    assert_eq!(world.verdict("prod/web", "a").await, Verdict::Blocked, "by what was learnt");
}

async fn one_that_cannot_be_judged_keeps_no_other_pending(test: TestDb) {
    let world = World::new(test).await;
    for name in ["a", "b"] {
        world.push("prod/web", name, &[]).await;
        assert_eq!(world.verdict("prod/web", name).await, Verdict::Allowed);
    }
    let damaged: Result<u64, DbError> = world
        .db
        .upkeep(content("a"), |content, tx| {
            Box::pin(async move {
                let sql = "UPDATE clearance_contents SET facts = '{' WHERE content = $1";
                tx.execute(sql, args![content.as_bytes()]).await
            })
        })
        .await;
    assert_eq!(damaged.expect("damaged"), 1);
    let before = world.stored("prod/web", "b").await.revision;
    world.room.apply_policy(&Actor::operator(1), &format!("{PROD}# again\n")).await.expect("applied");
    // Who asks for one has it decided by itself: here nobody asks.
    let decided = async { while world.stored("prod/web", "b").await.revision == before {} };
    tokio::time::timeout(Duration::from_mins(1), decided).await.expect("it is decided again");
    assert_eq!(world.verdict("prod/web", "b").await, Verdict::Allowed);
    let answer = world.room.ask(&repo("prod/web"), &digest("a")).await.expect("an answer");
    assert_eq!(answer.verdict, Verdict::Pending);
}

/// An older server beside a newer one, or late: of one content, and of an image that became another content because
/// newer readers found something wrong with it.
async fn what_older_readers_saw_replaces_nothing(test: TestDb) {
    let world = World::new(test).await;
    let seen = |name: &str, as_content: &str, reader_version: u32, is_uncovered: bool| {
        let Event::InventoryReady(mut ready) = World::inspected("prod/web", name) else { panic!("kind") };
        ready.inventory.reader_version = reader_version;
        ready.inventory.content_id = content(as_content);
        if is_uncovered {
            ready.inventory.coverage.uncovered.push("cargo".into());
        }
        Event::InventoryReady(ready)
    };
    for (name, as_content) in [("same", "same"), ("apart", "apart, with a problem")] {
        world.push("prod/web", name, &[]).await;
        world.tell(World::matched(as_content, 1, &[])).await;
        assert_eq!(world.verdict("prod/web", name).await, Verdict::Allowed);
        world.tell(seen(name, as_content, 2, true)).await;
        assert_eq!(world.verdict("prod/web", name).await, Verdict::Blocked, "{name}: newer ones see more");
        world.tell(seen(name, name, 1, false)).await;
        assert_eq!(world.verdict("prod/web", name).await, Verdict::Blocked, "{name}: older ones are late");
        world.tell_again(seen(name, name, 1, false)).await;
        assert_eq!(world.verdict("prod/web", name).await, Verdict::Blocked, "{name}: and told again");
        world.tell(seen(name, name, 2, false)).await;
        assert_eq!(world.verdict("prod/web", name).await, Verdict::Allowed, "{name}: as new");
    }
}
