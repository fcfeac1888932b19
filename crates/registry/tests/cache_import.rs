//! Images that are fetched whole from an upstream because somebody wants them elsewhere.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Tag};
use seaworthy_registry::{Promotion, Referrers};
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use crate::{
    cache::still,
    cache_lists::{SIGNATURE, digests, entry, index, list, put_artifact},
    client::{IMAGE, INDEX, ROOMS, World},
    upstream::{Fault, Upstream, is_filled},
};

db_tests!(super::ROOMS; an_import_brings_what_refers, an_import_asks_again, an_import_is_not_stale,
    an_import_of_a_frozen_tag_is_compared, an_import_may_leave_referrers);

async fn an_import_brings_what_refers(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let (signature, _) = put_artifact(&upstream, "a", &image.digest, "signature");
    let (stamp, _) = put_artifact(&upstream, "a", &signature, "stamp");
    // Lists by a tag name what was deleted.
    list(
        &upstream,
        &image,
        &[entry(&signature, 1, SIGNATURE), entry(&Digest::sha256(b"gone"), 1, SIGNATURE)],
    );
    let listed = index(&[entry(&stamp, 1, SIGNATURE)]);
    upstream.put(&format!("/v2/a/manifests/sha256-{}", signature.hex()), INDEX, listed);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let (operator, source) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let tag: Tag = "1".parse().expect("a tag");
    let call = format!("GET /v2/a/referrers/{}", image.digest);
    upstream.fault(&call, Fault::Status(429, vec![]));
    let failed = world.registry.fetch_whole(&operator, (&source, Ok(tag.clone())), Referrers::Along).await;
    assert!(failed.expect_err("not all of it").to_string().contains("429"));
    let digest =
        world.registry.fetch_whole(&operator, (&source, Ok(tag)), Referrers::Along).await.expect("fetched");
    assert_eq!(digest, image.digest);
    for digest in [image.digest, signature, stamp] {
        assert!(is_filled(&world, &digest).await);
    }
    upstream.down(Some(500));
    let parts = world.registry.parts(&operator, &source, &digest).await.expect("parts");
    let destination = "mine/a".parse().expect("a name");
    let promotion = Promotion { source, digest, destination, tag: None, because: json!({}) };
    let promoted = world.registry.promote(&operator, promotion, parts).await.expect("promoted");
    assert_eq!(promoted.manifests.len(), 3);
    let client = world.operator();
    for (subject, referrer) in [(image.digest, signature), (signature, stamp)] {
        let answer = client.get(&format!("/v2/mine/a/referrers/{subject}")).await;
        assert_eq!(digests(&answer), [referrer.to_string()]);
    }
}

/// Who imports what was pushed a moment ago gets it, whoever asked for it before that.
async fn an_import_asks_again(test: TestDb) {
    let (world, _clock) = still(test).await;
    let upstream = Upstream::new().await;
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    let child = crate::upstream::image(&[b"layer"]);
    for name in ["1", &child.digest.to_string()] {
        let answer = client.get(&format!("/v2/hub/a/manifests/{name}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    upstream.put_image("a:unused", &[b"layer"]);
    let listed = json!({"mediaType": IMAGE, "digest": child.digest, "size": child.manifest.len()});
    let pushed = upstream.put_manifest("a", "1", INDEX, &index(&[listed]));
    let (operator, repository) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let fetched = world
        .registry
        .fetch_whole(&operator, (&repository, Ok("1".parse().expect("a tag"))), Referrers::Along)
        .await;
    assert_eq!(fetched.expect("fetched"), pushed);
    assert!(is_filled(&world, &child.digest).await);
}

/// What is imported is what is there now, or nothing: a copy that is a minute old would be promoted as if it were.
async fn an_import_is_not_stale(test: TestDb) {
    let (world, _clock) = still(test).await;
    let upstream = Upstream::new().await;
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    upstream.put_image("a:1", &[b"old"]);
    assert_eq!(world.operator().get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    let moved = upstream.put_image("a:1", &[b"new"]).digest;
    let (operator, repository) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let import = async || {
        let tag = Ok("1".parse().expect("a tag"));
        world.registry.fetch_whole(&operator, (&repository, tag), Referrers::Along).await
    };
    assert_eq!(import().await.expect("fetched"), moved);
    for fault in [Fault::Status(429, vec![]), Fault::Status(500, vec![])] {
        upstream.put_image("a:1", &[b"newer"]);
        upstream.fault("HEAD /v2/a/manifests/1", fault);
        let problem = Problem::from(import().await.expect_err("nobody said what it is"));
        assert_eq!(problem.code, ErrorCode::Unavailable, "{problem:?}");
        assert!(problem.retry_after_seconds.is_some(), "{problem:?}");
    }
    assert_ne!(import().await.expect("fetched"), moved);
}

/// A tag that a rule keeps is not what the upstream has, and who imports is told.
async fn an_import_of_a_frozen_tag_is_compared(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({})).await;
    let first = upstream.put_image("a:v1", &[b"first"]).digest;
    let (operator, repository) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let import = async || {
        let tag = Ok("v1".parse().expect("a tag"));
        world.registry.fetch_whole(&operator, (&repository, tag), Referrers::Left).await
    };
    assert_eq!(import().await.expect("fetched"), first);
    let rules = serde_json::from_value(json!({"prefix": "hub", "immutable": ["v*"]})).expect("rules");
    world.registry.set_rules(&operator, rules).await.expect("set");
    assert_eq!(import().await.expect("the same there"), first);
    upstream.put_image("a:v1", &[b"second"]);
    let problem = Problem::from(import().await.expect_err("another there"));
    assert_eq!(problem.code, ErrorCode::Conflict, "{problem:?}");
    upstream.down(Some(500));
    let problem = Problem::from(import().await.expect_err("nobody says"));
    assert_eq!(problem.code, ErrorCode::Unavailable, "{problem:?}");
}

/// Who leaves behind what refers to an image needs none of it.
async fn an_import_may_leave_referrers(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({})).await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    let list = format!("GET /v2/a/referrers/{}", image.digest);
    let (operator, source) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let tag: Result<Tag, Digest> = Ok("1".parse().expect("a tag"));
    let fetched = world.registry.fetch_whole(&operator, (&source, tag), Referrers::Left).await;
    assert_eq!((fetched.expect("fetched"), upstream.count(&list)), (image.digest, 0));
}
