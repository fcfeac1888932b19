//! What a name means: a host that is ours is left out, any other is no host of ours.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::{Digest, Platform};
use serde_json::Value;

use crate::{
    http::Door,
    image::{Image, lay_out},
    transfer::Registry,
};

#[track_caller]
fn digest_of(value: &Value) -> &str {
    value["digest"].as_str().unwrap_or_else(|| panic!("no digest: {value:#}"))
}

/// A repository whose first part looks like a host beside the one that it would be without it.
fn two() -> (Registry, Digest, Digest) {
    let registry = Registry::new();
    let push = |name: &str, version: &str| {
        let image = Image::debian("quay-tool", version, version);
        image.push(&registry.door, name, "1");
        image.digest()
    };
    let (dotted, plain) = (push("a.b/web", "1"), push("web", "2"));
    (registry, dotted, plain)
}

#[test]
fn a_host_is_ours_or_part_of_the_name() {
    let (registry, dotted, plain) = two();
    let port = registry.server.port;
    for (name, digest) in [
        ("a.b/web:1".to_owned(), &dotted),
        (format!("localhost:{port}/a.b/web:1"), &dotted),
        ("web:1".to_owned(), &plain),
        (format!("localhost:{port}/web:1"), &plain),
        (format!("127.0.0.1:{port}/web:1"), &plain),
    ] {
        registry.is_judged(&name);
        let said = registry.cli(&["check", &name]).json();
        assert_eq!(digest_of(&said), digest.to_string(), "check {name}");
        assert_eq!(digest_of(&registry.done(&["image", "show", &name])), digest.to_string(), "show {name}");
        let to = registry.place.path("exported");
        let exported = registry.done(&["image", "export", &name, "--to", &format!("oci:{}", to.display())]);
        assert_eq!(digest_of(&exported[0]), digest.to_string(), "export {name}");
        std::fs::remove_dir_all(to).expect("removed");
        let promoted = registry.done(&["image", "promote", &name, "copies/app:1"]);
        assert_eq!(digest_of(&promoted), digest.to_string(), "promote {name}");
    }
    registry.done(&["image", "delete", "a.b/web:1"]);
    assert_eq!(digest_of(&registry.done(&["image", "show", "web:1"])), plain.to_string());
    assert_ne!(registry.cli(&["image", "show", "a.b/web:1"]).code, 0);
    registry.done(&["image", "restore", "a.b/web:1"]);
    assert_eq!(digest_of(&registry.done(&["image", "show", "a.b/web:1"])), dotted.to_string());
    // As podman calls what it built.
    let podman = Image::debian("quay-tool", "3", "3");
    podman.push(&registry.door, "localhost/web", "1");
    assert_eq!(digest_of(&registry.done(&["image", "show", "localhost/web:1"])), podman.digest().to_string());
    registry.done(&["image", "delete", "localhost/web:1"]);
    assert_eq!(digest_of(&registry.done(&["image", "show", "web:1"])), plain.to_string());
    // A proxy's name, which only the client knows.
    let asked = registry.door.get("GET", "http://proxy.example/api/v1/check?image=proxy.example/web:1");
    assert_eq!(digest_of(&asked.json()), plain.to_string());
}

#[test]
fn images_of_other_registries_are_not_ours() {
    let (registry, ..) = two();
    registry.is_judged("web:1");
    let layout = registry.place.path("layout");
    lay_out(&layout, "1", &[("1", &Image::debian("quay-tool", "3", "3"))]);
    let local = format!("oci:{}", layout.display());
    for host in ["quay.io", "quay.io:443"] {
        let name = format!("{host}/web:1");
        let to = format!("oci:{}", registry.place.path("none").display());
        for words in [
            &["check", &name][..],
            &["check", &name, "--purpose", "deploy"],
            &["image", "show", &name],
            &["image", "delete", &name],
            &["image", "restore", &name],
            &["image", "release", &name],
            &["image", "export", &name, "--to", &to],
            &["image", "promote", &name, "copies/app:1"],
            &["image", "promote", "web:1", &name],
            &["image", "import", &name, "copies/app:1"],
            &["image", "import", &local, &name],
            &["check", &local, "--as", &name],
        ] {
            let said = registry.cli(words);
            assert!(said.code != 0 && !said.err.is_empty(), "{words:?}: {said:?}");
        }
    }
    let repositories = registry.done(&["image", "list"]);
    let mut named: Vec<&str> =
        repositories.as_array().expect("rows").iter().filter_map(|row| row["repository"].as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["a.b/web", "web"], "nothing was made or taken away");
    // A place is one where there is such a repository already, and what is run may come from elsewhere.
    let judged = registry.cli(&["check", &local, "--as", "a.b/web:2"]).json();
    assert_eq!(judged["repository"], "a.b/web", "{judged:#}");
    let judged = registry.cli(&["check", &local, "--as", "quay.io:443/web:1", "--purpose", "deploy"]).json();
    assert_eq!(judged["repository"], "quay.io_443/web", "{judged:#}");
    // With no server nobody knows.
    let advisories = registry.place.path("advisories");
    std::fs::create_dir(&advisories).expect("made");
    let alone = |place: &str| {
        let feeds = advisories.to_str().expect("a path");
        registry.cli(&["check", &local, "--as", place, "--advisories", feeds])
    };
    let said = alone("quay.io/web:1");
    assert!(said.code != 0 && said.err.contains("--as web:1"), "{said:?}");
    registry.done(&["image", "import", &local, "a.b/web:7"]);
    registry.done(&["image", "show", "a.b/web:7"]);
}

/// `REPOSITORY:TAG@DIGEST` is that tag while it is that image.
#[test]
fn a_tag_with_a_digest_is_deleted_alone() {
    let registry = Registry::new();
    let (one, other) = (Image::debian("quay-tool", "1", "1"), Image::debian("quay-tool", "2", "2"));
    one.push(&registry.door, "app", "1");
    one.push(&registry.door, "app", "2");
    other.push(&registry.door, "app", "3");
    let said = registry.cli(&["image", "delete", &format!("app:1@{}", other.digest())]);
    assert!(said.code != 0 && said.err.contains("app:1"), "{said:?}");
    registry.done(&["image", "delete", &format!("app:1@{}", one.digest())]);
    assert_ne!(registry.cli(&["image", "show", "app:1"]).code, 0);
    assert_eq!(digest_of(&registry.done(&["image", "show", "app:2"])), one.digest().to_string());
}

/// What a pull is refused, `check` does not allow, whatever the policies say.
#[test]
fn what_is_withheld_is_not_allowed() {
    let registry = Registry::new();
    registry.done(&["registry", "rules", "set", "held", "--quarantine"]);
    let image = Image::debian("quay-tool", "1", "1");
    for repository in ["held/app", "dev/app"] {
        image.push(&registry.door, repository, "1");
    }
    let says = |name: &str, more: &[&str], rule: Option<&str>| {
        registry.is_judged("dev/app:1");
        let said = registry.cli(&[&["check", name][..], more].concat());
        let answer = said.json();
        let first = answer["reasons"][0]["rule"].as_str().filter(|rule| !rule.contains('/'));
        assert_eq!((said.code, first), (i32::from(rule.is_some()), rule), "{name} {more:?}: {answer:#}");
        assert_eq!(answer["verdict"], if rule.is_some() { "blocked" } else { "allowed" }, "{answer:#}");
        let shown = registry.done(&["image", "show", name]);
        assert_eq!(shown["withheld"].is_string(), rule.is_some(), "{shown:#}");
        if let Some((repository, tag)) = name.split_once(':').filter(|_| !name.contains('@')) {
            let listed = registry.door.get("GET", &format!("/api/v1/images?repository={repository}")).json();
            let rows = listed.as_array().expect("rows");
            let row = rows.iter().find(|row| row["tag"] == tag).expect("listed");
            assert_eq!(row["verdict"], answer["verdict"], "{name}: {row:#}");
        }
    };
    for more in [&[][..], &["--purpose", "deploy"]] {
        says("held/app:1", more, Some("quarantine"));
        says(&format!("held/app@{}", image.digest()), more, Some("quarantine"));
    }
    // Who looks into quarantine may pull, and is told so.
    let scanner = registry.done(&["principal", "create", "scanner", "--role", "AcrPull", "--scope", "/"]);
    let scope = "/repositories/held";
    let basic = |id: &str, secret: &str| STANDARD.encode(format!("{id}:{secret}"));
    let text = |name: &str| scanner[name].as_str().unwrap_or_else(|| panic!("{scanner:#}")).to_owned();
    let door =
        Door::Tcp { port: registry.server.port, basic: basic(&text("client_id"), &text("client_secret")) };
    // No feed is loaded: each tag that is looked at is one of those of which nothing is known.
    let looked_at = || door.get("GET", "/api/v1/vulnerabilities").json()["unknown"].clone();
    assert_eq!(looked_at(), 1, "what is hidden is in no list");
    let reader = ["--principal", "scanner", "--role", "AcrQuarantineReader", "--scope", scope];
    registry.done(&[&["role", "assign"][..], &reader].concat());
    assert_eq!(looked_at(), 2);
    let asked = door.get("GET", "/api/v1/check?image=held/app:1").json();
    assert_eq!(asked["verdict"], "allowed", "{asked:#}");
    let listed = door.get("GET", "/api/v1/images?repository=held").json();
    assert_eq!(listed[0]["verdict"], "allowed", "{listed:#}");
    registry.done(&["image", "reject", "held/app:1"]);
    says("held/app:1", &[], Some("quarantine"));
    registry.done(&["image", "release", "held/app:1"]);
    says("held/app:1", &[], None);
    let lock = |path: &str, allowed: bool| {
        let body = serde_json::json!({"readEnabled": allowed}).to_string();
        let answer = registry.door.ask("PATCH", path, "application/json", body.as_bytes()).expect("answered");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    says("dev/app:1", &[], None);
    // Of an index, the image that would be pulled here.
    registry.index("dev/app", "all", &[(Platform::host().architecture.as_str(), &image)]);
    let child = format!("/acr/v1/dev/app/_manifests/{}", image.digest());
    says("dev/app:all", &[], None);
    lock(&child, false);
    says("dev/app:all", &[], Some("lock"));
    lock(&child, true);
    for path in ["/acr/v1/dev/app".to_owned(), "/acr/v1/dev/app/_tags/1".to_owned()] {
        lock(&path, false);
        says("dev/app:1", &[], Some("lock"));
        lock(&path, true);
        says("dev/app:1", &[], None);
    }
}
