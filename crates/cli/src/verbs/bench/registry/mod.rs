//! What a registry costs its machine: pushes, pulls, manifests, small images, pages, slow clients. Against
//! a server of this binary, started for it, or against any registry that speaks plain HTTP.
//!
//! A closed loop: each connection sends its next request when the answer to the last is there. The figures
//! of the registry's process need its number (`--pid`), those of its disk its directory (`--dir`); what starts, kills or
//! collects it is its own command.

mod foreign;
mod leak;
mod life;
mod memory;
mod own;
mod peer;
mod through;
mod work;
mod workloads;

use std::{collections::BTreeSet, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use self::{foreign::Foreign, life::Life as _, peer::Run};
use super::{Figure, report};
use crate::{
    failure::{Failure, Outcome, unable, usage},
    flags::{BenchRegistryFlags, Global},
    render::{self, Amount},
    text::Text,
};

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchRegistryFlags) -> Outcome {
    let all = || workloads::ALL.iter().chain(own::ALL);
    if let Some(unknown) = flags.only.iter().find(|only| !all().any(|it| it == only)) {
        let all: Vec<&str> = all().copied().collect();
        return Err(usage(format!("no workload is `{unknown}`: there are {}", all.join(", "))));
    }
    for own in flags.only.iter().filter(|only| flags.url.is_some() && own::ALL.contains(&only.as_str())) {
        match Foreign::needs(flags, own) {
            Some((_, true)) => {}
            Some((flag, false)) => return Err(usage(format!("`{own}` needs `{flag}` where there is a URL"))),
            None => {
                return Err(usage(format!(
                    "`{own}` measures a server of this binary alone: leave out the URL, or take one of `https://`"
                )));
            }
        }
    }
    if flags.no_inspection && flags.url.is_some() && !flags.beside {
        return Err(usage(
            "`--no-inspection` is for a server of this binary: leave out the URL, or add `--beside`",
        ));
    }
    let (mut ours, mut theirs): (Vec<Vec<Figure>>, Vec<Vec<Figure>>) = Default::default();
    let (mut kept, mut failed) = (None, BTreeSet::new());
    for number in 0..flags.runs {
        // The same names and bytes for both, which take turns in being first.
        let run = Run::fresh();
        for is_ours in [number % 2 == 0, number % 2 == 1] {
            match &flags.url {
                Some(url) if !is_ours => theirs.push(of_peer(global, flags, (url, &run), &mut failed).await?),
                None if !is_ours => {}
                Some(_) if !flags.beside => {}
                _ => ours.push(of_own(global, flags, &run, &mut kept).await?),
            }
        }
    }
    if let Some(mut own) = kept {
        own.stop().await?;
    }
    let is_measured = theirs.iter().any(|run| !run.is_empty());
    let figures = match (ours.is_empty(), theirs.is_empty()) {
        (false, false) => beside(&ours, &theirs),
        _ => merged(ours.into_iter().chain(theirs)),
    };
    let fingerprint = json!({
        "registry": flags.url.as_deref().unwrap_or("this binary, durable"), "beside": flags.beside, "runs": flags.runs, "inspection": !flags.no_inspection,
        "filled_memory": flags.fill_memory, "blobs": flags.blobs, "blob_mib": flags.blob_mib, "requests": flags.requests, "rows": flags.rows,
    });
    report(global, "registry", &fingerprint, &figures);
    // Not every registry has all of the API: what nobody named may be missing, as long as anything is there.
    if failed.is_empty() || (flags.only.is_empty() && is_measured) {
        return Ok(());
    }
    let failed: Vec<&str> = failed.into_iter().collect();
    Err(unable(format!("workloads that could not run: {}", failed.join(", "))))
}

fn is_wanted(flags: &BenchRegistryFlags, name: &str) -> bool {
    flags.only.is_empty() || flags.only.iter().any(|only| only == name)
}

/// The figures of one run over a server of this binary: one that is started for it, or beside another that stays
/// the one of the runs before, with all that they left there.
async fn of_own(
    global: &Global,
    flags: &BenchRegistryFlags,
    run: &Run,
    kept: &mut Option<own::Own>,
) -> Result<Vec<Figure>, Failure> {
    let _filled = filled(global, flags, &std::env::temp_dir()).await?;
    let mut own = match kept.take() {
        Some(own) => own.in_run(run),
        None => own::Own::start(flags.no_inspection, run).await?,
    };
    let peer = own.peer()?;
    let (bar, mut figures) = (render::progress(global, Text::Measuring, Amount::Unknown), Vec::new());
    for workload in workloads::ALL.iter().filter(|it| is_wanted(flags, it)) {
        bar.set_message(*workload);
        figures.extend(workloads::run(workload, &peer, flags).await?);
    }
    for workload in own::ALL.iter().filter(|it| is_wanted(flags, it)) {
        // Beside another registry, what both can do.
        if flags.url.is_none() || Foreign::can(flags, workload) {
            bar.set_message(*workload);
            figures.extend(own.run(workload, flags).await?);
        }
    }
    bar.finish_and_clear();
    if flags.beside {
        *kept = Some(own);
    } else {
        own.stop().await?;
    }
    Ok(figures)
}

/// The figures of one run over the registry at a URL, and what of it could not run.
async fn of_peer(
    global: &Global,
    flags: &BenchRegistryFlags,
    (url, run): (&str, &Run),
    failed: &mut BTreeSet<&'static str>,
) -> Result<Vec<Figure>, Failure> {
    let beside =
        flags.dir.as_deref().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_path_buf);
    let _filled = filled(global, flags, &beside).await?;
    let mut foreign = Foreign::open(flags, (url, authorization(flags)?), run).await?;
    let (bar, mut figures) = (render::progress(global, Text::Measuring, Amount::Unknown), Vec::new());
    let more = own::ALL.iter().filter(|it| Foreign::can(flags, it));
    for workload in workloads::ALL.iter().chain(more).filter(|it| is_wanted(flags, it)) {
        bar.set_message(format!("{workload}: {url}"));
        let measured = if own::ALL.contains(workload) {
            foreign.run(workload).await
        } else {
            workloads::run(workload, &foreign.peer()?, flags).await
        };
        match measured {
            Ok(measured) => figures.extend(measured),
            Err(Failure::Problem(problem)) => {
                render::note(&format!("{workload}: {}", problem.message));
                failed.insert(*workload);
            }
            Err(failure) => return Err(failure),
        }
    }
    foreign.stop().await?;
    bar.finish_and_clear();
    Ok(figures)
}

async fn filled(
    global: &Global,
    flags: &BenchRegistryFlags,
    directory: &Path,
) -> Result<Option<memory::Filled>, Failure> {
    if flags.fill_memory { memory::fill(global, directory).await.map(Some) } else { Ok(None) }
}

/// All runs as one: each figure has the samples of all.
fn merged(runs: impl Iterator<Item = Vec<Figure>>) -> Vec<Figure> {
    let mut all: Vec<Figure> = Vec::new();
    for figure in runs.flatten() {
        match all.iter_mut().find(|it| it.name == figure.name) {
            Some(known) => known.samples.extend(figure.samples),
            None => all.push(figure),
        }
    }
    all
}

/// Each figure of ours, theirs where they have it, and what ours is in parts of theirs: run by run, for what slowed one
/// down slowed the other too.
fn beside(ours: &[Vec<Figure>], theirs: &[Vec<Figure>]) -> Vec<Figure> {
    let all = |runs: &[Vec<Figure>]| merged(runs.iter().flatten().map(|figure| vec![figure.clone()]));
    let their_own = all(theirs);
    let of = |run: &[Figure], name: &str| Some(run.iter().find(|it| it.name == name)?.percentile(50));
    let mut figures = Vec::new();
    for figure in all(ours) {
        let name = figure.name.clone();
        let mut ratio = Figure::new(format!("{name}: ratio"), "x");
        let pairs = ours.iter().zip(theirs);
        ratio.samples =
            pairs.filter_map(|(ours, theirs)| Some(of(ours, &name)? / of(theirs, &name)?)).collect();
        figures.push(figure);
        if let Some(their) = their_own.iter().find(|it| it.name == name) {
            figures.push(Figure { name: format!("{name}: at the URL"), ..their.clone() });
            figures.push(ratio);
        }
    }
    figures
}

fn authorization(flags: &BenchRegistryFlags) -> Result<Option<String>, Failure> {
    let Some(user) = &flags.username else { return Ok(None) };
    let password = std::env::var("SEAWORTHY_BENCH_PASSWORD");
    let password = password.map_err(|_| usage("`--username` needs SEAWORTHY_BENCH_PASSWORD"))?;
    Ok(Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_beside_another_is_paired_by_run() {
        let run = |cpu: f64| vec![Figure::of("push".to_owned(), "s/GiB", cpu)];
        let figures = beside(
            &[run(1.0), run(4.0), [run(2.0), vec![Figure::of("own".to_owned(), "ms", 1.0)]].concat()],
            &[run(2.0), run(4.0), run(8.0)],
        );
        let medians: Vec<_> = figures.iter().map(|it| (it.name.as_str(), it.percentile(50))).collect();
        assert_eq!(medians, [("push", 2.0), ("push: at the URL", 4.0), ("push: ratio", 0.5), ("own", 1.0)]);
        assert_eq!(figures[2].samples, [0.5, 1.0, 0.25]);
        assert_eq!(merged([run(1.0), run(3.0)].into_iter())[0].samples, [1.0, 3.0]);
    }
}
