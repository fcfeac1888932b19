//! Locks hold on every path, and against what is under way.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_store::{args, schema::Dialect};
use seaworthy_testkit::{TestDb, db_tests};

use crate::client::{Answer, Client, IMAGE, INDEX, ROOMS, World, artifact};

db_tests!(super::ROOMS; lock_set_during_push, a_lock_that_is_told_holds, deletions_do_not_wait_for_one_another, writes_are_locked, either_lock_keeps_from_deletion,
    a_locked_index_keeps_its_images, reads_are_locked, a_lock_against_reading_stays, what_is_not_listed_is_hidden, locks_are_recorded_and_need_their_right,
    attributes_are_bounded);

const LOCKED: (StatusCode, &str) = (StatusCode::METHOD_NOT_ALLOWED, "DENIED");

async fn lock(client: &Client, path: &str, attributes: &str) -> Answer {
    let answer = client.send("PATCH", &format!("/acr/v1/{path}"), &[], attributes.to_owned()).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer
}

fn is(answer: &Answer, expected: (StatusCode, &str), what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), expected, "{what}: {}", answer.text());
}

/// The manifest's head was let in; the lock commits while its body is on the way.
async fn lock_set_during_push(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (old, manifest) = client.put_image("a:1", &[b"one"]).await;
    let changed = format!("{manifest} ");
    for (path, locked, free) in [
        ("a", r#"{"writeEnabled":false}"#, r#"{"writeEnabled":true}"#),
        ("a/_tags/1", r#"{"writeEnabled":false}"#, r#"{"writeEnabled":true}"#),
    ] {
        let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(1);
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        let pusher = client.clone();
        let push = tokio::spawn(async move {
            let headers = [("content-type", IMAGE)];
            pusher.send("PUT", "/v2/a/manifests/1", &headers, Body::from_stream(chunks)).await
        });
        let (head, tail) = changed.split_at(10);
        // Taken from the channel: the request is past its checks and waits for more.
        sender.send(Ok(Bytes::copy_from_slice(head.as_bytes()))).await.expect("taken");
        drop(sender.reserve().await.expect("taken"));
        lock(&client, path, locked).await;
        sender.send(Ok(Bytes::copy_from_slice(tail.as_bytes()))).await.expect("taken");
        drop(sender);
        is(&push.await.expect("pushed"), LOCKED, path);
        let now = client.get("/v2/a/manifests/1").await;
        assert_eq!(now.header("docker-content-digest"), old.to_string());
        let none = client.get(&format!("/v2/a/manifests/{}", Digest::sha256(changed.as_bytes()))).await;
        assert_eq!(none.status, StatusCode::NOT_FOUND, "nothing of the push is there");
        lock(&client, path, free).await;
    }
    assert_eq!(client.put_manifest("a", "1", &changed).await.status, StatusCode::CREATED);
}

/// Who was told that a lock is set, and then sees what it keeps, sees it for as long as it is set: what goes on beside
/// it is done before or refused.
async fn a_lock_that_is_told_holds(test: TestDb) {
    const ROUNDS: usize = 60;
    const AT_ONCE: usize = 6;
    let world = World::new(test).await;
    let client = world.operator();
    let lanes = (0..AT_ONCE).map(|lane| {
        let client = client.clone();
        async move {
            for round in 0..ROUNDS {
                let repository = format!("r{lane}");
                let name = format!("{lane}-{round}");
                let (child, manifest) = client.put_image(&format!("{repository}:1"), &[name.as_bytes()]).await;
                let size = manifest.len();
                let index = format!(
                    r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{IMAGE}","digest":"{child}","size":{size}}}]}}"#
                );
                let put = client.put_as(&format!("/v2/{repository}/manifests/all"), INDEX, &index).await;
                assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
                let index = Digest::sha256(index.as_bytes());
                let (locked, manifest) = match round % 3 {
                    0 => (repository.clone(), "1".to_owned()),
                    1 => (repository.clone(), child.to_string()),
                    _ => (format!("{repository}/_manifests/{index}"), child.to_string()),
                };
                let path = format!("/v2/{repository}/manifests/{manifest}");
                let (seen, gone) = tokio::join!(
                    async {
                        lock(&client, &locked, r#"{"deleteEnabled":false}"#).await;
                        client.get(&path).await.status == StatusCode::OK
                    },
                    async { client.send("DELETE", &path, &[], "").await.status }
                );
                let there = client.get(&path).await.status == StatusCode::OK;
                assert_eq!(seen, there, "{locked}, {manifest}: {gone}");
                assert_eq!(there, gone == StatusCode::METHOD_NOT_ALLOWED, "deleted: {gone}");
                lock(&client, &locked, r#"{"deleteEnabled":true}"#).await;
            }
        }
    });
    futures_util::future::join_all(lanes).await;
}

/// Those that take the same rows come one after the other; PostgreSQL ends none for waiting in a circle, a second later.
async fn deletions_do_not_wait_for_one_another(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let delete = async |path: String| client.send("DELETE", &path, &[], "").await.status;
    for round in 0..12 {
        let (child, manifest) = client.put_image("r:1", &[format!("{round}").as_bytes()]).await;
        let size = manifest.len();
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{IMAGE}","digest":"{child}","size":{size}}}]}}"#
        );
        let tag =
            if round % 2 == 0 { "all".to_owned() } else { Digest::sha256(index.as_bytes()).to_string() };
        let put = client.put_as(&format!("/v2/r/manifests/{tag}"), INDEX, &index).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        let index = Digest::sha256(index.as_bytes());
        let [index, child] = [index, child].map(|it| format!("/v2/r/manifests/{it}"));
        let gone = futures_util::future::join_all([
            delete(index.clone()),
            delete(child.clone()),
            delete(index),
            delete(child),
        ])
        .await;
        let count = |status| gone.iter().filter(|it| **it == status).count();
        assert_eq!((count(StatusCode::ACCEPTED), count(StatusCode::NOT_FOUND)), (2, 2), "{gone:?}");
        let (all, again, pushed) = tokio::join!(
            delete("/acr/v1/r".to_owned()),
            delete("/acr/v1/r".to_owned()),
            client.put_manifest("r", "2", &manifest)
        );
        assert!([all, again].iter().all(|it| [202, 404].contains(&it.as_u16())), "{all} {again}");
        assert!([201, 400].contains(&pushed.status.as_u16()), "{}", pushed.text());
    }
    if world.test.db.dialect() == Dialect::Postgres {
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let rows = world.test.db.fetch_all(sql, args![]).await.expect("query");
        assert_eq!(rows[0].int(0).expect("a count"), 0);
    }
}

async fn writes_are_locked(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("a:1", &[b"one"]).await;
    let changed = format!("{manifest} ");
    lock(&client, "a/_tags/1", r#"{"writeEnabled":false}"#).await;
    is(&client.put_manifest("a", "1", &changed).await, LOCKED, "its tag");
    let two = client.put_as("/v2/a/manifests/2?tag=1", IMAGE, &changed).await;
    is(&two, LOCKED, "one of its tags");
    assert_eq!(client.get("/v2/a/manifests/2").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.put_manifest("a", "2", &changed).await.status, StatusCode::CREATED, "another tag");
    // A manifest cannot be written anew: locking it leaves its tags free.
    let digest = Digest::sha256(changed.as_bytes());
    lock(&client, &format!("a/_manifests/{digest}"), r#"{"writeEnabled":false}"#).await;
    assert_eq!(client.put_manifest("a", "3", &changed).await.status, StatusCode::CREATED);

    let location = client.begin("a").await;
    lock(&client, "a", r#"{"writeEnabled":false}"#).await;
    is(&client.put_manifest("a", "4", &changed).await, LOCKED, "the repository");
    is(&client.close(&location, Digest::sha256(b"x"), b"x".to_vec()).await, LOCKED, "an upload that began");
    let whole = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"y"));
    is(&client.send("POST", &whole, &[], "y").await, LOCKED, "a whole blob");
    is(&client.send("POST", "/v2/a/blobs/uploads/", &[], "").await, LOCKED, "a new upload");
    client.put_blob("b", b"mounted").await;
    let mount = format!("/v2/a/blobs/uploads/?mount={}&from=b", Digest::sha256(b"mounted"));
    is(&client.send("POST", &mount, &[], "").await, LOCKED, "a mount");
    assert_eq!(client.get("/v2/a/manifests/1").await.status, StatusCode::OK, "it is read as ever");
}

async fn either_lock_keeps_from_deletion(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("a:1", &[b"one"]).await;
    client.put_image("a:2", &[b"two"]).await;
    let free = r#"{"writeEnabled":true,"deleteEnabled":true}"#;
    let by_digest = format!("/v2/a/manifests/{digest}");
    for attributes in [r#"{"writeEnabled":false}"#, r#"{"deleteEnabled":false}"#] {
        for (locked, refused) in [
            ("a/_tags/1", &["/v2/a/manifests/1", "/acr/v1/a/_tags/1", &by_digest, "/acr/v1/a"][..]),
            (&format!("a/_manifests/{digest}"), &[by_digest.as_str(), "/acr/v1/a"]),
            ("a", &["/v2/a/manifests/2", "/acr/v1/a/_tags/2", &by_digest, "/acr/v1/a"]),
        ] {
            lock(&client, locked, attributes).await;
            for path in refused {
                is(&client.send("DELETE", path, &[], "").await, LOCKED, &format!("{locked} {path}"));
            }
            lock(&client, locked, free).await;
        }
        lock(&client, "a", attributes).await;
        let blob = format!("/v2/a/blobs/{}", Digest::sha256(b"one"));
        is(&client.send("DELETE", &blob, &[], "").await, LOCKED, "a blob");
        lock(&client, "a", free).await;
    }
    // Independent: a locked manifest loses a tag.
    lock(&client, &format!("a/_manifests/{digest}"), r#"{"deleteEnabled":false}"#).await;
    assert_eq!(client.send("DELETE", "/acr/v1/a/_tags/1", &[], "").await.status, StatusCode::ACCEPTED);
    is(&client.send("DELETE", &by_digest, &[], "").await, LOCKED, "and stays");
}

/// By its tag or by itself, also two levels up; another image of the repository is nobody's.
async fn a_locked_index_keeps_its_images(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (image, _) = client.put_image("a:image", &[b"one"]).await;
    let (other, _) = client.put_image("a:other", &[b"two"]).await;
    let size = client.get(&format!("/v2/a/manifests/{image}")).await.body.len();
    let index = |digest: Digest, size: usize, kind: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}]}}"#
        )
    };
    let inner = index(image, size, IMAGE);
    let outer = index(Digest::sha256(inner.as_bytes()), inner.len(), INDEX);
    for (tag, text) in [("inner", &inner), ("outer", &outer)] {
        let put = client.put_as(&format!("/v2/a/manifests/{tag}"), INDEX, text).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    }
    let digests = [&inner, &outer].map(|text| Digest::sha256(text.as_bytes()));
    let by_digest = format!("/v2/a/manifests/{image}");
    for locked in [
        "a/_tags/inner".to_owned(),
        "a/_tags/outer".to_owned(),
        format!("a/_manifests/{}", digests[0]),
        format!("a/_manifests/{}", digests[1]),
    ] {
        lock(&client, &locked, r#"{"deleteEnabled":false}"#).await;
        let refused = client.send("DELETE", &by_digest, &[], "").await;
        is(&refused, LOCKED, &locked);
        let name = locked.replace("a/_tags/", "a:").replace("a/_manifests/", "a@");
        assert!(refused.text().contains(&name), "{locked}: {}", refused.text());
        lock(&client, &locked, r#"{"deleteEnabled":true}"#).await;
    }
    lock(&client, "a/_tags/outer", r#"{"deleteEnabled":false}"#).await;
    let free = client.send("DELETE", &format!("/v2/a/manifests/{other}"), &[], "").await;
    assert_eq!(free.status, StatusCode::ACCEPTED, "{}", free.text());
    lock(&client, "a/_tags/outer", r#"{"deleteEnabled":true}"#).await;
    assert_eq!(client.send("DELETE", &by_digest, &[], "").await.status, StatusCode::ACCEPTED);
}

async fn reads_are_locked(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("a:1", &[b"one"]).await;
    let (by_tag, by_digest) = ("/v2/a/manifests/1".to_owned(), format!("/v2/a/manifests/{digest}"));
    let blob = format!("/v2/a/blobs/{}", Digest::sha256(b"one"));
    let referrers = format!("/v2/a/referrers/{digest}");
    let pusher = world.service("mover", "AcrPush", "/repositories").await;
    for (locked, refused) in [
        ("a/_tags/1", &[&by_tag][..]),
        (&format!("a/_manifests/{digest}"), &[&by_tag, &by_digest, &blob]),
        ("a", &[&by_tag, &by_digest, &blob, &"/v2/a/tags/list".to_owned(), &referrers]),
    ] {
        lock(&client, locked, r#"{"readEnabled":false}"#).await;
        for path in [&by_tag, &by_digest, &blob, &"/v2/a/tags/list".to_owned(), &referrers] {
            let answer = client.get(path).await;
            if refused.contains(&path) {
                is(&answer, LOCKED, &format!("{locked} {path}"));
                assert!(answer.text().contains("operation is disallowed"), "{}", answer.text());
            } else {
                assert_eq!(answer.status, StatusCode::OK, "{locked} {path}");
            }
        }
        // For other rooms, which resolve references by themselves.
        for (name, path) in [(Ok("1".parse().expect("a tag")), &by_tag), (Err(digest), &by_digest)] {
            let read = world.registry.check_unlocked(&"a".parse().expect("a name"), name).await;
            assert_eq!(read.is_err(), refused.contains(&path), "{locked} {path}");
        }
        if locked != "a/_tags/1" {
            // Brought by another: what is locked cannot be read by mounting it elsewhere.
            let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", Digest::sha256(b"one"));
            assert_eq!(pusher.send("POST", &mount, &[], "").await.status, StatusCode::ACCEPTED);
            let stolen = pusher.get(&format!("/v2/b/blobs/{}", Digest::sha256(b"one"))).await;
            assert_eq!(stolen.status, StatusCode::NOT_FOUND);
        }
        lock(&client, locked, r#"{"readEnabled":true}"#).await;
        assert_eq!(client.get(&by_tag).await.status, StatusCode::OK);
    }
}

/// Nothing can be restored here, and what was deleted would be pushed without its lock.
async fn a_lock_against_reading_stays(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("a:1", &[b"one"]).await;
    let (by_tag, by_digest) = ("/v2/a/manifests/1".to_owned(), format!("/v2/a/manifests/{digest}"));
    let delete = async |path: &str| client.send("DELETE", path, &[], "").await;
    let [shut, open] = [r#"{"readEnabled":false}"#, r#"{"readEnabled":true}"#];
    lock(&client, "a/_tags/1", shut).await;
    for path in [&by_tag, "/acr/v1/a/_tags/1", &by_digest, "/acr/v1/a"] {
        is(&delete(path).await, LOCKED, path);
    }
    assert_eq!(client.put_manifest("a", "1", &manifest).await.status, StatusCode::CREATED);
    is(&client.get(&by_tag).await, LOCKED, "as before");
    lock(&client, "a/_tags/1", open).await;
    let manifests = format!("a/_manifests/{digest}");
    lock(&client, &manifests, shut).await;
    for path in [&by_digest, "/acr/v1/a"] {
        is(&delete(path).await, LOCKED, path);
    }
    // The tag's lock is another.
    assert_eq!(delete(&by_tag).await.status, StatusCode::ACCEPTED);
    assert_eq!(client.put_manifest("a", "1", &manifest).await.status, StatusCode::CREATED);
    is(&client.get(&by_tag).await, LOCKED, "as before");
    lock(&client, &manifests, open).await;
    assert_eq!(delete(&by_digest).await.status, StatusCode::ACCEPTED);
}

async fn what_is_not_listed_is_hidden(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("a:1", &[b"one"]).await;
    client.put_manifest("a", "2", &manifest).await;
    client.put_blob("a", b"{}").await;
    let signature = artifact(&digest, "application/sig", r#"{"k":"v"}"#);
    let signed = Digest::sha256(signature.as_bytes());
    assert_eq!(client.put_as(&format!("/v2/a/manifests/{signed}"), IMAGE, &signature).await.status, 201);
    client.put_image("b:1", &[b"two"]).await;
    let hide = r#"{"listEnabled":false}"#;
    lock(&client, "a/_tags/1", hide).await;
    lock(&client, &format!("a/_manifests/{signed}"), hide).await;
    lock(&client, "b", hide).await;
    for (path, present, absent) in [
        ("/v2/a/tags/list", "\"2\"", "\"1\""),
        ("/acr/v1/a/_tags", "\"2\"", "\"1\""),
        ("/acr/v1/a/_tags?orderby=timedesc", "\"2\"", "\"1\""),
        ("/acr/v1/a/_manifests", &digest.to_string(), &signed.to_string()),
        ("/acr/v1/a/_manifests?orderby=timeasc", &digest.to_string(), &signed.to_string()),
        (&format!("/v2/a/referrers/{digest}"), "manifests", &signed.to_string()),
        (&format!("/v2/a/referrers/{digest}?artifactType=application/sig"), "manifests", &signed.to_string()),
        ("/v2/_catalog", "\"a\"", "\"b\""),
        ("/acr/v1/_catalog", "\"a\"", "\"b\""),
    ] {
        let text = client.get(path).await.text();
        assert!(text.contains(present) && !text.contains(absent), "{path}: {text}");
    }
    assert_eq!(client.get("/v2/a/manifests/1").await.status, StatusCode::OK, "hidden, not locked");
    assert_eq!(client.get("/v2/b/manifests/1").await.status, StatusCode::OK);
    lock(&client, &format!("a/_manifests/{signed}"), r#"{"listEnabled":true,"readEnabled":false}"#).await;
    let text = client.get(&format!("/v2/a/referrers/{digest}")).await.text();
    assert!(text.contains(&signed.to_string()) && !text.contains("annotations"), "{text}");
}

async fn locks_are_recorded_and_need_their_right(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    client.put_image("a:1", &[b"one"]).await;
    let body = r#"{"deleteEnabled":false,"writeEnabled":false}"#;
    let answer = lock(&client, "a/_tags/1", body).await;
    assert!(answer.text().contains(r#""deleteEnabled":false"#), "{}", answer.text());
    lock(&client, "a/_tags/1", body).await;
    let sql = "SELECT action FROM ledger_leaves WHERE action = 'lock.change'";
    let acts = world.test.db.fetch_all(sql, args![]).await.expect("query");
    assert_eq!(acts.len(), 1, "what changes nothing is not recorded");
    // Who may overwrite may not take away what keeps them from it.
    let pusher = world.service("pusher", "AcrPush", "/repositories").await;
    let patch = async |client: &Client, path: &str| client.send("PATCH", path, &[], "{}").await;
    is(&patch(&pusher, "/acr/v1/a/_tags/1").await, (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"), "a pusher");
    let stranger = world.service("stranger", "AcrPull", "/repositories/other").await;
    for path in ["/acr/v1/a", "/acr/v1/a/_tags/1", "/acr/v1/absent"] {
        is(&patch(&stranger, path).await, (StatusCode::NOT_FOUND, "NAME_UNKNOWN"), path);
    }
    is(&patch(&client, "/acr/v1/absent").await, (StatusCode::NOT_FOUND, "NAME_UNKNOWN"), "absent");
    is(&patch(&client, "/acr/v1/a/_tags/9").await, (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"), "absent");
    // A tag that moves keeps its locks; a new one of the name has none.
    lock(&client, "a/_tags/1", r#"{"writeEnabled":true}"#).await;
    client.put_image("a:1", &[b"two"]).await;
    assert!(client.get("/acr/v1/a/_tags/1").await.text().contains(r#""deleteEnabled":false"#));
    lock(&client, "a/_tags/1", r#"{"deleteEnabled":true}"#).await;
}

async fn attributes_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    client.put_image("a:1", &[b"one"]).await;
    let of = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    let send = async |body: String| client.send("PATCH", "/acr/v1/a", &[], body).await.status;
    assert_eq!(send(of(limit::ATTRIBUTES_BYTES)).await, StatusCode::OK, "at the limit");
    assert_eq!(send(of(limit::ATTRIBUTES_BYTES + 1)).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(send("nonsense".to_owned()).await, StatusCode::BAD_REQUEST);
}
