//! Many hosts that joined: each with a key, a certificate and a connection of its own, as agents
//! have them, all from this process. Each tells what ten containers use every ten seconds, and once a
//! minute that one of them was seen again.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use seaworthy_agent::{Door, Membership};
use seaworthy_link::{Batch, Figures, Item, JoinToken, Runtime, Usage, UsageReport, VERSION};
use seaworthy_model::{Clock as _, SpoolId, SystemClock};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Figure, elapsed_ms, fleet, report, server::Server, wire::Wire};
use crate::{
    failure::{Failure, Outcome, unable},
    flags::{BenchAgentsFlags, Global},
};

/// Containers of each host.
const EACH: u32 = 10;
/// Between two reports of one host.
const PACE: Duration = Duration::from_secs(10);
/// Reports between two batches.
const REPORTS: u32 = 6;

/// A host as its agent is.
struct Host {
    number: u32,
    door: Door,
    spool: SpoolId,
}

impl Host {
    async fn deliver(&self, number: u64, items: Vec<Item>) -> Result<(), Failure> {
        let made_at = SystemClock.now();
        let batch = Batch { version: VERSION, spool: self.spool, number, made_at, items };
        self.door.deliver(&batch).await.map(drop).map_err(|error| unable(seaworthy_store::chain(&error)))
    }

    fn items(&self, count: u32) -> Result<Vec<Item>, Failure> {
        let numbers = self.number * EACH..self.number * EACH + count;
        let items = numbers.map(|number| {
            let mut it = fleet::container(number);
            if let Some(seen) = it.get_mut("seen_at") {
                *seen = json!(SystemClock.now());
            }
            serde_json::from_value(it).map_err(|error| unable(error.to_string()))
        });
        items.collect()
    }

    async fn tell(&self) -> Result<(), Failure> {
        let containers = (self.number * EACH..(self.number + 1) * EACH).map(|number| Usage {
            runtime: Runtime::Docker,
            id: format!("{number:064x}"),
            figures: Figures {
                cpu_millis: Some(u64::from(number % 1_000)),
                memory_bytes: Some(64 << 20),
                ..Figures::default()
            },
        });
        let report =
            UsageReport { version: VERSION, made_at: SystemClock.now(), containers: containers.collect() };
        self.door.tell(&report).await.map_err(|error| unable(seaworthy_store::chain(&error)))
    }

    /// Reports for ever; `first` spreads the hosts over the time between two reports.
    async fn run(self, first: Duration, told: Arc<Mutex<Vec<f64>>>) -> Result<(), Failure> {
        tokio::time::sleep(first).await;
        let mut pace = tokio::time::interval(PACE);
        let mut number = 1;
        for turn in self.number.. {
            pace.tick().await;
            let start = Instant::now();
            self.tell().await?;
            told.lock().unwrap_or_else(PoisonError::into_inner).push(elapsed_ms(start));
            if turn % REPORTS == 0 {
                number += 1;
                self.deliver(number, self.items(1)?).await?;
            }
        }
        Ok(())
    }
}

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchAgentsFlags) -> Outcome {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|error| unable(format!("no free port: {error}")))?;
    let mut server = Server::start(&[], &["--tls-listen", &address.to_string()]).await?;
    let mut wire = Wire::open(&server.socket()).await?;
    let mut joins = Figure::new("one host joins", "ms");
    let mut hosts = Vec::new();
    for number in 0..flags.hosts {
        let start = Instant::now();
        let token = invite(&mut wire).await?;
        let place = ("127.0.0.1", address.port());
        let keys = tempfile::tempdir().map_err(|error| unable(format!("no directory: {error}")))?;
        let key = Membership::key(keys.path()).map_err(|error| unable(seaworthy_store::chain(&error)))?;
        let member = Membership::join(place, &token, &format!("host-{number:05}"), &key).await;
        let member = member.map_err(|error| unable(seaworthy_store::chain(&error)))?;
        joins.samples.push(elapsed_ms(start));
        let door = Door::of(&member).map_err(|error| unable(error.to_string()))?;
        hosts.push(Host { number, door, spool: SpoolId::generate() });
    }
    let mut taken = Figure::new("first batch of a host", "ms");
    let (begun, cpu) = (Instant::now(), server.cpu_seconds()?);
    for host in &hosts {
        let start = Instant::now();
        host.deliver(1, host.items(EACH)?).await?;
        taken.samples.push(elapsed_ms(start));
    }
    fleet::until_judged(&mut wire).await?;
    let judged = Figure::of("all taken in and judged", "ms", elapsed_ms(begun));
    let judged_cpu = Figure::of("all taken in and judged, cpu", "s", server.cpu_seconds()? - cpu);

    let told = Arc::new(Mutex::new(Vec::new()));
    let mut reporting = JoinSet::new();
    let many = flags.hosts.max(1);
    for host in hosts {
        let first = PACE * host.number / many;
        reporting.spawn(host.run(first, told.clone()));
    }
    // Every host has its connection.
    tokio::time::sleep(PACE).await;
    let (begun, cpu) = (Instant::now(), server.cpu_seconds()?);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(flags.seconds.into())) => {}
        Some(ended) = reporting.join_next() => {
            ended.map_err(|error| unable(error.to_string()))??;
        }
    }
    let cores = (server.cpu_seconds()? - cpu) / begun.elapsed().as_secs_f64();
    let mut reports = Figure::new("one report of usage", "ms");
    reports.samples = std::mem::take(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
    let memory = Figure::of("server, own memory", "MiB", server.own_memory_mib()?);
    let figures =
        [joins, taken, judged, judged_cpu, reports, Figure::of("server, reporting", "cores", cores), memory];
    drop((reporting, wire));
    server.stop().await?;
    let fingerprint = json!({"hosts": flags.hosts, "containers_each": EACH, "seconds": flags.seconds});
    report(global, "agents", &fingerprint, &figures);
    Ok(())
}

async fn invite(wire: &mut Wire) -> Result<JoinToken, Failure> {
    let path = "/api/v1/host-invitations";
    let reply = wire.send(Method::POST, path, "application/json", Bytes::from("{}")).await?;
    let made: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let token = made.get("token").and_then(Value::as_str).unwrap_or_default();
    token.parse().map_err(|_| unable(format!("`{path}` answered {}", reply.status)))
}
