//! Private Docker engines: at most one of each kind per test process, on a socket and folders of its
//! own, without networking, so that it disturbs nothing on this machine. They end with the process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::tier::{is_alive, program, wanted};

const PREFIX: &str = "seaworthy-test-docker-";
/// Where `cargo xtask prepare` builds the current engine, below the cache; see `xtask/src/engine.rs`.
const MODERN: &str = ".cache/seaworthy/moby-2.0.0-beta.24-1";
/// How long the engine may take to answer.
const START: Duration = Duration::from_secs(60);

/// Runs an engine (`$2` and on), ends it when told to end, then removes its folder (`$1`). An
/// engine that ends by itself leaves its log.
const KEEP: &str = r#"
root=$1; shift
trap 'ended=1; kill -TERM $engine' TERM
setpriv --pdeathsig TERM "$@" 2>"$root/log" &
engine=$!
wait $engine
# The signal ends the first wait.
wait $engine
[ -z "$ended" ] || rm -rf --one-file-system "$root"
"#;

/// Hides `/run`, where another containerd of this machine may listen and shims keep their sockets.
const ALONE: &str = r#"mount -t tmpfs tmpfs /run && exec "$0" "$@""#;

/// The engine.
#[derive(Debug)]
pub struct Dockerd {
    socket: PathBuf,
    client: PathBuf,
}

/// Debian's engine, started at its first use: graph drivers, images named by their config digests.
/// Ask [`crate::real_engines`] for root and `dockerd`, `docker`, `setpriv` before.
pub fn docker() -> &'static Dockerd {
    static SHARED: OnceLock<Dockerd> = OnceLock::new();
    SHARED.get_or_init(|| start("debian", None))
}

/// The current engine, started at its first use: containerd's image store, images named by their
/// manifests and indexes. `None` after saying which test was not run. Ask as for [`docker`] before,
/// and for `unshare`.
pub fn modern_docker(test: &str) -> Option<&'static Dockerd> {
    static SHARED: OnceLock<Dockerd> = OnceLock::new();
    let folder = Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(MODERN);
    if !folder.join("dockerd").is_file() {
        wanted(test, "the current Docker engine (`cargo xtask prepare` builds it)");
        return None;
    }
    Some(SHARED.get_or_init(|| start("modern", Some(&folder))))
}

impl Dockerd {
    /// `DOCKER_HOST` of this engine.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// A command of its client, with a configuration folder (`DOCKER_CONFIG`) of the test's own.
    pub fn client(&self, config: &Path) -> Command {
        let mut command = Command::new(&self.client);
        command.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", config).env("DOCKER_BUILDKIT", "0");
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY").stdin(Stdio::null());
        command
    }

    fn answers(&self) -> bool {
        let config = std::env::temp_dir();
        let mut version = self.client(&config);
        version.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().expect("docker runs").success()
    }
}

fn start(kind: &str, programs: Option<&Path>) -> Dockerd {
    sweep();
    let root = std::env::temp_dir().join(format!("{PREFIX}{}-{kind}", std::process::id()));
    fs::create_dir_all(&root).expect("engine directory");
    let engine =
        Dockerd { socket: root.join("docker.sock"), client: program("docker").expect("a docker client") };
    let own = programs.map_or_else(|| program("dockerd").expect("dockerd"), |it| it.join("dockerd"));
    let mut dockerd = alone(programs);
    dockerd.push(own);
    if programs.is_some() {
        dockerd.extend(
            ["--feature", "containerd-snapshotter=true", "--userland-proxy=false"].map(PathBuf::from),
        );
    }
    launch(&root, &dockerd, &engine.host());
    let deadline = Instant::now() + START;
    while !engine.answers() {
        let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "dockerd did not answer in time:\n{}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
    engine
}

/// What starts an engine with mounts of its own, which end with it. Its containerd and runc are what
/// it finds on its PATH: those of `programs`, else Debian's.
fn alone(programs: Option<&Path>) -> Vec<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let first = programs.map_or_else(String::new, |folder| format!("{}:", folder.display()));
    let words = ["unshare", "--mount", "env", &format!("PATH={first}/usr/sbin:/usr/bin:{path}")];
    words.into_iter().chain(["sh", "-c", ALONE]).map(PathBuf::from).collect()
}

/// The engine dies with the thread that started it, so that thread lives as long as the process.
fn launch(root: &Path, dockerd: &[PathBuf], host: &str) {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "sh", "-c", KEEP, "sh"]).arg(root).args(dockerd);
    command.arg("--data-root").arg(root.join("data")).arg("--exec-root").arg(root.join("exec"));
    command.arg("--pidfile").arg(root.join("pid")).args(["-H", host]);
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::thread::spawn(move || {
        let status = command.spawn().expect("dockerd starts").wait();
        panic!("dockerd ended: {status:?}");
    });
}

/// Removes what the engines of processes that are gone left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        // An engine that is still stopping keeps its folder until the next sweep.
        let engine = fs::read_to_string(entry.path().join("pid")).unwrap_or_default();
        let stopping = !engine.trim().is_empty() && is_alive(engine.trim());
        if !is_alive(owner.split('-').next().unwrap_or_default()) && !stopping {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
