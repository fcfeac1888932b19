//! Images leave one registry as an OCI layout and come into another, which does not know the first.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use seaworthy_oci::{Algorithm, Digest, Hasher, Platform};
use serde_json::{Value, json};

use crate::{
    doors::with_stdin,
    http::Door,
    image::{Image, TAR, debian_layer},
    server::{Place, Said, Server, done, run, seaworthy},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SBOM: &str = "application/vnd.example.sbom";
pub(crate) const FOREIGN: &str = "s390x";

/// A server of its own, as an operator of its machine sees it.
pub(crate) struct Registry {
    pub(crate) place: Place,
    pub(crate) server: Server,
    pub(crate) door: Door,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self::configured("")
    }

    pub(crate) fn configured(settings: &str) -> Self {
        let place = Place::new();
        fs::create_dir(place.data()).expect("the data directory");
        fs::write(place.data().join("seaworthy.toml"), settings).expect("settings");
        let server = place.up(&[]);
        let door = place.login(server.port);
        Self { place, server, door }
    }

    pub(crate) fn cli(&self, words: &[&str]) -> Said {
        self.place.cli(&[words, &["-o", "json"]].concat())
    }

    /// A command that has to succeed, and its document.
    pub(crate) fn done(&self, words: &[&str]) -> Value {
        let said = self.cli(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}\n{}", self.place.log());
        said.json()
    }

    pub(crate) fn is_judged(&self, reference: &str) {
        let check = self.cli(&["check", reference, "--wait", "60s"]);
        assert!(matches!(check.code, 0 | 1), "{reference}: {check:?}\n{}", self.place.log());
        assert_ne!(check.json()["verdict"], "pending", "{reference}");
    }

    fn put(&self, repository: &str, name: &str, (kind, document): (&str, &Value)) -> Descriptor {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::sha256(&bytes);
        let name = if name.is_empty() { digest.to_string() } else { name.to_owned() };
        let answer = self.door.ask("PUT", &format!("/v2/{repository}/manifests/{name}"), kind, &bytes);
        let answer = answer.expect("sent");
        assert_eq!(answer.status, 201, "{}", answer.text());
        Descriptor { kind: kind.to_owned(), digest, size: bytes.len() }
    }

    pub(crate) fn blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(
            self.door.ask("POST", &path, "application/octet-stream", bytes).expect("sent").status,
            201
        );
        digest
    }

    /// An artifact about `subject` whose one blob has these bytes.
    pub(crate) fn refer(&self, repository: &str, subject: &Descriptor, bytes: &[u8]) -> Descriptor {
        let (config, blob) = (self.blob(repository, b"{}"), self.blob(repository, bytes));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SBOM,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": blob, "size": bytes.len()}],
            "subject": subject.json(),
        });
        self.put(repository, "", (MANIFEST, &manifest))
    }

    /// An index of images, each for an architecture.
    pub(crate) fn index(&self, repository: &str, tag: &str, images: &[(&str, &Image)]) -> Descriptor {
        let children = images.iter().map(|(architecture, image)| {
            image.push(&self.door, repository, &image.digest().to_string());
            let mut child = of(image).json();
            child["platform"] = json!({"architecture": architecture, "os": "linux"});
            child
        });
        let index =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children.collect::<Vec<_>>()});
        self.put(repository, tag, (INDEX, &index))
    }

    /// What a name stands for, as its bytes say.
    pub(crate) fn digest(&self, repository: &str, name: &str) -> Option<Digest> {
        let answer = self.door.get("GET", &format!("/v2/{repository}/manifests/{name}"));
        (answer.status == 200).then(|| Digest::sha256(&answer.body))
    }

    fn referrers(&self, repository: &str, subject: &Digest) -> Vec<String> {
        let list = self.door.get("GET", &format!("/v2/{repository}/referrers/{subject}")).json();
        let rows = list["manifests"].as_array().expect("a list").clone();
        rows.iter().map(|row| row["digest"].as_str().expect("a digest").to_owned()).collect()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.place.path(name).display().to_string()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    kind: String,
    pub(crate) digest: Digest,
    size: usize,
}

impl Descriptor {
    fn json(&self) -> Value {
        json!({"mediaType": self.kind, "digest": self.digest, "size": self.size})
    }
}

pub(crate) fn of(image: &Image) -> Descriptor {
    Descriptor { kind: MANIFEST.to_owned(), digest: image.digest(), size: image.size() }
}

pub(crate) fn image(architecture: &str, version: &str, label: &str) -> Image {
    let layer = debian_layer("expat", version);
    Image::built_for(architecture, &layer, TAR, &Digest::sha256(&layer), label)
}

/// Names and bytes of an archive's members, in their order.
pub(crate) fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(fs::File::open(path).expect("the archive"));
    let entries = archive.entries().expect("entries").map(|entry| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        (name, bytes)
    });
    entries.collect()
}

fn rows(value: &Value) -> BTreeMap<String, Value> {
    let rows = value.as_array().expect("rows").iter();
    rows.map(|row| (row["reference"].as_str().expect("a name").to_owned(), row.clone())).collect()
}

/// What the two registries have in common: images that share a layer, an index, and what refers to them.
struct Fleet {
    one: Image,
    two: Image,
    index: Descriptor,
    foreign: Image,
    sbom: Descriptor,
    about_sbom: Descriptor,
    about_child: Descriptor,
}

impl Fleet {
    fn push(to: &Registry) -> Self {
        let host = Platform::host().architecture;
        let (one, two) = (image(&host, "99:1", "one"), image(&host, "99:1", "two"));
        let foreign = image(FOREIGN, "99:2", "");
        assert_eq!(one.layer_digest(), two.layer_digest());
        one.push(&to.door, "dev/one", "1");
        let index = to.index("dev/many", "1", &[(host.as_str(), &two), (FOREIGN, &foreign)]);
        let sbom = to.refer("dev/one", &of(&one), b"packages");
        let about_sbom = to.refer("dev/one", &sbom, b"a signature");
        let about_child = to.refer("dev/many", &of(&foreign), b"an attestation");
        for name in ["dev/one:1", "dev/many:1", &format!("dev/many@{}", foreign.digest())] {
            to.is_judged(name);
        }
        Self { one, two, index, foreign, sbom, about_sbom, about_child }
    }
}

#[test]
fn images_go_from_one_registry_to_another() {
    let (from, to) = (Registry::new(), Registry::new());
    let fleet = Fleet::push(&from);
    let archive = from.file("air.tar");
    let said = rows(&from.done(&["image", "export", "dev/one:1", "dev/many:1", "--to", &archive]));
    assert_eq!(said["dev/one:1"]["digest"], json!(fleet.one.digest()));
    assert_eq!(said["dev/one:1"]["referrers"], 2);
    assert_eq!(said["dev/many:1"]["digest"], json!(fleet.index.digest));
    assert_eq!(said["dev/many:1"]["referrers"], 1);

    // Each blob once, what makes it a layout first, what names the images last.
    let members = members(Path::new(&archive));
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.first(), Some(&"oci-layout"));
    assert_eq!(&names[names.len() - 2..], ["manifest.json", "index.json"]);
    let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len(), "{names:?}");
    let layer = format!("blobs/sha256/{}", fleet.one.layer_digest().hex());
    assert!(unique.contains(layer.as_str()), "{names:?}");
    let index: Value = serde_json::from_slice(&members.last().expect("index.json").1).expect("JSON");
    let entries = index["manifests"].as_array().expect("entries");
    let named: Vec<&Value> = entries.iter().filter(|it| it["annotations"].is_object()).collect();
    assert_eq!(named.len(), 2, "{index:#}");
    assert_eq!(named[0]["annotations"]["org.opencontainers.image.ref.name"], "dev/one:1");
    assert_eq!(named[0]["annotations"]["io.seaworthy.repository"], "dev/one");
    assert!(named[0]["annotations"].get("io.containerd.image.name").is_none(), "no host is known here");
    let referrers: Vec<&Value> = entries.iter().filter(|it| !it["annotations"].is_object()).collect();
    assert!(referrers.iter().all(|it| it["artifactType"] == SBOM), "{index:#}");
    assert_eq!(referrers.len(), 3);

    // The same images make the same archive, however often they are named.
    let again = from.file("again.tar");
    from.done(&["image", "export", "dev/one:1", "dev/many:1", "dev/one:1", "--to", &again]);
    assert_eq!(fs::read(&archive).expect("one"), fs::read(&again).expect("the other"));

    let planned = rows(&to.done(&["image", "import", &archive, "--dry-run"]));
    assert_eq!(planned.keys().map(String::as_str).collect::<Vec<_>>(), ["dev/many:1", "dev/one:1"]);
    assert_eq!(to.digest("dev/one", "1"), None, "nothing was pushed");

    let first = rows(&to.done(&["image", "import", &archive]));
    assert_eq!(to.digest("dev/one", "1"), Some(fleet.one.digest()));
    assert_eq!(to.digest("dev/many", "1"), Some(fleet.index.digest));
    for (repository, subject, referrer) in [
        ("dev/one", fleet.one.digest(), &fleet.sbom),
        ("dev/one", fleet.sbom.digest, &fleet.about_sbom),
        ("dev/many", fleet.foreign.digest(), &fleet.about_child),
    ] {
        assert_eq!(to.referrers(repository, &subject), [referrer.digest.to_string()]);
        assert_eq!(to.digest(repository, &referrer.digest.to_string()), Some(referrer.digest));
    }
    for name in ["dev/one:1", "dev/many:1", &format!("dev/many@{}", fleet.two.digest())] {
        to.is_judged(name);
    }
    // The layer that both have was sent once, and mounted for the other.
    let layer_bytes = u64::try_from(debian_layer("expat", "99:1").len()).expect("small");
    let sent = |name: &str| first[name]["bytes"].as_u64().expect("bytes");
    assert!((layer_bytes..2 * layer_bytes).contains(&sent("dev/one:1")), "{first:?}");
    assert!((layer_bytes..2 * layer_bytes).contains(&sent("dev/many:1")), "it has two layers: {first:?}");

    let second = rows(&to.done(&["image", "import", &archive]));
    assert!(second.values().all(|row| row["bytes"] == 0), "{second:?}");

    let below = rows(&to.done(&["image", "import", &archive, "--below", "air"]));
    assert_eq!(below.keys().map(String::as_str).collect::<Vec<_>>(), ["air/dev/many:1", "air/dev/one:1"]);
    assert_eq!(to.digest("air/dev/many", "1"), Some(fleet.index.digest));

    // One of them, by name, elsewhere.
    let one = format!("oci-archive:{archive}:dev/one:1");
    to.done(&["image", "import", &one, "base/one:stable"]);
    assert_eq!(to.digest("base/one", "stable"), Some(fleet.one.digest()));
    to.done(&["image", "import", &one, "base/same"]);
    assert_eq!(to.digest("base/same", "1"), Some(fleet.one.digest()), "its tag goes along");
    let both = to.cli(&["image", "import", &archive, "base/one:2"]);
    assert_eq!(both.code, 2, "{both:?}");
    assert!(both.err.contains("2 images, and one destination"), "{both:?}");
    let none = to.cli(&["image", "import", &format!("oci-archive:{archive}:dev/none:1")]);
    assert!(none.code == 2 && none.err.contains("no such image"), "{none:?}");
}

#[test]
fn a_single_image_is_exported_for_the_platform_that_it_has() {
    let from = Registry::new();
    let one = image("amd64", "99:1", "one");
    one.push(&from.door, "dev/one", "1");
    let unsaid = one.configured(b"{}");
    unsaid.push(&from.door, "dev/unsaid", "1");
    for name in ["dev/one:1", "dev/unsaid:1"] {
        from.is_judged(name);
    }
    let export = |name: &str, platform: &str, language: &str| {
        let words = ["image", "export", name, "--to", &from.file("one.tar"), "--platform", platform];
        run(from.place.command(&words).env("SEAWORTHY_LANG", language))
    };
    let other = export("dev/one:1", "linux/arm64", "en");
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.err.contains("`dev/one:1` is for `linux/amd64`, not for `linux/arm64`"), "{other:?}");
    let other = export("dev/one:1", "linux/arm64", "ja");
    assert!(other.err.contains("`dev/one:1` は `linux/amd64` 用です。"), "{other:?}");
    assert!(!from.place.path("one.tar").exists());
    let own = export("dev/one:1", "linux/amd64", "en");
    assert_eq!((own.code, own.err.as_str()), (0, ""), "{own:?}");
    let unsaid = export("dev/unsaid:1", "linux/arm64", "en");
    assert_eq!(unsaid.code, 0, "{unsaid:?}");
    assert!(unsaid.err.contains("does not say for which platform it is: `dev/unsaid:1`"), "{unsaid:?}");
}

/// Which is not that of the server.
#[test]
fn a_blocked_image_is_refused_in_the_language_of_the_caller() {
    let from = Registry::new();
    image("amd64", "99:1", "one").push(&from.door, "prod/one", "1");
    from.is_judged("prod/one:1");
    let file = from.file("one.tar");
    for (language, message, hint) in [
        ("ja", "は `prod/vulns` によりブロックされています: ", "\nヒント: "),
        ("en", " is blocked by `prod/vulns`: no loaded feed covers", "\nhint: import a feed"),
    ] {
        let words = ["image", "export", "prod/one:1", "--to", &file];
        let said = run(from.place.command(&words).env("SEAWORTHY_LANG", language));
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(message) && said.err.contains(hint), "{said:?}");
        assert!(language == "en" || !said.err.contains("is blocked"), "{said:?}");
    }
}

/// As root it was `/dev/null` that became a file.
#[test]
fn an_export_into_a_pipe_or_behind_a_link_leaves_it_there() {
    let from = Registry::new();
    image("amd64", "99:1", "one").push(&from.door, "dev/one", "1");
    from.is_judged("dev/one:1");
    let (file, link, pipe) = (from.file("one.tar"), from.file("link.tar"), from.place.path("pipe"));
    from.done(&["image", "export", "dev/one:1", "--to", &file]);
    std::os::unix::fs::symlink("behind.tar", &link).expect("a link");
    from.done(&["image", "export", "dev/one:1", "--to", &link]);
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    assert_eq!(fs::read(from.file("behind.tar")).expect("an archive"), fs::read(&file).expect("an archive"));

    done(Command::new("mkfifo").arg(&pipe));
    let mut reader = Command::new("cat");
    let reader = reader.arg(&pipe).stdout(std::process::Stdio::piped()).spawn().expect("a reader");
    from.done(&["image", "export", "dev/one:1", "--to", pipe.to_str().expect("a path")]);
    assert!(!fs::metadata(&pipe).expect("a pipe").is_file(), "it is no file now");
    let output = reader.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, fs::read(&file).expect("an archive"));
    // On stdout, whatever that is called, nothing else is written.
    let words = ["image", "export", "dev/one:1", "--to", "/dev/stdout", "-o", "json"];
    let output = from.place.command(&words).output().expect("it ends");
    assert_eq!(output.stdout, fs::read(&file).expect("an archive"));
}

#[test]
fn a_folder_is_added_to_and_one_platform_is_picked() {
    let (from, to) = (Registry::new(), Registry::new());
    let fleet = Fleet::push(&from);
    let layout = format!("oci:{}", from.file("layout"));
    from.done(&["image", "export", "dev/one:1", "--to", &layout]);
    let blob = |digest: &Digest| from.place.path("layout/blobs/sha256").join(digest.hex());
    let layer = blob(&fleet.one.layer_digest());
    // What is there and whole stays as it is, what is damaged comes again.
    let before = fs::metadata(&layer).expect("a layer").modified().expect("a time");
    let config = fs::read(blob(&fleet.one.digest())).expect("a manifest");
    fs::write(blob(&fleet.one.digest()), "damaged").expect("written");
    let platform = format!("linux/{FOREIGN}");
    let many = ["image", "export", "dev/many:1", "--to", &layout, "--platform", &platform];
    let said = rows(&from.done(&many));
    assert_eq!(said["dev/many:1"]["digest"], json!(fleet.foreign.digest()));
    assert_eq!(said["dev/many:1"]["referrers"], 1, "what refers to that image");
    from.done(&["image", "export", "dev/one:1", "--to", &layout, "--no-referrers"]);
    assert_eq!(fs::metadata(&layer).expect("a layer").modified().expect("a time"), before);
    assert_eq!(fs::read(blob(&fleet.one.digest())).expect("a manifest"), config);

    let by_digest = format!("dev/many@{}", fleet.index.digest);
    from.done(&["image", "export", &by_digest, "--to", &layout]);
    to.done(&["image", "import", &layout]);
    assert_eq!(to.digest("dev/many", "1"), Some(fleet.foreign.digest()), "the image, not its index");
    assert_eq!(to.digest("dev/many", &fleet.index.digest.to_string()), Some(fleet.index.digest));
    assert_eq!(to.referrers("dev/one", &fleet.one.digest()).len(), 1, "they were there already");

    for (platform, says) in [("linux/riscv64", "has no image for"), ("linux", "is not a platform")] {
        let words = ["image", "export", "dev/many:1", "--to", &layout, "--platform", platform];
        let said = from.cli(&words);
        assert!(said.code == 2 && said.err.contains(says), "{said:?}");
    }
    let folder = from.cli(&["image", "export", "dev/one:1", "--to", &from.file("layout")]);
    assert!(folder.code == 2 && folder.err.contains("oci:DIR"), "{folder:?}");
    let full = format!("oci:{}", from.place.path("").display());
    let full = from.cli(&["image", "export", "dev/one:1", "--to", &full]);
    assert!(full.code == 2 && full.err.contains("no OCI layout"), "{full:?}");
}

#[test]
fn what_may_not_be_pulled_is_not_exported() {
    let from = Registry::new();
    let good = Image::debian("expat", "2.5.0-1", "kept back");
    // No feed covers it, and `prod` enforces.
    good.push(&from.door, "prod/app", "1");
    from.is_judged("prod/app:1");
    let archive = from.file("none.tar");
    let refused = |references: &[&str], (code, says): (i32, &str)| {
        for to in [archive.as_str(), &format!("oci:{}", from.file("none"))] {
            let said = from.cli(&[&["image", "export"], references, &["--to", to]].concat());
            assert_eq!(said.code, code, "{said:?}");
            assert!(said.err.contains(says), "`{says}` is not in {said:?}");
        }
        assert!(!Path::new(&archive).exists() && !from.place.path("none/index.json").exists());
    };
    refused(&["prod/app:1"], (1, "is blocked by `prod/"));
    refused(&[&format!("prod/app@{}", good.digest())], (1, "is blocked by `prod/"));
    // One that may not go keeps all back.
    good.push(&from.door, "dev/app", "1");
    from.is_judged("dev/app:1");
    refused(&["dev/app:1", "prod/app:1"], (1, "is blocked by `prod/"));
    // An index hides nothing.
    from.index("prod/many", "1", &[(Platform::host().architecture.as_str(), &good)]);
    from.is_judged(&format!("prod/many@{}", good.digest()));
    refused(&["prod/many:1"], (1, "is blocked by `prod/"));

    from.done(&["registry", "rules", "set", "held", "--quarantine"]);
    good.push(&from.door, "held/app", "1");
    from.is_judged("held/app:1");
    refused(&["held/app:1"], (3, "is in quarantine"));
    refused(&["dev/app:2"], (2, "has no manifest `2`"));
    refused(&["dev/none:1"], (2, "dev/none"));
    refused(&["dev/app"], (2, "neither a tag nor a digest"));

    let idle = Registry::configured("inspectors = 0\n");
    good.push(&idle.door, "prod/app", "1");
    let said = idle.cli(&["image", "export", "prod/app:1", "--to", &archive]);
    assert!(said.code == 1 && said.err.contains("is pending"), "{said:?}");
    assert!(!Path::new(&archive).exists());
}

/// Layers that a registry need not hold are elsewhere: for others to bring, or not.
#[test]
fn layers_that_registries_need_not_hold_stay_away() {
    let (from, to) = (Registry::new(), Registry::new());
    let foreign = Digest::sha256(b"somewhere else");
    let config = from.blob("dev/foreign", b"{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SBOM,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "size": 14,
            "digest": foreign, "urls": ["https://example.com/layer"],
        }],
    });
    let pushed = from.put("dev/foreign", "1", (MANIFEST, &manifest));
    let archive = from.file("foreign.tar");
    let said = from.cli(&["image", "export", "dev/foreign:1", "--to", &archive]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("registries need not hold them: 1"), "{said:?}");
    assert!(members(Path::new(&archive)).iter().all(|(name, _)| !name.contains(&foreign.hex())));
    to.done(&["image", "import", &archive]);
    assert_eq!(to.digest("dev/foreign", "1"), Some(pushed.digest));
}

/// Who may push a blocked image's layer without being able to pull it may name it in an artifact, with the bytes in hand.
#[test]
fn an_artifact_may_name_what_its_importer_has() {
    let (from, to) = (Registry::new(), Registry::new());
    let layer = debian_layer("expat", "99:1");
    let blocked = image(&Platform::host().architecture, "99:1", "");
    blocked.push(&to.door, "prod/app", "1");
    to.is_judged("prod/app:1");
    let artifact = from.refer("dev/app", &of(&blocked), &layer);
    let archive = from.file("artifact.tar");
    from.done(&["image", "export", &format!("dev/app@{}", artifact.digest), "--to", &archive]);
    let said = to.done(&["image", "import", &archive, "prod/app"]);
    assert!(said[0]["bytes"].as_u64() > Some(layer.len() as u64), "it was sent: {said}");
    let path = format!("/v2/prod/app/manifests/{}", artifact.digest);
    assert_eq!(to.door.get("HEAD", &path).status, 200);
}

/// As builds keep what they made.
#[test]
fn an_index_of_layers_goes_along() {
    let (from, to) = (Registry::new(), Registry::new());
    let child = |bytes: &[u8]| {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        json!({"mediaType": kind, "digest": from.blob("dev/cache", bytes), "size": bytes.len()})
    };
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child(b"one"), child(b"two")]});
    let index = from.put("dev/cache", "1", (INDEX, &index));
    let archive = from.file("cache.tar");
    from.done(&["image", "export", "dev/cache:1", "--to", &archive]);
    to.done(&["image", "import", &archive, "dev/cache:1"]);
    assert_eq!(to.digest("dev/cache", "1"), Some(index.digest));
    for bytes in [b"one", b"two"] {
        let path = format!("/v2/dev/cache/blobs/{}", Digest::sha256(bytes));
        assert_eq!(to.door.get("GET", &path).body, bytes);
    }
}

/// What an index names and the registry does not have stays away, and so does what refers and may not be pulled.
#[test]
fn what_is_not_there_is_left_out_and_said() {
    let (from, to) = (Registry::new(), Registry::new());
    let (one, other) = (image("amd64", "2.5.0-1", "one"), image("arm64", "2.5.0-1", "other"));
    let index = from.index("dev/app", "1", &[("amd64", &one), ("arm64", &other)]);
    from.is_judged(&format!("dev/app@{}", one.digest()));
    let (locked, sbom) =
        (from.refer("dev/app", &index, b"locked"), from.refer("dev/app", &index, b"an sbom"));
    let gone = from.door.get("DELETE", &format!("/v2/dev/app/manifests/{}", other.digest()));
    assert_eq!(gone.status, 202, "{}", gone.text());
    let path = format!("/acr/v1/dev/app/_manifests/{}", locked.digest);
    let lock = from.door.ask("PATCH", &path, "application/json", br#"{"readEnabled":false}"#).expect("sent");
    assert_eq!(lock.status, 200, "{}", lock.text());
    let archive = from.file("sparse.tar");
    let said = from.cli(&["image", "export", "dev/app:1", "--to", &archive]);
    assert_eq!(said.code, 0, "{said:?}");
    for digest in [other.digest(), locked.digest] {
        assert!(said.err.contains(&digest.to_string()), "{digest}: {said:?}");
    }
    let left = (said.json()[0]["absent"].clone(), said.json()[0]["refused"].clone());
    assert_eq!(left, (json!([other.digest()]), json!([locked.digest])), "{said:?}");
    assert_eq!(said.json()[0]["referrers"], 1);
    for more in [&["--dry-run"][..], &[]] {
        let said = to.cli(&[&["image", "import", &archive], more].concat());
        assert!(said.code == 0 && said.err.contains(&other.digest().to_string()), "{said:?}");
        assert_eq!(said.json()[0]["absent"], json!([other.digest()]));
    }
    assert_eq!(to.digest("dev/app", "1"), Some(index.digest));
    assert_eq!(to.referrers("dev/app", &index.digest), [sbom.digest.to_string()]);
    assert_eq!(to.digest("dev/app", &one.digest().to_string()), Some(one.digest()));
    assert_eq!(to.digest("dev/app", &other.digest().to_string()), None);
}

#[test]
fn digests_of_the_longer_kind_stay() {
    let (from, to) = (Registry::new(), Registry::new());
    let long = |bytes: &[u8]| {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(bytes);
        hasher.finish()
    };
    let blob = long(b"some text");
    let path = format!("/v2/dev/long/blobs/uploads/?digest={blob}");
    let sent = from.door.ask("POST", &path, "application/octet-stream", b"some text").expect("sent");
    assert_eq!(sent.status, 201, "{}", sent.text());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SBOM,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json", "digest": from.blob("dev/long", b"{}"), "size": 2,
        },
        "layers": [{"mediaType": "text/plain", "digest": blob, "size": 9}],
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = long(&bytes);
    let path = format!("/v2/dev/long/manifests/{digest}?tag=1");
    let put = from.door.ask("PUT", &path, MANIFEST, &bytes).expect("sent");
    assert_eq!(put.status, 201, "{}", put.text());

    let archive = from.file("long.tar");
    let said = from.done(&["image", "export", "dev/long:1", "--to", &archive]);
    assert_eq!(said[0]["digest"], json!(digest));
    // Names of this length are written in two ways: as GNU does, and as POSIX does.
    let folder = from.file("long");
    let again = from.file("posix.tar");
    fs::create_dir(&folder).expect("a folder");
    done(Command::new("tar").args(["-xf", &archive, "-C", &folder]));
    done(Command::new("tar").args(["--format=posix", "-cf", &again, "-C", &folder, "."]));
    for (number, source) in [&archive, &again, &format!("oci:{folder}")].into_iter().enumerate() {
        to.done(&["image", "import", source, &format!("dev/long{number}:1")]);
        let head = to.door.get("HEAD", &format!("/v2/dev/long{number}/manifests/1"));
        assert_eq!(head.header("docker-content-digest"), Some(digest.to_string().as_str()), "{source}");
    }
}

/// What a registry does not take from others it does not take from a layout.
#[test]
fn what_may_not_be_pushed_is_not_imported() {
    let (from, to) = (Registry::new(), Registry::new());
    let fleet = Fleet::push(&from);
    let archive = from.file("air.tar");
    from.done(&["image", "export", "dev/one:1", "--to", &archive]);
    to.done(&["registry", "rules", "set", "stage", "--promotion-only"]);
    to.done(&["registry", "rules", "set", "small", "--quota-bytes", "1000"]);
    // Larger than what waits in a socket: the reason comes while it is sent.
    let large = from.refer("dev/one", &from.refer("dev/one", &of(&fleet.one), b"x"), &vec![7; 32 << 20]);
    let large_archive = from.file("large.tar");
    from.done(&["image", "export", &format!("dev/one@{}", large.digest), "--to", &large_archive]);
    let said = to.cli(&["image", "import", &large_archive, "small/large:1"]);
    assert!(said.code == 3 && said.err.contains("quota"), "{said:?}");
    for (place, says) in [("stage/one:1", "promotion alone"), ("small/one:1", "quota")] {
        let said = to.cli(&["image", "import", &archive, place]);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains(says), "{place}: {said:?}");
        assert_eq!(to.digest(place.trim_end_matches(":1"), "1"), None);
    }
}

#[test]
fn over_http_with_a_login() {
    let (from, to) = (Registry::new(), Registry::new());
    let fleet = Fleet::push(&from);
    let far = |registry: &Registry, words: &[&str]| {
        let url = format!("http://localhost:{}", registry.server.port);
        let mut command = seaworthy();
        command.args(words).args(["--server", &url, "-o", "json"]);
        command
            .env("XDG_CONFIG_HOME", registry.place.path("config"))
            .env("HOME", registry.place.path("home"));
        command
    };
    let login = |registry: &Registry, role: &str| {
        let scope = ["--scope", "/repositories/dev"];
        let made = registry.done(&[&["principal", "create", role, "--role", role], &scope[..]].concat());
        let secret = made["client_secret"].as_str().expect("a secret");
        let mut command = seaworthy();
        let url = format!("http://localhost:{}", registry.server.port);
        command.args(["login", &url, "-u", role, "--password-stdin"]);
        command
            .env("XDG_CONFIG_HOME", registry.place.path("config"))
            .env("HOME", registry.place.path("home"));
        let said = with_stdin(command, secret);
        assert_eq!(said.code, 0, "{said:?}");
    };
    let archive = from.file("air.tar");
    let export = ["image", "export", "dev/one:1", "--to", &archive];
    assert_eq!(run(&mut far(&from, &export)).code, 3, "nobody is signed in");
    login(&from, "AcrPull");
    let said = run(&mut far(&from, &export));
    assert_eq!(said.code, 0, "{said:?}");
    // The registry's name is known, so the engines' is, too.
    let index: Value =
        serde_json::from_slice(&members(Path::new(&archive)).last().expect("index.json").1).expect("JSON");
    let name = format!("localhost:{}/dev/one:1", from.server.port);
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], json!(name));

    login(&to, "AcrPush");
    let said = run(&mut far(&to, &["image", "import", &archive]));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(to.digest("dev/one", "1"), Some(fleet.one.digest()));
    let said = run(&mut far(&to, &["image", "import", &archive, "other/one:1"]));
    assert_eq!(said.code, 3, "{said:?}");
    let said = run(&mut far(&from, &["image", "import", &archive]));
    assert_eq!(said.code, 0, "all of it is there, and nothing is to be pushed: {said:?}");
    let said = run(&mut far(&from, &["image", "import", &archive, "dev/two:1"]));
    assert_eq!(said.code, 3, "a reader pushes nothing: {said:?}");
}

#[test]
fn an_archive_goes_through_a_pipe_and_no_table_with_it() {
    let (from, to) = (Registry::new(), Registry::new());
    let fleet = Fleet::push(&from);
    let output =
        from.place.command(&["image", "export", "dev/one:1", "--to", "-"]).output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let archive = to.file("piped.tar");
    fs::write(&archive, output.stdout).expect("written");
    let packed = |program: &str, name: &str| {
        let path = to.place.path(name);
        let file = fs::File::create(&path).expect("a file");
        let done = Command::new(program).args(["-c", &archive]).stdout(file).status().expect("it runs");
        assert!(done.success());
        path
    };
    let packed: Vec<PathBuf> = vec![packed("gzip", "one.tar.gz"), packed("zstd", "one.tar.zst")];
    for (number, path) in [PathBuf::from(&archive)].iter().chain(&packed).enumerate() {
        let place = format!("dev/piped{number}:1");
        to.done(&["image", "import", path.to_str().expect("a path"), &place]);
        assert_eq!(to.digest(&format!("dev/piped{number}"), "1"), Some(fleet.one.digest()));
    }
}
