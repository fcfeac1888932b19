//! A server process of the bench's own, in a directory of its own.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::failure::{Failure, unable};

/// How often a port is tried that is in use.
const IN_USE: u32 = 50;

/// A server process with its data directory.
pub(super) struct Server {
    child: Child,
    data: tempfile::TempDir,
    url: String,
}

impl Server {
    pub(super) async fn start(advisories: &[PathBuf], more: &[&str]) -> Result<Self, Failure> {
        Self::configured("", advisories, more).await
    }

    /// One with this in its `seaworthy.toml`.
    pub(super) async fn configured(
        config: &str,
        advisories: &[PathBuf],
        more: &[&str],
    ) -> Result<Self, Failure> {
        let data = tempfile::tempdir().map_err(|error| unable(format!("no directory: {error}")))?;
        std::fs::write(data.path().join("seaworthy.toml"), config)
            .map_err(|error| unable(format!("no configuration: {error}")))?;
        let mut words: Vec<OsString> = more.iter().map(Into::into).collect();
        for path in advisories {
            words.extend(["--advisories".into(), path.into()]);
        }
        let (child, url) = launch(data.path(), &words).await?;
        Ok(Self { child, data, url })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.data.path().join("admin.sock")
    }

    /// Where it listens: `http://…`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its process, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the server and starts another on what it left.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        drop(self.child.start_kill());
        drop(self.child.wait().await);
        self.go_on().await
    }

    /// Starts another server on what the last one left.
    pub(super) async fn go_on(&mut self) -> Result<(), Failure> {
        for _ in 0..IN_USE {
            match launch(self.data.path(), &[]).await {
                // Its port may be one that a connection of the bench goes out from.
                Err(Failure::Problem(problem)) if problem.message.contains("in use") => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                launched => {
                    (self.child, self.url) = launched?;
                    return Ok(());
                }
            }
        }
        Err(unable("the server's port stays in use"))
    }

    pub(super) fn data(&self) -> &Path {
        self.data.path()
    }

    /// A line of `/proc/PID/FILE`.
    fn proc(&self, file: &str) -> Result<String, Failure> {
        let path = format!("/proc/{}/{file}", self.child.id().unwrap_or_default());
        std::fs::read_to_string(&path).map_err(|error| unable(format!("`{path}`: {error}")))
    }

    /// Processor time of the server and of all children that ended, from proc(5) `stat`.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let stat = self.proc("stat")?;
        // The name in parentheses may hold anything; fields 14 to 17 are counted behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: u32 = fields.skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum();
        // Linux shows 100 ticks a second on every architecture.
        Ok(f64::from(ticks) / 100.0)
    }

    /// Memory of the server without mapped files, from proc(5) `status`.
    pub(super) fn own_memory_mib(&self) -> Result<f64, Failure> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        let kib: u32 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
        Ok(f64::from(kib) / 1024.0)
    }

    /// Asks the server to end, and waits.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).map(nix::unistd::Pid::from_raw);
        if let Some(pid) = pid {
            // One that is gone already has ended.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        self.child.wait().await.map(drop).map_err(|error| unable(format!("the server did not end: {error}")))
    }
}

/// What a process said.
pub(super) fn all_of(log: &mut File) -> io::Result<String> {
    let mut said = Vec::new();
    log.seek(SeekFrom::Start(0))?;
    log.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// A server process over a data directory, and where it listens.
async fn launch(data: &Path, more: &[OsString]) -> Result<(Child, String), Failure> {
    let me = std::env::current_exe().map_err(|error| unable(format!("where am I: {error}")))?;
    let mut command = Command::new(me);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command.args(more);
    let no_log = |error: io::Error| unable(format!("no log: {error}"));
    let mut log = tempfile::tempfile().map_err(no_log)?;
    let stderr = log.try_clone().map_err(no_log)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| unable(format!("failed to start a server: {error}")))?;
    let Some(stdout) = child.stdout.take() else { return Err(unable("the server has no output")) };
    let mut lines = BufReader::new(stdout).lines();
    match lines.next_line().await {
        Ok(Some(line)) if line.starts_with("ready ") => {
            Ok((child, line.trim_start_matches("ready ").to_owned()))
        }
        _ => {
            drop(child.kill().await);
            let said = all_of(&mut log).map_err(no_log)?;
            Err(unable(format!("the server did not start: {}", said.trim())))
        }
    }
}
