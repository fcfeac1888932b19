//! What the ledger records of the registry is told once, in order, and to who asked.

use std::sync::Arc;

use seaworthy_ledger::{Act, Action, Sequencer};
use seaworthy_model::Actor;
use seaworthy_telemetry::{
    Body, Format, Message, NewTarget, Target, TargetKind, Telemetry, TelemetryError, Told, Wanted, limit,
};
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use super::{World, new};

db_tests!(&[seaworthy_ledger::SCHEMA, seaworthy_telemetry::SCHEMA]; acts_are_told_once_and_in_order,
    what_was_before_is_not_told, who_deletes_the_last_target_ends_it, what_cannot_be_told_is_refused,
    acts_that_wait_end_at_their_limit, azure_is_told_of_each_tag);

/// What another replica signed is told within a second.
const _: () = assert!(limit::FOLLOW_POLL_MS < 1_000);

impl World {
    async fn sequencer(&self) -> Sequencer {
        let signer = Arc::new(seaworthy_trust::Signer::from_seed("ledger.test", &[1; 32]).expect("seed"));
        let folder = self.test.path().join("ledger");
        Sequencer::open(self.db.clone(), &folder, signer, "test".into()).await.expect("opens")
    }

    async fn happen(&self, acts: Vec<Act>) {
        seaworthy_ledger::write(&self.db, &Actor::operator(7), acts, |acts, _| {
            Box::pin(async move { Ok::<_, TelemetryError>(((), acts.clone())) })
        })
        .await
        .expect("recorded");
        assert!(self.sequencer().await.step().await.expect("signed"));
    }

    async fn follower(&self, name: &str, events: &[Action], repositories: &[&str]) -> Target {
        let made = NewTarget {
            events: events.iter().copied().map(Wanted::Act).collect(),
            repositories: repositories.iter().map(|it| it.parse().expect("a prefix")).collect(),
            ..new(name, TargetKind::Webhook, &[])
        };
        self.room.create_target(&Actor::operator(0), made).await.expect("made")
    }

    async fn read_all(&self, room: &Telemetry) {
        while room.follow_on().await.expect("read") > 0 {}
    }

    /// Messages that wait for a target, in the order of what they tell.
    async fn told(&self, target: &Target) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let some: Vec<Message> = self.claim(target).await;
            if some.is_empty() {
                return all;
            }
            for message in some {
                match message.body {
                    Body::Act(told) => all.push(*told),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

fn pushed(number: usize) -> Act {
    let digest = seaworthy_oci::Digest::sha256(&number.to_be_bytes());
    let repository = ["prod/web", "dev/web", "product"][number % 3];
    Act::new(Action::ManifestPush, format!("repositories/{repository}@{digest}"))
        .details(json!({"tag": format!("v{number}"), "media_type": "m", "bytes": number}))
}

async fn acts_are_told_once_and_in_order(test: TestDb) {
    let world = World::new(test).await;
    let all = world.follower("all", &[Action::ManifestPush, Action::TagDelete], &[]).await;
    let prod = world.follower("prod", &[Action::ManifestPush], &["prod", "a"]).await;
    let deletions = world.follower("deletions", &[Action::TagDelete], &["dev"]).await;
    let count = usize::try_from(2 * limit::FOLLOWED).expect("small") + 10;
    let mut acts: Vec<Act> = (0..count).map(pushed).collect();
    acts.insert(300, Act::new(Action::TagDelete, "repositories/dev/web:v1"));
    acts.insert(301, Act::new(Action::AlertResend, "alerts/messages/1"));
    world.happen(acts).await;
    // Two replicas read at once.
    let (one, two) = (Telemetry::new(world.db.clone()), Telemetry::new(world.db.clone()));
    futures_util::future::join(world.read_all(&one), world.read_all(&two)).await;
    let told = world.told(&all).await;
    assert_eq!(told.len(), count + 1);
    assert!(told.windows(2).all(|two| two[0].index < two[1].index), "in order, each once");
    assert_eq!(told[300].record.action, Action::TagDelete);
    assert_eq!(told[300].subject().expect("a subject").tag, Some("v1"));
    assert_eq!(told[7].record.details["tag"], "v7");
    let prods = world.told(&prod).await;
    assert_eq!(prods.len(), count.div_ceil(3), "`product` is not below `prod`");
    assert!(prods.iter().all(|it| it.subject().expect("a subject").repository.as_str() == "prod/web"));
    assert_eq!(world.told(&deletions).await.len(), 1);
}

async fn azure_is_told_of_each_tag(test: TestDb) {
    let world = World::new(test).await;
    let events = [Action::ManifestPush, Action::ManifestRelease, Action::ManifestDelete, Action::TagRestore];
    let all = world.follower("all", &events, &[]).await;
    let azure = NewTarget {
        events: events[..3].iter().copied().map(Wanted::Act).collect(),
        format: Format::Acr,
        ..new("azure", TargetKind::Webhook, &[])
    };
    let azure = world.room.create_target(&Actor::operator(0), azure).await.expect("made");
    let digest = seaworthy_oci::Digest::sha256(b"a");
    let tagged = |action: Action, tags: serde_json::Value| {
        Act::new(action, format!("repositories/a@{digest}")).details(json!({"tag": tags[0], "tags": tags}))
    };
    world
        .happen(vec![
            pushed(0),
            tagged(Action::ManifestPush, json!(["a", "b", "c"])),
            tagged(Action::ManifestRelease, json!(["d", "e"])),
            tagged(Action::ManifestRelease, json!(["f"])),
            // Nothing was held there.
            tagged(Action::ManifestRelease, json!(["g"]))
                .details(json!({"tag": "g", "tags": ["g"], "effective": false})),
            tagged(Action::ManifestDelete, json!(["a", "b"])),
        ])
        .await;
    world.read_all(&world.room).await;
    assert_eq!(world.told(&all).await.iter().filter(|it| it.tag.is_none()).count(), 6, "each at once");
    let mut told = world.told(&azure).await;
    told.sort_by(|a, b| (a.index, &a.tag).cmp(&(b.index, &b.tag)));
    let tags: Vec<Option<&str>> = told.iter().map(|it| it.tag.as_deref()).collect();
    assert_eq!(tags, [None, Some("a"), Some("b"), Some("c"), Some("d"), Some("e"), None, None]);
    assert_eq!(world.health("azure").await.waiting, 8);
}

async fn what_was_before_is_not_told(test: TestDb) {
    let world = World::new(test).await;
    world.happen(vec![pushed(0)]).await;
    world.clock.advance(1);
    let first = world.follower("first", &[Action::ManifestPush], &[]).await;
    world.happen(vec![pushed(1)]).await;
    world.clock.advance(1);
    let second = world.follower("second", &[Action::ManifestPush], &[]).await;
    world.happen(vec![pushed(2)]).await;
    world.read_all(&world.room).await;
    let tags = |told: Vec<Told>| told.iter().map(|it| it.record.details["tag"].clone()).collect::<Vec<_>>();
    assert_eq!(tags(world.told(&first).await), ["v1", "v2"]);
    assert_eq!(tags(world.told(&second).await), ["v2"]);
}

async fn who_deletes_the_last_target_ends_it(test: TestDb) {
    let world = World::new(test).await;
    let operator = Actor::operator(0);
    let followed = async || {
        let rows = world.db.fetch_all("SELECT next FROM telemetry_followed", &[]).await.expect("query");
        rows.first().map(|row| row.int(0).expect("a number"))
    };
    world.happen(vec![pushed(0)]).await;
    assert_eq!(followed().await, None, "nobody wants it: nothing is read");
    world.follower("first", &[Action::ManifestPush], &[]).await;
    world.follower("second", &[Action::ManifestPush], &[]).await;
    world.room.delete_target(&operator, "first").await.expect("deleted");
    assert!(followed().await.is_some());
    world.room.delete_target(&operator, "second").await.expect("deleted");
    assert_eq!(followed().await, None);
    world.happen(vec![pushed(1)]).await;
    world.clock.advance(1);
    let third = world.follower("third", &[Action::ManifestPush], &[]).await;
    world.happen(vec![pushed(2)]).await;
    world.read_all(&world.room).await;
    assert_eq!(world.told(&third).await.len(), 1, "it begins anew");
}

async fn what_cannot_be_told_is_refused(test: TestDb) {
    let world = World::new(test).await;
    let operator = Actor::operator(0);
    let act = Wanted::Act(Action::ManifestPush);
    let blocked: Wanted = "container.blocked".parse().expect("an alert");
    let of = |events: &[Wanted], format: Format| NewTarget {
        events: events.to_vec(),
        format,
        ..new("t", TargetKind::Webhook, &[])
    };
    let below = |prefixes: usize| NewTarget {
        repositories: vec!["prod".parse().expect("a prefix"); prefixes],
        ..of(&[act], Format::CloudEvents)
    };
    for wrong in [
        NewTarget { kind: TargetKind::Mail, ..of(&[act], Format::CloudEvents) },
        NewTarget { repositories: below(1).repositories, ..of(&[blocked], Format::CloudEvents) },
        of(&[], Format::Acr),
        of(&[act, blocked], Format::Acr),
        of(&[Wanted::Act(Action::TagDelete)], Format::Acr),
        below(limit::PREFIXES + 1),
    ] {
        let made = world.room.create_target(&operator, wrong.clone()).await;
        assert!(made.is_err(), "{wrong:?}");
    }
    assert!("ledger.open".parse::<Wanted>().is_err() && "principal.create".parse::<Wanted>().is_err());
    assert!(world.room.create_target(&operator, below(limit::PREFIXES)).await.is_ok());
}

async fn acts_that_wait_end_at_their_limit(test: TestDb) {
    let world = World::new(test).await;
    let target = world.follower("hook", &[Action::ManifestPush], &[]).await;
    let filled = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
        INSERT INTO telemetry_messages (id, target, state, kind, body, created_at, due_at, give_up_at, attempts, epoch)
        SELECT CAST('filling-' || (10000000 + i) AS BYTEA), $1, 'waiting', 'manifest.push', '{}', 0, 0, 0, 0, 0 FROM n";
    let filled = if matches!(world.db.dialect(), seaworthy_store::schema::Dialect::Postgres) {
        filled
    } else {
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
        INSERT INTO telemetry_messages (id, target, state, kind, body, created_at, due_at, give_up_at, attempts, epoch)
        SELECT CAST('filling-' || (10000000 + i) AS BLOB), $1, 'waiting', 'manifest.push', '{}', 0, 0, 0, 0, 0 FROM n"
    };
    let id = target.id;
    world
        .db
        .upkeep((), move |(), tx| {
            Box::pin(async move {
                let most = i64::try_from(limit::WAITING).unwrap_or(i64::MAX);
                tx.execute(filled, seaworthy_store::args![id.as_bytes(), most - 1]).await
            })
        })
        .await
        .map_err(|error: seaworthy_store::DbError| panic!("{error}"))
        .ok();
    world.happen(vec![pushed(0), pushed(1), pushed(2)]).await;
    world.read_all(&world.room).await;
    let health = world.health("hook").await;
    assert_eq!((health.waiting, health.dropped), (limit::WAITING, 2));
}
