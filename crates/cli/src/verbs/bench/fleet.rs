//! Many containers of one host, on a server of its own: taken in, judged, listed, explained.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Figure, elapsed_ms, report, server::Server, wire::Wire};
use crate::{
    failure::{Failure, Outcome, unable},
    flags::{BenchFleetFlags, Global},
};

const BATCH: u32 = 1_000;
/// Containers that are started one by one once the others are there.
const LATE: u32 = 20;
/// Pages of each kind that are asked for.
const PAGES: u32 = 50;
const DEADLINE: Duration = Duration::from_mins(10);
const SPOOL: &str = "5b0c7a52-6d0d-4f3c-9d0e-0d5a54b0f6a1";

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchFleetFlags) -> Outcome {
    let mut server = Server::start(&[], &[]).await?;
    let mut wire = Wire::open(&server.socket()).await?;
    let mut number = 0;
    let (mut taken, mut judged) =
        (Figure::new("batch of 1000 taken in", "ms"), Figure::new("all judged", "ms"));
    let begun = Instant::now();
    for first in (0..flags.containers).step_by(BATCH as usize) {
        number += 1;
        let start = Instant::now();
        deliver(&mut wire, number, (first..flags.containers.min(first + BATCH)).map(container)).await?;
        taken.samples.push(elapsed_ms(start));
    }
    until_judged(&mut wire).await?;
    judged.samples.push(elapsed_ms(begun));
    let judging_cpu = Figure::of("all taken in and judged, cpu", "s", server.cpu_seconds()?);
    let mut start_to_judged = Figure::new("one seen to judged and listed", "ms");
    for late in 0..LATE {
        number += 1;
        let start = Instant::now();
        deliver(&mut wire, number, std::iter::once(container(flags.containers + late))).await?;
        let name = name(flags.containers + late);
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
        start_to_judged.samples.push(elapsed_ms(start));
    }
    let mut figures = vec![taken, judged, judging_cpu, start_to_judged];
    for (what, query) in [
        ("page of 50", "limit=50"),
        ("page of 1000", "limit=1000"),
        ("page of 50, only blocked", "limit=50&verdict=blocked"),
        ("page of 50, by name", "limit=50&text=bench-0000"),
    ] {
        figures.push(pages(&mut wire, what, query).await?);
    }
    figures.push(explained(&mut wire, flags.containers).await?);
    figures.push(Figure::of("server, own memory", "MiB", server.own_memory_mib()?));
    drop(wire);
    server.stop().await?;
    report(global, "fleet", &json!({"containers": flags.containers}), &figures);
    Ok(())
}

fn name(number: u32) -> String {
    format!("bench-{number:08}")
}

fn id(number: u32) -> String {
    format!("{number:064x}")
}

/// A container of an image that nobody knows; of three, one runs with all rights.
pub(super) fn container(number: u32) -> Value {
    json!({
        "item": "container", "runtime": "docker", "id": id(number), "name": name(number),
        "image": format!("registry.example/team-{}/web:1", number % 100),
        "image_id": format!("sha256:{:064x}", number % 500), "manifest": null, "state": "running",
        "created_at": "2026-01-01T00:00:00Z", "started_at": "2026-01-01T00:00:01Z", "finished_at": null,
        "exit_code": null, "labels": {"com.docker.compose.project": "bench"},
        "settings": {
            "privileged": number.is_multiple_of(3), "user": "7", "host_network": false, "host_pid": false,
            "host_ipc": false, "added_capabilities": [], "dropped_capabilities": [], "devices": [],
            "mounts": [{"kind": "volume", "source": "data", "target": "/data", "writable": true}],
            "read_only_root": false, "no_new_privileges": false, "seccomp_unconfined": false,
            "apparmor_unconfined": false, "environment": ["PATH", "HOME", "TOKEN"],
        },
        "seen_at": "2026-01-01T00:00:02Z", "cut": false,
    })
}

async fn deliver(wire: &mut Wire, number: u64, items: impl Iterator<Item = Value>) -> Result<(), Failure> {
    let items: Vec<Value> = items.collect();
    let batch = json!({
        "version": 1, "spool": SPOOL, "number": number, "made_at": "2026-01-01T00:00:03Z", "items": items,
    });
    let path = "/api/v1/agent/batches";
    let reply = wire.send(Method::POST, path, "application/json", Bytes::from(batch.to_string())).await?;
    if reply.status.is_success() {
        return Ok(());
    }
    Err(unable(format!("`{path}` answered {}: {}", reply.status, String::from_utf8_lossy(&reply.body))))
}

pub(super) async fn until_judged(wire: &mut Wire) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut after = String::new();
    loop {
        let page = wire.json(&format!("/api/v1/containers?limit=1&verdict=pending{after}")).await?;
        let is_pending = page.pointer("/containers/0").is_some();
        match page.get("next").and_then(Value::as_str) {
            // What stands before it is judged.
            Some(next) if !is_pending => after = format!("&after={next}"),
            _ if is_pending => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => return Ok(()),
        }
        if begun.elapsed() > DEADLINE {
            return Err(unable("containers were still pending after ten minutes"));
        }
    }
}

/// Tells of one container of this image, and of nothing else.
pub(super) async fn run_one(wire: &mut Wire, image: &str, image_id: &str) -> Result<(), Failure> {
    let mut one = container(1);
    if let Value::Object(fields) = &mut one {
        fields.insert("image".to_owned(), json!(image));
        fields.insert("image_id".to_owned(), json!(image_id));
    }
    deliver(wire, 1, std::iter::once(one)).await
}

/// Waits until the only container has this verdict.
pub(super) async fn until_verdict(wire: &mut Wire, verdict: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let page = wire.json("/api/v1/containers?limit=1").await?;
        if page.pointer("/containers/0/verdict").and_then(Value::as_str) == Some(verdict) {
            return Ok(());
        }
        if begun.elapsed() > DEADLINE {
            return Err(unable("a container was still pending"));
        }
    }
}

/// One page after the other, from the first again after the last.
async fn pages(wire: &mut Wire, what: &str, query: &str) -> Result<Figure, Failure> {
    let (mut figure, mut after) = (Figure::new(what, "ms"), String::new());
    for _ in 0..PAGES {
        let start = Instant::now();
        let page = wire.json(&format!("/api/v1/containers?{query}{after}")).await?;
        figure.samples.push(elapsed_ms(start));
        after =
            page.get("next").and_then(Value::as_str).map(|next| format!("&after={next}")).unwrap_or_default();
    }
    Ok(figure)
}

async fn explained(wire: &mut Wire, containers: u32) -> Result<Figure, Failure> {
    let hosts = wire.json("/api/v1/hosts").await?;
    let host = hosts.pointer("/0/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut figure = Figure::new("page of one container", "ms");
    for at in 0..PAGES {
        let start = Instant::now();
        let id = id(at * (containers / PAGES));
        wire.json(&format!("/api/v1/containers/{}/{id}", crate::client::encode(&host))).await?;
        figure.samples.push(elapsed_ms(start));
    }
    Ok(figure)
}
