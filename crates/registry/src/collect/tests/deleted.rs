//! What was deleted: gone for everybody, and back when it is wanted.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::ErrorCode;
use seaworthy_oci::{Digest, Tag};
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};

use super::{
    DAY, Still,
    client::{IMAGE, INDEX, ROOMS, artifact},
    file, index_of,
};
use crate::{Collection, RegistryError, RepositoryRules, Restored, limit};

db_tests!(super::ROOMS; soft_delete_then_push_same_digest, what_an_index_names_stays, deleted_is_gone_on_every_path,
    a_manifest_comes_back_with_its_tags, a_tag_comes_back, a_repository_comes_back, time_is_over_at_its_second,
    deleted_things_are_listed_in_pages, restoring_needs_its_right,
    what_was_locked_comes_back_locked, a_repository_is_unlocked_before_it_goes,
    an_index_brings_back_what_was_collected, restoring_follows_the_rules);

impl Still {
    pub(super) async fn restore(
        &self,
        repository: &str,
        reference: Result<Tag, Digest>,
    ) -> Result<Restored, RegistryError> {
        let repository = repository.parse().expect("name");
        self.registry().restore(&Identity::operator(0), &repository, reference).await
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
    let index = index_of(&[Digest::sha256(&file(1)), Digest::sha256(b"small")]);
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
    still.pass(i64::from(days) * DAY).await;
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
    let answer = still.client.put_as("/v2/a/manifests/all", INDEX, &index_of(&[collected, deleted])).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(still.get(&format!("a/manifests/{collected}")).await, StatusCode::OK);
    for name in [deleted.to_string(), "1".to_owned()] {
        let status = still.get(&format!("a/manifests/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "somebody deleted it");
    }
    assert_eq!(still.acts("manifest.restore").await, 1);
    still.restore("a", Err(deleted)).await.expect("restored");
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
    let inner = index_of(&[child]);
    let inner_digest = still.push("b", INDEX, &inner).await;
    let put = still.client.put_as("/v2/b/manifests/1", INDEX, &index_of(&[inner_digest])).await;
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
