//! Rules of repositories and promotion, on both databases.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_registry::{Promotion, Referrers, RepositoryRules, RulesChange, limit};
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use crate::client::{IMAGE, INDEX, ROOMS, World, artifact};

db_tests!(super::ROOMS; an_index_is_promoted_with_all_its_parts, a_promotion_is_bounded, a_promotion_is_bounded_in_bytes_and_rows, rules_are_bounded,
    a_rule_that_came_before_wins, some_rules_change_and_others_stay, a_rule_that_is_told_holds,
    what_refers_goes_along_whole);

fn rules(value: serde_json::Value) -> RepositoryRules {
    serde_json::from_value(value).expect("rules")
}

async fn some_rules_change_and_others_stay(test: TestDb) {
    let world = World::new(test).await;
    let operator = Identity::operator(0);
    let change = async |value: serde_json::Value| {
        let change: RulesChange = serde_json::from_value(value).expect("a change");
        world.registry.change_rules(&operator, change).await
    };
    let all = json!({"prefix": "a", "promotion_only": true, "immutable": ["v*"], "quarantine": true, "quota": {"tags": 2}});
    assert_eq!(change(all.clone()).await.expect("set"), rules(all.clone()), "there were none");
    let quota = change(json!({"prefix": "a", "quota": {"bytes": 7}})).await.expect("changed");
    let mut expected = all;
    expected["quota"] = json!({"tags": 2, "bytes": 7});
    assert_eq!(quota, rules(expected.clone()));
    change(json!({"prefix": "a/b", "quarantine": true})).await.expect("another prefix");
    change(json!({"prefix": "a", "quarantine": false, "quota": {"tags": null}})).await.expect("changed");
    expected["quarantine"] = json!(false);
    expected["quota"] = json!({"bytes": 7});
    let listed = world.registry.rules(&operator).await.expect("listed");
    assert_eq!(listed.first(), Some(&rules(expected)));
    for wrong in [
        json!({"prefix": "a", "immutable": vec!["v*"; limit::PATTERNS + 1]}),
        json!({"prefix": "a", "quota": {"tags": u64::MAX}}),
    ] {
        assert!(change(wrong).await.is_err());
    }
    let pusher = world.identity("pusher", "AcrPush", "/repositories/a").await;
    let none = serde_json::from_value(json!({"prefix": "a", "promotion_only": false})).expect("a change");
    assert!(world.registry.change_rules(&pusher, none).await.is_err(), "a right on policies");
    assert_eq!(world.registry.rules(&operator).await.expect("listed"), listed);
}

/// Whoever was told of a rule may count on it: a write that began before it ends before it, or not at all.
async fn a_rule_that_is_told_holds(test: TestDb) {
    const ROUNDS: usize = 40;
    const AT_ONCE: usize = 6;
    let world = World::new(test).await;
    let (client, operator) = (world.operator(), Identity::operator(0));
    let lanes = (0..AT_ONCE).map(|lane| {
        let (client, operator, registry) = (client.clone(), operator.clone(), world.registry.clone());
        async move {
            for round in 0..ROUNDS {
                let (repository, name) = (format!("r{lane}"), format!("{lane}-{round}"));
                client.put_image(&format!("{repository}:1"), &[name.as_bytes()]).await;
                let (_, other) =
                    client.put_image(&format!("{repository}:2"), &[name.as_bytes(), b"more"]).await;
                let path = format!("/v2/{repository}/manifests/1");
                let held = rules(json!({"prefix": repository, "immutable": ["1"]}));
                let points = async || client.get(&path).await.header("docker-content-digest").to_owned();
                let write = async {
                    match round % 2 {
                        0 => client.put_manifest(&repository, "1", &other).await.status,
                        _ => client.send("DELETE", &path, &[], "").await.status,
                    }
                };
                let told = async {
                    registry.set_rules(&operator, held).await.expect("set");
                    points().await
                };
                let (seen, status) = tokio::join!(told, write);
                assert_eq!(seen, points().await, "{status}");
                registry
                    .remove_rules(&operator, &repository.parse().expect("a prefix"))
                    .await
                    .expect("removed");
            }
        }
    });
    futures_util::future::join_all(lanes).await;
}

fn promotion(digest: Digest, to: &str, tag: Option<&str>) -> Promotion {
    Promotion {
        source: "dev/app".parse().expect("a name"),
        digest,
        destination: to.parse().expect("a name"),
        tag: tag.map(|tag| tag.parse().expect("a tag")),
        because: json!({"verdict": "allowed"}),
    }
}

async fn an_index_is_promoted_with_all_its_parts(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let operator = Identity::operator(0);
    let (one, first) = client.put_image("dev/app:one", &[b"1"]).await;
    let (two, second) = client.put_image("dev/app:two", &[b"2"]).await;
    client.put_blob("dev/app", b"{}").await;
    let signed = artifact(&two, "application/vnd.example.signature", "{}");
    let signature = Digest::sha256(signed.as_bytes());
    let put = client.put_manifest("dev/app", &signature.to_string(), &signed).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    // What is signed is signed: an artifact about an artifact.
    let counter = artifact(&signature, "application/vnd.example.signature", "{}");
    let counted = Digest::sha256(counter.as_bytes());
    assert_eq!(
        client.put_manifest("dev/app", &counted.to_string(), &counter).await.status,
        StatusCode::CREATED
    );
    let absent = Digest::sha256(b"elsewhere");
    let children = [(one, first.len()), (two, second.len()), (absent, 1)].map(|(digest, size)| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.to_string(), "size": size})
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string();
    let digest = Digest::sha256(index.as_bytes());
    assert_eq!(client.put_as("/v2/dev/app/manifests/all", INDEX, &index).await.status, StatusCode::CREATED);

    let source = "dev/app".parse().expect("a name");
    let parts = world.registry.parts(&operator, &source, &digest).await.expect("parts");
    let mut images = parts.manifests.clone();
    images.sort();
    let mut expected = vec![one, two];
    expected.sort();
    assert_eq!(images, expected, "what is judged");
    let promoted = world.registry.promote(&operator, promotion(digest, "prod/app", Some("1")), parts).await;
    let promoted = promoted.expect("promoted");
    let place = |digest: &Digest| promoted.manifests.iter().position(|it| it == digest);
    assert_eq!(promoted.manifests.len(), 5);
    assert!(place(&one) < place(&digest) && place(&two) < place(&digest) && place(&two) < place(&signature));
    assert!(place(&signature) < place(&counted));
    for name in [&one, &two, &digest, &signature, &counted].map(ToString::to_string) {
        let (here, there) = (
            client.get(&format!("/v2/dev/app/manifests/{name}")).await,
            client.get(&format!("/v2/prod/app/manifests/{name}")).await,
        );
        assert_eq!((there.status, there.body), (StatusCode::OK, here.body), "{name}");
    }
    assert_eq!(
        client.get("/v2/prod/app/manifests/1").await.header("docker-content-digest"),
        digest.to_string()
    );
    assert_eq!(
        client.get("/v2/prod/app/manifests/one").await.status,
        StatusCode::NOT_FOUND,
        "its tags stay behind"
    );
    let layer = Digest::sha256(b"1");
    assert_eq!(client.get(&format!("/v2/prod/app/blobs/{layer}")).await.status, StatusCode::OK);

    // Who may push there and not pull here promotes nothing, and learns nothing.
    let pusher = world.identity("pusher", "AcrPush", "/repositories/prod").await;
    let hidden = world.registry.parts(&pusher, &source, &digest).await;
    assert!(hidden.is_err());
    let puller = world.identity("puller", "AcrPull", "/").await;
    let parts = world.registry.parts(&puller, &source, &digest).await.expect("parts");
    assert!(world.registry.promote(&puller, promotion(digest, "prod/app", None), parts).await.is_err());

    // What was deleted meanwhile is not brought back.
    let parts = world.registry.parts(&operator, &source, &one).await.expect("parts");
    client.send("DELETE", &format!("/v2/dev/app/manifests/{one}"), &[], "").await;
    let late = world.registry.promote(&operator, promotion(one, "late/app", None), parts).await;
    assert!(late.is_err());
    assert_eq!(client.get(&format!("/v2/late/app/manifests/{one}")).await.status, StatusCode::NOT_FOUND);
}

/// An index that refers to an image goes along with its own, which are judged; what is locked stays behind alone.
async fn what_refers_goes_along_whole(test: TestDb) {
    let world = World::new(test).await;
    let (client, operator) = (world.operator(), Identity::operator(0));
    let (image, _) = client.put_image("dev/app:1", &[b"1"]).await;
    let (child, manifest) = client.put_image("dev/app:2", &[b"2"]).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": child.to_string(),
            "size": manifest.len()}],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.to_string(), "size": 1},
    });
    let index = index.to_string();
    assert_eq!(client.put_as("/v2/dev/app/manifests/all", INDEX, &index).await.status, StatusCode::CREATED);
    client.put_blob("dev/app", b"{}").await;
    let locked = artifact(&image, "application/vnd.example.signature", "{}");
    assert_eq!(client.put_manifest("dev/app", "locked", &locked).await.status, StatusCode::CREATED);
    let path = format!("/acr/v1/dev/app/_manifests/{}", Digest::sha256(locked.as_bytes()));
    assert_eq!(client.send("PATCH", &path, &[], r#"{"readEnabled":false}"#).await.status, StatusCode::OK);
    let source = "dev/app".parse().expect("a name");
    let parts = world.registry.parts(&operator, &source, &image).await.expect("parts");
    assert_eq!((&parts.manifests, &parts.referring), (&vec![image], &vec![child]));
    let mut without = parts.clone();
    without.leave(&child);
    let index = Digest::sha256(index.as_bytes());
    for (to, parts, copied) in
        [("all/app", parts, vec![image, child, index]), ("some/app", without, vec![image, index])]
    {
        let promoted =
            world.registry.promote(&operator, promotion(image, to, None), parts).await.expect("promoted");
        assert_eq!(promoted.manifests, copied);
        for digest in [image, index, child] {
            let status = client.get(&format!("/v2/{to}/manifests/{digest}")).await.status;
            assert_eq!(status == StatusCode::OK, copied.contains(&digest), "{to} {digest}");
        }
    }
}

async fn a_promotion_is_bounded(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("dev/app:one", &[b"1"]).await;
    client.put_blob("dev/app", b"{}").await;
    let refer = async |number: usize| {
        let manifest = artifact(&subject, "application/vnd.example.note", &format!(r#"{{"n":"{number}"}}"#));
        let digest = Digest::sha256(manifest.as_bytes());
        let answer = client.put_manifest("dev/app", &digest.to_string(), &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    };
    for number in 1..limit::PROMOTED_MANIFESTS {
        refer(number).await;
    }
    let (operator, source) = (Identity::operator(0), "dev/app".parse().expect("a name"));
    let parts = world.registry.parts(&operator, &source, &subject).await.expect("as many as there may be");
    let promoted = world.registry.promote(&operator, promotion(subject, "prod/app", None), parts).await;
    assert_eq!(promoted.expect("promoted").manifests.len(), limit::PROMOTED_MANIFESTS);
    refer(limit::PROMOTED_MANIFESTS).await;
    let error = world.registry.parts(&operator, &source, &subject).await.expect_err("one more");
    assert!(error.to_string().contains("would be copied at once"), "{error}");
    let alone =
        world.registry.parts_with(&operator, (&source, &subject), Referrers::Left).await.expect("alone");
    let promoted = world.registry.promote(&operator, promotion(subject, "prod/alone", None), alone).await;
    assert_eq!(promoted.expect("promoted").manifests, [subject]);
}

/// A promotion is one transaction, and what it copies is in memory then.
async fn a_promotion_is_bounded_in_bytes_and_rows(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (operator, source): (_, RepoName) = (Identity::operator(0), "dev/app".parse().expect("a name"));
    let config = client.put_blob("dev/app", b"{}").await;
    let descriptor =
        |kind: &str, digest: &Digest, size: usize| json!({"mediaType": kind, "digest": digest, "size": size});
    let put = async |document: serde_json::Value| {
        let text = document.to_string();
        let digest = Digest::sha256(text.as_bytes());
        let path = format!("/v2/dev/app/manifests/{digest}");
        let answer = client.put_as(&path, document["mediaType"].as_str().expect("a type"), &text).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        (digest, text.len())
    };
    let index = async |children: &[(Digest, usize)]| {
        let children: Vec<_> =
            children.iter().map(|(digest, size)| descriptor(IMAGE, digest, *size)).collect();
        put(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})).await.0
    };
    // Of bytes: children that are nearly as long as a manifest may be.
    let long = async |number: usize| {
        let note = "x".repeat(seaworthy_oci::limit::MANIFEST_BYTES - 1_000);
        put(json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/vnd.example", "layers": [],
            "config": descriptor("application/vnd.oci.empty.v1+json", &config, 2),
            "annotations": {"note": note, "number": number.to_string()},
        }))
        .await
    };
    let mut children = Vec::new();
    let most = limit::PROMOTED_BYTES / (seaworthy_oci::limit::MANIFEST_BYTES - 1_000);
    for number in 0..most {
        children.push(long(number).await);
    }
    let fits = index(&children[1..]).await;
    assert!(world.registry.parts(&operator, &source, &fits).await.is_ok());
    children.push(long(most).await);
    let root = index(&children).await;
    let error = world.registry.parts(&operator, &source, &root).await.expect_err("too long");
    assert_eq!(Problem::from(error).code, ErrorCode::TooLarge);
    // Of rows: the same layer many times.
    let many = async |number: usize, layers: usize| {
        let layer = descriptor("text/plain", &config, 2);
        put(json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/vnd.example",
            "config": descriptor("application/vnd.oci.empty.v1+json", &config, 2), "layers": vec![layer; layers],
            "annotations": {"number": number.to_string()},
        }))
        .await
    };
    let (each, mut children) = (999, Vec::new());
    for number in 0..limit::PROMOTED_REFERENCES / (each + 1) {
        children.push(many(number, each).await);
    }
    let error =
        world.registry.parts(&operator, &source, &index(&children).await).await.expect_err("too many");
    assert_eq!(Problem::from(error).code, ErrorCode::TooLarge);
    children[0] = many(children.len(), each - children.len()).await;
    assert!(world.registry.parts(&operator, &source, &index(&children).await).await.is_ok());
}

async fn rules_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let operator = Identity::operator(0);
    let patterns = |count: usize| (0..count).map(|number| format!("v{number}")).collect::<Vec<_>>();
    let many = |count| rules(json!({"prefix": "*", "immutable": patterns(count)}));
    assert!(world.registry.set_rules(&operator, many(limit::PATTERNS)).await.is_ok());
    assert!(world.registry.set_rules(&operator, many(limit::PATTERNS + 1)).await.is_err());
    for number in 1..limit::RULES {
        let one = rules(json!({"prefix": format!("p{number}")}));
        world.registry.set_rules(&operator, one).await.expect("as many as there may be");
    }
    let error = world.registry.set_rules(&operator, rules(json!({"prefix": "more"}))).await;
    assert!(error.is_err());
    assert!(
        world
            .registry
            .set_rules(&operator, rules(json!({"prefix": "p1", "promotion_only": true})))
            .await
            .is_ok()
    );
    let all = world.registry.rules(&operator).await.expect("rules");
    assert_eq!(all.len() as u64, limit::RULES);
}

/// A manifest whose blobs came before the rule did.
async fn a_rule_that_came_before_wins(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let operator = Identity::operator(0);
    let (_, manifest) = client.put_image("prod/app:v1", &[b"1"]).await;
    world
        .registry
        .set_rules(&operator, rules(json!({"prefix": "prod", "promotion_only": true})))
        .await
        .expect("set");
    let refused = client.put_manifest("prod/app", "v2", &manifest).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    let begun = client.send("POST", "/v2/prod/app/blobs/uploads/", &[], "").await;
    assert_eq!((begun.status, begun.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    // Another server that has read no rules yet.
    let other = world.replica(|_| {});
    assert_eq!(other.put_manifest("prod/app", "v2", &manifest).await.status, StatusCode::FORBIDDEN);
    world
        .registry
        .set_rules(&operator, rules(json!({"prefix": "prod", "immutable": ["v*"]})))
        .await
        .expect("set");
    let moved = manifest.replacen('{', "{ ", 1);
    let refused = client.put_manifest("prod/app", "v1", &moved).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::FORBIDDEN, "DENIED"),
        "{}",
        refused.text()
    );
    assert_eq!(
        client.put_manifest("prod/app", "v1", &manifest).await.status,
        StatusCode::CREATED,
        "the same"
    );
    assert_eq!(
        client.put_manifest("prod/app", "w1", &moved).await.status,
        StatusCode::CREATED,
        "another tag"
    );
    let by_parameter = format!("{}?tag=v1", Digest::sha256(moved.as_bytes()));
    assert_eq!(client.put_manifest("prod/app", &by_parameter, &moved).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        client.send("DELETE", "/v2/prod/app/manifests/v1", &[], "").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        client.send("DELETE", "/v2/prod/app/manifests/w1", &[], "").await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        client.send("DELETE", "/v2/prod/app/manifests/none", &[], "").await.status,
        StatusCode::NOT_FOUND
    );
}
