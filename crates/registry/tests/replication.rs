//! What is copied to another registry.

use std::{net::SocketAddr, sync::Arc};

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_registry::{
    NewReplication, Outgoing, ReplicationName, ReplicationShown, RepositoryRules, limit,
};
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    client::{Client, IMAGE, INDEX, ROOMS, World, artifact},
    far::{Far, Fault},
    upstream::{Upstream, until},
};

db_tests!(super::ROOMS; all_of_it_is_there_and_stays_so, tags_and_prefixes_choose,
    what_nobody_may_pull_is_not_sent, what_refers_comes_later, a_tag_that_moves_while_it_is_sent,
    a_registry_that_is_away_gets_it_later, what_it_answers_is_not_believed, it_signs_in_for_pushing,
    replications_need_their_rights, a_replication_into_itself_is_refused, replications_are_bounded,
    what_is_locked_stays, one_that_is_made_anew_begins_anew, late_images_of_an_index_follow,
    a_tag_of_another_algorithm_keeps_it, so_many_are_sent_at_once, however_many_tags_there_are, one_repository_holds_up_no_other, one_referrer_holds_up_no_other, questions_are_those_of_a_pusher, what_came_from_an_upstream_is_sent_when_it_is_whole, quarantine_holds_it_back);

/// Sends in the background until it is dropped.
pub(crate) fn run(world: &World) -> Running {
    let cancel = CancellationToken::new();
    let task = tokio::spawn(world.registry.clone().replicating(cancel.clone()));
    Running { cancel: cancel.drop_guard(), task }
}

pub(crate) struct Running {
    cancel: DropGuard,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it: what comes afterwards is not claimed by it any more.
    pub(crate) async fn stop(self) {
        drop(self.cancel);
        self.task.await.expect("it ended by itself");
    }

    /// Ends it as a kill does: nothing is said of what is under way.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it ended by itself");
    }
}

fn wish(to: SocketAddr, more: &Value) -> NewReplication {
    let mut new = json!({"name": "edge", "prefix": "prod", "to": format!("http://{to}"), "remote_prefix": "mirror",
        "networks": ["127.0.0.1"]});
    new.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    serde_json::from_value(new).expect("a replication")
}

pub(crate) async fn set(world: &World, to: SocketAddr, more: Value) {
    world.registry.set_replication(&Identity::operator(0), &wish(to, &more)).await.expect("set");
}

pub(crate) fn edge() -> ReplicationName {
    "edge".parse().expect("a name")
}

async fn shown(world: &World) -> ReplicationShown {
    world.registry.replications(&Identity::operator(0)).await.expect("shown").remove(0)
}

pub(crate) async fn rows(world: &World) -> Vec<Outgoing> {
    world.registry.outgoing(&Identity::operator(0), &edge(), ("", ""), false).await.expect("rows")
}

/// Waits until everything is there.
pub(crate) async fn settled(world: &World) {
    until(async || {
        let shown = shown(world).await;
        !shown.is_seeding && shown.waiting == 0
    })
    .await;
}

/// Waits until something failed, and says why.
pub(crate) async fn failed(world: &World) -> String {
    until(async || shown(world).await.failed > 0).await;
    rows(world).await.into_iter().find_map(|row| row.error).expect("a reason")
}

pub(crate) async fn again(world: &World) {
    world.registry.run_replication(&Identity::operator(0), &edge()).await.expect("run");
}

pub(crate) async fn digest_of(client: &Client, name: &str) -> Option<String> {
    let (repository, tag) = name.split_once(':').expect("a tag");
    let answer = client.get(&format!("/v2/{repository}/manifests/{tag}")).await;
    (answer.status == StatusCode::OK).then(|| answer.header("docker-content-digest").to_owned())
}

fn index_of(children: &[(&Digest, usize)]) -> String {
    let children: Vec<Value> = children
        .iter()
        .map(|(digest, size)| json!({"mediaType": IMAGE, "digest": digest, "size": size}))
        .collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string()
}

async fn put(client: &Client, repository: &str, name: &str, media_type: &str, manifest: &str) -> Digest {
    let path = format!("/v2/{repository}/manifests/{name}");
    let answer = client.put_as(&path, media_type, manifest).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    Digest::sha256(manifest.as_bytes())
}

pub(crate) async fn refer(client: &Client, repository: &str, subject: &Digest, kind: &str) -> Digest {
    client.put_blob(repository, b"{}").await;
    let manifest = artifact(subject, kind, "{}");
    let digest = Digest::sha256(manifest.as_bytes());
    put(client, repository, &digest.to_string(), IMAGE, &manifest).await
}

async fn all_of_it_is_there_and_stays_so(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let large = vec![7; 3 << 20];
    let (image, manifest) = client.put_image("prod/web:1", &[&large, b"small"]).await;
    let (other, other_manifest) = client.put_image("prod/web:other", &[b"other"]).await;
    let index = index_of(&[(&image, manifest.len()), (&other, other_manifest.len())]);
    let index = put(&client, "prod/web", "all", INDEX, &index).await;
    let signature = refer(&client, "prod/web", &index, "application/a.signature").await;
    let of_signature = refer(&client, "prod/web", &signature, "application/a.timestamp").await;
    client.put_image("dev/web:1", &[b"not there"]).await;
    let cached = client.put_blob("prod/web", b"cached").await;
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layers = json!([{"mediaType": kind, "digest": cached, "size": 6}]);
    let layers = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": layers}).to_string();
    put(&client, "prod/web", "cache", INDEX, &layers).await;
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    settled(&world).await;
    for tag in ["1", "other", "all", "cache"] {
        let there = digest_of(&client, &format!("mirror/web:{tag}")).await;
        assert!(there.is_some() && there == digest_of(&client, &format!("prod/web:{tag}")).await, "{tag}");
    }
    let blob = client.get(&format!("/v2/mirror/web/blobs/{}", Digest::sha256(&large))).await;
    assert!(blob.status == StatusCode::OK && blob.body == large);
    let blob = client.get(&format!("/v2/mirror/web/blobs/{cached}")).await;
    assert_eq!((blob.status, &blob.body[..]), (StatusCode::OK, &b"cached"[..]));
    for (subject, referrer) in [(&index, &signature), (&signature, &of_signature)] {
        let answer = client.get(&format!("/v2/mirror/web/referrers/{subject}")).await;
        assert!(answer.text().contains(&referrer.to_string()), "{}", answer.text());
    }
    let writes = far.writes();
    let puts = |of: &str| writes.iter().filter(|call| call.starts_with("PUT") && call.contains(of)).count();
    // Three layers and one config for both, one config for both artifacts, what the index of layers names; each once.
    assert_eq!(puts("/blobs/"), 6, "{writes:#?}");
    // Both images by tag, once more by digest if the index came first; two indexes, two artifacts.
    assert!((6..=8).contains(&puts("/manifests/")), "{writes:#?}");
    // Once it is there nothing is sent again.
    again(&world).await;
    settled(&world).await;
    assert_eq!(far.writes(), [""; 0]);
    // What comes now goes at once, and only what is new of it.
    let (moved, _) = client.put_image("prod/web:1", &[&large, b"newer"]).await;
    until(async || digest_of(&client, "mirror/web:1").await == Some(moved.to_string())).await;
    settled(&world).await;
    let puts = far.writes().iter().filter(|call| call.starts_with("PUT")).count();
    assert_eq!(puts, 2, "a layer and a manifest");
    assert_eq!(digest_of(&client, "mirror/web:other").await, Some(other.to_string()));
    let done = rows(&world).await;
    assert!(done.iter().all(|row| row.error.is_none() && row.due.is_none() && row.done_at.is_some()));
    let acts = crate::acr::acts(&world, "manifest.replicate").await;
    assert!(acts >= 4, "{acts}");
}

async fn tags_and_prefixes_choose(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    for name in ["prod:v1", "prod/web:v1", "prod/web:w1", "production:v1"] {
        client.put_image(name, &[name.as_bytes()]).await;
    }
    set(&world, far.address, json!({"tags": ["v*"]})).await;
    let _running = run(&world);
    settled(&world).await;
    for (name, is_there) in [
        ("mirror:v1", true),
        ("mirror/web:v1", true),
        ("mirror/web:w1", false),
        ("mirror/uction:v1", false),
        ("mirror/production:v1", false),
    ] {
        assert_eq!(digest_of(&client, name).await.is_some(), is_there, "{name}");
    }
    client.put_image("prod/new:w2", &[b"w2"]).await;
    client.put_image("prod/new:v2", &[b"v2"]).await;
    until(async || digest_of(&client, "mirror/new:v2").await.is_some()).await;
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/new:w2").await, None);
    // Other settings are for everything that is there.
    set(&world, far.address, json!({"tags": ["w*"], "remote_prefix": ""})).await;
    settled(&world).await;
    far.writes();
    again(&world).await;
    settled(&world).await;
    assert_eq!(far.writes(), [""; 0], "the same names in the same registry: all there");
    let rows = rows(&world).await;
    assert!(rows.iter().all(|row| row.name.starts_with('w')) && rows.len() == 2, "{rows:#?}");
}

async fn what_nobody_may_pull_is_not_sent(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (good, manifest) = client.put_image("prod/web:good", &[b"good"]).await;
    let (bad, bad_manifest) = client.put_image("prod/web:bad", &[b"bad"]).await;
    let index = index_of(&[(&good, manifest.len()), (&bad, bad_manifest.len())]);
    put(&client, "prod/web", "both", INDEX, &index).await;
    let sbom = refer(&client, "prod/web", &good, "application/an.sbom").await;
    let refuse = |digest: &Digest, verdict| {
        world.gate.0.lock().expect("lock").insert(("prod/web".to_owned(), *digest), verdict);
    };
    refuse(&bad, "blocked");
    refuse(&sbom, "blocked");
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    until(async || digest_of(&client, "mirror/web:good").await.is_some()).await;
    until(async || shown(&world).await.failed == 3).await;
    let why: Vec<String> = rows(&world).await.into_iter().filter_map(|row| row.error).collect();
    assert!(why.iter().all(|why| why.ends_with("is blocked")), "{why:?}");
    // The good one is there, and what refers to it is still to come.
    let there: Vec<String> =
        rows(&world).await.into_iter().filter(|row| row.digest.is_some()).map(|row| row.name).collect();
    assert_eq!(there, ["good"]);
    for name in [format!("manifests/{bad}"), format!("manifests/{sbom}"), "manifests/both".to_owned()] {
        assert_eq!(client.get(&format!("/v2/mirror/web/{name}")).await.status, StatusCode::NOT_FOUND);
    }
    let layer = format!("/v2/mirror/web/blobs/{}", Digest::sha256(b"bad"));
    assert_eq!(client.get(&layer).await.status, StatusCode::NOT_FOUND, "not its layers either");
    // A gate that cannot say is no reason to send.
    refuse(&bad, "error");
    again(&world).await;
    until(async || rows(&world).await.iter().any(|row| row.error.as_deref() == Some("cannot find out")))
        .await;
    world.gate.0.lock().expect("lock").clear();
    again(&world).await;
    settled(&world).await;
    assert!(digest_of(&client, "mirror/web:both").await.is_some());
    let referrers = client.get(&format!("/v2/mirror/web/referrers/{good}")).await;
    assert!(referrers.text().contains(&sbom.to_string()), "{}", referrers.text());
}

async fn what_refers_comes_later(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:v1", &[b"layer"]).await;
    let (left, _) = client.put_image("prod/web:left", &[b"left"]).await;
    set(&world, far.address, json!({"tags": ["v*"]})).await;
    let _running = run(&world);
    settled(&world).await;
    let signature = refer(&client, "prod/web", &image, "application/a.signature").await;
    settled(&world).await;
    let answer = client.get(&format!("/v2/mirror/web/referrers/{image}")).await;
    assert!(answer.text().contains(&signature.to_string()), "{}", answer.text());
    // What refers to an image that is not there waits for it, and not for ever.
    let stray = refer(&client, "prod/web", &left, "application/a.signature").await;
    assert!(failed(&world).await.contains(&left.to_string()));
    assert_eq!(client.get(&format!("/v2/mirror/web/manifests/{stray}")).await.status, StatusCode::NOT_FOUND);
    let tries = |count: i64| {
        let db = world.test.db.clone();
        let sql =
            "UPDATE registry_outgoing SET due = 0, tries = $1, epoch = epoch + 1 WHERE error IS NOT NULL";
        async move {
            db.upkeep(count, move |count, tx| {
                Box::pin(async move { tx.execute(sql, args![*count]).await.map(|_| ()) })
            })
            .await
            .map_err(|error: seaworthy_store::DbError| error)
            .expect("changed");
        }
    };
    tries(limit::SENDS_WITHOUT_SUBJECT - 1).await;
    until(async || rows(&world).await.iter().any(|row| row.tries > limit::SENDS_WITHOUT_SUBJECT as u64 - 1))
        .await;
    until(async || rows(&world).await.iter().any(|row| row.due.is_some_and(|due| due.as_micros() > 0))).await;
    tries(limit::SENDS_WITHOUT_SUBJECT).await;
    settled(&world).await;
    assert_eq!(rows(&world).await.len(), 2, "it is left behind");
}

async fn a_tag_that_moves_while_it_is_sent(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    client.put_image("prod/web:1", &[b"first"]).await;
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    far.fault("PUT /v2/mirror/web/manifests/1", Fault::Wait(waits.clone(), go.clone()));
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    waits.notified().await;
    let (second, _) = client.put_image("prod/web:1", &[b"second"]).await;
    go.notify_one();
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, Some(second.to_string()));
    assert_eq!(rows(&world).await[0].digest, Some(second));
}

async fn a_registry_that_is_away_gets_it_later(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    far.lock().down = Some(503);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    assert_eq!(failed(&world).await, "upstream `127.0.0.1` answered 503 Service Unavailable");
    let row = &rows(&world).await[0];
    assert!(row.due.expect("due").as_micros() > world.test.db.now().as_micros() && row.done_at.is_none());
    far.lock().down = None;
    // A connection that ends in the middle of a layer, and a registry that is full.
    far.fault("POST /v2/mirror/web/blobs/uploads/", Fault::Status(507));
    again(&world).await;
    until(async || rows(&world).await[0].error.as_deref().is_some_and(|why| why.contains("507"))).await;
    again(&world).await;
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, Some(image.to_string()));
    // Nobody listens.
    let gone =
        { tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("address") };
    set(&world, gone, json!({})).await;
    assert!(failed(&world).await.starts_with("failed to connect to `127.0.0.1`"));
}

async fn what_it_answers_is_not_believed(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let foreign = Upstream::new().await;
    client.put_image("prod/web:1", &[b"layer"]).await;
    let digest = Digest::sha256(b"another").to_string();
    let upload = "POST /v2/mirror/web/blobs/uploads/";
    let manifest = "PUT /v2/mirror/web/manifests/1";
    let elsewhere = format!("{}/v2/x", foreign.url());
    let header = |name, value: &str| Fault::Header(name, value.to_owned());
    for (call, fault, why) in [
        (upload, &(|| header("location", &elsewhere)) as &dyn Fn() -> Fault, "an upload elsewhere"),
        (upload, &|| header("location", "file:///etc"), "an upload elsewhere"),
        (upload, &|| Fault::Status(307), "a push elsewhere"),
        (manifest, &|| Fault::Status(400), "answered 400 Bad Request"),
        // It has it now, whatever it says: this comes last.
        (manifest, &|| header("docker-content-digest", &digest), "another digest for what was sent"),
    ] {
        // Both blobs begin an upload.
        far.fault(call, fault());
        far.fault(call, fault());
        set(&world, far.address, json!({"tags": ["1"]})).await;
        let running = run(&world);
        let error = failed(&world).await;
        assert!(error.contains(why), "{error}: {why}");
        running.stop().await;
        far.lock().faults.clear();
    }
    assert!(foreign.seen().is_empty());
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    settled(&world).await;
}

async fn it_signs_in_for_pushing(test: TestDb) {
    let world = World::new(test).await;
    let (client, foreign) = (world.operator(), Upstream::new().await);
    client.put_image("prod/web:1", &[b"layer"]).await;
    let challenge = format!(r#"Bearer realm="{}/token",service="s""#, foreign.url());
    foreign.guard(&challenge, "Bearer issued", "issued");
    set(&world, foreign.address, json!({"username": "we", "password": "ours"})).await;
    let _running = run(&world);
    // It has a token, and answers a push with 404 as what it is.
    assert!(failed(&world).await.contains("does not have it"));
    let seen = foreign.seen();
    let given = |call: &str| {
        // The first of each kind has none yet.
        let mut given = seen.iter().filter(|seen| seen.call == call);
        let found = given.find_map(|seen| seen.headers.get("authorization")).expect(call);
        found.to_str().expect("text").to_owned()
    };
    assert_eq!(given("GET /token"), "Basic d2U6b3Vycw==");
    assert_eq!(given("POST /v2/mirror/web/blobs/uploads/"), "Bearer issued");
    let sql = "SELECT settings, sealed FROM registry_replications";
    let kept = world.test.db.fetch_all(sql, args![]).await.expect("rows");
    assert!(!kept[0].text(0).expect("text").contains("ours"));
    let sealed = String::from_utf8_lossy(kept[0].bytes(1).expect("sealed")).into_owned();
    assert!(!sealed.contains("ours"));
    let shown = serde_json::to_string(&shown(&world).await).expect("JSON");
    assert!(shown.contains("we") && !shown.contains("ours"));
    // A realm elsewhere is not asked.
    let realm = format!(r#"Bearer realm="http://{}/token""#, Far::of(&world).await.address);
    foreign.guard(&realm, "Bearer issued", "issued");
    let before = foreign.count("GET /token");
    set(&world, foreign.address, json!({"username": "we", "password": "ours"})).await;
    assert!(failed(&world).await.contains("astray"));
    assert_eq!(foreign.count("GET /token"), before);
}

async fn replications_need_their_rights(test: TestDb) {
    let world = World::new(test).await;
    let far = Far::of(&world).await;
    let wanted = wish(far.address, &json!({}));
    let is_set = async |identity: &Identity, new: &NewReplication| {
        world.registry.set_replication(identity, new).await.is_ok()
    };
    let pusher = world.identity("pusher", "Contributor", "/repositories/prod").await;
    assert!(!is_set(&pusher, &wanted).await, "a right on policies");
    let owner = world.identity("owner", "Owner", "/repositories/prod").await;
    assert!(!is_set(&owner, &wanted).await, "no owner of a part sends into networks behind the walls");
    let mut public = wanted.clone();
    (public.networks, public.to) = (Vec::new(), "https://r.example".to_owned());
    assert!(is_set(&owner, &public).await);
    public.prefix = "other".parse().expect("a prefix");
    assert!(!is_set(&owner, &public).await, "only what is theirs");
    public.name = "second".parse().expect("a name");
    assert!(!is_set(&owner, &public).await);
    assert!(world.registry.set_replication(&Identity::operator(0), &public).await.is_ok());
    public.prefix = "prod".parse().expect("a prefix");
    assert!(!is_set(&owner, &public).await, "nobody takes another's over");
    let seen = world.registry.replications(&owner).await.expect("shown");
    assert_eq!(seen.iter().map(|it| it.settings.name.as_str()).collect::<Vec<_>>(), ["edge"]);
    // What is another's is told in the words of what is not there.
    let said = async |name: &str| {
        let name: ReplicationName = name.parse().expect("a name");
        let removed = world.registry.remove_replication(&owner, &name).await.expect_err("not theirs");
        let run = world.registry.run_replication(&owner, &name).await.expect_err("not theirs");
        [removed, run].map(|error| {
            let problem = seaworthy_model::Problem::from(error);
            (problem.code, problem.message.replace(name.as_str(), "NAME"))
        })
    };
    assert_eq!(said("second").await, said("none").await);
    let taken = world.registry.set_replication(&owner, &public).await.expect_err("another's");
    assert!(!seaworthy_model::Problem::from(taken).message.contains("other"), "its prefix is told to nobody");
    let other = "second".parse().expect("a name");
    assert!(world.registry.outgoing(&owner, &other, ("", ""), false).await.is_err());
    assert!(world.registry.run_replication(&owner, &other).await.is_err());
    assert!(world.registry.remove_replication(&owner, &other).await.is_err());
    assert!(world.registry.remove_replication(&owner, &edge()).await.is_ok());
    assert!(world.registry.remove_replication(&owner, &edge()).await.is_err(), "once");
}

/// Each copy would be another image to send.
async fn a_replication_into_itself_is_refused(test: TestDb) {
    let world = World::new(test).await;
    let set = async |to: &str, prefix: &str, remote_prefix: &str| {
        let new = json!({"name": "loop", "prefix": prefix, "to": to, "remote_prefix": remote_prefix});
        let new = serde_json::from_value(new).expect("a replication");
        world.registry.set_replication(&Identity::operator(0), &new).await
    };
    for (to, prefix, remote_prefix, is_fine) in [
        ("https://registry.test:5000", "prod", "prod/copy", false),
        ("https://REGISTRY.test:5000", "*", "copy", false),
        ("https://registry.test:5000", "prod", "copy", true),
        ("https://registry.test:5000", "prod", "production", true),
        ("https://other.test:5000", "prod", "prod/copy", true),
    ] {
        assert_eq!(set(to, prefix, remote_prefix).await.is_ok(), is_fine, "{to} {prefix} {remote_prefix}");
    }
}

async fn replications_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let to = "127.0.0.1:1".parse().expect("an address");
    let set =
        async |more: Value| world.registry.set_replication(&Identity::operator(0), &wish(to, &more)).await;
    for number in 0..limit::REPLICATIONS {
        set(json!({"name": format!("r{number}")})).await.expect("set");
    }
    assert!(set(json!({"name": "one-more"})).await.is_err());
    assert!(set(json!({"name": "r0"})).await.is_ok(), "one that is there can be changed");
    let patterns = |count: usize| (0..count).map(|it| format!("v{it}")).collect::<Vec<_>>();
    assert!(set(json!({"name": "r0", "tags": patterns(limit::PATTERNS)})).await.is_ok());
    assert!(set(json!({"name": "r0", "tags": patterns(limit::PATTERNS + 1)})).await.is_err());
    let networks = |count: usize| (0..count).map(|it| format!("10.0.{it}.0/24")).collect::<Vec<_>>();
    assert!(set(json!({"name": "r0", "networks": networks(limit::CACHE_NAMES)})).await.is_ok());
    assert!(set(json!({"name": "r0", "networks": networks(limit::CACHE_NAMES + 1)})).await.is_err());
    assert!(set(json!({"name": "r0", "networks": []})).await.is_err(), "plain HTTP");
    let name = |bytes: usize| "n".repeat(bytes).parse::<ReplicationName>();
    assert!(name(limit::REPLICATION_NAME_BYTES).is_ok() && name(limit::REPLICATION_NAME_BYTES + 1).is_err());
    for wrong in ["", "a/b", "a b", "é"] {
        assert!(wrong.parse::<ReplicationName>().is_err(), "{wrong}");
    }
}

async fn what_is_locked_stays(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    client.put_image("prod/web:2", &[b"other"]).await;
    let sbom = refer(&client, "prod/web", &image, "application/an.sbom").await;
    let lock = async |name: &str, may: bool| {
        let body = format!(r#"{{"readEnabled":{may}}}"#);
        let answer = client.send("PATCH", &format!("/acr/v1/prod/web/{name}"), &[], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    // A tag, and what refers to an image: the image itself goes.
    lock("_tags/2", false).await;
    lock(&format!("_manifests/{sbom}"), false).await;
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    until(async || shown(&world).await.failed == 2).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, Some(image.to_string()));
    assert_eq!(digest_of(&client, "mirror/web:2").await, None);
    assert_eq!(client.get(&format!("/v2/mirror/web/manifests/{sbom}")).await.status, StatusCode::NOT_FOUND);
    lock("_tags/2", true).await;
    lock(&format!("_manifests/{sbom}"), true).await;
    again(&world).await;
    settled(&world).await;
    assert!(digest_of(&client, "mirror/web:2").await.is_some());
    assert_eq!(client.get(&format!("/v2/mirror/web/manifests/{sbom}")).await.status, StatusCode::OK);
}

async fn one_that_is_made_anew_begins_anew(test: TestDb) {
    let world = World::new(test).await;
    let (client, first, second) = (world.operator(), Far::of(&world).await, Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    first.fault("PUT /v2/mirror/web/manifests/1", Fault::Wait(waits.clone(), go.clone()));
    set(&world, first.address, json!({})).await;
    let _running = run(&world);
    waits.notified().await;
    world.registry.remove_replication(&Identity::operator(0), &edge()).await.expect("removed");
    set(&world, second.address, json!({"remote_prefix": "elsewhere"})).await;
    until(async || !shown(&world).await.is_seeding).await;
    go.notify_one();
    settled(&world).await;
    assert_eq!(digest_of(&client, "elsewhere/web:1").await, Some(image.to_string()));
    assert_eq!(rows(&world).await[0].digest, Some(image));
}

async fn late_images_of_an_index_follow(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (here, manifest) = client.put_image("prod/web:here", &[b"here"]).await;
    let (late, late_manifest) = client.put_image("dev/web:late", &[b"late"]).await;
    let index = index_of(&[(&here, manifest.len()), (&late, late_manifest.len())]);
    put(&client, "prod/web", "all", INDEX, &index).await;
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    assert!(failed(&world).await.contains(&late.to_string()));
    assert!(digest_of(&client, "mirror/web:all").await.is_some(), "as it is here");
    client.put_blob("prod/web", b"late").await;
    client.put_manifest("prod/web", &late.to_string(), &late_manifest).await;
    again(&world).await;
    settled(&world).await;
    assert_eq!(client.get(&format!("/v2/mirror/web/manifests/{late}")).await.status, StatusCode::OK);
}

async fn a_tag_of_another_algorithm_keeps_it(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (_, manifest) = client.put_image("prod/web:1", &[b"layer"]).await;
    let digest = crate::client::sha512(manifest.as_bytes());
    let answer = client.put_manifest("prod/web", &format!("{digest}?tag=long"), &manifest).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/web:long").await, Some(digest.to_string()));
}

async fn so_many_are_sent_at_once(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let replications = limit::SENDS / limit::SENDS_PER_REPLICATION + 1;
    for number in 0..=limit::SENDS_PER_REPLICATION {
        client.put_image(&format!("prod/a{number}:1"), &[b"layer"]).await;
        for replication in 0..replications {
            let call = format!("PUT /v2/m{replication}/a{number}/manifests/1");
            far.fault(&call, Fault::Wait(waits.clone(), go.clone()));
        }
    }
    let under_way = async || {
        let sql = "SELECT replication FROM registry_outgoing WHERE tries > 0 ORDER BY replication";
        let rows = world.test.db.fetch_all(sql, args![]).await.expect("rows");
        rows.iter().map(|row| row.text(0).expect("text").to_owned()).collect::<Vec<_>>()
    };
    set(&world, far.address, json!({"name": "m0", "remote_prefix": "m0"})).await;
    let _running = run(&world);
    // One image's blobs are sent two at once as well.
    until(async || under_way().await.len() == limit::SENDS_PER_REPLICATION).await;
    for number in 1..replications {
        let name = format!("m{number}");
        set(&world, far.address, json!({"name": name, "remote_prefix": name})).await;
    }
    until(async || under_way().await.len() == limit::SENDS).await;
    until(async || {
        assert!(under_way().await.len() <= limit::SENDS, "of {replications} replications");
        go.notify_one();
        let shown = world.registry.replications(&Identity::operator(0)).await.expect("shown");
        shown.iter().all(|it| it.waiting == 0 && !it.is_seeding)
    })
    .await;
    let most = far.lock().most_at_once;
    assert!(most <= limit::SENDS * limit::SENDS_PER_MANIFEST, "{most}");
}

async fn however_many_tags_there_are(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:z", &[b"layer"]).await;
    let tags = |from: u64, to: u64| {
        let db = world.test.db.clone();
        async move {
            db.upkeep((image.to_string(), from, to), |(digest, from, to), tx| {
                Box::pin(async move {
                    for number in *from..*to {
                        let sql = "INSERT INTO registry_tags (repository, name, digest, updated_at)
                             VALUES ('prod/web', $1, $2, 0)";
                        tx.execute(sql, args![&format!("t{number:05}"), digest]).await?;
                    }
                    Ok::<_, seaworthy_store::DbError>(())
                })
            })
            .await
            .expect("tags");
        }
    };
    let _running = run(&world);
    // As many as are looked at in one go, and one more.
    for more in [limit::SEED_TAGS - 1, limit::SEED_TAGS] {
        tags(if more == limit::SEED_TAGS { more - 1 } else { 0 }, more).await;
        let name = format!("after{more}");
        set(&world, far.address, json!({"name": name, "tags": ["z"], "remote_prefix": name})).await;
        until(async || digest_of(&client, &format!("{name}/web:z")).await.is_some()).await;
    }
}

async fn one_repository_holds_up_no_other(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    far.fault("PUT /v2/mirror/a/manifests/first", Fault::Wait(waits.clone(), go.clone()));
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    let (_, manifest) = client.put_image("prod/a:first", &[b"layer"]).await;
    waits.notified().await;
    let push = async |from: u64, to: u64| {
        for number in from..to {
            client.put_manifest("prod/a", &number.to_string(), &manifest).await;
        }
    };
    push(0, limit::SENDS_LOOKED_AT - 1).await;
    client.put_image("prod/b:1", &[b"layer"]).await;
    until(async || digest_of(&client, "mirror/b:1").await.is_some()).await;
    let waiting = async || shown(&world).await.waiting;
    until(async || waiting().await == limit::SENDS_LOOKED_AT).await;
    // One more is one too many, until it goes on.
    push(limit::SENDS_LOOKED_AT - 1, limit::SENDS_LOOKED_AT).await;
    client.put_image("prod/b:2", &[b"layer"]).await;
    assert_eq!(waiting().await, limit::SENDS_LOOKED_AT + 2);
    go.notify_one();
    settled(&world).await;
    assert!(digest_of(&client, "mirror/b:2").await.is_some());
}

async fn what_came_from_an_upstream_is_sent_when_it_is_whole(test: TestDb) {
    let world = World::new(test).await;
    let (client, far, upstream) = (world.operator(), Far::of(&world).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    set(&world, far.address, json!({"prefix": "hub"})).await;
    let layer = format!("GET /v2/a/blobs/{}", image.layers[0]);
    let (drop_by_drop, drops) = tokio::sync::mpsc::channel(1);
    upstream.fault(&layer, crate::upstream::Fault::Drip(drops));
    let _running = run(&world);
    assert!(digest_of(&client, "hub/a:1").await.is_some());
    assert!(failed(&world).await.contains("not all layers"));
    assert_eq!(digest_of(&client, "mirror/a:1").await, None);
    drop_by_drop.send(bytes::Bytes::from_static(b"layer")).await.expect("wanted");
    drop(drop_by_drop);
    until(async || crate::upstream::is_filled(&world, &image.digest).await).await;
    again(&world).await;
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/a:1").await, Some(image.digest.to_string()));
}

async fn quarantine_holds_it_back(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let rules: RepositoryRules =
        serde_json::from_value(json!({"prefix": "prod", "quarantine": true})).expect("rules");
    world.registry.set_rules(&Identity::operator(0), rules).await.expect("set");
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    assert!(failed(&world).await.contains("is in quarantine"));
    assert_eq!(digest_of(&client, "mirror/web:1").await, None);
    let finding = seaworthy_registry::Finding {
        state: seaworthy_registry::QuarantineState::Passed,
        details: String::new(),
    };
    let repository = "prod/web".parse().expect("a name");
    let judged = world.registry.judge_quarantined(&Identity::operator(0), &repository, &image, finding).await;
    judged.expect("released");
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, Some(image.to_string()));
}

pub(crate) async fn row(world: &World, name: &str) -> Option<Outgoing> {
    rows(world).await.into_iter().find(|row| row.name == name)
}

async fn one_referrer_holds_up_no_other(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    let mut referrers = Vec::new();
    for kind in ["application/an.sbom", "application/a.signature", "application/a.report"] {
        referrers.push(refer(&client, "prod/web", &image, kind).await);
    }
    referrers.sort_unstable_by_key(Digest::to_string);
    for _ in 0..100 {
        far.fault(&format!("PUT /v2/mirror/web/manifests/{}", referrers[0]), Fault::Status(400));
    }
    let is_there = async |referrer: &Digest| {
        let answer = client.get(&format!("/v2/mirror/web/manifests/{referrer}")).await;
        answer.status == StatusCode::OK
    };
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    assert!(failed(&world).await.contains("400"));
    assert_eq!(row(&world, "1").await.expect("a row").digest, Some(image));
    assert!(!is_there(&referrers[0]).await && is_there(&referrers[1]).await && is_there(&referrers[2]).await);
    far.lock().faults.clear();
    again(&world).await;
    settled(&world).await;
    assert!(is_there(&referrers[0]).await);
}

/// A registry may keep from others whether something is there.
async fn questions_are_those_of_a_pusher(test: TestDb) {
    let world = World::new(test).await;
    let (client, foreign) = (world.operator(), Upstream::new().await);
    client.put_image("prod/web:1", &[b"layer"]).await;
    let scope = "repository:mirror/web:pull";
    let challenge = format!(r#"Bearer realm="{}/token",service="s",scope="{scope}""#, foreign.url());
    foreign.guard(&challenge, "Bearer issued", "issued");
    foreign.guard_for_pushers();
    set(&world, foreign.address, json!({"username": "we", "password": "ours"})).await;
    let running = run(&world);
    // It is let in, and answers a push with 404 as what it is.
    assert!(failed(&world).await.contains("does not have it"));
    assert!(foreign.count("POST /v2/mirror/web/blobs/uploads/") > 0);
    assert_eq!(foreign.count("GET /token"), 1, "for all of it");
    running.stop().await;
    // They may be led elsewhere, unlike what is pushed.
    let far = Far::of(&world).await;
    let layer = client.put_blob("mirror/web", b"layer").await;
    foreign.unguard();
    foreign.put_blob("x", b"layer");
    let place = format!("{}/v2/x/blobs/{layer}", foreign.url());
    far.fault(&format!("HEAD /v2/mirror/web/blobs/{layer}"), Fault::Elsewhere(place));
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    settled(&world).await;
    assert_eq!(foreign.count(&format!("HEAD /v2/x/blobs/{layer}")), 1);
}
