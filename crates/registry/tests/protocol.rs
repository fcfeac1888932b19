//! What docker, containerd, podman and skopeo send (distribution spec 1.1).

use std::sync::Arc;

use axum::body::Body;
use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{Clock as _, FixedClock, SystemClock};
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};

use crate::client::{Answer, Client, IMAGE, ROOMS, World, artifact};

db_tests!(super::ROOMS; tags_paging_during_inserts, prefix_names_a_and_a_b, link_header_escaping, pages_have_names, requests_have_one_meaning,
    deletes_take_effect_at_once, an_index_by_tag_and_digest, a_push_tells_and_records,
    expired_uploads_are_swept, an_upload_ends_at_its_age, a_sweep_spares_what_is_written, same_tag_64_writers,
    uploads_of_a_principal_are_bounded, a_blob_ends_at_its_limit, pages_end_at_their_limit,
    pages_of_images_hold_what_is_visible, writes_are_done_under_their_conditions);

/// RFC 9110 section 13.1: who wants to set a tag that is none, or that nobody moved, is not to move another.
async fn writes_are_done_under_their_conditions(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (first, manifest) = client.put_image("a:1", &[b"x"]).await;
    let etag = client.get("/v2/a/manifests/1").await.header("etag").to_owned();
    assert_eq!(etag, format!("\"{first}\""));
    let put = async |name: &str, condition: (&str, &str), manifest: String| {
        let headers = [("content-type", IMAGE), condition];
        client.send("PUT", &format!("/v2/a/manifests/{name}"), &headers, manifest).await
    };
    let changed = |number: usize| format!("{manifest}{}", " ".repeat(number));
    let refused = put("1", ("if-none-match", "*"), changed(1)).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{}", refused.text());
    assert_eq!(refused.code(), "UNSUPPORTED");
    assert_eq!(put("1", ("if-match", "\"other\""), changed(1)).await.status, 412);
    assert_eq!(put("none", ("if-match", "*"), changed(1)).await.status, 412);
    let none = client.get(&format!("/v2/a/manifests/{}", Digest::sha256(changed(1).as_bytes()))).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND, "nothing of them is there");
    assert_eq!(put("1", ("if-match", &etag), changed(1)).await.status, StatusCode::CREATED);
    assert_eq!(put("1", ("if-match", &etag), changed(2)).await.status, 412, "somebody moved it");
    // One of many makes it.
    let all = (0..16).map(|number| put("new", ("if-none-match", "*"), changed(number)));
    let all = futures_util::future::join_all(all).await;
    let made = all.iter().filter(|it| it.status == StatusCode::CREATED).count();
    let others = all.iter().filter(|it| it.status == StatusCode::PRECONDITION_FAILED).count();
    assert_eq!((made, others), (1, 15));

    let path = "/v2/a/manifests/new";
    for method in ["GET", "HEAD", "DELETE"] {
        let answer = client.send(method, path, &[("if-match", "\"other\"")], "").await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{method}");
    }
    let now = client.get(path).await.header("etag").to_owned();
    let head = client.send("HEAD", path, &[("if-match", &now), ("if-none-match", &now)], "").await;
    assert_eq!(head.status, StatusCode::NOT_MODIFIED);
    assert_eq!(head.header("content-length"), client.get(path).await.header("content-length"));
    assert_eq!(client.send("DELETE", path, &[("if-match", &now)], "").await.status, StatusCode::ACCEPTED);
}

/// Names of the tags on all pages, from the first.
async fn all_tags(client: &Client, repository: &str, n: usize) -> Vec<String> {
    let mut path = format!("/v2/{repository}/tags/list?n={n}");
    let mut found = Vec::new();
    while !path.is_empty() {
        let answer = client.get(&path).await;
        found.extend(names(&answer, "tags"));
        path = answer.next();
    }
    found
}

fn names(answer: &Answer, list: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
    json[list].as_array().expect("a list").iter().map(|it| it.as_str().expect("text").to_owned()).collect()
}

async fn pages_have_names(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("a:0", &[b"x"]).await;
    for tag in ["1", "B", "a", "a.b", "a-b", "_"] {
        assert_eq!(client.put_manifest("a", tag, &manifest).await.status, StatusCode::CREATED);
    }
    assert_eq!(all_tags(&client, "a", 3).await, ["0", "1", "B", "_", "a", "a-b", "a.b"], "in byte order");
    assert!(client.get("/v2/a/tags/list").await.text().contains(r#""name":"a""#));
    assert!(client.get("/v2/a/tags/list?n=0").await.text().contains(r#""tags":[]"#));
    for n in ["x", "", "-1", "1.5"] {
        assert_eq!(
            client.get(&format!("/v2/a/tags/list?n={n}")).await.status,
            StatusCode::BAD_REQUEST,
            "{n}"
        );
    }
    for n in ["4294967296", "99999999999999999999999"] {
        let answer = client.get(&format!("/v2/a/tags/list?n={n}")).await;
        assert_eq!(names(&answer, "tags").len(), 7, "{n}");
    }
    assert_eq!(client.get("/v2/none/tags/list").await.code(), "NAME_UNKNOWN");
}

/// Two readers of what is said twice see two requests; what can be asked says so.
async fn requests_have_one_meaning(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("a:1", &[b"x"]).await;
    let blob = Digest::sha256(b"y");
    for path in [
        format!("/v2/a/blobs/uploads/?digest={blob}&digest={digest}"),
        format!("/v2/a/blobs/uploads/?digest={blob}&digest={blob}"),
        format!("/v2/a/blobs/uploads/?mount={blob}&from=a&from=b"),
    ] {
        let answer = client.send("POST", &path, &[], "y").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
    for name in ["host", "authorization", "content-type", "content-range"] {
        let twice = [("host", "localhost"), (name, "a"), (name, "b")];
        for path in ["/v2/a/tags/list", "/acr/v1/a"] {
            let answer = client.send("GET", path, &twice[usize::from(name == "host")..], "").await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
                "{path} {name}"
            );
        }
    }
    for path in ["/v1/search", "/v1/_ping", "/acr/v1", "/acr/v1/"] {
        assert_eq!(client.get(path).await.code(), "NAME_UNKNOWN", "{path}");
    }
    assert_eq!(client.get("/v2/a/tags/list?n=1&n=2").await.status, StatusCode::BAD_REQUEST);
    let twice = format!("/v2/a/referrers/{digest}?artifactType=a/b&artifactType=a/c");
    assert_eq!(client.get(&twice).await.status, StatusCode::BAD_REQUEST);
    // A header that is no text is one that nothing takes, and not none.
    let location = client.begin("a").await;
    for (method, path, name, status) in [
        ("PATCH", location.as_str(), "content-range", StatusCode::RANGE_NOT_SATISFIABLE),
        ("PUT", "/v2/a/manifests/2", "content-type", StatusCode::BAD_REQUEST),
    ] {
        let value = http::HeaderValue::from_bytes(b"\xff").expect("a value");
        let request = http::Request::builder().method(method).uri(path).header(name, value);
        let answer = client.open(request.body(Body::from(manifest.clone())).expect("a request")).await;
        assert_eq!(answer.status(), status, "{name}");
    }
    assert_eq!(client.get(&location).await.header("range"), "0-0");
    for (method, path, allow) in [
        ("POST", "/v2/".to_owned(), "GET, HEAD"),
        ("DELETE", "/v2/_catalog".to_owned(), "GET, HEAD"),
        ("PUT", "/v2/a/tags/list".to_owned(), "GET, HEAD"),
        ("PUT", format!("/v2/a/referrers/{digest}"), "GET, HEAD"),
        ("PATCH", "/v2/a/manifests/1".to_owned(), "GET, HEAD, PUT, DELETE"),
        ("PUT", format!("/v2/a/blobs/{blob}"), "GET, HEAD, DELETE"),
        ("GET", "/v2/a/blobs/uploads/".to_owned(), "POST"),
        ("POST", client.begin("a").await, "GET, HEAD, PATCH, PUT, DELETE"),
        ("PUT", "/acr/v1/_catalog".to_owned(), "GET, HEAD"),
        ("PATCH", "/acr/v1/a/_tags".to_owned(), "GET, HEAD"),
        ("PUT", "/acr/v1/a/_tags/1".to_owned(), "GET, HEAD, PATCH, DELETE"),
        ("DELETE", format!("/acr/v1/a/_manifests/{digest}"), "GET, HEAD, PATCH"),
    ] {
        let answer = client.send(method, &path, &[], "").await;
        let told = (answer.status, answer.header("allow"));
        assert_eq!(told, (StatusCode::METHOD_NOT_ALLOWED, allow), "{method} {path}");
    }
    let lists = ["/v2/_catalog", "/v2/a/tags/list", "/acr/v1/_catalog", "/acr/v1/a", "/acr/v1/a/_tags/1"];
    let referrers = format!("/v2/a/referrers/{digest}");
    for path in lists.into_iter().chain([referrers.as_str()]) {
        let (get, head) = (client.get(path).await, client.send("HEAD", path, &[], "").await);
        assert_eq!(
            (head.status, head.header("content-length")),
            (StatusCode::OK, get.header("content-length"))
        );
    }
    // A type is the same in any case, and a body that breaks off is not too long.
    let upper = client.put_as("/v2/a/manifests/2", &IMAGE.to_uppercase(), &manifest).await;
    assert_eq!(upper.status, StatusCode::CREATED, "{}", upper.text());
    assert_eq!(client.get("/v2/a/manifests/2").await.header("content-type"), IMAGE);
    let pieces = [Ok("{"), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let cut = client.send("PUT", "/v2/a/manifests/3", &[("content-type", IMAGE)], body).await;
    assert_eq!(cut.status, StatusCode::BAD_REQUEST, "{}", cut.text());
}

/// Whatever is pushed or deleted between two pages, what was there all the time is listed once.
async fn tags_paging_during_inserts(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("a:t00", &[b"x"]).await;
    for number in 1..30 {
        client.put_manifest("a", &format!("t{number:02}"), &manifest).await;
    }
    let mut path = "/v2/a/tags/list?n=4".to_owned();
    let mut found = Vec::new();
    for round in 0.. {
        let answer = client.get(&path).await;
        found.extend(names(&answer, "tags"));
        path = answer.next();
        if path.is_empty() {
            break;
        }
        for new in [format!("a{round}"), format!("t{round:02}x"), format!("z{round}")] {
            assert_eq!(client.put_manifest("a", &new, &manifest).await.status, StatusCode::CREATED);
        }
        // The tag that the next page begins after may go.
        let last = found.last().expect("one").clone();
        if last.len() > 3 || last.starts_with('z') {
            client.send("DELETE", &format!("/v2/a/manifests/{last}"), &[], "").await;
        }
        assert!(round < 40, "the end moves away for ever");
    }
    let mut sorted = found.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(found, sorted, "in order, and none twice");
    for number in 0..30 {
        assert!(found.contains(&format!("t{number:02}")), "t{number:02} is missing: {found:?}");
    }
}

async fn prefix_names_a_and_a_b(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("a:1", &[b"x"]).await;
    for image in ["a/b:2", "a/b/c:3", "ab:4", "a-b:5", "tags/list:6"] {
        client.put_image(image, &[b"x"]).await;
    }
    for (repository, tag) in
        [("a", "1"), ("a/b", "2"), ("a/b/c", "3"), ("ab", "4"), ("a-b", "5"), ("tags/list", "6")]
    {
        assert_eq!(all_tags(&client, repository, 1).await, [tag], "{repository}");
    }
    let mut path = "/v2/_catalog?n=1".to_owned();
    let mut found = Vec::new();
    while !path.is_empty() {
        let answer = client.get(&path).await;
        found.extend(names(&answer, "repositories"));
        path = answer.next();
    }
    assert_eq!(found, ["a", "a-b", "a/b", "a/b/c", "ab", "tags/list"]);
    let reader = world.service("reader", "Reader", "/repositories/a/b").await;
    let catalog = reader.get("/v2/_catalog").await;
    assert_eq!(names(&catalog, "repositories"), ["a/b", "a/b/c"], "a catalog shows what may be seen");
    assert_eq!(reader.get(&format!("/v2/a/manifests/{digest}")).await.code(), "NAME_UNKNOWN");
}

async fn link_header_escaping(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("a/b:v1.0_x-y", &[b"x"]).await;
    client.put_image("a/b:v2", &[b"x"]).await;
    client.put_image("ab:1", &[b"x"]).await;
    // A page that is exactly full is the last one.
    for path in ["/v2/_catalog?n=2", "/v2/_catalog?n=3", "/v2/a/b/tags/list?n=2", "/v2/a/b/tags/list?n=0"] {
        let page = client.get(path).await;
        assert_eq!((page.status, page.header("link")), (StatusCode::OK, ""), "{path}");
    }
    let catalog = client.get("/v2/_catalog?n=1").await;
    assert_eq!(catalog.header("link"), "</v2/_catalog?n=1&last=a%2Fb>; rel=\"next\"");
    assert_eq!(names(&client.get(&catalog.next()).await, "repositories"), ["ab"]);
    let tags = client.get("/v2/a%2Fb/tags/list?n=1").await;
    assert_eq!(tags.header("link"), "</v2/a/b/tags/list?n=1&last=v1.0_x-y>; rel=\"next\"");
    let last = client.get(&tags.next()).await;
    assert_eq!((names(&last, "tags"), last.header("link")), (vec!["v2".to_owned()], ""));
    // An artifact type is anybody's text, and comes back in a header.
    client.put_blob("a/b", b"{}").await;
    let kind = "x/y+z; a=\\\"q\\\">, <evil>&last=";
    for number in 0..=limit::REFERRERS {
        let body = artifact(&subject, kind, &format!(r#"{{"n":"{number}"}}"#));
        let answer = client.put_manifest("a/b", &Digest::sha256(body.as_bytes()).to_string(), &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }
    let kind = kind.replace('\\', "");
    let encoded: String = kind.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let first = client.get(&format!("/v2/a/b/referrers/{subject}?artifactType={encoded}")).await;
    let link = first.header("link");
    assert!(link.starts_with("</v2/a/b/referrers/sha256:") && link.ends_with(">; rel=\"next\""), "{link}");
    assert_eq!(link.matches(['<', '>', '"', ' ']).count(), 5, "nothing of it breaks out: {link}");
    let second = client.get(&first.next()).await;
    assert_eq!(second.header("oci-filters-applied"), "artifactType");
    let json: serde_json::Value = serde_json::from_slice(&second.body).expect("json");
    assert_eq!(json["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["manifests"][0]["artifactType"], kind);
}

async fn deletes_take_effect_at_once(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("a:1", &[b"layer"]).await;
    let layer = Digest::sha256(b"layer");
    let in_use = client.send("DELETE", &format!("/v2/a/blobs/{layer}"), &[], "").await;
    assert_eq!(in_use.status, StatusCode::CONFLICT, "a manifest names it");
    assert_eq!(client.send("DELETE", "/v2/a/manifests/1", &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(client.get("/v2/a/manifests/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(client.send("DELETE", &path, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(client.send("DELETE", &path, &[], "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        client.send("DELETE", &format!("/v2/a/blobs/{layer}"), &[], "").await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(client.get(&format!("/v2/a/blobs/{layer}")).await.status, StatusCode::NOT_FOUND);
    let pusher = world.service("ci", "AcrPush", "/repositories/a").await;
    let (digest, _) = pusher.put_image("a:2", &[b"layer"]).await;
    let denied = pusher.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await;
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (StatusCode::FORBIDDEN, "DENIED"),
        "AcrPush does not delete"
    );
}

async fn an_index_by_tag_and_digest(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (child, manifest) = client.put_image("a:1", &[b"x"]).await;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{child}","size":{},
             "platform":{{"os":"linux","architecture":"amd64"}}}},
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":3}}]}}"#,
        manifest.len(),
        Digest::sha256(b"not here yet"),
    );
    let headers = [("content-type", "application/vnd.oci.image.index.v1+json")];
    let put = client.send("PUT", "/v2/a/manifests/multi", &headers, index.clone()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let by_digest = client.get(&format!("/v2/a/manifests/{}", Digest::sha256(index.as_bytes()))).await;
    assert_eq!(by_digest.text(), index);
    assert_eq!(by_digest.header("content-type"), headers[0].1);
}

async fn a_push_tells_and_records(test: TestDb) {
    let world = World::new(test).await;
    let client = world.service("ci", "AcrPush", "/repositories/a").await;
    let large = vec![1u8; 50_000];
    let (digest, _) = client.put_image("a:1", &[&large, b"small"]).await;
    client.put_blob("a", &large).await;
    let rows = world
        .test
        .db
        .fetch_all("SELECT consumer, kind FROM store_deliveries ORDER BY kind, consumer", args![])
        .await
        .expect("query");
    let found: Vec<_> = rows
        .iter()
        .map(|row| format!("{} {}", row.text(1).expect("kind"), row.text(0).expect("consumer")))
        .collect();
    assert_eq!(found, ["blob_stored inspection", "manifest_pushed clearance", "manifest_pushed inspection"]);
    let rows = world
        .test
        .db
        .fetch_all("SELECT actor, object, leaf FROM ledger_leaves WHERE action = 'manifest.push'", args![])
        .await
        .expect("query");
    assert_eq!((rows.len(), rows[0].text(0).expect("actor")), (1, "ci"));
    assert_eq!(rows[0].text(1).expect("object"), format!("repositories/a@{digest}"));
    assert!(rows[0].text(2).expect("leaf").contains(r#""tag":"1""#));
}

async fn expired_uploads_are_swept(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.send("POST", "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    client.send("PATCH", &location, &[], vec![1u8; 100_000]).await;
    let files = || std::fs::read_dir(world.test.path().join("uploads/registry")).expect("list").count();
    assert_eq!(files(), 1);
    assert_eq!(world.registry.sweep().await.expect("sweep"), 0);
    world
        .test
        .db
        .upkeep((), |(), tx| {
            Box::pin(async move { tx.execute("UPDATE registry_uploads SET expires_at = 1", args![]).await })
        })
        .await
        .map_err(|error: seaworthy_store::DbError| panic!("{error}"))
        .ok();
    assert_eq!(client.get(&location).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.registry.sweep().await.expect("sweep"), 1);
    assert_eq!(files(), 0);
    // What another room was cut off in is nobody's after a day.
    let other = world.test.path().join("uploads/findings");
    std::fs::create_dir_all(&other).expect("made");
    let day = std::time::Duration::from_secs(u64::try_from(limit::UPLOAD_SECONDS).expect("a day"));
    for (age, left) in [(day / 2, 1), (day, 0)] {
        let path = other.join("0190b4a0-0000-7000-8000-000000000000");
        let file = std::fs::File::create(&path).expect("made");
        file.set_modified(std::time::SystemTime::now() - age).expect("set");
        world.registry.sweep().await.expect("sweep");
        assert_eq!(std::fs::read_dir(&other).expect("list").count(), left);
    }
}

async fn an_upload_ends_at_its_age(mut test: TestDb) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    test.db = test.reopen(clock.clone()).await;
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.send("POST", "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    clock.advance(limit::UPLOAD_SECONDS - 1);
    assert_eq!(world.registry.sweep().await.expect("sweep"), 0);
    let chunk = client.send("PATCH", &location, &[], vec![1u8; 100]).await;
    assert_eq!(chunk.status, StatusCode::ACCEPTED, "{}", chunk.text());
    clock.advance(limit::UPLOAD_SECONDS - 1);
    assert_eq!(client.get(&location).await.status, StatusCode::NO_CONTENT, "each request prolongs it");
    clock.advance(1);
    assert_eq!(client.get(&location).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.registry.sweep().await.expect("sweep"), 1);
}

/// A request that began in time is not cut off by the sweep, however long it takes.
async fn a_sweep_spares_what_is_written(mut test: TestDb) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    test.db = test.reopen(clock.clone()).await;
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.send("POST", "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    let (registry, sweeper) = (world.registry.clone(), clock.clone());
    let body = futures_util::stream::once(async move {
        sweeper.advance(limit::UPLOAD_SECONDS);
        assert_eq!(registry.sweep().await.expect("sweep"), 0);
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"late"))
    });
    let chunk = client.send("PATCH", &location, &[], Body::from_stream(body)).await;
    assert_eq!(chunk.status, StatusCode::ACCEPTED, "{}", chunk.text());
    assert_eq!(client.get(&location).await.header("range"), "0-3");
}

async fn same_tag_64_writers(test: TestDb) {
    let world = World::new(test).await;
    let clients: Vec<_> = (0..64).map(|_| world.operator()).collect();
    let pushes = clients.iter().enumerate().map(|(n, client)| async move {
        let own = format!("layer {n}");
        client.put_image("a:latest", &[b"shared by all", own.as_bytes()]).await.0
    });
    let digests = futures_util::future::join_all(pushes).await;
    let answer = clients[0].get("/v2/a/manifests/latest").await;
    let last: Digest = answer.header("docker-content-digest").parse().expect("digest");
    assert!(digests.contains(&last));
    for digest in digests {
        assert_eq!(clients[0].get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    }
    let sql = "SELECT COUNT(*) FROM ledger_leaves WHERE action = 'manifest.push'";
    let rows = world.test.db.fetch_all(sql, args![]).await.expect("query");
    assert_eq!(rows[0].int(0).expect("count"), 64, "the ledger has every push");
}

async fn change(world: &World, sql: &'static str) {
    world
        .test
        .db
        .upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await }))
        .await
        .map_err(|error: seaworthy_store::DbError| panic!("{error}"))
        .ok();
}

async fn uploads_of_a_principal_are_bounded(mut test: TestDb) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    test.db = test.reopen(clock.clone()).await;
    let world = World::new(test).await;
    let client = world.operator();
    let begin = async || client.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    let first = begin().await;
    for _ in 2..limit::UPLOADS_PER_PRINCIPAL {
        let begun = begin().await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        let sent = client.send("PATCH", begun.header("location"), &[], "x").await;
        assert_eq!(sent.status, StatusCode::ACCEPTED);
    }
    let last = begin().await;
    assert_eq!(last.status, StatusCode::ACCEPTED, "at the limit");
    let refused = begin().await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"));
    let files = || std::fs::read_dir(world.test.path().join("uploads/registry")).expect("list").count();
    let most = usize::try_from(limit::UPLOADS_PER_PRINCIPAL).expect("small");
    assert_eq!(files(), most - 2, "what nothing was sent of has no file");
    // Another principal has its own, and one that ends makes room.
    let other = world.service("ci", "AcrPush", "/repositories/a").await;
    assert_eq!(other.send("POST", "/v2/a/blobs/uploads/", &[], "").await.status, StatusCode::ACCEPTED);
    let cancelled = client.send("DELETE", last.header("location"), &[], "").await;
    assert_eq!(cancelled.status, StatusCode::NO_CONTENT);
    assert_eq!(begin().await.status, StatusCode::ACCEPTED);
    // Those that nobody writes to any more make room for as many, in the end; the one that is written to does not.
    clock.advance(limit::UPLOAD_IDLE_SECONDS - 1);
    let touched = client.send("PATCH", first.header("location"), &[], "x").await;
    assert_eq!(touched.status, StatusCode::ACCEPTED);
    let refused = begin().await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    clock.advance(1);
    for _ in 1..limit::UPLOADS_PER_PRINCIPAL {
        assert_eq!(begin().await.status, StatusCode::ACCEPTED);
    }
    let refused = begin().await;
    let wait = (limit::UPLOAD_IDLE_SECONDS - 1).to_string();
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, wait.as_str())
    );
    assert_eq!(client.get(first.header("location")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(files(), 1, "what made room leaves no file");
}

async fn a_blob_ends_at_its_limit(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.send("POST", "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    assert_eq!(client.send("PATCH", &location, &[], vec![1u8; 100_000]).await.status, StatusCode::ACCEPTED);
    // All but one byte are there: a hole in the file, and the session that says so.
    change(&world, "UPDATE registry_uploads SET received = 68719476735").await;
    let folder = world.test.path().join("uploads/registry");
    let file = std::fs::read_dir(folder).expect("list").next().expect("one").expect("entry").path();
    let file = std::fs::OpenOptions::new().write(true).open(file).expect("open");
    file.set_len(limit::BLOB_BYTES - 1).expect("a hole");
    let past = client.send("PATCH", &location, &[], "xy").await;
    assert_eq!(past.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", past.text());
    let fits = client.send("PATCH", &location, &[], "x").await;
    assert_eq!(fits.status, StatusCode::ACCEPTED, "{}", fits.text());
    assert_eq!(fits.header("range"), "0-68719476735");
    assert_eq!(client.send("PATCH", &location, &[], "x").await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

async fn pages_end_at_their_limit(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("a:t0000", &[b"x"]).await;
    let most = usize::try_from(limit::PAGE).expect("small");
    for number in 1..=most {
        let answer = client.put_manifest("a", &format!("t{number:04}"), &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    for query in ["", "?n=1000", "?n=1001", "?n=4000000000"] {
        let answer = client.get(&format!("/v2/a/tags/list{query}")).await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
        assert_eq!(json["tags"].as_array().map(Vec::len), Some(most), "{query}");
        assert!(answer.header("link").contains("last=t0999"), "{query}: {}", answer.header("link"));
    }
    let rest = client.get("/v2/a/tags/list?n=1000&last=t0999").await;
    assert!(rest.text().contains(r#"["t1000"]"#) && rest.header("link").is_empty(), "{}", rest.text());
}

/// Who may see little gets full pages too: what is hidden neither shortens a page nor ends the list.
async fn pages_of_images_hold_what_is_visible(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("hidden:t0000", &[b"x"]).await;
    for number in 1..=limit::PAGE {
        client.put_manifest("hidden", &format!("t{number:04}"), &manifest).await;
    }
    for tag in ["1", "2", "3"] {
        client.put_image(&format!("shown:{tag}"), &[b"y"]).await;
    }
    let identity = world.identity("reader", "AcrPull", "/repositories/shown").await;
    let page = async |after: (&str, &str), most: u32| {
        let rows = world.registry.images(&identity, "", after, most).await.expect("a page");
        rows.into_iter().map(|row| format!("{}:{}", row.repository, row.tag)).collect::<Vec<_>>()
    };
    assert_eq!(page(("", ""), 2).await, ["shown:1", "shown:2"]);
    assert_eq!(page(("shown", "2"), 2).await, ["shown:3"]);
    assert_eq!(page(("hidden", "t0500"), limit::PAGE + 1).await, ["shown:1", "shown:2", "shown:3"]);
    assert!(page(("shown", "3"), 2).await.is_empty());
    let all =
        world.registry.images(&Identity::operator(0), "", ("", ""), limit::PAGE + 1).await.expect("rows");
    assert_eq!(all.len(), limit::PAGE as usize, "a larger page is clamped");
}
