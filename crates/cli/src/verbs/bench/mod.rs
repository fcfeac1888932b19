//! `bench`: load on this product or on another, measured and reported the same way.
//!
//! Every report is one JSON document: what was measured, on which data (a fingerprint), and for
//! each figure its unit, minimum, median, 99th percentile and maximum. Times are wall-clock
//! unless the figure's name says `cpu`; CPU counts user and system time of all processes.

mod agents;
mod clearance;
mod engine;
mod findings;
mod fleet;
mod matching;
mod registry;
mod scan;
mod server;
mod sets;
mod wire;

use std::time::{Duration, Instant};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Outcome, unable},
    flags::{BenchVerb, Global},
    render,
};

/// Runs one bench.
pub(crate) async fn bench(global: &Global, verb: BenchVerb) -> Outcome {
    match verb {
        BenchVerb::Scan(flags) => scan::bench(global, &flags),
        BenchVerb::Match(flags) => matching::bench(global, &flags).await,
        BenchVerb::Clearance(flags) => clearance::bench(global, &flags).await,
        BenchVerb::Fleet(flags) => fleet::bench(global, &flags).await,
        BenchVerb::Findings(flags) => Box::pin(findings::bench(global, &flags)).await,
        BenchVerb::Engine(flags) => Box::pin(engine::bench(global, &flags)).await,
        BenchVerb::Registry(flags) => Box::pin(registry::bench(global, &flags)).await,
        BenchVerb::Sets(flags) => sets::bench(global, &flags),
        BenchVerb::Agents(flags) => Box::pin(agents::bench(global, &flags)).await,
        BenchVerb::Once { command } => scan::once(&command),
    }
}

/// One figure: what it is, in which unit, and every sample.
#[derive(Clone)]
struct Figure {
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
}

impl Figure {
    fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, samples: Vec::new() }
    }

    fn of(name: impl Into<String>, unit: &'static str, sample: f64) -> Self {
        Self { samples: vec![sample], ..Self::new(name, unit) }
    }

    /// The sample that `percent` of all do not exceed; nearest rank.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "runs": self.samples.len(),
            "min": self.percentile(0),
            "median": self.percentile(50),
            "p99": self.percentile(99),
            "max": self.percentile(100),
        })
    }
}

/// Prints a report: a table for people, else JSON.
fn report(global: &Global, bench: &str, fingerprint: &Value, figures: &[Figure]) {
    let rows: Vec<Value> = figures.iter().map(Figure::to_json).collect();
    if !render::is_table(global) {
        return render::json(&json!({
            "bench": bench,
            "version": env!("CARGO_PKG_VERSION"),
            "processors": std::thread::available_parallelism().map_or(1, usize::from),
            "fingerprint": fingerprint,
            "figures": rows,
        }));
    }
    let number = |row: &Value, key: &str| match row.get(key).and_then(Value::as_f64) {
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.3}"),
        None => "-".to_owned(),
    };
    let cells = rows
        .iter()
        .map(|row| {
            let text = |key: &str| render::cell(row.get(key));
            vec![
                text("name"),
                text("unit"),
                text("runs"),
                number(row, "min"),
                number(row, "median"),
                number(row, "p99"),
                number(row, "max"),
            ]
        })
        .collect();
    let titles = ["FIGURE", "UNIT", "RUNS", "MIN", "MEDIAN", "P99", "MAX"];
    render::out(&render::table(titles.map(str::to_owned).to_vec(), cells));
}

/// Processor time of this process and of all its children that ended.
fn cpu_seconds() -> Result<f64, Failure> {
    let mut all = 0.0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).map_err(|error| unable(format!("getrusage: {error}")))?;
        all += seconds(usage.user_time()) + seconds(usage.system_time());
    }
    Ok(all)
}

fn seconds(time: TimeVal) -> f64 {
    let microseconds = u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0);
    Duration::from_micros(microseconds).as_secs_f64()
}

/// Milliseconds since `start`.
fn elapsed_ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The median time of one call, in microseconds: batches of calls, so that the clock itself and
/// single interruptions do not count.
fn microseconds<T>(name: &str, mut work: impl FnMut() -> T) -> Figure {
    let mut figure = Figure::new(name, "us");
    let start = Instant::now();
    std::hint::black_box(work());
    let once = start.elapsed().as_secs_f64().max(1e-8);
    // Half a millisecond a batch, two hundred batches.
    let calls = (5e-4 / once).clamp(1.0, 10_000.0).round();
    for _ in 0..200 {
        let start = Instant::now();
        let mut done = 0.0;
        while done < calls {
            std::hint::black_box(work());
            done += 1.0;
        }
        figure.samples.push(start.elapsed().as_secs_f64() * 1e6 / calls);
    }
    figure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let figure = Figure { samples: (1..=200).map(f64::from).collect(), ..Figure::new("f", "s") };
        let found = [0, 50, 99, 100].map(|percent| format!("{}", figure.percentile(percent)));
        assert_eq!(found, ["1", "100", "198", "200"]);
        assert!(Figure::new("f", "s").percentile(50).is_nan());
    }
}
