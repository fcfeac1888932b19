//! What was deleted: gone for everybody, and back when it is wanted.

use std::sync::Mutex;

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::ErrorCode;
use seaworthy_oci::{Digest, Tag};
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{Engine, TestDb, db_tests};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    DAY, Still,
    client::{IMAGE, INDEX, ROOMS, artifact},
    file,
};
use crate::{Collection, RegistryError, RepositoryRules, Restored, db, limit};

db_tests!(super::ROOMS; soft_delete_then_push_same_digest, what_an_index_names_stays, what_a_cached_index_lists_stays, deleted_is_gone_on_every_path,
    a_manifest_comes_back_with_its_tags, a_deletion_says_what_went, a_tag_comes_back, each_deletion_of_a_tag_comes_back, a_repository_comes_back, time_is_over_at_its_second,
    deleted_things_are_listed_in_pages, restoring_needs_its_right,
    what_was_locked_comes_back_locked, a_repository_is_unlocked_before_it_goes,
    an_index_brings_back_what_was_collected, restoring_follows_the_rules, an_index_comes_back_with_its_images,
    deleted_tags_end, what_came_from_an_upstream_comes_back_with_its_blobs, what_a_pushed_index_does_not_name_again_goes,
    a_restoration_is_bounded,
    a_push_beside_a_deletion_keeps_its_bytes);

impl Still {
    pub(super) async fn restore(
        &self,
        repository: &str,
        reference: Result<Tag, Digest>,
    ) -> Result<Restored, RegistryError> {
        let repository = repository.parse().expect("name");
        self.registry().restore(&Identity::operator(0), &repository, reference).await
    }

    /// What the ledger says of the last act of a kind.
    pub(super) async fn leaf(&self, action: &str) -> Value {
        let sql = "SELECT leaf FROM ledger_leaves WHERE action = $1 ORDER BY id DESC LIMIT 1";
        let rows = self.world.test.db.fetch_all(sql, args![action]).await.expect("query");
        rows[0].json(0).expect("a leaf")
    }

    pub(super) async fn acts(&self, action: &str) -> usize {
        let sql = "SELECT 1 FROM ledger_leaves WHERE action = $1";
        self.world.test.db.fetch_all(sql, args![action]).await.expect("query").len()
    }
}

fn tag(name: &str) -> Tag {
    name.parse().expect("tag")
}

fn code(error: RegistryError) -> ErrorCode {
    seaworthy_model::Problem::from(error).code
}

async fn soft_delete_then_push_same_digest(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, manifest) = still.client.put_image("a:1", &[&file(1)]).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    still.pass(3 * DAY).await;
    assert_eq!(still.get("a/manifests/1").await, StatusCode::NOT_FOUND);
    // A pusher sends what it is told is missing, and nothing of it is stored twice.
    assert_eq!(still.client.put_image("a:2", &[&file(1)]).await.0, digest);
    assert_eq!(still.copies(&Digest::sha256(&file(1))), 1);
    let left = "SELECT 1 FROM registry_deleted WHERE kind = 'manifest' AND digest = $1";
    assert!(still.query(left, &digest).await.is_none(), "what is here is not deleted");
    still.pass(60 * DAY).await;
    assert_eq!(still.get("a/manifests/2").await, StatusCode::OK);
    still.reads("a", &file(1)).await;
    assert_eq!(still.get("a/manifests/1").await, StatusCode::NOT_FOUND, "nobody asked for that tag");
    assert_eq!(still.client.put_manifest("a", "3", &manifest).await.status, StatusCode::CREATED);
}

/// An index of layers keeps them as an image does, also while it is deleted and can be restored.
async fn what_an_index_names_stays(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    for blob in [file(1), b"small".to_vec()] {
        still.client.put_blob("a", &blob).await;
    }
    let index = still.index_of(&[Digest::sha256(&file(1)), Digest::sha256(b"small")]).await;
    let index = index.replace(IMAGE, "application/vnd.oci.image.layer.v1.tar");
    let put = still.client.put_as("/v2/a/manifests/cache", INDEX, &index).await;
    assert_eq!((put.status, put.header("warning")), (StatusCode::CREATED, ""), "{}", put.text());
    let digest = Digest::sha256(index.as_bytes());
    still.pass(30 * DAY).await;
    still.reads("a", &file(1)).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    still.pass(6 * DAY).await;
    still.restore("a", Err(digest)).await.expect("restored");
    still.pass(30 * DAY).await;
    still.reads("a", &file(1)).await;
    still.reads("a", b"small").await;
    still.delete(&format!("a/manifests/{digest}")).await;
    still.pass(7 * DAY).await;
    still.pass(DAY).await;
    assert_eq!(still.copies(&Digest::sha256(&file(1))), 0, "nothing names it any more");
}

/// Blobs that were asked for one by one, and those that were here before an index that lists them too.
async fn what_a_cached_index_lists_stays(test: TestDb) {
    let still = Still::new(test).await;
    let address = still.client.listen().await;
    let cache = serde_json::json!({"prefix": "hub", "upstream": format!("http://{address}"), "remote_prefix": "far",
        "networks": ["127.0.0.0/8"], "check_seconds": 3600});
    let cache = serde_json::from_value(cache).expect("a cache");
    still.registry().set_cache(&Identity::operator(0), &cache).await.expect("a cache");
    let index = |blobs: &[Digest]| {
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let listed = |blob| serde_json::json!({"mediaType": layer, "digest": blob, "size": file(1).len()});
        let listed: Vec<_> = blobs.iter().map(listed).collect();
        serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).to_string()
    };
    let is_kept = async |blob: &Digest| {
        still.pass(3 * DAY).await;
        still.pass(DAY).await;
        still.copies(blob) == 1
    };
    for (repository, seed, more) in [("alone", 1, vec![]), ("twice", 2, vec!["later"])] {
        let blob = still.client.put_blob(&format!("far/{repository}"), &file(seed)).await;
        let all = [vec!["first"], more].concat();
        let mut digests = Vec::new();
        for (tag, other) in all.iter().zip([vec![], vec![Digest::sha256(b"not there")]]) {
            let index = index(&[vec![blob], other].concat());
            still.client.put_as(&format!("/v2/far/{repository}/manifests/{tag}"), INDEX, &index).await;
            digests.push(Digest::sha256(index.as_bytes()));
        }
        for tag in &all {
            assert_eq!(still.get(&format!("hub/{repository}/manifests/{tag}")).await, StatusCode::OK);
            still.reads(&format!("hub/{repository}"), &file(seed)).await;
        }
        for digest in &digests {
            still.delete(&format!("far/{repository}/manifests/{digest}")).await;
        }
        for digest in &digests {
            assert!(is_kept(&blob).await, "{repository}");
            still.delete(&format!("hub/{repository}/manifests/{digest}")).await;
        }
        assert!(!is_kept(&blob).await, "nothing names it any more");
    }
    // However many list it.
    let blob = still.client.put_blob("far/many", &file(3)).await;
    for number in 0..=limit::REACH_PAGE {
        let index = index(&[blob, Digest::sha256(&number.to_be_bytes())]);
        let digest = Digest::sha256(index.as_bytes());
        still.client.put_as(&format!("/v2/far/many/manifests/{number}"), INDEX, &index).await;
        assert_eq!(still.get(&format!("hub/many/manifests/{digest}")).await, StatusCode::OK);
    }
    still.reads("hub/many", &file(3)).await;
    let sql = "SELECT COUNT(*) FROM registry_references
         WHERE repository = 'hub/many' AND kind = 'blob' AND digest = $1";
    let named = still.query(sql, &blob).await.expect("a count").int(0).expect("a number");
    assert_eq!(named, limit::REACH_PAGE + 1);
}

async fn deleted_is_gone_on_every_path(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.client.put_image("a:other", &[&file(2)]).await;
    still.client.put_blob("a", b"{}").await;
    let signature = still.push("a", IMAGE, &artifact(&digest, "application/sig", "{}")).await;
    let reader = still.world.service("reader", "AcrPull", "/repositories").await;
    let pusher = still.world.service("pusher", "AcrPush", "/repositories").await;
    let layer = format!("a/blobs/{}", Digest::sha256(&file(1)));
    let paths = ["a/manifests/1".to_owned(), format!("a/manifests/{digest}"), layer.clone()];
    for path in &paths {
        assert_eq!(reader.get(&format!("/v2/{path}")).await.status, StatusCode::OK, "{path}");
    }
    still.delete(&format!("a/manifests/{digest}")).await;
    for client in [&reader, &pusher, &still.world.service("all", "AcrQuarantineReader", "/").await] {
        for path in &paths {
            for method in ["GET", "HEAD"] {
                let answer = client.send(method, &format!("/v2/{path}"), &[], "").await;
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
            }
        }
    }
    let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", Digest::sha256(&file(1)));
    assert_eq!(pusher.send("POST", &mount, &[], "").await.status, StatusCode::ACCEPTED, "not mounted");
    for (path, absent) in [
        ("/v2/a/tags/list", "\"1\"".to_owned()),
        ("/acr/v1/a/_tags", "\"1\"".to_owned()),
        ("/acr/v1/a/_manifests", digest.to_string()),
    ] {
        assert!(!still.client.get(path).await.text().contains(&absent), "{path}");
    }
    let acr = format!("/acr/v1/a/_manifests/{digest}");
    assert_eq!(still.client.get(&acr).await.status, StatusCode::NOT_FOUND);
    let registry = still.registry();
    let name = "a".parse().expect("name");
    assert!(registry.digest_of(&name, &tag("1")).await.expect("read").is_none());
    assert!(!registry.has_manifest(&name, &digest).await.expect("read"));
    assert!(registry.manifest_bytes(&name, &digest).await.expect("read").is_none());
    let images = registry.images(&Identity::operator(0), "", ("", ""), 100).await.expect("list");
    assert_eq!(images.len(), 1);
    // A deleted signature is no referrer.
    still.delete(&format!("a/manifests/{signature}")).await;
    let listed = still.client.get(&format!("/v2/a/referrers/{digest}")).await.text();
    assert!(!listed.contains(&signature.to_string()), "{listed}");
    // Its bytes are all there.
    still.pass(6 * DAY).await;
    assert_eq!(still.copies(&Digest::sha256(&file(1))), 1);
    still.restore("a", Err(signature)).await.expect("restored");
    let listed = still.client.get(&format!("/v2/a/referrers/{digest}")).await.text();
    assert!(listed.contains(&signature.to_string()), "{listed}");
}

async fn a_manifest_comes_back_with_its_tags(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, manifest) = still.client.put_image("a:1", &[&file(1)]).await;
    for name in ["2", "3"] {
        still.client.put_manifest("a", name, &manifest).await;
    }
    still.delete("a/manifests/3").await;
    still.clock.advance(1);
    still.delete(&format!("a/manifests/{digest}")).await;
    let (other, _) = still.client.put_image("a:2", &[&file(2)]).await;
    still.pass(7 * DAY - 2).await;
    let restored = still.restore("a", Err(digest)).await.expect("restored");
    assert_eq!(restored, Restored { digest, tags: vec![tag("1")] }, "the others were not deleted with it");
    let answer = still.client.get("/v2/a/manifests/1").await;
    assert!(answer.status == StatusCode::OK && answer.body == manifest);
    still.reads("a", &file(1)).await;
    let two = still.client.get("/v2/a/manifests/2").await;
    assert_eq!(two.header("docker-content-digest"), other.to_string(), "a tag that was set since stays");
    assert_eq!(
        code(still.restore("a", Err(digest)).await.expect_err("it is here")),
        ErrorCode::ManifestUnknown
    );
    still.pass(60 * DAY).await;
    still.reads("a", &file(1)).await;
    assert_eq!((still.acts("manifest.delete").await, still.acts("manifest.restore").await), (1, 1));
}

async fn a_tag_comes_back(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.delete("a/manifests/1").await;
    assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::OK, "only the tag went");
    let restored = still.restore("a", Ok(tag("1"))).await.expect("restored");
    assert_eq!(restored, Restored { digest, tags: vec![tag("1")] });
    assert_eq!(still.get("a/manifests/1").await, StatusCode::OK);
    // With its manifest, when that went too.
    still.delete(&format!("a/manifests/{digest}")).await;
    still.restore("a", Ok(tag("1"))).await.expect("restored");
    assert_eq!(still.get("a/manifests/1").await, StatusCode::OK);
    // Not over another.
    still.delete("a/manifests/1").await;
    still.client.put_image("a:1", &[&file(2)]).await;
    assert_eq!(code(still.restore("a", Ok(tag("1"))).await.expect_err("taken")), ErrorCode::Conflict);
    assert_eq!(code(still.restore("a", Ok(tag("9"))).await.expect_err("never")), ErrorCode::ManifestUnknown);
    assert_eq!(still.acts("tag.restore").await, 2);
}

async fn a_deletion_says_what_went(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, manifest) = still.client.put_image("a:1", &[&file(1)]).await;
    still.delete("a/manifests/1").await;
    let told = still.leaf("tag.delete").await;
    assert_eq!((&told["object"], &told["details"]), (&json!("repositories/a:1"), &json!({"digest": digest})));
    for name in ["b", "a"] {
        still.client.put_manifest("a", name, &manifest).await;
    }
    still.delete(&format!("a/manifests/{digest}")).await;
    assert_eq!(still.leaf("manifest.delete").await["details"], json!({"tags": ["a", "b"]}));
    // Some of them, however many there are.
    still.client.put_manifest("a", "a", &manifest).await;
    let many = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO registry_tags (repository, name, digest, updated_at) SELECT 'a', 't' || i, '{digest}', 0 FROM n",
        limit::TOLD_TAGS
    );
    still.world.alter(many).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    let told = still.leaf("manifest.delete").await["details"]["tags"].as_array().map(Vec::len);
    assert_eq!(told, usize::try_from(limit::TOLD_TAGS).ok());
}

/// Deleted twice, it is two things to restore.
async fn each_deletion_of_a_tag_comes_back(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let mut pushed = Vec::new();
    for seed in [1, 2] {
        pushed.push(still.client.put_image("a:1", &[&file(seed)]).await.0);
        still.delete("a/manifests/1").await;
        still.clock.advance(1);
    }
    let (repository, operator) = ("a".parse().expect("name"), Identity::operator(0));
    let back =
        async |digest| still.registry().restore_tag_of(&operator, &repository, (tag("1"), digest)).await;
    let never = back(Digest::sha256(b"never")).await.expect_err("it never pointed there");
    assert_eq!(code(never), ErrorCode::ManifestUnknown);
    let restored = back(pushed[0]).await.expect("restored");
    assert_eq!(restored, Restored { digest: pushed[0], tags: vec![tag("1")] });
    let now = still.client.get("/v2/a/manifests/1").await;
    assert_eq!(now.header("docker-content-digest"), pushed[0].to_string());
    assert_eq!(code(back(pushed[1]).await.expect_err("taken")), ErrorCode::Conflict);
    still.delete("a/manifests/1").await;
    still.clock.advance(1);
    assert_eq!(back(pushed[1]).await.expect("restored").digest, pushed[1]);
}

async fn a_repository_comes_back(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (one, _) = still.client.put_image("a:1", &[&file(1)]).await;
    let (two, _) = still.client.put_image("a:2", &[&file(2)]).await;
    let gone = still.client.send("DELETE", "/acr/v1/a", &[], "").await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    assert_eq!(still.client.get("/v2/a/tags/list").await.code(), "NAME_UNKNOWN");
    still.pass(2 * DAY).await;
    for digest in [one, two] {
        still.restore("a", Err(digest)).await.expect("restored");
    }
    for name in ["1", "2"] {
        assert_eq!(still.get(&format!("a/manifests/{name}")).await, StatusCode::OK);
    }
    still.pass(60 * DAY).await;
    let reader = still.world.service("reader", "AcrPull", "/repositories").await;
    for seed in [1, 2] {
        let blob = reader.get(&format!("/v2/a/blobs/{}", Digest::sha256(&file(seed)))).await;
        assert!(blob.status == StatusCode::OK && blob.body == file(seed));
    }
}

async fn time_is_over_at_its_second(test: TestDb) {
    let days = limit::SOFT_DELETE_DAYS;
    let still = Still::with(test, Collection { soft_delete_days: days, ..Collection::default() }).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    still.pass(i64::from(days) * DAY - 1).await;
    still.restore("a", Err(digest)).await.expect("restored");
    still.delete(&format!("a/manifests/{digest}")).await;
    still.clock.advance(i64::from(days) * DAY);
    assert_eq!(
        code(still.restore("a", Err(digest)).await.expect_err("not looked at")),
        ErrorCode::ManifestUnknown
    );
    still.collect().await;
    assert_eq!(code(still.restore("a", Err(digest)).await.expect_err("over")), ErrorCode::ManifestUnknown);
    assert_eq!(code(still.restore("a", Ok(tag("1"))).await.expect_err("over")), ErrorCode::ManifestUnknown);
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!(still.copies(&Digest::sha256(&file(1))), 0);
    for table in
        ["registry_deleted", "registry_deleted_references", "registry_manifest_bytes", "registry_blobs"]
    {
        let sql: &'static str = Box::leak(format!("SELECT 1 FROM {table}").into_boxed_str());
        assert!(still.world.test.db.fetch_all(sql, &[]).await.expect("query").is_empty(), "{table}");
    }
}

async fn deleted_things_are_listed_in_pages(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    for (at, repository) in ["a", "a/b", "c"].into_iter().enumerate() {
        let layer = file(u8::try_from(at).expect("small"));
        let (digest, _) = still.client.put_image(&format!("{repository}:1"), &[&layer]).await;
        still.delete(&format!("{repository}/manifests/{digest}")).await;
    }
    let list = async |prefix: &str, who: &Identity| {
        let (mut out, mut after) = (Vec::new(), (String::new(), String::new(), String::new()));
        loop {
            let from = (after.0.as_str(), after.1.as_str(), after.2.as_str());
            let page = still.registry().deleted(who, prefix, from, 1).await.expect("list");
            let Some(last) = page.last() else { return out };
            after =
                (last.repository.to_string(), last.tag.clone().unwrap_or_default(), last.digest.to_string());
            out.extend(page.iter().map(|it| (it.repository.to_string(), it.tag.clone())));
        }
    };
    let both = |name: &str| [(name.to_owned(), None), (name.to_owned(), Some("1".to_owned()))];
    let operator = Identity::operator(0);
    assert_eq!(list("", &operator).await, [both("a"), both("a/b"), both("c")].concat());
    assert_eq!(list("a/", &operator).await, both("a/b"));
    let reader = still.world.identity("reader", "AcrPull", "/repositories/c").await;
    assert_eq!(list("", &reader).await, both("c"), "of others nothing is told");
}

async fn restoring_needs_its_right(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    let name = "a".parse().expect("name");
    for (role, expected) in [
        ("AcrPull", ErrorCode::Denied),
        ("AcrPush", ErrorCode::Denied),
        // Who may only delete would push what somebody else deleted.
        ("AcrDelete", ErrorCode::Denied),
    ] {
        let who = still.world.identity(&role.to_lowercase(), role, "/repositories/a").await;
        let error = still.registry().restore(&who, &name, Err(digest)).await.expect_err("no right");
        assert_eq!(code(error), expected, "{role}");
    }
    let stranger = still.world.identity("stranger", "AcrDelete", "/repositories/b").await;
    let error = still.registry().restore(&stranger, &name, Err(digest)).await.expect_err("no right");
    assert_eq!(code(error), ErrorCode::NameUnknown);
    let locked = r#"{"writeEnabled":false}"#.to_owned();
    still.client.put_image("a:2", &[&file(2)]).await;
    still.client.send("PATCH", "/acr/v1/a", &[], locked).await;
    assert!(still.restore("a", Err(digest)).await.is_err(), "nothing is written where it is locked");
}

async fn what_was_locked_comes_back_locked(test: TestDb) {
    const LOCKED: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
    let still = Still::with(test, Collection::default()).await;
    let (digest, manifest) = still.client.put_image("a:1", &[&file(1)]).await;
    let (by_tag, by_digest) = ("a/manifests/1".to_owned(), format!("a/manifests/{digest}"));
    let lock = async |path: &str, allowed: bool| {
        let body = format!(r#"{{"readEnabled":{allowed}}}"#);
        let answer = still.client.send("PATCH", &format!("/acr/v1/{path}"), &[], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    let manifests = format!("a/_manifests/{digest}");
    let both = async || [still.get(&by_tag).await, still.get(&by_digest).await];
    // The tag alone.
    lock("a/_tags/1", false).await;
    still.delete(&by_tag).await;
    still.restore("a", Ok(tag("1"))).await.expect("restored");
    assert_eq!(both().await, [LOCKED, StatusCode::OK], "a tag that was restored");
    still.delete(&by_tag).await;
    still.client.put_manifest("a", "1", &manifest).await;
    assert_eq!(both().await, [LOCKED, StatusCode::OK], "a tag that was pushed");
    still.delete(&by_digest).await;
    still.restore("a", Err(digest)).await.expect("restored");
    assert_eq!(both().await, [LOCKED, StatusCode::OK], "a tag with its manifest");
    // What was unlocked meanwhile stays so.
    lock("a/_tags/1", true).await;
    still.clock.advance(1);
    still.delete(&by_tag).await;
    still.restore("a", Ok(tag("1"))).await.expect("restored");
    assert_eq!(both().await, [StatusCode::OK; 2]);
    // The manifest.
    lock(&manifests, false).await;
    still.delete(&by_digest).await;
    still.restore("a", Err(digest)).await.expect("restored");
    assert_eq!(both().await, [LOCKED; 2], "a manifest that was restored");
    still.delete(&by_digest).await;
    still.client.put_image("a:1", &[&file(1)]).await;
    assert_eq!(both().await, [LOCKED; 2], "a manifest that was pushed");
    let gone = still.client.send("DELETE", "/acr/v1/a", &[], "").await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    still.restore("a", Err(digest)).await.expect("restored");
    assert_eq!(both().await, [LOCKED; 2], "one of a repository");
    // It is not collected.
    still.delete(&by_tag).await;
    still.pass(60 * DAY).await;
    assert_eq!(still.get(&by_digest).await, LOCKED);
}

async fn a_repository_is_unlocked_before_it_goes(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    still.client.put_image("a:1", &[&file(1)]).await;
    for (attributes, status) in [
        (r#"{"readEnabled":false}"#, StatusCode::METHOD_NOT_ALLOWED),
        (r#"{"readEnabled":true,"listEnabled":false}"#, StatusCode::ACCEPTED),
    ] {
        still.client.send("PATCH", "/acr/v1/a", &[], attributes.to_owned()).await;
        let answer = still.client.send("DELETE", "/acr/v1/a", &[], "").await;
        assert_eq!(answer.status, status, "{attributes}: {}", answer.text());
    }
}

async fn an_index_brings_back_what_was_collected(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let collected = still.untagged("a", &file(1)).await;
    let (deleted, _) = still.client.put_image("a:1", &[&file(2)]).await;
    still.pass(7 * DAY).await;
    still.delete(&format!("a/manifests/{deleted}")).await;
    assert_eq!(still.get(&format!("a/manifests/{collected}")).await, StatusCode::NOT_FOUND);
    let answer =
        still.client.put_as("/v2/a/manifests/all", INDEX, &still.index_of(&[collected, deleted]).await).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(still.get(&format!("a/manifests/{collected}")).await, StatusCode::OK);
    for name in [deleted.to_string(), "1".to_owned()] {
        let status = still.get(&format!("a/manifests/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "somebody deleted it");
    }
    assert_eq!(still.acts("manifest.restore").await, 1);
    still.restore("a", Err(deleted)).await.expect("restored");
}

async fn a_restoration_is_bounded(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let most = limit::RESTORED_MANIFESTS;
    let leaf = still.untagged("a", &file(1)).await;
    let mut all = vec![leaf];
    while all.len() <= most {
        let inner = still.index_of(&[leaf]).await.replacen(
            '{',
            &format!(r#"{{"annotations":{{"n":"{}"}},"#, all.len()),
            1,
        );
        all.push(still.push("a", INDEX, &inner).await);
    }
    for (count, comes_back) in [(most, true), (most + 1, false)] {
        let name = format!("of{count}");
        let put = still
            .client
            .put_as(&format!("/v2/a/manifests/{name}"), INDEX, &still.index_of(&all[..count]).await)
            .await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        let gone = still.client.send("DELETE", "/acr/v1/a", &[], "").await;
        assert_eq!(gone.status, StatusCode::ACCEPTED, "{}", gone.text());
        let back = still.restore("a", Ok(tag(&name))).await;
        assert_eq!(back.is_ok(), comes_back, "{count}: {:?}", back.as_ref().err());
        if let Err(error) = back {
            assert_eq!(code(error), ErrorCode::TooLarge);
            assert_eq!(
                still.get(&format!("a/manifests/{leaf}")).await,
                StatusCode::NOT_FOUND,
                "nothing is back"
            );
        } else {
            // All of them are here again for the next.
            still.restore("a", Err(all[most])).await.expect("the one that was in none");
        }
    }
}

async fn restoring_follows_the_rules(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    let rules = |prefix: &str, promotion_only: bool| RepositoryRules {
        prefix: prefix.parse().expect("prefix"),
        promotion_only,
        immutable: vec!["1".parse().expect("pattern")],
        quarantine: false,
        quota: crate::Quota::default(),
    };
    let operator = Identity::operator(0);
    still.registry().set_rules(&operator, rules("a", true)).await.expect("set");
    for reference in [Ok(tag("1")), Err(digest)] {
        let error = still.restore("a", reference).await.expect_err("promotion alone writes there");
        assert_eq!(code(error), ErrorCode::Denied);
    }
    assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::NOT_FOUND, "nothing is back");
    still.registry().set_rules(&operator, rules("a", false)).await.expect("set");
    still.restore("a", Err(digest)).await.expect("an immutable tag is set once");
    assert_eq!(still.get("a/manifests/1").await, StatusCode::OK);
    // A child of what an immutable tag names stays with it, at any of two levels.
    let child = still.untagged("b", &file(2)).await;
    let inner = still.index_of(&[child]).await;
    let inner_digest = still.push("b", INDEX, &inner).await;
    let put = still.client.put_as("/v2/b/manifests/1", INDEX, &still.index_of(&[inner_digest]).await).await;
    assert_eq!(put.status, StatusCode::CREATED);
    still.registry().set_rules(&operator, rules("b", false)).await.expect("set");
    let delete = async |digest: &Digest| {
        still.client.send("DELETE", &format!("/v2/b/manifests/{digest}"), &[], "").await.status
    };
    for digest in [&child, &inner_digest] {
        assert_ne!(delete(digest).await, StatusCode::ACCEPTED);
        assert_eq!(still.get(&format!("b/manifests/{digest}")).await, StatusCode::OK);
    }
    still.registry().remove_rules(&operator, &"b".parse().expect("prefix")).await.expect("removed");
    assert_eq!(delete(&child).await, StatusCode::ACCEPTED);
}

/// An index without its images is none, and what is signed comes back signed.
async fn an_index_comes_back_with_its_images(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let children = [still.untagged("a", &file(1)).await, still.untagged("a", &file(2)).await];
    let inner = still.push("a", INDEX, &still.index_of(&children[..1]).await).await;
    let index = still.index_of(&[inner, children[1]]).await;
    let put = still.client.put_as("/v2/a/manifests/1", INDEX, &index).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let index = Digest::sha256(index.as_bytes());
    let mut signatures = Vec::new();
    still.client.put_blob("a", b"{}").await;
    for subject in [index, children[0]] {
        signatures.push(still.push("a", IMAGE, &artifact(&subject, "test/signature", "{}")).await);
    }
    let all = [index, inner, children[0], children[1], signatures[0], signatures[1]];
    let whole = async |what: &str| {
        for digest in &all {
            assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::OK, "{what}: {digest}");
        }
        for (subject, signature) in [(index, signatures[0]), (children[0], signatures[1])] {
            let list = still.client.get(&format!("/v2/a/referrers/{subject}")).await;
            assert!(list.text().contains(&signature.to_string()), "{what}: {}", list.text());
        }
        for seed in [1, 2] {
            still.reads("a", &file(seed)).await;
        }
    };
    whole("pushed").await;
    let gone = still.client.send("DELETE", "/acr/v1/a", &[], "").await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    still.pass(2 * DAY).await;
    let restored = still.restore("a", Ok(tag("1"))).await.expect("restored");
    assert_eq!(restored, Restored { digest: index, tags: vec![tag("1")] });
    whole("the repository was deleted").await;
    assert_eq!(still.acts("manifest.restore").await, 5, "each of its parts");
    still.pass(60 * DAY).await;
    whole("after its time").await;
    // One by one, as scripts that clean up do; a signature that was deleted on its own stays so.
    still.delete(&format!("a/manifests/{}", signatures[0])).await;
    still.clock.advance(1);
    for digest in [&index, &inner, &children[0], &children[1]] {
        still.delete(&format!("a/manifests/{digest}")).await;
        still.clock.advance(1);
    }
    still.restore("a", Ok(tag("1"))).await.expect("restored");
    for digest in &all[..4] {
        assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::OK, "{digest}");
    }
    assert_eq!(still.get(&format!("a/manifests/{}", signatures[0])).await, StatusCode::NOT_FOUND);
    still.pass(60 * DAY).await;
    for digest in &all[..4] {
        assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::OK, "{digest}");
    }
}

/// Also those of a manifest that something keeps.
async fn deleted_tags_end(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, manifest) = still.client.put_image("a:keep", &[&file(1)]).await;
    for name in ["gone", "again"] {
        still.client.put_manifest("a", name, &manifest).await;
    }
    let listed = async || {
        let operator = Identity::operator(0);
        let page = still.registry().deleted(&operator, "", ("", "", ""), 100).await.expect("listed");
        page.into_iter().filter_map(|it| it.tag).collect::<Vec<_>>()
    };
    still.client.send("PATCH", "/acr/v1/a/_tags/gone", &[], r#"{"listEnabled":false}"#).await;
    still.delete("a/manifests/gone").await;
    still.delete("a/manifests/again").await;
    assert_eq!(listed().await, ["again", "gone"]);
    assert_eq!(still.client.put_manifest("a", "again", &manifest).await.status, StatusCode::CREATED);
    assert_eq!(listed().await, ["gone"], "what is here is not deleted");
    // Nor when it was another in between.
    still.delete("a/manifests/again").await;
    still.client.put_image("a:again", &[&file(2)]).await;
    assert_eq!(listed().await, ["again", "gone"], "what it was");
    assert_eq!(still.client.put_manifest("a", "again", &manifest).await.status, StatusCode::CREATED);
    assert_eq!(listed().await, ["gone"]);
    still.pass(DAY).await;
    still.clock.advance(6 * DAY);
    assert!(listed().await.is_empty(), "its time is over, whether that was looked at or not");
    assert_eq!(
        code(still.restore("a", Ok(tag("gone"))).await.expect_err("over")),
        ErrorCode::ManifestUnknown
    );
    assert_eq!(still.client.put_manifest("a", "gone", &manifest).await.status, StatusCode::CREATED);
    let tags = still.client.get("/v2/a/tags/list").await;
    assert!(tags.text().contains("gone"), "and so are its locks: {}", tags.text());
    still.collect().await;
    let left = "SELECT 1 FROM registry_deleted WHERE digest = $1";
    assert!(still.query(left, &digest).await.is_none(), "it is forgotten");
    assert_eq!(still.get("a/manifests/keep").await, StatusCode::OK);
}

async fn what_came_from_an_upstream_comes_back_with_its_blobs(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    still
        .world
        .alter(format!(
            "INSERT INTO registry_cached (repository, digest, filled, tries) VALUES ('a', '{digest}', 1, 0)"
        ))
        .await;
    still.delete(&format!("a/manifests/{digest}")).await;
    // What was brought is looked at when its pin ends.
    still.pass(2 * DAY).await;
    still.restore("a", Err(digest)).await.expect("restored");
    let reader = still.world.service("reader", "AcrPull", "/repositories").await;
    let path = format!("/v2/a/blobs/{}", Digest::sha256(&file(1)));
    assert_eq!(reader.get(&path).await.status, StatusCode::OK, "its bytes are here");
    assert!(
        still
            .query("SELECT 1 FROM registry_holdings WHERE digest = $1", &Digest::sha256(&file(1)))
            .await
            .is_some()
    );
}

/// Who pushes a deleted index anew and may not name its blobs has an index without them: nothing keeps those.
async fn what_a_pushed_index_does_not_name_again_goes(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let digest = still.client.put_blob("a", &file(1)).await;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":20000}}]}}"#
    );
    assert_eq!(still.client.put_as("/v2/a/manifests/1", INDEX, &index).await.status, StatusCode::CREATED);
    still.pass(2 * DAY).await;
    assert_eq!(still.state(&digest).await, "live");
    still.delete(&format!("a/manifests/{}", Digest::sha256(index.as_bytes()))).await;
    still.pass(2 * DAY).await;
    let other = still.world.service("other", "AcrPush", "/repositories/a").await;
    assert_eq!(other.put_as("/v2/a/manifests/1", INDEX, &index).await.status, StatusCode::CREATED);
    still.pass(2 * DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!(still.state(&digest).await, "", "it would stay for ever");
}

/// The bytes of a manifest are one row, whoever has it: who deletes the last that is seen does not see the next.
async fn a_push_beside_a_deletion_keeps_its_bytes(test: TestDb) {
    if test.engine == Engine::Sqlite {
        // Nothing is beside its one writer.
        return;
    }
    let still = Still::new(test).await;
    // A scan of a whole table reads all of it, and hides what its index would not: none is small.
    for sql in [
        "INSERT INTO registry_manifests (repository, digest, media_type, size, pushed_at, pushed_by)
         SELECT 'z' || n, 'sha256:' || md5('' || n) || md5('' || n), 'x', 1, 0, 'x' FROM generate_series(1, 5000) AS n",
        "INSERT INTO registry_references (repository, manifest, kind, digest)
         SELECT repository, digest, 'layer', digest FROM registry_manifests",
        "INSERT INTO registry_tags (repository, name, digest, updated_at)
         SELECT repository, 'x', digest, 0 FROM registry_manifests",
        "ANALYZE",
        // By it, each push would read the rows of all repositories that have the manifest.
        "DROP INDEX registry_manifests_digest",
    ] {
        still.world.alter(sql.to_owned()).await;
    }
    let (digest, manifest) = still.client.put_image("a:1", &[&file(1)]).await;
    for blob in [super::CONFIG, &file(1)] {
        still.client.put_blob("b", blob).await;
    }
    let ((begun, is_begun), (go, gone)) = (oneshot::channel(), oneshot::channel::<()>());
    let waits = Mutex::new(Some((begun, gone)));
    let removal = db::Removal {
        by: "test".to_owned(),
        reason: db::Reason::Request,
        at: still.world.test.db.now(),
        until: still.world.test.db.now(),
    };
    let context = (waits, digest, removal);
    let deletion = still.world.test.db.upkeep(context, |(waits, digest, removal), tx| {
        Box::pin(async move {
            let repository = "a".parse().expect("name");
            let seen = db::names_in(tx, &repository, 10).await?;
            let waits = waits.lock().expect("lock").take();
            if let Some((begun, gone)) = waits {
                begun.send(()).expect("awaited");
                gone.await.expect("told");
            }
            db::delete_manifest(tx, &repository, digest, removal).await?;
            Ok::<_, DbError>(seen.manifests.len())
        })
    });
    let push = async {
        is_begun.await.expect("it begins");
        let put = still.client.put_manifest("b", "1", &manifest).await;
        go.send(()).expect("it waits");
        put.status
    };
    let (deleted, put) = futures_util::future::join(deletion, push).await;
    assert_eq!((deleted.expect("deleted"), put), (1, StatusCode::CREATED));
    let got = still.client.get("/v2/b/manifests/1").await;
    assert!(got.status == StatusCode::OK && got.body == manifest, "{}", got.text());
    assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::NOT_FOUND);
}
