//! A registry of others: at its URL, and run by its own command where it is killed and started again.

use std::{
    fs::File,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use super::{
    life::{self, Life},
    own,
    peer::{Peer, Run},
    through::{self, Upstream},
    workloads::read,
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::{Figure, elapsed_ms, server::all_of},
};

/// How long its command may take until it answers.
const STARTED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// How long one answer may take of one that starts.
const ANSWER: Duration = Duration::from_secs(2);

/// A registry at a URL.
pub(super) struct Foreign<'f> {
    flags: &'f BenchRegistryFlags,
    url: &'f str,
    authorization: Option<String>,
    run: Run,
    /// What it is a cache of.
    upstream: Option<Upstream>,
    /// Its process and what that says, when the bench runs it.
    child: Option<(Child, File)>,
}

impl<'f> Foreign<'f> {
    /// Starts it, if there is a command for that, behind its upstream, which it may want to see.
    pub(super) async fn open(
        flags: &'f BenchRegistryFlags,
        (url, authorization): (&'f str, Option<String>),
        run: &Run,
    ) -> Result<Self, Failure> {
        let upstream = match &flags.upstream {
            Some(listen) => Some(Upstream::start(listen, flags).await?),
            None => None,
        };
        let mut it = Self { flags, url, authorization, run: run.clone(), upstream, child: None };
        if it.flags.start.is_some() {
            if it.peer()?.connect().await.is_ok() {
                return Err(unable(format!("a registry runs at {url} already: `--start` starts it")));
            }
            it.start().await?;
        }
        Ok(it)
    }

    async fn start(&mut self) -> Result<(), Failure> {
        let Some(command) = &self.flags.start else { return Ok(()) };
        let no_log = |error: std::io::Error| unable(format!("no log: {error}"));
        let mut log = tempfile::tempfile().map_err(no_log)?;
        let said = log.try_clone().map_err(no_log)?;
        let mut child = shell(command, &said)?;
        let begun = Instant::now();
        loop {
            let peer = self.peer()?;
            let answers = async { peer.connect().await.ok()?.is_registry().await.then_some(()) };
            if let Ok(Some(())) = tokio::time::timeout(ANSWER, answers).await {
                self.child = Some((child, log));
                return Ok(());
            }
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || begun.elapsed() > STARTED {
                drop(child.kill().await);
                let said = all_of(&mut log).map_err(no_log)?;
                return Err(unable(format!("the registry did not start: {}", said.trim())));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends what the bench runs of it: the next run starts it anew.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(upstream) = self.upstream.take() {
            upstream.stop().await;
        }
        match self.child.take() {
            Some((mut child, _)) => child.kill().await.map_err(|error| unable(error.to_string())),
            None => Ok(()),
        }
    }

    /// The flag that a workload of [`own::ALL`] needs here, and whether it is given; `None` for one that none helps.
    pub(super) fn needs(flags: &BenchRegistryFlags, workload: &str) -> Option<(&'static str, bool)> {
        match workload {
            "pull-through" => Some(("--upstream", flags.upstream.is_some())),
            "collect" => Some(("--collect", flags.collect.is_some())),
            "kill" | "cold" => Some(("--start", flags.start.is_some())),
            _ => None,
        }
    }

    pub(super) fn can(flags: &BenchRegistryFlags, workload: &str) -> bool {
        Self::needs(flags, workload).is_some_and(|(_, is_given)| is_given)
    }

    pub(super) async fn run(&mut self, workload: &str) -> Result<Vec<Figure>, Failure> {
        let flags = self.flags;
        match workload {
            "pull-through" => match &self.upstream {
                Some(upstream) => through::pulls(&self.peer()?, (upstream, &flags.cached_as)).await,
                None => Ok(Vec::new()),
            },
            "collect" => self.collect().await,
            "kill" => life::kills(self, flags).await,
            _ => life::cold(self, flags).await,
        }
    }

    /// What readers notice while its command collects what nobody needs.
    async fn collect(&self) -> Result<Vec<Figure>, Failure> {
        let (peer, flags) = (self.peer()?, self.flags);
        let Some(command) = &flags.collect else { return Ok(Vec::new()) };
        own::push_unneeded(&peer, flags).await?;
        let mut figures = read(&peer, flags.requests, own::NOTHING_COLLECTED).await?;
        let no_log = |error: std::io::Error| unable(format!("no log: {error}"));
        let mut log = tempfile::tempfile().map_err(no_log)?;
        let before = peer.disk();
        let begun = Instant::now();
        let mut collecting = shell(command, &log.try_clone().map_err(no_log)?)?;
        let collected = async { (collecting.wait().await, elapsed_ms(begun)) };
        let (read, (status, took)) = tokio::join!(read(&peer, flags.requests, own::COLLECTED), collected);
        figures.extend(read?);
        let status = status.map_err(|error| unable(error.to_string()))?;
        if !status.success() {
            let said = all_of(&mut log).map_err(no_log)?;
            return Err(unable(format!("`{command}` ended with {status}: {}", said.trim())));
        }
        figures.push(Figure::of("collection".to_owned(), "ms", took));
        if let (Some(before), Some(after)) = (before, peer.disk()) {
            if before.0 <= after.0 {
                return Err(unable(format!("`{command}` collected nothing")));
            }
            figures.push(Figure::of("files and folders collected".to_owned(), "", before.0 - after.0));
        }
        Ok(figures)
    }
}

impl Life for Foreign<'_> {
    fn peer(&self) -> Result<Peer, Failure> {
        let pid = self.child.as_ref().map_or(self.flags.pid, |(child, _)| child.id());
        let place = (pid, self.flags.dir.clone());
        Peer::new(self.url, self.authorization.clone(), place, (&self.run, self.flags.ca.as_deref()))
    }

    async fn kill_and_start(&mut self) -> Result<(), Failure> {
        if let Some((mut child, _)) = self.child.take() {
            child.kill().await.map_err(|error| unable(error.to_string()))?;
        }
        self.start().await
    }

    fn seed(&self) -> u64 {
        self.run.seed
    }
}

/// Runs a command line, which becomes the process itself.
fn shell(command: &str, said: &File) -> Result<Child, Failure> {
    let no_log = |error: std::io::Error| unable(format!("no log: {error}"));
    let (out, err) = (said.try_clone().map_err(no_log)?, said.try_clone().map_err(no_log)?);
    Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| unable(format!("`{command}` does not start: {error}")))
}
