//! What is deleted here, and in the registry that it was copied to.

use std::sync::Arc;

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    client::{Client, ROOMS, World},
    far::{Far, Fault},
    replication::{again, digest_of, edge, failed, refer, row, rows, run, set, settled},
    upstream::until,
};

db_tests!(super::ROOMS; deletions_go_along_if_they_may, what_others_put_there_stays, what_stood_there_already_stays,
    a_deletion_outlives_a_signature_that_is_refused, a_deletion_outlives_another_password,
    a_deletion_outlives_what_stands_in_front, a_deletion_outlives_a_killed_server,
    what_ends_late_is_looked_at_again);

async fn deletions_go_along_if_they_may(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    for tag in ["1", "2", "3"] {
        client.put_image(&format!("prod/web:{tag}"), &[tag.as_bytes()]).await;
    }
    set(&world, far.address, json!({})).await;
    let _running = run(&world);
    settled(&world).await;
    delete(&client, "prod/web:1").await;
    until(async || rows(&world).await.len() == 2).await;
    assert!(digest_of(&client, "mirror/web:1").await.is_some(), "a copy outlives what it was made of");
    set(&world, far.address, json!({"deletions": true})).await;
    settled(&world).await;
    delete(&client, "prod/web:2").await;
    until(async || digest_of(&client, "mirror/web:2").await.is_none()).await;
    let digest = digest_of(&client, "prod/web:3").await.expect("there");
    delete(&client, &format!("prod/web@{digest}")).await;
    until(async || digest_of(&client, "mirror/web:3").await.is_none()).await;
    settled(&world).await;
    assert!(rows(&world).await.is_empty());
    assert!(digest_of(&client, "mirror/web:1").await.is_some());
}

async fn what_others_put_there_stays(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    client.put_image("prod/web:2", &[b"other"]).await;
    set(&world, far.address, json!({"deletions": true})).await;
    let _running = run(&world);
    settled(&world).await;
    // Somebody moved it there.
    let (theirs, _) = client.put_image("mirror/web:1", &[b"theirs"]).await;
    delete(&client, "prod/web:1").await;
    until(async || rows(&world).await.len() == 1).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, Some(theirs.to_string()));
    // What stands in front of it knows nothing of it.
    far.fault("DELETE /v2/mirror/web/manifests/2", Fault::Status(404));
    delete(&client, "prod/web:2").await;
    assert!(failed(&world).await.contains("does not have it"));
    again(&world).await;
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/web:2").await, None);
    // Where nothing was put yet nothing is deleted.
    client.put_image("prod/web:3", &[b"layer"]).await;
    until(async || digest_of(&client, "mirror/web:3").await.is_some()).await;
    settled(&world).await;
    let (third, _) = client.put_image("other/web:3", &[b"layer"]).await;
    world.gate.0.lock().expect("lock").insert(("prod/web".to_owned(), image), "blocked");
    world.gate.0.lock().expect("lock").insert(("prod/web".to_owned(), third), "blocked");
    set(&world, far.address, json!({"deletions": true, "remote_prefix": "other"})).await;
    assert!(failed(&world).await.ends_with("is blocked"));
    delete(&client, "prod/web:3").await;
    until(async || rows(&world).await.is_empty()).await;
    assert_eq!(digest_of(&client, "other/web:3").await, Some(third.to_string()));
}

/// Whoever put it: the replication did not.
async fn what_stood_there_already_stays(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let acts = async || crate::acr::acts(&world, "manifest.replicate").await;
    for tag in ["1", "2", "3"] {
        client.put_image(&format!("mirror/web:{tag}"), &[b"layer"]).await;
        client.put_image(&format!("prod/web:{tag}"), &[b"layer"]).await;
    }
    set(&world, far.address, json!({"deletions": true})).await;
    let running = run(&world);
    settled(&world).await;
    let theirs = digest_of(&client, "mirror/web:1").await;
    assert!(
        theirs.is_some()
            && rows(&world).await.iter().all(|row| row.digest.map(|it| it.to_string()) == theirs)
    );
    // It is told once that it is there.
    assert_eq!(acts().await, 3);
    again(&world).await;
    settled(&world).await;
    assert_eq!(acts().await, 3);
    delete(&client, "prod/web:1").await;
    until(async || rows(&world).await.len() == 2).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, theirs);
    // What is put there in its stead is the replication's.
    client.put_image("prod/web:2", &[b"moved"]).await;
    settled(&world).await;
    delete(&client, "prod/web:2").await;
    until(async || digest_of(&client, "mirror/web:2").await.is_none()).await;
    // It stays theirs where a signature follows late.
    running.stop().await;
    let image = theirs.as_deref().expect("there").parse().expect("a digest");
    let signature = refer(&client, "prod/web", &image, "application/a.signature").await;
    for _ in 0..100 {
        far.fault(&format!("PUT /v2/mirror/web/manifests/{signature}"), Fault::Status(400));
    }
    let _running = run(&world);
    again(&world).await;
    until(async || row(&world, "3").await.is_some_and(|row| row.error.is_some())).await;
    far.lock().faults.clear();
    again(&world).await;
    settled(&world).await;
    delete(&client, "prod/web:3").await;
    until(async || row(&world, "3").await.is_none()).await;
    assert_eq!(digest_of(&client, "mirror/web:3").await, theirs);
}

async fn delete(client: &Client, name: &str) {
    let (repository, name) = name.split_once(['@', ':']).expect("a tag or a digest");
    let answer = client.send("DELETE", &format!("/v2/{repository}/manifests/{name}"), &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
}

/// Has all that was claimed due.
async fn due_now(world: &World) {
    world.alter("UPDATE registry_outgoing SET due = 0 WHERE due IS NOT NULL".to_owned()).await;
}

async fn a_deletion_outlives_a_signature_that_is_refused(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    let (image, _) = client.put_image("prod/web:1", &[b"layer"]).await;
    let signature = refer(&client, "prod/web", &image, "application/a.signature").await;
    let call = format!("PUT /v2/mirror/web/manifests/{signature}");
    for _ in 0..100 {
        far.fault(&call, Fault::Status(400));
    }
    set(&world, far.address, json!({"deletions": true})).await;
    let _running = run(&world);
    until(async || row(&world, "1").await.is_some_and(|row| row.error.is_some())).await;
    let there = row(&world, "1").await.expect("a row");
    assert!(there.error.is_some_and(|error| error.contains("400")));
    assert_eq!(there.digest, Some(image));
    delete(&client, "prod/web:1").await;
    until(async || digest_of(&client, "mirror/web:1").await.is_none()).await;
    // What it asks for is done.
    world.registry.remove_replication(&Identity::operator(0), &edge()).await.expect("removed");
    let (other, _) = client.put_image("prod/web:2", &[b"other"]).await;
    let signature = refer(&client, "prod/web", &other, "application/a.signature").await;
    far.fault(&format!("PUT /v2/mirror/web/manifests/{signature}"), Fault::Busy(600));
    let asked_at = world.test.db.now();
    set(&world, far.address, json!({"deletions": true})).await;
    until(async || row(&world, "2").await.is_some_and(|row| row.error.is_some())).await;
    let there = row(&world, "2").await.expect("a row");
    assert!(there.due.is_some_and(|due| due >= asked_at.plus_seconds(600)), "{there:?}");
    assert_eq!(there.digest, Some(other));
}

async fn a_deletion_outlives_another_password(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    client.put_image("prod/web:1", &[b"layer"]).await;
    client.put_image("prod/web:2", &[b"layer"]).await;
    let login = |password: &str| json!({"deletions": true, "username": "we", "password": password});
    set(&world, far.address, login("old")).await;
    let running = run(&world);
    settled(&world).await;
    running.stop().await;
    far.lock().down = Some(401);
    delete(&client, "prod/web:1").await;
    set(&world, far.address, login("new")).await;
    far.lock().down = None;
    let running = run(&world);
    until(async || digest_of(&client, "mirror/web:1").await.is_none()).await;
    settled(&world).await;
    running.stop().await;
    // Elsewhere nothing was put, whatever is there by that name.
    for more in [json!({"remote_prefix": "moved"}), json!({"prefix": "prod/web", "remote_prefix": "moved"})] {
        let mut settings = login("new");
        settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        set(&world, far.address, settings).await;
        assert!(row(&world, "2").await.is_some_and(|row| row.digest.is_none()), "{more}");
        let running = run(&world);
        settled(&world).await;
        assert!(row(&world, "2").await.is_some_and(|row| row.digest.is_some()), "{more}");
        running.stop().await;
    }
}

async fn a_deletion_outlives_what_stands_in_front(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    client.put_image("prod/web:1", &[b"layer"]).await;
    set(&world, far.address, json!({"deletions": true})).await;
    let _running = run(&world);
    settled(&world).await;
    far.lock().down = Some(404);
    delete(&client, "prod/web:1").await;
    assert!(failed(&world).await.contains("does not have it"));
    far.lock().down = None;
    again(&world).await;
    settled(&world).await;
    assert_eq!(digest_of(&client, "mirror/web:1").await, None);
    // A registry that says so is right.
    client.put_image("prod/web:2", &[b"layer"]).await;
    until(async || row(&world, "2").await.is_some_and(|row| row.done_at.is_some())).await;
    delete(&client, "mirror/web:2").await;
    delete(&client, "prod/web:2").await;
    until(async || rows(&world).await.is_empty()).await;
}

/// After it put a tag there, and before it noted that; whether something was there before or not.
async fn a_deletion_outlives_a_killed_server(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    client.put_image("prod/web:2", &[b"before"]).await;
    set(&world, far.address, json!({"deletions": true})).await;
    let running = run(&world);
    settled(&world).await;
    running.stop().await;
    for tag in ["1", "2"] {
        let (image, _) = client.put_image(&format!("prod/web:{tag}"), &[b"layer"]).await;
        let done = Arc::new(Notify::new());
        far.fault(&format!("PUT /v2/mirror/web/manifests/{tag}"), Fault::Mute(done.clone()));
        let running = run(&world);
        done.notified().await;
        running.kill().await;
        let name = format!("mirror/web:{tag}");
        assert_eq!(digest_of(&client, &name).await, Some(image.to_string()));
        delete(&client, &format!("prod/web:{tag}")).await;
        due_now(&world).await;
        let running = run(&world);
        until(async || digest_of(&client, &name).await.is_none()).await;
        settled(&world).await;
        running.stop().await;
    }
    // One that was not put there: what was before is deleted.
    client.put_image("prod/web:3", &[b"before"]).await;
    let running = run(&world);
    settled(&world).await;
    running.stop().await;
    client.put_image("prod/web:3", &[b"after"]).await;
    let waits = Arc::new(Notify::new());
    let never = Arc::new(Notify::new());
    far.fault("PUT /v2/mirror/web/manifests/3", Fault::Wait(waits.clone(), never));
    let running = run(&world);
    waits.notified().await;
    running.kill().await;
    delete(&client, "prod/web:3").await;
    due_now(&world).await;
    let _running = run(&world);
    until(async || digest_of(&client, "mirror/web:3").await.is_none()).await;
}

/// As by another server, which took longer: its image is there last, or the tag is deleted that was put there meanwhile.
async fn what_ends_late_is_looked_at_again(test: TestDb) {
    let world = World::new(test).await;
    let (client, far) = (world.operator(), Far::of(&world).await);
    client.put_image("prod/web:1", &[b"first"]).await;
    let newer = async |digest: Digest| {
        let set = "due = NULL, tries = 0, epoch = epoch + 1, error = NULL, sent = NULL";
        world.alter(format!("UPDATE registry_outgoing SET {set}, digest = '{digest}'")).await;
    };
    let put = "PUT /v2/mirror/web/manifests/1";
    let puts = || far.lock().calls.iter().filter(|(call, _)| call == put).count();
    let is_second = async |second: Digest| {
        settled(&world).await;
        assert_eq!(digest_of(&client, "mirror/web:1").await, Some(second.to_string()));
        let row = row(&world, "1").await.expect("a row");
        assert_eq!((row.digest, row.error), (Some(second), None));
    };
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    far.fault(put, Fault::Wait(waits.clone(), go.clone()));
    set(&world, far.address, json!({"deletions": true})).await;
    let _running = run(&world);
    waits.notified().await;
    let (second, manifest) = client.put_image("prod/web:1", &[b"second"]).await;
    client.put_image("mirror/web:1", &[b"second"]).await;
    newer(second).await;
    go.notify_one();
    until(async || puts() == 2).await;
    is_second(second).await;
    far.fault("DELETE /v2/mirror/web/manifests/1", Fault::Wait(waits.clone(), go.clone()));
    delete(&client, "prod/web:1").await;
    waits.notified().await;
    client.put_manifest("prod/web", "1", &manifest).await;
    newer(second).await;
    go.notify_one();
    until(async || puts() == 3).await;
    is_second(second).await;
}
