//! The console as people meet it: the real browser drives web/tests/story.mjs against a real
//! server with a vulnerable image, which runs in a real engine.

use std::{path::Path, process::Command};

use seaworthy_oci::Digest;
use seaworthy_testkit::{
    advisory_pack,
    debian::{Base, base},
    docker, program, real_engines, wanted,
};
use serde_json::json;

use crate::{
    agent::until,
    http::Door,
    image::Image,
    server::{Place, debian_feeds, done, free_port},
};

const NAME: &str = "the_story_in_a_browser";
const CONTAINER: &str = "quay";

#[test]
fn the_story_in_a_browser() {
    if !real_engines(NAME, &["dockerd", "docker", "mmdebstrap", "setpriv", "chromium"]) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
    let node = web.join("node_modules/.bin/node");
    if !node.exists() && !wanted(NAME, "the console's tools, which `cargo xtask prepare` fetches") {
        return;
    }
    let (place, engine, port) = (Place::new(), docker(), free_port());
    let server = place.try_up_beside(port, &engine.host()).unwrap_or_else(|log| panic!("{log}"));
    let door = place.login(server.port);
    for feed in debian_feeds(&pack) {
        let said = place.cli(&["advisories", "import", feed.to_str().expect("a path")]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let docker = |words: &[&str]| {
        let mut command = engine.client(&place.docker_config());
        done(command.args(words))
    };
    let full = format!("localhost:{port}/prod/web:1");
    done(engine.client(&place.docker_config()).arg("import").arg(base(Base::Main)).arg(&full));
    docker(&["push", "-q", &full]);
    let hostile = "--label=note=<img src=x onerror=alert(1)>";
    docker(&[
        "run",
        "-d",
        "--name",
        CONTAINER,
        "--network=host",
        "-u",
        "0",
        hostile,
        &full,
        "sleep",
        "100000",
    ]);
    let listed = until("the blocked container", || {
        let rows = place.cli(&["ps", "-o", "json"]).json();
        let row = rows.as_array()?.iter().find(|row| row["name"] == CONTAINER)?.clone();
        (row["verdict"] == "blocked" && row["findings"].is_object()).then_some(row)
    });
    assert_eq!(listed["image"]["mapping"], "exact", "{listed:#}");
    fill(&place, &door, listed["image"]["digest"].as_str().expect("a digest"));
    let link = |words: &[&str]| {
        let said = place.cli(words);
        assert_eq!(said.code, 0, "{said:?}");
        let lines = said.out.split_whitespace().find(|word| word.contains("#swl_"));
        lines.unwrap_or_else(|| panic!("no link: {said:?}")).trim_matches(['"', ',']).to_owned()
    };
    let other = link(&["principal", "create", "ann", "--user", "--role", "Owner", "--scope", "/"]);
    let puller =
        ["principal", "create", "pat", "--user", "--role", "AcrPull", "--scope", "/repositories/team"];
    let puller = link(&puller);
    let said = Command::new(&node)
        .arg(web.join("tests/story.mjs"))
        .env("SEAWORTHY_CHROMIUM", program("chromium").expect("it was looked for"))
        .env("SEAWORTHY_URL", format!("http://localhost:{port}"))
        .env("SEAWORTHY_LINK", link(&["console"]))
        .env("SEAWORTHY_OTHER_LINK", other)
        .env("SEAWORTHY_PULLER_LINK", puller)
        .env("SEAWORTHY_CONTAINER", CONTAINER)
        .env("SEAWORTHY_PID", server.pid().to_string())
        .output()
        .expect("node starts");
    docker(&["rm", "-f", CONTAINER]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}{}\n{}", text(&said.stdout), text(&said.stderr), place.log());
    eprintln!("{}", text(&said.stdout));
}

/// A repository with a quota, rules of retention and a deleted tag; one in quarantine; one that is only promoted to;
/// one whose tag was deleted twice; and an SBOM of the image with a signature about that.
fn fill(place: &Place, door: &Door, image: &str) {
    let app = |version: &str| Image::debian("quay-tool", version, version);
    for tag in ["1", "v1", "gone", "2"] {
        app(tag).push(door, "team/app", tag);
    }
    let run = |words: &[&str]| {
        let said = place.cli(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
    };
    run(&["image", "delete", "team/app:gone"]);
    run(&["registry", "rules", "set", "team", "--quota-tags", "4"]);
    run(&["registry", "retention", "set", "team", "--keep-last", "10"]);
    run(&["registry", "rules", "set", "unseen", "--quarantine"]);
    run(&["registry", "rules", "set", "vetted", "--promotion-only"]);
    app("3").push(door, "unseen/app", "1");
    run(&["image", "promote", "team/app:1", "vetted/app:1"]);
    for version in ["4", "5"] {
        app(version).push(door, "twice/app", "1");
        run(&["image", "delete", "twice/app:1"]);
    }
    let sbom = refer(door, image, "application/vnd.cyclonedx+json", HOSTILE_NOTE);
    refer(door, &sbom, "application/vnd.dev.cosign.artifact.sig.v1+json", "");
}

/// An annotation that is markup to whoever forgets to escape it; the story looks for its very text.
const HOSTILE_NOTE: &str = "made by <b>hand</b><img src=x onerror=alert(2)></dd><script>alert(3)</script>";

/// Pushes an artifact about `subject` to `prod/web`; returns its digest.
fn refer(door: &Door, subject: &str, artifact_type: &str, note: &str) -> String {
    let index = "application/vnd.oci.image.index.v1+json";
    let artifact = json!({
        "schemaVersion": 2, "mediaType": index, "manifests": [], "artifactType": artifact_type,
        "subject": {"mediaType": index, "digest": subject, "size": 1}, "annotations": {"note": note},
    });
    let artifact = artifact.to_string().into_bytes();
    let digest = Digest::sha256(&artifact).to_string();
    let path = format!("/v2/prod/web/manifests/{digest}");
    let answer = door.ask("PUT", &path, index, &artifact).expect("the server answers");
    assert_eq!(answer.status, 201, "{}", answer.text());
    digest
}
