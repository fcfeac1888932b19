//! What is used of a quota is what is held, whatever happened; and nothing that happens at once exceeds it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use super::{
    DAY, HOUR, Still,
    client::{Answer, Client, ROOMS, World},
    file,
};
use crate::{Change, Collection, Usage};

db_tests!(super::ROOMS; quota_parallel_push_never_exceeds, tags_and_repositories_are_counted,
    what_is_used_is_what_is_held, a_quota_counts_what_was_there, a_body_that_does_not_fit_is_not_taken,
    a_session_that_does_not_fit_ends, what_was_brought_in_vain_is_let_go, what_a_deleted_image_names_is_brought_in_vain, a_smaller_quota_lets_things_go);

impl World {
    async fn quota(&self, prefix: &str, quota: serde_json::Value) {
        let rules = serde_json::from_value(json!({"prefix": prefix, "quota": quota})).expect("rules");
        self.registry.set_rules(&Identity::operator(0), rules).await.expect("set");
    }

    async fn usage(&self, prefix: &str) -> Usage {
        let all = self.registry.usage(&Identity::operator(0)).await.expect("usage");
        all.into_iter().find(|it| it.prefix.to_string() == prefix).expect("a quota")
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let rows = self.test.db.fetch_all(sql, args![]).await.expect("query");
        rows[0].int(0).expect("a number")
    }
}

/// An image of one layer, tried once.
async fn try_image(client: &Client, repository: &str, tag: &str, layer: &[u8]) -> Answer {
    let config = br#"{"os":"linux","architecture":"amd64"}"#;
    let mut digests = Vec::new();
    for blob in [config.as_slice(), layer] {
        let digest = Digest::sha256(blob);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = client.send("POST", &path, &[], blob.to_vec()).await;
        if answer.status != StatusCode::CREATED {
            return answer;
        }
        digests.push(digest);
    }
    client.put_manifest(repository, tag, &manifest(&digests[0], config.len(), &digests[1], layer.len())).await
}

fn manifest(config: &Digest, config_bytes: usize, layer: &Digest, layer_bytes: usize) -> String {
    json!({
        "schemaVersion": 2, "mediaType": super::client::IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_bytes},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_bytes}],
    })
    .to_string()
}

fn refused(answer: &Answer) -> bool {
    let is_refused = answer.status == StatusCode::FORBIDDEN;
    assert!(!is_refused || answer.text().contains("quota of `team`"), "{}", answer.text());
    is_refused
}

async fn quota_parallel_push_never_exceeds(test: TestDb) {
    let world = World::new(test).await;
    world.quota("team", json!({"bytes": 300_000})).await;
    let clients: Vec<_> = (0..48).map(|_| world.operator()).collect();
    let pushes = clients.iter().enumerate().map(|(n, client)| async move {
        let repository = format!("team/{}", n % 7);
        try_image(client, &repository, &format!("t{n}"), &vec![u8::try_from(n).expect("small"); 20_000]).await
    });
    let answers = join_all(pushes).await;
    let stored = answers.iter().filter(|it| it.status == StatusCode::CREATED).count();
    let turned_away = answers.iter().filter(|it| refused(it)).count();
    assert_eq!(stored + turned_away, 48, "nothing else happens");
    let usage = world.usage("team").await;
    assert!(stored > 0 && usage.used.bytes <= 300_000 && usage.used.bytes > 280_000, "{stored}: {usage:?}");
    let held = world
        .number("SELECT CAST((SELECT SUM(size) FROM registry_holdings) + (SELECT SUM(size) FROM registry_manifests) AS BIGINT)")
        .await;
    assert_eq!(held, usage.used.bytes, "what is there");
    // Elsewhere there is none.
    assert_eq!(try_image(&clients[0], "other", "1", &vec![1; 400_000]).await.status, StatusCode::CREATED);
}

async fn tags_and_repositories_are_counted(test: TestDb) {
    let world = World::new(test).await;
    world.quota("team", json!({"tags": 5, "repositories": 3})).await;
    let clients: Vec<_> = (0..32).map(|_| world.operator()).collect();
    let pushes = clients.iter().enumerate().map(|(n, client)| async move {
        try_image(client, &format!("team/{}", n % 4), &format!("t{n}"), &[u8::try_from(n).expect("small")])
            .await
    });
    let answers = join_all(pushes).await;
    assert_eq!(answers.iter().filter(|it| it.status == StatusCode::CREATED).count(), 5);
    assert_eq!(answers.iter().filter(|it| refused(it)).count(), 27);
    assert_eq!(world.number("SELECT COUNT(*) FROM registry_tags").await, 5);
    assert!(world.number("SELECT COUNT(*) FROM registry_repositories").await <= 3);
    // A tag that moves is no other tag.
    let (repository, tag) = (0..32)
        .map(|n| (format!("team/{}", n % 4), format!("t{n}")))
        .zip(&answers)
        .find(|(_, answer)| answer.status == StatusCode::CREATED)
        .expect("one")
        .0;
    assert_eq!(try_image(&clients[0], &repository, &tag, b"moved").await.status, StatusCode::CREATED);
    let path = format!("/v2/{repository}/manifests/{tag}");
    assert_eq!(clients[0].send("DELETE", &path, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(try_image(&clients[0], &repository, "next", b"moved").await.status, StatusCode::CREATED);
    assert!(refused(&try_image(&clients[0], &repository, "one-too-many", b"moved").await));
}

/// A small generator: the same steps each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u8::try_from(self.0 % u64::from(sides)).expect("small")
    }
}

/// What a repository should hold.
#[derive(Default)]
struct Shelf {
    manifests: BTreeMap<Digest, (usize, BTreeSet<Digest>)>,
    tags: BTreeMap<String, Digest>,
    blobs: BTreeMap<Digest, usize>,
}

impl Shelf {
    /// Some of these blobs may be named by nothing any more.
    fn let_go(&mut self, gone: &BTreeSet<Digest>) {
        let named: BTreeSet<_> = self.manifests.values().flat_map(|(_, blobs)| blobs).copied().collect();
        self.blobs.retain(|digest, _| !gone.contains(digest) || named.contains(digest));
    }

    fn used(&self) -> Change {
        let bytes =
            self.blobs.values().sum::<usize>() + self.manifests.values().map(|it| it.0).sum::<usize>();
        let count = |number: usize| i64::try_from(number).expect("small");
        Change { bytes: count(bytes), tags: count(self.tags.len()), repositories: 1 }
    }
}

/// The registry, and what it should hold.
struct Model {
    still: Still,
    shelves: BTreeMap<String, Shelf>,
    dice: Dice,
}

impl Model {
    fn blob(&mut self) -> Vec<u8> {
        let seed = self.dice.roll(6);
        vec![seed; 100 << (2 * seed)]
    }

    async fn step(&mut self) {
        let repository = format!("team/{}", self.dice.roll(3));
        let is_known = self.shelves.contains_key(&repository);
        match self.dice.roll(8) {
            0..=3 => self.push(&repository).await,
            4 if is_known => self.delete(&repository).await,
            5 if is_known => self.mount(&repository).await,
            6 if is_known => {
                let path = format!("/acr/v1/{repository}");
                let answer = self.still.client.send("DELETE", &path, &[], "").await;
                assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
                self.shelves.remove(&repository);
            }
            7 => {
                self.still.pass(2 * DAY).await;
                self.still.pass(HOUR).await;
                for shelf in self.shelves.values_mut() {
                    shelf.let_go(&shelf.blobs.keys().copied().collect());
                }
            }
            _ => {}
        }
    }

    async fn push(&mut self, repository: &str) {
        let (one, two, tag) = (self.blob(), self.blob(), format!("t{}", self.dice.roll(3)));
        let shelf = self.shelves.entry(repository.to_owned()).or_default();
        for blob in [&one, &two] {
            shelf.blobs.insert(self.still.client.put_blob(repository, blob).await, blob.len());
        }
        let digests = [Digest::sha256(&one), Digest::sha256(&two)];
        let manifest = manifest(&digests[0], one.len(), &digests[1], two.len());
        let answer = self.still.client.put_manifest(repository, &tag, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let digest = Digest::sha256(manifest.as_bytes());
        shelf.manifests.insert(digest, (manifest.len(), digests.into()));
        shelf.tags.insert(tag, digest);
    }

    /// A tag, or a manifest, which may come back.
    async fn delete(&mut self, repository: &str) {
        let tag = format!("t{}", self.dice.roll(3));
        let shelf = self.shelves.get_mut(repository).expect("known");
        let Some(digest) = shelf.tags.get(&tag).copied() else { return };
        if self.dice.roll(2) == 0 {
            self.still.delete(&format!("{repository}/manifests/{tag}")).await;
            shelf.tags.remove(&tag);
            return;
        }
        let before = shelf.blobs.clone();
        self.still.delete(&format!("{repository}/manifests/{digest}")).await;
        let (size, gone) = shelf.manifests.remove(&digest).expect("it was there");
        shelf.tags.retain(|_, target| *target != digest);
        shelf.let_go(&gone);
        if self.dice.roll(2) == 0 {
            let back = self.still.restore(repository, Err(digest)).await.expect("back");
            shelf.blobs.extend(before.into_iter().filter(|(digest, _)| gone.contains(digest)));
            shelf.manifests.insert(digest, (size, gone));
            shelf.tags.extend(back.tags.into_iter().map(|tag| (tag.to_string(), digest)));
        }
    }

    /// Named by nothing yet.
    async fn mount(&mut self, repository: &str) {
        let blob = self.blob();
        let digest = self.still.client.put_blob("elsewhere", &blob).await;
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from=elsewhere");
        let answer = self.still.client.send("POST", &path, &[], "").await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        self.shelves.get_mut(repository).expect("known").blobs.insert(digest, blob.len());
    }
}

async fn what_is_used_is_what_is_held(test: TestDb) {
    let collection = Collection { untagged: crate::Untagged::Keep, ..Collection::default() };
    let still = Still::with(test, collection).await;
    let plenty = json!({"bytes": 1_000_000_000});
    still.world.quota("team", plenty.clone()).await;
    let mut model = Model { still, shelves: BTreeMap::new(), dice: Dice(0x5EA_0002) };
    for step in 0..120 {
        model.step().await;
        let expected = model.shelves.values().map(Shelf::used).fold(Change::default(), Change::and);
        assert_eq!(model.still.world.usage("team").await.used, expected, "after step {step}");
    }
    let before = model.still.world.usage("team").await;
    model.still.world.quota("team", plenty).await;
    assert_eq!(model.still.world.usage("team").await, before, "counted again");
}

async fn a_quota_counts_what_was_there(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for repository in ["team", "team/web", "teams", "team0", "a/team"] {
        assert_eq!(try_image(&client, repository, "1", &[7; 1000]).await.status, StatusCode::CREATED);
    }
    for prefix in ["team", "team/web", "*", "none"] {
        world.quota(prefix, json!({"tags": 10})).await;
    }
    let mut used = Vec::new();
    for prefix in ["team/web", "team", "*", "none"] {
        used.push(world.usage(prefix).await.used);
    }
    let one = used[0];
    assert_eq!((one.tags, one.repositories), (1, 1));
    assert_eq!(used[1..], [one.and(one), (0..4).fold(one, |sum, _| sum.and(one)), Change::default()]);
    // Below several, each counts.
    assert_eq!(try_image(&client, "team/web", "2", &[7; 1000]).await.status, StatusCode::CREATED);
    for (prefix, tags) in [("team/web", 2), ("team", 3), ("*", 6), ("none", 0)] {
        assert_eq!(world.usage(prefix).await.used.tags, tags, "{prefix}");
    }
    let operator = Identity::operator(0);
    world.registry.remove_rules(&operator, &"team".parse().expect("a prefix")).await.expect("removed");
    assert_eq!(world.registry.usage(&operator).await.expect("usage").len(), 3);
}

async fn a_body_that_does_not_fit_is_not_taken(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    world.quota("team", json!({"bytes": 100_000})).await;
    let big = vec![1; 100_001];
    let digest = Digest::sha256(&big);
    let path = format!("/v2/team/a/blobs/uploads/?digest={digest}");
    assert!(refused(&client.send("POST", &path, &[], big.clone()).await));
    // Of a length that is not told, as it comes; and in pieces that fit each.
    let location = client.begin("team/a").await;
    let pieces = futures_util::stream::iter(
        big.chunks(30_000).map(|it| Ok::<_, std::io::Error>(it.to_vec())).collect::<Vec<_>>(),
    );
    assert!(refused(&client.send("PATCH", &location, &[], axum::body::Body::from_stream(pieces)).await));
    let location = client.begin("team/a").await;
    assert_eq!(
        client.send("PATCH", &location, &[], big[..60_000].to_vec()).await.status,
        StatusCode::ACCEPTED
    );
    assert!(refused(&client.send("PATCH", &location, &[], big[60_000..].to_vec()).await));
    assert!(refused(&client.close(&location, digest, big[60_000..].to_vec()).await));
    // To the byte.
    client.put_blob("team/a", &big[..100_000]).await;
    assert_eq!(world.usage("team").await.used.bytes, 100_000);
    assert!(refused(&client.send("POST", "/v2/team/b/blobs/uploads/", &[], "").await), "nothing more fits");
    // A mount brings bytes as well.
    let other = client.put_blob("other", b"small").await;
    let path = format!("/v2/team/b/blobs/uploads/?mount={other}&from=other");
    assert!(refused(&client.send("POST", &path, &[], "").await));
}

/// Two that fit alone: the second is over when it is closed, and stands in nobody's way.
async fn a_session_that_does_not_fit_ends(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    world.quota("team", json!({"bytes": 50_000})).await;
    let location = client.begin("team/a").await;
    let [one, other] = [[file(1), file(2)].concat(), file(3)];
    assert_eq!(client.send("PATCH", &location, &[], one.clone()).await.status, StatusCode::ACCEPTED);
    client.put_blob("team/a", &other).await;
    assert!(refused(&client.close(&location, Digest::sha256(&one), vec![]).await));
    assert_eq!(client.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN");
}

async fn what_was_brought_in_vain_is_let_go(test: TestDb) {
    let still = Still::new(test).await;
    still.world.quota("team", json!({"bytes": 100_000})).await;
    // Named elsewhere, so the bytes stay.
    let (_, _) = still.client.put_image("other:1", &[&file(1)]).await;
    let digest = still.client.put_blob("team/a", &file(1)).await;
    let held = i64::try_from(file(1).len()).expect("small");
    still.pass(23 * HOUR).await;
    assert_eq!(still.world.usage("team").await.used.bytes, held);
    // Told that it is there, its pusher has a day more.
    assert_eq!(
        still.client.send("HEAD", &format!("/v2/team/a/blobs/{digest}"), &[], "").await.status,
        StatusCode::OK
    );
    still.pass(2 * HOUR).await;
    assert_eq!(still.world.usage("team").await.used.bytes, held);
    still.pass(23 * HOUR).await;
    assert_eq!(still.world.usage("team").await.used.bytes, 0);
    assert_eq!(
        still.client.send("HEAD", &format!("/v2/team/a/blobs/{digest}"), &[], "").await.status,
        StatusCode::NOT_FOUND
    );
    still.reads("other", &file(1)).await;
    // What is named nowhere goes altogether.
    let digest = still.client.put_blob("team/a", &file(2)).await;
    still.pass(25 * HOUR).await;
    still.pass(HOUR).await;
    assert_eq!((still.state(&digest).await.as_str(), still.world.usage("team").await.used.bytes), ("", 0));
}

/// Whoever could restore an image has not brought its layers again for nothing, and is charged for them as long as that.
async fn what_a_deleted_image_names_is_brought_in_vain(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    still.world.quota("team", json!({"bytes": 100_000})).await;
    let (image, _) = still.client.put_image("team/a:1", &[&file(1)]).await;
    still.delete(&format!("team/a/manifests/{image}")).await;
    assert_eq!(still.world.usage("team").await.used.bytes, 0);
    still.client.put_blob("team/a", &file(1)).await;
    let held = i64::try_from(file(1).len()).expect("small");
    still.pass(23 * HOUR).await;
    assert_eq!(still.world.usage("team").await.used.bytes, held);
    still.pass(2 * HOUR).await;
    assert_eq!(still.world.usage("team").await.used.bytes, 0);
}

async fn a_smaller_quota_lets_things_go(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("team/a:1", &[b"one"]).await;
    client.put_image("team/a:2", &[b"two"]).await;
    world.quota("team", json!({"bytes": 1, "tags": 1, "repositories": 0})).await;
    let answer = client.send("DELETE", &format!("/v2/team/a/manifests/{digest}"), &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    assert_eq!(world.usage("team").await.used.tags, 1);
    // What is there is pushed again and moved: that adds nothing.
    client.put_image("team/a:2", &[b"two"]).await;
}
