//! The agent under `up`: a process of its own, started again when it ends.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::{
    flags::Global,
    render::note,
    text::{Text, language},
};

/// The first wait before it is started again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After so long a life the wait is the first again.
const STEADY: Duration = Duration::from_secs(60);
/// How long it may take to end when it is told to.
const END: Duration = Duration::from_secs(5);
/// Its exit code for a mistake that another start does not mend.
const WRONG_USE: i32 = 2;

/// Keeps an agent running until `stop`, and then ends it.
///
/// Run it on the main thread: the kernel ends the agent with the thread that started it.
pub(super) async fn keep(global: &Global, data: &Path, stop: &CancellationToken) {
    let mut wait = FIRST_WAIT;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let ended = match start(global, data) {
            Ok(mut child) => {
                tokio::select! {
                    ended = child.wait() => ended,
                    () = stop.cancelled() => return end(child).await,
                }
            }
            Err(error) => Err(error),
        };
        let status = ended.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        if ended.ok().as_ref().and_then(ExitStatus::code) == Some(WRONG_USE) {
            note(&format!("{} ({status})", Text::AgentGivenUp.say(language())));
            return stop.cancelled().await;
        }
        note(&format!("{} ({status})", Text::AgentEnded.say(language())));
        if started.elapsed() > STEADY {
            wait = FIRST_WAIT;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn start(global: &Global, data: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("agent").arg("--data").arg(data).arg("--parent").arg(std::process::id().to_string());
    if global.verbose {
        command.arg("--verbose");
    }
    // Ctrl-C is for `up`, which then ends it; what `up` says on stdout is for programs.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()
}

/// Tells it to end, and ends it when it does not.
async fn end(mut child: Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        note(Text::AgentLate.say(language()));
        drop(child.kill().await);
    }
}
