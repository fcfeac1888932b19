//! Blobs arrive verified, durable and whole, or not at all.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seaworthy_model::UploadId;
use seaworthy_oci::{Algorithm, Digest, Hasher};
use seaworthy_store::{BlobCopy, BlobError, Blobs, DbError, Found, Hold, Stored, UploadState, limit};
use seaworthy_testkit::{TestDb, db_tests};

db_tests!(&[]; bytes_come_back, a_wrong_digest_stores_nothing, a_suspended_upload_goes_on,
    others_read_an_upload_as_far_as_it_is_written,
    what_was_not_acknowledged_is_cut_off, what_another_run_wrote_is_hashed_again, the_floor_refuses, pieces_of_any_length_keep_their_order,
    what_is_stored_is_looked_after, many_at_once_keep_apart, copies_have_names_of_their_own);

async fn store(test: &TestDb, blobs: &Blobs, bytes: &[u8]) -> (Digest, u64) {
    let stored = blobs.put("t", Bytes::copy_from_slice(bytes)).await.expect("stored");
    let named = (*stored.digest(), stored.size());
    if let Stored::Small(small) = stored {
        test.db
            .upkeep(small, |small, tx| Box::pin(async move { tx.put_small_blob("t", small).await }))
            .await
            .map_err(|error: DbError| panic!("{error}"))
            .ok();
    }
    named
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect()
}

async fn bytes_come_back(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let edge = limit::SMALL_BLOB_BYTES;
    for length in [0, 1, edge, edge + 1, limit::UPLOAD_CHUNK_BYTES * 2 + 7] {
        let bytes = pattern(length);
        let (digest, size) = store(&test, &blobs, &bytes).await;
        assert_eq!(digest, Digest::sha256(&bytes));
        let on_disk = test.path().join("blobs/t/sha256").join(&digest.hex()[..2]).join(digest.hex());
        assert_eq!(on_disk.exists(), length > edge, "{length}");
        for (start, end) in [(0, size), (size / 3, size / 2), (size, size), (1, size + 100)] {
            let open = async || blobs.open("t", &digest, size).await.expect("open").expect("stored");
            let expected = bytes.get(start as usize..(end as usize).min(length)).unwrap_or_default();
            for body in [open().await.body(), open().await.mapped_body().await.expect("map")] {
                assert_eq!(body.size(), size);
                let chunks: Vec<Bytes> =
                    body.stream(start..end).map(|chunk| chunk.expect("read")).collect().await;
                assert!(chunks.concat() == expected, "{length} {start}..{end}");
            }
        }
        assert!(blobs.open("other", &digest, size).await.expect("open").is_none(), "rooms do not share");
    }
}

async fn a_wrong_digest_stores_nothing(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    for length in [3, limit::SMALL_BLOB_BYTES * 3] {
        let mut upload = blobs.begin("t", UploadId::generate(), Algorithm::Sha256).expect("begin");
        upload.write(pattern(length).into()).await.expect("write");
        let claimed = Digest::sha256(b"something else");
        assert!(matches!(upload.finish(claimed).await, Err(BlobError::DigestMismatch { .. })));
        assert!(blobs.open("t", &claimed, length as u64).await.expect("open").is_none());
    }
    assert!(blobs.stale_uploads("t", 0).await.expect("list").is_empty());
}

async fn others_read_an_upload_as_far_as_it_is_written(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let length = 4 * limit::SMALL_BLOB_BYTES;
    let (bytes, size) = (pattern(length), 2 * length as u64);
    let mut upload = blobs.begin("t", UploadId::generate(), Algorithm::Sha256).expect("begin");
    assert!(upload.growing().expect("nothing yet").is_none());
    upload.write(bytes.clone().into()).await.expect("write");
    upload.write_out().await.expect("written");
    let growing = Arc::new(upload.growing().expect("a file").expect("a file"));
    let half = length as u64;
    for _ in 0..2 {
        assert_eq!(growing.slice(size, 0..half).expect("written"), bytes);
        assert_eq!(growing.slice(size, half - 3..half).expect("written"), bytes[length - 3..]);
        assert_eq!(growing.read(half - 3, 3).await.expect("written"), bytes[length - 3..]);
    }
    for beyond in [half - 1..half + 1, 0..size] {
        assert!(growing.slice(size, beyond).is_err(), "not written yet");
    }
    upload.write(bytes.clone().into()).await.expect("write");
    upload.write_out().await.expect("written");
    assert_eq!(growing.slice(size, half..size).expect("written"), bytes);
}

async fn a_suspended_upload_goes_on(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    for (length, algorithm) in [(10, Algorithm::Sha256), (900_000, Algorithm::Sha512)] {
        let bytes = pattern(length);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        let digest = hasher.finish();
        let mut state = blobs
            .begin("t", UploadId::generate(), algorithm)
            .expect("begin")
            .suspend()
            .await
            .expect("suspend");
        for part in bytes.chunks(length / 3 + 1) {
            let mut upload = blobs.resume("t", state, None).await.expect("resume");
            upload.write(Bytes::copy_from_slice(part)).await.expect("write");
            state = upload.suspend().await.expect("suspend");
        }
        assert_eq!(state.offset, length as u64);
        let stored =
            blobs.resume("t", state, None).await.expect("resume").finish(digest).await.expect("finish");
        assert_eq!((stored.digest(), stored.size()), (&digest, length as u64));
    }
}

async fn what_was_not_acknowledged_is_cut_off(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let id = UploadId::generate();
    let mut upload = blobs.begin("t", id, Algorithm::Sha256).expect("begin");
    upload.write(pattern(100_000).into()).await.expect("write");
    let state = upload.suspend().await.expect("suspend");
    let file = test.path().join("uploads/t").join(id.to_string());
    let mut longer = std::fs::read(&file).expect("read");
    longer.extend_from_slice(b"never acknowledged");
    std::fs::write(&file, &longer).expect("write");
    let upload = blobs.resume("t", state.clone(), None).await.expect("resume");
    let stored = upload.finish(Digest::sha256(&pattern(100_000))).await.expect("finish");
    assert_eq!(stored.size(), 100_000);

    std::fs::write(&file, b"short").expect("write");
    let lost = blobs.resume("t", state.clone(), None).await;
    assert!(matches!(lost, Err(BlobError::UploadLost { found: 5, expected: 100_000 })));
    let garbage = UploadState { hash_state: vec![9], ..state };
    assert!(matches!(blobs.resume("t", garbage, None).await, Err(BlobError::UploadLost { .. })));
}

/// What a power failure left of bytes that were acknowledged is not what was hashed; nor need it be what another machine
/// sees.
async fn what_another_run_wrote_is_hashed_again(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let id = UploadId::generate();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut upload = blobs.begin("t", id, algorithm).expect("begin");
        upload.write(pattern(3_000_001).into()).await.expect("write");
        let state = upload.suspend().await.expect("suspend");
        let file = test.path().join("uploads/t").join(id.to_string());
        let other = UploadState { boot: "another run".to_owned(), ..state.clone() };
        let mut resumed = blobs.resume("t", other.clone(), None).await.expect("they are the same");
        resumed.write(b"more".as_slice().into()).await.expect("write");
        let further = resumed.suspend().await.expect("suspend");
        // Whoever goes on now need not look again: it was, and is durable.
        let unseen = UploadState { hash_state: Hasher::new(algorithm).state(), ..further.clone() };
        assert!(blobs.resume("t", unseen, None).await.is_ok());
        let mut next = blobs.resume("t", further.clone(), None).await.expect("it goes on");
        next.write(b"!".as_slice().into()).await.expect("write");
        assert_eq!(next.suspend().await.expect("suspend").boot, further.boot, "still");
        assert_ne!(further.boot, state.boot);
        let lock = async || match blobs.hold("t", id).await.expect("asked") {
            Hold::Taken(lock) => lock,
            held => panic!("{held:?}"),
        };
        let whole = blobs.recover(other.clone(), lock().await).await.expect("they are the same");
        assert_eq!(whole.offset, further.offset + 1);
        // A page that was not written back.
        let mut bytes = std::fs::read(&file).expect("read");
        bytes[1_000_000..1_004_096].fill(0);
        std::fs::write(&file, &bytes).expect("write");
        for lost in [
            blobs.resume("t", other.clone(), None).await.map(|_| ()),
            blobs.recover(other, lock().await).await.map(|_| ()),
        ] {
            assert!(matches!(lost, Err(BlobError::UploadLost { found: 0, expected: 3_000_001 })), "{lost:?}");
        }
    }
}

async fn the_floor_refuses(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), u64::MAX);
    let refused = blobs.begin("t", UploadId::generate(), Algorithm::Sha256).map(|_| ());
    assert!(matches!(refused, Err(BlobError::DiskFloor { .. })));
}

async fn pieces_of_any_length_keep_their_order(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let edge = limit::UPLOAD_PIECE_BYTES;
    // Around the length from which pieces are kept as they came, across several writes to the file.
    let lengths = [1, edge - 1, edge, edge + 1, 3, 7, limit::UPLOAD_CHUNK_BYTES + 5, edge, 2, edge - 1];
    let whole = pattern(3 * lengths.iter().sum::<usize>());
    let mut upload = blobs.begin("t", UploadId::generate(), Algorithm::Sha256).expect("begin");
    let mut rest = &whole[..];
    for length in lengths.repeat(3) {
        let (piece, more) = rest.split_at(length);
        upload.write(Bytes::copy_from_slice(piece)).await.expect("write");
        rest = more;
    }
    let stored = upload.finish(Digest::sha256(&whole)).await.expect("verified");
    assert_eq!(stored.size(), whole.len() as u64);
    let reader = blobs.open("t", stored.digest(), stored.size()).await.expect("open").expect("stored");
    assert!(reader.read_all().await.expect("read") == whole);
}

/// Their chunks wait together and are hashed two at once, whatever their lengths and algorithms.
async fn many_at_once_keep_apart(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let uploads = (0..24_usize).map(|number| {
        let blobs = &blobs;
        async move {
            let algorithm = if number % 5 == 4 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let whole = pattern(limit::SMALL_BLOB_BYTES + 40_000 * number + number)[number..].to_vec();
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&whole);
            let digest = hasher.finish();
            let mut upload = blobs.begin("t", UploadId::generate(), algorithm).expect("begin");
            for piece in whole.chunks(limit::UPLOAD_PIECE_BYTES + 777 * number) {
                upload.write(Bytes::copy_from_slice(piece)).await.expect("write");
                upload.write_out().await.expect("written");
            }
            let stored = upload.finish(digest).await.expect("verified");
            (stored, whole)
        }
    });
    for (stored, whole) in futures_util::future::join_all(uploads).await {
        if let Stored::Small(small) = stored {
            assert!(small.bytes == whole);
            continue;
        }
        let reader = blobs.open("t", stored.digest(), stored.size()).await.expect("open").expect("stored");
        assert!(reader.read_all().await.expect("read") == whole);
    }
}

async fn what_is_stored_is_looked_after(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let small = store(&test, &blobs, &pattern(100)).await;
    let large = store(&test, &blobs, &pattern(100_000)).await;
    for (digest, size) in [small, large] {
        let copy = BlobCopy::from(&digest);
        assert_eq!(blobs.look("t", copy, size).await.expect("look"), Found::Whole);
        assert_eq!(blobs.hash("t", copy, size).await.expect("hash"), Found::Whole);
        assert_eq!(blobs.hash("t", copy, size + 1).await.expect("hash"), Found::Length(size));
    }
    let fan = u8::from_str_radix(&large.0.hex()[..2], 16).expect("hex");
    let path = test.path().join("blobs/t/sha256").join(&large.0.hex()[..2]);
    std::fs::write(path.join("something else"), "x").expect("write");
    let files = blobs.folder("t", "sha256", fan).await.expect("list");
    assert_eq!(
        files.iter().map(|file| (file.copy, file.size)).collect::<Vec<_>>(),
        [(BlobCopy::from(&large.0), large.1)]
    );
    assert!(blobs.folder("t", "sha512", fan).await.expect("list").is_empty());
    let slice = limit::SLICE_CHUNKS * limit::UPLOAD_CHUNK_BYTES;
    for length in [slice, slice + 1] {
        let (digest, size) = store(&test, &blobs, &pattern(length)).await;
        assert_eq!(blobs.hash("t", (&digest).into(), size).await.expect("hash"), Found::Whole, "{length}");
    }
    let mut bytes = pattern(100_000);
    bytes[77_777] ^= 1;
    std::fs::write(path.join(large.0.hex()), &bytes).expect("write");
    let copy = BlobCopy::from(&large.0);
    assert_eq!(blobs.look("t", copy, large.1).await.expect("look"), Found::Whole);
    assert_eq!(blobs.hash("t", copy, large.1).await.expect("hash"), Found::Rotten);
    blobs.remove("t", &copy).await.expect("removed");
    assert_eq!(blobs.hash("t", copy, large.1).await.expect("hash"), Found::Missing);
}

/// Removing one copy leaves the other, and a copy is found under its own name alone.
async fn copies_have_names_of_their_own(test: TestDb) {
    let blobs = Blobs::new(test.path().to_owned(), test.db.clone(), 0);
    let bytes = pattern(50_000);
    let digest = Digest::sha256(&bytes);
    let mut copies = Vec::new();
    // One session that is ended twice.
    let id = UploadId::generate();
    for _ in 0..2 {
        let mut upload = blobs.begin("t", id, Algorithm::Sha256).expect("begin");
        upload.write(bytes.clone().into()).await.expect("write");
        let Stored::File { copy, size } = upload.finish_copy(digest).await.expect("stored") else {
            panic!("it is large")
        };
        assert_eq!(size, 50_000);
        copies.push(copy);
    }
    assert!(blobs.open("t", &digest, 50_000).await.expect("open").is_none());
    let fan = u8::from_str_radix(&digest.hex()[..2], 16).expect("hex");
    assert_eq!(blobs.folder("t", "sha256", fan).await.expect("list").len(), 2);
    blobs.remove("t", &copies[0]).await.expect("removed");
    let open = async |copy| blobs.open("t", copy, 50_000).await.expect("open");
    assert!(open(copies[0]).await.is_none() && open(copies[1]).await.is_some());
}
