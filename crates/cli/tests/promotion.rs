//! Promotion copies what may be there, and rules keep who pushes out.

use serde_json::json;

use crate::{
    agent::until,
    http::Door,
    image::{Image, TAR},
    server::Place,
};

const EXAMPLE: &str = "application/vnd.example.sbom";

/// An artifact about `subject`, in the same repository.
pub(crate) fn refer(door: &Door, repository: &str, subject: &Image) -> String {
    let config = b"{}";
    let digest = seaworthy_oci::Digest::sha256(config);
    let begun = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    assert_eq!(door.ask("POST", &begun, "application/octet-stream", config).expect("sent").status, 201);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": EXAMPLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest.to_string(), "size": 2},
        "layers": [],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject.digest().to_string(), "size": subject.size(),
        },
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = seaworthy_oci::Digest::sha256(&bytes).to_string();
    let answer = door.ask(
        "PUT",
        &format!("/v2/{repository}/manifests/{digest}"),
        "application/vnd.oci.image.manifest.v1+json",
        &bytes,
    );
    assert_eq!(answer.expect("sent").status, 201);
    digest
}

#[test]
fn an_image_is_promoted_where_it_may_be() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let image = Image::debian("expat", "2.5.0-1", "promoted");
    image.push(&door, "dev/app", "1.4");
    let sbom = refer(&door, "dev/app", &image);
    let digest = image.digest().to_string();

    // No feed covers it, and `prod` enforces: unknown is not fine.
    let refused = place.cli(&["image", "promote", "dev/app:1.4", "prod/app"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains(&format!("dev/app@{digest} as prod/app is blocked by `prod/")),
        "{refused:?}"
    );
    assert_eq!(door.get("GET", "/v2/prod/app/manifests/1.4").status, 404, "nothing was copied");

    // Elsewhere the rules warn.
    let promoted = place.cli(&["image", "promote", "dev/app:1.4", "stage/app", "-o", "json"]);
    assert_eq!(promoted.code, 0, "{promoted:?}");
    let said = promoted.json();
    assert_eq!(
        (&said["verdict"], &said["repository"], &said["tag"], &said["digest"]),
        (&json!("allowed"), &json!("stage/app"), &json!("1.4"), &json!(digest)),
    );
    assert_eq!(said["manifests"], json!([digest, sbom]));
    for name in ["1.4", digest.as_str(), sbom.as_str()] {
        assert_eq!(door.get("GET", &format!("/v2/stage/app/manifests/{name}")).status, 200, "{name}");
    }
    let layer = format!("/v2/stage/app/blobs/{}", image.layer_digest());
    assert_eq!(door.get("GET", &layer).status, 200, "its layers come with it");
    let referrers = door.get("GET", &format!("/v2/stage/app/referrers/{digest}")).json();
    assert_eq!(referrers["manifests"][0]["digest"], json!(sbom));

    // By digest it gets the tag that is said, or none.
    let by_digest = format!("dev/app@{digest}");
    for (to, tag) in [("stage/other:next", json!("next")), ("stage/none", json!(null))] {
        let promoted = place.cli(&["image", "promote", &by_digest, to, "-o", "json"]);
        assert_eq!((promoted.code, &promoted.json()["tag"]), (0, &tag), "{promoted:?}");
    }
    let other = format!("stage/app@sha256:{}", "0".repeat(64));
    let wrong = place.cli(&["image", "promote", "dev/app:1.4", &other]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert_eq!(place.cli(&["image", "promote", "dev/none:1", "stage/app"]).code, 2);

    let records = until("the records have their numbers", || {
        let said = place.cli(&["ledger", "list", "--action", "image.promote", "-o", "json"]).json();
        said.as_array().filter(|all| all.len() == 3).cloned()
    });
    let from = |record: &serde_json::Value| record["record"]["details"]["from"] == json!(by_digest);
    assert!(records.iter().all(from), "{records:#?}");
    let object = json!(format!("repositories/stage/app@{digest}"));
    assert!(records.iter().any(|record| record["record"]["object"] == object), "{records:#?}");

    // By a tag that nobody may read nothing is copied; its manifest is not locked.
    let lock = br#"{"readEnabled":false}"#;
    let locked = door.ask("PATCH", "/acr/v1/dev/app/_tags/1.4", "application/json", lock).expect("sent");
    assert_eq!(locked.status, 200, "{}", locked.text());
    let refused = place.cli(&["image", "promote", "dev/app:1.4", "stage/locked"]);
    assert!(refused.code != 0 && refused.err.contains("disallowed"), "{refused:?}");
    assert_eq!(place.cli(&["image", "promote", &by_digest, "stage/locked"]).code, 0);
}

/// What refers to an image goes along with it, and is asked about when it could run.
#[test]
fn an_image_takes_no_other_along_that_may_not_be_there() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let policy = place.path("gate.yaml");
    let text = "policy: gate\nselects: [\"gate/**\"]\nmode: enforce\nrules:\n  - inspected: {}\n";
    std::fs::write(&policy, text).expect("written");
    assert_eq!(place.cli(&["policy", "apply", "-f", policy.to_str().expect("text")]).code, 0);
    assert_eq!(place.cli(&["registry", "rules", "set", "gate", "--promotion-only"]).code, 0);
    let image = Image::debian("expat", "2.5.0-1", "good");
    image.push(&door, "dev/app", "1");
    let broken = b"no archive";
    let broken = Image::new(broken, TAR, &seaworthy_oci::Digest::sha256(broken), "broken").about(&image);
    broken.push(&door, "dev/app", "broken");
    let fine = Image::debian("expat", "2.5.0-2", "also good").about(&image);
    fine.push(&door, "dev/app", "fine");
    for (name, code) in [("broken", 1), ("fine", 0)] {
        let said = place.cli(&["image", "promote", &format!("dev/app:{name}"), &format!("gate/{name}")]);
        assert_eq!(said.code, code, "{said:?}");
    }
    let promoted = place.cli(&["image", "promote", "dev/app:1", "gate/app", "-o", "json"]);
    assert_eq!(promoted.code, 0, "{promoted:?}");
    let said = promoted.json();
    let [image, broken, fine] = [&image, &broken, &fine].map(|it| it.digest().to_string());
    assert_eq!(
        (&said["manifests"], &said["left_behind"]),
        (&json!([image, fine]), &json!([{"digest": broken, "verdict": "blocked"}]))
    );
    let referrers = door.get("GET", &format!("/v2/gate/app/referrers/{image}")).json();
    assert_eq!(referrers["manifests"].as_array().map(Vec::len), Some(1), "{referrers}");
    let told = place.cli(&["image", "promote", "dev/app:1", "gate/app:2"]);
    assert!(told.code == 0 && told.out.contains(&broken), "{told:?}");
}

#[test]
fn rules_keep_pushes_out_and_tags_where_they_are() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let (first, second) =
        (Image::debian("expat", "2.5.0-1", "first"), Image::debian("expat", "2.5.0-1", "second"));
    first.push(&door, "dev/app", "v1");
    second.push(&door, "dev/app", "v2");

    let set = ["registry", "rules", "set", "stage", "--promotion-only", "--immutable", "v*", "-o", "json"];
    let said = place.cli(&set);
    assert_eq!(said.code, 0, "{said:?}");
    let listed = place.cli(&["registry", "rules", "list", "-o", "json"]).json();
    assert_eq!(listed, json!([{"prefix": "stage", "promotion_only": true, "immutable": ["v*"]}]));

    // What a refused push is told to run, and nothing else changes.
    assert_eq!(place.cli(&["registry", "rules", "set", "stage", "--quota-bytes", "1TiB"]).code, 0);
    assert_eq!(place.cli(&["registry", "rules", "set", "stage", "--quarantine"]).code, 0);
    let take =
        ["registry", "rules", "set", "stage", "--quarantine=false", "--quota-bytes", "none", "-o", "json"];
    assert_eq!(place.cli(&take).json(), listed[0]);

    // The first bytes are refused, and so is a manifest whose blobs are there.
    let refused = first.try_push(&door, "stage/app", "v1").expect_err("nobody pushes there");
    assert!(refused.contains("promotion alone") && refused.contains("image promote"), "{refused}");
    assert!(first.try_push(&door, "staged/app", "v1").is_ok(), "another prefix");

    let promote = |from: &str, to: &str| place.cli(&["image", "promote", from, to]);
    assert_eq!(promote("dev/app:v1", "stage/app").code, 0);
    assert_eq!(promote("dev/app:v1", "stage/app").code, 0, "it is that already");
    let moved = promote("dev/app:v2", "stage/app:v1");
    assert_eq!(moved.code, 3, "{moved:?}");
    assert!(moved.err.contains("tag `stage/app:v1` is immutable by the rules of `stage`"), "{moved:?}");
    assert_eq!(promote("dev/app:v2", "stage/app:latest").code, 0, "another tag");
    assert_eq!(promote("dev/app:v1", "stage/app:latest").code, 0, "which moves");

    for name in ["v1".to_owned(), first.digest().to_string()] {
        let answer = door.get("DELETE", &format!("/v2/stage/app/manifests/{name}"));
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("immutable"), "{}", answer.text());
    }
    assert_eq!(door.get("DELETE", "/acr/v1/stage/app").status, 403, "with all it holds");
    assert_eq!(door.get("DELETE", "/v2/stage/app/manifests/latest").status, 202);

    // Whoever may push may not say who else does.
    let made =
        place.cli(&["principal", "create", "ci", "--role", "AcrPush", "--scope", "/repositories/stage"]);
    let secret = made.json()["client_secret"].as_str().expect("a secret").to_owned();
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("ci:{secret}"));
    let ci = Door::Tcp { port: server.port, basic };
    let rules = br#"{"prefix": "stage"}"#;
    let answer = ci.ask("POST", "/api/v1/registry/rules", "application/json", rules).expect("sent");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(ci.get("DELETE", "/api/v1/registry/rules?prefix=stage").status, 403);
    assert_eq!(ci.get("GET", "/api/v1/registry/rules").json(), json!([]));

    assert_eq!(place.cli(&["registry", "rules", "remove", "stage"]).code, 0);
    assert_eq!(place.cli(&["registry", "rules", "remove", "stage"]).code, 2);
    second.push(&door, "stage/app", "v1");
    for wrong in [["set", "Stage"], ["set", "stage/"], ["set", ""]] {
        assert_eq!(place.cli(&["registry", "rules", wrong[0], wrong[1]]).code, 2, "{wrong:?}");
    }
    assert_eq!(place.cli(&["registry", "rules", "set", "a", "--immutable", "v 1"]).code, 2);
}
