//! Pages of very many findings, and one advisory's way to a container that runs; on a server of its own
//! in a directory of its own, with images and feeds made for it.

use std::{path::Path, time::Instant};

use bytes::Bytes;
use http::Method;
use seaworthy_oci::Digest;
use serde_json::{Value, json};

use super::{Figure, elapsed_ms, fleet, report, server::Server, wire::Wire};
use crate::{
    failure::{Failure, Outcome, unable},
    flags::{BenchFindingsFlags, Global},
};

const POLICIES: &str = "/api/v1/policies";
const IMPORT: &str = "/api/v1/advisories/import";
/// Pages asked for of each kind.
const PAGES: u32 = 20;
/// How often an advisory comes and goes.
const ADVISORIES: u32 = 10;
/// The image that runs, and has no findings until an advisory comes.
const CLEAN: &str = "running/clean";

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchFindingsFlags) -> Outcome {
    let mut server = Server::start(&[], &[]).await?;
    let mut wire = Wire::open(&server.socket()).await?;
    let files = tempfile::tempdir().map_err(|error| unable(format!("no directory: {error}")))?;
    import(&mut wire, &files.path().join("tracker.json"), &tracker(flags.packages)).await?;
    let mut pushed = Figure::new("push of an image, to its verdict", "ms");
    for image in 0..flags.images {
        let start = Instant::now();
        let repository = format!("bench/image-{image:05}");
        let mut packages = status(image % flags.versions, "vulnerable", flags.packages);
        packages += &status(image, "own", 1);
        push(&mut wire, &repository, &packages).await?;
        pushed.samples.push(elapsed_ms(start));
    }
    let mut figures = vec![pushed];
    for (what, path) in [
        ("page of 100 of all findings, by vulnerability", "/api/v1/vulnerabilities?by=vulnerability&n=100"),
        ("page of 100 of all findings, by remedy", "/api/v1/vulnerabilities?by=remedy&n=100"),
        (
            "page of 100 of one image's findings",
            "/api/v1/images/findings?image=bench%2Fimage-00000%3A1&n=100",
        ),
        ("overview", "/api/v1/overview"),
    ] {
        let mut figure = Figure::new(what, "ms");
        for _ in 0..PAGES {
            let start = Instant::now();
            wire.json(path).await?;
            figure.samples.push(elapsed_ms(start));
        }
        figures.push(figure);
    }
    figures.push(Figure::of("server, own memory", "MiB", server.own_memory_mib()?));
    figures.extend(advisories(&mut wire, files.path()).await?);
    drop(wire);
    server.stop().await?;
    let findings = u64::from(flags.images) * u64::from(flags.packages);
    let fingerprint = json!({"images": flags.images, "findings": findings, "versions": flags.versions});
    report(global, "findings", &fingerprint, &figures);
    Ok(())
}

/// An advisory comes, and is withdrawn: until the container that runs says so.
async fn advisories(wire: &mut Wire, files: &Path) -> Result<[Figure; 2], Failure> {
    let policy =
        "policy: bench\nselects: ['running/**']\nmode: enforce\nrules:\n  - vulnerabilities: { any: 0 }\n";
    let body = json!({ "source": policy }).to_string();
    let reply = wire.send(Method::POST, POLICIES, "application/json", body).await?;
    if !reply.status.is_success() {
        return Err(unable(format!("`{POLICIES}` answered {}", reply.status)));
    }
    let config = push(wire, CLEAN, &status(0, "clean", 10)).await?;
    fleet::run_one(wire, &format!("localhost/{CLEAN}:1"), &config.to_string()).await?;
    fleet::until_verdict(wire, "allowed").await?;
    let mut hit = Figure::new("one advisory imported, to the container blocked", "ms");
    let mut gone = Figure::new("one advisory withdrawn, to the container allowed", "ms");
    for number in 0..ADVISORIES {
        let file = files.join("one.json");
        let start = Instant::now();
        import(wire, &file, &record(number, "")).await?;
        fleet::until_verdict(wire, "blocked").await?;
        hit.samples.push(elapsed_ms(start));
        let start = Instant::now();
        import(wire, &file, &record(number, r#","withdrawn":"2026-02-01T00:00:00Z""#)).await?;
        fleet::until_verdict(wire, "allowed").await?;
        gone.samples.push(elapsed_ms(start));
    }
    Ok([hit, gone])
}

/// One advisory about what the clean image has, changed once in each round.
fn record(number: u32, more: &str) -> String {
    format!(
        r#"{{"id":"BENCH-{number}","modified":"2026-01-01T00:00:{:02}Z"{more},"affected":[{{
        "package":{{"ecosystem":"Debian:12","name":"clean-00000"}},
        "ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"99"}}]}}]}}]}}"#,
        if more.is_empty() { 1 } else { 2 },
    )
}

async fn import(wire: &mut Wire, path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unable(format!("`{}`: {error}", path.display())))?;
    let body = json!({"paths": [path]}).to_string();
    let reply = wire.send(Method::POST, IMPORT, "application/json", body).await?;
    if reply.status.is_success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&reply.body);
    Err(unable(format!("`{IMPORT}` answered {}: {said}", reply.status)))
}

/// Debian's tracker with one open vulnerability in each package.
fn tracker(packages: u32) -> String {
    let mut all = serde_json::Map::new();
    for package in 0..packages {
        let release = json!({"status": "resolved", "fixed_version": "9", "urgency": "high"});
        let entry = json!({"description": "a flaw", "releases": {"bookworm": release}});
        all.insert(
            format!("vulnerable-{package:05}"),
            json!({format!("CVE-2026-{}", 10_000 + package): entry}),
        );
    }
    Value::Object(all).to_string()
}

/// Packages in dpkg's database, all of one version.
fn status(version: u32, name: &str, packages: u32) -> String {
    let one = |package: u32| {
        format!(
            "Package: {name}-{package:05}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.{version}\n\n"
        )
    };
    (0..packages).map(one).collect()
}

/// Pushes an image of one layer, and waits for its verdict; returns its config's digest.
async fn push(wire: &mut Wire, repository: &str, status: &str) -> Result<Digest, Failure> {
    let mut layer = tar::Builder::new(Vec::new());
    let release = "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n";
    for (path, text) in [("etc/os-release", release), ("var/lib/dpkg/status", status)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, path, text.as_bytes()).map_err(|error| unable(error.to_string()))?;
    }
    let layer = Bytes::from(layer.into_inner().map_err(|error| unable(error.to_string()))?);
    let diff_id = Digest::sha256(&layer);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]},
    });
    let config = Bytes::from(config.to_string());
    let described = Digest::sha256(&config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": seaworthy_oci::media::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": described.to_string(), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": diff_id.to_string(), "size": layer.len()}],
    });
    wire.push_blob(repository, &diff_id.to_string(), layer).await?;
    wire.push_blob(repository, &described.to_string(), config).await?;
    let manifest = Bytes::from(manifest.to_string());
    wire.push_manifest(repository, seaworthy_oci::media::OCI_MANIFEST, manifest).await?;
    wire.json(&format!("/api/v1/check?image={}%3A1&wait=60", crate::client::encode(repository))).await?;
    Ok(described)
}
