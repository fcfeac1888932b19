//! Registries that others wrote, and a second one of ours: what is copied to them, and from them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use seaworthy_testkit::{ForeignRegistry, advisory_pack, foreign_registry, real_engines};
use serde_json::{Value, json};

use crate::{
    agent::until,
    caching::{signed_in, upstream, user},
    clients::Containerd,
    http::Door,
    image::Image,
    server::{Place, Said, debian_feeds, run},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn theirs() -> String {
    format!("{}:{}", ForeignRegistry::USER, ForeignRegistry::SECRET)
}

/// What skopeo says of an image there.
fn inspect(port: u16, login: &str, name: &str) -> Said {
    let image = format!("docker://localhost:{port}/{name}");
    run(Command::new("skopeo").args(["inspect", "--tls-verify=false", "--raw", "--creds", login, &image]))
}

fn digest_there(port: u16, login: &str, name: &str) -> Option<Digest> {
    let said = inspect(port, login, name);
    (said.code == 0).then(|| Digest::sha256(said.out.as_bytes()))
}

/// Waits until a replication has nothing left to do.
fn settled(place: &Place, name: &str) {
    until("all is there", || {
        let shown = place.cli(&["registry", "replication", "show", name, "-o", "json"]).json();
        (shown["waiting"] == json!(0) && shown["seeding"] == json!(false)).then_some(())
    });
    let said = place.cli(&["registry", "replication", "status", name, "--waiting", "-o", "json"]);
    assert_eq!((said.code, said.json()), (0, json!([])), "{said:?}");
}

fn put(door: &Door, path: &str, media_type: &str, manifest: &Value) -> Digest {
    let bytes = manifest.to_string().into_bytes();
    let digest = Digest::sha256(&bytes);
    let answer = door.ask("PUT", path, media_type, &bytes).expect("answered");
    assert_eq!(answer.status, 201, "{}", answer.text());
    digest
}

/// An index of two images, and what refers to it.
fn put_index(door: &Door, repository: &str, images: &[&Image]) -> (Digest, Digest) {
    let manifests: Vec<Value> = images
        .iter()
        .map(|image| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.digest(),
                "size": image.size(), "platform": {"os": "linux", "architecture": "amd64"}})
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let digest = put(door, &format!("/v2/{repository}/manifests/all"), INDEX, &index);
    let empty = Digest::sha256(b"{}");
    let path = format!("/v2/{repository}/blobs/uploads/?digest={empty}");
    let answer = door.ask("POST", &path, "application/octet-stream", b"{}").expect("answered");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let artifact = json!({"schemaVersion": 2, "mediaType": media_type, "artifactType": "application/an.sbom",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}, "layers": [],
        "subject": {"mediaType": INDEX, "digest": digest, "size": index.to_string().len()}});
    let name = Digest::sha256(artifact.to_string().as_bytes());
    (digest, put(door, &format!("/v2/{repository}/manifests/{name}"), media_type, &artifact))
}

/// docker's own registry, which asks for a password itself.
#[test]
fn a_foreign_registry_has_what_is_here() {
    const NAME: &str = "a_foreign_registry_has_what_is_here";
    if !real_engines(NAME, &["skopeo"]) {
        return;
    }
    let Some(foreign) = foreign_registry(NAME) else { return };
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let (one, other) = (Image::debian("expat", "2.5.0-1", "one"), Image::debian("zlib", "1.2", "other"));
    one.push(&door, "dev/app", "1");
    other.push(&door, "dev/app", "2");
    let (index, sbom) = put_index(&door, "dev/app", &[&one, &other]);
    let to = format!("http://localhost:{}", foreign.port);
    let words =
        ["replication", "create", "edge", "dev", "--to", &to, "--remote-prefix", "copies/dev", "--deletions"];
    signed_in(&place, &words, &theirs());
    settled(&place, "edge");
    let there = |name: &str| digest_there(foreign.port, &theirs(), &format!("copies/dev/{name}"));
    assert_eq!(there("app:1"), Some(one.digest()));
    assert_eq!(there("app:2"), Some(other.digest()));
    assert_eq!(there("app:all"), Some(index));
    assert_eq!(there(&format!("app@{sbom}")), Some(sbom), "what refers to it, too");
    // All layers are there: it can be pulled whole.
    let from = format!("docker://localhost:{}/copies/dev/app:all", foreign.port);
    let to = format!("dir:{}", place.path("copy").display());
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--all", "--src-tls-verify=false", "--src-creds", &theirs(), &from, &to]);
    let said = run(&mut skopeo);
    assert_eq!(said.code, 0, "{said:?}");
    // A tag that moves, and one that goes.
    other.push(&door, "dev/app", "1");
    until("it moved there", || (there("app:1") == Some(other.digest())).then_some(()));
    assert_eq!(place.cli(&["image", "delete", "dev/app:2"]).code, 0);
    until("it is gone there", || there("app:2").is_none().then_some(()));
    settled(&place, "edge");
    let records = until("it has its number", || {
        let said = place.cli(&["ledger", "list", "--action", "manifest.replicate", "-o", "json"]).json();
        said.as_array().filter(|all| all.len() >= 3).cloned()
    });
    assert_eq!(records[0]["record"]["details"]["replication"], json!("edge"), "{records:#?}");
    // It is away, and what is pushed meanwhile is not lost.
    foreign.stop();
    one.push(&door, "dev/late", "1");
    until("it fails", || {
        let said = place.cli(&["registry", "replication", "status", "edge", "--waiting", "-o", "json"]);
        let rows = said.json();
        let row = rows.as_array()?.iter().find(|row| row["repository"] == "dev/late").cloned()?;
        (said.code == 1 && row["error"].is_string()).then_some(())
    });
    assert_eq!(place.cli(&["registry", "replication", "delete", "edge"]).code, 0);
}

/// Another server of ours, which gives out tokens; one pushes, the other pulls.
#[test]
fn servers_copy_from_each_other() {
    const NAME: &str = "servers_copy_from_each_other";
    if !real_engines(NAME, &["skopeo"]) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    let (_behind, far, far_door) = upstream();
    let place = Place::new();
    let server = place.up(&debian_feeds(&pack));
    let door = place.login(server.port);
    let (good, bad) = (Image::debian("expat", "99:1", "good"), Image::debian("expat", "2.5.0-1", "bad"));
    good.push(&door, "prod/app", "good");
    bad.push(&door, "prod/app", "bad");
    let to = format!("http://localhost:{}", far.port);
    signed_in(&place, &["replication", "create", "edge", "prod", "--to", &to], &user(&far_door));
    until("the good one is there", || {
        let answer = far_door.get("GET", "/v2/prod/app/manifests/good");
        (answer.status != 404).then_some(())
    });
    let why = until("the bad one is held back", || {
        let rows =
            place.cli(&["registry", "replication", "status", "edge", "--waiting", "-o", "json"]).json();
        let row = rows.as_array()?.iter().find(|row| row["name"] == "bad").cloned()?;
        Some(row["error"].as_str()?.to_owned()).filter(|why| why.contains("is blocked by"))
    });
    assert_eq!(far_door.get("GET", "/v2/prod/app/manifests/bad").status, 404, "{why}");
    // And the other way around, before anybody asks.
    let (index, sbom) = put_index(&far_door, "dev/many", &{
        good.push(&far_door, "dev/many", "1");
        [&good]
    });
    let words =
        ["cache", "create", "hub", "--upstream", &to, "--mirror", "dev/many:a*", "--mirror-seconds", "60"];
    signed_in(&place, &words, &user(&far_door));
    let mirrored = until("it was looked at", || {
        let shown = place.cli(&["registry", "cache", "show", "hub", "-o", "json"]).json();
        shown["mirrored"][0]["looked_at"].is_string().then(|| shown["mirrored"][0].clone())
    });
    assert_eq!((&mirrored["tags"], &mirrored["error"]), (&json!(1), &Value::Null), "{mirrored:#}");
    far.stop();
    let path = format!("/v2/hub/dev/many/referrers/{index}");
    let referrers = door.get("GET", &path);
    assert!(referrers.text().contains(&sbom.to_string()), "{}", referrers.text());
    let layer = until("it is judged", || {
        let layer = door.get("GET", &format!("/v2/hub/dev/many/blobs/{}", good.layer_digest()));
        Some(layer).filter(|layer| layer.status == 200)
    });
    assert_eq!(Digest::sha256(&layer.body), good.layer_digest());
    assert_eq!(door.get("GET", "/v2/hub/dev/many/tags/list").json()["tags"], json!(["all"]));
}

/// containerd knows a mirror by its hosts file, and says whose image it wants.
#[test]
fn containerd_pulls_through_a_cache_of_a_foreign_registry() {
    const NAME: &str = "containerd_pulls_through_a_cache_of_a_foreign_registry";
    if !real_engines(NAME, &["skopeo", "containerd", "ctr", "setpriv"]) {
        return;
    }
    let Some(foreign) = foreign_registry(NAME) else { return };
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    // Pushed here and copied there: skopeo is what fills the foreign one.
    let image = Image::debian("expat", "2.5.0-1", "theirs");
    image.push(&door, "dev/app", "1");
    let from = format!("docker://localhost:{}/dev/app:1", server.port);
    let to = format!("docker://localhost:{}/team/app:1", foreign.port);
    until("it may be pulled", || (door.get("GET", "/v2/dev/app/manifests/1").status == 200).then_some(()));
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    skopeo.args(["--src-creds", &user(&door), "--dest-creds", &theirs(), &from, &to]);
    let said = run(&mut skopeo);
    assert_eq!(said.code, 0, "{said:?}");
    let url = format!("http://localhost:{}", foreign.port);
    signed_in(&place, &["cache", "create", "hub", "--upstream", &url, "--ns", "foreign.example"], &theirs());
    let words = ["principal", "create", "anonymous", "--role", "AcrPull", "--scope", "/repositories/hub"];
    assert_eq!(place.cli(&words).code, 0);
    until("it is judged", || (door.get("GET", "/v2/hub/team/app/manifests/1").status == 200).then_some(()));
    let hosts = place.path("hosts");
    mirror(&hosts, "foreign.example", server.port);
    let containerd = Containerd::start(place.path("containerd"));
    let pull = || {
        let words = ["images", "pull", "--snapshotter", "native", "--hosts-dir"];
        run(containerd.ctr(&words).arg(&hosts).arg("foreign.example/team/app:1"))
    };
    let said = pull();
    assert_eq!(said.code, 0, "{said:?}\n{}", place.log());
    let listed = run(&mut containerd.ctr(&["images", "list"]));
    assert!(listed.out.contains(&image.digest().to_string()), "{listed:?}");
    // Without the foreign registry it is still there.
    foreign.stop();
    let removed = run(&mut containerd.ctr(&["images", "remove", "--sync", "foreign.example/team/app:1"]));
    assert_eq!(removed.code, 0, "{removed:?}");
    let said = pull();
    assert_eq!(said.code, 0, "{said:?}\n{}", place.log());
}

fn mirror(hosts: &Path, host: &str, port: u16) {
    let folder = hosts.join(host);
    fs::create_dir_all(&folder).expect("a folder");
    let text = format!(
        "server = \"https://{host}\"\n[host.\"http://localhost:{port}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    fs::write(folder.join("hosts.toml"), text).expect("written");
}

/// It is pulled as docker would, with what docker knows, and kept nowhere.
#[test]
fn an_image_of_another_registry_is_scanned() {
    const NAME: &str = "an_image_of_another_registry_is_scanned";
    if !real_engines(NAME, &["skopeo"]) {
        return;
    }
    let Some(foreign) = foreign_registry(NAME) else { return };
    let Some(pack) = advisory_pack(NAME) else { return };
    let place = Place::new();
    let server = place.up(&debian_feeds(&pack));
    let door = place.login(server.port);
    let image = Image::debian("expat", "2.5.0-1", "theirs");
    let other = Image::debian("zlib", "1.2", "other");
    other.push(&door, "dev/app", "other");
    image.push(&door, "dev/app", "1");
    put_index(&door, "dev/app", &[&image, &other]);
    let host = format!("localhost:{}", foreign.port);
    let skopeo = |tag: &str| {
        let (from, to) = (
            format!("docker://localhost:{}/dev/app:{tag}", server.port),
            format!("docker://{host}/their/app:{tag}"),
        );
        let mut skopeo = Command::new("skopeo");
        skopeo.args([
            "copy",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--dest-creds",
            &theirs(),
        ]);
        skopeo.arg("--src-creds").arg(user(&door)).args([&from, &to]);
        let said = run(&mut skopeo);
        assert_eq!(said.code, 0, "{said:?}");
    };
    skopeo("1");
    skopeo("all");
    let name = format!("{host}/their/app:1");
    let there = digest_there(foreign.port, &theirs(), "their/app:1").expect("there");
    // Nobody is let in there.
    let said = place.cli(&["scan", &name]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("docker login localhost"), "{said:?}");
    let known = fs::read(place.docker_config().join("config.json")).expect("read");
    let mut config: Value = serde_json::from_slice(&known).expect("JSON");
    config["auths"][&host] = json!({"auth": STANDARD.encode(theirs())});
    let configure = |config: &Value| {
        fs::write(place.docker_config().join("config.json"), config.to_string()).expect("written");
    };
    configure(&config);
    let findings = |said: &Said| {
        assert_eq!(said.code, 0, "{said:?}");
        said.json()["findings"].clone()
    };
    let own = until("the feeds are read", || {
        let own = findings(&place.cli(&["scan", "dev/app:1", "-o", "json"]));
        own.as_array().is_some_and(|rows| !rows.is_empty()).then_some(own)
    });
    let report = place.cli(&["scan", &name, "-o", "json"]);
    assert_eq!(findings(&report), own);
    assert_eq!(report.json()["image"]["reference"], json!(name));
    for name in [format!("{host}/their/app:all"), format!("{host}/their/app@{there}")] {
        assert_eq!(findings(&place.cli(&["scan", &name, "-o", "json"])), own, "{name}");
    }
    assert_eq!(place.cli(&["scan", &name, "--fail-on", "low"]).code, 1);
    // What is not there is told; what is ours is looked for here alone.
    let said = place.cli(&["scan", &format!("{host}/their/app:none")]);
    assert!(said.code == 2 && said.err.contains("does not have it"), "{said:?}");
    let said = place.cli(&["scan", &format!("localhost:{}/their/app:1", server.port)]);
    assert!(said.code != 0 && said.err.contains("is not known"), "{said:?}");
    // A helper of docker's knows better than its file, and no server is needed.
    let helper = place.path("docker-credential-theirs");
    let (user, secret) = (ForeignRegistry::USER, ForeignRegistry::SECRET);
    let script = format!(
        "#!/bin/sh\nread host\n[ \"$1 $host\" = 'get {host}' ] || exit 1\n\
         echo '{{\"ServerURL\":\"{host}\",\"Username\":\"{user}\",\"Secret\":\"{secret}\"}}'\n"
    );
    fs::write(&helper, script).expect("written");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("set");
    config["auths"][&host] = json!({});
    configure(&config);
    assert_eq!(place.cli(&["scan", &name]).code, 3);
    config["credHelpers"] = json!({&host: "theirs"});
    configure(&config);
    server.stop();
    let feeds: Vec<String> = debian_feeds(&pack).iter().map(|feed| feed.display().to_string()).collect();
    let mut words = vec!["scan", &name, "-o", "json"];
    feeds.iter().for_each(|feed| words.extend(["--advisories", feed]));
    let mut command = place.command(&words);
    let path = std::env::var("PATH").unwrap_or_default();
    let said = run(command.env("PATH", format!("{}:{path}", place.path("").display())));
    assert_eq!(findings(&said), own);
}
