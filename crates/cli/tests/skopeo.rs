//! skopeo through a wire that counts, and that can be cut: it tries again, mounts, lists and deletes.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use seaworthy_oci::Digest;
use seaworthy_testkit::real_engines;
use serde_json::json;

use crate::{
    caching::user,
    server::{Place, Said, run},
};

const LAYER_BYTES: usize = 24 << 20;

/// A port in front of another.
struct Wire {
    port: u16,
    /// What clients sent so far.
    sent: Arc<AtomicU64>,
    /// Once so much was sent, the connection that sends is cut, and nothing is left to cut.
    cut_at: Arc<AtomicU64>,
}

impl Wire {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sent, cut_at) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let (count, cut) = (sent.clone(), cut_at.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let there = TcpStream::connect(("127.0.0.1", server)).expect("the server");
                let (from, to) =
                    (client.try_clone().expect("a socket"), there.try_clone().expect("a socket"));
                let (count, cut) = (count.clone(), cut.clone());
                thread::spawn(move || {
                    carry(from, to, |bytes| {
                        let sent = count.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        let at = cut.load(Ordering::SeqCst);
                        sent < at
                            || cut.compare_exchange(at, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_err()
                    });
                });
                thread::spawn(move || carry(there, client, |_| true));
            }
        });
        Self { port, sent, cut_at }
    }

    fn sent_by(&self, work: impl FnOnce() -> Said) -> (Said, u64) {
        let before = self.sent.load(Ordering::SeqCst);
        let said = work();
        (said, self.sent.load(Ordering::SeqCst) - before)
    }
}

/// Until one end is gone, or `goes_on` says no; then both are.
fn carry(mut from: TcpStream, mut to: TcpStream, goes_on: impl Fn(u64) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !goes_on(read as u64) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        drop(end.shutdown(Shutdown::Both));
    }
}

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
        wire.sent_by(|| skopeo(&[&words[..], &[&name(to)]].concat()))
    };
    let layer = LAYER_BYTES as u64;

    // Cut in the middle of its layer, and tried again.
    wire.cut_at.store(layer / 2, Ordering::SeqCst);
    let (cut, _) = copy("app:1");
    assert_ne!(cut.code, 0, "{cut:?}");
    assert_eq!(wire.cut_at.load(Ordering::SeqCst), u64::MAX, "it was cut");
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
