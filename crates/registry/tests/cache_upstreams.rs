//! A cache and the upstream that it is in front of: another one, a change of it, who is meant by its name.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_registry::limit;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use crate::{
    client::{ROOMS, World},
    upstream::{Fault, Upstream, until},
};

db_tests!(super::ROOMS; another_upstream_is_asked_at_once, what_another_upstream_had_is_not_its,
    a_cache_answers_for_its_upstream, an_errand_to_another_upstream_counts_for_nothing);

/// By this server, and by others that have checked the tag.
async fn another_upstream_is_asked_at_once(test: TestDb) {
    let (world, one, two) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    let long = json!({"check_seconds": limit::CHECK_SECONDS_MAX});
    let (first, second) = (one.put_image("a:1", &[b"first"]), two.put_image("a:1", &[b"second"]));
    one.cached(&world, long.clone()).await;
    let (here, there) = (world.operator(), world.replica(|_| {}));
    for client in [&here, &there] {
        let answer = client.get("/v2/hub/a/manifests/1").await;
        assert_eq!(answer.header("docker-content-digest"), first.digest.to_string());
    }
    two.cached(&world, long).await;
    let answer = here.get("/v2/hub/a/manifests/1").await;
    assert_eq!(answer.header("docker-content-digest"), second.digest.to_string());
    // It looked before the tag was another's, and hears of the change soon.
    until(async || {
        there.get("/v2/hub/a/manifests/1").await;
        two.count("HEAD /v2/a/manifests/1") == 2
    })
    .await;
}

async fn an_errand_to_another_upstream_counts_for_nothing(test: TestDb) {
    let (world, one, two) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    let long = json!({"check_seconds": limit::CHECK_SECONDS_MAX});
    let (first, second) = (one.put_image("a:1", &[b"first"]), two.put_image("a:1", &[b"second"]));
    one.cached(&world, long.clone()).await;
    let (drops, source) = tokio::sync::mpsc::channel(1);
    one.fault("GET /v2/a/manifests/1", Fault::Drip(source));
    let client = world.operator();
    let get = async || client.get("/v2/hub/a/manifests/1").await.header("docker-content-digest").to_owned();
    let early = {
        let client = client.clone();
        tokio::spawn(async move { client.get("/v2/hub/a/manifests/1").await.status })
    };
    until(async || one.count("GET /v2/a/manifests/1") == 1).await;
    two.cached(&world, long).await;
    // Nobody joins it, and what it brings is looked at once more.
    assert_eq!(get().await, second.digest.to_string());
    drops.send(first.manifest.clone().into()).await.expect("asked for");
    drop(drops);
    assert_eq!(early.await.expect("an answer"), StatusCode::OK);
    assert_eq!(get().await, second.digest.to_string());
    assert_eq!(one.count("GET /v2/a/manifests/1"), 1);
}

/// A name would stand for what the upstream of before had, and be served when the new one is away.
async fn what_another_upstream_had_is_not_its(test: TestDb) {
    let keeps = |config: &mut seaworthy_registry::RegistryConfig| {
        config.collection = seaworthy_registry::Collection::default();
    };
    let (world, upstream) = (World::set_up(test, keeps).await, Upstream::new().await);
    upstream.cached(&world, json!({"remote_prefix": "lib"})).await;
    let digest = upstream.put_image("lib/a:1", &[b"layer"]).digest;
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    let set = async |upstream: &str, remote_prefix: &str| {
        let new = json!({"prefix": "hub", "upstream": upstream, "remote_prefix": remote_prefix, "networks": ["127.0.0.1"]});
        let new = serde_json::from_value(new).expect("a cache");
        world.registry.set_cache(&Identity::operator(0), &new).await
    };
    for (other, remote_prefix) in
        [("https://quay.io", "lib"), (upstream.url().as_str(), ""), (&upstream.url(), "li")]
    {
        let problem = Problem::from(set(other, remote_prefix).await.expect_err("its images are here"));
        assert_eq!(problem.code, ErrorCode::Conflict, "{other} {remote_prefix}");
        assert!(problem.message.contains("hub/a"), "{problem:?}");
    }
    set(&upstream.url(), "lib").await.expect("the same with other settings");
    let path = format!("/v2/hub/a/manifests/{digest}");
    assert_eq!(client.send("DELETE", &path, &[], Vec::new()).await.status, StatusCode::ACCEPTED);
    set("https://quay.io", "lib").await.expect("nothing is here");
    let (operator, repository) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let back = world.registry.restore(&operator, &repository, Err(digest)).await;
    let problem = Problem::from(back.expect_err("it is not from there"));
    assert_eq!(problem.code, ErrorCode::Conflict, "{problem:?}");
}

/// Who names the host of an upstream means the cache in front of it, if there is one alone.
async fn a_cache_answers_for_its_upstream(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({"remote_prefix": "lib"})).await;
    let host = upstream.url().trim_start_matches("http://").to_owned();
    let place = async |host: &str, name: &str| {
        let name = name.parse().expect("a name");
        world.registry.cached_place(Some(host), &name).await.ok().map(|it| it.to_string())
    };
    assert_eq!(place(&host, "lib/a").await.as_deref(), Some("hub/a"));
    assert_eq!(place("127.0.0.1", "lib/a").await.as_deref(), Some("hub/a"));
    assert_eq!(place(&host, "a").await, None, "that is not behind it");
    assert_eq!(place("quay.io", "lib/a").await, None);
    upstream.cached(&world, json!({"prefix": "other", "remote_prefix": "lib"})).await;
    assert_eq!(place(&host, "lib/a").await, None, "which of them?");
    upstream.cached(&world, json!({"prefix": "other", "remote_prefix": "lib", "ns": ["127.0.0.1"]})).await;
    assert_eq!(place("127.0.0.1", "lib/a").await.as_deref(), Some("other/a"));
}
