//! A private Docker engine that can be killed and started again on the same folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use seaworthy_testkit::program;

pub(crate) struct Docker {
    pub(crate) folder: PathBuf,
    pub(crate) socket: PathBuf,
    engine: Child,
}

impl Docker {
    pub(crate) fn start(folder: &Path) -> Self {
        let socket = folder.join("docker.sock");
        let engine = launch(folder, &socket);
        let docker = Self { folder: folder.into(), socket, engine };
        docker.await_answer();
        docker
    }

    /// Ends the engine as a power cut would, and starts it again.
    pub(crate) fn kill(&mut self) {
        self.engine.kill().expect("a running engine");
        self.engine.wait().expect("its end");
    }

    pub(crate) fn start_again(&mut self) {
        // Where nobody reaps orphans, the ids of dead processes look alive to it.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            drop(fs::remove_file(self.folder.join(file)));
        }
        self.engine = launch(&self.folder, &self.socket);
        self.await_answer();
    }

    /// Runs the client; returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.client().args(arguments).output().expect("docker runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn client(&self) -> Command {
        let mut command = Command::new(program("docker").expect("docker"));
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command.env("DOCKER_CONFIG", &self.folder).env_remove("DOCKER_CONTEXT").stdin(Stdio::null());
        command
    }

    fn await_answer(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.client().arg("version").output().expect("docker runs").status.success() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "dockerd did not answer in time:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let all = self.client().args(["ps", "-aq"]).output().map(|it| it.stdout).unwrap_or_default();
        let all = String::from_utf8_lossy(&all).into_owned();
        drop(self.client().args(["rm", "-f"]).args(all.split_whitespace()).output());
        drop(Command::new("kill").arg(self.engine.id().to_string()).status());
        drop(self.engine.wait());
        // A killed engine leaves the mount of its own folder.
        drop(Command::new("umount").arg(self.folder.join("data")).stderr(Stdio::null()).status());
    }
}

fn launch(folder: &Path, socket: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("log file");
    let mut command = Command::new(program("dockerd").expect("dockerd"));
    command.arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(folder.join("exec"));
    command.arg("--pidfile").arg(folder.join("pid")).arg("-H").arg(format!("unix://{}", socket.display()));
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("dockerd starts")
}
