//! Jobs that a number of connections do together, and what the registry used meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::peer::{Connection, Peer};
use crate::{
    failure::{Failure, unable},
    verbs::bench::{Figure, elapsed_ms},
};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Many equal jobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// What they are, for the report.
    pub(super) name: &'static str,
    /// Connections, each of which does one job after the other.
    pub(super) connections: u32,
    /// Jobs in all.
    pub(super) jobs: u32,
    /// Bytes that each moves; 0 where the bytes do not count.
    pub(super) job_bytes: u64,
}

/// What a load took.
struct Taken {
    /// Milliseconds of each job.
    latencies: Vec<f64>,
    seconds: f64,
    cpu_seconds: Option<f64>,
    peak_mib: Option<f64>,
    before_mib: Option<f64>,
}

impl Load {
    /// Waits until the registry is idle, does all jobs and returns their figures; a job gets a connection and its
    /// number, and gives the connection back.
    pub(super) async fn run<F, R>(&self, peer: &Peer, job: F) -> Result<Vec<Figure>, Failure>
    where
        F: Fn(Connection, u32) -> R + Clone + Send + 'static,
        R: Future<Output = Result<Connection, Failure>> + Send,
    {
        peer.quiet().await;
        self.run_meanwhile(peer, job).await
    }

    /// The same, whatever else the registry does.
    pub(super) async fn run_meanwhile<F, R>(&self, peer: &Peer, job: F) -> Result<Vec<Figure>, Failure>
    where
        F: Fn(Connection, u32) -> R + Clone + Send + 'static,
        R: Future<Output = Result<Connection, Failure>> + Send,
    {
        let next = Arc::new(AtomicU32::new(0));
        let (jobs, before_mib, cpu) = (self.jobs, peer.own_memory_mib(), peer.cpu_seconds());
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..self.connections {
            let (next, job, mut connection) = (Arc::clone(&next), job.clone(), peer.connect().await?);
            running.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        return Ok::<_, Failure>(latencies);
                    }
                    let start = Instant::now();
                    connection = job(connection, number).await?;
                    latencies.push(elapsed_ms(start));
                }
            });
        }
        let (mut latencies, mut peak_mib) = (Vec::new(), before_mib);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => {
                        latencies.extend(ended.map_err(|error| unable(error.to_string()))??);
                    }
                    None => break,
                },
                () = tokio::time::sleep(LOOK) => {
                    peak_mib = peer.own_memory_mib().into_iter().chain(peak_mib).reduce(f64::max);
                }
            }
        }
        let cpu_seconds = cpu.and_then(|before| Some(peer.cpu_seconds()? - before));
        let seconds = begun.elapsed().as_secs_f64();
        Ok(self.figures(Taken { latencies, seconds, cpu_seconds, peak_mib, before_mib }))
    }

    /// The figures of a report: for bytes what a GiB costs, else what a job costs.
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^53")]
    fn figures(&self, taken: Taken) -> Vec<Figure> {
        let of = |what: &str, unit, sample| Figure::of(format!("{}: {what}", self.name), unit, sample);
        let mut figures = Vec::new();
        let jobs = f64::from(self.jobs);
        if self.job_bytes > 0 {
            let gib = jobs * self.job_bytes as f64 / f64::from(1 << 30);
            figures.extend(taken.cpu_seconds.map(|cpu| of("server cpu", "s/GiB", cpu / gib)));
            figures.push(of("throughput", "MiB/s", gib * 1024.0 / taken.seconds));
        } else {
            figures.extend(taken.cpu_seconds.map(|cpu| of("server cpu", "us each", cpu / jobs * 1e6)));
            figures.push(of("rate", "per s", jobs / taken.seconds));
        }
        if let (Some(peak), Some(before)) = (taken.peak_mib, taken.before_mib) {
            figures.push(of("memory above before", "MiB", peak - before));
        }
        let mut latency = Figure::new(format!("{}: latency", self.name), "ms");
        latency.samples = taken.latencies;
        figures.push(latency);
        figures
    }
}
