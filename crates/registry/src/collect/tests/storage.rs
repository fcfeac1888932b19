//! Rows and files that do not agree, bytes that rot, and telling why something is here.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{Either, join, select},
    stream,
};
use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{Actor, ErrorCode, Problem};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    CONFIG, DAY, Still,
    client::{INDEX, ROOMS},
    file, manifest_of,
};
use crate::{
    Collection, Depth, Remedy, StorageProblem, db, limit,
    pauses::Point,
    scrub::Round,
    verify::{FOLDERS, place},
};

db_tests!(super::ROOMS; what_was_written_to_meanwhile_is_not_ended, who_asks_waits_for_what_is_being_cut, who_asks_is_told_of_what_was_acknowledged, damage_is_found_and_healed_by_a_push, a_missing_file_is_no_endless_500,
    orphans_are_told_of_and_removed, a_crash_before_the_row_leaves_an_orphan, scrubbing_finds_rot,
    verification_is_in_pages, why_it_is_here, what_would_go, files_from_before_are_read_replaced_and_removed,
    what_is_whole_again_is_served, a_disk_that_is_away_marks_nothing, what_a_power_failure_took_ends_the_upload, what_many_have_is_explained_to_each);

impl Still {
    /// The path of a blob's only file.
    pub(super) fn path(&self, digest: &Digest) -> std::path::PathBuf {
        let folder = self.world.test.path().join("blobs/registry/sha256").join(&digest.hex()[..2]);
        let files = std::fs::read_dir(folder).expect("folder").map(|file| file.expect("entry").path());
        let mut ours = files.filter(|path| path.display().to_string().contains(&digest.hex()));
        ours.next().expect("a file")
    }

    pub(super) async fn verify(&self, depth: Depth, remedy: Remedy) -> Vec<StorageProblem> {
        let (mut problems, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.registry().verify(&cursor, depth, &remedy).await.expect("verified");
            problems.extend(page.problems);
            match page.next {
                Some(next) => cursor = next,
                None => return problems,
            }
        }
    }

    pub(super) async fn kinds(&self, depth: Depth, remedy: Remedy) -> Vec<(&'static str, &'static str)> {
        let problems = self.verify(depth, remedy).await;
        problems.into_iter().map(|it| (it.problem, it.done)).collect()
    }

    /// Writes a file with the times of this clock.
    pub(super) fn age(&self, path: &std::path::Path, seconds: i64) {
        let micros = self.world.test.db.now().plus_seconds(-seconds).as_micros();
        let time = std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).expect("late"));
        std::fs::File::options().write(true).open(path).expect("open").set_modified(time).expect("set");
    }

    async fn explain(&self, digest: &Digest) -> Value {
        self.registry().explain(&Identity::operator(0), digest).await.expect("explained")
    }
}

/// Whoever sent it is told once, and begins anew.
async fn what_a_power_failure_took_ends_the_upload(test: TestDb) {
    let still = Still::new(test).await;
    let client = &still.client;
    for (asks, is_whole) in [("PATCH", true), ("PATCH", false), ("PUT", false), ("GET", false)] {
        let location = client.begin("a").await;
        let chunk = vec![7; 600_000];
        assert_eq!(client.send("PATCH", &location, &[], chunk.clone()).await.status, StatusCode::ACCEPTED);
        let (id, _) = db::oldest_uploads(still.registry().db(), "operator").await.expect("read")[0];
        let path = still.world.test.path().join("uploads/registry").join(id.to_string());
        still.world.alter("UPDATE registry_uploads SET boot = 'the run before'".to_owned()).await;
        let mut bytes = std::fs::read(&path).expect("a file");
        if !is_whole {
            bytes[4096..8192].fill(0);
        }
        if asks == "GET" {
            // Of a request that was cut.
            bytes.extend([7; 1_000]);
        }
        std::fs::write(&path, &bytes).expect("written");
        let query = if asks == "PUT" {
            format!("{location}?digest={}", Digest::sha256(&chunk))
        } else {
            location.clone()
        };
        let answer = client.send(asks, &query, &[], if asks == "PATCH" { vec![7; 5] } else { vec![] }).await;
        if is_whole {
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
            assert_eq!(client.get(&location).await.header("range"), "0-600004");
            client.send("DELETE", &location, &[], "").await;
            continue;
        }
        assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN", "{asks}: {}", answer.text());
        assert_eq!(client.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN", "{asks}");
        assert!(!path.exists(), "{asks}");
    }
}

/// However many others have it whose names come before.
async fn what_many_have_is_explained_to_each(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    for number in 0..=limit::EXPLAINED {
        still.client.put_image(&format!("a/{number}:1"), &[&file(1)]).await;
    }
    let (image, _) = still.client.put_image("b:1", &[&file(1)]).await;
    let reader = still.world.identity("reader", "AcrPull", "/repositories/b").await;
    let layer = Digest::sha256(&file(1));
    let told = still.registry().explain(&reader, &layer).await.expect("explained");
    let named = told["blob"]["named_by"].as_array().unwrap_or_else(|| panic!("{told}"));
    assert_eq!((named.len(), &named[0]["repository"]), (1, &json!("b")));
    let all = still.explain(&layer).await;
    let count = all["blob"]["named_by"].as_array().map(Vec::len);
    let most = usize::try_from(limit::EXPLAINED).expect("small");
    assert_eq!(count, Some(most));
    // The image as well, there and deleted.
    let places = async |who: &Identity| {
        let told = still.registry().explain(who, &image).await.expect("explained");
        let manifests = told["manifests"].as_array().expect("a list");
        manifests.iter().map(|it| (it["repository"].clone(), it["state"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(places(&reader).await, [(json!("b"), json!("live"))]);
    assert_eq!(places(&Identity::operator(0)).await.len(), most);
    // Scopes that overlap are one: nothing is told twice.
    let scope = "/repositories/b/c".parse().expect("a scope");
    still.world.access.assign(&Actor::system(), "reader", "AcrPull", scope).await.expect("assigned");
    still.client.put_image("b/c:1", &[&file(1)]).await;
    let told = still.registry().explain(&reader, &layer).await.expect("explained");
    assert_eq!(told["blob"]["named_by"].as_array().map(Vec::len), Some(2), "{told}");
    still.delete(&format!("b/manifests/{image}")).await;
    assert_eq!(places(&reader).await, [(json!("b"), json!("deleted")), (json!("b/c"), json!("live"))]);
    let page = still.registry().forecast("").await.expect("forecast");
    let deleted: Vec<_> = page.items.iter().filter(|it| it.kind == "deleted").collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].repository.as_ref().map(RepoName::as_str), Some("b"));
}

pub(super) fn apply() -> Remedy {
    Remedy::Apply(Actor::system())
}

pub(super) fn rot(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[4_321] ^= 1;
    std::fs::write(path, bytes).expect("write");
}

async fn damage_is_found_and_healed_by_a_push(test: TestDb) {
    let still = Still::new(test).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1), &file(2), &file(3)]).await;
    let [one, two, three] = [1, 2, 3].map(|seed| Digest::sha256(&file(seed)));
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
    rot(&still.path(&one));
    std::fs::remove_file(still.path(&two)).expect("removed");
    std::fs::write(still.path(&three), b"short").expect("written");
    assert_eq!(still.kinds(Depth::Lengths, Remedy::Tell).await.len(), 2, "rot is not seen from outside");
    let mut found = still.verify(Depth::Bytes, Remedy::Tell).await;
    found.sort_by_key(|it| it.problem);
    let expected = |digest, problem| StorageProblem {
        of: "blob",
        digest,
        problem,
        bytes: 20_000,
        repositories: vec!["a".parse().expect("name")],
        done: "none",
    };
    assert_eq!(found, [expected(three, "length"), expected(two, "missing"), expected(one, "rot")]);
    still.reads_anything("a", &one, StatusCode::OK).await;
    // Marked, nobody is given them, and the ledger says so; once.
    for _ in 0..2 {
        assert_eq!(still.verify(Depth::Bytes, apply()).await.len(), 3);
    }
    let sql = "SELECT 1 FROM ledger_leaves WHERE action = 'registry.repair'";
    assert_eq!(still.world.test.db.fetch_all(sql, &[]).await.expect("query").len(), 3);
    assert_eq!(still.registry().damaged_blobs().await.expect("count"), 3);
    for digest in [one, two, three] {
        still.reads_anything("a", &digest, StatusCode::NOT_FOUND).await;
        assert_eq!(still.head("a", &digest).await, StatusCode::NOT_FOUND, "so that it is sent");
    }
    let refused = still.client.put_manifest("a", "2", &manifest_of(&file(1))).await;
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    // Whoever pushes the image again heals it for everybody.
    still.client.put_image("b:1", &[&file(1), &file(2), &file(3)]).await;
    for seed in [1, 2, 3] {
        still.reads("a", &file(seed)).await;
        assert_eq!(still.copies(&Digest::sha256(&file(seed))), 1, "the damaged copy is gone");
    }
    assert_eq!(still.registry().damaged_blobs().await.expect("count"), 0);
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
    assert_eq!(still.get(&format!("a/manifests/{digest}")).await, StatusCode::OK);
    // Small ones live in the database, and are looked after as well.
    let spoil = "UPDATE store_small_blobs SET bytes = $1 WHERE digest = $2";
    let config = Digest::sha256(CONFIG);
    let context = (vec![b'x'; CONFIG.len()], config.to_string());
    let done: Result<u64, DbError> = still
        .world
        .test
        .db
        .upkeep(context, move |(bytes, digest), tx| {
            Box::pin(async move { tx.execute(spoil, args![bytes, digest]).await })
        })
        .await;
    assert_eq!(done.expect("spoilt"), 1);
    assert_eq!(still.kinds(Depth::Bytes, apply()).await, [("rot", "marked")]);
    still.client.put_blob("a", CONFIG).await;
    still.reads("a", CONFIG).await;
}

impl Still {
    pub(super) async fn reads_anything(&self, repository: &str, digest: &Digest, status: StatusCode) {
        assert_eq!(self.get(&format!("{repository}/blobs/{digest}")).await, status);
    }
}

/// Who reads first notices, and the next push is asked for the bytes.
async fn a_missing_file_is_no_endless_500(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    let [one, two] = [1, 2].map(|seed| Digest::sha256(&file(seed)));
    std::fs::remove_file(still.path(&one)).expect("removed");
    std::fs::write(still.path(&two), b"short").expect("written");
    for digest in [one, two] {
        assert_ne!(still.get(&format!("a/blobs/{digest}")).await, StatusCode::OK);
        assert_eq!(still.head("a", &digest).await, StatusCode::NOT_FOUND);
    }
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    still.reads("a", &file(1)).await;
    still.reads("a", &file(2)).await;
}

async fn orphans_are_told_of_and_removed(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1)]).await;
    let used = still.path(&Digest::sha256(&file(1)));
    // As from a push that was cut off: a copy of what is here, and of what is not; as from before.
    let copy = used
        .with_file_name(format!("{}.0190b4a0-0000-7000-8000-000000000000", Digest::sha256(&file(1)).hex()));
    let stranger = used.with_file_name("README");
    let unknown = Digest::sha256(b"unknown");
    let folder = still.world.test.path().join("blobs/registry/sha256").join(&unknown.hex()[..2]);
    std::fs::create_dir_all(&folder).expect("made");
    let old = folder.join(unknown.hex());
    for path in [&copy, &stranger, &old] {
        std::fs::write(path, b"bytes").expect("written");
    }
    let aged = |seconds| [&used, &copy, &stranger, &old].map(|path| still.age(path, seconds));
    aged(limit::ORPHAN_SECONDS - 1);
    assert!(still.verify(Depth::Lengths, apply()).await.is_empty(), "a push may still name them");
    aged(limit::ORPHAN_SECONDS);
    assert_eq!(still.kinds(Depth::Lengths, Remedy::Tell).await, [("orphan", "none"), ("orphan", "none")]);
    assert!(copy.exists() && old.exists(), "looking changes nothing");
    assert_eq!(still.kinds(Depth::Lengths, apply()).await, [("orphan", "removed"), ("orphan", "removed")]);
    assert!(!copy.exists() && !old.exists() && stranger.exists());
    still.reads("a", &file(1)).await;
    // By themselves they go a week later.
    std::fs::write(&old, b"bytes").expect("written");
    let mut round = Round::default();
    let sweep = async |round: &mut Round| {
        for _ in 0..FOLDERS {
            still.registry().scrub_some(round).await.expect("swept");
        }
    };
    still.age(&old, limit::ORPHAN_SWEEP_SECONDS - 1);
    sweep(&mut round).await;
    assert!(old.exists());
    still.age(&old, limit::ORPHAN_SWEEP_SECONDS);
    sweep(&mut round).await;
    assert!(!old.exists() && stranger.exists() && used.exists());
    assert_eq!((place(0), place(255), place(511)), (("sha256", 0), ("sha256", 255), ("sha512", 255)));
}

async fn a_crash_before_the_row_leaves_an_orphan(test: TestDb) {
    let still = Still::new(test).await;
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let killed = tokio::spawn({
        let client = still.client.clone();
        async move { client.put_blob("a", &file(1)).await }
    });
    seen.await.expect("held");
    killed.abort();
    assert!(killed.await.is_err());
    still.client.put_image("a:1", &[&file(1)]).await;
    let digest = Digest::sha256(&file(1));
    assert_eq!(still.copies(&digest), 2);
    let folder = still.path(&digest).parent().expect("folder").to_owned();
    for entry in std::fs::read_dir(folder).expect("folder") {
        still.age(&entry.expect("entry").path(), limit::ORPHAN_SECONDS);
    }
    assert_eq!(still.kinds(Depth::Lengths, apply()).await, [("orphan", "removed")]);
    assert_eq!(still.copies(&digest), 1);
    still.reads("a", &file(1)).await;
    // Who was killed never goes on.
    std::mem::forget(go);
}

async fn scrubbing_finds_rot(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    let digest = Digest::sha256(&file(1));
    let mut round = Round::default();
    still.registry().scrub_some(&mut round).await.expect("read");
    rot(&still.path(&digest));
    // What was read lately is not read again, by this server or another.
    still.clock.advance(limit::SCRUB_DAYS * DAY);
    for mut round in [Round::default(), round] {
        still.registry().scrub_some(&mut round).await.expect("read");
        still.registry().scrub_some(&mut round).await.expect("read");
    }
    still.reads_anything("a", &digest, StatusCode::OK).await;
    still.clock.advance(1);
    let mut round = Round::default();
    still.registry().scrub_some(&mut round).await.expect("read");
    still.reads_anything("a", &digest, StatusCode::NOT_FOUND).await;
    still.reads("a", &file(2)).await;
    assert_eq!(still.registry().damaged_blobs().await.expect("count"), 1);
    const { assert!(limit::SCRUB_SECONDS > 0) };
    // One part reads up to its bytes, and what goes over them is the last.
    let count = async || {
        let sql = "SELECT 1 FROM registry_blobs WHERE damage = 'missing'";
        still.world.test.db.fetch_all(sql, &[]).await.expect("query").len()
    };
    still.claim_blobs(&[limit::SCRUB_BYTES - 1, 1, 1]).await;
    still.registry().scrub_some(&mut Round::default()).await.expect("read");
    assert_eq!(count().await, 2, "at the limit");
}

async fn what_is_whole_again_is_served(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    let digest = Digest::sha256(&file(1));
    let path = still.path(&digest);
    let mark = async || {
        rot(&path);
        assert_eq!(still.kinds(Depth::Bytes, apply()).await, [("rot", "marked")]);
        std::fs::write(&path, file(1)).expect("put back");
        still.reads_anything("a", &digest, StatusCode::NOT_FOUND).await;
    };
    mark().await;
    // Its length says nothing of rot, and looking changes nothing.
    assert_eq!(still.kinds(Depth::Lengths, apply()).await, [("rot", "marked")]);
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
    still.reads_anything("a", &digest, StatusCode::NOT_FOUND).await;
    assert!(still.verify(Depth::Bytes, apply()).await.is_empty());
    still.reads("a", &file(1)).await;
    let sql = "SELECT 1 FROM ledger_leaves WHERE action = 'registry.repair'";
    assert_eq!(still.world.test.db.fetch_all(sql, &[]).await.expect("query").len(), 2);
    // Servers find it by themselves, after a while.
    mark().await;
    still.clock.advance(limit::DAMAGED_SECONDS);
    still.registry().scrub_some(&mut Round::default()).await.expect("read");
    still.reads_anything("a", &digest, StatusCode::NOT_FOUND).await;
    still.clock.advance(1);
    still.registry().scrub_some(&mut Round::default()).await.expect("read");
    still.reads("a", &file(1)).await;
    assert_eq!(still.registry().damaged_blobs().await.expect("count"), 0);
}

async fn a_disk_that_is_away_marks_nothing(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:1", &[&file(1), &file(2)]).await;
    let digest = Digest::sha256(&file(1));
    let root = still.world.test.path().join("blobs");
    let away = root.with_file_name("away");
    std::fs::rename(&root, &away).expect("moved");
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir_all(root.join("registry/sha256")).expect("made");
        }
        still.reads_anything("a", &digest, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(still.kinds(Depth::Bytes, apply()).await, [("missing", "none"); 2]);
        still.registry().scrub_some(&mut Round::default()).await.expect("read");
        assert_eq!(still.registry().damaged_blobs().await.expect("count"), 0);
    }
    std::fs::remove_dir_all(&root).expect("removed");
    std::fs::rename(&away, &root).expect("moved");
    still.reads("a", &file(1)).await;
}

impl Still {
    /// Rows of blobs that are nowhere, before all others in order.
    async fn claim_blobs(&self, sizes: &[u64]) {
        let rows: Vec<(String, u64)> =
            sizes.iter().enumerate().map(|(at, size)| (format!("sha256:{at:064x}"), *size)).collect();
        let sql = "INSERT INTO registry_blobs (digest, size, state, generation, pinned_until, stored_at)
             VALUES ($1, $2, 'live', 1, 0, 0)";
        let done: Result<(), DbError> = self
            .world
            .test
            .db
            .upkeep(rows, move |rows, tx| {
                Box::pin(async move {
                    for (digest, size) in rows {
                        tx.execute(sql, args![digest, *size]).await?;
                    }
                    Ok(())
                })
            })
            .await;
        done.expect("stored");
    }
}

/// They are called by their digest alone, and so are their rows.
async fn files_from_before_are_read_replaced_and_removed(test: TestDb) {
    let still = Still::new(test).await;
    let digest = still.client.put_blob("a", &file(1)).await;
    let age = async || {
        let path = still.path(&digest);
        std::fs::rename(&path, path.with_file_name(digest.hex())).expect("renamed");
        let sql = "UPDATE registry_blobs SET copy = NULL, changed_at = NULL WHERE digest = $1";
        let done: Result<u64, DbError> = still
            .world
            .test
            .db
            .upkeep(digest.to_string(), move |digest, tx| {
                Box::pin(async move { tx.execute(sql, args![digest]).await })
            })
            .await;
        assert_eq!(done.expect("as before"), 1);
    };
    age().await;
    still.reads("a", &file(1)).await;
    assert!(still.verify(Depth::Bytes, Remedy::Tell).await.is_empty());
    still.client.put_blob("a", &file(1)).await;
    assert_eq!(still.path(&digest).file_name().expect("a name").to_string_lossy(), digest.hex(), "it stays");
    rot(&still.path(&digest));
    still.verify(Depth::Bytes, apply()).await;
    still.client.put_blob("a", &file(1)).await;
    still.reads("a", &file(1)).await;
    assert_eq!(still.copies(&digest), 1, "the one from before is gone");
    age().await;
    still.pass(DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!((still.state(&digest).await.as_str(), still.copies(&digest)), ("", 0));
}

async fn verification_is_in_pages(test: TestDb) {
    let still = Still::new(test).await;
    let look = async |cursor: &str, depth| still.registry().verify(cursor, depth, &Remedy::Tell).await;
    still.claim_blobs(&[limit::VERIFIED_BYTES - 1, 1, limit::VERIFIED_BYTES + 1, 1]).await;
    let first = look("", Depth::Bytes).await.expect("page");
    assert_eq!((first.checked, first.problems.len()), (2, 2), "at the limit");
    let second = look(&first.next.expect("more"), Depth::Bytes).await.expect("page");
    assert_eq!(second.checked, 1, "one past it");
    let third = look(&second.next.expect("more"), Depth::Bytes).await.expect("page");
    assert_eq!((third.checked, third.next.as_deref()), (1, Some("manifests:@")));
    assert_eq!(look("manifests:@", Depth::Bytes).await.expect("page").next.as_deref(), Some("files:0"));
    assert_eq!(look("", Depth::Lengths).await.expect("page").checked, 4, "nothing is read");
    assert_eq!(look("files:511", Depth::Lengths).await.expect("page").next, None);
    for wrong in ["files:512", "files:x", "manifests:x", "x:1", "x"] {
        let error = look(wrong, Depth::Lengths).await.expect_err("no cursor");
        assert_eq!(Problem::from(error).code, ErrorCode::Invalid, "{wrong}");
    }
}

async fn why_it_is_here(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let (image, _) = still.client.put_image("a:1", &[&file(1)]).await;
    let loose = still.untagged("b", &file(1)).await;
    let index = still.index_of(&[loose]).await;
    still.client.put_as("/v2/b/manifests/multi", INDEX, &index).await;
    let layer = still.explain(&Digest::sha256(&file(1))).await;
    assert_eq!(layer["manifests"], json!([]));
    let blob = &layer["blob"];
    assert_eq!(
        (&blob["state"], &blob["generation"], &blob["damage"]),
        (&json!("live"), &json!(1), &Value::Null)
    );
    assert_eq!(blob["named_by"].as_array().expect("list").len(), 2);
    assert_eq!(blob["named_by"][0]["repository"], "a");
    assert_eq!(blob["named_by"][0]["tags"], json!(["1"]));
    assert_eq!(blob["brought_to"].as_array().expect("list").len(), 2);
    let told = still.explain(&image).await;
    assert_eq!((&told["manifests"][0]["kept_by"], &told["blob"]), (&json!("tag"), &Value::Null));
    let told = still.explain(&loose).await;
    assert_eq!(told["manifests"][0]["kept_by"], "index");
    assert_eq!(told["manifests"][0]["indexes"], json!([Digest::sha256(index.as_bytes())]));
    still.delete(&format!("a/manifests/{image}")).await;
    let told = still.explain(&image).await;
    assert_eq!(told["manifests"][0]["state"], "deleted");
    assert_eq!(told["manifests"][0]["restorable_until"], "2026-11-30T10:00:00Z");
    let layer = still.explain(&Digest::sha256(&file(1))).await;
    assert_eq!(layer["blob"]["named_by"][0]["deleted"], true);
    // Of repositories that the caller may not see nothing is told.
    let reader = still.world.identity("reader", "AcrPull", "/repositories/b").await;
    let seen = still.registry().explain(&reader, &Digest::sha256(&file(1))).await.expect("explained");
    assert!(!seen.to_string().contains(r#""a""#), "{seen}");
    let error = still.registry().explain(&reader, &image).await.expect_err("not theirs");
    assert_eq!(Problem::from(error).code, ErrorCode::NotFound);
    // Long lists end.
    let many: Vec<String> = (0..=limit::EXPLAINED).map(|at| format!("t{at}")).collect();
    for name in &many {
        still.client.put_manifest("b", name, &manifest_of(&file(1))).await;
    }
    let told = still.explain(&loose).await;
    assert_eq!(told["manifests"][0]["tags"].as_array().expect("list").len(), many.len() - 1);
}

async fn what_would_go(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    let loose = still.untagged("a", &file(1)).await;
    let (deleted, _) = still.client.put_image("a:1", &[&file(2)]).await;
    still.delete(&format!("a/manifests/{deleted}")).await;
    let unnamed = still.client.put_blob("a", &file(3)).await;
    let forecast = async || {
        let page = still.registry().forecast("").await.expect("forecast");
        assert_eq!(page.next, None);
        let mut items: Vec<_> =
            page.items.into_iter().map(|it| (it.why, it.digest, it.at.to_string())).collect();
        items.sort_unstable();
        items
    };
    assert_eq!(
        forecast().await,
        [
            ("deleted", deleted, "2026-11-30T10:00:00Z".to_owned()),
            ("grace", loose, "2026-11-30T10:00:00Z".to_owned()),
            ("lease", unnamed, "2026-11-24T10:15:00Z".to_owned()),
        ]
    );
    still.pass(DAY).await;
    assert!(forecast().await.contains(&("condemned", unnamed, "2026-11-24T10:15:00Z".to_owned())));
    still.clock.advance(6 * DAY);
    assert!(forecast().await.contains(&("untagged", loose, "2026-11-30T10:00:00Z".to_owned())));
    // Looking changed nothing.
    assert_eq!(still.state(&unnamed).await, "condemned");
    assert_eq!(still.get(&format!("a/manifests/{loose}")).await, StatusCode::OK);
    assert!(still.registry().forecast("x").await.is_err());
}

/// Who ends what was left alone looked before it was written to.
async fn what_was_written_to_meanwhile_is_not_ended(test: TestDb) {
    let still = Still::new(test).await;
    let location = still.client.begin("a").await;
    let left_alone = async || db::oldest_uploads(still.registry().db(), "operator").await.expect("read")[0];
    let (id, expires) = left_alone().await;
    still.clock.advance(limit::UPLOAD_IDLE_SECONDS);
    let written = still.client.send("PATCH", &location, &[], "written").await;
    assert_eq!(written.status, StatusCode::ACCEPTED, "{}", written.text());
    assert!(!still.registry().end_left_alone(id, expires).await.expect("looked"));
    assert_eq!(still.client.get(&location).await.header("range"), "0-6");
    let (id, expires) = left_alone().await;
    assert!(still.registry().end_left_alone(id, expires).await.expect("looked"));
    assert_eq!(still.client.get(&location).await.status, StatusCode::NOT_FOUND);
}

/// Who asks at once after a cut may come before the server knows of it.
async fn who_asks_waits_for_what_is_being_cut(test: TestDb) {
    let still = Still::new(test).await;
    let client = &still.client;
    let location = client.begin("a").await;
    let (busy, go) = still.registry().hold_at(Point::Busy);
    let (arrived, seen) = oneshot::channel();
    let (cut, is_cut) = oneshot::channel::<()>();
    let head = stream::iter([Ok(Bytes::from(vec![7; 600_000]))]);
    let end = stream::once(async move {
        arrived.send(()).expect("somebody waits");
        is_cut.await.expect("cut");
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let patch = client.send("PATCH", &location, &[], Body::from_stream(head.chain(end)));
    let asked = async {
        seen.await.expect("it writes");
        let cuts = async {
            busy.await.expect("it was asked about");
            go.send(()).expect("it waits");
            cut.send(()).expect("it writes");
        };
        match select(pin!(client.get(&location)), pin!(cuts)).await {
            Either::Left((at_once, _)) => at_once,
            Either::Right(((), waiting)) => waiting.await,
        }
    };
    let (patch, asked) = join(patch, asked).await;
    assert_eq!(patch.status, StatusCode::BAD_REQUEST);
    assert_eq!(asked.header("range"), "0-599999", "{}", asked.text());
}

/// Who writes on is not waited for.
async fn who_asks_is_told_of_what_was_acknowledged(test: TestDb) {
    let still = Still::new(test).await;
    let client = &still.client;
    let location = client.begin("a").await;
    let cut = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let body = stream::iter([Ok(Bytes::from(vec![7; 600_000])), cut]);
    client.send("PATCH", &location, &[], Body::from_stream(body)).await;
    let (id, _) = db::oldest_uploads(still.registry().db(), "operator").await.expect("read")[0];
    let held = still.registry().hold(id).await.expect("nobody writes");
    let begun = Instant::now();
    assert_eq!(client.get(&location).await.header("range"), "0-0");
    assert!(begun.elapsed() >= Duration::from_millis(limit::HELD_MILLIS));
    drop(held);
    assert_eq!(client.get(&location).await.header("range"), "0-599999");
}
