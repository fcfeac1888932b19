//! Clients that others wrote, beside docker and skopeo: containerd's, buildah, podman with zstd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::{Digest, Platform};
use seaworthy_testkit::{advisory_pack, docker, modern_docker, program, real_engines};
use serde_json::Value;

use crate::{
    http::Door,
    image::{Image, TAR, debian_layer, lay_out},
    server::{Place, Said, Server, debian_feeds, done, run},
};

/// How long a private containerd may take to answer.
const START: Duration = Duration::from_secs(60);

/// A server with feeds, and images to push to it.
struct Port {
    place: Place,
    server: Server,
    door: Door,
    good: Image,
    /// The same system for a machine that this one is not.
    foreign: Image,
    bad: Image,
}

const FOREIGN: &str = "s390x";

impl Port {
    fn new(pack: &Path) -> Self {
        let place = Place::new();
        let server = place.up(&debian_feeds(pack));
        let door = place.login(server.port);
        let host = Platform::host().architecture;
        let (good, foreign) = (image(&host, "99:1"), image(FOREIGN, "99:2"));
        // Fixed since, so it is blocked under `prod/`.
        let bad = image(&host, "2.5.0-1");
        Self { place, server, door, good, foreign, bad }
    }

    fn full(&self, reference: &str) -> String {
        format!("localhost:{}/{reference}", self.server.port)
    }

    /// `name:secret`, as docker keeps it.
    fn user(&self) -> String {
        let Door::Tcp { basic, .. } = &self.door else { panic!("a door of TCP") };
        String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text")
    }

    fn lay_out(&self, folder: &str, reference: &str, images: &[&Image]) -> PathBuf {
        let folder = self.place.path(folder);
        let host = Platform::host().architecture;
        let platforms: Vec<(&str, &Image)> =
            [host.as_str(), FOREIGN].into_iter().zip(images.iter().copied()).collect();
        lay_out(&folder, &self.full(reference), &platforms);
        folder
    }

    fn judged(&self, reference: &str) -> String {
        let check = self.place.cli(&["check", reference, "--wait", "60s", "-o", "json"]);
        assert!(matches!(check.code, 0 | 1), "{check:?}\n{}", self.place.log());
        check.json()["verdict"].as_str().expect("a verdict").to_owned()
    }

    fn manifest(&self, path: &str) -> Value {
        let answer = self.door.get("GET", &format!("/v2/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// The blocked image is there, pushed by nobody whose copy could be taken for a pulled one.
    fn with_the_blocked_image(&self) {
        self.bad.push(&self.door, "prod/bad", "1");
        assert_eq!(self.judged("prod/bad:1"), "blocked");
    }
}

fn image(architecture: &str, version: &str) -> Image {
    let layer = debian_layer("expat", version);
    Image::built_for(architecture, &layer, TAR, &Digest::sha256(&layer), "")
}

/// The client failed, and showed why.
fn is_refused(said: &Said) {
    let text = format!("{}{}", said.out, said.err);
    assert_ne!(said.code, 0, "{text}");
    for part in ["prod/bad@sha256:", "is blocked by `prod/vulns`"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

fn version(program: &str) {
    eprintln!("{}", done(Command::new(program).arg("--version")).trim());
}

/// A containerd of the test's own: folders, socket, no plugins that need a network.
pub(crate) struct Containerd {
    root: PathBuf,
    child: Child,
}

impl Containerd {
    pub(crate) fn start(root: PathBuf) -> Self {
        fs::create_dir_all(&root).expect("folder");
        let at = root.display();
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{at}/sock\"\n[ttrpc]\naddress = \"{at}/ttrpc\"\n"
        );
        let file = root.join("config.toml");
        fs::write(&file, config).expect("written");
        let log = fs::File::create(root.join("log")).expect("log");
        let mut command = Command::new(program("setpriv").expect("setpriv"));
        command.args(["--pdeathsig", "KILL"]).arg(program("containerd").expect("containerd"));
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let containerd = Self { child: command.spawn().expect("containerd starts"), root };
        let deadline = Instant::now() + START;
        while run(&mut containerd.ctr(&["version"])).code != 0 {
            let log = || fs::read_to_string(containerd.root.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "containerd did not answer in time:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        containerd
    }

    pub(crate) fn ctr(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.root.join("sock")).args(words);
        command
    }

    /// Brings in a layout, as its own name says.
    pub(crate) fn import(&self, layout: &Path) {
        let file = layout.with_extension("tar");
        done(Command::new("tar").arg("-cf").arg(&file).arg("-C").arg(layout).arg("."));
        done(self.ctr(&["images", "import", "--all-platforms", "--no-unpack"]).arg(&file));
    }

    fn moves(&self, verb: &str, port: &Port, words: &[&str], reference: &str) -> Said {
        let mut command = self.ctr(&["images", verb, "--plain-http", "--user", &port.user()]);
        if verb == "pull" {
            // No overlay on overlay: it need not be possible here.
            command.args(["--snapshotter", "native"]);
        }
        run(command.args(words).arg(port.full(reference)))
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        done(&mut self.ctr(&["content", "ls", "-q"])).contains(&digest.to_string())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn containerd_pushes_and_pulls() {
    const NAME: &str = "containerd_pushes_and_pulls";
    if !real_engines(NAME, &["containerd", "ctr", "setpriv", "tar"]) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    version("containerd");
    let port = Port::new(&pack);
    let pusher = Containerd::start(port.place.path("pusher"));
    let puller = Containerd::start(port.place.path("puller"));
    let works = |said: &Said| assert_eq!(said.code, 0, "{said:?}\n{}", port.place.log());

    pusher.import(&port.lay_out("one", "prod/one:1", &[&port.good]));
    works(&pusher.moves("push", &port, &[], "prod/one:1"));
    assert_eq!(port.judged("prod/one:1"), "allowed");
    works(&puller.moves("pull", &port, &[], "prod/one:1"));
    assert!(puller.has(&port.good.layer_digest()));

    pusher.import(&port.lay_out("many", "prod/many:1", &[&port.good, &port.foreign]));
    works(&pusher.moves("push", &port, &[], "prod/many:1"));
    assert_eq!(port.judged(&format!("prod/many@{}", port.foreign.digest())), "allowed");
    let index = port.manifest("prod/many/manifests/1");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index}");
    works(&puller.moves("pull", &port, &["--all-platforms"], "prod/many:1"));
    assert!(puller.has(&port.foreign.layer_digest()) && puller.has(&port.foreign.digest()));

    port.with_the_blocked_image();
    is_refused(&puller.moves("pull", &port, &[], "prod/bad:1"));
    is_refused(&puller.moves("pull", &port, &[], &format!("prod/bad@{}", port.bad.digest())));
    assert!(!puller.has(&port.bad.layer_digest()), "no layer of it came along");
    // Pushing again what is blocked is no way around it, and no failure.
    pusher.import(&port.lay_out("bad", "prod/bad:1", &[&port.bad]));
    works(&pusher.moves("push", &port, &[], "prod/bad:1"));
    is_refused(&puller.moves("pull", &port, &[], "prod/bad:1"));
}

/// buildah or podman, with storage of the test's own.
struct Builder<'p> {
    program: &'static str,
    port: &'p Port,
    storage: PathBuf,
}

impl Builder<'_> {
    fn says(&self, words: &[&str]) -> Said {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        command.args(["--storage-driver", "vfs"]).args(words);
        // A layout is named from here: its path becomes a name, and names are lower case.
        command.current_dir(self.port.place.path(""));
        command.env("REGISTRY_AUTH_FILE", self.port.place.docker_config().join("config.json"));
        run(&mut command)
    }

    fn done(&self, words: &[&str]) -> String {
        let said = self.says(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}\n{}", self.port.place.log());
        said.out.trim().to_owned()
    }

    fn pull(&self, reference: &str) -> Said {
        self.says(&["pull", "--tls-verify=false", &self.port.full(reference)])
    }

    /// Pushes what it knows as `image`, with the words for the compression.
    fn push(&self, words: &[&str], image: &str, reference: &str) {
        let place = format!("docker://{}", self.port.full(reference));
        let mut all = vec!["push", "--tls-verify=false"];
        all.extend(words);
        all.extend([image, &place]);
        self.done(&all);
    }

    fn has_images(&self) -> bool {
        !self.done(&["images", "-q"]).is_empty()
    }

    /// As pushed with `words`, its layer begins with `magic`, is read by the inspection, and comes
    /// back.
    fn goes_round(&self, words: &[&str], reference: &str, magic: &[u8]) {
        // Content of its own: what a client has pushed before, it mounts as it is.
        let version = format!("99:1+{}", reference.replace(['/', ':'], "."));
        self.port.lay_out("round", reference, &[&image(&Platform::host().architecture, &version)]);
        let image = self.done(&["pull", "-q", "oci:round:it"]);
        self.push(words, &image, reference);
        self.done(&["rmi", "-f", &image]);
        assert_eq!(self.port.judged(reference), "allowed", "{reference}");
        let (repository, tag) = reference.rsplit_once(':').expect("a tag");
        let manifest = self.port.manifest(&format!("{repository}/manifests/{tag}"));
        let layer = manifest["layers"][0]["digest"].as_str().expect("a layer");
        let bytes = self.port.door.get("GET", &format!("/v2/{repository}/blobs/{layer}")).body;
        assert!(bytes.starts_with(magic), "{words:?}: {manifest:#}");
        assert!(!self.has_images());
        let pulled = self.pull(reference);
        assert_eq!(pulled.code, 0, "{pulled:?}");
        assert!(self.has_images());
        self.done(&["rmi", "-af"]);
    }

    fn is_refused_the_blocked_image(&self) {
        is_refused(&self.pull("prod/bad:1"));
        is_refused(&self.pull(&format!("prod/bad@{}", self.port.bad.digest())));
        assert!(!self.has_images());
    }
}

const GZIP: &[u8] = &[0x1F, 0x8B];
/// A frame, and a skippable frame, which zstd:chunked may begin with.
const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

#[test]
fn buildah_pushes_and_pulls() {
    const NAME: &str = "buildah_pushes_and_pulls";
    if !real_engines(NAME, &["buildah", "setpriv"]) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    version("buildah");
    let port = Port::new(&pack);
    let buildah = Builder { program: "buildah", port: &port, storage: port.place.path("storage") };
    buildah.goes_round(&[], "prod/gzip:1", GZIP);
    buildah.goes_round(&["--compression-format", "zstd"], "prod/zstd:1", ZSTD);

    // A build on top of what is pulled.
    let container = buildah.done(&["from", "--tls-verify=false", &port.full("prod/zstd:1")]);
    let image = buildah.done(&["commit", "-q", &container]);
    buildah.push(&[], &image, "prod/built:1");
    assert_eq!(port.judged("prod/built:1"), "allowed");
    buildah.done(&["rm", "-a"]);
    buildah.done(&["rmi", "-af"]);

    // An index, whole.
    port.lay_out("many", "prod/many:1", &[&port.good, &port.foreign]);
    buildah.done(&["manifest", "create", "many"]);
    buildah.done(&["manifest", "add", "--all", "many", "oci:many:it"]);
    let place = format!("docker://{}", port.full("prod/many:1"));
    buildah.done(&["manifest", "push", "--all", "--tls-verify=false", "many", &place]);
    let index = port.manifest("prod/many/manifests/1");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index}");
    buildah.done(&["rmi", "-af"]);
    assert_eq!(port.judged("prod/many:1"), "allowed");
    assert_eq!(buildah.pull("prod/many:1").code, 0);
    buildah.done(&["rmi", "-af"]);

    port.with_the_blocked_image();
    buildah.is_refused_the_blocked_image();
    let from = buildah.says(&["from", "--tls-verify=false", &port.full("prod/bad:1")]);
    is_refused(&from);
    assert!(!buildah.has_images());
}

#[test]
fn podman_pushes_and_pulls_zstd() {
    const NAME: &str = "podman_pushes_and_pulls_zstd";
    if !real_engines(NAME, &["podman", "setpriv"]) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    version("podman");
    let port = Port::new(&pack);
    let podman = Builder { program: "podman", port: &port, storage: port.place.path("storage") };
    podman.goes_round(&["--compression-format", "gzip"], "prod/gzip:1", GZIP);
    podman.goes_round(&["--format", "oci", "--compression-format", "zstd"], "prod/zstd:1", ZSTD);
    podman.goes_round(&["--format", "oci", "--compression-format", "zstd:chunked"], "prod/chunked:1", ZSTD);
    port.with_the_blocked_image();
    podman.is_refused_the_blocked_image();
}

/// The engine that names images by their indexes pushes one whole, and pulls what it is for.
#[test]
fn the_current_docker_pushes_an_index() {
    const NAME: &str = "the_current_docker_pushes_an_index";
    if !real_engines(NAME, &["docker", "setpriv", "unshare", "tar"]) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    let Some(engine) = modern_docker(NAME) else { return };
    let port = Port::new(&pack);
    let docker = |words: &[&str]| {
        let mut command = engine.client(&port.place.docker_config());
        run(command.args(words))
    };
    let works = |words: &[&str]| {
        let said = docker(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}\n{}", port.place.log());
        said.out
    };
    let full = port.full("prod/many:1");
    let layout = port.lay_out("many", "prod/many:1", &[&port.good, &port.foreign]);
    let file = layout.with_extension("tar");
    done(Command::new("tar").arg("-cf").arg(&file).arg("-C").arg(&layout).arg("."));
    works(&["load", "-i", file.to_str().expect("a path")]);
    works(&["push", &full]);
    for image in [&port.good, &port.foreign] {
        assert_eq!(port.judged(&format!("prod/many@{}", image.digest())), "allowed");
    }
    let index = port.manifest("prod/many/manifests/1");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index}");
    works(&["image", "rm", "-f", &full]);
    works(&["pull", "-q", &full]);
    works(&["image", "rm", "-f", &full]);
    port.with_the_blocked_image();
    is_refused(&docker(&["pull", &port.full("prod/bad:1")]));
}

/// A client, and the file or folder where it keeps who it is.
struct Signed<'p> {
    program: &'static str,
    port: &'p Port,
    containerd: Option<&'p Containerd>,
    home: PathBuf,
    /// Who `ctr` is: it keeps nothing.
    user: Option<String>,
}

impl<'p> Signed<'p> {
    fn new(program: &'static str, port: &'p Port, containerd: &'p Containerd) -> Self {
        let home = port.place.path(&format!("home-{program}"));
        fs::create_dir(&home).expect("folder");
        fs::write(home.join("auth.json"), "{}").expect("nobody yet");
        let containerd = Some(containerd).filter(|_| program == "ctr");
        Self { program, port, containerd, home, user: None }
    }

    fn command(&self) -> Command {
        if self.program == "docker" {
            return docker().client(&self.home);
        }
        let mut command = Command::new(self.program);
        command.env("REGISTRY_AUTH_FILE", self.home.join("auth.json"));
        if self.program != "skopeo" {
            command.arg("--root").arg(self.home.join("root")).arg("--runroot").arg(self.home.join("run"));
            command.args(["--storage-driver", "vfs"]);
        }
        command
    }

    /// Signs in as the client does; `ctr` asks with what it was told each time.
    fn login(&mut self, name: &str, secret: &str) -> Said {
        if self.program == "ctr" {
            self.user = Some(format!("{name}:{secret}"));
            return self.pull("prod/app:1");
        }
        let mut command = self.command();
        command.args(["login", "-u", name, "-p", secret]);
        if self.program != "docker" {
            command.arg("--tls-verify=false");
        }
        run(command.arg(format!("localhost:{}", self.port.server.port)))
    }

    fn pull(&self, reference: &str) -> Said {
        let full = self.port.full(reference);
        match self.program {
            "ctr" => {
                let mut words = vec!["images", "pull", "--plain-http", "--snapshotter", "native"];
                words.extend(self.user.iter().flat_map(|user| ["--user", user]));
                run(self.containerd.expect("its daemon").ctr(&words).arg(full))
            }
            "skopeo" => {
                let to = format!("dir:{}", self.home.join(reference.replace(['/', ':'], "-")).display());
                let mut command = self.command();
                run(command.args(["copy", "--src-tls-verify=false", &format!("docker://{full}"), &to]))
            }
            "docker" => run(self.command().args(["pull", "-q", &full])),
            _ => {
                // What is here already need not be asked for.
                done(self.command().args(["rmi", "-af"]));
                run(self.command().args(["pull", "--tls-verify=false", &full]))
            }
        }
    }
}

/// One host has repositories for everybody and others: a client without credentials gets the first, one that is
/// signed in gets what it may and still what everybody may, and a wrong secret is told at once.
#[test]
fn anonymous_and_private_docker_login() {
    const NAME: &str = "anonymous_and_private_docker_login";
    let tools =
        ["dockerd", "docker", "podman", "buildah", "skopeo", "containerd", "ctr", "setpriv", "mmdebstrap"];
    if !real_engines(NAME, &tools) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    let port = Port::new(&pack);
    let create = |name: &str, role: &str, scope: &str| {
        let words = ["principal", "create", name, "--role", role, "--scope", scope, "-o", "json"];
        port.place.cli(&words).json()
    };
    create("anonymous", "AcrPull", "/repositories/public");
    let ci = create("ci", "AcrPull", "/repositories/prod");
    let (id, secret) = (ci["id"].as_str().expect("an id"), ci["client_secret"].as_str().expect("a secret"));
    for repository in ["public/app", "prod/app", "other/app"] {
        port.good.push(&port.door, repository, "1");
        assert_eq!(port.judged(&format!("{repository}:1")), "allowed");
    }
    let containerd = Containerd::start(port.place.path("containerd"));
    for program in ["docker", "podman", "buildah", "skopeo", "ctr"] {
        let mut client = Signed::new(program, &port, &containerd);
        let gets = |client: &Signed<'_>, reference: &str| {
            let said = client.pull(reference);
            assert_eq!(said.code, 0, "{program} {reference}: {said:?}\n{}", port.place.log());
        };
        let is_refused = |client: &Signed<'_>, reference: &str| {
            let said = client.pull(reference);
            assert_ne!(said.code, 0, "{program} got {reference}");
        };
        gets(&client, "public/app:1");
        is_refused(&client, "prod/app:1");
        assert_ne!(client.login(id, "wrong").code, 0, "{program}");
        client.user = None;
        gets(&client, "public/app:1");
        let said = client.login(id, secret);
        assert_eq!(said.code, 0, "{program}: {said:?}");
        gets(&client, "prod/app:1");
        gets(&client, "public/app:1");
        is_refused(&client, "other/app:1");
    }
}
