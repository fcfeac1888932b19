//! What a manifest may name, and what it opens by that.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::Actor;
use seaworthy_oci::Digest;
use seaworthy_registry::Promotion;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::{Value, json};

use crate::client::{Answer, Client, IMAGE, INDEX, ROOMS, World};

db_tests!(super::ROOMS; a_config_is_named_as_a_layer_is, a_child_opens_nothing, an_index_opens_the_blobs_that_it_names,
    what_stays_away_tells_nothing, a_config_elsewhere_is_not_looked_at, what_is_locked_is_not_named,
    what_is_refused_is_named_nowhere_else, what_is_refused_is_not_promoted);

const SECRET: &[u8] = b"what another tenant keeps";
const CONFIG: &[u8] = br#"{"os":"linux"}"#;

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len()})
}

fn config(bytes: &[u8]) -> Value {
    descriptor("application/vnd.oci.image.config.v1+json", bytes)
}

fn layer(bytes: &[u8]) -> Value {
    descriptor("application/vnd.oci.image.layer.v1.tar", bytes)
}

fn image(config: &Value, layers: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers}).to_string()
}

fn index(children: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string()
}

async fn get(client: &Client, repository: &str, bytes: &[u8]) -> StatusCode {
    client.get(&format!("/v2/{repository}/blobs/{}", Digest::sha256(bytes))).await.status
}

async fn head(client: &Client, repository: &str, bytes: &[u8]) -> StatusCode {
    client.send("HEAD", &format!("/v2/{repository}/blobs/{}", Digest::sha256(bytes)), &[], "").await.status
}

async fn put_index(client: &Client, path: &str, children: &[Value]) -> Answer {
    client.put_as(&format!("/v2/{path}"), INDEX, &index(children)).await
}

/// Somebody who pushes to `a`, where there is an image, and has no right to `b`, where [`SECRET`] is.
async fn stranger(world: &World) -> Client {
    world.operator().put_image("b:1", &[SECRET]).await;
    let client = world.service("stranger", "AcrPush", "/repositories/a").await;
    client.put_image("a:1", &[b"mine"]).await;
    client.put_blob("a", CONFIG).await;
    client
}

async fn explained(world: &World, identity: &Identity, bytes: &[u8]) -> Option<Value> {
    world.registry.explain(identity, &Digest::sha256(bytes)).await.ok()
}

/// Only layers may stay away: a config with `urls`, or of a foreign layer's type, is none.
async fn a_config_is_named_as_a_layer_is(test: TestDb) {
    let world = World::new(test).await;
    let client = stranger(&world).await;
    let mut with_urls = config(SECRET);
    with_urls["urls"] = json!(["http://elsewhere.test/config"]);
    let foreign = descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar", SECRET);
    for config in [with_urls, foreign] {
        let answer = client.put_manifest("a", "leak", &image(&config, &[layer(b"mine")])).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN")
        );
        assert_eq!(get(&client, "a", SECRET).await, StatusCode::NOT_FOUND);
    }
}

/// An index may name what is not here: nobody asked whose it is.
async fn a_child_opens_nothing(test: TestDb) {
    let world = World::new(test).await;
    let client = stranger(&world).await;
    for child in [layer(SECRET), descriptor(IMAGE, SECRET)] {
        let put = put_index(&client, "a/manifests/leak", &[child]).await;
        assert_eq!(put.status, StatusCode::CREATED, "sparse indexes are allowed: {}", put.text());
        assert!(put.header("warning").contains("does not have 1 of"), "{}", put.header("warning"));
        assert_eq!(get(&client, "a", SECRET).await, StatusCode::NOT_FOUND);
        assert_eq!(head(&client, "a", SECRET).await, StatusCode::NOT_FOUND);
    }
    let named = client.put_manifest("a", "leak", &image(&config(CONFIG), &[layer(SECRET)])).await;
    assert_eq!(named.code(), "MANIFEST_BLOB_UNKNOWN");
    let mount = format!("/v2/a/x/blobs/uploads/?mount={}", Digest::sha256(SECRET));
    for from in ["", "&from=a", "&from=b"] {
        let mounted = client.send("POST", &format!("{mount}{from}"), &[], "").await;
        assert_eq!(mounted.status, StatusCode::ACCEPTED, "{from}");
    }
    // Nor what another brought to the same repository.
    world.operator().put_blob("a", b"brought").await;
    put_index(&client, "a/manifests/leak", &[layer(b"brought")]).await;
    assert_eq!(get(&client, "a", b"brought").await, StatusCode::NOT_FOUND);
}

/// What builds keep in an index of layers is there for whoever may pull the index, and for who copies it.
async fn an_index_opens_the_blobs_that_it_names(test: TestDb) {
    let world = World::new(test).await;
    let client = stranger(&world).await;
    client.put_blob("a", b"cached").await;
    let put = put_index(&client, "a/manifests/cache", &[layer(b"cached"), layer(SECRET)]).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert!(put.header("warning").contains("does not have 1 of"), "{}", put.header("warning"));
    // What is no image is not waited for.
    let names = async |bytes: &[u8]| {
        let sql =
            "SELECT payload FROM store_deliveries WHERE consumer = 'clearance' ORDER BY id DESC LIMIT 1";
        let told = world.test.db.fetch_all(sql, args![]).await.expect("read");
        told[0].text(0).expect("text").contains(&Digest::sha256(bytes).to_string())
    };
    assert!(names(SECRET).await && !names(b"cached").await);
    // What calls itself one is, whatever its bytes were sent as.
    client.put_blob("a", b"posing").await;
    let put = put_index(&client, "a/manifests/posing", &[descriptor(IMAGE, b"posing")]).await;
    assert!(put.header("warning").contains("does not have 1 of"), "{}", put.header("warning"));
    assert!(names(b"posing").await);
    let reader = world.service("reader", "AcrPull", "/repositories").await;
    assert_eq!(get(&reader, "a", b"cached").await, StatusCode::OK);
    assert_eq!(get(&client, "a", SECRET).await, StatusCode::NOT_FOUND);
    // Named once, it may be named again by others.
    let other = world.service("other", "AcrPush", "/repositories/a").await;
    assert_eq!(head(&other, "a", b"cached").await, StatusCode::OK);
    let put = put_index(&other, "a/manifests/again", &[layer(b"cached")]).await;
    assert_eq!((put.status, put.header("warning")), (StatusCode::CREATED, ""), "{}", put.text());
    let promotion = Promotion {
        source: "a".parse().expect("a name"),
        digest: Digest::sha256(index(&[layer(b"cached"), layer(SECRET)]).as_bytes()),
        destination: "c".parse().expect("a name"),
        tag: None,
        because: Value::Null,
    };
    let operator = Identity::operator(0);
    let parts = world.registry.parts(&operator, &promotion.source, &promotion.digest).await.expect("parts");
    world.registry.promote(&operator, promotion, parts).await.expect("promoted");
    assert_eq!(get(&reader, "c", b"cached").await, StatusCode::OK);
    assert_eq!(get(&reader, "c", SECRET).await, StatusCode::NOT_FOUND);
}

/// Neither its size nor whether it is somewhere.
async fn what_stays_away_tells_nothing(test: TestDb) {
    let world = World::new(test).await;
    let client = stranger(&world).await;
    let held = async || {
        let sql =
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM registry_holdings WHERE repository = 'a'";
        world.test.db.fetch_all(sql, args![]).await.expect("read")[0].int(0).expect("a sum")
    };
    let before = held().await;
    let foreign = descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar", SECRET);
    let put = client.put_manifest("a", "foreign", &image(&config(CONFIG), &[layer(b"mine"), foreign])).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert_eq!(held().await, before);
    let other = world.identity("other", "AcrPush", "/repositories/a").await;
    assert_eq!(explained(&world, &other, SECRET).await, None);
    assert!(explained(&world, &other, b"mine").await.is_some());
    client.put_blob("a", b"brought").await;
    assert_eq!(explained(&world, &other, b"brought").await, None, "what another brought, and nobody named");
    // Two manifests name it now.
    for tag in ["1", "foreign"] {
        let digest = client.get(&format!("/v2/a/manifests/{tag}")).await;
        let path = format!("/acr/v1/a/_manifests/{}", digest.header("docker-content-digest"));
        let locked = world.operator().send("PATCH", &path, &[], r#"{"readEnabled":false}"#).await;
        assert_eq!(locked.status, StatusCode::OK, "{}", locked.text());
    }
    assert_eq!(explained(&world, &other, b"mine").await, None, "what is locked");
}

/// An artifact's config decides whether it may be run: of one that is elsewhere, nothing is told.
async fn a_config_elsewhere_is_not_looked_at(test: TestDb) {
    let world = World::new(test).await;
    let client = stranger(&world).await;
    world.gate.0.lock().expect("lock").insert(
        ("a".into(), Digest::sha256(image(&config(CONFIG), &[layer(b"other")]).as_bytes())),
        "blocked",
    );
    let operator = world.operator();
    operator.put_blob("a", CONFIG).await;
    operator.put_blob("a", b"other").await;
    let blocked = operator.put_manifest("a", "blocked", &image(&config(CONFIG), &[layer(b"other")])).await;
    assert_eq!(blocked.status, StatusCode::CREATED);
    // With a layer that they may not read, an artifact is refused, unless its config is not here.
    let artifact = |config: &[u8]| image(&descriptor("application/x-notes", config), &[layer(b"other")]);
    let refused = client.put_manifest("a", "notes", &artifact(CONFIG)).await;
    assert_eq!(refused.code(), "DENIED", "{}", refused.text());
    for guessed in [SECRET, b"what nobody has"] {
        let answer = client.put_manifest("a", "notes", &artifact(guessed)).await;
        assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN", "{}", answer.text());
    }
}

/// A manifest that nobody may read lends its layers to no other.
async fn what_is_locked_is_not_named(test: TestDb) {
    let world = World::new(test).await;
    let (digest, _) = world.operator().put_image("a:1", &[b"locked"]).await;
    let client = world.service("ci", "AcrPush", "/repositories/a").await;
    client.put_blob("a", CONFIG).await;
    let manifest = image(&config(CONFIG), &[layer(b"locked")]);
    assert_eq!(head(&client, "a", b"locked").await, StatusCode::OK);
    let path = format!("/acr/v1/a/_manifests/{digest}");
    let locked = world.operator().send("PATCH", &path, &[], r#"{"readEnabled":false}"#).await;
    assert_eq!(locked.status, StatusCode::OK, "{}", locked.text());
    assert_eq!(head(&client, "a", b"locked").await, StatusCode::NOT_FOUND);
    let named = client.put_manifest("a", "2", &manifest).await;
    assert_eq!(named.code(), "MANIFEST_BLOB_UNKNOWN", "{}", named.text());
    assert_eq!(get(&client, "a", b"locked").await, StatusCode::METHOD_NOT_ALLOWED);
    // Who has the bytes sends them.
    client.put_blob("a", b"locked").await;
    assert_eq!(client.put_manifest("a", "2", &manifest).await.status, StatusCode::CREATED);
    assert_eq!(get(&client, "a", b"locked").await, StatusCode::OK);
}

/// Where other policies hold, nobody opens what was refused where it is.
async fn what_is_refused_is_named_nowhere_else(test: TestDb) {
    let world = World::new(test).await;
    let (digest, _) = world.operator().put_image("prod/web:1", &[b"refused"]).await;
    world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), "blocked");
    let client = world.service("ci", "AcrPull", "/repositories/prod").await;
    let dev = "/repositories/dev".parse().expect("a scope");
    world.access.assign(&Actor::system(), "ci", "AcrPush", dev).await.expect("assigned");
    let mount = format!("mount={}", Digest::sha256(b"refused"));
    for query in [format!("{mount}&from=prod/web"), mount] {
        let answer = client.send("POST", &format!("/v2/dev/x/blobs/uploads/?{query}"), &[], "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{query}");
    }
    client.put_blob("dev/x", CONFIG).await;
    let manifest = image(&config(CONFIG), &[layer(b"refused")]);
    assert_eq!(client.put_manifest("dev/x", "1", &manifest).await.code(), "MANIFEST_BLOB_UNKNOWN");
    // Where it is, it is judged again: what mends an image shares its layers.
    let pusher = world.service("pusher", "AcrPush", "/repositories/prod").await;
    pusher.put_blob("prod/web", CONFIG).await;
    let mended = pusher.put_manifest("prod/web", "2", &manifest).await;
    assert_eq!(mended.status, StatusCode::CREATED, "{}", mended.text());
}

async fn what_is_refused_is_not_promoted(test: TestDb) {
    let world = World::new(test).await;
    let (digest, image) = world.operator().put_image("prod/web:1", &[b"refused"]).await;
    let child = json!({"mediaType": IMAGE, "digest": digest, "size": image.len()});
    put_index(&world.operator(), "prod/web/manifests/all", std::slice::from_ref(&child)).await;
    let all = Digest::sha256(index(&[child]).as_bytes());
    let source = "prod/web".parse().expect("a name");
    let reader = world.identity("reader", "AcrPull", "/repositories/prod").await;
    let inspector = world.identity("inspector", "AcrQuarantineReader", "/repositories/prod").await;
    for name in [digest, all] {
        assert!(world.registry.parts(&reader, &source, &name).await.is_ok());
    }
    world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), "blocked");
    for name in [digest, all] {
        let refused = world.registry.parts(&reader, &source, &name).await.expect_err("refused").to_string();
        assert!(refused.contains(&format!("prod/web@{digest} is blocked")), "{refused}");
        assert!(world.registry.parts(&inspector, &source, &name).await.is_ok());
    }
    let sql = "SELECT COUNT(*) FROM ledger_leaves WHERE action = 'pull.refuse'";
    let recorded = world.test.db.fetch_all(sql, args![]).await.expect("read")[0].int(0).expect("a count");
    assert_eq!(recorded, 1, "as a pull is");
}
