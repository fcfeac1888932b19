//! The workloads, each with what it has to push before.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt as _;
use seaworthy_oci::Digest;
use serde_json::json;

use super::{
    peer::{Connection, OCTETS, Peer, empty, streamed},
    work::Load,
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::Figure,
};

/// All of them, in the order in which they run.
pub(super) const ALL: &[&str] = &[
    "push-streamed",
    "push",
    "pull",
    "manifest-get",
    "manifest-head",
    "manifest-put",
    "tiny",
    "tags",
    "catalog",
    "referrers",
    "same",
    "slow",
];

/// Bytes a second of a slow client.
const SLOW_BYTES: u32 = 100_000;
/// How long a registry may take until it gives an image out.
const GIVEN: Duration = Duration::from_mins(10);
/// Between two pieces of what a slow client sends.
const SLOW_PAUSE: Duration = Duration::from_millis(500);

/// Runs the workload of this name.
pub(super) async fn run(name: &str, peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    match name {
        "push-streamed" => pushes(peer, flags, "push, streamed, c=8").await,
        "push" => pushes(peer, flags, "push, one PUT, c=8").await,
        "pull" => pulls(peer, flags, ("pull, c=8", "pull")).await,
        "manifest-get" => reads(peer, flags, ("manifest GET by tag, c=16", Method::GET)).await,
        "manifest-head" => reads(peer, flags, ("manifest HEAD by tag, c=16", Method::HEAD)).await,
        "manifest-put" => {
            let mut all = puts(peer, flags, ("manifest PUT, new tag, c=8", 8)).await?;
            all.extend(puts(peer, flags, ("manifest PUT, new tag, c=64", 64)).await?);
            Ok(all)
        }
        "tiny" => tiny(peer, flags).await,
        "tags" => tags(peer, flags).await,
        "catalog" => catalog(peer, flags).await,
        "referrers" => referrers(peer, flags).await,
        "same" => same(peer, flags).await,
        _ => slow(peer, flags).await,
    }
}

/// Bytes that no compression makes smaller, and no two numbers have in common (xorshift).
pub(super) fn noise(number: u64, length: usize) -> Bytes {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = BytesMut::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

/// One blob of many: the same noise behind another beginning.
#[derive(Clone)]
pub(super) struct Blobs {
    seed: u64,
    noise: Bytes,
}

impl Blobs {
    pub(super) fn new(seed: u64, length: usize) -> Self {
        Self { seed, noise: noise(seed, length) }
    }

    pub(super) fn get(&self, number: u32) -> (String, Bytes) {
        let mut bytes = BytesMut::from(self.noise.as_ref());
        let mark = noise(self.seed ^ (u64::from(number) << 20), 16.min(bytes.len()));
        bytes.iter_mut().zip(mark.iter()).for_each(|(slot, byte)| *slot = *byte);
        let bytes = bytes.freeze();
        (Digest::sha256(&bytes).to_string(), bytes)
    }
}

fn blob_bytes(flags: &BenchRegistryFlags) -> usize {
    flags.blob_mib as usize * (1 << 20)
}

async fn pushes(peer: &Peer, flags: &BenchRegistryFlags, name: &'static str) -> Result<Vec<Figure>, Failure> {
    let is_streamed = name.contains("streamed");
    let blobs = peer.blobs(if is_streamed { 1 } else { 2 }, blob_bytes(flags));
    // Hashed before, so that the client's processor time stands in nobody's way.
    let all: Vec<(String, Bytes)> = (0..flags.blobs).map(|number| blobs.get(number)).collect();
    let load = Load { name, connections: 8, jobs: flags.blobs, job_bytes: blob_bytes(flags) as u64 };
    load.run(peer, move |mut connection, number| {
        let blob = all.get(number as usize).cloned().unwrap_or_default();
        async move {
            let blob = (blob.0.as_str(), &blob.1);
            if is_streamed {
                connection.push_streamed("blobs", blob).await?;
            } else {
                connection.push("blobs", blob).await?;
            }
            Ok(connection)
        }
    })
    .await
}

pub(super) async fn pulls(
    peer: &Peer,
    flags: &BenchRegistryFlags,
    (name, repository): (&'static str, &str),
) -> Result<Vec<Figure>, Failure> {
    let (digest, bytes) = peer.blobs(3, blob_bytes(flags)).get(0);
    let mut connection = peer.connect().await?;
    connection.push(repository, (&digest, &bytes)).await?;
    image(&mut connection, repository, ("1", &[(&digest, bytes.len())])).await?;
    until_given(&mut connection, repository).await?;
    let jobs = flags.blobs * 4;
    let load = Load { name, connections: 8, jobs, job_bytes: bytes.len() as u64 };
    let path = peer.path(&format!("{repository}/blobs/{digest}"));
    let size = bytes.len() as u64;
    load.run(peer, move |mut connection, _| {
        let path = path.clone();
        async move {
            connection.pull(&path, size, || ()).await?;
            Ok(connection)
        }
    })
    .await
}

/// Pushes an image with a config of its own and layers that are there.
pub(super) async fn image(
    connection: &mut Connection,
    repository: &str,
    (tag, layers): (&str, &[(&str, usize)]),
) -> Result<String, Failure> {
    let config = Bytes::from(
        json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": []}, "comment": format!("{repository}:{tag}")})
        .to_string(),
    );
    let digest = Digest::sha256(&config).to_string();
    connection.push(repository, (&digest, &config)).await?;
    let manifest = manifest((&digest, config.len()), layers, tag);
    connection.put_manifest(repository, tag, &manifest).await?;
    Ok(Digest::sha256(&manifest).to_string())
}

/// Waits until an image is given out: a registry may look into it first.
async fn until_given(connection: &mut Connection, repository: &str) -> Result<(), Failure> {
    let path = connection.peer().path(&format!("{repository}/manifests/1"));
    let begun = Instant::now();
    loop {
        match connection.get(Method::GET, &path).await {
            Ok(_) => return Ok(()),
            Err(failure) if begun.elapsed() > GIVEN => return Err(failure),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

pub(super) fn manifest(config: (&str, usize), layers: &[(&str, usize)], mark: &str) -> Bytes {
    let layer = |(digest, size): &(&str, usize)| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": seaworthy_oci::media::OCI_MANIFEST,
        "config": {"mediaType": seaworthy_oci::media::OCI_CONFIG, "digest": config.0, "size": config.1},
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        "annotations": {"bench": mark},
    });
    manifest.to_string().into()
}

/// A repository with one image whose layer is small.
pub(super) async fn small_image(peer: &Peer, repository: &str) -> Result<(String, usize), Failure> {
    let mut connection = peer.connect().await?;
    let (digest, bytes) = peer.blobs(4, 1_000).get(0);
    connection.push(repository, (&digest, &bytes)).await?;
    image(&mut connection, repository, ("1", &[(&digest, bytes.len())])).await?;
    until_given(&mut connection, repository).await?;
    Ok((digest, bytes.len()))
}

async fn reads(
    peer: &Peer,
    flags: &BenchRegistryFlags,
    (name, method): (&'static str, Method),
) -> Result<Vec<Figure>, Failure> {
    small_image(peer, "manifest").await?;
    let load = Load { name, connections: 16, jobs: flags.requests, job_bytes: 0 };
    let path = peer.path("manifest/manifests/1");
    load.run(peer, move |mut connection, _| {
        let (method, path) = (method.clone(), path.clone());
        async move {
            connection.get(method, &path).await?;
            Ok(connection)
        }
    })
    .await
}

async fn puts(
    peer: &Peer,
    flags: &BenchRegistryFlags,
    (name, connections): (&'static str, u32),
) -> Result<Vec<Figure>, Failure> {
    let repository = format!("put-{connections}");
    let (layer, size) = small_image(peer, &repository).await?;
    let load = Load { name, connections, jobs: flags.requests / 4, job_bytes: 0 };
    load.run(peer, move |mut connection, number| {
        let (repository, layer) = (repository.clone(), layer.clone());
        async move {
            let tag = format!("t{number}");
            let manifest = manifest((&layer, size), &[(&layer, size)], &tag);
            connection.put_manifest(&repository, &tag, &manifest).await?;
            Ok(connection)
        }
    })
    .await
}

/// Images of two small blobs and a manifest, each in a repository of its own.
async fn tiny(peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let (blobs, before) = (peer.blobs(5, 2_000), peer.disk());
    let jobs = flags.requests / 4;
    let load = Load { name: "image of two small blobs, c=8", connections: 8, jobs, job_bytes: 0 };
    let mut figures = load
        .run(peer, move |mut connection, number| {
            let blobs = blobs.clone();
            async move {
                let repository = format!("tiny-{number}");
                let (digest, bytes) = blobs.get(number);
                connection.push(&repository, (&digest, &bytes)).await?;
                image(&mut connection, &repository, ("1", &[(&digest, bytes.len())])).await?;
                Ok(connection)
            }
        })
        .await?;
    if let (Some(before), Some(after)) = (before, peer.disk()) {
        let each = |what: &str, unit, used| {
            Figure::of(format!("{}: {what}", load.name), unit, used / f64::from(jobs.max(1)))
        };
        figures.push(each("files and folders", "each", after.0 - before.0));
        figures.push(each("disk", "bytes each", after.1 - before.1));
    }
    Ok(figures)
}

/// Reads the manifest that [`own::push_unneeded`](super::own::push_unneeded) put, whatever else the registry does.
pub(super) async fn read(peer: &Peer, jobs: u32, name: &'static str) -> Result<Vec<Figure>, Failure> {
    let load = Load { name, connections: 16, jobs, job_bytes: 0 };
    let path = peer.path("manifest/manifests/1");
    load.run_meanwhile(peer, move |mut connection, _| {
        let path = path.clone();
        async move {
            connection.get(Method::GET, &path).await?;
            Ok(connection)
        }
    })
    .await
}

/// Asks for pages of 100, each behind the one before.
async fn pages(
    peer: &Peer,
    flags: &BenchRegistryFlags,
    (name, first): (&'static str, String),
) -> Result<Vec<Figure>, Failure> {
    let load = Load { name, connections: 4, jobs: flags.requests / 10, job_bytes: 0 };
    load.run(peer, move |mut connection, _| {
        let first = first.clone();
        async move {
            connection.get(Method::GET, &first).await?;
            Ok(connection)
        }
    })
    .await
}

/// Puts one manifest under many names of one repository.
async fn fill(
    peer: &Peer,
    rows: u32,
    job: impl Fn(u32) -> (String, String, Bytes) + Clone + Send + 'static,
) -> Result<(), Failure> {
    let load = Load { name: "", connections: 16, jobs: rows, job_bytes: 0 };
    let filled = load.run(peer, move |mut connection, number| {
        let (repository, reference, manifest) = job(number);
        async move {
            connection.put_manifest(&repository, &reference, &manifest).await?;
            Ok(connection)
        }
    });
    filled.await.map(drop)
}

async fn tags(peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let (layer, size) = small_image(peer, "tags").await?;
    let one = manifest((&layer, size), &[(&layer, size)], "tags");
    fill(peer, flags.rows, move |number| ("tags".into(), format!("t{number:07}"), one.clone())).await?;
    let middle = peer.path(&format!("tags/tags/list?n=100&last=t{:07}", flags.rows / 2));
    pages(peer, flags, ("page of 100 tags", middle)).await
}

/// Repositories come with `tiny`; here are as many more as rows are asked for, a tenth.
async fn catalog(peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let blobs = peer.blobs(6, 100);
    let load = Load { name: "", connections: 16, jobs: flags.rows / 10, job_bytes: 0 };
    let filled = load.run(peer, move |mut connection, number| {
        let blobs = blobs.clone();
        async move {
            let repository = format!("catalog-{number:07}");
            let (digest, bytes) = blobs.get(number);
            connection.push(&repository, (&digest, &bytes)).await?;
            image(&mut connection, &repository, ("1", &[(&digest, bytes.len())])).await?;
            Ok(connection)
        }
    });
    filled.await?;
    let middle = format!("/v2/_catalog?n=100&last={}/catalog-{:07}", peer.folder(), flags.rows / 20);
    pages(peer, flags, ("page of 100 repositories", middle)).await
}

async fn referrers(peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let (layer, size) = small_image(peer, "subject").await?;
    let subject = manifest((&layer, size), &[(&layer, size)], "subject");
    let digest = Digest::sha256(&subject).to_string();
    let mut connection = peer.connect().await?;
    connection.put_manifest("subject", "subject", &subject).await?;
    let (length, of) = (subject.len(), digest.clone());
    fill(peer, flags.rows / 10, move |number| {
        let referrer = json!({
            "schemaVersion": 2, "mediaType": seaworthy_oci::media::OCI_MANIFEST,
            "artifactType": "application/vnd.example.sbom",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": layer, "size": size},
            "layers": [{"mediaType": "text/plain", "digest": layer, "size": size}],
            "subject": {"mediaType": seaworthy_oci::media::OCI_MANIFEST, "digest": of, "size": length},
            "annotations": {"number": number.to_string()},
        });
        let referrer = Bytes::from(referrer.to_string());
        ("subject".into(), Digest::sha256(&referrer).to_string(), referrer)
    })
    .await?;
    let path = peer.path(&format!("subject/referrers/{digest}"));
    pages(peer, flags, ("page of referrers", path)).await
}

/// Many clients push the same layers at once, each to a repository of its own.
async fn same(peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let blobs = peer.blobs(7, 1 << 20);
    let all: Vec<(String, Bytes)> = (0..20).map(|number| blobs.get(number)).collect();
    let before = peer.disk();
    let name = "64 clients push the same 20 layers of 1 MiB";
    let load = Load { name, connections: 64, jobs: 64, job_bytes: 20 << 20 };
    let mut figures = load
        .run(peer, move |mut connection, number| {
            let all = all.clone();
            async move {
                for (digest, bytes) in &all {
                    connection.push(&format!("same-{number}"), (digest, bytes)).await?;
                }
                Ok(connection)
            }
        })
        .await?;
    if let (Some(before), Some(after)) = (before, peer.disk()) {
        let times = (after.1 - before.1) / f64::from(20 << 20);
        figures.push(Figure::of(format!("{name}: stored"), "x their bytes", times));
    }
    let _ = flags;
    Ok(figures)
}

/// As many slow uploads as slow downloads at once, for as long as the flags say.
async fn slow(peer: &Peer, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let length = (u64::from(SLOW_BYTES) * u64::from(flags.slow_seconds)).try_into().unwrap_or(usize::MAX);
    let (digest, bytes) = peer.blobs(8, length).get(0);
    let mut connection = peer.connect().await?;
    connection.push("slow", (&digest, &bytes)).await?;
    image(&mut connection, "slow", ("1", &[(&digest, bytes.len())])).await?;
    until_given(&mut connection, "slow").await?;
    let jobs = flags.slow * 2;
    let load = Load { name: "slow uploads and downloads", connections: jobs, jobs, job_bytes: length as u64 };
    let path = peer.path(&format!("slow/blobs/{digest}"));
    load.run(peer, move |mut connection, number| {
        let (path, bytes) = (path.clone(), bytes.clone());
        async move {
            if number.is_multiple_of(2) {
                connection
                    .upload_slowly(streamed(bytes, (SLOW_BYTES as usize / 2, Some(SLOW_PAUSE))))
                    .await?;
                return Ok(connection);
            }
            let reply = connection.send(Method::GET, &path, (OCTETS, empty())).await?;
            let mut body = reply.into_body();
            let mut behind = 0;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| unable(format!("`{path}` broke off: {error}")))?;
                behind += frame.data_ref().map_or(0, Bytes::len);
                while behind >= SLOW_BYTES as usize / 2 {
                    behind -= SLOW_BYTES as usize / 2;
                    tokio::time::sleep(SLOW_PAUSE).await;
                }
            }
            Ok(connection)
        }
    })
    .await
}
