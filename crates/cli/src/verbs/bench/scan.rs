//! Cold scans: each in a process of its own, alternating with a peer's if one is given.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use super::{Figure, report, seconds};
use crate::{
    failure::{Outcome, unable, usage},
    flags::{BenchScanFlags, Global},
    render,
};

/// Runs the bench.
pub(crate) fn bench(global: &Global, flags: &BenchScanFlags) -> Outcome {
    let me = std::env::current_exe().map_err(|error| unable(format!("where am I: {error}")))?;
    let mut ours =
        vec![me.display().to_string(), "scan".into(), flags.target.clone(), "-o".into(), "json".into()];
    for path in &flags.advisories {
        ours.extend(["--advisories".into(), path.display().to_string()]);
    }
    let mut sides = vec![("seaworthy".to_owned(), ours)];
    if let Some(name) = flags.peer.first() {
        sides.push((name.clone(), flags.peer.clone()));
    }
    let mut figures: Vec<[Figure; 3]> = sides
        .iter()
        .map(|(name, _)| {
            [
                Figure::new(format!("{name} cpu"), "s"),
                Figure::new(format!("{name} wall"), "s"),
                Figure::new(format!("{name} peak memory"), "MiB"),
            ]
        })
        .collect();
    // A cache of its own: the first run of ours compiles the feeds, the others find them there.
    let cache = tempfile::tempdir().map_err(|error| unable(format!("no directory: {error}")))?;
    let first = sample(&sides.first().map(|(_, command)| command.clone()).unwrap_or_default(), cache.path())?;
    let first_cpu = first.get("cpu_seconds").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let findings = first.get("findings").cloned().unwrap_or_default();
    for _ in 0..flags.runs.max(1) {
        for ((_, command), figures) in sides.iter().zip(&mut figures) {
            let sample = sample(command, cache.path())?;
            for (figure, key) in figures.iter_mut().zip(["cpu_seconds", "wall_seconds", "peak_mib"]) {
                figure.samples.push(sample.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN));
            }
        }
    }
    if let [ours, theirs] = figures.as_slice() {
        let ratios: Vec<Figure> = ours
            .iter()
            .zip(theirs)
            .map(|(ours, theirs)| {
                let what = ours.name.trim_start_matches("seaworthy ");
                Figure::of(format!("ratio {what}"), "peer/ours", theirs.percentile(50) / ours.percentile(50))
            })
            .collect();
        let ratios: [Figure; 3] = ratios.try_into().map_err(|_| unable("a ratio is missing"))?;
        figures.push(ratios);
    }
    let first = Figure::of("seaworthy cpu, first run: feeds compiled", "s", first_cpu);
    let figures: Vec<Figure> = std::iter::once(first).chain(figures.into_iter().flatten()).collect();
    report(global, "scan", &json!({"target": flags.target, "findings": findings}), &figures);
    Ok(())
}

/// One run in a process between, whose only descendants are those that are measured.
fn sample(command: &[String], cache: &Path) -> Result<Value, crate::failure::Failure> {
    let me = std::env::current_exe().map_err(|error| unable(format!("where am I: {error}")))?;
    let output = Command::new(me)
        .args(["bench", "once", "--"])
        .args(command)
        .env("XDG_CACHE_HOME", cache)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| unable(format!("failed to start a run: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(unable(format!("`{}` failed: {}", command.join(" "), render::clean(said.trim()))));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| unable(format!("a run said nothing: {error}")))
}

/// `bench once`: runs a command and prints what it and its descendants used.
pub(crate) fn once(command: &[String]) -> Outcome {
    let Some((program, arguments)) = command.split_first() else {
        return Err(usage("no command to measure"));
    };
    let start = std::time::Instant::now();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| unable(format!("failed to start `{program}`: {error}")))?;
    let wall_seconds = start.elapsed().as_secs_f64();
    // 1 is an answer: there are findings.
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(unable(format!("`{program}` ended with {}", output.status)));
    }
    let usage =
        getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| unable(format!("getrusage: {error}")))?;
    let findings = serde_json::from_slice::<Value>(&output.stdout)
        .ok()
        .and_then(|value| Some(value.get("findings")?.as_array()?.len()));
    render::json(&json!({
        "cpu_seconds": seconds(usage.user_time()) + seconds(usage.system_time()),
        "wall_seconds": wall_seconds,
        // Linux counts KiB.
        "peak_mib": f64::from(i32::try_from(usage.max_rss()).unwrap_or(i32::MAX)) / 1024.0,
        "findings": findings,
    }));
    Ok(())
}
