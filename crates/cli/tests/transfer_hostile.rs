//! Layouts that lie, and connections that break off.

use std::{
    fs,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use seaworthy_oci::{Digest, Platform};
use serde_json::{Value, json};

use crate::{
    image::lay_out,
    server::{Said, done, seaworthy},
    transfer::{Registry, image, members, of},
};

/// A layout of two images of one index, and what is done to it before it is imported.
struct Crooked<'r> {
    to: &'r Registry,
    folder: PathBuf,
    index: Value,
    child: Digest,
    layer: Digest,
}

impl<'r> Crooked<'r> {
    fn new(to: &'r Registry, name: &str) -> Self {
        let folder = to.place.path(name);
        let host = Platform::host().architecture;
        let (one, two) = (image(&host, "99:1", name), image("s390x", "99:2", name));
        lay_out(&folder, "localhost:5000/dev/crooked:1", &[(host.as_str(), &one), ("s390x", &two)]);
        let index =
            serde_json::from_slice(&fs::read(folder.join("index.json")).expect("read")).expect("JSON");
        Self { to, folder, index, child: one.digest(), layer: one.layer_digest() }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn top(&self) -> Digest {
        self.index["manifests"][0]["digest"].as_str().expect("a digest").parse().expect("a digest")
    }

    fn write_index(&self, index: &Value) {
        fs::write(self.folder.join("index.json"), index.to_string()).expect("written");
    }

    /// Stores bytes under their digest, and says that the layout's image is this.
    fn becomes(&self, document: &Value, kind: &str) -> Digest {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::sha256(&bytes);
        fs::write(self.blob(&digest), &bytes).expect("written");
        let mut index = self.index.clone();
        index["manifests"][0]["digest"] = json!(digest);
        index["manifests"][0]["size"] = json!(bytes.len());
        index["manifests"][0]["mediaType"] = json!(kind);
        self.write_index(&index);
        digest
    }

    fn packed(&self) -> PathBuf {
        let file = self.folder.with_extension("tar");
        done(Command::new("tar").arg("-cf").arg(&file).arg("-C").arg(&self.folder).arg("."));
        file
    }

    fn import(&self, source: &str) -> Said {
        self.to.cli(&["image", "import", source])
    }

    fn is_refused(&self, says: &str) {
        self.is_refused_as(says, says);
    }

    /// As a folder, and as an archive.
    fn is_refused_as(&self, folder: &str, archive: &str) {
        let sources = [
            (format!("oci:{}", self.folder.display()), folder),
            (self.packed().display().to_string(), archive),
        ];
        for (source, says) in sources {
            let said = self.import(&source);
            assert!(matches!(said.code, 2 | 3), "{source}: {said:?}");
            assert!(said.err.contains(says), "{source}: `{says}` is not in {said:?}");
            assert!(!said.err.contains("panicked"), "{said:?}");
        }
        self.nothing_is_tagged();
    }

    fn nothing_is_tagged(&self) {
        let tags = self.to.door.get("GET", "/v2/dev/crooked/tags/list");
        let none = tags.status == 404 || tags.json()["tags"].as_array().is_none_or(Vec::is_empty);
        assert!(none, "{}", tags.text());
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn layouts_that_lie_are_refused_and_nothing_is_tagged() {
    let to = Registry::new();
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).expect("a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("written");
    };

    let it = Crooked::new(&to, "flipped-layer");
    flip(&it.blob(&it.layer));
    it.is_refused(&format!("failed to upload {}", it.layer));
    let it = Crooked::new(&to, "flipped-manifest");
    flip(&it.blob(&it.child));
    it.is_refused(&format!("manifest {} cannot be used", it.child));

    let it = Crooked::new(&to, "short-layer");
    let whole = fs::read(it.blob(&it.layer)).expect("a layer");
    fs::write(it.blob(&it.layer), &whole[1..]).expect("written");
    it.is_refused(&format!("{} is said to have", it.layer));
    let it = Crooked::new(&to, "lying-size");
    let mut index = it.index.clone();
    index["manifests"][0]["size"] = json!(1_u64 << 50);
    it.write_index(&index);
    it.is_refused("is said to have 1125899906842624 bytes");
    let it = Crooked::new(&to, "gone-layer");
    fs::remove_file(it.blob(&it.layer)).expect("removed");
    it.is_refused(&format!("does not have {}", it.layer));
    let it = Crooked::new(&to, "gone-image");
    fs::remove_file(it.blob(&it.top())).expect("removed");
    it.is_refused(&format!("does not have {}", it.top()));

    let it = Crooked::new(&to, "link");
    fs::remove_file(it.blob(&it.layer)).expect("removed");
    symlink("/etc/passwd", it.blob(&it.layer)).expect("linked");
    it.is_refused_as("it is a link", "is not a plain file");
    let it = Crooked::new(&to, "linked-index");
    fs::rename(it.folder.join("index.json"), it.folder.join("real.json")).expect("moved");
    symlink("real.json", it.folder.join("index.json")).expect("linked");
    it.is_refused_as("it is a link", "`./index.json` is not a plain file");
    let it = Crooked::new(&to, "pipe");
    fs::remove_file(it.blob(&it.layer)).expect("removed");
    done(Command::new("mkfifo").arg(it.blob(&it.layer)));
    it.is_refused("is not a plain file");

    let it = Crooked::new(&to, "no-json");
    fs::write(it.folder.join("index.json"), "{").expect("written");
    it.is_refused("manifest is not strict JSON");
    let it = Crooked::new(&to, "large-index");
    let file = fs::File::create(it.folder.join("index.json")).expect("a file");
    file.set_len(1 << 30).expect("1 GiB of nothing");
    it.is_refused("longer than 4194304 bytes");
    let it = Crooked::new(&to, "no-layout");
    fs::remove_file(it.folder.join("oci-layout")).expect("removed");
    it.is_refused("oci-layout");
    let it = Crooked::new(&to, "other-version");
    fs::write(it.folder.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).expect("written");
    it.is_refused("imageLayoutVersion");

    // Two indexes that say to list each other: one of them is not its digest.
    let it = Crooked::new(&to, "cycle");
    let listing = |digest: &Digest, size: usize| {
        json!({"schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{"mediaType": INDEX, "digest": digest, "size": size}]})
    };
    let (mine, size) = (Digest::sha256(b"mine"), listing(&it.child, 100).to_string().len());
    let other = it.becomes(&listing(&mine, size), INDEX);
    fs::write(it.blob(&mine), listing(&other, size).to_string()).expect("written");
    it.is_refused(&format!("manifest {mine} cannot be used"));

    let it = Crooked::new(&to, "deep");
    let mut inner = it.index["manifests"][0].clone();
    for _ in 0..40 {
        let digest =
            it.becomes(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}), INDEX);
        let size = fs::metadata(it.blob(&digest)).expect("written").len();
        inner = json!({"mediaType": INDEX, "digest": digest, "size": size});
    }
    it.is_refused("manifests deep");

    let it = Crooked::new(&to, "nameless");
    let mut index = it.index.clone();
    index["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    it.write_index(&index);
    it.is_refused("has no repository, only the name `latest`");
    let named = format!("oci:{}:latest", it.folder.display());
    to.done(&["image", "import", &named, "dev/named"]);
    assert_eq!(to.digest("dev/named", "latest"), Some(it.top()));
}

#[test]
fn archives_that_lead_elsewhere_or_end_early_are_refused() {
    let to = Registry::new();
    let it = Crooked::new(&to, "archive");
    let whole = it.packed();
    let bytes = fs::read(&whole).expect("the archive");
    let file = |name: &str, bytes: &[u8]| {
        let path = to.place.path(name);
        fs::write(&path, bytes).expect("written");
        path.display().to_string()
    };
    let refused = |source: &str, says: &str| {
        let said = it.import(source);
        assert!(matches!(said.code, 2 | 3), "{said:?}");
        assert!(said.err.contains(says), "`{says}` is not in {said:?}");
        it.nothing_is_tagged();
    };
    // Members of the right archive, and one more.
    let with = |name: &str, member: &str, kind: tar::EntryType| {
        let mut out = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..member.len()].copy_from_slice(member.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_cksum();
        out.append(&header, &b""[..]).expect("in memory");
        let mut crooked = out.into_inner().expect("in memory");
        crooked.truncate(512);
        crooked.extend(&bytes);
        file(name, &crooked)
    };
    let regular = tar::EntryType::Regular;
    refused(&with("up.tar", "../../etc/passwd", regular), "leads out of the layout");
    refused(&with("root.tar", "/etc/passwd", regular), "leads out of the layout");
    refused(&with("twice.tar", "index.json", regular), "is there twice");
    let member = format!("blobs/sha256/{}", Digest::sha256(b"").hex());
    refused(&with("link.tar", &member, tar::EntryType::Symlink), "is not a plain file");
    refused(&with("hard.tar", &member, tar::EntryType::Link), "is not a plain file");
    // Without the zeros at its end.
    let content = bytes.iter().rposition(|byte| *byte != 0).expect("content");
    for parts in [3, 5, 7, 9] {
        let said = it.import(&file("cut.tar", &bytes[..content * parts / 10]));
        assert!(matches!(said.code, 2 | 3), "{parts}: {said:?}");
        it.nothing_is_tagged();
    }
    refused(&file("noise.tar", &[7; 4_096]), "it is no tar archive");
    refused(&file("empty.tar", b""), "it is no OCI layout");
    refused(&file("bad.tar.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3]), "failed to read");

    let mut old = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    old.append_data(&mut header, "manifest.json", &b"[]"[..]).expect("in memory");
    let old = file("old.tar", &old.into_inner().expect("in memory"));
    refused(&old, "docker push");
    let folder = to.cli(&["image", "import", &it.folder.display().to_string()]);
    assert_eq!(folder.code, 2, "{folder:?}");
    assert_eq!(it.import(&whole.display().to_string()).code, 0, "what nobody touched is taken");
}

/// What is missing in an index is the registry's to take or not.
#[test]
fn a_sparse_index_names_what_is_missing() {
    let (strict, lenient) = (Registry::configured("sparse_indexes = \"refuse\"\n"), Registry::new());
    for (to, code) in [(&strict, 3), (&lenient, 0)] {
        let it = Crooked::new(to, "sparse");
        fs::remove_file(it.blob(&it.child)).expect("removed");
        let said = it.import(&it.packed().display().to_string());
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(&it.child.to_string()), "{said:?}");
        assert_eq!(to.digest("dev/crooked", "1").is_some(), code == 0);
    }
}

/// A server's socket, somewhere else, over which so many bytes come before a connection ends.
struct Frail {
    folder: PathBuf,
    /// Of all connections, from the server.
    left: Arc<AtomicI64>,
    /// Connections that may still be made.
    connections: Arc<AtomicU32>,
    /// Whether a byte is changed there instead.
    flips: Arc<AtomicBool>,
}

impl Frail {
    fn new(to: &Registry) -> Self {
        let folder = to.place.path("frail");
        fs::create_dir(&folder).expect("a folder");
        let listener = UnixListener::bind(folder.join("admin.sock")).expect("a socket");
        let (left, connections) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::new(AtomicU32::new(u32::MAX)));
        let real = to.place.data().join("admin.sock");
        let flips = Arc::new(AtomicBool::new(false));
        let it = Self { folder, left: left.clone(), connections: connections.clone(), flips: flips.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let one_less = |count: u32| count.checked_sub(1);
                if connections.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
                    continue;
                }
                let Ok(server) = UnixStream::connect(&real) else { continue };
                relay((client, server), left.clone(), flips.clone());
            }
        });
        it
    }

    fn cli(&self, words: &[&str]) -> Said {
        let mut command = seaworthy();
        crate::server::run(command.arg("--data").arg(&self.folder).args(words).args(["-o", "json"]))
    }
}

fn relay((client, server): (UnixStream, UnixStream), left: Arc<AtomicI64>, flips: Arc<AtomicBool>) {
    let (mut up_from, mut up_to) =
        (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    std::thread::spawn(move || drop(io::copy(&mut up_from, &mut up_to)));
    std::thread::spawn(move || {
        let (mut from, mut to, mut piece) = (&server, &client, vec![0; 64 << 10]);
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let count_left = left.fetch_sub(i64::try_from(count).expect("small"), Ordering::SeqCst);
            if count_left < 0 && flips.swap(false, Ordering::SeqCst) {
                piece[count / 2] ^= 1;
                left.store(i64::MAX, Ordering::SeqCst);
            } else if count_left < 0 {
                left.store(i64::MAX, Ordering::SeqCst);
                break;
            }
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        drop(client.shutdown(Shutdown::Both));
        drop(server.shutdown(Shutdown::Both));
    });
}

/// An artifact of one blob: nobody inspects it, however large it is.
fn artifact(to: &Registry, bytes: &[u8]) -> String {
    let subject = image(&Platform::host().architecture, "99:1", "subject");
    subject.push(&to.door, "dev/large", "1");
    let artifact = to.refer("dev/large", &of(&subject), bytes);
    format!("dev/large@{}", artifact.digest)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        out.extend(state.to_be_bytes());
    }
    out
}

#[test]
fn a_download_that_breaks_off_is_taken_up_or_leaves_nothing() {
    let from = Registry::new();
    let large = noise(24 << 20);
    let name = artifact(&from, &large);
    let frail = Frail::new(&from);
    let out = from.place.path("out");
    fs::create_dir(&out).expect("a folder");
    let archive = out.join("large.tar").display().to_string();
    let words = ["image", "export", &name, "--to", &archive];

    // Twice in the middle.
    frail.left.store(9 << 20, Ordering::SeqCst);
    let left = frail.left.clone();
    let second = std::thread::spawn(move || {
        for _ in 0..2_000 {
            if left.load(Ordering::SeqCst) > i64::MAX / 2 {
                return left.store(5 << 20, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let said = frail.cli(&words);
    assert_eq!(said.code, 0, "{said:?}");
    second.join().expect("it watched");
    let whole = members(Path::new(&archive));
    let blob = format!("blobs/sha256/{}", Digest::sha256(&large).hex());
    assert!(whole.iter().any(|(name, bytes)| *name == blob && *bytes == large), "all of it came");
    fs::remove_file(&archive).expect("removed");

    // A byte that changes on its way is no byte that was lost: nothing is tried again.
    frail.flips.store(true, Ordering::SeqCst);
    frail.left.store(9 << 20, Ordering::SeqCst);
    let said = frail.cli(&words);
    assert_eq!(said.code, 3, "{said:?}");
    let digest = Digest::sha256(&large);
    assert!(said.err.contains(&format!("failed to export {digest}: its bytes are those of")), "{said:?}");
    assert_eq!(fs::read_dir(&out).expect("a folder").count(), 0, "nothing is left of it");

    // The server goes away in the middle.
    frail.left.store(9 << 20, Ordering::SeqCst);
    frail.connections.store(1, Ordering::SeqCst);
    let said = frail.cli(&words);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains(&format!("failed to export {}", Digest::sha256(&large))), "{said:?}");
    assert_eq!(fs::read_dir(&out).expect("a folder").count(), 0, "nothing is left of it");

    // In a folder, too: what is whole stays for the next attempt, and no index names it.
    frail.left.store(9 << 20, Ordering::SeqCst);
    frail.connections.store(1, Ordering::SeqCst);
    let layout = out.join("layout");
    let said = frail.cli(&["image", "export", &name, "--to", &format!("oci:{}", layout.display())]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(!layout.join("index.json").exists());
    let blobs =
        fs::read_dir(layout.join("blobs/sha256")).expect("blobs").map(|it| it.expect("a blob").path());
    for path in blobs {
        let digest = Digest::sha256(&fs::read(&path).expect("a blob"));
        assert_eq!(path.file_name().and_then(|it| it.to_str()), Some(digest.hex().as_str()));
    }
}

#[test]
fn a_large_layer_passes_through_little_memory() {
    let (from, to) = (Registry::new(), Registry::new());
    let name = artifact(&from, &noise(300 << 20));
    let archive = from.file("large.tar");
    let peak = |registry: &Registry, words: &[&str]| {
        let mut command = registry.place.command(words);
        let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
        let mut peak = 0;
        while child.try_wait().expect("it is ours").is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            peak = peak.max(kib.unwrap_or(0) / 1024);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(child.wait().expect("it is ours").success(), "{words:?}");
        peak
    };
    let out = peak(&from, &["image", "export", &name, "--to", &archive]);
    let back = peak(&to, &["image", "import", &archive]);
    eprintln!("the export held {out} MiB at most, the import {back} MiB");
    assert!((1..100).contains(&out) && (1..100).contains(&back), "{out} and {back} MiB");
}
