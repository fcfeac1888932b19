//! One server in front of another: real clients pull through it, and what comes is judged.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use seaworthy_testkit::{missing, program};
use serde_json::json;

use crate::{
    agent::until,
    http::Door,
    image::Image,
    promotion::refer,
    server::{Place, Server, run},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// `name:secret`, as docker keeps it.
pub(crate) fn user(door: &Door) -> String {
    let Door::Tcp { basic, .. } = door else { panic!("a door of TCP") };
    String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text")
}

/// The registry that others stand in front of.
pub(crate) fn upstream() -> (Place, Server, Door) {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    (place, server, door)
}

/// Makes `prefix` a cache.
fn create(place: &Place, prefix: &str, port: u16, login: &str) {
    let url = format!("http://localhost:{port}");
    let ns = format!("{prefix}.example").replace('/', ".");
    let words = ["cache", "create", prefix, "--upstream", &url, "--check-seconds", "0", "--ns", &ns];
    signed_in(place, &words, login);
}

/// Runs a command of `registry` that signs in elsewhere on this machine; its output has no secret.
pub(crate) fn signed_in(place: &Place, words: &[&str], login: &str) {
    let (name, secret) = login.split_once(':').expect("a name and a secret");
    let mut command = place.command(&["registry"]);
    command
        .args(words)
        .args(["--allow-network", "127.0.0.1", "--allow-network", "::1", "--username", name])
        .args(["--password-stdin", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    writeln!(child.stdin.take().expect("stdin"), "{secret}").expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && !text.contains(secret), "{text}");
}

/// As containerd does: it asks at the realm of the challenge, which keeps its query, for the scope word for word.
fn signs_in_by_ns(door: &Door, path: &str) {
    let Door::Tcp { port, .. } = door else { panic!("{door:?}") };
    let at = |headers| Door::Page { port: *port, headers };
    let refused = at(Vec::new()).get("GET", path);
    let challenge = refused.header("www-authenticate").expect("a challenge").to_owned();
    let said = |name: &str| {
        let value = challenge.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.unwrap_or_else(|| panic!("{challenge}")).to_owned()
    };
    let (realm, scope) = (said("realm"), said("scope"));
    let (_, at_realm) = realm.split_once(&format!("localhost:{port}")).expect("this server");
    assert_eq!((at_realm, scope.as_str()), ("/oauth2/token?ns=hub.example", "repository:dev/app:pull"));
    let login = user(door);
    let (name, secret) = login.split_once(':').expect("a name and a secret");
    let form = format!(
        "grant_type=password&service={}&scope={scope}&username={name}&password={secret}",
        said("service")
    );
    let kind = "application/x-www-form-urlencoded";
    let by_form = at(Vec::new()).ask("POST", at_realm, kind, form.as_bytes()).expect("answered");
    for bought in [by_form, door.get("GET", &format!("{at_realm}&scope={scope}"))] {
        assert_eq!(bought.status, 200, "{}", bought.text());
        let token = format!("Bearer {}", bought.json()["token"].as_str().expect("a token"));
        let pulled = at(vec![("authorization", token)]).get("GET", path);
        assert_eq!(pulled.status, 200, "{}", pulled.text());
    }
}

#[test]
fn a_real_client_pulls_through_a_cache() {
    let (behind, far, far_door) = upstream();
    let image = Image::debian("expat", "2.5.0-1", "cached");
    image.push(&far_door, "dev/app", "1");
    let login = user(&far_door);

    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    create(&place, "hub", far.port, &login);
    let shown = place.cli(&["registry", "cache", "show", "hub", "-o", "json"]);
    assert_eq!(shown.json()["prefix"], json!("hub"), "{shown:?}");
    assert_eq!(place.cli(&["registry", "cache", "show", "other"]).code, 2);

    // Pending until all of it is here and inspected.
    let path = "/v2/hub/dev/app/manifests/1";
    let answer = until("it is judged", || Some(door.get("GET", path)).filter(|answer| answer.status == 200));
    assert_eq!(answer.header("docker-content-digest"), Some(image.digest().to_string().as_str()));
    let by_ns = door.get("GET", "/v2/dev/app/manifests/1?ns=hub.example");
    assert_eq!((by_ns.status, by_ns.text()), (200, answer.text()));
    signs_in_by_ns(&door, "/v2/dev/app/manifests/1?ns=hub.example");
    if program("skopeo").is_some() {
        let from = format!("docker://localhost:{}/hub/dev/app:1", server.port);
        let to = format!("dir:{}", place.path("copy").display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--src-tls-verify=false", "--src-creds", &user(&door), &from, &to]);
        let said = run(&mut skopeo);
        assert_eq!(said.code, 0, "{said:?}");
    } else {
        missing("a_real_client_pulls_through_a_cache", "skopeo");
    }
    let verified = place.cli(&["registry", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let records = until("it has its number", || {
        let said = place.cli(&["ledger", "list", "--action", "manifest.cache", "-o", "json"]).json();
        said.as_array().filter(|all| all.len() == 1).cloned()
    });
    assert_eq!(records[0]["record"]["details"]["from"], json!("localhost/dev/app"), "{records:#?}");

    // What was signed there is found here, and what is listed can be pulled.
    let signature = refer(&far_door, "dev/app", &image);
    let listed = door.get("GET", &format!("/v2/hub/dev/app/referrers/{}", image.digest()));
    assert_eq!(listed.json()["manifests"][0]["digest"], json!(signature), "{}", listed.text());
    assert_eq!(listed.header("warning"), None);
    let signed = door.get("GET", &format!("/v2/hub/dev/app/manifests/{signature}"));
    assert_eq!(signed.json()["subject"]["digest"], json!(image.digest().to_string()), "{}", signed.text());
    assert_eq!(door.get("GET", "/v2/hub/dev/app/tags/list").json()["tags"], json!(["1"]));

    // Imported: fetched as a whole, and copied to where it may be.
    let other = Image::debian("expat", "2.5.0-1", "imported");
    other.push(&far_door, "dev/other", "1");
    let sbom = refer(&far_door, "dev/other", &other);
    let said = place.cli(&["image", "import", "hub.example/dev/other:1", "mine/other", "-o", "json"]);
    assert_eq!((said.code, &said.json()["digest"]), (0, &json!(other.digest().to_string())), "{said:?}");
    let mine = door.get("GET", "/v2/mine/other/manifests/1");
    assert_eq!(
        mine.header("docker-content-digest"),
        Some(other.digest().to_string().as_str()),
        "{}",
        mine.text()
    );
    let along = door.get("GET", &format!("/v2/mine/other/referrers/{}", other.digest()));
    assert_eq!(along.json()["manifests"][0]["digest"], json!(sbom), "{}", along.text());
    let layer = door.get("GET", &format!("/v2/mine/other/blobs/{}", other.layer_digest()));
    assert_eq!(layer.status, 200, "{}", layer.text());
    // What an index there names and nobody has is said.
    let gone = Digest::sha256(b"gone");
    let child = |digest: Digest, size: usize| json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    let children = [child(gone, 9), child(other.digest(), mine.text().len())];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
    let put = far_door
        .ask("PUT", "/v2/dev/other/manifests/all", INDEX, index.to_string().as_bytes())
        .expect("sent");
    assert_eq!(put.status, 201, "{}", put.text());
    let sparse = ["image", "import", "hub.example/dev/other:all", "mine/sparse"];
    let said = place.cli(&[&sparse[..], &["-o", "json"]].concat());
    assert_eq!((said.code, &said.json()["absent"]), (0, &json!([gone])), "{said:?}");
    let told = place.cli(&[&sparse[..], &["-o", "table"]].concat());
    assert!(told.code == 0 && told.out.contains(&gone.to_string()), "{told:?}");
    for (from, to) in [
        ("hub.example/dev/none:1", "mine/none"),
        ("elsewhere.example/dev/other:1", "mine/other"),
        ("mine/other:1", "mine/again"),
    ] {
        assert_eq!(place.cli(&["image", "import", from, to]).code, 2, "{from}");
    }
    let blocked = place.cli(&["image", "import", "hub/dev/other:1", "prod/other"]);
    assert!(blocked.code == 1 && blocked.err.contains("is blocked by `prod/"), "{blocked:?}");

    // What enforces elsewhere does so here: no feed covers it.
    create(&place, "prod/hub", far.port, &login);
    let refused = until("it is judged there", || {
        let answer = door.get("GET", "/v2/prod/hub/dev/app/manifests/1");
        Some(answer).filter(|answer| answer.text().contains("is blocked by `prod/"))
    });
    assert_eq!(refused.status, 403);
    let layer = format!("/v2/prod/hub/dev/app/blobs/{}", image.layer_digest());
    assert_eq!(door.get("GET", &layer).status, 403);
    let denied = image.try_push(&door, "hub/dev/app", "2").expect_err("nobody pushes there");
    assert!(denied.contains("is a cache"), "{denied}");

    // The upstream is gone, and the image is here.
    far.stop();
    drop(behind);
    let stale = door.get("GET", path);
    assert_eq!(stale.status, 200, "{}", stale.text());
    assert!(stale.header("warning").is_some_and(|it| it.contains("stale")), "{:?}", stale.header("warning"));
    let layer = format!("/v2/hub/dev/app/blobs/{}", image.layer_digest());
    assert_eq!(door.get("GET", &layer).status, 200);
    let absent = door.get("GET", "/v2/hub/dev/app/manifests/2");
    assert_eq!(absent.status, 503, "{}", absent.text());
    assert!(absent.header("retry-after").is_some());
    let deleted = place.cli(&["registry", "cache", "delete", "hub", "-o", "json"]);
    assert_eq!((deleted.code, deleted.json()), (0, json!({"removed": "hub"})));
    assert_eq!(door.get("GET", path).header("warning"), None, "a prefix like others");
}

/// Many want what is not here, at the door that has the kernel copy the file while it grows: each gets all of it.
#[test]
fn many_get_a_cold_blob_whole() {
    let (_behind, far, far_door) = upstream();
    let mut word = 7_u64;
    let layer: Vec<u8> = std::iter::repeat_with(|| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.to_be_bytes()
    })
    .take(2 << 20)
    .flatten()
    .collect();
    let data = Image::new(&layer, "application/vnd.example.data", &Digest::sha256(&layer), "cold")
        .called(Some("application/vnd.example.data"), "application/vnd.oci.empty.v1+json");
    data.push(&far_door, "dev/data", "1");

    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    create(&place, "hub", far.port, &user(&far_door));
    let head = door.get("HEAD", "/v2/hub/dev/data/manifests/1");
    assert_eq!(head.status, 200, "{}", head.head);
    let path = format!("/v2/hub/dev/data/blobs/{}", data.layer_digest());
    let outcomes: Vec<String> = std::thread::scope(|scope| {
        let ask = || {
            let answer = door.get("GET", &path);
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert!(answer.body == layer, "{} bytes", answer.body.len());
            answer.header("cache-status").unwrap_or_default().to_owned()
        };
        let asked: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|it| it.join().expect("whole")).collect()
    });
    assert!(outcomes.iter().any(|it| it.contains("stored")), "one had it fetched: {outcomes:?}");
    assert_eq!(place.cli(&["registry", "verify"]).code, 0);
}
