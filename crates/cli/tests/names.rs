//! One content under many names: whatever a real engine calls it, its containers are known.

use std::process::Command;

use seaworthy_oci::Digest;
use serde_json::{Value, json};

use crate::{
    running::{Story, is_running},
    server::done,
};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// `dev/web:1` is here under `digest`, and was measured.
pub(crate) fn lead_to_one_content(story: &Story, content: &Value, digest: &str) {
    let one = story.full("dev/web:1");
    done(&mut story.docker(&["tag", &one, "elsewhere.example/other:9"]));
    exact(story, "elsewhere.example/other:9", content, ("dev/web", Some(digest)));
    mirrored(story, content, digest);
    recompressed(story, content, digest);
    rebuilt(story, content, digest);
    let index = story.full("dev/web:multi");
    let list = push_index(story, digest);
    done(&mut story.docker(&["pull", "-q", &index]));
    let id = exact(story, &index, content, ("dev/web", Some(digest)));
    if story.names_manifests() {
        assert_eq!(id, list, "this engine names an image by its index");
    }
}

/// The same bytes in another repository.
fn mirrored(story: &Story, content: &Value, digest: &str) {
    let mirror = story.full("mirror/web:1");
    let (from, to) =
        (format!("docker://{}", story.full("dev/web:1")), format!("docker://{}", mirror.as_str()));
    skopeo(story, &[&from, &to]);
    done(&mut story.docker(&["pull", "-q", &mirror]));
    exact(story, &mirror, content, ("mirror/web", Some(digest)));
}

/// The same files, compressed by another: every layer and the manifest have other digests.
fn recompressed(story: &Story, content: &Value, digest: &str) {
    let plain = format!("dir:{}", story.place.path("plain").display());
    let other = story.full("dev/web:other");
    skopeo(story, &["--dest-decompress", &format!("docker://{}", story.full("dev/web:1")), &plain]);
    skopeo(
        story,
        &["--dest-compress-format=gzip", "--dest-compress-level=1", &plain, &format!("docker://{other}")],
    );
    done(&mut story.docker(&["pull", "-q", &other]));
    let id = exact(story, &other, content, ("dev/web", None));
    if story.names_manifests() {
        assert_ne!(id, digest, "it was compressed anew");
    }
}

/// The same layers under another config.
fn rebuilt(story: &Story, content: &Value, digest: &str) {
    let folder = story.place.path("build");
    std::fs::create_dir(&folder).expect("a folder");
    let steps = format!("FROM {}\nLABEL built=again\n", story.full("dev/web:1"));
    std::fs::write(folder.join("Dockerfile"), steps).expect("a file");
    let again = story.full("dev/web:again");
    done(story.docker(&["build", "-q", "-t", &again]).arg(&folder));
    done(&mut story.docker(&["push", "-q", &again]));
    let id = exact(story, &again, content, ("dev/web", None));
    assert_ne!(id, digest, "it has another config");
}

/// Runs an image; its container is mapped exactly. Returns the id that the engine reports.
fn exact(story: &Story, image: &str, content: &Value, (repository, digest): (&str, Option<&str>)) -> String {
    story.run("cached", "--network=none -u 7", image);
    let row = &story.listed(&["cached"], |row| is_running(row) && row["image"]["mapping"] == "exact")[0];
    let mapped = &row["image"];
    assert_eq!((&mapped["content_id"], &mapped["repository"]), (content, &repository.into()), "{row:#}");
    if let Some(digest) = digest {
        assert_eq!(mapped["digest"], digest, "{row:#}");
    }
    done(&mut story.docker(&["rm", "-f", "cached"]));
    mapped["reported_id"].as_str().expect("an id").to_owned()
}

fn skopeo(story: &Story, words: &[&str]) {
    let mut command = Command::new("skopeo");
    command.args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "--authfile"]);
    done(command.arg(story.place.docker_config().join("config.json")).args(words));
}

/// Pushes an index of the image with this digest; returns the index's.
fn push_index(story: &Story, digest: &str) -> String {
    let door = story.door();
    let manifest = door.get("GET", &format!("/v2/dev/web/manifests/{digest}"));
    let child = json!({
        "mediaType": MANIFEST, "digest": digest, "size": manifest.body.len(),
        "platform": {"os": "linux", "architecture": "amd64"},
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).to_string();
    let put = door.ask("PUT", "/v2/dev/web/manifests/multi", INDEX, index.as_bytes()).expect("an answer");
    assert_eq!(put.status, 201, "{}", put.text());
    Digest::sha256(index.as_bytes()).to_string()
}
