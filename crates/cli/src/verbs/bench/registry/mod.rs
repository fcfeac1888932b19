//! What a registry costs its machine: pushes, pulls, manifests, small images, pages, slow clients. Against
//! a server of this binary, started for it, or against any registry that speaks plain HTTP.
//!
//! A closed loop: each connection sends its next request when the answer to the last is there. The figures
//! of the registry's process need its number (`--pid`), those of its disk its directory (`--dir`).

mod memory;
mod own;
mod peer;
mod through;
mod work;
mod workloads;

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use self::peer::Peer;
use super::{Figure, report};
use crate::{
    failure::{Failure, Outcome, usage},
    flags::{BenchRegistryFlags, Global},
    render,
};

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchRegistryFlags) -> Outcome {
    let all = || workloads::ALL.iter().chain(own::ALL);
    if let Some(unknown) = flags.only.iter().find(|only| !all().any(|it| it == only)) {
        let all: Vec<&str> = all().copied().collect();
        return Err(usage(format!("no workload is `{unknown}`: there are {}", all.join(", "))));
    }
    if let Some(own) =
        flags.only.iter().find(|only| flags.url.is_some() && own::ALL.iter().any(|it| it == only))
    {
        return Err(usage(format!("`{own}` measures a server of this binary alone: leave out the URL")));
    }
    let is_wanted = |name: &str| flags.only.is_empty() || flags.only.iter().any(|only| only == name);
    let beside =
        flags.dir.as_deref().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_path_buf);
    let _filled = if flags.fill_memory { Some(memory::fill(global, &beside).await?) } else { None };
    let (peer, mut own) = if let Some(url) = &flags.url {
        let ca = flags.ca.as_deref();
        (Peer::new(url, authorization(flags)?, (flags.pid, flags.dir.clone()), ca)?, None)
    } else {
        let own = own::Own::start(flags.no_inspection).await?;
        (own.peer()?, Some(own))
    };
    let mut figures: Vec<Figure> = Vec::new();
    for workload in workloads::ALL {
        if is_wanted(workload) {
            match workloads::run(workload, &peer, flags).await {
                Ok(measured) => figures.extend(measured),
                // Not every registry has all of the API.
                Err(Failure::Problem(problem)) if flags.url.is_some() => {
                    render::note(&format!("{workload}: {}", problem.message));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    if let Some(own) = &mut own {
        for workload in own::ALL.iter().filter(|it| is_wanted(it)) {
            figures.extend(own.run(workload, flags).await?);
        }
        own.stop().await?;
    }
    let fingerprint = json!({
        "registry": flags.url.as_deref().unwrap_or("this binary, durable"), "inspection": !flags.no_inspection,
        "filled_memory": flags.fill_memory, "blobs": flags.blobs, "blob_mib": flags.blob_mib, "requests": flags.requests, "rows": flags.rows,
    });
    report(global, "registry", &fingerprint, &figures);
    Ok(())
}

fn authorization(flags: &BenchRegistryFlags) -> Result<Option<String>, Failure> {
    let Some(user) = &flags.username else { return Ok(None) };
    let password = std::env::var("SEAWORTHY_BENCH_PASSWORD");
    let password = password.map_err(|_| usage("`--username` needs SEAWORTHY_BENCH_PASSWORD"))?;
    Ok(Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
}
