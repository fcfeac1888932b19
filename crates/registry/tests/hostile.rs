//! Bad input gets an OCI error body and the right code, never a 500.

use http::StatusCode;
use seaworthy_oci::{Digest, limit};
use seaworthy_testkit::{TestDb, db_tests};

use crate::client::{ROOMS, World, artifact};

db_tests!(super::ROOMS; manifests_that_are_none, a_text_with_nothing_in_it_is_no_fault_of_ours, json_bomb_depth, path_traversal_names, location_host_header_injection, every_refusal_has_a_body);

async fn manifests_that_are_none(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("a:1", &[b"layer"]).await;
    let config = Digest::sha256(br#"{"os":"linux","architecture":"amd64"}"#);
    let lying = whole.replace("\"size\":37", "\"size\":36");
    assert_ne!(whole, lying);
    let missing = whole.replace(&config.to_string(), &Digest::sha256(b"missing").to_string());
    for (manifest, code) in [
        ("", "MANIFEST_INVALID"),
        ("not json", "MANIFEST_INVALID"),
        ("{}", "MANIFEST_INVALID"),
        ("[[[[", "MANIFEST_INVALID"),
        (&lying, "MANIFEST_INVALID"),
        (&missing, "MANIFEST_BLOB_UNKNOWN"),
    ] {
        let answer = client.put_manifest("a", "2", manifest).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, code), "{manifest}");
    }
    assert_eq!(client.get("/v2/a/manifests/2").await.status, StatusCode::NOT_FOUND, "nothing was stored");
    let wrong = format!("/v2/a/manifests/{}", Digest::sha256(b"other"));
    let answer = client.send("PUT", &wrong, &[], whole).await;
    assert_eq!(answer.code(), "DIGEST_INVALID");
}

/// PostgreSQL stores no U+0000: what has it is refused in words, or found nowhere.
async fn a_text_with_nothing_in_it_is_no_fault_of_ours(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("a:1", &[b"layer"]).await;
    for path in [
        "/v2/_catalog?last=%00",
        "/v2/a/tags/list?last=%00",
        "/acr/v1/_catalog?last=%00",
        "/acr/v1/a/_tags?last=a%00b",
        "/acr/v1/a/_tags?orderby=timeasc&last=1.%00",
        "/acr/v1/a/_manifests?last=%00",
        &format!("/v2/a/referrers/{digest}?artifactType=%00"),
    ] {
        let answer = client.get(path).await;
        let is_fine = answer.status == StatusCode::OK || answer.status == StatusCode::BAD_REQUEST;
        assert!(is_fine, "{path}: {} {}", answer.status, answer.text());
    }
    let artifact = artifact(&digest, "a\\u0000b", "{}");
    let put = client.put_manifest("a", "2", &artifact).await;
    assert_eq!((put.status, put.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"));
    let found = r#"{"quarantineState":"Failed","quarantineDetails":"a\u0000b"}"#;
    let patch = client.send("PATCH", &format!("/acr/v1/a/_manifests/{digest}"), &[], found).await;
    assert!(patch.status.is_client_error() || patch.status == StatusCode::OK, "{}", patch.text());
}

/// Nesting, numbers and sizes that somebody claims: refused in words, and nothing is allocated by them.
async fn json_bomb_depth(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("a:1", &[b"layer"]).await;
    let with = |member: &str| whole.replacen('{', &format!("{{{member},"), 1);
    let nested = |open: &str, close: &str, depth: usize| {
        with(&format!("\"annotations\":{}1{}", open.repeat(depth), close.repeat(depth)))
    };
    let sized = |size: &str| whole.replace("\"size\":5}", &format!("\"size\":{size}}}"));
    assert_ne!(sized("6"), whole, "the layer's size is what is changed");
    let beside = |depth: usize| with(&format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    for manifest in [
        nested("[", "]", 100_000),
        nested("{\"a\":", "}", 100_000),
        beside(1_000_000),
        "[".repeat(limit::MANIFEST_BYTES),
        "{\"a\":".repeat(500_000),
        sized("-1"),
        sized("5.5"),
        sized("1e3"),
        sized("9223372036854775808"),
        sized("99999999999999999999999999"),
        // True numbers that are no length of what is here.
        sized("4"),
        sized("9223372036854775807"),
        with("\"schemaVersion\":9223372036854775808"),
    ] {
        let answer = client.put_manifest("a", "2", &manifest).await;
        let shown = &manifest[..manifest.len().min(300)];
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{shown}: {}", answer.text());
        assert_eq!(answer.code(), "MANIFEST_INVALID", "{shown}");
        assert!(answer.body.len() < 2_000, "{shown}: {} bytes", answer.body.len());
    }
    assert_eq!(client.put_manifest("a", "2", &beside(20)).await.status, StatusCode::CREATED, "as JSON goes");
    assert_eq!(client.get("/v2/a/manifests/1").await.text(), whole);
}

async fn path_traversal_names(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let longest = "a".repeat(limit::REPO_NAME_BYTES);
    for name in [
        "..",
        ".",
        "a/..",
        "../a",
        "a/../b",
        "a/./b",
        "%2e%2e",
        "a/%2e%2e/b",
        "a%2F..%2Fb",
        "%2E%2E%2Fetc",
        "..%5C..%5Cetc",
        "a//b",
        "a%2F%2Fb",
        "/a",
        "a/",
        "%2Fa",
        "a%00",
        "a%00/b",
        "a%0a",
        "a%zz",
        "a%",
        "a%2",
        "UPPER",
        "a b",
        "a%20b",
        "a\u{e9}",
        "%ff",
        "-a",
        "a-",
        "a..b",
        "_a",
        "a___b",
        "a:b",
        "a@b",
        "%252e%252e",
        &format!("{longest}a"),
    ] {
        let digest = Digest::sha256(b"x");
        for (method, rest) in [
            ("GET", "tags/list".to_owned()),
            ("GET", "manifests/1".to_owned()),
            ("PUT", "manifests/1".to_owned()),
            ("GET", format!("blobs/{digest}")),
            ("GET", format!("referrers/{digest}")),
            ("POST", "blobs/uploads/".to_owned()),
            ("POST", format!("blobs/uploads/?digest={digest}")),
        ] {
            let Ok(uri) = format!("/v2/{name}/{rest}").parse::<http::Uri>() else { continue };
            let answer = client.send(method, &uri.to_string(), &[], "x").await;
            let code = answer.code();
            assert!(answer.status.is_client_error(), "{method} {uri}: {}", answer.status);
            assert!(matches!(code.as_str(), "NAME_INVALID" | "NAME_UNKNOWN"), "{method} {uri}: {code}");
        }
    }
    let rows = world
        .registry
        .repositories(&seaworthy_registry::NameRange::all(), "", 10)
        .await
        .expect("repositories");
    assert!(rows.is_empty(), "{rows:?}");
    let written = std::fs::read_dir(world.test.path().join("uploads/registry")).map_or(0, Iterator::count);
    assert_eq!(written, 0, "nothing was begun");
    // Names that look like routes, and the longest one, are names.
    for name in ["blobs", "manifests/uploads", "tags/list", "blobs/uploads", "referrers", "v2", &longest] {
        client.put_image(&format!("{name}:1"), &[b"x"]).await;
        assert_eq!(client.get(&format!("/v2/{name}/manifests/1")).await.status, StatusCode::OK, "{name}");
        assert!(client.get(&format!("/v2/{name}/tags/list")).await.text().contains(r#"["1"]"#), "{name}");
    }
    let (digest, manifest) = client.put_image("a:1", &[b"x"]).await;
    for (tag, status) in [
        ("t".repeat(limit::TAG_BYTES), 201),
        ("t".repeat(limit::TAG_BYTES + 1), 400),
        (digest.hex(), 201),
        (format!("sha256-{}", digest.hex()), 201),
        (format!("sha256%3A{}", digest.hex()), 201),
        ("..".to_owned(), 400),
        (".hidden".to_owned(), 400),
        ("a%2Fb".to_owned(), 400),
        ("a%00".to_owned(), 400),
    ] {
        let answer = client.put_manifest("a", &tag, &manifest).await;
        assert_eq!(answer.status.as_u16(), status, "{tag}: {}", answer.text());
    }
}

/// 4xx and 5xx alike: one shape, with the spec's word.
async fn every_refusal_has_a_body(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for (method, path, code) in [
        ("GET", "/v2/UPPER/tags/list", "NAME_INVALID"),
        ("GET", "/v2/a/manifests/sha256:short", "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "DIGEST_INVALID"),
        ("PUT", "/v2/a/blobs/uploads/0190b4a0-0000-7000-8000-000000000000", "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/uploads/0190b4a0-0000-7000-8000-000000000000", "BLOB_UPLOAD_UNKNOWN"),
        ("GET", "/v2/a/blobs/uploads/..%2f..%2fetc", "BLOB_UPLOAD_UNKNOWN"),
        ("POST", "/v2/a/blobs/uploads/?digest=x", "DIGEST_INVALID"),
        ("POST", "/v2/a/blobs/uploads/?digest=%zz", "UNSUPPORTED"),
        ("GET", "/v2/a/manifests/1", "MANIFEST_UNKNOWN"),
        ("GET", "/v2/a/tags/list", "NAME_UNKNOWN"),
        ("GET", "/v2/a/tags/list?n=-1", "UNSUPPORTED"),
        ("GET", "/v2/nowhere", "NAME_UNKNOWN"),
        ("PATCH", "/v2/a/manifests/1", "UNSUPPORTED"),
        ("POST", "/v2/", "UNSUPPORTED"),
    ] {
        let answer = client.send(method, path, &[], "").await;
        assert!(answer.status.is_client_error(), "{path}");
        assert_eq!(answer.code(), code, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
        assert!(json["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    }
}

/// What a client calls us is never where it is sent.
async fn location_host_header_injection(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("a:1", &[b"x"]).await;
    client.put_image("b:1", &[b"x"]).await;
    let blob = Digest::sha256(b"x");
    for (name, value) in [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-forwarded-proto", "gopher"),
        ("x-original-url", "//evil.example/"),
    ] {
        let headers = [(name, value), ("content-type", "application/vnd.oci.image.manifest.v1+json")];
        for (method, path, body) in [
            ("POST", "/v2/a/blobs/uploads/".to_owned(), ""),
            ("POST", format!("/v2/a/blobs/uploads/?digest={blob}"), "x"),
            ("POST", format!("/v2/a/b/blobs/uploads/?mount={blob}&from=a"), ""),
            ("PUT", "/v2/a/manifests/2".to_owned(), manifest.as_str()),
            ("GET", "/v2/a/tags/list?n=1".to_owned(), ""),
            ("GET", "/v2/_catalog?n=1".to_owned(), ""),
        ] {
            let answer = client.send(method, &path, &headers, body.to_owned()).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text());
            let place = format!("{}{}", answer.header("location"), answer.header("link"));
            assert!(place.starts_with("/v2/") || place.starts_with("</v2/"), "{method} {path}: {place}");
            assert!(!place.contains("evil"), "{place}");
        }
    }
    assert_eq!(client.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    let nobody = world.as_identity(seaworthy_access::Identity::anonymous(None));
    let answer = nobody.send("GET", "/v2/", &[("host", "evil\",service=\"x")], "").await;
    let challenge = answer.header("www-authenticate");
    assert!(!challenge.contains("evil"), "{challenge}");
}
