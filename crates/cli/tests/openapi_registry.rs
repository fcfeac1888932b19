//! The routes of what the registry keeps answer as described.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use serde_json::{Value, json};

use crate::{agent::until, http::Door, image::Image, openapi::Description};

/// What is copied to where it may be, and who writes where; once `prod/web:1` is judged.
pub(crate) fn promoted(it: &mut Description, socket: &Door) {
    let route = ("POST", "/api/v1/images/promote");
    Image::debian("expat", "2.5.0-1", "copied").push(socket, "dev/copied", "1");
    let copy = json!({"from": "dev/copied:1", "to": "stage/web", "wait": 60});
    assert_eq!(it.ask(socket, route, route.1, &copy).json()["tag"], "1");
    let path = "/api/v1/images";
    let delete = |it: &mut Description, image: &str| {
        it.ask(socket, ("DELETE", path), &format!("{path}?image={image}"), &Value::Null);
    };
    delete(it, "stage/web:1");
    for (from, to) in [("dev/copied:1", "prod/other"), ("prod/web:1", "stage/other")] {
        let copy = json!({"from": from, "to": to, "wait": 60});
        assert_eq!(it.ask(socket, route, route.1, &copy).status, 403, "no feed is loaded: {from}");
    }
    delete(it, "dev/copied:1");
    let rules = json!({"prefix": "stage", "promotion_only": true, "immutable": ["v*"]});
    let path = "/api/v1/registry/rules";
    assert_eq!(it.ask(socket, ("POST", path), path, &rules).json(), rules);
    assert_eq!(it.get(socket, path, path).json(), json!([rules]));
    // A list in parts: what comes behind a name, so many.
    for (query, found) in
        [("n=0", 0), ("n=1", 1), ("after=stagd", 1), ("after=stage", 0), ("after=a&n=1001", 1)]
    {
        let part = it.get(socket, path, &format!("{path}?{query}")).json();
        assert_eq!(part.as_array().map(Vec::len), Some(found), "{query}");
    }
    assert_eq!(it.get(socket, path, &format!("{path}?n=some")).status, 400);
    assert_eq!(it.ask(socket, ("POST", path), path, &json!({"prefix": "A"})).status, 400);
    let change = json!({"prefix": "stage", "quota": {"tags": 3}});
    let mut changed = rules;
    changed["quota"] = change["quota"].clone();
    assert_eq!(it.ask(socket, ("PATCH", path), path, &change).json(), changed);
    assert_eq!(it.ask(socket, ("PATCH", path), path, &json!({"prefix": "stage", "lock": 1})).status, 400);
    let import = ("POST", "/api/v1/images/import");
    let from = json!({"from": "ghcr.io/example/app:1", "to": "stage/app"});
    assert_eq!(it.ask(socket, import, import.1, &from).status, 404, "no cache answers for it");
    let judge = ("POST", "/api/v1/images/quarantine");
    let passed = json!({"image": "prod/web:1", "state": "Passed", "details": "seen"});
    assert_eq!(it.ask(socket, judge, judge.1, &passed).json()["state"], "Passed");
    assert_eq!(
        it.ask(socket, judge, judge.1, &json!({"image": "prod/none:1", "state": "Passed"})).status,
        404
    );
    let quota = json!({"prefix": "stage", "quota": {"bytes": 1_000_000, "tags": 10}});
    it.ask(socket, ("POST", path), path, &quota);
    let usage = it.get(socket, "/api/v1/registry/usage", "/api/v1/registry/usage").json();
    assert_eq!(usage[0]["quota"], quota["quota"], "{usage:#}");
    for status in [200, 404] {
        let answer = it.ask(socket, ("DELETE", path), &format!("{path}?prefix=stage"), &Value::Null);
        assert_eq!(answer.status, status);
    }
}

/// What stands in front of another registry; nothing is asked of it.
pub(crate) fn cached(it: &mut Description, socket: &Door) {
    let path = "/api/v1/registry/caches";
    let new = json!({"prefix": "hub", "upstream": "docker.io", "username": "me", "password": "secret",
        "mirrors": ["library/alpine:3.*"]});
    let mut set = it.ask(socket, ("POST", path), path, &new).json();
    assert_eq!(
        (&set["upstream"], &set["ns"]),
        (&json!("https://registry-1.docker.io"), &json!(["docker.io"]))
    );
    let listed = it.get(socket, path, path).json();
    assert_eq!(listed[0]["mirrored"][0]["mirror"], "library/alpine:3.*");
    set["mirrored"] = listed[0]["mirrored"].clone();
    assert_eq!(listed, json!([set]));
    assert_eq!(it.get(socket, path, &format!("{path}?prefix=hub")).json()[0]["mirrors"], set["mirrors"]);
    assert_eq!(it.get(socket, path, &format!("{path}?prefix=other")).status, 404);
    assert_eq!(
        it.ask(socket, ("POST", path), path, &json!({"prefix": "*", "upstream": "docker.io"})).status,
        400
    );
    let twice = json!({"prefix": "hub2", "upstream": "docker.io"});
    assert_eq!(it.ask(socket, ("POST", path), path, &twice).status, 409);
    for status in [200, 404] {
        let answer = it.ask(socket, ("DELETE", path), &format!("{path}?prefix=hub"), &Value::Null);
        assert_eq!(answer.status, status);
    }
}

/// What is copied to another registry: one where nobody listens.
pub(crate) fn replicated(it: &mut Description, socket: &Door) {
    let path = "/api/v1/registry/replications";
    let new = json!({"name": "edge", "prefix": "prod", "to": "http://127.0.0.1:1", "networks": ["127.0.0.1"], "tags": ["1*"],
        "username": "me", "password": "secret"});
    let set = it.ask(socket, ("POST", path), path, &new).json();
    assert_eq!((&set["to"], &set["remote_prefix"]), (&json!("http://127.0.0.1:1"), &Value::Null));
    let wrong = json!({"name": "a/b", "prefix": "prod", "to": "ghcr.io"});
    assert_eq!(it.ask(socket, ("POST", path), path, &wrong).status, 400);
    let run = format!("{path}/run");
    assert_eq!(it.ask(socket, ("POST", &run), &run, &json!({"name": "edge"})).json()["seeding"], true);
    assert_eq!(it.ask(socket, ("POST", &run), &run, &json!({"name": "other"})).status, 404);
    let outgoing = format!("{path}/outgoing");
    until("a copy fails", || {
        let rows = it.get(socket, &outgoing, &format!("{outgoing}?name=edge&waiting=true")).json();
        rows[0]["error"].is_string().then_some(())
    });
    assert_eq!(it.get(socket, path, path).json()[0]["failed"], 1);
    assert_eq!(it.get(socket, path, &format!("{path}?name=edge")).json()[0]["waiting"], 1);
    assert_eq!(it.get(socket, path, &format!("{path}?name=other")).status, 404);
    for status in [200, 404] {
        let answer = it.ask(socket, ("DELETE", path), &format!("{path}?name=edge"), &Value::Null);
        assert_eq!(answer.status, status);
    }
}

/// The registry is its own upstream.
pub(crate) fn imported(it: &mut Description, socket: &Door, login: &Door) {
    Image::debian("expat", "2.5.0-1", "imported").push(login, "dev/free", "1");
    let Door::Tcp { port, basic } = login else { panic!("a door of TCP") };
    let pair = String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text");
    let (username, password) = pair.split_once(':').expect("a name and a secret");
    let cache = json!({"prefix": "itself", "upstream": format!("http://localhost:{port}"), "networks": ["127.0.0.1", "::1"],
        "username": username, "password": password});
    let path = "/api/v1/registry/caches";
    it.ask(socket, ("POST", path), path, &cache);
    let import = ("POST", "/api/v1/images/import");
    let copy = json!({"from": "itself/dev/free:1", "to": "stage/free", "wait": 60});
    assert_eq!(it.ask(socket, import, import.1, &copy).json()["tag"], "1");
}

/// While `prod/web:1` is there.
pub(crate) fn kept(it: &mut Description, socket: &Door) {
    let path = "/api/v1/registry/retention";
    let rules = json!({"keep_last": 3, "keep_tags": ["v*"], "remove_older_than_days": 30});
    it.ask(socket, ("POST", path), path, &json!({"prefix": "prod", "rules": rules}));
    let wrong = it.ask(socket, ("POST", path), path, &json!({"prefix": "prod", "rules": {}}));
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let listed = it.get(socket, path, path).json();
    assert_eq!(listed[0]["rules"], rules);
    let preview = "/api/v1/registry/retention/preview";
    let shown = it.ask(socket, ("POST", preview), preview, &json!({"repository": "prod/web"})).json();
    assert_eq!(shown[0]["rule"], "keep_last: 3", "{shown:#}");
    let nowhere = it.ask(socket, ("POST", preview), preview, &json!({"repository": "nowhere"}));
    assert_eq!(nowhere.status, 404, "{}", nowhere.text());
    let gone = format!("{path}?prefix=prod");
    assert_eq!(it.ask(socket, ("DELETE", path), &gone, &Value::Null).status, 200);
    assert_eq!(it.ask(socket, ("DELETE", path), &gone, &Value::Null).status, 404);

    let images = socket.get("GET", "/api/v1/images?repository=prod/web").json();
    let digest = images[0]["digest"].as_str().expect("a digest").to_owned();
    let explain = "/api/v1/registry/explain";
    let told = it.get(socket, explain, &format!("{explain}?digest={digest}")).json();
    assert_eq!(told["manifests"][0]["kept_by"], "tag", "{told:#}");
    let unknown = format!("{explain}?digest=sha256:{}", "0".repeat(64));
    assert_eq!(it.get(socket, explain, &unknown).status, 404);
    for path in ["/api/v1/registry/verify", "/api/v1/registry/repair"] {
        let part = it.ask(socket, ("POST", path), path, &json!({"deep": true})).json();
        assert!(part["problems"].as_array().expect("a list").is_empty(), "{part:#}");
        let last = it.ask(socket, ("POST", path), path, &json!({"after": "files:511"})).json();
        assert_eq!(last["next"], Value::Null);
    }
}

/// What people look through, while `prod/web:1` is there.
pub(crate) fn looked_through(it: &mut Description, socket: &Door) {
    let path = "/api/v1/registry/repositories";
    let page = it.get(socket, path, &format!("{path}?prefix=prod/&n=1")).json();
    let row = &page["repositories"][0];
    assert_eq!((&row["repository"], &row["tags"]), (&json!("prod/web"), &json!(1)), "{page:#}");
    assert_eq!(page["may"], json!(["push", "delete", "metadata/read", "policy/write"]));
    assert_eq!(it.get(socket, path, &format!("{path}?n=many")).status, 400);
    let path = "/api/v1/registry/tags";
    let page = it.get(socket, path, &format!("{path}?repository=prod/web")).json();
    assert_eq!((&page["tags"][0]["tag"], &page["next"]), (&json!("1"), &Value::Null), "{page:#}");
    let digest = page["tags"][0]["digest"].as_str().expect("a digest");
    assert_eq!(it.get(socket, path, &format!("{path}?repository=none/such")).status, 404);
    assert_eq!(it.get(socket, path, &format!("{path}?repository=A")).status, 400);
    let signature = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
        "artifactType": "application/vnd.example.signature", "annotations": {"by": "ann"},
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1},
    });
    let signature = signature.to_string().into_bytes();
    let place = format!("/v2/prod/web/manifests/{}", Digest::sha256(&signature));
    let index = "application/vnd.oci.image.index.v1+json";
    assert_eq!(socket.ask("PUT", &place, index, &signature).expect("answered").status, 201);
    let path = "/api/v1/registry/referrers";
    let page = it.get(socket, path, &format!("{path}?image=prod/web@{digest}")).json();
    assert_eq!(page["referrers"][0]["artifact_type"], "application/vnd.example.signature", "{page:#}");
    assert_eq!(it.get(socket, path, &format!("{path}?image=prod/web:1")).status, 400);
}

/// After `prod/web:1` was deleted.
pub(crate) fn back(it: &mut Description, socket: &Door) {
    let (deleted, restore) = ("/api/v1/registry/deleted", "/api/v1/registry/restore");
    let listed = it.get(socket, deleted, &format!("{deleted}?repository=prod/")).json();
    assert_eq!((&listed[0]["tag"], &listed[0]["reason"]), (&json!("1"), &json!("request")), "{listed:#}");
    let collection = "/api/v1/registry/collection";
    let told = it.get(socket, collection, collection).json();
    assert!(told["items"].is_array(), "{told:#}");
    let layers = socket.get("GET", "/api/v1/images/show?image=prod/web:1");
    assert_eq!(layers.status, 404, "{}", layers.text());
    let digest = listed[0]["digest"].as_str().expect("a digest");
    let other = json!({"image": format!("prod/web:1@sha256:{}", "0".repeat(64))});
    assert_eq!(it.ask(socket, ("POST", restore), restore, &other).status, 404);
    let back = json!({"image": format!("prod/web:1@{digest}")});
    assert_eq!(it.ask(socket, ("POST", restore), restore, &back).json()["tags"], json!(["1"]));
    for image in ["prod/web:1".to_owned(), format!("prod/web:1@{digest}")] {
        let again = json!({"image": image});
        assert_eq!(it.ask(socket, ("POST", restore), restore, &again).status, 404, "{image}");
    }
}
