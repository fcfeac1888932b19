//! Blobs that go while somebody counts on them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::body::Body;
use futures_util::{StreamExt as _, future::join, stream};
use http::StatusCode;
use seaworthy_oci::Digest;
use seaworthy_testkit::{TestDb, db_tests};
use tokio_util::sync::CancellationToken;

use super::{DAY, HOUR, Still, client::ROOMS, file, manifest_of};
use crate::{Registry, db, limit, pauses::Point};

db_tests!(super::ROOMS; gc_vs_head_then_manifest, gc_vs_head_of_what_another_brought, gc_vs_mount, gc_vs_reupload_while_deleting,
    small_blobs_go_in_one_step, what_is_late_is_looked_at_without_a_rest,
    a_late_deleter_hits_nothing, two_gc_workers_two_replicas, lease_survives_restart,
    crash_between_rename_and_sql, crash_after_sql_before_reply, crash_mid_gc_delete, clock_jumps_backwards,
    what_is_named_stays, a_batch_is_bounded, pins_are_prolonged_at_half,
    foreign_layers_that_were_pushed_stay, foreign_layers_keep_nothing_elsewhere, foreign_layers_come_back,
    what_is_named_meanwhile_was_not_checked);

/// Two blobs that nobody names any more: `file(1)` is in a file, `b"small"` in the database.
async fn unnamed(still: &Still) -> [Vec<u8>; 2] {
    let layers = [file(1), b"small".to_vec()];
    let (digest, _) = still.client.put_image("a:1", &[&layers[0], &layers[1]]).await;
    still.delete(&format!("a/manifests/{digest}")).await;
    layers
}

async fn gc_vs_head_then_manifest(test: TestDb) {
    let still = Still::new(test).await;
    let [kept, _] = unnamed(&still).await;
    let other = file(2);
    still.client.put_blob("a", &other).await;
    // The pins of the pushes end in a second. Then one of two clients looks.
    still.pass(limit::LEASE_SECONDS - 1).await;
    assert_eq!(still.head("a", &Digest::sha256(&kept)).await, StatusCode::OK);
    still.client.put_blob("a", super::CONFIG).await;
    still.pass(1).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!(still.state(&Digest::sha256(&other)).await, "", "nobody looked");
    assert_eq!(still.copies(&Digest::sha256(&other)), 0);
    // Half a lease is what HEAD promises, whenever the pin was made.
    still.pass(limit::LEASE_SECONDS / 2).await;
    let answer = still.client.put_manifest("a", "1", &manifest_of(&kept)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    still.pass(3 * DAY).await;
    still.reads("a", &kept).await;
    // Between the look at the row and the pin it was condemned: then it is taken back.
    still.client.put_blob("a", &other).await;
    let seen = db::blob(&still.world.test.db, &Digest::sha256(&other)).await.expect("read").expect("row");
    still.pass(limit::LEASE_SECONDS).await;
    assert_eq!(still.state(&Digest::sha256(&other)).await, "condemned");
    assert!(still.registry().pin(&seen).await.expect("pinned"));
    assert_eq!(still.state(&Digest::sha256(&other)).await, "live");
    // Who names it without looking has it back as well.
    still.pass(limit::LEASE_SECONDS).await;
    assert_eq!(still.state(&Digest::sha256(&other)).await, "condemned");
    let named = still.client.put_manifest("a", "2", &manifest_of(&other)).await;
    assert_eq!(named.status, StatusCode::CREATED, "{}", named.text());
    still.reads("a", &other).await;
    still.delete(&format!("a/manifests/{}", named.header("docker-content-digest"))).await;
    // And if it went altogether, HEAD does not say that it is here.
    still.pass(limit::LEASE_SECONDS).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    still.clock.advance(-2 * DAY);
    assert!(
        !still
            .registry()
            .pin(&db::BlobRow { pinned_until: still.world.test.db.now(), ..seen })
            .await
            .expect("no")
    );
}

/// So is who asks for what another brought, whatever becomes of the manifest that names it.
async fn gc_vs_head_of_what_another_brought(test: TestDb) {
    let still = Still::with(test, crate::Collection::default()).await;
    let (digest, _) = still.client.put_image("a:1", &[&file(1)]).await;
    let other = still.world.service("other", "AcrPush", "/repositories/a").await;
    still.pass(2 * DAY).await;
    let layer = Digest::sha256(&file(1));
    for blob in [&layer, &Digest::sha256(super::CONFIG)] {
        let head = other.send("HEAD", &format!("/v2/a/blobs/{blob}"), &[], "").await;
        assert_eq!(head.status, StatusCode::OK);
    }
    still.delete(&format!("a/manifests/{digest}")).await;
    still.pass(limit::LEASE_SECONDS / 2 - 1).await;
    let elsewhere = still.world.service("elsewhere", "AcrPush", "/repositories/b").await;
    let refused = elsewhere.put_manifest("b", "2", &manifest_of(&file(1))).await;
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN", "in another repository nobody was told");
    let named = other.put_manifest("a", "2", &manifest_of(&file(1)).replace(":[", ": [")).await;
    assert_eq!(named.status, StatusCode::CREATED, "{}", named.text());
    still.pass(30 * DAY).await;
    still.reads("a", &file(1)).await;
    // Not for ever; nor when it was locked against reading, when nobody asked, in a repository that is another by now, or
    // for what is no image.
    for case in ["late", "locked", "not asked for", "another repository", "artifact"] {
        let repository = format!("r-{}", case.replace(' ', "-"));
        let pusher =
            still.world.service(&repository, "AcrPush", &format!("/repositories/{repository}")).await;
        for blob in [super::CONFIG, &file(1)] {
            still.client.put_blob(&repository, blob).await;
        }
        let put = still.client.put_manifest(&repository, "1", &manifest_of(&file(1))).await;
        let digest = put.header("docker-content-digest").to_owned();
        still.pass(limit::LEASE_SECONDS).await;
        if case != "not asked for" {
            for blob in [&layer, &Digest::sha256(super::CONFIG)] {
                let head = pusher.send("HEAD", &format!("/v2/{repository}/blobs/{blob}"), &[], "").await;
                assert_eq!(head.status, StatusCode::OK, "{case}");
            }
        }
        if case == "locked" {
            let path = format!("/acr/v1/{repository}/_manifests/{digest}");
            still.client.send("PATCH", &path, &[], r#"{"readEnabled":false}"#).await;
        }
        if case == "another repository" {
            let gone = still.client.send("DELETE", &format!("/acr/v1/{repository}"), &[], "").await;
            assert_eq!(gone.status, StatusCode::ACCEPTED, "{}", gone.text());
            still.clock.advance(1);
            still.client.put_image(&format!("{repository}:2"), &[&file(2)]).await;
        } else {
            still.delete(&format!("{repository}/manifests/{digest}")).await;
        }
        if case == "late" {
            still.clock.advance(limit::LEASE_SECONDS / 2);
        }
        let mut manifest = manifest_of(&file(1)).replace(":[", ":  [");
        if case == "artifact" {
            manifest = manifest.replace("vnd.oci.image.config", "test");
        }
        let refused = pusher.put_manifest(&repository, "3", &manifest).await;
        assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN", "{case}: {}", refused.text());
    }
}

async fn gc_vs_mount(test: TestDb) {
    let still = Still::new(test).await;
    let layers = unnamed(&still).await;
    still.pass(limit::LEASE_SECONDS).await;
    let mount = async |digest: &Digest| {
        let path = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
        still.client.send("POST", &path, &[], "").await.status
    };
    for layer in &layers {
        let digest = Digest::sha256(layer);
        assert_eq!(still.state(&digest).await, "condemned");
        assert_eq!(still.head("a", &digest).await, StatusCode::NOT_FOUND, "absent to who asks");
        assert_eq!(still.client.get(&format!("/v2/a/blobs/{digest}")).await.status, StatusCode::NOT_FOUND);
        assert_eq!(mount(&digest).await, StatusCode::CREATED, "back to who names it");
        assert_eq!(still.state(&digest).await, "live");
    }
    still.pass(limit::CONDEMNED_SECONDS).await;
    for layer in &layers {
        still.reads("b", layer).await;
    }
    // While its bytes are removed it cannot be mounted, and is sent.
    still.pass(limit::LEASE_SECONDS).await;
    let digest = Digest::sha256(&layers[0]);
    assert_eq!(still.state(&digest).await, "condemned");
    let (seen, go) = still.registry().hold_at(Point::Deleting);
    still.clock.advance(limit::CONDEMNED_SECONDS);
    let mounted = async {
        seen.await.expect("held");
        let mounted = mount(&digest).await;
        go.send(()).expect("held");
        mounted
    };
    let (mounted, ()) = join(mounted, still.collect()).await;
    assert_eq!(mounted, StatusCode::ACCEPTED);
    assert_eq!(still.state(&digest).await, "");
}

async fn gc_vs_reupload_while_deleting(test: TestDb) {
    let still = Still::new(test).await;
    for point in [Point::Deleting, Point::Removed] {
        let [layer, _] = unnamed(&still).await;
        let digest = Digest::sha256(&layer);
        still.pass(limit::LEASE_SECONDS).await;
        assert_eq!(still.state(&digest).await, "condemned", "{point:?}");
        // Only this one goes.
        let others =
            "UPDATE registry_reviews SET due = due + 86400000000 WHERE kind = 'blob' AND digest <> $1";
        let moved = (digest.to_string(), others);
        change(&still, moved).await;
        let (seen, go) = still.registry().hold_at(point);
        still.clock.advance(limit::CONDEMNED_SECONDS);
        let push = async {
            seen.await.expect("held");
            assert_eq!(still.state(&digest).await, "deleting");
            still.client.put_blob("a", &layer).await;
            go.send(()).expect("held");
        };
        join(push, still.collect()).await;
        still.pass(limit::CONDEMNED_SECONDS).await;
        assert_eq!(still.state(&digest).await, "live");
        still.reads("a", &layer).await;
        let generation =
            still.query("SELECT generation FROM registry_blobs WHERE digest = $1", &digest).await;
        assert_eq!(
            generation.expect("row").int(0).expect("generation"),
            4,
            "live, condemned, deleting, live"
        );
        assert_eq!(still.copies(&digest), usize::from(layer.len() > 16_384), "the first copy is gone");
        still.pass(2 * DAY).await;
        still.pass(limit::CONDEMNED_SECONDS).await;
    }
}

/// What is no file has nothing to be removed outside the database: it goes in one step.
async fn small_blobs_go_in_one_step(test: TestDb) {
    let still = Still::new(test).await;
    for was_deleting in [false, true] {
        let [_, small] = unnamed(&still).await;
        let digest = Digest::sha256(&small);
        still.pass(limit::LEASE_SECONDS).await;
        assert_eq!(still.state(&digest).await, "condemned");
        if was_deleting {
            // As a server left it that took two steps.
            let sql = "UPDATE registry_blobs SET state = 'deleting', generation = 2 WHERE digest = $1";
            change(&still, (digest.to_string(), sql)).await;
        }
        let (mut seen, _go) = still.registry().hold_at(Point::Deleting);
        let files =
            "UPDATE registry_reviews SET due = due + 86400000000 WHERE kind = 'blob' AND digest <> $1";
        change(&still, (digest.to_string(), files)).await;
        still.pass(limit::CONDEMNED_SECONDS).await;
        assert!(seen.try_recv().is_err(), "no second step");
        assert_eq!(still.state(&digest).await, "");
        let bytes = still.query("SELECT 1 FROM store_small_blobs WHERE digest = $1", &digest).await;
        let review = still.query("SELECT 1 FROM registry_reviews WHERE digest = $1", &digest).await;
        assert!(bytes.is_none() && review.is_none());
        still.client.put_blob("a", &small).await;
        still.reads("a", &small).await;
    }
}

async fn what_is_late_is_looked_at_without_a_rest(test: TestDb) {
    let still = Still::new(test).await;
    let gentle = u8::try_from(limit::REVIEW_BATCH_GENTLE).expect("few");
    for seed in 0..gentle + 3 {
        still.client.put_blob("a", &[seed]).await;
    }
    let cancel = CancellationToken::new();
    let some = async || still.registry().collect_some(&cancel).await.expect("collected");
    assert_eq!(some().await, 0, "nothing is due");
    still.clock.advance(limit::LEASE_SECONDS);
    assert_eq!((some().await, some().await, some().await), (usize::from(gentle), 3, 0));
    still.clock.advance(limit::CONDEMNED_SECONDS + limit::COLLECT_LATE_SECONDS);
    assert_eq!(some().await, usize::from(gentle), "late by no more than it may be");
    still.clock.advance(1);
    assert_eq!(some().await, 3);
    let left = still.query("SELECT 1 FROM registry_blobs WHERE digest <> $1", &Digest::sha256(b"")).await;
    assert!(left.is_none());
    for seed in 0..gentle + 3 {
        still.client.put_blob("a", &[seed]).await;
    }
    still.clock.advance(limit::LEASE_SECONDS + limit::COLLECT_LATE_SECONDS + 1);
    assert_eq!(some().await, usize::from(gentle) + 3, "late, all at once");
    // Who is to stop looks at what was claimed, and no further.
    still.clock.advance(limit::CONDEMNED_SECONDS);
    cancel.cancel();
    assert_eq!(some().await, usize::from(gentle), "claimed");
    let left = "SELECT COUNT(*) FROM registry_blobs WHERE digest <> $1";
    let left = still.query(left, &Digest::sha256(b"")).await.expect("a row").count(0).expect("a number");
    assert_eq!(left, 3);
}

/// Runs a statement whose one argument is a digest.
async fn change(still: &Still, (digest, sql): (String, &'static str)) {
    let done = still.world.test.db.upkeep(digest, move |digest, tx| {
        Box::pin(async move { tx.execute(sql, seaworthy_store::args![digest]).await })
    });
    done.await.map_err(|error: seaworthy_store::DbError| panic!("{error}")).ok();
}

/// A server that slept while another did its work, and a third brought the blob again.
async fn a_late_deleter_hits_nothing(test: TestDb) {
    let still = Still::new(test).await;
    let layer = file(1);
    let digest = still.client.put_blob("a", &layer).await;
    still.pass(limit::LEASE_SECONDS).await;
    still.clock.advance(limit::CONDEMNED_SECONDS);
    let sleeper = still.replica();
    let (seen, go) = sleeper.hold_at(Point::Deleting);
    let awake = async {
        seen.await.expect("held");
        // Its claim ends, and another takes over.
        still.pass(2 * limit::REVIEW_SECONDS).await;
        assert_eq!((still.state(&digest).await.as_str(), still.copies(&digest)), ("", 0));
        still.client.put_blob("a", &layer).await;
        go.send(()).expect("held");
    };
    let (collected, ()) = join(sleeper.collect(), awake).await;
    assert_eq!(collected.expect("collected"), 1);
    assert_eq!(still.state(&digest).await, "live");
    still.reads("a", &layer).await;
}

async fn two_gc_workers_two_replicas(test: TestDb) {
    let still = Still::new(test).await;
    let layers: Vec<Vec<u8>> = (0..60u8).map(file).chain((0..60u8).map(|seed| vec![seed])).collect();
    for layer in &layers {
        still.client.put_blob("a", layer).await;
    }
    let kept = still.client.put_image("a:1", &[&layers[7]]).await;
    let (one, two) = (still.replica(), still.replica());
    let both = async || {
        let (mut first, mut second) = (0, 0);
        loop {
            let (a, b) = join(one.collect(), two.collect()).await;
            let (a, b) = (a.expect("collected"), b.expect("collected"));
            if a + b == 0 {
                return first + second;
            }
            first += a;
            second += b;
        }
    };
    still.clock.advance(limit::LEASE_SECONDS);
    // Every one is looked at by one of them: the config of the image and its repository too.
    assert_eq!(both().await, layers.len() + 2);
    still.clock.advance(limit::CONDEMNED_SECONDS);
    assert_eq!(both().await, layers.len() - 1);
    let left = still.world.test.db.fetch_all("SELECT digest FROM registry_blobs", &[]).await.expect("query");
    assert_eq!(left.len(), 2, "a layer and a config");
    still.reads("a", &layers[7]).await;
    assert_eq!(layers.iter().map(|layer| still.copies(&Digest::sha256(layer))).sum::<usize>(), 1);
    let answer = still.client.get(&format!("/v2/a/manifests/{}", kept.0)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

async fn lease_survives_restart(test: TestDb) {
    let still = Still::new(test).await;
    let [layer, _] = unnamed(&still).await;
    let digest = Digest::sha256(&layer);
    still.pass(limit::LEASE_SECONDS - 1).await;
    assert_eq!(still.head("a", &digest).await, StatusCode::OK);
    // The server is another one now.
    let mut config = still.registry().inner.config.clone();
    config.db = still.world.test.reopen(still.clock.clone()).await;
    let restarted = Registry::new(config);
    still.clock.advance(limit::LEASE_SECONDS / 2);
    while restarted.collect().await.expect("collected") > 0 {}
    still.clock.advance(limit::CONDEMNED_SECONDS);
    while restarted.collect().await.expect("collected") > 0 {}
    assert_eq!(still.state(&digest).await, "live");
    still.reads("a", &layer).await;
}

/// The bytes are in place, and the server is killed before the row is written.
async fn crash_between_rename_and_sql(test: TestDb) {
    let still = Still::new(test).await;
    let layer = file(1);
    let digest = Digest::sha256(&layer);
    let (seen, go) = still.registry().hold_at(Point::Placed);
    let killed = tokio::spawn({
        let (client, layer) = (still.client.clone(), layer.clone());
        async move { client.put_blob("a", &layer).await }
    });
    seen.await.expect("held");
    killed.abort();
    assert!(killed.await.is_err());
    assert_eq!((still.copies(&digest), still.state(&digest).await.as_str()), (1, ""));
    assert_eq!(still.head("a", &digest).await, StatusCode::NOT_FOUND, "nothing was acknowledged");
    // The client tries again, and what it is told now holds.
    still.client.put_blob("a", &layer).await;
    still.reads("a", &layer).await;
    // Who was killed never goes on.
    std::mem::forget(go);
}

/// The row is written, and the server is killed before it says so.
async fn crash_after_sql_before_reply(test: TestDb) {
    let still = Still::new(test).await;
    let layer = file(1);
    let digest = Digest::sha256(&layer);
    let location = still.client.begin("a").await;
    still.client.close(&location, digest, layer.clone()).await;
    // The answer was lost, and is given again: to who brought it alone, and for this blob.
    let again = still.client.close(&location, digest, layer.clone()).await;
    assert_eq!(again.status, StatusCode::CREATED);
    // What is sent again is read to its end, or its sender would not see the answer.
    let path = format!("{location}?digest={digest}");
    let pieces: Vec<Vec<u8>> = layer.chunks(400).map(<[u8]>::to_vec).collect();
    for (more, status) in [(0, StatusCode::CREATED), (1, StatusCode::NOT_FOUND)] {
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        let pieces = [pieces.clone(), vec![b"x".to_vec(); more]].concat();
        let pieces = stream::iter(pieces).map(move |piece| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(piece)
        });
        let long = still.client.send("PUT", &path, &[], Body::from_stream(pieces)).await;
        assert_eq!(
            (long.status, read.load(Ordering::SeqCst)),
            (status, 50 + more),
            "what no blob is so long as"
        );
    }
    let other = still.world.service("other", "AcrPush", "/repositories").await;
    assert_eq!(other.close(&location, digest, layer.clone()).await.code(), "BLOB_UPLOAD_UNKNOWN");
    let never = still.client.close(&location, Digest::sha256(&file(2)), file(2)).await;
    assert_eq!(never.code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(still.head("a", &digest).await, StatusCode::OK);
    still.client.put_blob("a", &layer).await;
    assert_eq!(still.copies(&digest), 1, "the second copy was not kept");
    let (pushed, manifest) = still.client.put_image("a:1", &[&layer]).await;
    let again = still.client.put_manifest("a", "1", &manifest).await;
    assert_eq!(
        (again.status, again.header("docker-content-digest")),
        (StatusCode::CREATED, pushed.to_string().as_str())
    );
    still.reads("a", &layer).await;
}

async fn crash_mid_gc_delete(test: TestDb) {
    let still = Still::new(test).await;
    for point in [Point::Deleting, Point::Removed] {
        let layer = file(1);
        let digest = still.client.put_blob("a", &layer).await;
        still.pass(limit::LEASE_SECONDS).await;
        still.clock.advance(limit::CONDEMNED_SECONDS);
        let dying = still.replica();
        let (seen, go) = dying.hold_at(point);
        let killed = tokio::spawn(async move { dying.collect().await });
        seen.await.expect("held");
        killed.abort();
        assert!(killed.await.is_err());
        drop(go);
        assert_eq!(still.state(&digest).await, "deleting");
        assert_eq!(still.head("a", &digest).await, StatusCode::NOT_FOUND);
        still.collect().await;
        assert_eq!(still.state(&digest).await, "deleting", "the claim of the dead holds for a while");
        still.pass(2 * limit::REVIEW_SECONDS).await;
        assert_eq!((still.state(&digest).await.as_str(), still.copies(&digest)), ("", 0), "{point:?}");
        let reviews = still.query("SELECT 1 FROM registry_reviews WHERE digest = $1", &digest).await;
        assert!(reviews.is_none(), "and nothing is left to be done");
    }
}

async fn clock_jumps_backwards(test: TestDb) {
    let still = Still::new(test).await;
    let [layer, small] = unnamed(&still).await;
    let digest = Digest::sha256(&layer);
    // Condemned, and then it is yesterday: who condemned it waits its quarter of an hour all the same.
    still.pass(limit::LEASE_SECONDS).await;
    still.clock.advance(-DAY);
    still.collect().await;
    assert_eq!(still.state(&digest).await, "condemned");
    // What is told now holds, from now on.
    still.client.put_blob("a", &layer).await;
    still.pass(HOUR).await;
    assert_eq!(still.state(&digest).await, "live");
    still.clock.advance(-30 * DAY);
    assert_eq!(still.head("a", &digest).await, StatusCode::OK);
    for _ in 0..4 {
        still.pass(limit::LEASE_SECONDS / 8).await;
        still.reads("a", &layer).await;
    }
    // When time is what it was, the rest goes.
    still.pass(40 * DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!(still.state(&Digest::sha256(&small)).await, "");
    assert_eq!(still.state(&digest).await, "");
}

async fn what_is_named_stays(test: TestDb) {
    let still = Still::new(test).await;
    let layer = file(1);
    let (digest, _) = still.client.put_image("a:1", &[&layer]).await;
    still.client.put_image("b:1", &[&layer]).await;
    still.pass(3 * DAY).await;
    let left = still.world.test.db.fetch_all("SELECT 1 FROM registry_reviews", &[]).await.expect("query");
    assert!(left.is_empty(), "what is needed is not looked at again");
    still.delete(&format!("a/manifests/{digest}")).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    still.reads("b", &layer).await;
    // Named nowhere, and brought long ago: it goes in two steps.
    still.delete(&format!("b/manifests/{digest}")).await;
    still.pass(0).await;
    assert_eq!(still.state(&Digest::sha256(&layer)).await, "condemned");
    still.pass(limit::CONDEMNED_SECONDS - 1).await;
    // Being looked at again early changes nothing.
    still.delete(&format!("b/blobs/{}", Digest::sha256(&layer))).await;
    still.collect().await;
    assert_eq!(still.state(&Digest::sha256(&layer)).await, "condemned");
    still.pass(1).await;
    assert_eq!(still.state(&Digest::sha256(&layer)).await, "");
    // A link to what is gone opens nothing when another brings it.
    let links = still.query("SELECT 1 FROM registry_links WHERE digest = $1", &Digest::sha256(&layer)).await;
    assert!(links.is_none());
}

async fn a_batch_is_bounded(test: TestDb) {
    let still = Still::new(test).await;
    let most = usize::try_from(limit::REVIEW_BATCH).expect("small");
    assert!(limit::REVIEWS_AT_ONCE <= most);
    let blobs: Vec<_> = (0..=most).map(|at| format!("blob {at}").into_bytes()).collect();
    let pushes = blobs.iter().map(|blob| still.client.put_blob("a", blob));
    futures_util::future::join_all(pushes).await;
    still.clock.advance(limit::LEASE_SECONDS);
    for count in [most, 1, 0] {
        assert_eq!(still.registry().collect().await.expect("collected"), count);
    }
}

async fn pins_are_prolonged_at_half(test: TestDb) {
    let still = Still::new(test).await;
    let digest = still.client.put_blob("a", b"blob").await;
    let pinned = async || {
        let row = still.query("SELECT pinned_until FROM registry_blobs WHERE digest = $1", &digest).await;
        row.expect("row").int(0).expect("a time")
    };
    let first = pinned().await;
    still.clock.advance(limit::LEASE_SECONDS / 2);
    assert_eq!(still.head("a", &digest).await, StatusCode::OK);
    assert_eq!(pinned().await, first, "at the limit");
    still.clock.advance(1);
    assert_eq!(still.head("a", &digest).await, StatusCode::OK);
    assert_eq!(pinned().await, first + (limit::LEASE_SECONDS / 2 + 1) * 1_000_000, "one past it");
}

/// What a manifest says is elsewhere, and was pushed all the same.
async fn foreign_layers_that_were_pushed_stay(test: TestDb) {
    let still = Still::new(test).await;
    let digest = Digest::sha256(&file(1));
    still.client.put_blob("a", &file(1)).await;
    still.client.put_blob("a", super::CONFIG).await;
    let foreign = manifest_of(&file(1)).replace(
        r#""mediaType":"application/vnd.oci.image.layer.v1.tar","#,
        r#""mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","urls":["https://x.test/1"],"#,
    );
    assert_eq!(still.client.put_manifest("a", "1", &foreign).await.status, StatusCode::CREATED);
    let reader = still.world.service("reader", "AcrPull", "/repositories").await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(reader.get(&path).await.status, StatusCode::NOT_FOUND, "it opens nothing");
    let named = still.client.put_manifest("b", "1", &foreign).await;
    assert_eq!(named.code(), "MANIFEST_BLOB_UNKNOWN", "its config");
    still.pass(3 * DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    still.reads("a", &file(1)).await;
    assert_eq!(reader.get(&path).await.status, StatusCode::NOT_FOUND);
    still.delete(&format!("a/manifests/{}", Digest::sha256(foreign.as_bytes()))).await;
    still.pass(DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!(still.state(&digest).await, "", "nothing keeps it");
}

/// They do also while it can be restored, and when it was.
async fn foreign_layers_come_back(test: TestDb) {
    let still = Still::with(test, crate::Collection::default()).await;
    let digest = Digest::sha256(&file(1));
    still.client.put_blob("a", &file(1)).await;
    still.client.put_blob("a", super::CONFIG).await;
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let manifest = manifest_of(&file(1)).replace("application/vnd.oci.image.layer.v1.tar", kind);
    let pushed = still.push("a", super::client::IMAGE, &manifest).await;
    still.delete(&format!("a/manifests/{pushed}")).await;
    still.pass(3 * DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    assert_eq!(still.state(&digest).await, "live", "it can be restored");
    still.restore("a", Err(pushed)).await.expect("restored");
    still.client.put_blob("b", &file(1)).await;
    still.pass(3 * DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    still.reads("a", &file(1)).await;
    // Pushed again it is back as well.
    still.delete(&format!("a/manifests/{pushed}")).await;
    assert_eq!(still.client.put_manifest("a", "1", &manifest).await.status, StatusCode::CREATED);
    still.client.put_blob("b", &file(1)).await;
    still.pass(3 * DAY).await;
    still.pass(limit::CONDEMNED_SECONDS).await;
    still.reads("a", &file(1)).await;
}

/// A layer that may stay away is kept where it was brought, and nowhere else.
async fn foreign_layers_keep_nothing_elsewhere(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_blob("b", &file(1)).await;
    still.client.put_blob("a", super::CONFIG).await;
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let manifest = manifest_of(&file(1)).replace("application/vnd.oci.image.layer.v1.tar", kind);
    assert_eq!(still.client.put_manifest("a", "1", &manifest).await.status, StatusCode::CREATED);
    still.pass(2 * DAY).await;
    still.pass(HOUR).await;
    assert_eq!(still.copies(&Digest::sha256(&file(1))), 0);
}

/// What an artifact names, an image that nobody may pull may name by the time that the artifact is stored.
async fn what_is_named_meanwhile_was_not_checked(test: TestDb) {
    let still = Still::new(test).await;
    let (layer, digest) = (file(1), Digest::sha256(&file(1)));
    let client = still.world.service("ci", "AcrPush", "/repositories/a").await;
    client.put_blob("a", b"{}").await;
    let artifact = format!(
        r#"{{"schemaVersion":2,"mediaType":"{0}","artifactType":"application/x-notes",
            "config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"{1}"}},
            "layers":[{{"mediaType":"text/plain","size":{2},"digest":"{digest}"}}]}}"#,
        super::client::IMAGE,
        Digest::sha256(b"{}"),
        layer.len(),
    );
    let (seen, go) = still.registry().hold_at(Point::Checked);
    let put = client.put_manifest("a", "notes", &artifact);
    let image = async {
        seen.await.expect("held");
        let (image, _) = still.client.put_image("a:1", &[&layer]).await;
        still.world.gate.0.lock().expect("lock").insert(("a".into(), image), "blocked");
        go.send(()).expect("held");
        std::future::pending::<()>().await;
    };
    let answer = match futures_util::future::select(std::pin::pin!(put), std::pin::pin!(image)).await {
        futures_util::future::Either::Left((answer, _)) => answer,
        futures_util::future::Either::Right(((), put)) => put.await,
    };
    assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN", "{}", answer.text());
}
