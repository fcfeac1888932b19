//! Upload sessions as docker, containerd, podman and regclient use them, and as nobody should.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_testkit::{TestDb, db_tests};
use tokio::sync::oneshot;

use crate::client::{Client, ROOMS, World, sha512};

db_tests!(super::ROOMS; patch_without_content_range_appends, patch_zero_bytes, a_whole_blob_in_the_closing_put,
    content_range_gap_416_with_range, closing_put_out_of_order_416, two_patches_same_offset,
    digest_mismatch_400_and_session_gone, upload_uuid_of_other_repo_404, upload_of_other_principal_404,
    a_cancelled_upload_is_gone, a_session_may_end_by_another_algorithm, same_blob_64_writers,
    refused_bodies_are_read_to_their_end, a_cut_chunk_is_gone_on_with, a_cut_chunk_is_sent_again,
    a_chunk_behind_a_cut_one_goes_on, a_refused_chunk_leaves_nothing);

/// Large enough for a file, and for more than one chunk of writing.
fn bytes() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

async fn range_of(client: &Client, location: &str) -> String {
    let answer = client.get(location).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::NO_CONTENT, location));
    answer.header("range").to_owned()
}

/// Docker streams one PATCH without length or range; podman gives a length and no range.
async fn patch_without_content_range_appends(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let bytes = bytes();
    let location = client.begin("a").await;
    assert!(location.starts_with("/v2/a/blobs/uploads/"), "relative: {location}");
    assert_eq!(range_of(&client, &location).await, "0-0");
    let (head, tail) = bytes.split_at(700_001);
    let streamed = futures_util::stream::iter(
        head.chunks(9_999)
            .map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)))
            .collect::<Vec<_>>(),
    );
    let first = client.send("PATCH", &location, &[], Body::from_stream(streamed)).await;
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-700000"));
    let length = tail.len().to_string();
    let second = client.send("PATCH", &location, &[("content-length", &length)], tail.to_vec()).await;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    assert_eq!(second.header("range"), format!("0-{}", bytes.len() - 1));
    assert_eq!(second.header("location"), location);
    let digest = Digest::sha256(&bytes);
    let put = client.close(&location, digest, Vec::new()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert_eq!(put.header("location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(client.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN", "the session ended");
    assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
}

async fn patch_zero_bytes(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.begin("a").await;
    for (body, range) in [("", "0-0"), ("abc", "0-2"), ("", "0-2"), ("d", "0-3")] {
        let answer =
            client.send("PATCH", &location, &[("content-length", &body.len().to_string())], body).await;
        assert_eq!((answer.status, answer.header("range")), (StatusCode::ACCEPTED, range));
    }
    let put = client.close(&location, Digest::sha256(b"abcd"), Vec::new()).await;
    assert_eq!(put.status, StatusCode::CREATED);
    let location = client.begin("a").await;
    client.send("PATCH", &location, &[], "").await;
    let put = client.close(&location, Digest::sha256(b""), Vec::new()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let location = client.begin("a").await;
    assert_eq!(
        client.close(&location, Digest::sha256(b"e"), b"e".to_vec()).await.status,
        StatusCode::CREATED
    );
    let left = std::fs::read_dir(world.test.path().join("uploads/registry")).expect("list").count();
    assert_eq!(left, 0, "what ended leaves no file");
}

async fn a_whole_blob_in_the_closing_put(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (bytes, location) = (bytes(), client.begin("a").await);
    let digest = Digest::sha256(&bytes);
    assert_eq!(client.close(&location, digest, bytes.clone()).await.status, StatusCode::CREATED);
    assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
}

async fn content_range_gap_416_with_range(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (bytes, location) = (bytes(), client.begin("a").await);
    let (head, tail) = bytes.split_at(500_000);
    let first = client.send("PATCH", &location, &[("content-range", "0-499999")], head.to_vec()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    for wrong in ["0-499999", "499999-600000", "500001-600000", "9-5", "x", "bytes=0-1", "-5"] {
        let answer = client.send("PATCH", &location, &[("content-range", wrong)], tail.to_vec()).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{wrong}");
        assert_eq!(answer.header("range"), "0-499999", "where the upload stands");
        assert_eq!(answer.header("location"), location);
        assert_eq!(answer.code(), "BLOB_UPLOAD_INVALID");
    }
    let short = client.send("PATCH", &location, &[("content-range", "500000-500009")], "few").await;
    assert_eq!((short.status, short.code().as_str()), (StatusCode::BAD_REQUEST, "SIZE_INVALID"));
    assert_eq!(range_of(&client, &location).await, "0-499999", "nothing of it was taken");
    let range = format!("500000-{}", bytes.len() - 1);
    let last = client.send("PATCH", &location, &[("content-range", &range)], tail.to_vec()).await;
    assert_eq!(last.status, StatusCode::ACCEPTED, "{}", last.text());
    let put = client.close(&location, Digest::sha256(&bytes), Vec::new()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
}

async fn closing_put_out_of_order_416(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (bytes, location) = (bytes(), client.begin("a").await);
    let digest = Digest::sha256(&bytes);
    let (head, tail) = bytes.split_at(500_000);
    client.send("PATCH", &location, &[("content-range", "0-499999")], head.to_vec()).await;
    let path = format!("{location}?digest={digest}");
    for wrong in ["7-8", "0-1", "500001-500002"] {
        let answer = client.send("PUT", &path, &[("content-range", wrong)], "xx").await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{wrong}");
        assert_eq!(answer.header("range"), "0-499999");
    }
    // A chunk of another length than it says, told before or not.
    for wrong in ["500000-500009", "500000-500000"] {
        let untold = Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("xx")]));
        for body in [Body::from("xx"), untold] {
            let answer = client.send("PUT", &path, &[("content-range", wrong)], body).await;
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "SIZE_INVALID"));
        }
    }
    let range = format!("500000-{}", bytes.len() - 1);
    let put = client.send("PUT", &path, &[("content-range", &range)], tail.to_vec()).await;
    assert_eq!(put.status, StatusCode::CREATED, "the session lived on: {}", put.text());
}

/// Two writers at one offset, at one server or at two: one goes on, the other learns where it stands, and
/// nothing of its bytes is in the blob. A stranger learns nothing of it.
async fn two_patches_same_offset(test: TestDb) {
    let world = World::new(test).await;
    let (bytes, garbage) = (bytes(), vec![0xAAu8; 1_300_000]);
    let pusher = world.service("pusher", "AcrPush", "/repositories/a").await;
    let strangers = [
        (pusher, StatusCode::NOT_FOUND),
        (world.service("reader", "AcrPull", "/repositories/b").await, StatusCode::FORBIDDEN),
        (world.as_identity(Identity::anonymous(None)), StatusCode::UNAUTHORIZED),
    ];
    for other in [world.operator(), world.replica(|_| {})] {
        let client = world.operator();
        let location = client.begin("a").await;
        let (arrived, seen) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let (head, tail) = bytes.split_at(600_000);
        let parts = [Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail)];
        let slow = futures_util::stream::unfold(
            (parts.into_iter(), Some(arrived), Some(released)),
            |(mut parts, arrived, released)| async move {
                let part = parts.next()?;
                if parts.len() == 0 {
                    arrived.map(|arrived| arrived.send(()));
                    if let Some(released) = released {
                        released.await.expect("released");
                    }
                    return Some((Ok::<_, std::io::Error>(part), (parts, None, None)));
                }
                Some((Ok(part), (parts, arrived, released)))
            },
        );
        let first = async {
            let answer =
                client.send("PATCH", &location, &[("content-range", "0-1199999")], Body::from_stream(slow));
            answer.await
        };
        let second = async {
            seen.await.expect("the first one writes");
            let refused =
                other.send("PATCH", &location, &[("content-range", "0-1299999")], garbage.clone()).await;
            let closing = other.close(&location, Digest::sha256(&garbage), garbage.clone()).await;
            let cancel = other.send("DELETE", &location, &[], "").await;
            for (stranger, status) in &strangers {
                for method in ["PATCH", "PUT", "DELETE"] {
                    let path = format!("{location}?digest={}", Digest::sha256(b"x"));
                    let answer = stranger.send(method, &path, &[], "x").await;
                    assert_eq!(answer.status, *status, "{method} {}", answer.text());
                }
            }
            release.send(()).expect("it waits");
            (refused, closing, cancel)
        };
        let (first, (refused, closing, cancel)) = futures_util::future::join(first, second).await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
        for answer in [&refused, &closing, &cancel] {
            assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{}", answer.text());
        }
        assert_eq!(refused.header("range"), "0-0", "nothing is acknowledged yet");
        let late = other.send("PATCH", &location, &[("content-range", "0-1299999")], garbage.clone()).await;
        assert_eq!((late.status, late.header("range")), (StatusCode::RANGE_NOT_SATISFIABLE, "0-1199999"));
        let digest = Digest::sha256(&bytes);
        let put = other.close(&location, digest, Vec::new()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
    }
}

/// A body that ends early, behind `bytes`.
fn cut(bytes: &[u8]) -> Body {
    let pieces = bytes.chunks(9_999).map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let end = std::iter::once_with(|| Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
    Body::from_stream(futures_util::stream::iter(pieces.chain(end).collect::<Vec<_>>()))
}

/// Who asks where a cut upload stands goes on behind the last byte that came, at any server.
async fn a_cut_chunk_is_gone_on_with(test: TestDb) {
    let world = World::new(test).await;
    let bytes = bytes();
    for (digest, lengths) in [
        (Digest::sha256(&bytes), [1, 20_000, 700_001]),
        (sha512(&bytes), [700_001, 0, 65_536]),
        (Digest::sha256(&bytes), [0, 1_100_000, 7]),
    ] {
        let location = world.operator().begin("a").await;
        let mut stands = 0;
        for length in lengths {
            let client = world.replica(|_| {});
            let (method, path) = match length {
                // The closing request may be cut as well.
                20_000 | 65_536 => ("PUT", format!("{location}?digest={digest}")),
                _ => ("PATCH", location.clone()),
            };
            let body = cut(&bytes[stands..stands + length]);
            let range = [("content-range", format!("{stands}-{}", bytes.len() - 1))];
            let headers = if length % 2 == 0 { vec![] } else { vec![(range[0].0, range[0].1.as_str())] };
            let answer = client.send(method, &path, &headers, body).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID")
            );
            // One byte is nothing: the same is said of both.
            stands += if stands + length == 1 { 0 } else { length };
            // A chunk out of order is told as well.
            let late = client.send("PATCH", &location, &[("content-range", "9999999-9999999")], "x").await;
            assert_eq!(late.status, StatusCode::RANGE_NOT_SATISFIABLE);
            let range = format!("0-{}", stands.saturating_sub(1));
            assert_eq!(late.header("range"), range);
            assert!(late.text().contains(&format!("stands at {stands}")), "{}", late.text());
            assert_eq!(range_of(&client, &location).await, range);
        }
        let client = world.operator();
        let range = format!("{stands}-{}", bytes.len() - 1);
        let rest =
            client.send("PATCH", &location, &[("content-range", &range)], bytes[stands..].to_vec()).await;
        assert_eq!(rest.status, StatusCode::ACCEPTED, "{}", rest.text());
        let put = client.close(&location, digest, Vec::new()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
    }
}

/// Nor does it ask who knows how much came: a chunk that begins there is behind it.
async fn a_chunk_behind_a_cut_one_goes_on(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let bytes = bytes();
    let digest = Digest::sha256(&bytes);
    for is_closing in [false, true] {
        let location = client.begin("a").await;
        client.send("PATCH", &location, &[], cut(&bytes[..500_000])).await;
        let range = format!("500000-{}", bytes.len() - 1);
        let (method, path) = if is_closing {
            ("PUT", format!("{location}?digest={digest}"))
        } else {
            ("PATCH", location.clone())
        };
        let rest = client.send(method, &path, &[("content-range", &range)], bytes[500_000..].to_vec()).await;
        assert!(rest.status.is_success(), "{}", rest.text());
        if !is_closing {
            let put = client.close(&location, digest, Vec::new()).await;
            assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        }
        assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
    }
}

/// Who does not ask sends the chunk again, as Azure's SDK does without a range: it goes where it went before.
async fn a_cut_chunk_is_sent_again(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let bytes = bytes();
    let (head, tail) = bytes.split_at(400_000);
    let digest = Digest::sha256(&bytes);
    for range in [None, Some(("content-range", format!("400000-{}", bytes.len() - 1)))] {
        let headers: Vec<_> = range.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let location = client.begin("a").await;
        client.send("PATCH", &location, &[], head.to_vec()).await;
        client.send("PATCH", &location, &headers, cut(&tail[..500_000])).await;
        client.send("PATCH", &location, &headers, cut(&tail[..200_000])).await;
        let again = client.send("PATCH", &location, &headers, tail.to_vec()).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
        assert_eq!(again.header("range"), format!("0-{}", bytes.len() - 1));
        let put = client.close(&location, digest, Vec::new()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
        assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
    }
}

/// A chunk of another length than it says is no beginning of the right one.
async fn a_refused_chunk_leaves_nothing(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (bytes, location) = (bytes(), client.begin("a").await);
    let (head, tail) = bytes.split_at(100_000);
    client.send("PATCH", &location, &[], head.to_vec()).await;
    let pieces: Vec<_> =
        tail.chunks(9_999).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let untold = Body::from_stream(futures_util::stream::iter(pieces));
    let refused = client.send("PATCH", &location, &[("content-range", "100000-100009")], untold).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::BAD_REQUEST, "SIZE_INVALID"));
    assert_eq!(range_of(&client, &location).await, "0-99999");
    let last = client.send("PATCH", &location, &[], tail.to_vec()).await;
    assert_eq!(last.status, StatusCode::ACCEPTED, "{}", last.text());
    let put = client.close(&location, Digest::sha256(&bytes), Vec::new()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
}

async fn digest_mismatch_400_and_session_gone(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let bytes = bytes();
    for (other, patched) in
        [(Digest::sha256(b"other"), false), (sha512(b"other"), false), (sha512(b"other"), true)]
    {
        let location = client.begin("a").await;
        if patched {
            client.send("PATCH", &location, &[], bytes.clone()).await;
        }
        let put = client.close(&location, other, if patched { Vec::new() } else { bytes.clone() }).await;
        assert_eq!((put.status, put.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
        assert_eq!(client.get(&location).await.status, StatusCode::NOT_FOUND);
        let head = client.send("HEAD", &format!("/v2/a/blobs/{other}"), &[], "").await;
        assert_eq!(head.status, StatusCode::NOT_FOUND);
    }
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"other"));
    let post = client.send("POST", &path, &[], bytes).await;
    assert_eq!((post.status, post.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    let left = std::fs::read_dir(world.test.path().join("uploads/registry")).expect("list").count();
    assert_eq!(left, 0, "no bytes of it are left");
}

async fn upload_uuid_of_other_repo_404(test: TestDb) {
    let world = World::new(test).await;
    let client = world.service("one", "AcrPush", "/repositories/a").await;
    let location = client.begin("a").await;
    for elsewhere in [location.replace("/v2/a/", "/v2/a/b/"), location.replace("/v2/a/", "/v2/a/a/")] {
        refused(&client, &elsewhere).await;
    }
    assert_eq!(range_of(&client, &location).await, "0-0");
}

async fn upload_of_other_principal_404(test: TestDb) {
    let world = World::new(test).await;
    let one = world.service("one", "AcrPush", "/repositories/a").await;
    let location = one.begin("a").await;
    refused(&world.service("two", "AcrPush", "/repositories/a").await, &location).await;
    refused(&world.operator(), &location).await;
    assert_eq!(range_of(&one, &location).await, "0-0");
}

/// An upload that is not the caller's is not there, whatever is asked of it.
async fn refused(client: &Client, location: &str) {
    let path = format!("{location}?digest={}", Digest::sha256(b"x"));
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let answer = client.send(method, &path, &[], "x").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
        assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN", "{method}");
    }
}

async fn a_cancelled_upload_is_gone(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let location = client.begin("a").await;
    client.send("PATCH", &location, &[], bytes()).await;
    let cancelled = client.send("DELETE", &location, &[], "").await;
    assert_eq!((cancelled.status, cancelled.body.len()), (StatusCode::NO_CONTENT, 0));
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(client.send(method, &location, &[], "").await.code(), "BLOB_UPLOAD_UNKNOWN", "{method}");
    }
    assert_eq!(std::fs::read_dir(world.test.path().join("uploads/registry")).expect("list").count(), 0);
}

/// Clients begin without saying by which algorithm they will end (the conformance suite does).
async fn a_session_may_end_by_another_algorithm(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for bytes in [b"small".to_vec(), bytes()] {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        for (start, digest) in [
            ("/v2/a/blobs/uploads/", sha512(&bytes)),
            ("/v2/a/blobs/uploads/?digest-algorithm=sha512", Digest::sha256(&bytes)),
        ] {
            let location = client.send("POST", start, &[], "").await.header("location").to_owned();
            assert_eq!(
                client.send("PATCH", &location, &[], head.to_vec()).await.status,
                StatusCode::ACCEPTED
            );
            let put = client.close(&location, digest, tail.to_vec()).await;
            assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
            assert_eq!(put.header("docker-content-digest"), digest.to_string());
            assert!(client.get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
        }
    }
}

async fn same_blob_64_writers(test: TestDb) {
    let world = World::new(test).await;
    let bytes = vec![42u8; 50_000];
    let digest = Digest::sha256(&bytes);
    let clients: Vec<_> = (0..64).map(|_| world.operator()).collect();
    let writers = clients.iter().map(|client| async {
        let location = client.begin("a").await;
        client.close(&location, digest, bytes.clone()).await.status
    });
    for status in futures_util::future::join_all(writers).await {
        assert_eq!(status, StatusCode::CREATED);
    }
    let folder = world.test.path().join("blobs/registry/sha256").join(&digest.hex()[..2]);
    assert_eq!(std::fs::read_dir(folder).expect("list").count(), 1, "one stored copy");
    assert_eq!(std::fs::read_dir(world.test.path().join("uploads/registry")).expect("list").count(), 0);
    assert!(clients[0].get(&format!("/v2/a/blobs/{digest}")).await.body == bytes);
}

/// Azure's clients send every chunk without a token first: cut off in it, they would not see the 401.
async fn refused_bodies_are_read_to_their_end(test: TestDb) {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let world = World::new(test).await;
    let path = "/v2/a/blobs/uploads/0190b4a0-0000-7000-8000-000000000000";
    let sent = async |client: &Client, bytes: usize, headers: &[(&str, &str)]| {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let chunks = (0..bytes.div_ceil(1024)).map(move |at| {
            let length = (bytes - at * 1024).min(1024);
            counter.fetch_add(length, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![0; length]))
        });
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let answer = client.send("PATCH", path, headers, body).await;
        (answer.status.as_u16(), taken.load(Ordering::SeqCst))
    };
    let nobody = world.as_identity(Identity::anonymous(None));
    let most = limit::DRAINED_BYTES;
    for (client, status) in [(&nobody, 401), (&world.rejected(), 401), (&world.operator(), 404)] {
        assert_eq!(sent(client, most, &[]).await, (status, most), "at the limit");
    }
    let (status, taken) = sent(&nobody, most + 2048, &[]).await;
    assert!(status == 401 && taken <= most + 1024, "one past it: {taken}");
    let long = (most + 1).to_string();
    for header in [("content-length", long.as_str()), ("expect", "100-continue")] {
        assert_eq!(sent(&nobody, most, &[header]).await, (401, 0), "told before: {header:?}");
    }
    // A client that stops sending is told after a while.
    let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let begun = std::time::Instant::now();
    assert_eq!(nobody.send("PATCH", path, &[], never).await.status.as_u16(), 401);
    let waited = begun.elapsed().as_secs();
    assert!((limit::DRAIN_SECONDS..limit::DRAIN_SECONDS + 20).contains(&waited), "{waited}");
}
