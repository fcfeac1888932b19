//! Images that a cache has before anybody asks for them.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_registry::{MirrorShown, Promotion, Referrers, limit};
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    client::{IMAGE, INDEX, ROOMS, World, artifact},
    upstream::{Fault, Upstream, image, is_filled, until},
};

db_tests!(super::ROOMS; what_fits_is_here_before_anybody_asks, what_refers_comes_along, an_index_comes_whole,
    what_is_gone_there_is_gone_here, a_failure_is_told_and_tried_again, lists_are_not_believed, a_killed_server_looks_again,
    mirrors_are_bounded, so_many_are_looked_at_once, what_an_index_lacks_there_is_noted, an_index_of_blobs_comes_whole);

fn run(world: &World) -> DropGuard {
    let cancel = CancellationToken::new();
    tokio::spawn(world.registry.clone().mirroring(cancel.clone()));
    cancel.drop_guard()
}

async fn shown(world: &World) -> Vec<MirrorShown> {
    world.registry.caches(&Identity::operator(0)).await.expect("caches").remove(0).mirrored
}

/// Waits until each was looked at since it was last set.
async fn looked(world: &World) -> Vec<MirrorShown> {
    until(async || shown(world).await.iter().all(|it| it.looked_at.is_some())).await;
    shown(world).await
}

async fn again(world: &World) {
    world.alter("UPDATE registry_mirrors SET due = 0, looked_at = NULL, error = NULL".to_owned()).await;
    world.test.db.bell("mirrors").notify_waiters();
}

async fn mirrored(world: &World, upstream: &Upstream, mirrors: &[&str]) -> DropGuard {
    upstream.cached(world, json!({"mirrors": mirrors})).await;
    run(world)
}

/// True when it can be pulled with the upstream down.
async fn is_here(world: &World, path: &str) -> bool {
    world.operator().get(&format!("/v2/hub/{path}")).await.status == StatusCode::OK
}

async fn what_fits_is_here_before_anybody_asks(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (one, two) = (upstream.put_image("a:3.1", &[b"one"]), upstream.put_image("a:3.2", &[b"two"]));
    upstream.put_image("a:4", &[b"four"]);
    upstream.list_tags("a", &["3.1", "3.2", "4", "not a tag", "3.none"]);
    upstream.put_image("b:x", &[b"x"]);
    upstream.list_tags("b", &["x"]);
    upstream
        .cached(&world, json!({"mirrors": ["a:3.*", "b"], "check_seconds": limit::CHECK_SECONDS_MAX}))
        .await;
    let _running = run(&world);
    let mirrors = looked(&world).await;
    assert_eq!(
        mirrors.iter().map(|it| (it.mirror.as_str(), it.tags)).collect::<Vec<_>>(),
        [("a:3.*", Some(3)), ("b", Some(1))]
    );
    assert!(mirrors.iter().all(|it| it.error.is_none()), "{mirrors:?}");
    assert!(is_filled(&world, &one.digest).await && is_filled(&world, &two.digest).await);
    let asked = upstream.seen().len();
    upstream.down(Some(500));
    for path in ["a/manifests/3.1", "a/manifests/3.2", "b/manifests/x"] {
        assert!(is_here(&world, path).await, "{path}");
    }
    assert!(is_here(&world, &format!("a/blobs/{}", one.layers[0])).await);
    assert!(!is_here(&world, "a/manifests/4").await);
    upstream.down(None);
    // What did not move is not fetched again: one list, and one look at each tag.
    again(&world).await;
    assert!(looked(&world).await.iter().all(|it| it.error.is_none()));
    let more: Vec<String> = upstream.seen().iter().skip(asked).map(|seen| seen.call.clone()).collect();
    assert!(!more.iter().any(|call| call.contains("/blobs/")), "{more:#?}");
    // A tag that moved is, and one that is new, though somebody asked for it in vain a moment ago.
    assert!(!is_here(&world, "a/manifests/3.3").await);
    let (moved, new) = (upstream.put_image("a:3.1", &[b"newer"]), upstream.put_image("a:3.3", &[b"new"]));
    upstream.list_tags("a", &["3.1", "3.2", "3.3"]);
    again(&world).await;
    assert!(looked(&world).await.iter().all(|it| it.error.is_none()));
    assert!(is_filled(&world, &moved.digest).await && is_filled(&world, &new.digest).await);
}

async fn what_refers_comes_along(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let subject = upstream.put_image("a:1", &[b"layer"]);
    upstream.list_tags("a", &["1"]);
    let put = |repository: &str, manifest: &str| {
        upstream.put_blob(repository, b"{}");
        upstream.put_manifest(repository, "unused", IMAGE, manifest)
    };
    let signature = artifact(&subject.digest, "application/a.signature", "{}");
    let signed = put("a", &signature);
    let timestamp = artifact(&signed, "application/a.timestamp", "{}");
    let stamped = put("a", &timestamp);
    // On the third page: the second is a path, the third a name beside it.
    let first = format!("/v2/a/referrers/{}", subject.digest);
    for (page, next) in [(first.as_str(), "/v2/a/more"), ("/v2/a/more", "others")] {
        upstream.list_referrers(page, &[]);
        for _ in 0..2 {
            upstream.fault(&format!("GET {page}"), Fault::With("link", format!("<{next}>; rel=\"next\"")));
        }
    }
    upstream.list_referrers("/v2/a/others", &[&signature]);
    // The second by the tag schema of before.
    upstream.list_referrers(&format!("/v2/a/manifests/sha256-{}", signed.hex()), &[&timestamp]);
    let _running = mirrored(&world, &upstream, &["a"]).await;
    let mirrors = looked(&world).await;
    assert_eq!(mirrors[0].error, None);
    // A registry that has too much to do has not said that there are none.
    upstream.fault(&format!("GET {first}"), Fault::Status(429, vec![]));
    upstream.lift(&format!("GET {first}"), 1);
    again(&world).await;
    assert!(looked(&world).await[0].error.as_deref().is_some_and(|error| error.contains("429")));
    upstream.down(Some(500));
    for (subject, referrer) in [(subject.digest, signed), (signed, stamped)] {
        let answer = world.operator().get(&format!("/v2/hub/a/referrers/{subject}")).await;
        assert!(answer.text().contains(&referrer.to_string()), "{}", answer.text());
        assert!(is_here(&world, &format!("a/manifests/{referrer}")).await);
    }
}

async fn an_index_comes_whole(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let children = [image(&[b"amd64"]), image(&[b"arm64"])];
    for (child, layer) in children.iter().zip([b"amd64", b"arm64"]) {
        upstream.put_blob("a", crate::upstream::CONFIG);
        upstream.put_blob("a", layer);
        upstream.put_manifest("a", "unused", IMAGE, &child.manifest);
    }
    let manifests: Vec<Value> = children
        .iter()
        .map(|child| json!({"mediaType": IMAGE, "digest": child.digest, "size": child.manifest.len()}))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    upstream.put_manifest("a", "1", INDEX, &index);
    upstream.list_tags("a", &["1"]);
    let _running = mirrored(&world, &upstream, &["a"]).await;
    assert_eq!(looked(&world).await[0].error, None);
    for child in &children {
        assert!(is_filled(&world, &child.digest).await);
    }
}

async fn what_is_gone_there_is_gone_here(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.put_image("a:2", &[b"other"]);
    upstream.list_tags("a", &["1", "2"]);
    let _running = mirrored(&world, &upstream, &["a"]).await;
    looked(&world).await;
    let has = async |tag: &str| {
        let (repository, tag) = ("hub/a".parse().expect("a name"), tag.parse().expect("a tag"));
        world.registry.digest_of(&repository, &tag).await.expect("rows").is_some()
    };
    assert!(has("1").await && has("2").await);
    // A list that lacks it says nothing: it is asked for.
    upstream.list_tags("a", &["2"]);
    again(&world).await;
    looked(&world).await;
    assert!(has("1").await);
    upstream.remove("/v2/a/manifests/1");
    again(&world).await;
    looked(&world).await;
    assert!(!has("1").await && has("2").await);
    assert!(is_here(&world, &format!("a/manifests/{}", image.digest)).await);
}

async fn a_failure_is_told_and_tried_again(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let one = upstream.put_image("a:1", &[b"one"]);
    let two = upstream.put_image("a:2", &[b"two"]);
    upstream.list_tags("a", &["1", "2"]);
    let layer = format!("/v2/a/blobs/{}", one.layers[0]);
    upstream.remove(&layer);
    let _running = mirrored(&world, &upstream, &["a"]).await;
    let mirrors = looked(&world).await;
    let error = mirrors[0].error.clone().expect("an error");
    assert!(error.starts_with("1: ") && error.contains("not known"), "{error}");
    assert!(is_filled(&world, &two.digest).await, "one holds up no other");
    let wait = mirrors[0].due.as_micros() - mirrors[0].looked_at.expect("looked at").as_micros();
    assert!(wait < i64::from(limit::MIRROR_SECONDS) * 1_000_000, "{wait}");
    upstream.put_blob("a", b"one");
    again(&world).await;
    let mirrors = looked(&world).await;
    assert_eq!(mirrors[0].error, None);
    let wait = mirrors[0].due.as_micros() - mirrors[0].looked_at.expect("looked at").as_micros();
    assert_eq!(wait, i64::from(limit::MIRROR_SECONDS) * 1_000_000);
    upstream.down(Some(503));
    again(&world).await;
    assert!(looked(&world).await[0].error.as_deref().expect("an error").contains("503"));
    assert!(is_here(&world, "a/manifests/1").await);
}

async fn lists_are_not_believed(test: TestDb) {
    let (world, upstream, foreign) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    upstream.put_image("a:1", &[b"one"]);
    let list = "GET /v2/a/tags/list";
    let linked = |to: &str| Fault::With("link", format!("<{to}>; rel=\"next\""));
    let elsewhere = format!("{}/v2/a/tags/list", foreign.url());
    let pages = |count: usize| {
        (0..count).for_each(|page| upstream.fault(list, linked(&format!("/v2/a/tags/list?p={page}"))));
    };
    upstream.list_tags("a", &["1"]);
    upstream.cached(&world, json!({"mirrors": ["a"]})).await;
    let _running = run(&world);
    looked(&world).await;
    let many: Vec<String> = (0..=limit::MIRROR_TAGS).map(|it| format!("t{it}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (why, prepare) in [
        ("a list of tags that is none", &(|| upstream.fault(list, Fault::Status(200, vec![]))) as &dyn Fn()),
        ("a next page elsewhere", &|| upstream.fault(list, linked(&elsewhere))),
        ("a list without an end", &|| pages(limit::LIST_PAGES)),
        ("longer than", &|| upstream.fault(list, Fault::Other(vec![b' '; limit::LIST_BYTES + 1].into()))),
        ("a list of tags that is none", &|| {
            upstream.fault(list, Fault::Other(vec![b' '; limit::LIST_BYTES].into()));
        }),
        ("more than 10000 tags", &|| upstream.list_tags("a", &many)),
        ("a list of referrers that is none", &|| {
            let subject = image(&[b"one"]).digest;
            upstream.list_tags("a", &["1"]);
            upstream.put(&format!("/v2/a/referrers/{subject}"), "text/html", "no list");
        }),
    ] {
        prepare();
        again(&world).await;
        let error = looked(&world).await[0].error.clone().expect(why);
        assert!(error.contains(why), "{error}: {why}");
    }
    assert!(foreign.seen().is_empty());
    upstream.remove(&format!("/v2/a/referrers/{}", image(&[b"one"]).digest));
    pages(limit::LIST_PAGES - 1);
    again(&world).await;
    assert_eq!(looked(&world).await[0].error, None, "the last page that is read");
    // As many as there may be; after three failures the upstream is left alone.
    upstream.list_tags("a", &many[1..]);
    for tag in &many[1..4] {
        upstream.fault(&format!("GET /v2/a/manifests/{tag}"), Fault::Status(500, vec![]));
    }
    again(&world).await;
    let mirrors = looked(&world).await;
    assert_eq!(mirrors[0].tags, Some(limit::MIRROR_TAGS as u64));
    assert!(mirrors[0].error.as_deref().is_some_and(|error| error.starts_with("t1: ")), "{mirrors:?}");
}

async fn a_killed_server_looks_again(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"one"]);
    upstream.list_tags("a", &["1"]);
    upstream.fault("GET /v2/a/tags/list", Fault::Hang);
    let running = mirrored(&world, &upstream, &["a"]).await;
    until(async || upstream.count("GET /v2/a/tags/list") == 1).await;
    drop(running);
    let left = (shown(&world).await[0].due.as_micros() - world.test.db.now().as_micros()) / 1_000_000;
    assert!((1..=limit::MIRROR_CLAIM_SECONDS).contains(&left), "{left}");
    let sql = "UPDATE registry_mirrors SET due = due - $1";
    world
        .test
        .db
        .upkeep((), move |(), tx| {
            let seconds = limit::MIRROR_CLAIM_SECONDS * 1_000_000;
            Box::pin(async move { tx.execute(sql, args![seconds]).await.map(|_| ()) })
        })
        .await
        .map_err(|error: seaworthy_store::DbError| error)
        .expect("changed");
    let _running = run(&world);
    assert_eq!(looked(&world).await[0].error, None);
    assert!(is_filled(&world, &image.digest).await);
}

async fn mirrors_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let set = async |more: Value| {
        let mut new = json!({"prefix": "hub", "upstream": "docker.io"});
        new.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let new = serde_json::from_value(new).expect("a cache");
        world.registry.set_cache(&Identity::operator(0), &new).await.is_ok()
    };
    let many = |count: usize| (0..count).map(|it| format!("library/a{it}:1.*")).collect::<Vec<_>>();
    for (more, fits) in [
        (json!({"mirrors": many(limit::MIRRORS)}), true),
        (json!({"mirrors": many(limit::MIRRORS + 1)}), false),
        (json!({"mirror_seconds": limit::MIRROR_SECONDS_MIN}), true),
        (json!({"mirror_seconds": limit::MIRROR_SECONDS_MIN - 1}), false),
        (json!({"mirror_seconds": limit::MIRROR_SECONDS_MAX}), true),
        (json!({"mirror_seconds": limit::MIRROR_SECONDS_MAX + 1}), false),
        (json!({"mirrors": ["library/a"], "remote_prefix": "library"}), true),
        (json!({"mirrors": ["other/a"], "remote_prefix": "library"}), false),
    ] {
        assert_eq!(set(more.clone()).await, fits, "{more}");
    }
    // Those that it has no more are forgotten, and all of them with it.
    assert!(set(json!({"mirrors": ["library/b"]})).await);
    assert_eq!(shown(&world).await.len(), 1);
    let prefix = "hub".parse().expect("a prefix");
    world.registry.remove_cache(&Identity::operator(0), &prefix).await.expect("removed");
    let rows = world.test.db.fetch_all("SELECT 1 FROM registry_mirrors", args![]).await.expect("rows");
    assert!(rows.is_empty());
}

async fn so_many_are_looked_at_once(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let names: Vec<String> = (0..=limit::MIRRORS_AT_ONCE).map(|it| format!("a{it}")).collect();
    for name in &names {
        upstream.fault(&format!("GET /v2/{name}/tags/list"), Fault::Hang);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let _running = mirrored(&world, &upstream, &names).await;
    until(async || upstream.seen().len() == limit::MIRRORS_AT_ONCE).await;
    let sql = "SELECT 1 FROM registry_mirrors WHERE tries > 0";
    let claimed = world.test.db.fetch_all(sql, args![]).await.expect("rows");
    assert_eq!(claimed.len(), limit::MIRRORS_AT_ONCE);
}

fn index_of(children: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string()
}

async fn what_an_index_lacks_there_is_noted(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:amd64", &[b"layer"]);
    let gone = Digest::sha256(b"gone");
    let child = |digest: &Digest| json!({"mediaType": IMAGE, "digest": digest, "size": 9});
    let index = index_of(&[child(&gone), child(&image.digest)]);
    let index = upstream.put_manifest("a", "1", INDEX, &index);
    let signature = artifact(&index, "application/a.signature", "{}");
    upstream.put_blob("a", b"{}");
    upstream.put_manifest("a", "unused", IMAGE, &signature);
    upstream.list_referrers(&format!("/v2/a/referrers/{index}"), &[&signature]);
    upstream.list_tags("a", &["1"]);
    let _running = mirrored(&world, &upstream, &["a"]).await;
    let mirror = looked(&world).await.remove(0);
    let note = mirror.error.expect("a note");
    assert!(note.starts_with("1: ") && note.contains(&gone.to_string()), "{note}");
    assert!(is_filled(&world, &image.digest).await, "the others are here");
    assert!(is_filled(&world, &Digest::sha256(signature.as_bytes())).await);
    // It is as it is there: nothing is due before its time.
    let wait = mirror.due.as_micros() - mirror.looked_at.expect("looked at").as_micros();
    assert_eq!(wait, i64::from(limit::MIRROR_SECONDS) * 1_000_000);
    let source = "hub/a".parse().expect("a name");
    let tag = Ok("1".parse().expect("a tag"));
    let fetched = world.registry.fetch_whole(&Identity::operator(0), (&source, tag), Referrers::Along).await;
    assert_eq!(fetched.expect("what there is"), index);
    let parts = world.registry.parts(&Identity::operator(0), &source, &index).await.expect("parts");
    assert_eq!((parts.absent, parts.manifests), (vec![gone], vec![image.digest]));
}

/// As `BuildKit` exports a cache of a build: its config and layers are children.
async fn an_index_of_blobs_comes_whole(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layer = upstream.put_blob("a", b"layer");
    let gone = Digest::sha256(b"gone");
    let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
    let child = |digest: &Digest, size: usize| json!({"mediaType": kind, "digest": digest, "size": size});
    let index = upstream.put_manifest("a", "1", INDEX, &index_of(&[child(&layer, 5), child(&gone, 4)]));
    upstream.list_tags("a", &["1"]);
    let _running = mirrored(&world, &upstream, &["a"]).await;
    let note = looked(&world).await.remove(0).error.expect("a note");
    assert!(note.contains(&gone.to_string()), "{note}");
    let source = "hub/a".parse().expect("a name");
    let parts = world.registry.parts(&Identity::operator(0), &source, &index).await.expect("parts");
    assert_eq!(parts.absent, [gone], "and not the one that is here");
    upstream.put_blob("a", b"gone");
    again(&world).await;
    assert_eq!(looked(&world).await[0].error, None);
    let operator = Identity::operator(0);
    world.registry.fetch_whole(&operator, (&source, Err(index)), Referrers::Along).await.expect("fetched");
    for digest in [&layer, &gone] {
        assert_eq!(upstream.count(&format!("GET /v2/a/manifests/{digest}")), 0);
    }
    assert_eq!(upstream.count(&format!("GET /v2/a/blobs/{layer}")), 1);
    upstream.down(Some(500));
    let parts = world.registry.parts(&operator, &source, &index).await.expect("parts");
    let destination = "mine/a".parse().expect("a name");
    let promotion = Promotion { source, digest: index, destination, tag: None, because: json!({}) };
    world.registry.promote(&operator, promotion, parts).await.expect("promoted");
    for (digest, bytes) in [(&layer, "layer"), (&gone, "gone")] {
        for repository in ["hub/a", "mine/a"] {
            let answer = world.operator().get(&format!("/v2/{repository}/blobs/{digest}")).await;
            assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, bytes), "{repository}");
        }
    }
}
