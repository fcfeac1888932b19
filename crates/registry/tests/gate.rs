//! Nothing of a refused image leaks, and nobody learns what they may not see.

use std::sync::Arc;

use http::StatusCode;
use seaworthy_access::{DockerScope, Identity, PrincipalKind};
use seaworthy_model::{Actor, Clock as _, FixedClock, SystemClock};
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};

use crate::{
    client::{ROOMS, World},
    queries,
};

db_tests!(super::ROOMS; a_blocked_image_is_refused_by_every_name, layers_do_not_leak,
    a_layer_waits_for_what_is_pending,
    an_artifact_opens_nothing, an_inspector_may_pull,
    a_mount_gives_what_may_be_read, mount_without_read_right_falls_back_202,
    a_mount_asks_the_same_of_what_is_elsewhere_and_of_nothing,
    a_mount_from_anywhere_reads_what_its_source_let, a_mount_from_anywhere_looks_at_so_many_repositories,
    a_narrow_token_is_challenged_for_the_source,
    what_may_not_be_read_is_not_absent_to_who_writes_there, a_pusher_looks_with_any_token,
    the_token_of_everybody_is_challenged, what_one_brought_another_may_not_name, refusals_are_counted,
    repeats_are_counted_for_their_time, a_layer_of_many_images_is_found, what_was_read_of_a_blob_ends_with_it,
    anonymous_is_challenged, a_rejected_credential_is_challenged_with_its_scope, a_gate_that_cannot_answer_serves_nothing);

fn layer() -> Vec<u8> {
    vec![5u8; 60_000]
}

async fn blocked(world: &World) -> Digest {
    let (digest, _) = world.operator().put_image("prod/web:1", &[&layer()]).await;
    world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), "blocked");
    digest
}

/// A policy that changes judges anew what is being pulled: its layers wait as its manifest does, once.
async fn a_layer_waits_for_what_is_pending(test: TestDb) {
    let world = World::new(test).await;
    let client = world.service("ci", "AcrPull", "/repositories/prod").await;
    let say = |digest: Digest, verdict| {
        world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), verdict);
    };
    let (one, _) = world.operator().put_image("prod/web:1", &[&layer()]).await;
    let (two, _) = world.operator().put_image("prod/web:2", &[&layer(), b"more"]).await;
    let path = format!("/v2/prod/web/blobs/{}", Digest::sha256(&layer()));
    for (verdicts, status) in [
        (["soon", "soon"], StatusCode::OK),
        (["soon", "blocked"], StatusCode::OK),
        (["blocked", "soon"], StatusCode::OK),
        (["pending", "blocked"], StatusCode::FORBIDDEN),
        (["blocked", "blocked"], StatusCode::FORBIDDEN),
    ] {
        say(one, verdicts[0]);
        say(two, verdicts[1]);
        assert_eq!(client.get(&path).await.status, status, "{verdicts:?}");
    }
    // Who pushes does not wait for it.
    say(one, "soon");
    let pusher = world.service("pusher", "AcrPush", "/repositories/prod").await;
    let mount = format!("/v2/prod/api/blobs/uploads/?mount={}&from=prod/web", Digest::sha256(&layer()));
    let mounted = pusher.send("POST", &mount, &[], "").await;
    assert_eq!(mounted.status, StatusCode::ACCEPTED, "it is sent");
    let digest = Digest::sha256(&layer());
    assert_eq!(pusher.close(mounted.header("location"), digest, layer()).await.status, StatusCode::CREATED);
}

async fn a_blocked_image_is_refused_by_every_name(test: TestDb) {
    let world = World::new(test).await;
    let digest = blocked(&world).await;
    let client = world.service("ci", "AcrPull", "/repositories/prod").await;
    for reference in ["1".to_owned(), digest.to_string()] {
        let path = format!("/v2/prod/web/manifests/{reference}");
        let answer = client.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
        assert!(answer.text().contains(&format!("prod/web@{digest} is blocked")), "{}", answer.text());
        let head = client.send("HEAD", &path, &[], "").await;
        assert_eq!(head.status, StatusCode::OK, "clients GET next, and show the text");
    }
    // The same image elsewhere is another question.
    world.operator().put_image("dev/web:1", &[&layer()]).await;
    let dev = world.service("dev", "AcrPull", "/repositories/dev").await;
    assert_eq!(dev.get("/v2/dev/web/manifests/1").await.status, StatusCode::OK);
}

async fn layers_do_not_leak(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let client = world.service("ci", "AcrPush", "/repositories/prod").await;
    let digest = Digest::sha256(&layer());
    let path = format!("/v2/prod/web/blobs/{digest}");
    for range in ["bytes=0-", "bytes=0-10", "bytes=0-1,5-6", "bytes=500-0", "x"] {
        let answer = client.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{range}");
        assert!(answer.text().contains("is blocked"));
    }
    // Not even that it is the content which somebody guessed.
    let etag = format!("\"{digest}\"");
    let guessed = client.send("GET", &path, &[("if-none-match", &etag)], "").await;
    assert_eq!(guessed.status, StatusCode::FORBIDDEN);
    let manifest = client.send("GET", "/v2/prod/web/manifests/1", &[("if-none-match", "*")], "").await;
    assert_eq!(manifest.status, StatusCode::FORBIDDEN);
    let reader = world.service("reader", "AcrPull", "/repositories/prod").await;
    assert_eq!(reader.send("HEAD", &path, &[], "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        client.send("HEAD", &path, &[], "").await.status,
        StatusCode::OK,
        "a pusher's existence check"
    );
    // Bringing the same bytes again does not open the door that a refused manifest closed.
    client.put_blob("prod/web", &layer()).await;
    assert_eq!(client.get(&path).await.status, StatusCode::FORBIDDEN);
    // A second image with that layer which is allowed does.
    client.put_image("prod/web:2", &[&layer(), b"fixed"]).await;
    assert_eq!(client.get(&path).await.status, StatusCode::OK);
    // Not linked here, though stored: not there.
    let puller = world.service("other", "AcrPush", "/repositories/other").await;
    let elsewhere = puller.send("HEAD", &format!("/v2/other/x/blobs/{digest}"), &[], "").await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
}

/// An artifact is not judged, so a refused layer must not become readable by being named in one.
async fn an_artifact_opens_nothing(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let client = world.service("ci", "AcrPush", "/repositories/prod").await;
    let (layer, digest) = (layer(), Digest::sha256(&layer()));
    let artifact = |layer: &[u8]| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "artifactType":"application/x-notes",
            "config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"{}"}},
            "layers":[{{"mediaType":"text/plain","size":{},"digest":"{}"}}]}}"#,
            Digest::sha256(b"{}"),
            layer.len(),
            Digest::sha256(layer)
        )
    };
    client.put_blob("prod/web", b"{}").await;
    client.put_blob("prod/new", b"{}").await;
    let answer = client.put_manifest("prod/web", "notes", &artifact(&layer)).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    assert!(answer.text().contains("an artifact cannot name"), "{}", answer.text());
    assert_ne!(client.get(&format!("/v2/prod/web/blobs/{digest}")).await.status, StatusCode::OK);
    let answer = client.put_manifest("prod/new", "notes", &artifact(&layer)).await;
    assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN", "it is not there");
    // Not there at all is told as such.
    let answer = client.put_manifest("prod/web", "notes", &artifact(b"nowhere")).await;
    assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN");
    // What is everybody's may be named, and so may bytes that its pusher has.
    client.put_blob("prod/web", b"my notes").await;
    let answer = client.put_manifest("prod/web", "notes", &artifact(b"my notes")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let second = world.service("second", "AcrPush", "/repositories/prod").await;
    let answer = second.put_manifest("prod/web", "again", &artifact(b"my notes")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    second.put_blob("prod/web", &layer).await;
    let answer = second.put_manifest("prod/web", "mine", &artifact(&layer)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "who has the bytes may name them: {}", answer.text());
    // And opens them to nobody else, as long as an image that has them is refused.
    let mine = Digest::sha256(artifact(&layer).as_bytes());
    let say = |digest: Digest, verdict: &'static str| {
        world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), verdict);
    };
    say(mine, "artifact");
    let reader = world.service("reader", "AcrPull", "/repositories/prod").await;
    let path = format!("/v2/prod/web/blobs/{digest}");
    assert_eq!(reader.get(&path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(second.get(&path).await.status, StatusCode::OK, "who brought them");
    // Another's build that shares them is told that they are here, and may name them, not read them.
    let third = world.service("third", "AcrPush", "/repositories/prod").await;
    let shared = artifact(&layer).replace("x-notes", "x-cache");
    say(Digest::sha256(shared.as_bytes()), "artifact");
    assert_eq!(third.send("HEAD", &path, &[], "").await.status, StatusCode::OK);
    let answer = third.put_manifest("prod/web", "shared", &shared).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(third.get(&path).await.status, StatusCode::FORBIDDEN);
    let mount = format!("/v2/prod/new/blobs/uploads/?mount={digest}&from=prod/web");
    assert_eq!(third.send("POST", &mount, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(reader.get("/v2/prod/web/manifests/mine").await.status, StatusCode::OK);
    let notes = format!("/v2/prod/web/blobs/{}", Digest::sha256(b"my notes"));
    say(Digest::sha256(artifact(b"my notes").as_bytes()), "artifact");
    assert_eq!(reader.get(&notes).await.status, StatusCode::OK, "no image has them");
    // An artifact that is refused, for what it refers to is, closes nothing.
    let config = format!("/v2/prod/web/blobs/{}", Digest::sha256(b"{}"));
    say(mine, "of what is blocked");
    assert_eq!(reader.get("/v2/prod/web/manifests/mine").await.status, StatusCode::FORBIDDEN);
    assert_eq!(reader.get(&config).await.status, StatusCode::OK);
    let (other, _) = world.operator().put_image("prod/web:other", &[&layer, b"other"]).await;
    say(mine, "artifact");
    assert_eq!(reader.get(&path).await.status, StatusCode::OK, "an image that may be pulled has it");
    say(other, "pending");
    assert_eq!(reader.get(&path).await.status, StatusCode::FORBIDDEN);
}

async fn an_inspector_may_pull(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let owner = world.service("owner", "Owner", "/").await;
    assert_eq!(
        owner.get("/v2/prod/web/manifests/1").await.status,
        StatusCode::FORBIDDEN,
        "not even the owner"
    );
    let inspector = world.service("inspector", "AcrQuarantineReader", "/repositories/prod").await;
    assert_eq!(inspector.get("/v2/prod/web/manifests/1").await.status, StatusCode::OK);
    let path = format!("/v2/prod/web/blobs/{}", Digest::sha256(&layer()));
    assert_eq!(inspector.get(&path).await.status, StatusCode::OK);
}

/// Of what is refused the bytes are asked for: who has them may name them.
async fn a_mount_gives_what_may_be_read(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let digest = Digest::sha256(&layer());
    let client = world.service("ci", "AcrPush", "/repositories/prod").await;
    let mount = format!("/v2/prod/new/blobs/uploads/?mount={digest}&from=prod/web");
    let answer = client.send("POST", &mount, &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let head = client.send("HEAD", &format!("/v2/prod/new/blobs/{digest}"), &[], "").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
    let closed = client.close(answer.header("location"), digest, layer()).await;
    assert_eq!(closed.status, StatusCode::CREATED, "{}", closed.text());
    // Who brought it has it, whatever became of the image there.
    let mount = format!("/v2/prod/more/blobs/uploads/?mount={digest}&from=prod/new");
    let mounted = client.send("POST", &mount, &[], "").await;
    assert_eq!(
        (mounted.status, mounted.header("location")),
        (StatusCode::CREATED, format!("/v2/prod/more/blobs/{digest}").as_str())
    );
    // Mounted from where it could be read, it can be read by whom mounted it.
    world.operator().put_image("prod/open:1", &[&vec![9u8; 50_000]]).await;
    let open = Digest::sha256(&vec![9u8; 50_000]);
    let mount = format!("/v2/prod/new/blobs/uploads/?mount={open}&from=prod/open");
    assert_eq!(client.send("POST", &mount, &[], "").await.status, StatusCode::CREATED);
    assert_eq!(client.get(&format!("/v2/prod/new/blobs/{open}")).await.status, StatusCode::OK);
    let other = world.service("other", "AcrPull", "/repositories/prod/new").await;
    assert_eq!(
        other.get(&format!("/v2/prod/new/blobs/{open}")).await.status,
        StatusCode::NOT_FOUND,
        "to nobody else"
    );
}

/// No right on the source, no such repository, no such blob: the same answer, and the upload goes on.
async fn mount_without_read_right_falls_back_202(test: TestDb) {
    let world = World::new(test).await;
    world.operator().put_image("prod/open:1", &[&layer()]).await;
    let (digest, none) = (Digest::sha256(&layer()), Digest::sha256(b"none"));
    let stranger = world.service("stranger", "AcrPush", "/repositories/dev").await;
    stranger.put_blob("dev/web", b"x").await;
    for query in [
        format!("mount={digest}&from=prod/open"),
        format!("mount={digest}&from=no/such"),
        format!("mount={digest}&from=dev/web"),
        format!("mount={none}&from=dev/web"),
        format!("mount={digest}&from=NOT%20A%20NAME"),
        format!("mount={digest}"),
        format!("mount={none}"),
    ] {
        let answer = stranger.send("POST", &format!("/v2/dev/x/blobs/uploads/?{query}"), &[], "").await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::ACCEPTED, ""), "{query}");
        let head = stranger.send("HEAD", &format!("/v2/dev/x/blobs/{digest}"), &[], "").await;
        assert_eq!(head.status, StatusCode::NOT_FOUND, "{query}");
        let closed = stranger.close(answer.header("location"), Digest::sha256(b"own"), b"own".to_vec()).await;
        assert_eq!(closed.status, StatusCode::CREATED, "{query}: {}", closed.text());
    }
}

/// Nor by how long it takes: the same queries are made, whether the blob is somewhere else or nowhere.
async fn a_mount_asks_the_same_of_what_is_elsewhere_and_of_nothing(test: TestDb) {
    let world = World::new(test).await;
    for name in ["prod/open:1", "prod/other:1", "ops/tool:1"] {
        world.operator().put_image(name, &[&layer()]).await;
    }
    let stranger = world.service("stranger", "AcrPush", "/repositories/dev").await;
    stranger.put_blob("dev/web", b"x").await;
    let asked = async |query: &str| {
        let path = format!("/v2/dev/x/blobs/uploads/?{query}");
        queries::of(async {
            assert_eq!(stranger.send("POST", &path, &[], "").await.status, StatusCode::ACCEPTED, "{query}");
        })
        .await
    };
    let (digest, none) = (Digest::sha256(&layer()), Digest::sha256(b"none"));
    asked(&format!("mount={digest}")).await;
    for from in ["", "&from=dev/web", "&from=prod/open"] {
        let (elsewhere, nowhere) =
            (asked(&format!("mount={digest}{from}")).await, asked(&format!("mount={none}{from}")).await);
        assert!(!elsewhere.is_empty() || from == "&from=prod/open", "no query was seen");
        assert_eq!(elsewhere, nowhere, "{from}");
    }
    assert_eq!(
        asked(&format!("mount={digest}&from=prod/open")).await,
        asked(&format!("mount={digest}&from=no/such")).await
    );
    for method in ["HEAD", "GET"] {
        let looked = async |digest: &Digest| {
            let path = format!("/v2/dev/web/blobs/{digest}");
            queries::of(async {
                let status = stranger.send(method, &path, &[], "").await.status;
                assert_eq!(status, StatusCode::NOT_FOUND, "{method}");
            })
            .await
        };
        let (elsewhere, nowhere) = (looked(&digest).await, looked(&none).await);
        assert_eq!((elsewhere.is_empty(), &elsewhere), (false, &nowhere), "{method}");
    }
}

/// Without `from`, a mount finds the blob where the caller may pull it, and reads it if it could there.
async fn a_mount_from_anywhere_reads_what_its_source_let(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let client = world.service("ci", "AcrPush", "/repositories/prod").await;
    let digest = Digest::sha256(&layer());
    let mount = async |repository: &str| {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}");
        client.send("POST", &path, &[], "").await.status
    };
    let read = async |repository: &str| client.get(&format!("/v2/{repository}/blobs/{digest}")).await.status;
    assert_eq!(mount("prod/new").await, StatusCode::ACCEPTED, "all that has it is blocked");
    assert_eq!(read("prod/new").await, StatusCode::NOT_FOUND);
    world.operator().put_image("prod/zzz:1", &[&layer()]).await;
    assert_eq!(mount("prod/other").await, StatusCode::CREATED);
    assert_eq!(read("prod/other").await, StatusCode::OK, "from the repository that lets it be read");
    // Nothing but the principal's own link has it.
    let own = client.put_blob("prod/mine", b"mine").await;
    let path = format!("/v2/prod/new/blobs/uploads/?mount={own}");
    assert_eq!(client.send("POST", &path, &[], "").await.status, StatusCode::CREATED);
    assert_eq!(client.get(&format!("/v2/prod/new/blobs/{own}")).await.status, StatusCode::OK);
}

async fn a_mount_from_anywhere_looks_at_so_many_repositories(test: TestDb) {
    let world = World::new(test).await;
    let operator = world.operator();
    let most = usize::try_from(limit::MOUNT_SOURCES).expect("small");
    for number in 1..=most {
        operator.put_image(&format!("a{number:03}:1"), &[b"shared"]).await;
    }
    let client = world.service("ci", "AcrPush", "/repositories/b").await;
    let last = async |name: &str| {
        let scope = format!("/repositories/a{most:03}").parse().expect("scope");
        world.access.assign(&Actor::system(), name, "AcrPull", scope).await.expect("assigned");
    };
    last("ci").await;
    let path = format!("/v2/b/blobs/uploads/?mount={}", Digest::sha256(b"shared"));
    assert_eq!(client.send("POST", &path, &[], "").await.status, StatusCode::CREATED, "the last one");
    operator.put_image("a000:1", &[b"shared"]).await;
    let again = format!("/v2/b/c/blobs/uploads/?mount={}", Digest::sha256(b"shared"));
    let other = world.service("other", "AcrPush", "/repositories/b/c").await;
    last("other").await;
    assert_eq!(other.send("POST", &again, &[], "").await.status, StatusCode::ACCEPTED, "one past it");
}

/// A token for the target alone is not enough for a mount, and says so: the client fetches one for both.
async fn a_narrow_token_is_challenged_for_the_source(test: TestDb) {
    let world = World::new(test).await;
    let identity = world.identity("ci", "AcrPush", "/repositories").await;
    world.operator().put_image("a:1", &[b"x"]).await;
    let token = async |scopes: &[&str]| {
        let scopes = DockerScope::parse_all(scopes.iter().copied());
        let token = world.access.issue_token(&identity, &scopes).await.expect("token");
        world.as_identity(world.access.authenticate_token(token.token.expose(), None).await.expect("valid"))
    };
    let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", Digest::sha256(b"x"));
    let narrow = token(&["repository:b:pull,push"]).await;
    let answer = narrow.send("POST", &path, &[("authorization", "Bearer narrow")], "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = answer.header("www-authenticate");
    let wanted = r#"scope="repository:b:pull,push repository:a:pull",error="insufficient_scope""#;
    assert!(challenge.ends_with(wanted), "{challenge}");
    let anywhere = format!("/v2/b/blobs/uploads/?mount={}", Digest::sha256(b"x"));
    let answer = narrow.send("POST", &anywhere, &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "a token opens no more than it says");
    let wide = token(&["repository:b:pull,push", "repository:a:pull"]).await;
    assert_eq!(wide.send("POST", &path, &[], "").await.status, StatusCode::CREATED);
}

/// What clients take for absent they write anew: signatures, tags.
async fn what_may_not_be_read_is_not_absent_to_who_writes_there(test: TestDb) {
    let world = World::new(test).await;
    let (digest, _) = world.operator().put_image("dev/app:1", &[b"x"]).await;
    let deleter = world.service("deleter", "AcrDelete", "/repositories/dev").await;
    for path in [format!("/v2/dev/app/manifests/{digest}"), "/v2/dev/app/tags/list".to_owned()] {
        let answer = deleter.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"), "{path}");
        assert!(answer.text().contains("pull from `dev/app`"), "{}", answer.text());
    }
    let push = deleter.send("POST", "/v2/dev/app/blobs/uploads/", &[], "").await;
    assert_eq!(push.status, StatusCode::FORBIDDEN);
    // Elsewhere it may do nothing, and learns nothing.
    world.operator().put_image("ops/app:1", &[b"x"]).await;
    for repository in ["ops/app", "no/such"] {
        let answer = deleter.get(&format!("/v2/{repository}/manifests/1")).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    }
}

/// Clients ask with a token to pull what is there, before they ask for one to push.
async fn a_pusher_looks_with_any_token(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let digest = Digest::sha256(&layer());
    let identity = world.identity("ci", "AcrPush", "/repositories/prod").await;
    let reader = world.identity("reader", "AcrPull", "/repositories/prod").await;
    for (identity, scope, status) in [
        (&identity, "repository:prod/web:pull", StatusCode::OK),
        (&identity, "repository:prod/web:pull,push", StatusCode::OK),
        (&identity, "repository:prod/other:pull", StatusCode::UNAUTHORIZED),
        (&reader, "repository:prod/web:pull,push", StatusCode::FORBIDDEN),
    ] {
        let scopes = DockerScope::parse_all(std::iter::once(scope));
        let token = world.access.issue_token(identity, &scopes).await.expect("token").token;
        let bearer = world.access.authenticate_token(token.expose(), None).await.expect("valid");
        let client = world.as_identity(bearer);
        let path = format!("/v2/prod/web/blobs/{digest}");
        assert_eq!(client.send("HEAD", &path, &[], "").await.status, status, "{scope}");
        let get = client.get(&path).await.status;
        assert_eq!(get, if status == StatusCode::OK { StatusCode::FORBIDDEN } else { status }, "{scope}");
    }
}

/// Who shows the token of everybody has not signed in: what it does not open may be there for who does.
async fn the_token_of_everybody_is_challenged(test: TestDb) {
    let world = World::new(test).await;
    for name in ["public/app:1", "dev/app:1"] {
        world.operator().put_image(name, &[b"x"]).await;
    }
    let (actor, name) = (Actor::system(), "anonymous".parse().expect("a name"));
    world.access.create_principal(&actor, name, PrincipalKind::ServicePrincipal).await.expect("created");
    let public = "/repositories/public".parse().expect("scope");
    world.access.assign(&actor, "anonymous", "AcrPull", public).await.expect("assigned");
    let nobody = Identity::anonymous(None);
    for (name, status) in [
        ("public/app", StatusCode::OK),
        ("dev/app", StatusCode::UNAUTHORIZED),
        ("no/such", StatusCode::UNAUTHORIZED),
    ] {
        let scopes = DockerScope::parse_all(std::iter::once(format!("repository:{name}:pull").as_str()));
        let token = world.access.issue_token(&nobody, &scopes).await.expect("token").token;
        let bearer = world.access.authenticate_token(token.expose(), None).await.expect("valid");
        let answer = world.as_identity(bearer).get(&format!("/v2/{name}/manifests/1")).await;
        assert_eq!(answer.status, status, "{name}");
        let challenge = answer.header("www-authenticate");
        let wanted = format!("scope=\"repository:{name}:pull\"");
        assert_eq!(challenge.ends_with(&wanted), status != StatusCode::OK, "{challenge}");
    }
}

async fn what_one_brought_another_may_not_name(test: TestDb) {
    let world = World::new(test).await;
    let one = world.service("one", "AcrPush", "/repositories/a").await;
    let two = world.service("two", "AcrPush", "/repositories/a").await;
    // What one brought, two may not name until a manifest reaches it.
    let layer = one.put_blob("a", b"layer of one").await;
    assert_eq!(
        two.send("HEAD", &format!("/v2/a/blobs/{layer}"), &[], "").await.status,
        StatusCode::NOT_FOUND
    );
    let config = two.put_blob("a", b"{}").await;
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":12}}]}}"#
    );
    assert_eq!(two.put_manifest("a", "1", &manifest).await.code(), "MANIFEST_BLOB_UNKNOWN");
}

async fn refusals_are_counted(test: TestDb) {
    let world = World::new(test).await;
    let digest = blocked(&world).await;
    let client = world.service("ci", "AcrPull", "/repositories/prod").await;
    for _ in 0..5 {
        client.get("/v2/prod/web/manifests/1").await;
    }
    let count = async |action: &str| {
        let rows = world
            .test
            .db
            .fetch_all("SELECT leaf FROM ledger_leaves WHERE action = $1 AND actor = 'ci'", args![action])
            .await
            .expect("query");
        rows.iter().map(|row| row.text(0).expect("leaf").to_owned()).collect::<Vec<_>>()
    };
    let first = count("pull.refuse").await;
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].contains(&format!("repositories/prod/web@{digest}")) && first[0].contains("blocked"));
    assert!(count("pull.refuse.repeat").await.is_empty());
    let cancel = tokio_util::sync::CancellationToken::new();
    cancel.cancel();
    world.registry.clone().upkeep(cancel).await;
    let repeats = count("pull.refuse.repeat").await;
    assert!(repeats.len() == 1 && repeats[0].contains(r#""repeats":4"#), "{repeats:?}");
}

async fn repeats_are_counted_for_their_time(mut test: TestDb) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    test.db = test.reopen(clock.clone()).await;
    let world = World::new(test).await;
    blocked(&world).await;
    let client = world.operator();
    let refused = async || {
        assert_eq!(client.get("/v2/prod/web/manifests/1").await.status, StatusCode::FORBIDDEN);
        let sql = "SELECT COUNT(*) FROM ledger_leaves WHERE action = 'pull.refuse'";
        world.test.db.fetch_all(sql, args![]).await.expect("query")[0].int(0).expect("count")
    };
    assert_eq!(refused().await, 1);
    clock.advance(limit::REFUSAL_SECONDS - 1);
    assert_eq!(refused().await, 1, "a repeat");
    clock.advance(1);
    assert_eq!(refused().await, 2, "its time is over: a record of its own");
}

async fn a_layer_of_many_images_is_found(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (first, manifest) = client.put_image("prod/web:0", &[&layer()]).await;
    let mut images = vec![first];
    let page = usize::try_from(limit::REACH_PAGE).expect("small");
    let reader = world.service("ci", "AcrPull", "/repositories/prod").await;
    let path = format!("/v2/prod/web/blobs/{}", Digest::sha256(&layer()));
    for number in 1..=page {
        if number == page {
            assert_eq!(images.len(), page);
            images.iter().for_each(|digest| refuse(&world, *digest));
            assert_eq!(reader.get(&path).await.status, StatusCode::FORBIDDEN, "one full page");
        }
        let other = format!("{manifest}{}", " ".repeat(number));
        let answer = client.put_manifest("prod/web", "next", &other).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        images.push(Digest::sha256(other.as_bytes()));
    }
    images.iter().for_each(|digest| refuse(&world, *digest));
    assert_eq!(reader.get(&path).await.status, StatusCode::FORBIDDEN);
    // The image that is looked at last is the only one that opens the layer.
    let last = images.iter().max_by_key(ToString::to_string).expect("images");
    world.gate.0.lock().expect("lock").remove(&("prod/web".into(), *last));
    assert_eq!(reader.get(&path).await.status, StatusCode::OK);
}

fn refuse(world: &World, digest: Digest) {
    world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), "blocked");
}

async fn anonymous_is_challenged(test: TestDb) {
    let world = World::new(test).await;
    blocked(&world).await;
    let nobody = world.as_identity(Identity::anonymous(None));
    let digest = Digest::sha256(b"x");
    for (method, path, scope) in [
        ("GET", "/v2/".to_owned(), ""),
        ("GET", "/v2/_catalog".to_owned(), "registry:catalog:*"),
        ("GET", "/v2/prod/web/manifests/1".to_owned(), "repository:prod/web:pull"),
        ("HEAD", "/v2/no/such/manifests/1".to_owned(), "repository:no/such:pull"),
        (
            "POST",
            format!("/v2/a/blobs/uploads/?mount={digest}&from=b"),
            "repository:a:pull,push repository:b:pull",
        ),
        ("DELETE", "/v2/a/manifests/1".to_owned(), "repository:a:delete"),
    ] {
        let answer = nobody.send(method, &path, &[], "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        let challenge = answer.header("www-authenticate");
        let expected = "Bearer realm=\"http://localhost:5000/oauth2/token\",service=\"registry.test\"";
        assert!(challenge.starts_with(expected), "{challenge}");
        assert!(scope.is_empty() || challenge.ends_with(&format!("scope=\"{scope}\"")), "{challenge}");
    }
}

async fn a_rejected_credential_is_challenged_with_its_scope(test: TestDb) {
    let world = World::new(test).await;
    world.operator().put_image("dev/web:1", &[b"x"]).await;
    let answer = world.rejected().get("/v2/dev/web/manifests/1").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "not as from somebody who may");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.ends_with("scope=\"repository:dev/web:pull\""), "{challenge}");
    for (path, shown, error) in [
        ("/v2/dev/web/manifests/1", "bearer ended", true),
        ("/acr/v1/dev/web", "Bearer ended", true),
        ("/v2/dev/web/manifests/1", "Basic bm9ib2R5Om5vdGhpbmc=", false),
    ] {
        let answer = world.rejected().send("GET", path, &[("authorization", shown)], "").await;
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.ends_with(r#",error="invalid_token""#), error, "{challenge}");
    }
}

async fn a_gate_that_cannot_answer_serves_nothing(test: TestDb) {
    let world = World::new(test).await;
    let digest = blocked(&world).await;
    world.gate.0.lock().expect("lock").insert(("prod/web".into(), digest), "error");
    let client = world.operator();
    assert_eq!(client.get("/v2/prod/web/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let path = format!("/v2/prod/web/blobs/{}", Digest::sha256(&layer()));
    assert_eq!(client.get(&path).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// What is kept in memory of a blob and of the manifests that open it says no more than the tables do, whether it
/// is kept or looked up each time.
async fn what_was_read_of_a_blob_ends_with_it(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for count in [limit::CACHED_REACH, limit::CACHED_REACH + 1] {
        let repository = format!("team/of{count}");
        let layer = format!("layer of {count}");
        let path = format!("/v2/{repository}/blobs/{}", Digest::sha256(layer.as_bytes()));
        let status = async || client.get(&path).await.status;
        let mut images = Vec::new();
        for number in 0..count {
            let own = number.to_string();
            let reference = format!("{repository}:{number}");
            images.push(client.put_image(&reference, &[layer.as_bytes(), own.as_bytes()]).await.0);
            assert_eq!(status().await, StatusCode::OK);
        }
        let refuse = |digest: &Digest| {
            world.gate.0.lock().expect("lock").insert((repository.clone(), *digest), "blocked");
        };
        for (left, image) in (0..count).rev().zip(&images) {
            assert_eq!(status().await, StatusCode::OK);
            refuse(image);
            let expected = if left == 0 { StatusCode::FORBIDDEN } else { StatusCode::OK };
            assert_eq!(status().await, expected, "{left} left");
        }
        world.gate.0.lock().expect("lock").clear();
        let lock = async |may: bool| {
            let body = format!(r#"{{"readEnabled":{may}}}"#);
            let answer = client.send("PATCH", &format!("/acr/v1/{repository}"), &[], body).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        };
        lock(false).await;
        assert_eq!(status().await, StatusCode::METHOD_NOT_ALLOWED);
        lock(true).await;
        for (left, image) in (0..count).rev().zip(&images) {
            assert_eq!(status().await, StatusCode::OK);
            let answer = client.send("DELETE", &format!("/v2/{repository}/manifests/{image}"), &[], "").await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
            if left == 0 {
                // Whoever brought the bytes may name them still, and nobody else read them.
                let other = world.service(&format!("reader{count}"), "AcrPull", "/repositories/team").await;
                assert_eq!(other.get(&path).await.status, StatusCode::NOT_FOUND);
            }
        }
    }
}
