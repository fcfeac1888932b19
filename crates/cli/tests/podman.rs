//! What runs on podman, seen through the socket that it offers Docker's clients.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use seaworthy_testkit::{
    debian::{Base, base},
    program, real_engines,
};
use serde_json::Value;

use crate::{
    agent::until,
    server::{Place, Server, done, free_port},
};

/// podman with storage of the test's own, and its service on `podman.sock`. Gone with the test.
struct Podman {
    place: Place,
    service: Option<Child>,
}

impl Podman {
    fn new() -> Self {
        let mut podman = Self { place: Place::new(), service: None };
        let mut command = podman.podman(&["system", "service", "--time=0"]);
        let log = std::fs::File::create(podman.place.path("podman.log")).expect("a log");
        command.arg(podman.host()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        podman.service = Some(command.spawn().expect("podman starts"));
        let socket = podman.socket();
        until("podman's socket", || socket.exists().then_some(()));
        podman
    }

    fn socket(&self) -> PathBuf {
        self.place.path("podman.sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn podman(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("setpriv").expect("setpriv"));
        command.args(["--pdeathsig", "KILL", "podman", "--root"]).arg(self.place.path("storage"));
        command.arg("--runroot").arg(self.place.path("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]).args(words);
        command.env("REGISTRY_AUTH_FILE", self.place.docker_config().join("config.json"));
        command
    }

    fn done(&self, words: &[&str]) -> String {
        done(&mut self.podman(words)).trim().to_owned()
    }

    /// Starts a container that waits; returns its id.
    fn run(&self, name: &str, image: &str) -> String {
        // Not every machine lets podman raise limits to its defaults.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
        let mut words = vec!["run", "-d", "--name", name, "--network=none", "-u", "7:7"];
        words.extend(limits);
        words.extend([image, "sleep", "100000"]);
        self.done(&words)
    }

    fn up(&self, port: u16) -> Server {
        self.place.try_up_beside(port, &self.host()).unwrap_or_else(|log| panic!("{log}"))
    }

    /// The row of a container, once it is so.
    fn listed(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{name}\n{}", self.place.log()), || {
            let said = self.place.cli(&["ps", "-o", "json"]);
            let rows = if said.code == 0 { said.json() } else { Value::Null };
            rows.as_array()?.iter().find(|row| row["name"] == name && is(row)).cloned()
        })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.podman(&["rm", "-fa", "-t", "0"]).output());
        if let Some(mut service) = self.service.take() {
            drop(service.kill());
            drop(service.wait());
        }
    }
}

#[test]
fn what_runs_on_podman_is_known() {
    let test = "what_runs_on_podman_is_known";
    if !real_engines(test, &["podman", "setpriv", "mmdebstrap"]) {
        return;
    }
    let podman = Podman::new();
    let port = free_port();
    let server = podman.up(port);
    podman.place.login(port);
    podman.done(&["import", base(Base::Main).to_str().expect("a path"), "pod-base"]);
    let full = format!("localhost:{port}/dev/web:1");
    podman.done(&["tag", "pod-base", &full]);
    podman.done(&["push", "--tls-verify=false", &full]);
    let check = podman.place.cli(&["check", "dev/web:1", "--wait", "60s", "-o", "json"]);
    assert_eq!(check.code, 0, "{check:?}");
    podman.done(&["rmi", "-f", &full]);
    podman.done(&["pull", "--tls-verify=false", &full]);
    // Pushed here: exact. The image it was pushed from was never pushed as it is: podman compresses, and
    // gives what it pulls a name of its own; both have the same config.
    let web = podman.run("web", &full);
    let row = podman.listed("web", |row| row["image"]["mapping"] == "exact");
    assert_eq!((&row["id"], &row["runtime"]), (&web.clone().into(), &"podman".into()), "{row:#}");
    assert_eq!(row["image"]["repository"], "dev/web", "{row:#}");
    assert_eq!(row["image"]["digest"], check.json()["digest"], "{row:#}");
    podman.listed("web", |row| row["verdict"] == "allowed");
    podman.listed("web", |row| row["usage"]["memory_bytes"].as_u64().is_some_and(|it| it > 0));
    // Built here and never pushed: its own host reads it.
    podman.done(&["commit", "-q", "web", "made-here"]);
    podman.run("own", "made-here");
    let own = podman.listed("own", |row| row["image"]["mapping"] == "scanned-here");
    assert_ne!(own["image"]["content_id"], row["image"]["content_id"], "{own:#}");
    // What ends is told, and what came while nobody looked too.
    podman.done(&["rm", "-f", "-t", "0", "own"]);
    let is_gone = |name: &str| {
        until(&format!("the end of {name}"), || {
            let rows = podman.place.cli(&["ps", "-o", "json"]).json();
            rows.as_array()?.iter().all(|row| row["name"] != name).then_some(())
        });
    };
    is_gone("own");
    drop(server);
    podman.run("late", &full);
    podman.done(&["rm", "-f", "-t", "0", "web"]);
    let _server = podman.up(port);
    podman.listed("late", |row| row["image"]["mapping"] == "exact");
    is_gone("web");
    let page = podman.place.cli(&["container", "explain", "late", "-o", "table"]);
    assert!(page.out.contains("podman") && page.out.contains("dev/web@sha256:"), "{page:?}");
    let hosts = podman.place.cli(&["host", "list", "-o", "json"]).json();
    assert!(hosts[0]["engine"].as_str().is_some_and(|it| it.starts_with("Podman Engine ")), "{hosts:#}");
}
