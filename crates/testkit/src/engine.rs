//! A private Docker engine: one per test process, on a socket and folders of its own, without
//! networking, so that it disturbs nothing on this machine. It ends with the process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::tier::{is_alive, program};

const PREFIX: &str = "seaworthy-test-docker-";
/// How long the engine may take to answer.
const START: Duration = Duration::from_secs(60);

/// The engine.
#[derive(Debug)]
pub struct Dockerd {
    socket: PathBuf,
    client: PathBuf,
}

static SHARED: OnceLock<Dockerd> = OnceLock::new();

/// The engine of this process, started at its first use. Ask [`crate::real_engines`] for root and
/// `dockerd`, `docker`, `setpriv` before.
pub fn docker() -> &'static Dockerd {
    SHARED.get_or_init(start)
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

fn start() -> Dockerd {
    sweep();
    let root = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&root).expect("engine directory");
    let engine =
        Dockerd { socket: root.join("docker.sock"), client: program("docker").expect("a docker client") };
    launch(&root, &engine.host());
    let deadline = Instant::now() + START;
    while !engine.answers() {
        let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "dockerd did not answer in time:\n{}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
    engine
}

/// The engine dies with the thread that started it, so that thread lives as long as the process.
fn launch(root: &Path, host: &str) {
    let log = fs::File::create(root.join("log")).expect("log file");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program("dockerd").expect("dockerd"));
    command.arg("--data-root").arg(root.join("data")).arg("--exec-root").arg(root.join("exec"));
    command.arg("--pidfile").arg(root.join("pid")).args(["-H", host]);
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
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
        if !is_alive(owner) && !stopping {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
