//! Manifests that nothing leads to, and all that may.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{ContainerKey, ContainerSeen, Event, HostId, Presence, Settings, consumer};
use seaworthy_oci::Digest;
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    CONFIG, DAY, Still,
    client::{IMAGE, INDEX, ROOMS, artifact},
    file, manifest_of,
};
use crate::{Collection, Untagged, limit};

db_tests!(super::ROOMS; gc_vs_index_of_untagged_children, subject_deleted_keeps_signed_history,
    untagged_manifests_go, what_runs_stays, pulled_manifests_stay, tag_move_vs_delete, locked_manifests_stay,
    index_depth_1000, self_reference_cycle, subject_loop,
    what_was_taken_for_an_artifact_is_told_anew, from_before_time_begins_at_the_upgrade, pulls_are_counted_to_a_limit);

/// An image without a tag is pushed, loses its tag, or is left by it.
async fn untagged_manifests_go(test: TestDb) {
    let still = Still::new(test).await;
    let never = still.untagged("a", &file(1)).await;
    let (moved, _) = still.client.put_image("a:moves", &[&file(2)]).await;
    let (deleted, _) = still.client.put_image("a:deleted", &[&file(3)]).await;
    let (tagged, _) = still.client.put_image("a:stays", &[&file(5)]).await;
    still.pass(5 * DAY).await;
    still.client.put_image("a:moves", &[&file(4)]).await;
    still.delete("a/manifests/deleted").await;
    still.pass(2 * DAY - 1).await;
    assert_eq!(still.get(&format!("a/manifests/{never}")).await, StatusCode::OK);
    // A pull is a reason to stay: this one's time begins anew.
    still.pass(1).await;
    assert_eq!(still.get(&format!("a/manifests/{never}")).await, StatusCode::OK);
    still.pass(5 * DAY - 1).await;
    for digest in [moved, deleted] {
        assert_eq!(still.head_manifest("a", &digest).await, StatusCode::OK);
    }
    still.pass(1).await;
    for digest in [moved, deleted] {
        assert_eq!(still.head_manifest("a", &digest).await, StatusCode::NOT_FOUND);
    }
    still.pass(2 * DAY).await;
    assert_eq!(still.head_manifest("a", &never).await, StatusCode::NOT_FOUND);
    still.pass(DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    for (seed, copies) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)] {
        assert_eq!(still.copies(&Digest::sha256(&file(seed))), copies, "{seed}");
    }
    assert_eq!(still.get(&format!("a/manifests/{tagged}")).await, StatusCode::OK);
    let sql = "SELECT actor FROM ledger_leaves WHERE action = 'manifest.collect'";
    let acts = still.world.test.db.fetch_all(sql, args![]).await.expect("query");
    assert_eq!(acts.len(), 3);
}

/// The children come first, without tags. Their time is over when the index comes.
async fn gc_vs_index_of_untagged_children(test: TestDb) {
    let still = Still::with(test, Collection { untagged: Untagged::Days(0), soft_delete_days: 7 }).await;
    let children = [still.untagged("a", &file(1)).await, still.untagged("a", &file(2)).await];
    let index = still.index_of(&children).await;
    // It begins in time, and ends when they are gone.
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(1);
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let pusher = still.client.clone();
    let push = tokio::spawn(async move {
        let body = Body::from_stream(chunks);
        pusher.send("PUT", "/v2/a/manifests/1", &[("content-type", INDEX)], body).await
    });
    let (head, tail) = index.split_at(10);
    sender.send(Ok(Bytes::copy_from_slice(head.as_bytes()))).await.expect("taken");
    drop(sender.reserve().await.expect("taken"));
    still.pass(limit::GRACE_SECONDS).await;
    for child in &children {
        assert_eq!(still.get(&format!("a/manifests/{child}")).await, StatusCode::NOT_FOUND);
    }
    sender.send(Ok(Bytes::copy_from_slice(tail.as_bytes()))).await.expect("taken");
    drop(sender);
    let answer = push.await.expect("pushed");
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("warning"), "", "they are all there");
    still.pass(30 * DAY).await;
    for (child, seed) in children.iter().zip([1, 2]) {
        assert_eq!(still.get(&format!("a/manifests/{child}")).await, StatusCode::OK);
        still.reads("a", &file(seed)).await;
    }
    // With the index they lose what kept them.
    still.delete(&format!("a/manifests/{}", Digest::sha256(index.as_bytes()))).await;
    still.pass(7 * DAY - 1).await;
    for child in &children {
        assert_eq!(still.head_manifest("a", child).await, StatusCode::OK, "the index can be restored");
    }
    still.pass(1).await;
    still.pass(limit::GRACE_SECONDS).await;
    for child in &children {
        assert_eq!(still.head_manifest("a", child).await, StatusCode::NOT_FOUND);
    }
}

async fn subject_deleted_keeps_signed_history(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (image, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.client.put_blob("a", b"{}").await;
    let signature = still.push("a", IMAGE, &artifact(&image, "application/sig", "{}")).await;
    let of_it = still.push("a", IMAGE, &artifact(&signature, "application/countersig", "{}")).await;
    let tagged = artifact(&image, "application/tagged", "{}");
    assert_eq!(still.client.put_as("/v2/a/manifests/sig", IMAGE, &tagged).await.status, StatusCode::CREATED);
    still.pass(60 * DAY).await;
    let listed = async || still.client.get(&format!("/v2/a/referrers/{image}")).await.text();
    assert!(listed().await.contains(&signature.to_string()), "it stays with its subject");
    still.delete(&format!("a/manifests/{image}")).await;
    still.pass(7 * DAY - 1).await;
    assert!(listed().await.contains(&signature.to_string()), "which can be restored");
    let restored = still.restore("a", Err(image)).await.expect("restored");
    assert_eq!(restored.tags.len(), 1);
    still.pass(60 * DAY).await;
    assert!(listed().await.contains(&signature.to_string()), "and is, and was");
    // This time for good: first the subject goes, then what signed it, then what signed that.
    still.delete(&format!("a/manifests/{image}")).await;
    still.pass(7 * DAY).await;
    still.pass(7 * DAY - 1).await;
    assert!(listed().await.contains(&signature.to_string()), "the grace begins when the subject is gone");
    still.pass(1).await;
    assert!(!listed().await.contains(&signature.to_string()));
    assert_eq!(still.head_manifest("a", &of_it).await, StatusCode::OK);
    still.pass(7 * DAY).await;
    still.pass(7 * DAY).await;
    assert_eq!(still.head_manifest("a", &of_it).await, StatusCode::NOT_FOUND);
    assert!(listed().await.contains(&Digest::sha256(tagged.as_bytes()).to_string()), "a tag keeps anything");
}

impl Still {
    async fn head_manifest(&self, repository: &str, digest: &Digest) -> StatusCode {
        self.client.send("HEAD", &format!("/v2/{repository}/manifests/{digest}"), &[], "").await.status
    }

    /// The fleet tells of a container.
    pub(super) async fn seen(&self, (id, revision): (&str, i64), presence: Presence, names: &[Digest]) {
        let seen = ContainerSeen {
            key: ContainerKey { host: HostId::from_u128(1), runtime: "docker".into(), id: id.into() },
            revision,
            host_name: "h1".into(),
            name: "web".into(),
            presence,
            started_at: None,
            reported: "a:1".into(),
            named: None,
            repository: "a".parse().expect("name"),
            digest: None,
            names: names.to_vec(),
            content_id: None,
            is_awaited: false,
            settings: Settings::default(),
        };
        let (db, now) = (&self.world.test.db, self.world.test.db.now());
        let event = Event::ContainerSeen(Box::new(seen));
        let sent: Result<(), DbError> = db
            .upkeep(event, move |event, tx| {
                Box::pin(async move { tx.deliver(consumer::REGISTRY, event, now).await })
            })
            .await;
        sent.expect("sent");
        let cancel = CancellationToken::new();
        let listening = tokio::spawn(self.registry().clone().listen(cancel.clone()));
        while db.waiting_deliveries(consumer::REGISTRY).await.expect("count") > 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        listening.await.expect("ended");
        assert!(db.failed_deliveries(1).await.expect("query").is_empty());
    }
}

/// Whatever an engine calls an image keeps it, all of it, and what it is part of.
async fn what_runs_stays(test: TestDb) {
    let still = Still::new(test).await;
    let image = still.untagged("a", &file(1)).await;
    let other = still.untagged("a", &file(2)).await;
    let index = still.push("a", INDEX, &still.index_of(&[image]).await).await;
    let gone = still.untagged("b", b"nobody runs this").await;
    let names = [image, index, Digest::sha256(CONFIG)];
    for (at, name) in names.into_iter().enumerate() {
        let id = at.to_string();
        // One without an index, which only its config's name leads to.
        let lone = still.untagged("c", b"lone").await;
        still.seen((&id, 5), Presence::Live, &[Digest::sha256(b"unknown"), name]).await;
        still.seen((&id, 4), Presence::Gone, &[]).await;
        if at == 0 {
            // Where it runs is for those who may read of the host.
            let reader = still.world.identity("reader", "AcrPull", "/repositories").await;
            let told = async |who: &Identity| {
                let told = still.registry().explain(who, &image).await.expect("explained");
                let running = told["manifests"][0]["containers"].as_array().expect("a list").len();
                (told["manifests"][0]["kept_by"].clone(), running)
            };
            assert_eq!(told(&Identity::operator(0)).await, (json!("index"), 1));
            assert_eq!(told(&reader).await, (json!("index"), 0));
        }
        for _ in 0..3 {
            still.pass(10 * DAY).await;
        }
        assert_eq!(still.get(&format!("a/manifests/{index}")).await, StatusCode::OK, "{at}");
        assert_eq!(still.get(&format!("a/manifests/{image}")).await, StatusCode::OK, "{at}");
        still.reads("a", &file(1)).await;
        let expected = if at == 2 { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(still.head_manifest("c", &lone).await, expected, "{at}");
        // A container that stands still may start again.
        still.seen((&id, 6), Presence::Stopped, &[name]).await;
        still.pass(10 * DAY).await;
        assert_eq!(still.get(&format!("a/manifests/{image}")).await, StatusCode::OK, "{at}");
        still.seen((&id, 7), Presence::Gone, &[name]).await;
        if at == 0 {
            assert_eq!(still.get(&format!("a/manifests/{other}")).await, StatusCode::NOT_FOUND);
            assert_eq!(still.get(&format!("b/manifests/{gone}")).await, StatusCode::NOT_FOUND);
        }
    }
    still.pass(8 * DAY).await;
    assert_eq!(still.get(&format!("a/manifests/{index}")).await, StatusCode::NOT_FOUND);
    still.pass(8 * DAY).await;
    assert_eq!(still.get(&format!("a/manifests/{image}")).await, StatusCode::NOT_FOUND);
    // Traces of what ended are forgotten.
    still.seen(("z", 1), Presence::Gone, &[]).await;
    still.pass(limit::ENDED_SECONDS).await;
    let traces = async || {
        let sql = "SELECT 1 FROM registry_running";
        still.world.test.db.fetch_all(sql, &[]).await.expect("query").len()
    };
    still.seen(("y", 1), Presence::Gone, &[]).await;
    assert_eq!(traces().await, 2, "at the limit");
    still.pass(1).await;
    still.seen(("y", 2), Presence::Gone, &[]).await;
    assert_eq!(traces().await, 1, "one past it");
    const { assert!(limit::RUNNING_AT_ONCE > 0) };
}

async fn pulled_manifests_stay(test: TestDb) {
    let still = Still::new(test).await;
    let pulled = still.untagged("a", &file(1)).await;
    let headed = still.untagged("a", &file(2)).await;
    for _ in 0..5 {
        still.clock.advance(6 * DAY);
        assert_eq!(still.get(&format!("a/manifests/{pulled}")).await, StatusCode::OK);
        // Counted by the server that collects, and not stored yet: that is enough.
        still.collect().await;
    }
    assert_eq!(still.head_manifest("a", &headed).await, StatusCode::NOT_FOUND);
    let count = still.query("SELECT count FROM registry_pulls WHERE digest = $1", &pulled).await;
    still.registry().flush_pulls().await.expect("stored");
    assert!(count.is_some_and(|row| row.int(0).expect("count") >= 4));
    still.pass(7 * DAY).await;
    assert_eq!(still.head_manifest("a", &pulled).await, StatusCode::NOT_FOUND);
}

async fn pulls_are_counted_to_a_limit(test: TestDb) {
    let still = Still::new(test).await;
    let repository = "a".parse().expect("name");
    for at in 0..=limit::PULLS as u64 {
        still.registry().count_pull(&repository, &Digest::sha256(&at.to_le_bytes()));
    }
    let waiting = still.registry().inner.pulls.waiting();
    assert_eq!(waiting, limit::PULLS, "one past the limit");
    still.registry().count_pull(&repository, &Digest::sha256(&0u64.to_le_bytes()));
    const { assert!(limit::PULLS_SECONDS.is_multiple_of(5) && limit::PULLS_SECONDS > 0) };
}

/// A tag moves while the manifest it leaves is deleted: the tag is where it was put, or gone with it.
async fn tag_move_vs_delete(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (one, first) = still.client.put_image("a:1", &[&file(1)]).await;
    let (two, second) = still.client.put_image("a:2", &[&file(2)]).await;
    for _ in 0..10 {
        still.client.put_manifest("a", "1", &first).await;
        let path = format!("/v2/a/manifests/{one}");
        let (moved, deleted) = futures_util::future::join(
            still.client.put_manifest("a", "1", &second),
            still.client.send("DELETE", &path, &[], ""),
        )
        .await;
        assert_eq!((moved.status, deleted.status), (StatusCode::CREATED, StatusCode::ACCEPTED));
        let now = still.client.get("/v2/a/manifests/1").await;
        assert_eq!(now.header("docker-content-digest"), two.to_string(), "whichever was first");
        assert_eq!(still.get(&format!("a/manifests/{one}")).await, StatusCode::NOT_FOUND);
    }
}

async fn locked_manifests_stay(test: TestDb) {
    let still = Still::new(test).await;
    let digest = still.untagged("a", &file(1)).await;
    let lock = async |attributes: &str| {
        let path = format!("/acr/v1/a/_manifests/{digest}");
        let answer = still.client.send("PATCH", &path, &[], attributes.to_owned()).await;
        assert_eq!(answer.status, StatusCode::OK);
    };
    lock(r#"{"deleteEnabled":false}"#).await;
    still.pass(30 * DAY).await;
    still.reads("a", &file(1)).await;
    lock(r#"{"deleteEnabled":true}"#).await;
    still.pass(limit::RECHECK_SECONDS).await;
    assert_eq!(still.head_manifest("a", &digest).await, StatusCode::NOT_FOUND);
}

/// Nobody was told that untagged manifests go, nor was it known what runs.
async fn from_before_time_begins_at_the_upgrade(test: TestDb) {
    let still = Still::new(test).await;
    let digest = still.untagged("a", &file(1)).await;
    still.clock.advance(300 * DAY);
    let upgrade = "UPDATE registry_reviews SET reason = 'upgrade', due = 0 WHERE kind = 'manifest'";
    let done: Result<u64, DbError> = still
        .world
        .test
        .db
        .upkeep((), move |(), tx| Box::pin(async move { tx.execute(upgrade, args![]).await }))
        .await;
    done.expect("as after the migration");
    still.pass(7 * DAY - 1).await;
    still.reads("a", &file(1)).await;
    still.collect().await;
    assert_eq!(still.head_manifest("a", &digest).await, StatusCode::OK);
    assert!(manifest_of(&file(1)).contains("layers"));
}

/// Indexes of indexes, a thousand deep: each is read, explained and collected as any other, by steps that are
/// counted and not by frames of a stack.
async fn index_depth_1000(test: TestDb) {
    let collection = Collection { untagged: Untagged::Days(0), soft_delete_days: 0 };
    let still = Still::with(test, collection).await;
    let image = still.untagged("a", &file(1)).await;
    let mut chain = vec![image];
    for depth in 1..=1_000 {
        let media_type = if depth == 1 { IMAGE } else { INDEX };
        let index = still.index_of(&chain[depth - 1..]).await.replace(IMAGE, media_type);
        chain.push(still.push("a", INDEX, &index).await);
    }
    let top = *chain.last().expect("there are many");
    let index = still.index_of(&[top]).await.replace(IMAGE, INDEX);
    assert_eq!(still.client.put_as("/v2/a/manifests/deep", INDEX, &index).await.status, StatusCode::CREATED);
    still.pass(DAY).await;
    for digest in &chain {
        assert_eq!(still.head_manifest("a", digest).await, StatusCode::OK, "the tag leads to it");
    }
    let (operator, repository) = (Identity::operator(0), "a".parse().expect("a name"));
    let explained = still.registry().explain(&operator, &image).await.expect("explained");
    assert_eq!(explained["manifests"][0]["indexes"], json!([chain[1]]), "only what names it");
    let root = Digest::sha256(index.as_bytes());
    let refused = still.registry().parts(&operator, &repository, &root).await.expect_err("too many");
    assert!(refused.to_string().contains("would be copied at once"), "{refused}");
    let whole = still.registry().parts(&operator, &repository, &chain[100]).await.expect("a hundred");
    assert_eq!(whole.manifests, [image]);
    still.delete(&format!("a/manifests/{root}")).await;
    // One generation at a time: what named it is gone before it is looked at.
    for gone in (998..=1_000).rev() {
        still.pass(limit::GRACE_SECONDS).await;
        assert_eq!(still.head_manifest("a", &chain[gone]).await, StatusCode::NOT_FOUND, "{gone}");
    }
    assert_eq!(still.get(&format!("a/manifests/{image}")).await, StatusCode::OK);
}

/// No document can name its own digest, nor two each other; whatever rows say so, every walk ends.
async fn self_reference_cycle(test: TestDb) {
    let still = Still::with(test, Collection { untagged: Untagged::Days(0), soft_delete_days: 0 }).await;
    let (image, _) = still.client.put_image("a:1", &[&file(1)]).await;
    let first = still.push("a", INDEX, &still.index_of(&[image]).await).await;
    let text = still.index_of(&[first]).await.replace(IMAGE, INDEX);
    let second = super::client::sha512(text.as_bytes());
    let path = format!("/v2/a/manifests/{second}");
    assert_eq!(still.client.put_as(&path, INDEX, &text).await.status, StatusCode::CREATED);
    for (from, to) in [(first, first), (first, second)] {
        still
            .world
            .alter(format!(
                "INSERT INTO registry_references (repository, manifest, kind, digest)
                 VALUES ('a', '{from}', 'child', '{to}')"
            ))
            .await;
    }
    ends_whatever_is_named(&still, &[first, second]).await;
    assert_eq!(still.get("a/manifests/1").await, StatusCode::OK, "what is tagged stays");
}

/// As little can a subject refer to what refers to it.
async fn subject_loop(test: TestDb) {
    let still = Still::with(test, Collection { untagged: Untagged::Days(0), soft_delete_days: 0 }).await;
    let (image, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.client.put_blob("a", b"{}").await;
    let first = still.push("a", IMAGE, &artifact(&image, "x/first", "{}")).await;
    let second = still.push("a", IMAGE, &artifact(&first, "x/second", "{}")).await;
    for subject in [first, second] {
        still
            .world.alter(format!(
                "INSERT INTO registry_referrers
                     (repository, subject, artifact_type, digest, media_type, size, annotations, annotation_bytes)
                 SELECT repository, '{subject}', artifact_type, digest, media_type, size, annotations, annotation_bytes
                 FROM registry_referrers WHERE digest = '{first}' AND subject = '{image}'"
            ))
            .await;
    }
    still
        .world
        .alter(format!("UPDATE registry_manifests SET subject = '{second}' WHERE digest = '{first}'"))
        .await;
    for subject in [image, first, second] {
        let listed = still.client.get(&format!("/v2/a/referrers/{subject}")).await;
        assert_eq!(listed.status, StatusCode::OK, "{}", listed.text());
    }
    ends_whatever_is_named(&still, &[first, second]).await;
    assert_eq!(still.get("a/manifests/1").await, StatusCode::OK, "what is tagged stays");
}

/// Explained, gathered for promotion, looked at and deleted, each once.
async fn ends_whatever_is_named(still: &Still, digests: &[Digest]) {
    let (operator, repository) = (Identity::operator(0), "a".parse().expect("a name"));
    for digest in digests {
        still.registry().explain(&operator, digest).await.expect("explained");
        let parts = still.registry().parts(&operator, &repository, digest).await.expect("gathered");
        assert!(parts.manifests.len() <= 3, "{parts:?}");
    }
    still.pass(DAY).await;
    for digest in digests {
        assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::OK);
        still.delete(&format!("a/manifests/{digest}")).await;
    }
    still.pass(DAY).await;
    for digest in digests {
        assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::NOT_FOUND);
    }
}

/// As by a version that went by `artifactType`. What always was an image is told once.
async fn what_was_taken_for_an_artifact_is_told_anew(test: TestDb) {
    let still = Still::new(test).await;
    let (client, db) = (&still.client, &still.world.test.db);
    client.put_image("a:image", &[b"layer"]).await;
    let config = client.put_blob("a", b"{}").await;
    let of_type = |artifact_type: &str, config_type: &str| {
        json!({"schemaVersion": 2, "mediaType": IMAGE, "artifactType": artifact_type, "layers": [],
            "config": {"mediaType": config_type, "digest": config, "size": 2}})
        .to_string()
    };
    let runs = still.push("a", IMAGE, &of_type("application/x", seaworthy_oci::media::OCI_CONFIG)).await;
    still.push("a", IMAGE, &of_type("application/x", "application/y")).await;
    still.world.alter("DELETE FROM store_deliveries".to_owned()).await;
    let reread = "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
        SELECT 'reread', repository, digest, 0, 0, 'upgrade', 0 FROM registry_manifests";
    still.world.alter(reread.to_owned()).await;
    still.collect().await;
    let told = db.fetch_all("SELECT payload FROM store_deliveries ORDER BY id", args![]).await.expect("rows");
    assert_eq!(told.len(), still.registry().inner.config.manifest_consumers.len());
    for row in told {
        let payload = row.text(0).expect("text");
        assert!(payload.contains(&runs.to_string()) && payload.contains(r#""is_image":true"#), "{payload}");
    }
    let left = "SELECT 1 FROM registry_reviews WHERE kind = 'reread'";
    assert!(db.fetch_all(left, args![]).await.expect("rows").is_empty());
}
