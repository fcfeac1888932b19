//! The agent with real parts: engines that keep their contract and engines that break it, a control
//! plane that comes and goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod fake;
mod hours;
mod plane;
mod wrong;

use std::{path::Path, sync::Arc, time::Duration};

use seaworthy_agent::{Agent, AgentConfig, Door, Paces, engine::Engine};
use seaworthy_link::Runtime;
use seaworthy_model::{Clock, SystemClock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Quick enough to see lists and retries, otherwise as in life.
fn paces() -> Paces {
    Paces {
        reconcile: Duration::from_secs(2),
        retry: Duration::from_millis(50),
        engine_retry_most: Duration::from_millis(200),
        delivery_retry_most: Duration::from_millis(200),
        away: Duration::from_millis(300),
        ..Paces::default()
    }
}

/// An agent that ends, as if killed, when its task is aborted.
fn agent(engine: &Path, folder: &Path, door: &Path) -> JoinHandle<()> {
    agent_at(engine, folder, door, Arc::new(SystemClock))
}

/// The same by a clock of the test's.
fn agent_at(engine: &Path, folder: &Path, door: &Path, clock: Arc<dyn Clock>) -> JoinHandle<()> {
    let config = AgentConfig {
        engine: Engine::at(engine),
        runtime: Runtime::Docker,
        spool: folder.join("spool"),
        host_name: "here".into(),
        paces: paces(),
        clock,
    };
    let door = Door::Socket(door.into());
    tokio::spawn(async move {
        // The disk work of an agent that was just killed may hold the lock for a moment.
        let agent = loop {
            match Agent::new(config.clone()) {
                Ok(agent) => break agent,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        agent.run(door, CancellationToken::new()).await;
    })
}

/// Aborts a task and waits until it is gone.
async fn kill(task: JoinHandle<()>) {
    task.abort();
    drop(task.await);
}
