//! Bytes that are not what they should be: blocked with a reason, never allowed, never pending
//! for ever.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use seaworthy_testkit::program;
use serde_json::Value;

use crate::{
    agent::until,
    http::Door,
    image::{CONFIG, Image, TAR, TAR_GZIP, TAR_ZSTD, debian_layer},
    server::{Place, Server},
};

/// Filters bytes through a program.
fn through(name: &str, words: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(program(name)?)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written").expect("written");
    assert!(output.status.success());
    Some(output.stdout)
}

/// A tar with one file of zeros.
fn zeros(bytes: usize) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::with_capacity(bytes + 4096));
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    out.append_data(&mut header, "zeros", std::io::repeat(0).take(bytes as u64)).expect("in memory");
    out.into_inner().expect("in memory")
}

#[test]
fn hostile_images_end_blocked_with_their_reason() {
    let place = Place::new();
    let server = place.up(&[]);
    let good = debian_layer("expat", "99:1");
    let good_id = Digest::sha256(&good);
    let gzip = through("gzip", &["-c"], &good).expect("gzip is everywhere");
    let mut flipped = gzip.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xFF);
    let cut = &gzip[..gzip.len() - 20];
    let other_id = Digest::sha256(b"something else");
    let cases: [Case; 4] = [
        ("corrupt", Image::new(&flipped, TAR_GZIP, &good_id, ""), "layer-unreadable"),
        ("cut", Image::new(cut, TAR_GZIP, &good_id, ""), "layer-unreadable"),
        ("noise", Image::new(b"this is no tar archive at all", TAR, &good_id, ""), "layer-unreadable"),
        ("lying", Image::new(&good, TAR, &other_id, ""), "diff-id-mismatch"),
    ];
    are_blocked_with_their_reason(&place, &server, &cases);
}

type Case = (&'static str, Image, &'static str);

/// The registry takes a bomb as the bytes that it is, and gives it out as them to who may see it; whoever unpacks
/// it does so in a process of its own, within bounds.
#[test]
fn zip_bomb_layer() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let mut cases: Vec<Case> = Vec::new();
    // 400 MiB of zeros are more than any ratio earns.
    let tar = zeros(400 << 20);
    let bomb = through("gzip", &["-9", "-c"], &tar).expect("gzip is everywhere");
    cases.push(("gzip-bomb", Image::new(&bomb, TAR_GZIP, &Digest::sha256(&tar), ""), "layer-too-large"));
    let bomb = through("zstd", &["-19", "-c"], &tar);
    match &bomb {
        Some(bomb) => {
            let id = Digest::sha256(&tar);
            cases.push(("bomb", Image::new(bomb, TAR_ZSTD, &id, ""), "layer-too-large"));
        }
        None => seaworthy_testkit::missing("the zstd bomb of zip_bomb_layer", "zstd"),
    }
    drop(tar);
    are_blocked_with_their_reason(&place, &server, &cases);
    for (name, image, _) in &cases {
        let path = format!("/v2/dev/{name}/blobs/{}", image.layer_digest());
        image.push(&door, &format!("dev/{name}"), "1");
        place.cli(&["check", &format!("dev/{name}:1"), "--wait", "60s"]);
        let given = door.get("GET", &path);
        assert_eq!(given.status, 200, "{name}: {}", given.text());
        assert_eq!(Digest::sha256(&given.body), image.layer_digest(), "{name}");
    }
    let peak = peak_mib(server.pid());
    eprintln!("the server held {peak} MiB at most");
    assert!(peak < 300, "{peak} MiB: nobody unpacked 400 MiB there");
}

/// The most that a process has held in memory, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

fn are_blocked_with_their_reason(place: &Place, server: &Server, cases: &[Case]) {
    let door = place.login(server.port);
    for (name, image, _) in cases {
        image.push(&door, &format!("prod/{name}"), "1");
    }
    for (name, _, code) in cases {
        let check = place.cli(&["check", &format!("prod/{name}:1"), "--wait", "60s", "-o", "json"]);
        assert_eq!(check.code, 1, "{name}: {check:?}\n{}", place.log());
        let answer = check.json();
        assert_eq!(answer["verdict"], "blocked", "{name}: {answer:#}");
        assert_eq!(answer["recorded"], true, "{name}: {answer:#}");
        assert!(problem_is_named(&answer, code), "{name}: no `{code}` in {answer:#}");
        let scan = place.cli(&["scan", &format!("prod/{name}:1"), "-o", "json"]);
        assert_eq!(scan.code, 1, "{name}: a problem could hide a finding: {scan:?}");
        let problems = scan.json()["problems"].clone();
        let problems = problems.as_array().expect("problems");
        assert!(problems.iter().any(|it| it["code"] == *code), "{name}: {problems:?}");
        let pulled = door.get("GET", &format!("/v2/prod/{name}/manifests/1"));
        assert_eq!(pulled.status, 403, "{name}: {}", pulled.text());
    }
    // The server is none the worse for it.
    let status = place.cli(&["status", "-o", "json"]).json();
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["failed"].as_array().map(Vec::len), Some(0), "{status:#}");
    assert_eq!(place.cli(&["ledger", "verify"]).code, 0);
}

/// Engines start whatever has an image's config, under any name: so does the gate judge it.
#[test]
fn an_image_stays_one_whatever_it_is_called() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    // No feed is loaded, so an image is blocked under `prod/`.
    let image = Image::debian("expat", "2.5.0-1", "");
    let empty = "application/vnd.oci.empty.v1+json";
    let names = [
        (Some("application/x-any"), CONFIG),
        (None, "application/octet-stream"),
        (None, "text/html"),
        (None, empty),
        (Some("application/x-any"), empty),
        (None, "application/vnd.cncf.helm.config.v1+json"),
    ];
    let check = |name: &str| place.cli(&["check", &format!("{name}:1"), "--wait", "60s", "-o", "json"]);
    for (number, (artifact_type, config_type)) in names.into_iter().enumerate() {
        let repository = format!("prod/alias{number}");
        image.called(artifact_type, config_type).push(&door, &repository, "1");
        let answer = check(&repository);
        assert_eq!((answer.code, &answer.json()["verdict"]), (1, &"blocked".into()), "{config_type}");
        let pulled = door.get("GET", &format!("/v2/{repository}/manifests/1"));
        assert_eq!(pulled.status, 403, "{}", pulled.text());
        let layer = format!("/v2/{repository}/blobs/{}", image.layer_digest());
        assert_eq!(door.get("GET", &layer).status, 403);
    }
    // Go reads names of members in any case.
    let config =
        br#"{"architecture":"amd64","os":"linux","RootFS":{"type":"layers","diff_ids":["sha256:0"]}}"#;
    image.configured(config).called(Some("application/x-any"), empty).push(&door, "prod/folded", "1");
    assert_eq!(check("prod/folded").code, 1);
    // What no engine starts is no image.
    image.configured(b"{}").called(Some("application/x-any"), empty).push(&door, "prod/artifact", "1");
    let answer = check("prod/artifact");
    assert_eq!((answer.code, &answer.json()["verdict"]), (0, &"allowed".into()), "{answer:?}");
}

/// What is wrong with one image is not told of another that has the same layers.
#[test]
fn a_lie_about_layers_stays_with_the_liar() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let layer = debian_layer("expat", "99:1");
    let digest = Digest::sha256(&layer);
    let check = |name: &str| {
        let answer = place.cli(&["check", &format!("{name}:1"), "--wait", "60s", "-o", "json"]);
        answer.json()["reasons"].to_string().contains("diff-id-mismatch")
    };
    let honest = |label: &str| Image::new(&layer, TAR, &digest, label);
    let liar = |label: &str| Image::new(&layer, TAR, &Digest::sha256(label.as_bytes()), label);
    liar("first").push(&door, "prod/liar", "1");
    assert!(check("prod/liar"));
    honest("a").push(&door, "prod/honest", "1");
    assert!(!check("prod/honest"));
    assert!(check("prod/liar"), "an honest image does not wash it clean");
    liar("second").push(&door, "prod/other", "1");
    assert!(check("prod/other"));
    assert!(!check("prod/honest"), "a liar elsewhere does not stain it");
}

/// Who may read `prod` but not past its verdicts, and may push to `dev`, does not get a blocked
/// image's layer by mounting it there.
#[test]
fn a_blocked_layer_does_not_leak_through_a_mount() {
    let place = Place::new();
    let server = place.up(&[]);
    let operator = place.login(server.port);
    // No feed is loaded, so the image is blocked under `prod/`.
    let layer = debian_layer("expat", "2.5.0-1");
    let digest = Digest::sha256(&layer);
    Image::new(&layer, TAR, &digest, "").push(&operator, "prod/web", "1");
    assert_eq!(place.cli(&["check", "prod/web:1", "--wait", "60s"]).code, 1);
    let words =
        ["principal", "create", "reader", "--role", "AcrPull", "--scope", "/repositories/prod", "-o", "json"];
    let made = place.cli(&words).json();
    let words =
        ["role", "assign", "--principal", "reader", "--role", "AcrPush", "--scope", "/repositories/dev"];
    assert_eq!(place.cli(&words).code, 0);
    let word = |key: &str| made[key].as_str().expect("a word").to_owned();
    let basic = STANDARD.encode(format!("{}:{}", word("client_id"), word("client_secret")));
    let reader = Door::Tcp { port: server.port, basic };

    let get = reader.get("GET", &format!("/v2/prod/web/blobs/{digest}"));
    assert_eq!(get.status, 403, "{}", get.text());
    let mount = format!("/v2/dev/mounted/blobs/uploads/?mount={digest}&from=prod/web");
    assert_eq!(reader.get("POST", &mount).status, 202, "its bytes are asked for");
    let get = reader.get("GET", &format!("/v2/dev/mounted/blobs/{digest}"));
    assert!(matches!(get.status, 403 | 404), "the layer leaks: {}", get.head);
}

/// What a build keeps in an index of layers runs nowhere: under a policy it is pulled as other artifacts are.
#[test]
fn an_index_of_layers_is_no_image() {
    let place = Place::new();
    let server = place.up(&[]);
    let operator = place.login(server.port);
    let layer = debian_layer("expat", "2.5.0-1");
    let digest = Digest::sha256(&layer);
    let path = format!("/v2/prod/cache/blobs/uploads/?digest={digest}");
    let sent = operator.ask("POST", &path, "application/octet-stream", &layer).expect("the server answers");
    assert_eq!(sent.status, 201, "{}", sent.text());
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind,
        "manifests": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.to_string(), "size": layer.len()}],
    });
    let index = index.to_string();
    let put = operator.ask("PUT", "/v2/prod/cache/manifests/1", kind, index.as_bytes());
    let put = put.expect("the server answers");
    assert_eq!(put.status, 201, "{}", put.text());
    let pulled = until("its clearance", || {
        let answer = operator.get("GET", "/v2/prod/cache/manifests/1");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(pulled.text(), index);
    assert_eq!(operator.get("GET", &format!("/v2/prod/cache/blobs/{digest}")).status, 200);
}

/// The rule about inspection does not hold, and some reason names the problem.
fn problem_is_named(check: &Value, code: &str) -> bool {
    let reasons = check["reasons"].as_array().expect("reasons");
    let inspected = reasons.iter().find(|it| it["rule"] == "prod/inspected");
    inspected.is_some_and(|it| it["result"] != "pass") && check["reasons"].to_string().contains(code)
}

/// An index may name what is elsewhere; whoever may read the index learns nothing of that.
#[test]
fn an_index_tells_nothing_of_what_is_elsewhere() {
    let place = Place::new();
    let server = place.up(&[]);
    let owner = place.login(server.port);
    let secret = Image::debian("expat", "99:1", "secret");
    secret.push(&owner, "b/secret", "1");
    let known = until("its inventory", || {
        let answer = owner.get("GET", "/api/v1/scan?image=b/secret:1");
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(known["packages"], 1, "{known}");

    let made =
        place.cli(&["principal", "create", "ann", "--role", "Contributor", "--scope", "/repositories/a"]);
    let made = made.json();
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    let basic = STANDARD.encode(format!("{}:{}", text("client_id"), text("client_secret")));
    let ann = Door::Tcp { port: server.port, basic };
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "digest": secret.digest().to_string(), "size": secret.size(),
                       "platform": {"architecture": "amd64", "os": "linux"}}],
    });
    let kind = "application/vnd.oci.image.index.v1+json";
    let put = ann.ask("PUT", "/v2/a/x/manifests/1", kind, index.to_string().as_bytes()).expect("an answer");
    assert_eq!(put.status, 201, "{}", put.text());
    for path in ["scan?image=a/x:1&wait=0", "images/findings?image=a/x:1", "images/remedies?image=a/x:1"] {
        let answer = ann.get("GET", &format!("/api/v1/{path}"));
        assert_ne!(answer.status, 200, "{path}: {}", answer.text());
    }
    let all = ann.get("GET", "/api/v1/vulnerabilities").json();
    assert_eq!((&all["total"], &all["unknown"]), (&0.into(), &1.into()), "{all}");
    let none = ann.get("GET", "/api/v1/scan?image=b/secret:1");
    assert_eq!(none.status, 404, "{}", none.text());
}
