//! Whom a cache believes, whom it tells what, and what its content may open.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use crate::{
    client::{IMAGE, INDEX, ROOMS, World},
    upstream::{Fault, Upstream, image, is_filled, until},
};

db_tests!(super::ROOMS; credentials_are_never_forwarded, a_realm_is_bound_to_its_upstream, a_redirect_takes_no_credentials,
    a_password_is_sealed, private_addresses_are_refused, what_is_cached_is_judged, an_index_is_let_through, what_another_search_brought_is_looked_at, images_are_brought_for_their_blobs, so_many_images_are_brought_for_a_blob, an_index_names_blobs,
    a_manifest_opens_only_what_its_upstream_gave, an_upstream_gives_for_one_repository,
    bytes_on_their_way_are_for_one_repository, what_is_not_whole_is_not_promoted, fills_go_on_after_a_failure,
    an_artifact_is_told_from_an_image, answers_are_bounded);

async fn credentials_are_never_forwarded(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let challenge =
        format!(r#"Bearer realm="{}/token",service="s",scope="repository:a:pull""#, upstream.url());
    upstream.guard(&challenge, "Bearer issued", "issued");
    upstream.cached(&world, json!({"username": "we", "password": "ours"})).await;
    let client = world.operator();
    let own = [
        ("authorization", "Basic c2VjcmV0OnNlY3JldA=="),
        ("cookie", "session=theirs"),
        ("x-forwarded-for", "10.0.0.1"),
        ("accept", "text/theirs"),
        ("user-agent", "theirs"),
    ];
    upstream.list_tags("a", &["1"]);
    for path in [
        "manifests/1".to_owned(),
        format!("blobs/{}", image.layers[0]),
        "tags/list".to_owned(),
        format!("referrers/{}", image.digest),
    ] {
        let answer = client.send("GET", &format!("/v2/hub/a/{path}"), &own, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let known = ["host", "user-agent", "connection", "accept", "authorization"];
    for seen in upstream.seen() {
        for (name, value) in &seen.headers {
            let text = value.to_str().expect("text");
            assert!(known.contains(&name.as_str()), "{}: {name}", seen.call);
            assert!(!text.contains("theirs") && !text.contains("c2VjcmV0"), "{}: {name}", seen.call);
        }
        let given = seen.headers.get("authorization").map_or("", |it| it.to_str().expect("text"));
        let expected = if seen.call == "GET /token" { "Basic d2U6b3Vycw==" } else { "Bearer issued" };
        assert!(given == expected || given.is_empty(), "{}: {given}", seen.call);
    }
    assert_eq!(upstream.count("GET /token"), 1, "a token is used until its end");
}

async fn a_realm_is_bound_to_its_upstream(test: TestDb) {
    let (world, upstream, foreign) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    upstream.put_image("a:1", &[b"layer"]);
    foreign.guard("", "", "issued");
    let login = json!({"username": "we", "password": "ours"});
    upstream.cached(&world, login.clone()).await;
    let client = world.operator();
    for realm in [
        format!("{}/token", foreign.url()),
        format!("http://{}@{}/token", upstream.address, foreign.address),
        "https://auth.docker.io/token".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/token".to_owned(),
        String::new(),
    ] {
        upstream.guard(&format!(r#"Bearer realm="{realm}",service="s""#), "Bearer issued", "issued");
        assert_eq!(
            client.get("/v2/hub/a/manifests/1").await.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{realm}"
        );
    }
    assert!(foreign.seen().is_empty());
    assert!(upstream.seen().iter().all(|seen| seen.headers.get("authorization").is_none()));
    upstream.guard(&format!(r#"Bearer realm="{}/token""#, foreign.url()), "Bearer issued", "issued");
    let mut named = login;
    named["realms"] = json!([foreign.address.to_string()]);
    upstream.cached(&world, named).await;
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    assert_eq!(foreign.count("GET /token"), 1);
}

async fn a_redirect_takes_no_credentials(test: TestDb) {
    let (world, upstream, store) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    let layer = vec![4u8; 50_000];
    let image = upstream.put_image("a:1", &[&layer]);
    upstream.guard(r#"Basic realm="r""#, "Basic d2U6b3Vycw==", "");
    upstream.cached(&world, json!({"username": "we", "password": "ours"})).await;
    store.put("/signed", "application/octet-stream", layer.clone());
    let client = world.operator();
    client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await;
    let (path, call) =
        (format!("/v2/hub/a/blobs/{}", image.layers[0]), format!("GET /v2/a/blobs/{}", image.layers[0]));
    let to = |place: String| Fault::Status(307, vec![("location", place)]);
    upstream.fault(&call, to(format!("{}/signed?key=1", store.url())));
    assert!(client.get(&path).await.body == layer);
    assert_eq!(store.seen().len(), 1);
    assert!(store.seen()[0].headers.get("authorization").is_none());

    let round = upstream.put_image("b:1", &[b"round"]);
    client.send("HEAD", "/v2/hub/b/manifests/1", &[], "").await;
    let (path, call) =
        (format!("/v2/hub/b/blobs/{}", round.layers[0]), format!("GET /v2/b/blobs/{}", round.layers[0]));
    for _ in 0..=limit::REDIRECTS {
        upstream.fault(&call, to(format!("/v2/b/blobs/{}", round.layers[0])));
    }
    assert_eq!(client.get(&path).await.status, StatusCode::SERVICE_UNAVAILABLE, "round and round");
    assert_eq!(upstream.count(&call), limit::REDIRECTS + 1);
    for _ in 0..limit::REDIRECTS {
        upstream.fault(&call, to(format!("/v2/b/blobs/{}", round.layers[0])));
    }
    assert_eq!(client.get(&path).await.status, StatusCode::OK, "as many as there may be");
}

async fn private_addresses_are_refused(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let inner = Upstream::at("127.0.0.2").await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    inner.put("/secret", "application/octet-stream", "layer");
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await;
    let (path, call) =
        (format!("/v2/hub/a/blobs/{}", image.layers[0]), format!("GET /v2/a/blobs/{}", image.layers[0]));
    let port = inner.address.port();
    for place in [
        format!("{}/secret", inner.url()),
        format!("http://[::ffff:127.0.0.2]:{port}/secret"),
        format!("http://2130706434:{port}/secret"),
        format!("http://127.2:{port}/secret"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ] {
        upstream.fault(&call, Fault::Status(302, vec![("location", place.clone())]));
        let answer = client.get(&path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{place}");
    }
    assert!(inner.seen().is_empty());
    // Nor is the upstream itself reached where nobody allowed it.
    inner.put_image("a:1", &[b"layer"]);
    let new = json!({"prefix": "in", "upstream": inner.url(), "networks": ["10.0.0.0/8"]});
    let new = serde_json::from_value(new).expect("a cache");
    world.registry.set_cache(&Identity::operator(0), &new).await.expect("a cache");
    let refused = client.get("/v2/in/a/manifests/1").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text().contains("127.0.0.2") && inner.seen().is_empty(), "{}", refused.text());
}

async fn a_password_is_sealed(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({"username": "we", "password": "hunter-2"})).await;
    let shown = world.registry.caches(&Identity::operator(0)).await.expect("caches");
    assert!(json!(shown).to_string().contains("\"we\"") && !json!(shown).to_string().contains("hunter-2"));
    let rows =
        world.test.db.fetch_all("SELECT sealed, settings FROM registry_caches", args![]).await.expect("rows");
    let sealed = rows[0].bytes(0).expect("bytes").to_vec();
    assert!(!sealed.windows(8).any(|window| window == b"hunter-2"));
    let leaves = world.test.db.fetch_all("SELECT leaf FROM ledger_leaves", args![]).await.expect("leaves");
    assert!(leaves.iter().all(|row| !row.text(0).expect("text").contains("hunter-2")));
    let new: seaworthy_registry::NewCache = serde_json::from_value(
        json!({"prefix": "x", "upstream": "docker.io", "username": "we", "password": "hunter-2"}),
    )
    .expect("a cache");
    assert!(!format!("{new:?}").contains("hunter-2"));
    // Sealed for one upstream: whoever writes rows cannot have it sent to another.
    upstream.put_image("a:1", &[b"layer"]);
    upstream.guard(r#"Basic realm="r""#, "Basic d2U6aHVudGVyLTI=", "");
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    let other = Upstream::new().await;
    let moved = rows[0].text(1).expect("text").replace(&upstream.url(), &other.url());
    world
        .test
        .db
        .upkeep(moved, |moved, tx| {
            Box::pin(async move {
                tx.execute("UPDATE registry_caches SET settings = $1, changed_at = 1", args![moved]).await
            })
        })
        .await
        .map_err(|error: seaworthy_store::DbError| error)
        .expect("changed");
    other.guard(r#"Basic realm="r""#, "Basic d2U6aHVudGVyLTI=", "");
    let replica = world.replica(|_| {});
    assert_eq!(replica.get("/v2/hub/b/manifests/1").await.status, StatusCode::FORBIDDEN);
    assert!(
        !other.seen().is_empty() && other.seen().iter().all(|it| it.headers.get("authorization").is_none())
    );
}

/// Events of a kind that wait for a consumer.
async fn waiting(world: &World, consumer: &str) -> usize {
    let sql = "SELECT 1 FROM store_deliveries WHERE consumer = $1 AND kind = 'manifest_pushed'";
    world.test.db.fetch_all(sql, args![consumer]).await.expect("rows").len()
}

async fn what_is_cached_is_judged(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = vec![6u8; 50_000];
    let image = upstream.put_image("a:1", &[&layer]);
    upstream.cached(&world, json!({})).await;
    world.gate.0.lock().expect("lock").insert(("hub/a".into(), image.digest), "pending");
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let blob = format!("/v2/hub/a/blobs/{}", image.layers[0]);
    let (drops, source) = tokio::sync::mpsc::channel(1);
    upstream.fault(&format!("GET /v2/a/blobs/{}", image.layers[0]), Fault::Drip(source));
    let refused = client.get("/v2/hub/a/manifests/1").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    assert_eq!(client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await.status, StatusCode::OK);
    for method in ["GET", "HEAD"] {
        assert_eq!(client.send(method, &blob, &[], "").await.status, StatusCode::FORBIDDEN, "while it comes");
    }
    // Clearance knows of it, inspection only when all of it is here.
    assert_eq!((waiting(&world, "clearance").await, waiting(&world, "inspection").await), (1, 0));
    drops.send(layer.clone().into()).await.expect("fetched though it is refused");
    drop(drops);
    until(async || is_filled(&world, &image.digest).await).await;
    assert_eq!((waiting(&world, "clearance").await, waiting(&world, "inspection").await), (1, 1));
    assert_eq!(client.get(&blob).await.status, StatusCode::FORBIDDEN, "and when it is here");
    world.gate.0.lock().expect("lock").clear();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    assert!(client.get(&blob).await.body == layer);
    assert_eq!(upstream.count(&format!("GET /v2/a/blobs/{}", image.layers[0])), 1);
}

/// A gate that knows nothing of an index's images refuses it; only who has the index can ask for them.
async fn an_index_is_let_through(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:amd", &[b"layer"]);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": IMAGE, "digest": image.digest, "size": image.manifest.len()}]})
    .to_string();
    let digest = upstream.put_manifest("a", "1", INDEX, &index);
    upstream.cached(&world, json!({})).await;
    for refused in [digest, image.digest] {
        world.gate.0.lock().expect("lock").insert(("hub/a".into(), refused), "pending");
    }
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    assert_eq!(upstream.seen().len(), 1, "nothing is fetched behind an index");
    let path = format!("/v2/hub/a/manifests/{}", image.digest);
    assert_eq!(client.get(&path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::FORBIDDEN, "all of it is here");
}

/// Who has the manifests already asks for layers at once.
async fn images_are_brought_for_their_blobs(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = vec![3u8; 50_000];
    let [amd, arm] =
        [("a:amd", layer.as_slice()), ("a:arm", b"arm")].map(|(name, it)| upstream.put_image(name, &[it]));
    let (inner, outer) = {
        let child = |digest: &Digest, kind: &str| json!({"mediaType": kind, "digest": digest, "size": 9});
        let index = |children: &[serde_json::Value]| {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string();
            upstream.put_manifest("a", "index", INDEX, &index)
        };
        let inner = index(&[child(&arm.digest, IMAGE), child(&amd.digest, IMAGE)]);
        (inner, index(&[child(&Digest::sha256(b"absent"), IMAGE), child(&inner, INDEX)]))
    };
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let blob = |digest: &Digest| format!("/v2/hub/a/blobs/{digest}");
    assert_eq!(client.get(&blob(&amd.layers[0])).await.status, StatusCode::NOT_FOUND);
    assert!(upstream.seen().is_empty(), "nothing leads to it");
    assert_eq!(client.send("HEAD", "/v2/hub/a/manifests/index", &[], "").await.status, StatusCode::OK);
    let before = upstream.seen().len();
    assert_eq!(client.get(&blob(&Digest::sha256(b"none"))).await.status, StatusCode::NOT_FOUND);
    assert_eq!(upstream.seen().len(), before + 1, "what the upstream does not have is not looked for");
    world.gate.0.lock().expect("lock").insert(("hub/a".into(), amd.digest), "pending");
    assert_eq!(client.get(&blob(&amd.layers[0])).await.status, StatusCode::FORBIDDEN, "it is judged");
    until(async || is_filled(&world, &amd.digest).await).await;
    world.gate.0.lock().expect("lock").clear();
    assert!(client.get(&blob(&amd.layers[0])).await.body == layer);
    let asked = |digest: &Digest| upstream.count(&format!("GET /v2/a/manifests/{digest}"));
    assert_eq!([&inner, &arm.digest, &amd.digest].map(asked), [1, 1, 1]);
    assert_eq!(upstream.count(&format!("GET /v2/a/blobs/{}", amd.layers[0])), 1);
    let head = client.send("HEAD", &blob(&arm.layers[0]), &[], "").await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, "3"), "{outer}");
    // What an index calls a manifest is given as one alone.
    upstream.put(&format!("/v2/a/blobs/{}", arm.digest), IMAGE, arm.manifest.clone());
    assert_eq!(client.get(&blob(&arm.digest)).await.status, StatusCode::NOT_FOUND);
}

/// Two searches come to the same image: who finds it here has found what it looks for, and brings no more.
async fn what_another_search_brought_is_looked_at(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = |layers: &[&[u8]]| upstream.put_image("a:x", layers);
    let (slow, wanted, last) = (image(&[b"slow"]), image(&[b"one", b"two"]), image(&[b"last"]));
    let child = |digest: &Digest| json!({"mediaType": IMAGE, "digest": digest, "size": 9});
    let children = [&slow, &wanted, &last].map(|it| child(&it.digest));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string();
    upstream.put_manifest("a", "index", INDEX, &index);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    client.send("HEAD", "/v2/hub/a/manifests/index", &[], "").await;
    let (drops, source) = tokio::sync::mpsc::channel(1);
    upstream.fault(&format!("GET /v2/a/manifests/{}", slow.digest), Fault::Drip(source));
    let searching = [0, 1].map(|layer| {
        let (client, path) = (client.clone(), format!("/v2/hub/a/blobs/{}", wanted.layers[layer]));
        tokio::spawn(async move { client.get(&path).await })
    });
    for layer in &wanted.layers {
        until(async || upstream.count(&format!("HEAD /v2/a/blobs/{layer}")) == 1).await;
    }
    // Both wait for the first; what they look for comes meanwhile.
    let path = format!("/v2/hub/a/manifests/{}", wanted.digest);
    assert_eq!(client.send("HEAD", &path, &[], "").await.status, StatusCode::OK);
    drops.send(slow.manifest.clone().into()).await.expect("asked for");
    drop(drops);
    for (found, bytes) in searching.into_iter().zip([b"one", b"two"]) {
        assert_eq!(found.await.expect("an answer").body, &bytes[..]);
    }
    assert_eq!(upstream.count(&format!("GET /v2/a/manifests/{}", last.digest)), 0);
}

/// What is beyond the limits is found by who asks again: then the others are here.
async fn so_many_images_are_brought_for_a_blob(test: TestDb) {
    let (world, clock) = crate::cache::still(test).await;
    let upstream = Upstream::new().await;
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    let image = |name: &str, layer: &str| upstream.put_image(&format!("{name}:x"), &[layer.as_bytes()]);
    let index = |name: &str, tag: &str, children: &[Digest]| {
        let child = |digest: &Digest| json!({"mediaType": IMAGE, "digest": digest, "size": 9});
        let children: Vec<_> = children.iter().map(child).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string();
        upstream.put_manifest(name, tag, INDEX, &index);
    };
    let asked = async |name: &str, layer: &str| {
        client.get(&format!("/v2/hub/{name}/blobs/{}", Digest::sha256(layer.as_bytes()))).await.status
    };
    let head = async |name: &str, tag: &str| {
        let head = client.send("HEAD", &format!("/v2/hub/{name}/manifests/{tag}"), &[], "").await;
        assert_eq!(head.status, StatusCode::OK);
        clock.advance(1);
    };
    for (name, count, first) in
        [("a", limit::CHILDREN, StatusCode::OK), ("b", limit::CHILDREN + 1, StatusCode::NOT_FOUND)]
    {
        let children: Vec<_> = (1..=count).map(|it| image(name, &format!("{name}{it}")).digest).collect();
        index(name, "1", &children);
        head(name, "1").await;
        let layer = format!("{name}{count}");
        assert_eq!(
            (asked(name, &layer).await, asked(name, &layer).await),
            (first, StatusCode::OK),
            "{count}"
        );
    }
    let most = usize::try_from(limit::INDEXES).expect("small");
    for (name, count, first) in [("c", most, StatusCode::OK), ("d", most + 1, StatusCode::NOT_FOUND)] {
        for number in 1..=count {
            index(name, &number.to_string(), &[image(name, &format!("{name}{number}")).digest]);
            head(name, &number.to_string()).await;
        }
        // The oldest is the last one that is looked at.
        let layer = format!("{name}1");
        assert_eq!(
            (asked(name, &layer).await, asked(name, &layer).await),
            (first, StatusCode::OK),
            "{count}"
        );
    }
}

/// As `BuildKit`'s cache has it.
async fn an_index_names_blobs(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = vec![3u8; 50_000];
    let digest = upstream.put_blob("a", &layer);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": layer.len()}]});
    let index = upstream.put_manifest("a", "cache", INDEX, &index.to_string());
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/cache").await.status, StatusCode::OK);
    let path = format!("/v2/hub/a/blobs/{digest}");
    let reader = world.service("ci", "AcrPull", "/repositories/hub").await;
    world.gate.0.lock().expect("lock").insert(("hub/a".into(), index), "pending");
    assert_eq!(reader.get(&path).await.status, StatusCode::FORBIDDEN, "under the clearance of the index");
    world.gate.0.lock().expect("lock").clear();
    for _ in 0..2 {
        assert!(reader.get(&path).await.body == layer);
    }
    assert_eq!(upstream.count(&format!("GET /v2/a/blobs/{digest}")), 1);
}

/// A manifest says nothing about who has the bytes: an upstream could name what others pushed here.
async fn a_manifest_opens_only_what_its_upstream_gave(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let private = vec![1u8; 50_000];
    let operator = world.operator();
    operator.put_image("private/app:1", &[&private]).await;
    let named = image(&[&private]);
    upstream.put_blob("a", crate::upstream::CONFIG);
    upstream.put_manifest("a", "1", IMAGE, &named.manifest);
    upstream.cached(&world, json!({})).await;
    let client = world.service("ci", "AcrPush", "/repositories/hub").await;
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    let path = format!("/v2/hub/a/blobs/{}", named.layers[0]);
    assert_eq!(client.get(&path).await.status, StatusCode::NOT_FOUND);
    // Nor when it is no cache any more, by reading, by naming, by mounting.
    world
        .registry
        .remove_cache(&Identity::operator(0), &"hub".parse().expect("a prefix"))
        .await
        .expect("removed");
    for method in ["GET", "HEAD"] {
        assert_eq!(client.send(method, &path, &[], "").await.status, StatusCode::NOT_FOUND, "{method}");
    }
    client.put_blob("hub/a", crate::upstream::CONFIG).await;
    assert_eq!(client.put_manifest("hub/a", "2", &named.manifest).await.status, StatusCode::BAD_REQUEST);
    let mount = format!("/v2/hub/b/blobs/uploads/?mount={}&from=hub/a", named.layers[0]);
    assert_eq!(client.send("POST", &mount, &[], "").await.status, StatusCode::ACCEPTED);
    // Who has the bytes opens it.
    client.put_blob("hub/a", &private).await;
    assert!(client.get(&path).await.body == private);
}

/// An upstream has rights of its own: what it gave for one repository is not for those who read another.
async fn an_upstream_gives_for_one_repository(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = vec![1u8; 50_000];
    let private = upstream.put_image("private:1", &[&layer]);
    upstream.put_blob("steal", crate::upstream::CONFIG);
    upstream.put_manifest("steal", "1", IMAGE, &private.manifest);
    upstream.put_image("twin:1", &[&layer]);
    upstream.put_image("late:1", &[&layer]);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let blob = |name: &str| format!("/v2/{name}/blobs/{}", private.layers[0]);
    let operator = world.operator();
    for name in ["private", "twin", "late"] {
        let head = operator.send("HEAD", &format!("/v2/hub/{name}/manifests/1"), &[], "").await;
        assert_eq!(head.status, StatusCode::OK, "{name}");
    }
    assert_eq!(operator.get(&blob("hub/private")).await.status, StatusCode::OK);
    let client = world.service("ci", "AcrPull", "/repositories/hub/steal").await;
    assert_eq!(client.get("/v2/hub/steal/manifests/1").await.status, StatusCode::OK);
    for _ in 0..2 {
        assert_eq!(client.get(&blob("hub/steal")).await.status, StatusCode::NOT_FOUND);
    }
    // Who has it there, too, is believed without its being sent again; once.
    for _ in 0..2 {
        assert!(operator.get(&blob("hub/twin")).await.body == layer);
    }
    let calls =
        |name: &str| ["HEAD", "GET"].map(|method| upstream.count(&format!("{method} {}", blob(name))));
    assert_eq!((calls("twin"), calls("private")), ([1, 0], [0, 1]));
    // An upstream that knows no HEAD is asked for all of it.
    upstream.fault(&format!("HEAD {}", blob("late")), Fault::Status(405, vec![]));
    upstream.down(Some(500));
    assert_eq!(operator.get(&blob("hub/late")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    for name in ["hub/private", "hub/twin"] {
        assert!(operator.get(&blob(name)).await.body == layer, "{name}");
    }
    upstream.down(None);
    assert!(operator.get(&blob("hub/late")).await.body == layer);
    assert_eq!(calls("late"), [2, 1]);
}

async fn bytes_on_their_way_are_for_one_repository(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = bytes::Bytes::from(vec![1u8; 600_000]);
    let private = upstream.put_image("private:1", &[&layer]);
    upstream.put_manifest("steal", "1", IMAGE, &private.manifest);
    upstream.put_image("twin:1", &[&layer]);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let blob = |name: &str| format!("/v2/{name}/blobs/{}", private.layers[0]);
    let client = world.operator();
    for name in ["private", "steal", "twin"] {
        let head = client.send("HEAD", &format!("/v2/hub/{name}/manifests/1"), &[], "").await;
        assert_eq!(head.status, StatusCode::OK, "{name}");
    }
    let (drops, source) = tokio::sync::mpsc::channel(1);
    upstream.fault(&format!("GET {}", blob("private")), Fault::Drip(source));
    drops.send(layer.slice(..100_000)).await.expect("asked for");
    let request = |name: &str| {
        http::Request::get(blob(name))
            .header("host", "localhost")
            .body(axum::body::Body::empty())
            .expect("one")
    };
    let first = client.open(request("hub/private")).await;
    assert_eq!(client.get(&blob("hub/steal")).await.status, StatusCode::NOT_FOUND);
    // What the upstream has there, too, comes with the same bytes.
    let twin = client.open(request("hub/twin")).await;
    assert_eq!((first.status(), twin.status()), (StatusCode::OK, StatusCode::OK));
    drops.send(layer.slice(100_000..)).await.expect("asked for");
    drop(drops);
    for answer in [first, twin] {
        let got = axum::body::to_bytes(answer.into_body(), layer.len()).await.expect("bytes");
        assert!(got == layer);
    }
    assert_eq!(upstream.count(&format!("GET {}", blob("private"))), 1);
    assert_eq!(upstream.count(&format!("GET {}", blob("twin"))), 0);
    assert_eq!(client.get(&blob("hub/steal")).await.status, StatusCode::NOT_FOUND);
    upstream.down(Some(500));
    assert!(client.get(&blob("hub/twin")).await.body == layer, "it is that repository's, too");
}

async fn what_is_not_whole_is_not_promoted(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[&vec![2u8; 50_000]]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    assert_eq!(client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await.status, StatusCode::OK);
    let (operator, source) = (Identity::operator(0), "hub/a".parse().expect("a name"));
    let promote = async || {
        let parts = world.registry.parts(&operator, &source, &image.digest).await.expect("parts");
        let promotion = seaworthy_registry::Promotion {
            source: source.clone(),
            digest: image.digest,
            destination: "prod/a".parse().expect("a name"),
            tag: None,
            because: json!({}),
        };
        world.registry.promote(&operator, promotion, parts).await
    };
    assert!(promote().await.is_err());
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    until(async || is_filled(&world, &image.digest).await).await;
    promote().await.expect("promoted");
    let blob = client.get(&format!("/v2/prod/a/blobs/{}", image.layers[0])).await;
    assert_eq!(blob.status, StatusCode::OK);
}

async fn fills_go_on_after_a_failure(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[&vec![2u8; 50_000]]);
    upstream.cached(&world, json!({})).await;
    let call = format!("GET /v2/a/blobs/{}", image.layers[0]);
    upstream.fault(&call, Fault::Status(403, vec![]));
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    until(async || upstream.count(&call) == 1).await;
    let sql = "SELECT due FROM registry_cached WHERE digest = $1";
    let due = world
        .test
        .db
        .fetch_optional(sql, args![&image.digest.to_string()])
        .await
        .expect("rows")
        .expect("a row");
    assert!(due.int(0).expect("a time") > world.test.db.now().as_micros(), "it is tried again");
    // A pull has it tried at once.
    until(async || {
        client.get("/v2/hub/a/manifests/1").await;
        is_filled(&world, &image.digest).await
    })
    .await;
    assert_eq!(waiting(&world, "inspection").await, 1, "told once");
}

async fn an_artifact_is_told_from_an_image(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let chart = br#"{"name":"chart"}"#;
    let config = upstream.put_blob("c", chart);
    upstream.put_blob("c", b"chart");
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": config, "size": chart.len()},
        "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                    "digest": Digest::sha256(b"chart"), "size": 5}]})
    .to_string();
    upstream.put_manifest("c", "1", IMAGE, &manifest);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    assert_eq!(client.get("/v2/hub/c/manifests/1").await.status, StatusCode::OK);
    let sql = "SELECT payload FROM store_deliveries WHERE consumer = 'clearance'";
    let rows = world.test.db.fetch_all(sql, args![]).await.expect("rows");
    let payload = rows[0].text(0).expect("text");
    assert!(payload.contains(r#""is_image":false"#), "{payload}");
}

async fn answers_are_bounded(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    // Three come by themselves: the length, the date, and that the connection ends.
    for (more, status) in [(0, StatusCode::NOT_FOUND), (1, StatusCode::SERVICE_UNAVAILABLE)] {
        let headers = vec![("x-more", "1".to_owned()); limit::UPSTREAM_HEADERS - 3 + more];
        upstream.fault("GET /v2/a/manifests/none", Fault::Status(404, headers));
        assert_eq!(client.get("/v2/hub/a/manifests/none").await.status, status, "{more}");
    }
    let around = json!({"token": "", "expires_in": 300}).to_string().len();
    for (more, status) in [(1, StatusCode::SERVICE_UNAVAILABLE), (0, StatusCode::OK)] {
        let token = "a".repeat(limit::TOKEN_ANSWER_BYTES - around + more);
        let challenge = format!(r#"Bearer realm="{}/token""#, upstream.url());
        upstream.guard(&challenge, &format!("Bearer {token}"), &token);
        assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, status, "{more}");
    }
    upstream.unguard();
    let manifest = |bytes: usize| {
        let around =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": ""}})
                .to_string()
                .len();
        let pad = "x".repeat(bytes - around);
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": pad}})
            .to_string()
    };
    let most = seaworthy_oci::limit::MANIFEST_BYTES;
    for (bytes, status) in [(most, StatusCode::OK), (most + 1, StatusCode::SERVICE_UNAVAILABLE)] {
        upstream.put_manifest("big", "1", INDEX, &manifest(bytes));
        upstream.cached(&world, json!({"prefix": format!("m{bytes}")})).await;
        assert_eq!(client.get(&format!("/v2/m{bytes}/big/manifests/1")).await.status, status, "{bytes}");
    }
}
