//! An agent beside a real Docker engine, under a server of its own: what it costs while many containers
//! run, what it costs the engine, and how soon a start is judged.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{Figure, elapsed_ms, report, server::Server, wire::Wire};
use crate::{
    failure::{Failure, Outcome, unable, usage},
    flags::{BenchEngineFlags, Global},
};

/// Starts that are waited for.
const STARTS: u32 = 20;
const IMAGE: &str = "seaworthy-bench";
const DEADLINE: Duration = Duration::from_mins(2);

/// The engine's containers of this bench; gone with it.
struct Containers(Vec<String>);

impl Drop for Containers {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("docker");
        command.args(["rm", "-f"]).args(&self.0).stdout(Stdio::null()).stderr(Stdio::null());
        drop(command.status());
    }
}

impl Containers {
    async fn run(&mut self, name: String) -> Result<(), Failure> {
        docker(&["run", "-d", "--network=none", "--name", &name, IMAGE, "/bin/sleep", "100000"]).await?;
        self.0.push(name);
        Ok(())
    }
}

async fn docker(words: &[&str]) -> Result<String, Failure> {
    let what = format!("docker {}", words.join(" "));
    let output = Command::new("docker").args(words).stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| unable(format!("`{what}`: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(unable(format!("`{what}`: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchEngineFlags) -> Outcome {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let Some(socket) = host.strip_prefix("unix://") else {
        return Err(usage("`DOCKER_HOST` names no engine's socket: it begins with `unix://`"));
    };
    let engine = listener(Path::new(socket)).await?;
    docker(&["import", &flags.rootfs.display().to_string(), IMAGE]).await?;
    let mut containers = Containers(Vec::new());
    for number in 0..flags.containers {
        containers.run(format!("seaworthy-bench-{}-{number}", std::process::id())).await?;
    }
    let alone = watch(flags, &[("engine alone", engine)]).await?;
    let mut server = Server::start(&[], &[]).await?;
    let agent = agent(&server)?;
    let pid = agent.id().unwrap_or_default();
    let mut wire = Wire::open(&server.socket()).await?;
    until_listed(&mut wire, flags.containers).await?;
    // Its image is read and judged before it is watched.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let together = watch(flags, &[("agent", pid), ("engine with the agent", engine)]).await?;
    let memory = Figure::of("agent, resident memory", "MiB", resident_mib(pid)?);
    let starts = starts(&mut wire, &mut containers).await?;
    drop((wire, agent, containers));
    server.stop().await?;
    let figures: Vec<Figure> = alone.into_iter().chain(together).chain([memory, starts]).collect();
    report(global, "engine", &json!({"containers": flags.containers, "seconds": flags.seconds}), &figures);
    Ok(())
}

/// From the client's answer, which comes when the container runs, to its verdict in the list.
async fn starts(wire: &mut Wire, containers: &mut Containers) -> Result<Figure, Failure> {
    let mut figure = Figure::new("a container started, to its verdict", "ms");
    for number in 0..STARTS {
        let name = format!("seaworthy-bench-late-{}-{number}", std::process::id());
        containers.run(name.clone()).await?;
        let start = Instant::now();
        loop {
            let row = wire.json(&format!("/api/v1/containers?name={name}")).await?;
            let verdict = row.pointer("/containers/0/verdict").and_then(Value::as_str);
            if verdict.is_some_and(|verdict| verdict != "pending") {
                break;
            }
            if start.elapsed() > DEADLINE {
                return Err(unable("a container was still pending"));
            }
        }
        figure.samples.push(elapsed_ms(start));
    }
    Ok(figure)
}

fn agent(server: &Server) -> Result<Child, Failure> {
    let me = std::env::current_exe().map_err(|error| unable(format!("where am I: {error}")))?;
    let mut command = Command::new(me);
    command.arg("agent").arg("--data").arg(server.data()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| unable(format!("failed to start an agent: {error}")))
}

async fn until_listed(wire: &mut Wire, count: u32) -> Result<(), Failure> {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        let page = wire.json("/api/v1/containers?limit=1000").await?;
        let rows = page.get("containers").and_then(Value::as_array).map_or(0, Vec::len);
        if rows >= usize::try_from(count).unwrap_or(usize::MAX) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(unable("a container was still pending"))
}

/// Processor time of processes over the time of the flags, in percent of a core.
async fn watch(flags: &BenchEngineFlags, processes: &[(&str, u32)]) -> Result<Vec<Figure>, Failure> {
    let read = || processes.iter().map(|(_, pid)| cpu_seconds(*pid)).collect::<Result<Vec<f64>, _>>();
    let (begun, before) = (Instant::now(), read()?);
    tokio::time::sleep(Duration::from_secs(flags.seconds.into())).await;
    let (after, seconds) = (read()?, begun.elapsed().as_secs_f64());
    let used = processes.iter().zip(before.iter().zip(after));
    Ok(used
        .map(|((what, _), (before, after))| {
            Figure::of(*what, "% of a core", (after - before) / seconds * 100.0)
        })
        .collect())
}

/// Processor time of a process, from the scheduler's own count in nanoseconds (proc(5) `schedstat`) of
/// all its threads.
fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let failed = |error: std::io::Error| unable(format!("`{}`: {error}", folder.display()));
    let mut all = 0.0;
    for task in std::fs::read_dir(&folder).map_err(failed)?.flatten() {
        // A thread may end meanwhile.
        let line = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        all += line.split_whitespace().next().and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0) / 1e9;
    }
    Ok(all)
}

fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| unable(format!("`{path}`: {error}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(f64::from(kib) / 1024.0)
}

/// The process that listens at a socket, as the kernel names it to who connects (`SO_PEERCRED`).
async fn listener(socket: &Path) -> Result<u32, Failure> {
    let failed = |error: &dyn std::fmt::Display| unable(format!("`{}`: {error}", socket.display()));
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| failed(&error))?;
    let pid = stream.peer_cred().map_err(|error| failed(&error))?.pid();
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    pid.ok_or_else(|| failed(&"its process is of another namespace"))
}
