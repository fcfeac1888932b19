//! The whole chain, on a server of its own in a directory of its own: push, inspection, findings,
//! verdict, look-up.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use seaworthy_clearance::Clearance;
use seaworthy_model::SystemClock;
use seaworthy_oci::{Digest, ImageManifest, RepoName};
use seaworthy_store::Db;
use serde_json::{Value, json};

use super::{Figure, elapsed_ms, report, server::Server, wire::Wire};
use crate::{
    failure::{Failure, Outcome, unable, usage},
    flags::{BenchClearanceFlags, Global},
    image::{self, Target},
    layout,
};

/// Repositories that the image is pushed to once its layers are known.
const KNOWN_PUSHES: usize = 20;

/// The image to push, in memory.
struct Image {
    digest: Digest,
    media_type: String,
    manifest: Bytes,
    blobs: Vec<(Digest, Bytes)>,
}

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchClearanceFlags) -> Outcome {
    let Target::Layout(root, tag) = Target::parse(&flags.target) else {
        return Err(usage("this bench pushes an OCI layout: `oci:DIR[:TAG]`"));
    };
    let image = Image::read(&root, tag.as_deref())?;
    let mut figures = Figures::new();
    let mut verdict = Value::Null;
    for _ in 0..flags.runs.max(1) {
        verdict = run(&image, &flags.advisories, &mut figures).await?;
    }
    let bytes: usize = image.blobs.iter().map(|(_, bytes)| bytes.len()).sum();
    let fingerprint = json!({
        "target": flags.target,
        "digest": image.digest.to_string(),
        "blob_bytes": bytes,
        "verdict": verdict,
    });
    report(global, "clearance", &fingerprint, &figures.all());
    Ok(())
}

/// One server's life.
async fn run(image: &Image, advisories: &[PathBuf], figures: &mut Figures) -> Result<Value, Failure> {
    let start = Instant::now();
    let mut server = Server::start(advisories, &[]).await?;
    figures.ready.samples.push(elapsed_ms(start));
    let mut wire = Wire::open(&server.socket()).await?;
    if !advisories.is_empty() {
        wait_for_feeds(&mut wire).await?;
        figures.import_cpu.samples.push(server.cpu_seconds()?);
        figures.idle_memory.samples.push(server.own_memory_mib()?);
    }
    for (digest, bytes) in &image.blobs {
        wire.push_blob("prod/bench", &digest.to_string(), bytes.clone()).await?;
    }
    let answer = image.push_and_wait(&mut wire, "prod/bench", &mut figures.new_image).await?;
    for number in 0..KNOWN_PUSHES {
        let repository = format!("dev/bench-{number}");
        for (digest, _) in &image.blobs {
            let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from=prod%2Fbench");
            wire.send(Method::POST, &path, "application/octet-stream", Bytes::new()).await?;
        }
        image.push_and_wait(&mut wire, &repository, &mut figures.known_image).await?;
    }
    for _ in 0..50 {
        let start = Instant::now();
        wire.json("/api/v1/scan?image=prod%2Fbench%3A1").await?;
        figures.scan.samples.push(elapsed_ms(start));
        let start = Instant::now();
        wire.json("/api/v1/check?image=prod%2Fbench%3A1").await?;
        figures.check.samples.push(elapsed_ms(start));
        let start = Instant::now();
        let path = "/v2/dev/bench-0/manifests/1";
        wire.send(Method::GET, path, "application/octet-stream", Bytes::new()).await?;
        figures.pull.samples.push(elapsed_ms(start));
    }
    figures.used_memory.samples.push(server.own_memory_mib()?);
    drop(wire);
    server.stop().await?;
    look_up(server.data(), &image.digest, figures).await?;
    Ok(answer)
}

/// The look-up of the pull path, in this process over the stopped server's database.
async fn look_up(data: &Path, digest: &Digest, figures: &mut Figures) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| unable(seaworthy_store::chain(error));
    let path = data.join("seaworthy.sqlite");
    let db = Db::open_sqlite(&path, Arc::new(SystemClock)).await.map_err(|error| failed(&error))?;
    let clearance = Clearance::open(db.clone()).await.map_err(|error| failed(&error))?;
    for number in 0..KNOWN_PUSHES {
        let name = format!("dev/bench-{number}");
        let repository: RepoName = name.parse().map_err(|_| usage("no repository name"))?;
        let start = Instant::now();
        clearance.ask(&repository, digest).await.map_err(|error| failed(&error))?;
        figures.look_up_read.samples.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        for _ in 0..1_000 {
            clearance.ask(&repository, digest).await.map_err(|error| failed(&error))?;
        }
        figures.look_up_cached.samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    db.close().await;
    Ok(())
}

async fn wait_for_feeds(wire: &mut Wire) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_mins(5);
    while Instant::now() < deadline {
        if wire.json("/api/v1/advisories").await?.get("state").and_then(Value::as_str) == Some("settled") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(unable("the feeds were not imported within five minutes"))
}

/// What is measured, in the order of the report.
struct Figures {
    ready: Figure,
    import_cpu: Figure,
    idle_memory: Figure,
    new_image: Figure,
    known_image: Figure,
    scan: Figure,
    check: Figure,
    pull: Figure,
    look_up_read: Figure,
    look_up_cached: Figure,
    used_memory: Figure,
}

impl Figures {
    fn new() -> Self {
        Self {
            ready: Figure::new("process start to ready", "ms"),
            import_cpu: Figure::new("start and import, cpu", "s"),
            idle_memory: Figure::new("idle server, own memory", "MiB"),
            new_image: Figure::new("manifest to verdict, new layers", "ms"),
            known_image: Figure::new("manifest to verdict, known layers", "ms"),
            scan: Figure::new("scan of a known image", "ms"),
            check: Figure::new("check of a known image", "ms"),
            pull: Figure::new("manifest by tag, gated", "ms"),
            look_up_read: Figure::new("clearance look-up, one read", "us"),
            look_up_cached: Figure::new("clearance look-up, cached", "us"),
            used_memory: Figure::new("used server, own memory", "MiB"),
        }
    }

    fn all(self) -> Vec<Figure> {
        let Self { ready, import_cpu, idle_memory, new_image, known_image, scan, check, pull, .. } = self;
        let Self { look_up_read, look_up_cached, used_memory, .. } = self;
        let all = [ready, import_cpu, idle_memory, new_image, known_image, scan, check, pull];
        let mut all: Vec<Figure> =
            all.into_iter().chain([look_up_read, look_up_cached, used_memory]).collect();
        all.retain(|figure| !figure.samples.is_empty());
        all
    }
}

impl Image {
    fn read(root: &Path, tag: Option<&str>) -> Result<Self, Failure> {
        let (digest, manifest, parsed) = image::layout_image(root, tag)?;
        let ImageManifest { config, layers, .. } = &parsed;
        let mut blobs = Vec::new();
        for descriptor in layers.iter().chain([config]) {
            let path = layout::blob_path(root, &descriptor.digest);
            let bytes =
                std::fs::read(&path).map_err(|error| unable(format!("`{}`: {error}", path.display())))?;
            blobs.push((descriptor.digest, Bytes::from(bytes)));
        }
        let value: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let media_type =
            value.get("mediaType").and_then(Value::as_str).unwrap_or(seaworthy_oci::media::OCI_MANIFEST);
        Ok(Self { digest, media_type: media_type.to_owned(), manifest: manifest.into(), blobs })
    }

    /// Puts the manifest, and measures from its acknowledgement to the verdict.
    async fn push_and_wait(
        &self,
        wire: &mut Wire,
        repository: &str,
        figure: &mut Figure,
    ) -> Result<Value, Failure> {
        wire.push_manifest(repository, &self.media_type, self.manifest.clone()).await?;
        let acknowledged = Instant::now();
        let path = format!("/api/v1/check?image={}%3A1&wait=60", crate::client::encode(repository));
        let answer = wire.json(&path).await?;
        figure.samples.push(elapsed_ms(acknowledged));
        match answer.get("verdict") {
            Some(verdict) if verdict != "pending" => Ok(verdict.clone()),
            _ => Err(unable("the verdict was still pending after a minute")),
        }
    }
}
