//! What is asked for below a cache: from where it comes, and what is said of it.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use seaworthy_access::{DockerScope, Identity, PrincipalKind};
use seaworthy_model::{Actor, FixedClock, Timestamp};
use seaworthy_oci::Digest;
use seaworthy_registry::{NewCache, limit};
use seaworthy_store::args;
use seaworthy_testkit::{Engine, TestDb, db_tests};
use serde_json::json;

use crate::{
    client::{INDEX, ROOMS, World},
    upstream::{Fault, Upstream, is_filled, until},
};

db_tests!(super::ROOMS; an_image_is_pulled_through, a_real_registry_is_pulled_through,
    many_clients_one_upstream_fetch, upstream_away_serves_the_cache_and_says_so, a_hanging_upstream_is_not_waited_for,
    an_upstream_that_fails_is_left_alone, a_tag_is_asked_for_once_in_its_time, a_tag_moves_with_its_upstream,
    a_tag_that_is_gone_is_gone, what_was_deleted_comes_back, an_immutable_tag_stays, a_cache_writes_nothing_below_promotions, a_manifest_that_rotted_comes_again, proxy_ns_ssrf, a_mirror_may_name_the_prefix, a_cache_takes_no_pushes, caches_are_bounded,
    what_is_not_there_is_not_found, an_absent_manifest_is_asked_for_now_and_then, so_many_manifests_are_asked_for_at_once,
    so_many_blobs_are_searched_for_at_once, who_waits_for_a_turn_sees_that_it_came,
    who_has_gone_asks_for_nothing);

/// A time that stands still.
pub(crate) async fn still(mut test: TestDb) -> (World, Arc<FixedClock>) {
    let begin: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a time");
    let clock = Arc::new(FixedClock::at(begin));
    test.db = test.reopen(clock.clone()).await;
    (World::new(test).await, clock)
}

async fn an_image_is_pulled_through(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("library/alpine:3.20", &[&vec![7u8; 40_000], b"small"]);
    upstream.cached(&world, json!({})).await;
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let answer = client.get("/v2/hub/library/alpine/manifests/3.20").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, image.manifest.clone()));
    assert_eq!(answer.header("docker-content-digest"), image.digest.to_string());
    assert_eq!(answer.header("cache-status"), "seaworthy; fwd=miss; stored");
    for (digest, bytes) in [
        (image.layers[0], vec![7u8; 40_000]),
        (image.layers[1], b"small".to_vec()),
        (image.config, crate::upstream::CONFIG.to_vec()),
    ] {
        let path = format!("/v2/hub/library/alpine/blobs/{digest}");
        let answer = client.get(&path).await;
        assert_eq!((answer.status, answer.body.to_vec()), (StatusCode::OK, bytes.clone()), "{path}");
        let again = client.get(&path).await;
        assert_eq!((again.header("cache-status"), again.body.to_vec()), ("seaworthy; hit", bytes));
    }
    let again = client.get("/v2/hub/library/alpine/manifests/3.20").await;
    assert_eq!(again.header("cache-status"), "seaworthy; hit; detail=checked");
    let by_digest = client.get(&format!("/v2/hub/library/alpine/manifests/{}", image.digest)).await;
    assert_eq!(by_digest.header("cache-status"), "seaworthy; hit");
    let tags = client.get("/v2/hub/library/alpine/tags/list").await;
    assert_eq!(tags.text(), r#"{"name":"hub/library/alpine","tags":["3.20"]}"#, "what is here");
    // Who may not pull there has nothing fetched.
    let other = world.service("other", "AcrPull", "/repositories/dev").await;
    let before = upstream.seen().len();
    for path in ["/v2/hub/library/alpine/manifests/3.20", "/v2/hub/secret/manifests/1"] {
        let answer = other.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    }
    assert_eq!(upstream.seen().len(), before);
    let acts = world.test.db.fetch_all("SELECT leaf FROM ledger_leaves", args![]).await.expect("leaves");
    let acts: Vec<_> = acts.iter().map(|row| row.text(0).expect("text").to_owned()).collect();
    let cached = acts.iter().find(|act| act.contains("manifest.cache")).expect("it is recorded");
    assert!(
        cached.contains("\"ci\"") && cached.contains("127.0.0.1/library/alpine"),
        "by whom and from where: {cached}"
    );
}

/// This registry stands in front of itself, as another one would.
async fn a_real_registry_is_pulled_through(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (one, manifest) = client.put_image("dev/app:one", &[&vec![3u8; 300_000], b"1"]).await;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": crate::client::IMAGE, "digest": one, "size": manifest.len(),
         "platform": {"os": "linux", "architecture": "amd64"}}]});
    client.put_as("/v2/dev/app/manifests/all", INDEX, &index.to_string()).await;
    let address = client.listen().await;
    let new: NewCache = serde_json::from_value(
        json!({"prefix": "mirror", "upstream": format!("http://{address}"), "networks": ["127.0.0.0/8"], "remote_prefix": "dev"}),
    )
    .expect("a cache");
    let operator = Identity::operator(0);
    world.registry.set_cache(&operator, &new).await.expect("a cache");
    let got = client.get("/v2/mirror/app/manifests/all").await;
    assert_eq!((got.status, got.text()), (StatusCode::OK, index.to_string()));
    // Who looks through repositories is told where nobody pushes.
    let (shown, _) = world.registry.repositories_shown(&operator, "", "", 9).await.expect("a page");
    let caches = shown.iter().map(|it| (it.repository.as_str(), it.cache.as_ref().map(ToString::to_string)));
    let caches: Vec<_> = caches.collect();
    assert_eq!(caches, [("dev/app", None), ("mirror/app", Some("mirror".to_owned()))]);
    let got = client.get(&format!("/v2/mirror/app/manifests/{one}")).await;
    assert_eq!((got.status, got.text()), (StatusCode::OK, manifest));
    // So are its lists: all tags, and what refers to an image that was signed there.
    client.put_blob("dev/app", b"{}").await;
    let signature = crate::client::artifact(&one, "x/signature", "{}");
    client.put_manifest("dev/app", "signature", &signature).await;
    let signed = Digest::sha256(signature.as_bytes());
    let tags = client.get("/v2/mirror/app/tags/list").await;
    assert_eq!(tags.text(), r#"{"name":"mirror/app","tags":["all","one","signature"]}"#);
    let there = client.get(&format!("/v2/dev/app/referrers/{one}")).await;
    let here = client.get(&format!("/v2/mirror/app/referrers/{one}")).await;
    assert!(here.text() == there.text() && here.text().contains(&signed.to_string()), "{}", here.text());
    let got = client.get(&format!("/v2/mirror/app/manifests/{signed}")).await;
    assert_eq!((got.status, got.text()), (StatusCode::OK, signature));
    let layer = Digest::sha256(&vec![3u8; 300_000]);
    let got = client.get(&format!("/v2/mirror/app/blobs/{layer}")).await;
    assert_eq!((got.status, got.body.to_vec()), (StatusCode::OK, vec![3u8; 300_000]));
    // It is stored once.
    let rows = world
        .test
        .db
        .fetch_all("SELECT 1 FROM registry_blobs WHERE digest = $1", args![&layer.to_string()])
        .await;
    assert_eq!(rows.expect("rows").len(), 1);
}

async fn many_clients_one_upstream_fetch(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = vec![9u8; 400_000];
    let image = upstream.put_image("a:1", &[&layer]);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    let all = (0..32).map(|_| {
        let (client, layer, path) =
            (client.clone(), layer.clone(), format!("/v2/hub/a/blobs/{}", image.layers[0]));
        tokio::spawn(async move {
            let answer = client.get("/v2/hub/a/manifests/1").await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            let answer = client.get(&path).await;
            assert!(answer.status == StatusCode::OK && answer.body == layer);
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.expect("served");
    }
    assert_eq!(upstream.count("HEAD /v2/a/manifests/1"), 0);
    assert_eq!(upstream.count("GET /v2/a/manifests/1"), 1);
    assert_eq!(upstream.count(&format!("GET /v2/a/blobs/{}", image.layers[0])), 1);
}

async fn upstream_away_serves_the_cache_and_says_so(test: TestDb) {
    let (world, _clock) = still(test).await;
    let upstream = Upstream::new().await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    let client = world.operator();
    for (number, (status, code)) in
        [(429, 429), (500, 503), (503, 503), (401, 403), (403, 403), (418, 503)].into_iter().enumerate()
    {
        let prefix = format!("c{number}");
        upstream.down(None);
        upstream.cached(&world, json!({"prefix": prefix})).await;
        assert_eq!(client.get(&format!("/v2/{prefix}/a/manifests/1")).await.status, StatusCode::OK);
        let blob = format!("/v2/{prefix}/a/blobs/{}", image.layers[0]);
        assert_eq!(client.get(&blob).await.status, StatusCode::OK);
        until(async || is_filled(&world, &image.digest).await).await;
        upstream.down(Some(status));
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, &format!("/v2/{prefix}/a/manifests/1"), &[], "").await;
            assert_eq!(answer.status, StatusCode::OK, "{status}");
            assert_eq!(answer.header("docker-content-digest"), image.digest.to_string());
            assert!(
                answer.header("warning").starts_with("299 - \"this may be stale"),
                "{}",
                answer.header("warning")
            );
            assert!(answer.header("cache-status").starts_with("seaworthy; hit; detail="), "{status}");
        }
        assert_eq!(client.get(&blob).await.status, StatusCode::OK);
        let absent = client.get(&format!("/v2/{prefix}/a/manifests/2")).await;
        assert_eq!(absent.status.as_u16(), code, "{status}");
        let again = if code == 403 { String::new() } else { limit::UPSTREAM_RETRY_SECONDS.to_string() };
        assert_eq!(absent.header("retry-after"), again);
        assert!(!absent.text().contains("words of the upstream"), "{}", absent.text());
    }
    // Nobody listens there any more.
    let gone =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    let new = json!({"prefix": "gone", "upstream": format!("http://{gone}"), "networks": ["127.0.0.1"]});
    let new: NewCache = serde_json::from_value(new).expect("a cache");
    world.registry.set_cache(&Identity::operator(0), &new).await.expect("a cache");
    assert_eq!(client.get("/v2/gone/a/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

async fn a_hanging_upstream_is_not_waited_for(test: TestDb) {
    let patience = Duration::from_millis(200);
    let world = World::set_up(test, |config| config.upstreams.patience = patience).await;
    let upstream = Upstream::new().await;
    let image = upstream.put_image("a:1", &[&vec![5u8; 100_000]]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    upstream.fault("GET /v2/a/manifests/1", Fault::Hang);
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    upstream.fault("HEAD /v2/a/manifests/1", Fault::Hang);
    let stale = client.get("/v2/hub/a/manifests/1").await;
    assert!(stale.status == StatusCode::OK && !stale.header("warning").is_empty());
    let blob = client.get(&format!("/v2/hub/a/blobs/{}", image.layers[0])).await;
    assert_eq!(blob.status, StatusCode::OK);
}

async fn an_upstream_that_fails_is_left_alone(test: TestDb) {
    let (world, clock) = still(test).await;
    let upstream = Upstream::new().await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    upstream.down(Some(500));
    for _ in 0..limit::UPSTREAM_FAILURES + 5 {
        assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(upstream.seen().len() as u64, u64::from(limit::UPSTREAM_FAILURES));
    upstream.down(None);
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE, "not yet");
    clock.advance(i64::from(limit::UPSTREAM_REST_SECONDS));
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    until(async || is_filled(&world, &image.digest).await).await;
    // What it asks for is done.
    let after = vec![("retry-after", "100".to_owned())];
    upstream.fault("HEAD /v2/a/manifests/1", Fault::Status(429, after));
    assert!(!client.get("/v2/hub/a/manifests/1").await.header("warning").is_empty());
    let before = upstream.seen().len();
    clock.advance(99);
    let resting = client.get("/v2/hub/a/manifests/2").await;
    assert_eq!((resting.status, resting.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
    assert_eq!(upstream.seen().len(), before);
    clock.advance(1);
    assert!(client.get("/v2/hub/a/manifests/1").await.header("warning").is_empty());
}

async fn a_tag_is_asked_for_once_in_its_time(test: TestDb) {
    let (world, clock) = still(test).await;
    let upstream = Upstream::new().await;
    upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    let get = async || {
        let answer = client.get("/v2/hub/a/manifests/1").await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("cache-status").to_owned()
    };
    assert_eq!(get().await, "seaworthy; fwd=miss; stored");
    clock.advance(59);
    assert_eq!(get().await, "seaworthy; hit");
    client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await;
    assert_eq!(upstream.count("HEAD /v2/a/manifests/1"), 0);
    clock.advance(1);
    assert_eq!(get().await, "seaworthy; hit; detail=checked");
    assert_eq!(get().await, "seaworthy; hit");
    assert_eq!(upstream.count("HEAD /v2/a/manifests/1"), 1);
    assert_eq!(upstream.count("GET /v2/a/manifests/1"), 1);
}

async fn a_tag_moves_with_its_upstream(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let first = upstream.put_image("a:1", &[b"first"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let digest =
        async || client.get("/v2/hub/a/manifests/1").await.header("docker-content-digest").to_owned();
    assert_eq!(digest().await, first.digest.to_string());
    let second = upstream.put_image("a:1", &[b"second"]);
    let head = client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await;
    assert_eq!(head.header("docker-content-digest"), second.digest.to_string());
    assert_eq!(digest().await, second.digest.to_string());
    // Back to what is here: nothing is fetched.
    upstream.put_image("a:1", &[b"first"]);
    let before = upstream.count("GET /v2/a/manifests/1");
    assert_eq!(digest().await, first.digest.to_string());
    assert_eq!(upstream.count("GET /v2/a/manifests/1"), before);
    let old = client.get(&format!("/v2/hub/a/manifests/{}", second.digest)).await;
    assert_eq!(old.status, StatusCode::OK);
}

async fn a_tag_that_is_gone_is_gone(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    // What stands in front of a registry answers so too, while that is away.
    upstream.down(Some(404));
    let stale = client.get("/v2/hub/a/manifests/1").await;
    assert!(stale.status == StatusCode::OK && stale.header("warning").contains("stale"), "{}", stale.text());
    upstream.down(None);
    upstream.remove("/v2/a/manifests/1");
    let lock = |may: bool| json!({"deleteEnabled": may}).to_string();
    assert_eq!(
        client.send("PATCH", "/acr/v1/hub%2Fa/_tags/1", &[], lock(false)).await.status,
        StatusCode::OK
    );
    let stale = client.get("/v2/hub/a/manifests/1").await;
    assert!(stale.status == StatusCode::OK && stale.header("warning").contains("stale"), "a lock keeps it");
    assert_eq!(client.send("PATCH", "/acr/v1/hub%2Fa/_tags/1", &[], lock(true)).await.status, StatusCode::OK);
    let gone = client.get("/v2/hub/a/manifests/1").await;
    assert_eq!((gone.status, gone.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
    upstream.down(Some(500));
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE, "not back");
    let kept = client.get(&format!("/v2/hub/a/manifests/{}", image.digest)).await;
    assert_eq!(kept.status, StatusCode::OK);
}

/// Undo works below a cache, where nothing is pushed.
async fn what_was_deleted_comes_back(test: TestDb) {
    let test = test;
    let world =
        World::set_up(test, |config| config.collection = seaworthy_registry::Collection::default()).await;
    let upstream = Upstream::new().await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({"check_seconds": 3600})).await;
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    until(async || is_filled(&world, &image.digest).await).await;
    let path = format!("/v2/hub/a/manifests/{}", image.digest);
    assert_eq!(client.send("DELETE", &path, &[], "").await.status, StatusCode::ACCEPTED);
    let repository = "hub/a".parse().expect("a name");
    let restored = world.registry.restore(&Identity::operator(0), &repository, Err(image.digest)).await;
    assert_eq!(restored.expect("restored").tags.len(), 1);
    upstream.down(Some(500));
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    assert_eq!(client.get(&format!("/v2/hub/a/blobs/{}", image.layers[0])).await.status, StatusCode::OK);
}

async fn an_immutable_tag_stays(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let first = upstream.put_image("a:v1", &[b"first"]);
    upstream.cached(&world, json!({})).await;
    let rules = serde_json::from_value(json!({"prefix": "hub", "immutable": ["v*"]})).expect("rules");
    world.registry.set_rules(&Identity::operator(0), rules).await.expect("set");
    let client = world.operator();
    let digest =
        async || client.get("/v2/hub/a/manifests/v1").await.header("docker-content-digest").to_owned();
    assert_eq!(digest().await, first.digest.to_string());
    upstream.put_image("a:v1", &[b"second"]);
    assert_eq!(digest().await, first.digest.to_string());
    upstream.remove("/v2/a/manifests/v1");
    assert_eq!(digest().await, first.digest.to_string());
}

/// What is written by promotion alone is not written by who pulls.
async fn a_cache_writes_nothing_below_promotions(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.put_image("a:1", &[b"first"]);
    upstream.put_image("a:old", &[b"first"]);
    upstream.cached(&world, json!({})).await;
    assert_eq!(world.operator().get("/v2/hub/a/manifests/old").await.status, StatusCode::OK);
    let rules = serde_json::from_value(json!({"prefix": "hub", "promotion_only": true})).expect("rules");
    world.registry.set_rules(&Identity::operator(0), rules).await.expect("set");
    let client = world.operator();
    let answer = client.get("/v2/hub/a/manifests/1").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let none =
        world.registry.digest_of(&"hub/a".parse().expect("a name"), &"1".parse().expect("a tag")).await;
    assert_eq!(none.expect("asked"), None);
    upstream.remove("/v2/a/manifests/old");
    client.get("/v2/hub/a/manifests/old").await;
    let stays =
        world.registry.digest_of(&"hub/a".parse().expect("a name"), &"old".parse().expect("a tag")).await;
    assert!(stays.expect("asked").is_some(), "nor taken away");
}

async fn proxy_ns_ssrf(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("library/alpine:3.20", &[b"layer"]);
    upstream.cached(&world, json!({"ns": ["docker.io"]})).await;
    let operator = world.operator();
    operator.put_image("library/alpine:3.20", &[b"mine"]).await;
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    for path in [
        "/v2/library/alpine/manifests/3.20?ns=docker.io".to_owned(),
        "/v2/library/alpine/manifests/3.20?ns=DOCKER.io".to_owned(),
        format!("/v2/library/alpine/blobs/{}?ns=docker.io", image.layers[0]),
        "/v2/library/alpine/tags/list?ns=docker.io".to_owned(),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.header("oci-namespace").eq_ignore_ascii_case("docker.io"), "{path}");
        assert_eq!(answer.header("warning").contains("may have more"), path.contains("/tags/"), "{path}");
        if path.contains("/tags/") {
            assert!(answer.text().contains(r#""name":"library/alpine""#), "as it was asked for");
        }
    }
    assert_eq!(client.get("/v2/hub/library/alpine/tags/list").await.header("oci-namespace"), "");
    let referrers = client.get(&format!("/v2/hub/library/alpine/referrers/{}", image.digest)).await;
    assert_eq!(referrers.header("warning"), "", "the upstream says that there are none");
    let own = operator.get(&format!("/v2/library/alpine/referrers/{}", image.digest)).await;
    assert_eq!((own.header("warning"), own.header("cache-status")), ("", ""));
    let seen = upstream.seen().len();
    // Only what is configured: no address, no other port, no path.
    for ns in [
        "quay.io",
        "169.254.169.254",
        "127.0.0.1",
        &upstream.address.to_string(),
        "http%3A%2F%2F127.0.0.1",
        "docker.io%2F..",
        "docker.io%40evil.example",
        "%00",
        "",
    ] {
        for what in ["manifests/3.20", "tags/list", &format!("blobs/{}", image.layers[0])] {
            let answer = operator.get(&format!("/v2/library/alpine/{what}?ns={ns}")).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
                "{ns}"
            );
        }
    }
    assert_eq!(upstream.seen().len(), seen);
    // Rights are asked where it is: who may read a repository of that name may not read the cache, nor the
    // other way around.
    let dev = world.service("dev", "AcrPull", "/repositories/library").await;
    assert_eq!(dev.get("/v2/library/alpine/manifests/3.20").await.status, StatusCode::OK);
    assert_eq!(dev.get("/v2/library/alpine/manifests/3.20?ns=docker.io").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get("/v2/library/alpine/manifests/3.20").await.status, StatusCode::NOT_FOUND);
    for ns in ["localhost:5000", "registry.test:5000", "REGISTRY.test"] {
        let own = dev.get(&format!("/v2/library/alpine/manifests/3.20?ns={ns}")).await;
        assert_eq!(own.status, StatusCode::OK, "our own name says nothing: {ns}");
    }
    assert_eq!(
        dev.get("/v2/library/alpine/manifests/3.20?ns=registry.test:5001").await.code(),
        "NAME_UNKNOWN"
    );
    // What the caches are called, and for whom, is told to nobody: one answer, in the words of the question.
    let kind = PrincipalKind::ServicePrincipal;
    let name = "anonymous".parse().expect("a name");
    world.access.create_principal(&Actor::system(), name, kind).await.expect("created");
    let bought = async |who: &Identity, scopes: &[DockerScope]| {
        let token = world.access.issue_token(who, scopes).await.expect("token").token;
        world.as_identity(world.access.authenticate_token(token.expose(), None).await.expect("valid"))
    };
    let everybody = bought(&Identity::anonymous(None), &[]).await;
    for stranger in [&world.as_identity(Identity::anonymous(None)), &everybody, &world.rejected()] {
        let asked = async |ns: &str| {
            let answer = stranger.get(&format!("/v2/library/alpine/manifests/3.20?ns={ns}")).await;
            let headers = format!("{:?}", answer.headers).replace(ns, "NS");
            (answer.status, headers, answer.text())
        };
        let (hit, miss) = (asked("docker.io").await, asked("quay.example").await);
        assert_eq!((hit.0, &hit), (StatusCode::UNAUTHORIZED, &miss));
        let realm = "localhost:5000/oauth2/token?ns=NS";
        assert!(hit.1.contains(realm) && hit.1.contains("repository:library/alpine:pull"), "{}", hit.1);
    }
    // Who is somebody buys a token that holds here with that; without, it is told the name.
    let asked =
        || DockerScope::parse_all(std::iter::once("repository:library/alpine:pull registry:catalog:*"));
    let puller = world.identity("puller", "AcrPull", "/repositories/hub").await;
    let path = "/v2/library/alpine/manifests/3.20?ns=docker.io";
    let here = world.registry.scopes_here("docker.io", asked()).await.expect("scopes");
    let names: Vec<_> = here.iter().map(|it| it.access.name.as_str()).collect();
    assert_eq!(names, ["hub/library/alpine", "library/alpine", "catalog"]);
    assert_eq!(bought(&puller, &here).await.get(path).await.status, StatusCode::OK);
    assert_eq!(world.registry.scopes_here("quay.example", asked()).await.expect("scopes"), asked());
    let narrow = bought(&puller, &asked()).await.get(path).await;
    assert_eq!(narrow.status, StatusCode::UNAUTHORIZED);
    assert!(narrow.header("www-authenticate").contains("repository:hub/library/alpine:pull"));
    let push = operator.send("POST", "/v2/library/alpine/blobs/uploads/?ns=docker.io", &[], "").await;
    assert_eq!((push.status, push.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
}

/// `BuildKit`'s `mirrors = ["host/hub"]` and containerd's `override_path` put the prefix before the name.
async fn a_mirror_may_name_the_prefix(test: TestDb) {
    let (world, upstream, other) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    upstream.put_image("library/alpine:1", &[b"layer"]);
    // Whoever has that name at the upstream.
    upstream.put_image("hub/library/alpine:1", &[b"other"]);
    upstream.put_image("hub:1", &[b"short"]);
    upstream.put_image("inner/a:1", &[b"inner"]);
    upstream.cached(&world, json!({"ns": ["docker.io"]})).await;
    let nested = json!({"prefix": "hub/inner", "upstream": other.url(), "networks": ["127.0.0.1"]});
    let nested = serde_json::from_value(nested).expect("a cache");
    world.registry.set_cache(&Identity::operator(0), &nested).await.expect("a cache");
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    for (name, remote) in [
        ("library/alpine", "library/alpine"),
        ("hub/library/alpine", "library/alpine"),
        ("hub/hub/library/alpine", "hub/library/alpine"),
        ("hub", "hub"),
    ] {
        let answer = client.get(&format!("/v2/{name}/manifests/1?ns=docker.io")).await;
        assert_eq!((answer.status, answer.header("oci-namespace")), (StatusCode::OK, "docker.io"), "{name}");
        let given = Digest::sha256(&answer.body);
        let there = client.get(&format!("/v2/hub/{remote}/manifests/{given}")).await;
        assert_eq!(there.header("cache-status"), "seaworthy; hit", "{name}");
    }
    // Below the prefix of another cache it is another's.
    assert_eq!(client.get("/v2/hub/inner/a/manifests/1?ns=docker.io").await.status, StatusCode::NOT_FOUND);
    assert!(other.seen().is_empty());
    let dev = world.service("dev", "AcrPull", "/repositories/library").await;
    let refused = dev.get("/v2/hub/library/alpine/manifests/1?ns=docker.io").await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "rights are asked where it is");
}

async fn a_cache_takes_no_pushes(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let client = world.operator();
    let (digest, manifest) = client.put_image("dev/a:1", &[b"mine"]).await;
    upstream.cached(&world, json!({})).await;
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    let other = world.replica(|_| {});
    for (method, path) in [
        ("POST", "/v2/hub/a/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/hub/a/blobs/uploads/?digest={digest}")),
        ("POST", format!("/v2/hub/a/blobs/uploads/?mount={}&from=dev/a", Digest::sha256(b"mine"))),
        ("PUT", "/v2/hub/a/manifests/2".to_owned()),
        ("PUT", format!("/v2/hub/new/manifests/{digest}")),
    ] {
        for client in [&client, &other] {
            let answer = client.send(method, &path, &[], manifest.clone()).await;
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"), "{path}");
            assert!(answer.text().contains("is a cache"), "{}", answer.text());
        }
    }
    let (operator, source) = (Identity::operator(0), "dev/a".parse().expect("a name"));
    let parts = world.registry.parts(&operator, &source, &digest).await.expect("parts");
    let promotion = seaworthy_registry::Promotion {
        source,
        digest,
        destination: "hub/a".parse().expect("a name"),
        tag: None,
        because: json!({}),
    };
    assert!(world.registry.promote(&operator, promotion, parts).await.is_err());
    // What is in it can be deleted.
    let path = format!("/v2/hub/a/manifests/{}", image.digest);
    assert_eq!(client.send("DELETE", &path, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(
        client.get("/v2/hub/a/manifests/1").await.header("cache-status"),
        "seaworthy; fwd=miss; stored"
    );
    world.registry.remove_cache(&operator, &"hub".parse().expect("a prefix")).await.expect("removed");
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.header("cache-status"), "");
    client.put_image("hub/a:2", &[b"now"]).await;
}

async fn caches_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let operator = Identity::operator(0);
    let new = |prefix: String, ns: &str| -> NewCache {
        let ns: Vec<&str> = Some(ns).filter(|ns| !ns.is_empty()).into_iter().collect();
        serde_json::from_value(json!({"prefix": prefix, "upstream": "https://r.example", "ns": ns}))
            .expect("a cache")
    };
    let set = async |new: NewCache| world.registry.set_cache(&operator, &new).await;
    set(new("p0".into(), "r.example")).await.expect("set");
    assert!(set(new("p1".into(), "r.example")).await.is_err(), "one answers for a host");
    set(new("p0".into(), "r.example")).await.expect("the same again");
    for number in 1..limit::CACHES {
        set(new(format!("p{number}"), "")).await.expect("as many as there may be");
    }
    assert!(set(new("more".into(), "")).await.is_err());
    assert_eq!(world.registry.caches(&operator).await.expect("caches").len() as u64, limit::CACHES);
    world.registry.remove_cache(&operator, &"p1".parse().expect("a prefix")).await.expect("removed");
    world.operator().put_image("full/a:1", &[b"mine"]).await;
    let error = set(new("full".into(), "")).await.expect_err("images were pushed there");
    assert!(error.to_string().contains("were pushed"), "{error}");
    let reader = world.identity("reader", "AcrPull", "/").await;
    assert!(world.registry.set_cache(&reader, &new("mine".into(), "")).await.is_err());
    assert!(world.registry.remove_cache(&reader, &"p2".parse().expect("a prefix")).await.is_err());
    assert!(world.registry.caches(&reader).await.expect("those it may see").is_empty());
}

async fn what_is_not_there_is_not_found(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let digest = Digest::sha256(b"none");
    for (path, code) in [
        ("/v2/hub/a/manifests/2".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/hub/a/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        ("/v2/hub/manifests/1".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/hub/a/blobs/{digest}"), "BLOB_UNKNOWN"),
    ] {
        let answer = client.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, code), "{path}");
    }
    assert_eq!(upstream.count(&format!("GET /v2/a/blobs/{digest}")), 0, "no manifest names it");
}

async fn an_absent_manifest_is_asked_for_now_and_then(test: TestDb) {
    let (world, clock) = still(test).await;
    let upstream = Upstream::new().await;
    let absent = i64::from(limit::ABSENT_SECONDS);
    let check = limit::ABSENT_SECONDS * 6;
    upstream.cached(&world, json!({"check_seconds": check})).await;
    let client = world.operator();
    let image = crate::upstream::image(&[b"layer"]);
    for name in ["1".to_owned(), image.digest.to_string()] {
        let (path, call) = (format!("/v2/hub/a/manifests/{name}"), format!("GET /v2/a/manifests/{name}"));
        let get = async || client.get(&path).await.status;
        for method in ["GET", "HEAD", "GET"] {
            let answer = client.send(method, &path, &[], "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(upstream.count(&call), 1);
        // It is pushed there; here that is known when the time is over.
        upstream.put_image("a:1", &[b"layer"]);
        clock.advance(absent - 1);
        assert_eq!((get().await, upstream.count(&call)), (StatusCode::NOT_FOUND, 1));
        clock.advance(1);
        assert_eq!((get().await, upstream.count(&call)), (StatusCode::OK, 2));
        // What is here is not absent, however it goes.
        let gone = client.send("DELETE", &path, &[], "").await;
        assert_eq!(gone.status, StatusCode::ACCEPTED, "{}", gone.text());
        assert_eq!(get().await, StatusCode::OK);
        let whole = format!("/v2/hub/a/manifests/{}", image.digest);
        assert_eq!(client.send("DELETE", &whole, &[], "").await.status, StatusCode::ACCEPTED);
        for name in ["1", &image.digest.to_string()] {
            upstream.remove(&format!("/v2/a/manifests/{name}"));
        }
    }
    // What is listed may be pulled at once.
    let signature = crate::client::artifact(&image.digest, "x/signature", "{}");
    let signed = Digest::sha256(signature.as_bytes());
    let paths = ["/v2/hub/a/manifests/2".to_owned(), format!("/v2/hub/a/manifests/{signed}")];
    for path in &paths {
        assert_eq!(client.get(path).await.status, StatusCode::NOT_FOUND);
    }
    upstream.put_manifest("a", "2", crate::client::IMAGE, &signature);
    upstream.put_blob("a", b"{}");
    upstream.list_tags("a", &["2"]);
    upstream.list_referrers(&format!("/v2/a/referrers/{}", image.digest), &[&signature]);
    for (path, list) in paths.iter().zip(["tags/list", &format!("referrers/{}", image.digest)]) {
        assert_eq!(client.get(path).await.status, StatusCode::NOT_FOUND, "a moment ago it was not there");
        assert_eq!(client.get(&format!("/v2/hub/a/{list}")).await.status, StatusCode::OK);
        assert_eq!(client.get(path).await.status, StatusCode::OK, "{path}");
        assert_eq!(client.send("DELETE", &paths[1], &[], "").await.status, StatusCode::ACCEPTED);
    }
    // Another upstream may have it, and what is asked about each time is asked about each time.
    let get = async || client.get("/v2/hub/b/manifests/1").await.status;
    assert_eq!(get().await, StatusCode::NOT_FOUND);
    upstream.put_image("b:1", &[b"layer"]);
    assert_eq!(get().await, StatusCode::NOT_FOUND);
    upstream.cached(&world, json!({"check_seconds": check})).await;
    assert_eq!(get().await, StatusCode::OK);
    upstream.cached(&world, json!({"check_seconds": 0})).await;
    let get = async || client.get("/v2/hub/c/manifests/1").await.status;
    assert_eq!(get().await, StatusCode::NOT_FOUND);
    upstream.put_image("c:1", &[b"layer"]);
    assert_eq!(get().await, StatusCode::OK);
}

async fn in_a_hurry(test: TestDb) -> World {
    World::set_up(test, |config| config.upstreams.turn_patience = Duration::from_millis(50)).await
}

/// Has `own` and one more of each of so many caches asked for that all `turns` are taken, and the last has the one that
/// each has besides; `hang` says what, and lets its upstream never answer. Who has no turn is told so.
async fn at_once(
    world: &World,
    (own, turns): (usize, usize),
    hang: impl AsyncFn(&Upstream, &str) -> Vec<(String, String)>,
) {
    let mut all = Vec::new();
    for number in 0..=turns / own {
        let (upstream, prefix) = (Upstream::new().await, format!("hub{number}"));
        upstream.cached(world, json!({"prefix": prefix, "check_seconds": 60})).await;
        let (paths, calls): (Vec<_>, Vec<_>) = hang(&upstream, &prefix).await.into_iter().unzip();
        let asked = || calls.iter().map(|call| upstream.count(call)).sum::<usize>();
        let most = if number < turns / own { own } else { 1 };
        let mut asking = tokio::task::JoinSet::new();
        for path in paths {
            let client = world.operator();
            asking.spawn(async move { client.get(&path).await });
        }
        for _ in most..calls.len() {
            let late = asking.join_next().await.expect("one").expect("an answer");
            assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE, "{}", late.text());
            assert_eq!(late.header("retry-after"), limit::UPSTREAM_RETRY_SECONDS.to_string());
        }
        until(async || asked() == most).await;
        all.push((upstream, asking));
    }
}

async fn so_many_manifests_are_asked_for_at_once(test: TestDb) {
    let world = in_a_hurry(test).await;
    at_once(&world, (limit::CACHE_ERRANDS, limit::ERRANDS), async |upstream, prefix| {
        let hang = |tag: usize| {
            let call = format!("GET /v2/a/manifests/{tag}");
            upstream.fault(&call, Fault::Hang);
            (format!("/v2/{prefix}/a/manifests/{tag}"), call)
        };
        (0..=limit::CACHE_ERRANDS).map(hang).collect()
    })
    .await;
}

async fn so_many_blobs_are_searched_for_at_once(test: TestDb) {
    let world = in_a_hurry(test).await;
    at_once(&world, (limit::CACHE_SEARCHES, limit::SEARCHES), async |upstream, prefix| {
        let child = json!({"mediaType": crate::client::IMAGE, "digest": Digest::sha256(b"child"), "size": 9});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).to_string();
        upstream.put_manifest("a", "1", INDEX, &index);
        world.operator().send("HEAD", &format!("/v2/{prefix}/a/manifests/1"), &[], "").await;
        let hang = |number: usize| {
            let digest = Digest::sha256(format!("blob {number}").as_bytes());
            let call = format!("HEAD /v2/a/blobs/{digest}");
            upstream.fault(&call, Fault::Hang);
            (format!("/v2/{prefix}/a/blobs/{digest}"), call)
        };
        (0..=limit::CACHE_SEARCHES).map(hang).collect()
    })
    .await;
}

/// Another server's turn is as good: who waits looks again, every [`limit::LOOK_AGAIN_SECONDS`].
async fn who_waits_for_a_turn_sees_that_it_came(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({})).await;
    let mut held = Vec::new();
    for tag in 0..limit::CACHE_ERRANDS {
        upstream.put_image(&format!("a:{tag}"), &[b"layer"]);
        let (drops, source) = tokio::sync::mpsc::channel(1);
        upstream.fault(&format!("GET /v2/a/manifests/{tag}"), Fault::Drip(source));
        let client = world.operator();
        let asking = tokio::spawn(async move { client.get(&format!("/v2/hub/a/manifests/{tag}")).await });
        held.push((drops, asking));
    }
    let asked = || {
        (0..limit::CACHE_ERRANDS)
            .filter(|tag| upstream.count(&format!("GET /v2/a/manifests/{tag}")) > 0)
            .count()
    };
    until(async || asked() == limit::CACHE_ERRANDS).await;
    upstream.put_image("a:new", &[b"new"]);
    let client = world.operator();
    let waits = tokio::spawn(async move { client.get("/v2/hub/a/manifests/new").await.status });
    assert_eq!(world.replica(|_| {}).get("/v2/hub/a/manifests/new").await.status, StatusCode::OK);
    assert_eq!(waits.await.expect("answered"), StatusCode::OK);
    assert_eq!(upstream.count("GET /v2/a/manifests/new"), 1, "by the other");
    assert!(held.iter().all(|(_, asking)| !asking.is_finished()), "no turn came");
    held.iter().for_each(|(_, asking)| asking.abort());
}

async fn who_has_gone_asks_for_nothing(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({})).await;
    let count = limit::CACHE_ERRANDS + 50;
    let mut held = Vec::new();
    let mut asking = tokio::task::JoinSet::new();
    for tag in 0..count {
        upstream.put_image(&format!("a:{tag}"), &[b"layer"]);
        let (drops, source) = tokio::sync::mpsc::channel(1);
        upstream.fault(&format!("GET /v2/a/manifests/{tag}"), Fault::Drip(source));
        held.push(drops);
        let client = world.operator();
        asking.spawn(async move { client.get(&format!("/v2/hub/a/manifests/{tag}")).await });
    }
    let asked = || (0..count).map(|tag| upstream.count(&format!("GET /v2/a/manifests/{tag}"))).sum::<usize>();
    until(async || asked() == limit::CACHE_ERRANDS).await;
    asking.shutdown().await;
    // What they began ends; what they waited for is not begun, or would be before what comes now.
    held.clear();
    upstream.put_image("b:1", &[b"layer"]);
    assert_eq!(world.operator().get("/v2/hub/b/manifests/1").await.status, StatusCode::OK);
    assert_eq!(asked(), limit::CACHE_ERRANDS);
}

/// Nobody can push there.
async fn a_manifest_that_rotted_comes_again(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    assert_eq!(world.operator().get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    for name in ["1".to_owned(), image.digest.to_string()] {
        let other = if world.test.engine == Engine::Sqlite { "X'7b7d'" } else { "'\\x7b7d'::bytea" };
        let digest = &image.digest;
        world
            .alter(format!("UPDATE registry_manifest_bytes SET bytes = {other} WHERE digest = '{digest}'"))
            .await;
        let fresh = world.replica(|_| {});
        let answer = fresh.get(&format!("/v2/hub/a/manifests/{name}")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, image.manifest.clone()), "{name}");
    }
}
