//! The agent reads images that were never pushed, one at a time, where they are: in its engine.

use std::time::{Duration, Instant};

use seaworthy_agent::{Reports, Tried, engine::Engine};
use seaworthy_model::Problem;
use serde_json::Value;
use tracing::warn;

use crate::{
    client::{Server, encode},
    image,
};

/// How often the server is asked what it does not know, while containers come.
const PACE: Duration = Duration::from_secs(2);
/// How long after a container came: until the server has taken it in.
const FRESH: Duration = Duration::from_secs(10);
/// How often it is asked while none comes.
const QUIET: Duration = Duration::from_mins(1);
/// How long an engine may take to give out one image.
const EXPORT: Duration = Duration::from_mins(30);

/// Reads for ever what containers of this host run and the server does not know.
pub(super) async fn read_images(server: Server, engine: Engine, host: String, reports: Reports) {
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
        let Ok(unknown) = unknown(&server, &host).await else { continue };
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

/// Images of this host's containers that were never pushed, as the engine calls them.
async fn unknown(server: &Server, host: &str) -> Result<Vec<String>, Problem> {
    let asked = format!("/api/v1/containers?host={}", encode(host));
    let (mut path, mut ids) = (asked.clone(), Vec::new());
    loop {
        let page = server.get(&path).await?;
        let rows = page.get("containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_unknown = |row: &&Value| {
            row.pointer("/image/reason").and_then(Value::as_str) == Some("never-pushed")
                && row.get("presence").and_then(Value::as_str) != Some("gone")
        };
        let id = |row: &Value| row.pointer("/image/reported_id").and_then(Value::as_str).map(str::to_owned);
        ids.extend(rows.iter().filter(is_unknown).filter_map(id));
        let Some(next) = page.get("next").and_then(Value::as_str) else { break };
        path = format!("{asked}&after={}", encode(next));
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}
