//! Reading blobs: who finds one, under which names, and which parts of it.

use http::StatusCode;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_testkit::{TestDb, db_tests};

use crate::client::{Answer, IMAGE, ROOMS, World, sha512};

db_tests!(super::ROOMS; empty_blob_sha256_sha512, head_blob_not_linked_in_repo_404, sha512_end_to_end,
    same_content_two_algorithms, unknown_algorithm_400, uppercase_hex_400, range_table, ranges_of_a_file,
    conditional_reads);

async fn empty_blob_sha256_sha512(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for digest in [Digest::sha256(b""), sha512(b"")] {
        for way in ["post", "put", "patch"] {
            let repository = format!("{way}/{}", digest.algorithm().name());
            let answer = if way == "post" {
                let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
                client.send("POST", &path, &[("content-length", "0")], "").await
            } else {
                let location = client.begin(&repository).await;
                if way == "patch" {
                    client.send("PATCH", &location, &[], "").await;
                }
                client.close(&location, digest, Vec::new()).await
            };
            assert_eq!(answer.status, StatusCode::CREATED, "{way}: {}", answer.text());
            let path = format!("/v2/{repository}/blobs/{digest}");
            for method in ["GET", "HEAD"] {
                let answer = client.send(method, &path, &[], "").await;
                assert_eq!((answer.status, answer.header("content-length")), (StatusCode::OK, "0"));
                assert_eq!(answer.header("docker-content-digest"), digest.to_string());
            }
            let part = client.send("GET", &path, &[("range", "bytes=0-0")], "").await;
            assert_eq!(part.status, StatusCode::RANGE_NOT_SATISFIABLE);
            assert_eq!(part.header("content-range"), "bytes */0");
        }
    }
}

/// It is stored, and named in another repository: here it is not, whoever asks.
async fn head_blob_not_linked_in_repo_404(test: TestDb) {
    let world = World::new(test).await;
    let operator = world.operator();
    operator.put_image("a:1", &[b"layer"]).await;
    operator.put_image("b:1", &[b"another"]).await;
    let path = format!("/v2/b/blobs/{}", Digest::sha256(b"layer"));
    for client in [
        operator,
        world.service("pusher", "AcrPush", "/repositories/b").await,
        world.service("puller", "AcrPull", "/repositories").await,
        world.service("inspector", "AcrQuarantineReader", "/repositories").await,
    ] {
        assert_eq!(client.send("HEAD", &path, &[], "").await.status, StatusCode::NOT_FOUND);
        assert_eq!(client.get(&path).await.code(), "BLOB_UNKNOWN");
    }
}

/// Blobs, manifests, tags and deletes by SHA-512, and never the same under another name.
async fn sha512_end_to_end(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (layer, config) = (vec![9u8; 40_000], br#"{"os":"linux","architecture":"amd64"}"#.to_vec());
    for bytes in [&layer, &config] {
        let start = client.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", &[], "").await;
        let location = start.header("location");
        client.send("PATCH", location, &[], bytes.clone()).await;
        let put = client.close(location, sha512(bytes), Vec::new()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        assert_eq!(put.header("location"), format!("/v2/a/blobs/{}", sha512(bytes)));
        assert_eq!(put.header("docker-content-digest"), sha512(bytes).to_string());
    }
    let got = client.get(&format!("/v2/a/blobs/{}", sha512(&layer))).await;
    assert!(got.body == layer);
    assert_eq!(got.header("etag"), format!("\"{}\"", sha512(&layer)));
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        sha512(&config),
        config.len(),
        sha512(&layer),
        layer.len()
    );
    let digest = sha512(manifest.as_bytes());
    let put = client.put_manifest("a", &format!("{digest}?tag=long"), &manifest).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert_eq!(put.header("location"), format!("/v2/a/manifests/{digest}"));
    for reference in ["long", &digest.to_string()] {
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, &format!("/v2/a/manifests/{reference}"), &[], "").await;
            assert_eq!(answer.header("docker-content-digest"), digest.to_string(), "{method} {reference}");
        }
    }
    let short = format!("/v2/a/manifests/{}", Digest::sha256(manifest.as_bytes()));
    assert_eq!(client.get(&short).await.status, StatusCode::NOT_FOUND, "it was never pushed under it");
    let deleted = client.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await;
    assert_eq!(deleted.status, StatusCode::ACCEPTED);
    assert_eq!(client.get("/v2/a/manifests/long").await.status, StatusCode::NOT_FOUND);
}

/// Two names of one content live and die by themselves.
async fn same_content_two_algorithms(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for bytes in [b"small".to_vec(), vec![3u8; 40_000]] {
        let (short, long) = (Digest::sha256(&bytes), sha512(&bytes));
        client.put_blob("a", &bytes).await;
        let path = |digest: &Digest| format!("/v2/a/blobs/{digest}");
        assert_eq!(client.get(&path(&long)).await.status, StatusCode::NOT_FOUND, "not pushed under it yet");
        let location = client.begin("a").await;
        assert_eq!(client.close(&location, long, bytes.clone()).await.status, StatusCode::CREATED);
        for digest in [&short, &long] {
            let answer = client.get(&path(digest)).await;
            assert_eq!(answer.header("docker-content-digest"), digest.to_string());
            assert!(answer.body == bytes);
        }
        assert_eq!(client.send("DELETE", &path(&short), &[], "").await.status, StatusCode::ACCEPTED);
        assert_eq!(client.get(&path(&short)).await.status, StatusCode::NOT_FOUND);
        assert!(client.get(&path(&long)).await.body == bytes);
    }
    let (short, manifest) = client.put_image("a:1", &[b"layer"]).await;
    let long = sha512(manifest.as_bytes());
    assert_eq!(client.put_manifest("a", &long.to_string(), &manifest).await.status, StatusCode::CREATED);
    client.send("DELETE", &format!("/v2/a/manifests/{short}"), &[], "").await;
    assert_eq!(client.get(&format!("/v2/a/manifests/{short}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get(&format!("/v2/a/manifests/{long}")).await.text(), manifest);
}

async fn unknown_algorithm_400(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.begin("a").await;
    let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
    digests_that_are_none(&client, &location, &[md5, "sha384:00", "blake3:00", "sha256", ":", "sha256:"])
        .await;
    for algorithm in ["md5", "SHA512", ""] {
        let path = format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}");
        let answer = client.send("POST", &path, &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    }
}

async fn uppercase_hex_400(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let hex = client.put_blob("a", b"x").await.hex();
    let location = client.begin("a").await;
    let upper = [format!("sha256:{}", hex.to_uppercase()), format!("SHA256:{hex}"), format!("sha512:{hex}")];
    digests_that_are_none(&client, &location, &upper.each_ref().map(String::as_str)).await;
}

/// Wherever a digest is read, what is none is 400 with the spec's code.
async fn digests_that_are_none(client: &crate::client::Client, location: &str, digests: &[&str]) {
    for digest in digests {
        let mut asked = vec![
            ("GET", format!("/v2/a/blobs/{digest}")),
            ("DELETE", format!("/v2/a/blobs/{digest}")),
            ("GET", format!("/v2/a/referrers/{digest}")),
            ("POST", format!("/v2/a/blobs/uploads/?digest={digest}")),
            ("POST", format!("/v2/a/blobs/uploads/?mount={digest}&from=b")),
            ("PUT", format!("{location}?digest={digest}")),
        ];
        if digest.contains(':') {
            asked.push(("GET", format!("/v2/a/manifests/{digest}")));
            asked.push(("PUT", format!("/v2/a/manifests/{digest}")));
        }
        for (method, path) in asked {
            let answer = client.send(method, &path, &[], "x").await;
            let found = (answer.status, answer.code());
            assert_eq!(found, (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned()), "{method} {path}");
        }
    }
    assert_eq!(client.get(location).await.header("range"), "0-0", "the session lives on");
}

async fn range_table(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let digest = client.put_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    let many = |count: usize| vec!["1-2"; count].join(",");
    let (most, more) =
        (format!("bytes={}", many(limit::RANGES)), format!("bytes={}", many(limit::RANGES + 1)));
    let hostile = format!("bytes={}", many(10_000));
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-30", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=0-", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=9-99", 206, "9", "bytes 9-9/10"),
        ("bytes=0-3,2-5", 206, "012345", "bytes 0-5/10"),
        ("bytes=0-1,20-30", 206, "01", "bytes 0-1/10"),
        (&most, 206, "12", "bytes 1-2/10"),
        (&more, 200, "0123456789", ""),
        (&hostile, 200, "0123456789", ""),
        ("nonsense", 200, "0123456789", ""),
        ("bytes=a-b", 200, "0123456789", ""),
        ("lines=0-1", 200, "0123456789", ""),
    ] {
        let answer = client.send("GET", &path, &[("range", range)], "").await;
        let range = &range[..range.len().min(40)];
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (status, body), "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
        assert_eq!(answer.header("content-length"), body.len().to_string(), "{range}");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
    }
    for (range, parts) in [
        ("bytes=0-1,4-5", vec![("bytes 0-1/10", "01"), ("bytes 4-5/10", "45")]),
        ("bytes=-2, 0-0", vec![("bytes 8-9/10", "89"), ("bytes 0-0/10", "0")]),
        ("bytes=0-1,2-3", vec![("bytes 0-1/10", "01"), ("bytes 2-3/10", "23")]),
        ("bytes=5-6,0-2,1-3,99-", vec![("bytes 0-3/10", "0123"), ("bytes 5-6/10", "56")]),
    ] {
        let answer = client.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), "");
        let expected: Vec<_> =
            parts.iter().map(|(range, body)| ((*range).to_owned(), body.as_bytes().to_vec())).collect();
        assert_eq!(parts_of(&answer), expected, "{range}");
    }
    for range in ["bytes=10-", "bytes=500-0", "bytes=-0", "bytes=10-11,20-30"] {
        let answer = client.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!((answer.header("content-range"), answer.code().as_str()), ("bytes */10", "RANGE_INVALID"));
    }
}

/// What a `multipart/byteranges` answer holds (RFC 9110 §14.6).
fn parts_of(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let boundary =
        answer.header("content-type").strip_prefix("multipart/byteranges; boundary=").expect("multipart");
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let mut rest = &answer.body[..];
    let mut parts = Vec::new();
    loop {
        let start = find(rest, &delimiter).expect("a delimiter") + delimiter.len();
        rest = &rest[start..];
        if rest == b"--\r\n" {
            return parts;
        }
        let end = find(rest, &delimiter).expect("the next delimiter");
        let head = find(rest, b"\r\n\r\n").expect("the end of the head");
        let text = String::from_utf8_lossy(&rest[..head]).into_owned();
        assert!(text.contains("\r\nContent-Type: application/octet-stream"), "{text}");
        let range = text.lines().find_map(|line| line.strip_prefix("Content-Range: ")).expect("a range");
        parts.push((range.to_owned(), rest[head + 4..end].to_vec()));
    }
}

async fn ranges_of_a_file(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let path = format!("/v2/a/blobs/{}", client.put_blob("a", &bytes).await);
    let answer = client.send("GET", &path, &[("range", "bytes=10-300009,700000-,5-6")], "").await;
    let expected = [
        ("bytes 10-300009/800000", &bytes[10..300_010]),
        ("bytes 700000-799999/800000", &bytes[700_000..]),
        ("bytes 5-6/800000", &bytes[5..7]),
    ];
    let found = parts_of(&answer);
    assert_eq!(found.len(), expected.len());
    for ((range, part), (expected_range, expected)) in found.iter().zip(expected) {
        assert_eq!(range, expected_range);
        assert!(part == expected, "{range}");
    }
}

async fn conditional_reads(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (manifest, _) = client.put_image("a:1", &[b"0123456789"]).await;
    let blob = Digest::sha256(b"0123456789");
    for (path, digest) in [
        (format!("/v2/a/blobs/{blob}"), blob),
        ("/v2/a/manifests/1".to_owned(), manifest),
        (format!("/v2/a/manifests/{manifest}"), manifest),
    ] {
        let etag = format!("\"{digest}\"");
        for method in ["GET", "HEAD"] {
            for fresh in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
                let answer = client.send(method, &path, &[("if-none-match", &fresh)], "").await;
                assert_eq!(
                    (answer.status, answer.body.len()),
                    (StatusCode::NOT_MODIFIED, 0),
                    "{method} {path}"
                );
                assert_eq!(answer.header("etag"), etag);
            }
            let answer = client.send(method, &path, &[("if-none-match", "\"x\"")], "").await;
            assert_eq!(
                (answer.status, answer.header("etag")),
                (StatusCode::OK, etag.as_str()),
                "{method} {path}"
            );
        }
    }
    let path = format!("/v2/a/blobs/{blob}");
    let etag = format!("\"{blob}\"");
    for (validator, status) in [(etag.as_str(), 206), ("\"x\"", 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)]
    {
        for range in ["bytes=0-1", "bytes=0-1,5-6"] {
            let answer = client.send("GET", &path, &[("range", range), ("if-range", validator)], "").await;
            assert_eq!(answer.status.as_u16(), status, "{validator} {range}");
        }
    }
    let gone = client.send("GET", &path, &[("range", "bytes=99-"), ("if-range", "\"x\"")], "").await;
    assert_eq!(gone.status, StatusCode::OK, "of other content the range means nothing");
}
