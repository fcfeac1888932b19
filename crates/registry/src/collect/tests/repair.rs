//! Bytes that are not where rows say, and rows that are not where bytes are.

use axum::body::Body;
use http::StatusCode;
use seaworthy_model::Actor;
use seaworthy_oci::Digest;
use seaworthy_store::{Blobs, ClaimError};
use seaworthy_testkit::{TestDb, db_tests};

use super::{Still, client::ROOMS, file, manifest_of, storage::apply};
use crate::{Collection, Depth, Remedy, limit, pauses::Point, scrub::Round, verify::FOLDERS};

db_tests!(super::ROOMS; a_push_brings_what_is_gone_unnoticed, what_is_gone_is_not_told_of, the_last_good_copy_is_adopted, what_was_adopted_meanwhile_stays, what_was_in_the_trash_is_told_anew,
    a_database_that_does_not_know_its_blobs_removes_none, a_push_while_the_disk_is_away, what_cannot_be_read_holds_up_nothing,
    what_is_marked_is_told, manifests_are_looked_at, an_end_that_failed_can_be_tried_again, a_last_answer_is_given_to_its_bytes);

/// Whoever was told 201 has it kept, whatever was there before.
async fn a_push_brings_what_is_gone_unnoticed(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    for (seed, is_cut) in [(1, false), (2, true)] {
        let path = still.path(&Digest::sha256(&file(seed)));
        if is_cut {
            std::fs::write(&path, b"short").expect("written");
        } else {
            std::fs::remove_file(&path).expect("removed");
        }
        still.client.put_blob("b", &file(seed)).await;
        still.reads("a", &file(seed)).await;
        assert_eq!(still.copies(&Digest::sha256(&file(seed))), 1);
    }
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
}

/// Nobody is told that they need not send it.
async fn what_is_gone_is_not_told_of(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    let [one, two] = [1, 2].map(|seed| Digest::sha256(&file(seed)));
    for digest in [one, two] {
        std::fs::remove_file(still.path(&digest)).expect("removed");
    }
    let reader = still.world.service("reader", "AcrPull", "/repositories/a").await;
    let head = reader.send("HEAD", &format!("/v2/a/blobs/{one}"), &[], "").await;
    assert_eq!((head.status, still.head("a", &one).await), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    let mount = format!("/v2/b/blobs/uploads/?mount={two}&from=a");
    assert_eq!(still.client.send("POST", &mount, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(still.registry().damaged_blobs().await.expect("count"), 2);
    let refused = still.client.put_manifest("a", "2", &manifest_of(&file(1))).await;
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
}

/// As after a database was restored that is older than the copy.
async fn the_last_good_copy_is_adopted(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2), &file(3)]).await;
    let mut round = Round::default();
    for (seed, by_sweep) in [(1, false), (2, true)] {
        let digest = Digest::sha256(&file(seed));
        let path = still.path(&digest);
        let good = path.with_file_name(format!("{}.0190b4a0-0000-7000-8000-000000000000", digest.hex()));
        let bad = path.with_file_name(format!("{}.0190b4a0-0000-7000-8000-000000000001", digest.hex()));
        std::fs::rename(&path, &good).expect("renamed");
        std::fs::write(&bad, vec![0; file(seed).len()]).expect("written");
        for path in [&good, &bad] {
            still.age(path, limit::ORPHAN_SWEEP_SECONDS);
        }
        if by_sweep {
            for _ in 0..FOLDERS {
                still.registry().scrub_some(&mut round).await.expect("swept");
            }
        } else {
            let mut kinds = still.kinds(Depth::Lengths, apply()).await;
            kinds.sort_unstable();
            assert_eq!(kinds, [("missing", "marked"), ("orphan", "adopted"), ("orphan", "removed")]);
        }
        still.reads("a", &file(seed)).await;
        assert!(good.exists() && !bad.exists(), "{seed}");
    }
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
    // Of two good ones the other goes.
    let digest = Digest::sha256(&file(3));
    let path = still.path(&digest);
    let other = path.with_file_name(format!("{}.0190b4a0-0000-7000-8000-000000000000", digest.hex()));
    std::fs::copy(&path, &other).expect("copied");
    still.age(&other, limit::ORPHAN_SECONDS);
    assert_eq!(still.kinds(Depth::Lengths, apply()).await, [("orphan", "removed")]);
    assert!(path.exists());
}

/// Two looked at the same folder: what one lets a row name, the other does not remove. What is held by another is left
/// alone.
async fn what_was_adopted_meanwhile_stays(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1)]).await;
    let digest = Digest::sha256(&file(1));
    let path = still.path(&digest);
    let good = path.with_file_name(format!("{}.0190b4a0-0000-7000-8000-000000000000", digest.hex()));
    std::fs::rename(&path, &good).expect("renamed");
    still.age(&good, limit::ORPHAN_SECONDS);
    let folder = u16::from_str_radix(&digest.hex()[..2], 16).expect("a folder");
    let listed = still.registry().orphans(folder, limit::ORPHAN_SECONDS, &mut 0).await.expect("listed");
    let [orphan] = &listed[..] else { panic!("{listed:?}") };
    let (actor, other) = (Actor::operator(0), still.replica());
    let held = still.registry().blobs().hold_copy(crate::ROOM, &orphan.copy).await.expect("asked");
    assert_eq!(other.end_orphan(&actor, orphan).await.expect("looked at"), "none");
    drop(held);
    for done in ["adopted", "none"] {
        assert_eq!(other.end_orphan(&actor, orphan).await.expect("looked at"), done);
        still.reads("a", &file(1)).await;
    }
}

/// Taken for an artifact by an earlier version, and deleted before this one.
async fn what_was_in_the_trash_is_told_anew(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let config = still.client.put_blob("a", b"{}").await;
    let manifest = format!(
        r#"{{"schemaVersion":2,"artifactType":"application/x","layers":[],
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}}}}"#
    );
    let put = still.client.put_manifest("a", "1", &manifest).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    still.delete("a/manifests/1").await;
    still.delete(&format!("a/manifests/{}", Digest::sha256(manifest.as_bytes()))).await;
    still.world.alter("DELETE FROM store_deliveries".to_owned()).await;
    let (operator, tag) = (seaworthy_access::Identity::operator(0), Ok("1".parse().expect("a tag")));
    let back = still.registry().restore(&operator, &"a".parse().expect("a name"), tag).await;
    back.expect("restored");
    still.collect().await;
    let sql = "SELECT payload FROM store_deliveries WHERE consumer = 'clearance'";
    let told = still.world.test.db.fetch_all(sql, &[]).await.expect("rows");
    assert!(told.len() == 1 && told[0].text(0).expect("text").contains(r#""is_image":true"#));
}

/// Another one, or one that was begun anew: neither takes the directory, and no sweep empties it.
async fn a_database_that_does_not_know_its_blobs_removes_none(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1)]).await;
    let path = still.path(&Digest::sha256(&file(1)));
    let db = &still.world.test.db;
    let blobs = || Blobs::new(still.world.test.path().to_owned(), db.clone(), 0);
    blobs().claim().await.expect("it is its own");
    still.world.alter("UPDATE store_installation SET id = 'another'".to_owned()).await;
    assert!(matches!(blobs().claim().await, Err(ClaimError::Foreign { .. })));
    still.world.alter("DELETE FROM store_installation".to_owned()).await;
    assert!(matches!(blobs().claim().await, Err(ClaimError::Older { .. })));
    still.age(&path, limit::ORPHAN_SWEEP_SECONDS);
    still.world.alter("DELETE FROM registry_blobs".to_owned()).await;
    let mut round = Round::default();
    for _ in 0..FOLDERS {
        still.registry().scrub_some(&mut round).await.expect("swept");
    }
    let found = still.kinds(Depth::Lengths, apply()).await;
    assert!(found.contains(&("orphan", "none")), "{found:?}");
    assert!(path.exists());
}

/// A directory that is made in its place is not taken for it.
async fn a_push_while_the_disk_is_away(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    let digest = Digest::sha256(&file(1));
    let root = still.world.test.path().join("blobs");
    let away = root.with_file_name("away");
    let begun = still.client.begin("a").await;
    assert_eq!(still.client.send("PATCH", &begun, &[], file(8)).await.status, StatusCode::ACCEPTED);
    let end = format!("{begun}?digest={}", Digest::sha256(&file(8)));
    std::fs::rename(&root, &away).expect("moved");
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir_all(root.join("registry/sha256")).expect("made");
        }
        let ended = still.client.send("PUT", &end, &[], "").await;
        assert_eq!(ended.status, StatusCode::SERVICE_UNAVAILABLE, "{}", ended.text());
        let answer = still.client.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        let (layer, path) = (Digest::sha256(&file(9)), "/v2/a/blobs/uploads/?digest=");
        let whole = still.client.send("POST", &format!("{path}{layer}"), &[], file(9)).await;
        assert_eq!(whole.status, StatusCode::SERVICE_UNAVAILABLE, "{}", whole.text());
        assert!(!whole.header("retry-after").is_empty());
        still.reads_anything("a", &digest, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(still.head("a", &digest).await, StatusCode::SERVICE_UNAVAILABLE);
        let blobs = Blobs::new(still.world.test.path().to_owned(), still.world.test.db.clone(), 0);
        assert!(matches!(blobs.claim().await, Err(ClaimError::Away { .. })), "nor by another server");
    }
    std::fs::remove_dir_all(&root).expect("removed");
    std::fs::rename(&away, &root).expect("moved");
    still.reads("a", &file(1)).await;
    assert_eq!(still.registry().damaged_blobs().await.expect("count"), 0);
    // What was begun before goes on.
    let ended = still.client.send("PUT", &end, &[], "").await;
    assert_eq!(ended.status, StatusCode::CREATED, "{}", ended.text());
}

/// As from a bad sector.
async fn what_cannot_be_read_holds_up_nothing(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2), &file(3)]).await;
    let [one, two] = [1, 2].map(|seed| Digest::sha256(&file(seed)));
    let spoil = |digest: &Digest| {
        let path = still.path(digest);
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(&path, &path).expect("a link to itself");
    };
    spoil(&one);
    spoil(&two);
    still.reads_anything("a", &one, StatusCode::NOT_FOUND).await;
    assert_eq!(still.head("a", &one).await, StatusCode::NOT_FOUND);
    std::fs::remove_file(still.path(&Digest::sha256(&file(3)))).expect("removed");
    let mut found = still.kinds(Depth::Bytes, apply()).await;
    found.sort_unstable();
    assert_eq!(found, [("missing", "marked"), ("unreadable", "marked"), ("unreadable", "marked")]);
    still.client.put_image("a:1", &[&file(1), &file(2), &file(3)]).await;
    for seed in [1, 2, 3] {
        still.reads("a", &file(seed)).await;
    }
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
}

/// Also where nothing is to be seen from outside.
async fn what_is_marked_is_told(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1)]).await;
    let digest = Digest::sha256(&file(1));
    super::storage::rot(&still.path(&digest));
    assert_eq!(still.kinds(Depth::Bytes, apply()).await, [("rot", "marked")]);
    for remedy in [Remedy::Tell, apply()] {
        assert_eq!(still.kinds(Depth::Lengths, remedy).await, [("rot", "marked")]);
    }
}

async fn manifests_are_looked_at(test: TestDb) {
    let still = Still::new(test).await;
    let mut images = Vec::new();
    for seed in 1..=4 {
        images.push(still.client.put_image(&format!("a:{seed}"), &[&file(seed)]).await);
    }
    let hex = |bytes: &str| {
        let hex: String = bytes.bytes().map(|byte| format!("{byte:02x}")).collect();
        match still.world.test.engine {
            seaworthy_testkit::Engine::Sqlite => format!("X'{hex}'"),
            seaworthy_testkit::Engine::Postgres => format!("'\\x{hex}'::bytea"),
        }
    };
    let table = "registry_manifest_bytes";
    let [(gone, _), (short, _), (rotten, bytes), _] = &images[..] else { panic!("four") };
    still.world.alter(format!("DELETE FROM {table} WHERE digest = '{gone}'")).await;
    still.world.alter(format!("UPDATE {table} SET bytes = {} WHERE digest = '{short}'", hex("{}"))).await;
    let other = bytes.replace("sha256", "sha512");
    still.world.alter(format!("UPDATE {table} SET bytes = {} WHERE digest = '{rotten}'", hex(&other))).await;
    let unknown = Digest::sha256(&file(4));
    still.world.alter(format!("DELETE FROM registry_blobs WHERE digest = '{unknown}'")).await;
    let found = still.verify(Depth::Bytes, Remedy::Tell).await;
    let mut found: Vec<_> = found.iter().map(|it| (it.problem, it.of, it.digest)).collect();
    found.sort_unstable();
    let mut expected = vec![
        ("missing", "manifest", *gone),
        ("length", "manifest", *short),
        ("rot", "manifest", *rotten),
        ("missing", "blob", unknown),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(still.verify(Depth::Lengths, Remedy::Tell).await.len(), 3, "rot is not seen from outside");
    // Pushed again they are whole.
    for seed in 1..=4 {
        still.client.put_image(&format!("a:{seed}"), &[&file(seed)]).await;
    }
    let left = still.verify(Depth::Bytes, Remedy::Tell).await;
    assert!(left.iter().all(|it| it.of == "file"), "{left:?}");
}

/// A full disk of the database, or two servers in each other's way.
async fn an_end_that_failed_can_be_tried_again(test: TestDb) {
    let still = Still::new(test).await;
    let (client, bytes) = (&still.client, file(1));
    let digest = Digest::sha256(&bytes);
    let query = |location: &str| format!("{location}?digest={digest}");
    for in_chunks in [true, false] {
        let location = client.begin("a").await;
        let rest = if in_chunks {
            assert_eq!(
                client.send("PATCH", &location, &[], bytes.clone()).await.status,
                StatusCode::ACCEPTED
            );
            Vec::new()
        } else {
            bytes.clone()
        };
        let (seen, go) = still.registry().hold_at(Point::Placed);
        let ended = tokio::spawn({
            let (client, path, rest) = (client.clone(), query(&location), rest.clone());
            async move { client.send("PUT", &path, &[], rest).await }
        });
        seen.await.expect("held");
        still.world.alter("ALTER TABLE registry_links RENAME TO away".to_owned()).await;
        go.send(()).expect("goes on");
        let failed = ended.await.expect("answered");
        assert!(failed.status.is_server_error(), "{}", failed.text());
        still.world.alter("ALTER TABLE away RENAME TO registry_links".to_owned()).await;
        assert_eq!(still.copies(&digest), 0);
        let again = client.send("PUT", &query(&location), &[], rest).await;
        assert_eq!(again.status, StatusCode::CREATED, "{}", again.text());
        assert_eq!(still.copies(&digest), 1);
        // For the next one it is not there.
        still.world.alter("DELETE FROM registry_links".to_owned()).await;
        still.world.alter("DELETE FROM registry_blobs".to_owned()).await;
        std::fs::remove_file(still.path(&digest)).expect("removed");
    }
}

/// The answer to the end of an upload is given again to whoever sends its end again.
async fn a_last_answer_is_given_to_its_bytes(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (client, bytes) = (&still.client, file(1));
    let digest = client.put_blob("a", &bytes).await;
    let location = client.begin("a").await;
    assert_eq!(client.send("DELETE", &location, &[], "").await.status, StatusCode::NO_CONTENT);
    let path = format!("{location}?digest={digest}");
    let (tail, wrong) = (bytes[5_000..].to_vec(), vec![0; bytes.len()]);
    let longer = [bytes.clone(), b"more".to_vec()].concat();
    let cut = futures_util::stream::iter([Ok(bytes[..100].to_vec()), Err(std::io::Error::other("cut"))]);
    for (body, expected) in [
        (Body::empty(), StatusCode::CREATED),
        (Body::from(bytes.clone()), StatusCode::CREATED),
        (Body::from(tail), StatusCode::CREATED),
        (Body::from(wrong), StatusCode::NOT_FOUND),
        (Body::from(longer), StatusCode::NOT_FOUND),
        (Body::from(bytes[..5_000].to_vec()), StatusCode::NOT_FOUND),
        (Body::from_stream(cut), StatusCode::NOT_FOUND),
    ] {
        let request = http::Request::put(&path).body(body).expect("a request");
        assert_eq!(client.open(request).await.status(), expected);
    }
    // Nor to who would find that it is gone.
    std::fs::remove_file(still.path(&digest)).expect("removed");
    assert_eq!(client.send("PUT", &path, &[], "").await.status, StatusCode::NOT_FOUND);
}
