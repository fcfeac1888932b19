//! skopeo through a wire that counts, and that can be cut: it tries again, mounts, lists and deletes.

use std::{fs, path::Path, process::Command};

use seaworthy_oci::Digest;
use seaworthy_testkit::real_engines;
use serde_json::json;

use crate::{
    caching::user,
    server::{Place, run},
    wire::Wire,
};

const LAYER_BYTES: usize = 24 << 20;

/// An image of one layer that no compression makes smaller, as an OCI layout.
fn layout(folder: &Path) -> Digest {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut layer = vec![0x1f, 0x8b, 8, 0];
    while layer.len() < LAYER_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        layer.extend_from_slice(&state.to_le_bytes());
    }
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    let keep = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        fs::write(blobs.join(digest.hex()), bytes).expect("written");
        (digest, bytes.len())
    };
    let (layer, size) = keep(&layer);
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [layer]}});
    let (config, config_size) = keep(config.to_string().as_bytes());
    let types = "application/vnd.oci.image";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": format!("{types}.manifest.v1+json"),
        "config": {"mediaType": format!("{types}.config.v1+json"), "digest": config, "size": config_size},
        "layers": [{"mediaType": format!("{types}.layer.v1.tar+gzip"), "digest": layer, "size": size}],
    });
    let (manifest, manifest_size) = keep(manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": format!("{types}.manifest.v1+json"), "digest": manifest, "size": manifest_size}]});
    fs::write(folder.join("index.json"), index.to_string()).expect("written");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    manifest
}

#[test]
fn skopeo_tries_again_mounts_lists_and_deletes() {
    const NAME: &str = "skopeo_tries_again_mounts_lists_and_deletes";
    if !real_engines(NAME, &["skopeo"]) {
        return;
    }
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let wire = Wire::to(server.port);
    let (folder, home) = (place.path("layout"), place.path("home"));
    let digest = layout(&folder);
    let skopeo = |words: &[&str]| {
        let mut command = Command::new("skopeo");
        // What it knows of where blobs are is kept there, also by root.
        command.env("HOME", &home).env("XDG_DATA_HOME", home.join("data"));
        run(command.args(words))
    };
    let name = |what: &str| format!("docker://localhost:{}/dev/{what}", wire.port);
    let (login, from) = (user(&door), format!("oci:{}", folder.display()));
    let copy = |to: &str| {
        let words = ["copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", &login, &from];
        let before = wire.up.count();
        let said = skopeo(&[&words[..], &[&name(to)]].concat());
        (said, wire.up.count() - before)
    };
    let layer = LAYER_BYTES as u64;

    // Cut in the middle of its layer, and tried again.
    wire.up.cut_after(layer / 2);
    let (cut, _) = copy("app:1");
    assert_ne!(cut.code, 0, "{cut:?}");
    assert!(wire.up.was_cut());
    let (said, sent) = copy("app:1");
    assert_eq!(said.code, 0, "{said:?}\n{}", place.log());
    assert!(sent > layer, "{sent} bytes");
    let there = |tag: &str| door.get("GET", &format!("/acr/v1/dev/{tag}"));
    assert_eq!(there("app/_tags/1").json()["tag"]["digest"], json!(digest));
    let verified = place.cli(&["registry", "verify", "--deep"]);
    assert_eq!(verified.code, 0, "{verified:?}");

    // Into another repository, whose registry has it.
    let (said, sent) = copy("other:1");
    assert_eq!(said.code, 0, "{said:?}\n{}", place.log());
    assert!(sent < layer / 8, "mounted: {sent} bytes");

    // Another name for it, a list, and one name less.
    assert_eq!(copy("app:2").0.code, 0);
    let list = || {
        let listed = skopeo(&["list-tags", "--tls-verify=false", "--creds", &login, &name("app")]);
        assert_eq!(listed.code, 0, "{listed:?}");
        listed.json()["Tags"].clone()
    };
    assert_eq!(list(), json!(["1", "2"]));
    let deleted = skopeo(&["delete", "--tls-verify=false", "--creds", &login, &name("other:1")]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(there("other/_tags/1").status, 404);
    assert_eq!(list(), json!(["1", "2"]), "elsewhere it stays");
}
