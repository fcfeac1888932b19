//! Bad input gets an OCI error body and the right code, never a 500.

use http::StatusCode;
use seaworthy_oci::{Digest, limit};
use seaworthy_testkit::{TestDb, db_tests};

use crate::client::{ROOMS, World};

db_tests!(super::ROOMS; manifests_that_are_none, names_that_are_none, hosts_that_break_out);

async fn manifests_that_are_none(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("a:1", &[b"layer"]).await;
    let config = Digest::sha256(br#"{"os":"linux","architecture":"amd64"}"#);
    let lying = whole.replace("\"size\":37", "\"size\":36");
    assert_ne!(whole, lying);
    let missing = whole.replace(&config.to_string(), &Digest::sha256(b"missing").to_string());
    let twice = whole.replacen("\"schemaVersion\": 2,", "\"schemaVersion\": 2, \"schemaVersion\": 2,", 1);
    let both = whole.replacen("\"layers\":", "\"manifests\": [], \"layers\":", 1);
    let other_type = whole.replacen("image.manifest.v1", "image.index.v1", 1);
    for (manifest, code) in [
        ("", "MANIFEST_INVALID"),
        ("not json", "MANIFEST_INVALID"),
        ("{}", "MANIFEST_INVALID"),
        ("[[[[", "MANIFEST_INVALID"),
        (&lying, "MANIFEST_INVALID"),
        (&missing, "MANIFEST_BLOB_UNKNOWN"),
        (&twice, "MANIFEST_INVALID"),
        (&both, "MANIFEST_INVALID"),
        (&other_type, "MANIFEST_INVALID"),
    ] {
        let answer = client.put_manifest("a", "2", manifest).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, code), "{manifest}");
    }
    assert_eq!(client.get("/v2/a/manifests/2").await.status, StatusCode::NOT_FOUND, "nothing was stored");
    let foreign = [("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws")];
    let answer = client.send("PUT", "/v2/a/manifests/2", &foreign, whole.clone()).await;
    assert_eq!(answer.code(), "MANIFEST_INVALID");
    let mut padded = whole.clone();
    padded.push_str(&" ".repeat(limit::MANIFEST_BYTES - whole.len()));
    assert_eq!(client.put_manifest("a", "long", &padded).await.status, StatusCode::CREATED, "at the limit");
    padded.push(' ');
    assert_eq!(client.put_manifest("a", "long", &padded).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let wrong = format!("/v2/a/manifests/{}", Digest::sha256(b"other"));
    let answer = client.send("PUT", &wrong, &[], whole).await;
    assert_eq!(answer.code(), "DIGEST_INVALID");
}

async fn names_that_are_none(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for (method, path, code) in [
        ("GET", "/v2/UPPER/tags/list", "NAME_INVALID"),
        ("GET", "/v2/a/../b/tags/list", "NAME_INVALID"),
        ("GET", "/v2/a/%2e%2e/b/manifests/1", "NAME_INVALID"),
        ("GET", "/v2/a/manifests/sha256:short", "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "DIGEST_INVALID"),
        ("PUT", "/v2/a/blobs/uploads/0190b4a0-0000-7000-8000-000000000000", "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/uploads/0190b4a0-0000-7000-8000-000000000000", "BLOB_UPLOAD_UNKNOWN"),
        ("POST", "/v2/a/blobs/uploads/?digest=x", "DIGEST_INVALID"),
        ("PATCH", "/v2/a/manifests/1", "UNSUPPORTED"),
    ] {
        let answer = client.send(method, path, &[], "").await;
        assert!(answer.status.is_client_error(), "{path}");
        assert_eq!(answer.code(), code, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

async fn hosts_that_break_out(test: TestDb) {
    let world = World::new(test).await;
    let nobody = world.as_identity(seaworthy_access::Identity::anonymous(None));
    let answer = nobody.send("GET", "/v2/", &[("host", "evil\",service=\"x")], "").await;
    let challenge = answer.header("www-authenticate");
    assert!(!challenge.contains("evil"), "{challenge}");
}
