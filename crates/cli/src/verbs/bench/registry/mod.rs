//! What a registry costs its machine: pushes, pulls, manifests, small images, pages, slow clients. Against
//! a server of this binary, started for it, or against any registry that speaks plain HTTP.
//!
//! A closed loop: each connection sends its next request when the answer to the last is there. The figures
//! of the registry's process need its number (`--pid`), those of its disk its directory (`--dir`).

mod peer;
mod work;
mod workloads;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use self::peer::Peer;
use super::{Figure, report, server::Server};
use crate::{
    failure::{Failure, Outcome, unable, usage},
    flags::{BenchRegistryFlags, Global},
    render,
};

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchRegistryFlags) -> Outcome {
    let (peer, own) = if let Some(url) = &flags.url {
        (Peer::new(url, authorization(flags)?, (flags.pid, flags.dir.clone()))?, None)
    } else {
        let config = if flags.no_inspection { "inspectors = 0\n" } else { "" };
        let server = Server::configured(config, &[], &[]).await?;
        (of_own(&server).await?, Some(server))
    };
    let mut figures: Vec<Figure> = Vec::new();
    if let Some(unknown) = flags.only.iter().find(|only| !workloads::ALL.contains(&only.as_str())) {
        return Err(usage(format!("no workload is `{unknown}`: there are {}", workloads::ALL.join(", "))));
    }
    for workload in workloads::ALL {
        if flags.only.is_empty() || flags.only.iter().any(|only| only == workload) {
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
    if let Some(mut server) = own {
        server.stop().await?;
    }
    let fingerprint = json!({
        "registry": flags.url.as_deref().unwrap_or("this binary, durable"), "inspection": !flags.no_inspection,
        "blobs": flags.blobs, "blob_mib": flags.blob_mib, "requests": flags.requests, "rows": flags.rows,
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

/// The peer that a server of the bench's own is, with a principal that may do all.
async fn of_own(server: &Server) -> Result<Peer, Failure> {
    let mut wire = super::wire::Wire::open(&server.socket()).await?;
    let body = json!({"name": "bench", "role": "Owner", "scope": "/"}).to_string();
    let path = "/api/v1/principals";
    let reply = wire.send(http::Method::POST, path, "application/json", body).await?;
    let made: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |key: &str| made.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let (id, secret) = (text("client_id"), text("client_secret"));
    if secret.is_empty() {
        return Err(unable(format!("`{path}` answered {}", reply.status)));
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    Peer::new(server.url(), Some(basic), (server.pid(), Some(server.data().to_owned())))
}
