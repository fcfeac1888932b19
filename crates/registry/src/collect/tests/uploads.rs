//! Uploads that end while somebody else is about them.

use axum::body::Body;
use futures_util::{future::join, stream};
use http::StatusCode;
use seaworthy_oci::Digest;
use seaworthy_testkit::{TestDb, db_tests};
use tokio::sync::oneshot;

use super::{Still, client::ROOMS, file};
use crate::pauses::Point;

db_tests!(super::ROOMS; a_session_is_finished_twice, a_cut_request_ends_before_the_next, small_blobs_make_no_file, what_another_server_ends_without_a_file_leaves_none, a_cut_request_keeps_its_blob, a_broken_body_leaves_nothing, a_large_end_leaves_what_another_server_took_in);

/// The answer to the first did not arrive, and another server is asked again: each brings its own copy.
async fn a_session_is_finished_twice(test: TestDb) {
    let still = Still::new(test).await;
    let replica = still.world.replica(|_| {});
    let digest = Digest::sha256(&file(1));
    let location = still.client.begin("a").await;
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let again = async {
        seen.await.expect("held");
        let status = replica.close(&location, digest, file(1)).await.status;
        go.send(()).expect("held");
        status
    };
    let (again, first) = join(again, still.client.close(&location, digest, file(1))).await;
    assert_eq!((first.status, again), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(still.copies(&digest), 1);
    still.reads("a", &file(1)).await;
    // Of what was received in parts nothing is left to finish again, and another's bytes are not added.
    let location = still.client.begin("a").await;
    let sent = still.client.send("PATCH", &location, &[], file(2)).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let digest = Digest::sha256(&file(2));
    let again = async {
        seen.await.expect("held");
        let answers = [
            replica.close(&location, digest, vec![]).await,
            replica.send("PATCH", &location, &[], "x").await,
        ];
        go.send(()).expect("held");
        answers.map(|answer| answer.code())
    };
    let (again, first) = join(again, still.client.close(&location, digest, vec![])).await;
    assert_eq!((first.status, again), (StatusCode::CREATED, ["BLOB_UPLOAD_UNKNOWN"; 2].map(str::to_owned)));
    still.reads("a", &file(2)).await;
}

/// The connection of the first is cut while its bytes are written and its row is not: who asks again waits for both,
/// or the blob would have the bytes of the one and the digest of the other.
async fn a_cut_request_ends_before_the_next(test: TestDb) {
    let still = Still::new(test).await;
    let location = still.client.begin("a").await;
    let (seen, go) = still.registry().hold_at(Point::Received);
    let cut = tokio::spawn({
        let (client, location) = (still.client.clone(), location.clone());
        async move { client.send("PATCH", &location, &[], file(1)).await }
    });
    seen.await.expect("held");
    cut.abort();
    assert!(cut.await.is_err());
    let early = still.client.send("PATCH", &location, &[], [file(2), file(3)].concat()).await;
    assert_eq!((early.code().as_str(), early.header("range")), ("BLOB_UPLOAD_INVALID", "0-0"));
    go.send(()).expect("held");
    let ended = loop {
        let answer =
            still.client.send("PATCH", &location, &[("content-range", "20000-39999")], file(2)).await;
        if answer.status == StatusCode::ACCEPTED {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(ended.header("range"), "0-39999");
    let whole = [file(1), file(2)].concat();
    let closed = still.client.close(&location, Digest::sha256(&whole), vec![]).await;
    assert_eq!(closed.status, StatusCode::CREATED, "{}", closed.text());
    still.reads("a", &whole).await;
}

/// A session has a file once bytes came that do not go into a row with its end.
async fn small_blobs_make_no_file(test: TestDb) {
    let still = Still::new(test).await;
    let uploads = still.world.test.path().join("uploads/registry");
    let files = || std::fs::read_dir(&uploads).map_or(0, Iterator::count);
    // Where the folder is made is seen too.
    let location = still.client.begin("a").await;
    assert!(!uploads.exists());
    let closed = still.client.close(&location, Digest::sha256(b"small"), b"small".to_vec()).await;
    assert_eq!((closed.status, uploads.exists()), (StatusCode::CREATED, false));
    still.reads("a", b"small").await;
    let location = still.client.begin("a").await;
    let wrong = still.client.close(&location, Digest::sha256(b"other"), b"small".to_vec()).await;
    assert_eq!((wrong.code().as_str(), uploads.exists()), ("DIGEST_INVALID", false));
    assert_eq!(still.client.get(&location).await.status, StatusCode::NOT_FOUND);
    // In parts, or of a length that nobody told: with a file, until it ends.
    let location = still.client.begin("a").await;
    assert_eq!(still.client.send("PATCH", &location, &[], "sm").await.status, StatusCode::ACCEPTED);
    assert_eq!(files(), 1);
    let closed = still.client.close(&location, Digest::sha256(b"small"), b"all".to_vec()).await;
    assert_eq!((closed.status, files()), (StatusCode::CREATED, 0));
    let (location, close) = (still.client.begin("a").await, Digest::sha256(b"told by nobody"));
    let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>("told by "), Ok("nobody")]));
    let closed = still.client.send("PUT", &format!("{location}?digest={close}"), &[], body).await;
    assert_eq!((closed.status, files()), (StatusCode::CREATED, 0));
    still.reads("a", b"told by nobody").await;
}

/// Of two servers one ends without a file what the other makes one for: nothing is left of it, and who wrote is told.
async fn what_another_server_ends_without_a_file_leaves_none(test: TestDb) {
    let still = Still::new(test).await;
    let replica = still.world.replica(|_| {});
    let uploads = still.world.test.path().join("uploads/registry");
    let files = || std::fs::read_dir(&uploads).map_or(0, Iterator::count);
    let digest = Digest::sha256(b"second");
    // The chunk is acknowledged before the end commits.
    let location = still.client.begin("a").await;
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let patch = async {
        seen.await.expect("held");
        let patched = replica.send("PATCH", &location, &[], "first").await;
        assert_eq!((patched.status, files()), (StatusCode::ACCEPTED, 1));
        go.send(()).expect("held");
    };
    let ((), closed) = join(patch, still.client.close(&location, digest, b"second".to_vec())).await;
    assert_eq!((closed.status, files()), (StatusCode::RANGE_NOT_SATISFIABLE, 1), "the other went on");
    assert_eq!(still.client.get(&location).await.header("range"), "0-4");
    let closed = still.client.close(&location, Digest::sha256(b"first"), vec![]).await;
    assert_eq!((closed.status, files()), (StatusCode::CREATED, 0));
    // The end commits before the chunk has come.
    let location = still.client.begin("a").await;
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let (comes, waits) = oneshot::channel();
    let (closes, closed) = oneshot::channel();
    let body = stream::once(async move {
        comes.send(()).expect("somebody waits");
        closed.await.expect("closed");
        Ok::<_, std::io::Error>("first")
    });
    let patch = async {
        seen.await.expect("held");
        replica.send("PATCH", &location, &[], Body::from_stream(body)).await
    };
    let close = async {
        let order = async {
            waits.await.expect("it comes");
            assert_eq!(files(), 1);
            go.send(()).expect("held");
        };
        let ((), ended) = join(order, still.client.close(&location, digest, b"second".to_vec())).await;
        assert_eq!(ended.status, StatusCode::CREATED, "{}", ended.text());
        closes.send(()).expect("it waits");
    };
    let (patched, ()) = join(patch, close).await;
    assert_eq!((patched.status, patched.code().as_str()), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(files(), 0);
    still.reads("a", b"second").await;
}

/// Its answer is lost, and its blob is there all the same.
async fn a_cut_request_keeps_its_blob(test: TestDb) {
    let still = Still::new(test).await;
    let location = still.client.begin("a").await;
    let close = format!("{location}?digest={}", Digest::sha256(&file(1)));
    let whole = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&file(2)));
    for (seed, method, path) in [(1, "PUT", close), (2, "POST", whole)] {
        let (seen, go) = still.registry().hold_at(Point::Placed);
        let cut = tokio::spawn({
            let client = still.client.clone();
            async move { client.send(method, &path, &[], file(seed)).await }
        });
        seen.await.expect("held");
        cut.abort();
        assert!(cut.await.is_err());
        go.send(()).expect("held");
        while still.head("a", &Digest::sha256(&file(seed))).await != StatusCode::OK {
            tokio::task::yield_now().await;
        }
        still.reads("a", &file(seed)).await;
    }
}

/// What had come of a blob without a session goes at once, however its request ends.
async fn a_broken_body_leaves_nothing(test: TestDb) {
    let still = Still::new(test).await;
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&file(1)));
    let pieces = [Ok(file(1)), Ok(vec![0; 600_000]), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(stream::iter(pieces));
    let answer = still.client.send("POST", &path, &[], body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"));
    let answer = still.client.send("POST", &path, &[], [file(1), vec![0; 600_000]].concat()).await;
    assert_eq!(answer.code(), "DIGEST_INVALID");
    let left = std::fs::read_dir(still.world.test.path().join("uploads/registry"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
}

/// Of two servers one has made its blob of the file; the other's chunk is acknowledged before that commits.
async fn a_large_end_leaves_what_another_server_took_in(test: TestDb) {
    let still = Still::new(test).await;
    let replica = still.world.replica(|_| {});
    let location = still.client.begin("a").await;
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let patch = async {
        seen.await.expect("held");
        let patched = replica.send("PATCH", &location, &[], "other").await;
        assert_eq!(patched.status, StatusCode::ACCEPTED, "{}", patched.text());
        go.send(()).expect("held");
    };
    let digest = Digest::sha256(&file(1));
    let ((), closed) = join(patch, still.client.close(&location, digest, file(1))).await;
    assert_eq!(closed.status, StatusCode::RANGE_NOT_SATISFIABLE, "{}", closed.text());
    assert_eq!(still.copies(&digest), 0);
    let closed = still.client.close(&location, Digest::sha256(b"other"), vec![]).await;
    assert_eq!(closed.status, StatusCode::CREATED, "{}", closed.text());
    let left = std::fs::read_dir(still.world.test.path().join("uploads/registry")).expect("a folder");
    assert_eq!(left.count(), 0);
}
