//! What containers use, read from the kernel's own files: cgroups and `/proc/PID/net/dev`.
//!
//! The engine is never asked: its statistics cost it a goroutine and a second of work for each
//! container. A file that is missing, unreadable or not understood makes its values unknown
//! (`None`), never zero.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use seaworthy_link::{Runtime, UsageReport, VERSION};
use seaworthy_model::Clock;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, warn};

use crate::{Door, limit};

mod figures;
mod hierarchy;
mod meter;
mod sampler;

pub use figures::{Io, Limit, Network, Pressure};
pub use hierarchy::{Folders, Hierarchies, Layout};
pub use meter::{Meter, Quick, Slow};
pub use sampler::{Process, Running, Sampler};

/// Reads each second and tells every [`limit::USAGE_SECONDS`], for ever. What the control plane does
/// not take is gone: the next report says what is so then.
pub(crate) async fn tell(running: Arc<Running>, (runtime, clock): (Runtime, Arc<dyn Clock>), door: &Door) {
    let mut sampler = match Sampler::new(Path::new("/proc")) {
        Ok(sampler) => sampler,
        Err(error) => {
            warn!(%error, "what containers use stays unknown");
            return;
        }
    };
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for second in 1_u64.. {
        seconds.tick().await;
        let running = Arc::clone(&running);
        let is_due = second.is_multiple_of(limit::USAGE_SECONDS as u64);
        // The kernel may let a reader wait.
        let read = spawn_blocking(move || {
            sampler.tick(&running, Instant::now());
            let containers = is_due.then(|| sampler.report(runtime, Instant::now()));
            (sampler, containers)
        });
        let Ok((back, containers)) = read.await else { return };
        sampler = back;
        if let Some(containers) = containers.filter(|all| !all.is_empty()) {
            let report = UsageReport { version: VERSION, made_at: clock.now(), containers };
            if let Err(error) = door.tell(&report).await {
                debug!(error = &error as &dyn std::error::Error, "nobody took what containers use");
            }
        }
    }
}
