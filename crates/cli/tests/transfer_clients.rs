//! Layouts of ours in the hands of others, and theirs in ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use seaworthy_oci::Platform;
use seaworthy_testkit::{docker, modern_docker, real_engines};
use serde_json::Value;

use crate::{
    clients::Containerd,
    image::Image,
    server::{Said, done, run},
    transfer::{FOREIGN, Registry, image, of},
};

/// An image, an index, a signature of each, in one archive: `dev/one:1`, `dev/many:1`.
struct Exported {
    from: Registry,
    one: Image,
    archive: PathBuf,
}

impl Exported {
    fn new() -> Self {
        let from = Registry::new();
        let host = Platform::host().architecture;
        let (one, two) = (image(&host, "99:1", "one"), image(&host, "99:1", "two"));
        one.push(&from.door, "dev/one", "1");
        let index =
            from.index("dev/many", "1", &[(host.as_str(), &two), (FOREIGN, &image(FOREIGN, "99:2", ""))]);
        from.refer("dev/one", &of(&one), b"a signature");
        from.refer("dev/many", &index, b"another");
        ["dev/one:1", "dev/many:1"].iter().for_each(|name| from.is_judged(name));
        let archive = from.place.path("ours.tar");
        from.done(&["image", "export", "dev/one:1", "dev/many:1", "--to", archive.to_str().expect("a path")]);
        Self { from, one, archive }
    }

    fn named(&self, name: &str) -> String {
        format!("oci-archive:{}:{name}", self.archive.display())
    }
}

/// podman or buildah with storage of the test's own.
fn stored(program: &str, exported: &Exported, words: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.arg("--root").arg(exported.from.place.path("storage"));
    command.arg("--runroot").arg(exported.from.place.path("run")).args(["--storage-driver", "vfs"]);
    let auth = exported.from.place.docker_config().join("config.json");
    run(command.args(words).current_dir(exported.from.place.path("")).env("REGISTRY_AUTH_FILE", auth))
}

fn works(said: &Said) -> String {
    assert_eq!(said.code, 0, "{said:?}");
    said.out.trim().to_owned()
}

#[test]
fn skopeo_podman_and_buildah_read_ours_and_write_theirs() {
    const NAME: &str = "skopeo_podman_and_buildah_read_ours_and_write_theirs";
    if !real_engines(NAME, &["skopeo", "podman", "buildah", "setpriv"]) {
        return;
    }
    let exported = Exported::new();
    let skopeo = |words: &[&str]| done(Command::new("skopeo").args(words));
    let one: Value = serde_json::from_str(&skopeo(&["inspect", &exported.named("dev/one:1")])).expect("JSON");
    assert_eq!(one["Digest"], exported.one.digest().to_string());
    let raw = skopeo(&["inspect", "--raw", &exported.named("dev/many:1")]);
    assert_eq!(
        serde_json::from_str::<Value>(&raw).expect("JSON")["manifests"].as_array().map(Vec::len),
        Some(2)
    );
    let copy = exported.from.place.path("copy");
    skopeo(&["copy", "--all", &exported.named("dev/many:1"), &format!("dir:{}", copy.display())]);
    assert!(fs::read_dir(&copy).expect("a copy").count() > 6, "both images are in it");

    let loaded = works(&stored("podman", &exported, &["pull", "-q", &exported.named("dev/one:1")]));
    assert!(loaded.len() >= 64, "{loaded}");
    works(&stored("buildah", &exported, &["pull", "-q", &exported.named("dev/many:1")]));

    // Theirs: a layout with a bare tag, archives with one, and with a full name.
    let to = Registry::new();
    let layout = to.place.path("skopeo");
    let port = exported.from.server.port;
    let auth = exported.from.place.docker_config().join("config.json");
    let mut command = Command::new("skopeo");
    command.args(["copy", "--all", "--src-tls-verify=false"]).env("REGISTRY_AUTH_FILE", &auth);
    command.arg(format!("docker://localhost:{port}/dev/many:1")).arg(format!("oci:{}:v1", layout.display()));
    done(&mut command);
    let source = format!("oci:{}", layout.display());
    let bare = to.cli(&["image", "import", &source]);
    assert!(bare.code == 2 && bare.err.contains("only the name `v1`"), "{bare:?}");
    to.done(&["image", "import", &source, "base/many"]);
    let theirs: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("read")).expect("JSON");
    let pushed = to.digest("base/many", "v1").map(|digest| digest.to_string());
    assert_eq!(pushed.as_deref(), theirs["manifests"][0]["digest"].as_str());

    let archive = to.place.path("buildah.tar");
    let push = format!("oci-archive:{}:team/app:2", archive.display());
    works(&stored("buildah", &exported, &["push", &loaded, &push]));
    to.done(&["image", "import", archive.to_str().expect("a path")]);
    to.is_judged("team/app:2");
    let archive = to.place.path("podman.tar");
    let save = ["save", "--format", "oci-archive", "-o", archive.to_str().expect("a path"), &loaded];
    works(&stored("podman", &exported, &save));
    to.done(&["image", "import", archive.to_str().expect("a path"), "team/saved:1"]);
    to.is_judged("team/saved:1");
}

#[test]
fn containerd_imports_ours_and_exports_its() {
    const NAME: &str = "containerd_imports_ours_and_exports_its";
    if !real_engines(NAME, &["containerd", "ctr", "setpriv"]) {
        return;
    }
    let exported = Exported::new();
    let containerd = Containerd::start(exported.from.place.path("containerd"));
    let words = ["images", "import", "--all-platforms", "--no-unpack"];
    done(containerd.ctr(&words).arg(&exported.archive));
    let names = done(&mut containerd.ctr(&["images", "ls", "-q"]));
    assert_eq!(names.lines().collect::<Vec<_>>(), ["dev/many:1", "dev/one:1"]);
    assert!(containerd.has(&exported.one.digest()) && containerd.has(&exported.one.layer_digest()));

    let to = Registry::new();
    let theirs = to.place.path("theirs.tar");
    let words = ["images", "export", "--all-platforms"];
    done(containerd.ctr(&words).arg(&theirs).args(["dev/one:1", "dev/many:1"]));
    import(&to, &theirs);
    for repository in ["dev/one", "dev/many"] {
        assert_eq!(to.digest(repository, "1"), exported.from.digest(repository, "1"));
    }
}

/// Docker with images by config, which reads `manifest.json`, and the current one, which reads `index.json`.
#[test]
fn docker_loads_ours_and_saves_its() {
    const NAME: &str = "docker_loads_ours_and_saves_its";
    if !real_engines(NAME, &["dockerd", "docker", "setpriv", "unshare"]) {
        return;
    }
    let exported = Exported::new();
    let config = exported.from.place.docker_config();
    let file = exported.archive.to_str().expect("a path");
    let old = docker();
    let said = done(old.client(&config).args(["load", "-i", file]));
    assert!(said.contains("dev/one:1") && said.contains("dev/many:1"), "{said}");
    let labels = done(old.client(&config).args(["inspect", "-f", "{{.Config.Labels.test}}", "dev/one:1"]));
    assert_eq!(labels.trim(), "one");

    let Some(modern) = modern_docker(NAME) else { return };
    // It has but its own platform of what it pulls, and its archive is a layout that says so.
    let to = Registry::new();
    let full = format!("localhost:{}/dev/many:1", exported.from.server.port);
    done(modern.client(&config).args(["pull", "-q", &full]));
    let saved = to.place.path("docker.tar");
    done(modern.client(&config).arg("save").arg("-o").arg(&saved).arg(&full));
    import(&to, &saved);
    assert_eq!(to.digest("dev/many", "1"), exported.from.digest("dev/many", "1"));
    done(modern.client(&config).args(["image", "rm", "-f", &full]));

    let said = done(modern.client(&config).args(["load", "-i", file]));
    assert!(said.contains("dev/one:1") && said.contains("dev/many:1"), "{said}");
    for name in ["dev/one:1", "dev/many:1"] {
        done(modern.client(&config).args(["image", "rm", "-f", name]));
    }
}

fn import(to: &Registry, archive: &Path) {
    let said = to.cli(&["image", "import", archive.to_str().expect("a path")]);
    assert_eq!(said.code, 0, "{said:?}\n{}", to.place.log());
    eprintln!("{}", said.err);
}
