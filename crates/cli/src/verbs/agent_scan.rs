//! The agent reads images that were never pushed, one at a time, where they are: in its engine.

use std::time::{Duration, Instant};

use seaworthy_agent::{Door, Reports, Tried, engine::Engine};
use tracing::warn;

use crate::image;

/// How often the server is asked what it does not know, while containers come.
const PACE: Duration = Duration::from_secs(2);
/// How long after a container came: until the server has taken it in.
const FRESH: Duration = Duration::from_secs(10);
/// How often it is asked while none comes.
const QUIET: Duration = Duration::from_mins(1);
/// How long an engine may take to give out one image.
const EXPORT: Duration = Duration::from_mins(30);

/// Reads for ever what containers of this host run and the server does not know.
pub(super) async fn read_images(door: Door, engine: Engine, reports: Reports) {
    let mut tried = Tried::default();
    let (mut sightings, mut came, mut asked) = (None, Instant::now(), None::<Instant>);
    loop {
        tokio::time::sleep(PACE).await;
        if sightings.replace(reports.sightings()) != Some(reports.sightings()) {
            came = Instant::now();
        }
        if came.elapsed() > FRESH && asked.is_some_and(|at| at.elapsed() < QUIET) {
            continue;
        }
        asked = Some(Instant::now());
        // What the server does not answer, the agent's own deliveries tell.
        let Ok(unknown) = door.unread().await else { continue };
        for id in unknown {
            if !tried.is_due(&id, Instant::now()) {
                continue;
            }
            match image::of_engine(&engine, &id, EXPORT).await.map(|ready| reports.scanned(&id, ready)) {
                Ok(true) => {}
                Ok(false) => warn!(id, "an image holds more than can be told"),
                Err(problem) => warn!(id, error = %problem, "failed to read an image"),
            }
        }
    }
}
