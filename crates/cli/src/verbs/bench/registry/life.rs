//! Registries that are killed and started again: at random moments while they are written to, for what they
//! acknowledged and lost; and with many manifests, for how soon they give one out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use seaworthy_oci::Digest;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    peer::{Connection, OCTETS, Peer, empty, whole},
    work::Load,
    workloads::{image, manifest, noise, small_image},
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::{Figure, elapsed_ms},
};

const PUSHERS: u8 = 4;
/// At most so long after it is ready, a server is killed.
const LIFE: Duration = Duration::from_millis(400);
const RETRY: Duration = Duration::from_millis(10);
/// How long a server may take until it gives out what it has: some of it is judged first.
const GIVEN: Duration = Duration::from_mins(2);

/// What a server said it has.
#[derive(Default)]
struct Acknowledged {
    images: Vec<Image>,
    /// Layers that it did not know when their manifest came.
    lost_layers: u32,
}

struct Image {
    repository: String,
    tag: String,
    manifest: String,
    layer: String,
}

/// A registry that the bench starts.
pub(super) trait Life {
    /// What it is now: another process after each start.
    fn peer(&self) -> Result<Peer, Failure>;
    /// Kills it and starts it again.
    async fn kill_and_start(&mut self) -> Result<(), Failure>;
    /// That of its run.
    fn seed(&self) -> u64;
}

pub(super) async fn kills(it: &mut impl Life, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let (now, servers) = watch::channel(it.peer()?);
    let over = Arc::new(AtomicBool::new(false));
    let mut pushers = JoinSet::new();
    for number in 0..PUSHERS {
        pushers.spawn(push(number, servers.clone(), over.clone()));
    }
    let mut again = Figure::new("killed and started again".to_owned(), "ms");
    for kill in 0..flags.kills {
        let random = noise(it.seed() ^ u64::from(kill), 8);
        sleep(LIFE.mul_f64(f64::from(random.first().copied().unwrap_or_default()) / 255.0)).await;
        let begun = Instant::now();
        it.kill_and_start().await?;
        again.samples.push(elapsed_ms(begun));
        now.send_replace(it.peer()?);
    }
    over.store(true, Ordering::Relaxed);
    let (mut images, mut lost_layers) = (Vec::new(), 0);
    while let Some(ended) = pushers.join_next().await {
        let acknowledged = ended.map_err(|error| unable(error.to_string()))?;
        images.extend(acknowledged.images);
        lost_layers += acknowledged.lost_layers;
    }
    let peer = it.peer()?;
    let mut connection = peer.connect().await?;
    let mut lost = 0;
    for image in &images {
        lost += u32::from(!is_there(&mut connection, image).await?);
    }
    let count = f64::from(u32::try_from(images.len()).unwrap_or(u32::MAX));
    Ok(vec![
        again,
        Figure::of("images acknowledged while it was killed".to_owned(), "", count),
        Figure::of("images acknowledged and lost".to_owned(), "", f64::from(lost)),
        Figure::of("layers acknowledged and lost".to_owned(), "", f64::from(lost_layers)),
    ])
}

/// Pushes images, small and large ones, each blob and manifest again and again until it is acknowledged, and not again
/// afterwards.
async fn push(number: u8, servers: watch::Receiver<Peer>, over: Arc<AtomicBool>) -> Acknowledged {
    let mut all = Acknowledged::default();
    for count in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        // In the database, in a file, and in a file that is written before all of it came.
        let length = match count % 4 {
            1 => 60_000,
            3 => 3 << 20,
            _ => 2_000,
        };
        let (layer, bytes) = servers.borrow().blobs(100 + number, length).get(count);
        let (repository, tag) = (format!("kill-{}", count % 3), format!("p{number}-{count}"));
        let mut is_pushed = false;
        let manifest = loop {
            let peer = servers.borrow().clone();
            match push_one(&peer, (&repository, &tag), (&layer, &bytes), &mut is_pushed).await {
                Ok(manifest) => break manifest,
                Err(Failure::Problem(problem)) if is_pushed && problem.message.contains("BLOB_UNKNOWN") => {
                    all.lost_layers += 1;
                    is_pushed = false;
                }
                // Killed meanwhile; the last server lives.
                Err(_) => sleep(RETRY).await,
            }
        };
        all.images.push(Image { repository, tag, manifest, layer });
    }
    all
}

async fn push_one(
    peer: &Peer,
    (repository, tag): (&str, &str),
    (layer, bytes): (&str, &Bytes),
    is_pushed: &mut bool,
) -> Result<String, Failure> {
    let mut connection = peer.connect().await?;
    if !*is_pushed {
        connection.push_streamed(repository, (layer, bytes)).await?;
        *is_pushed = true;
    }
    image(&mut connection, repository, (tag, &[(layer, bytes.len())])).await
}

/// True when the server gives the image out, with the bytes that it was pushed with.
async fn is_there(connection: &mut Connection, image: &Image) -> Result<bool, Failure> {
    let Image { repository, tag, manifest, layer } = image;
    for (rest, digest) in [(format!("manifests/{tag}"), manifest), (format!("blobs/{layer}"), layer)] {
        let path = connection.peer().path(&format!("{repository}/{rest}"));
        let begun = Instant::now();
        loop {
            let reply = connection.send(Method::GET, &path, (OCTETS, empty())).await?;
            let reply = whole(reply, &path).await?;
            match reply.status() {
                StatusCode::OK if Digest::sha256(reply.body()).to_string() == *digest => break,
                StatusCode::OK | StatusCode::NOT_FOUND => return Ok(false),
                // What is not judged yet is asked for again.
                _ if begun.elapsed() > GIVEN => return Ok(false),
                _ => sleep(RETRY).await,
            }
        }
    }
    Ok(true)
}

/// How soon a killed registry with many manifests gives one out.
pub(super) async fn cold(it: &mut impl Life, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let peer = it.peer()?;
    let (layer, size) = small_image(&peer, "cold").await?;
    let fill = Load { name: "", connections: 64, jobs: flags.rows, job_bytes: 0 };
    fill.run(&peer, move |mut connection, number| {
        let layer = layer.clone();
        async move {
            let tag = format!("t{number:07}");
            let manifest = manifest((&layer, size), &[(&layer, size)], &tag);
            connection.put_manifest("cold", &tag, &manifest).await?;
            Ok(connection)
        }
    })
    .await?;
    let mut figure = Figure::new(format!("killed, started, first pull of {} manifests", flags.rows), "ms");
    for _ in 0..3 {
        let begun = Instant::now();
        it.kill_and_start().await?;
        let mut connection = it.peer()?.connect().await?;
        connection.get(Method::GET, &peer.path("cold/manifests/1")).await?;
        figure.samples.push(elapsed_ms(begun));
    }
    Ok(vec![figure])
}
