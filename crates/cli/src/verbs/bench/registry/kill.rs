//! A server that is killed at random moments while it is written to: what it acknowledged and lost, and what it keeps
//! of what nobody knows.

use std::{
    collections::BTreeMap,
    fs::{File, FileTimes},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use seaworthy_model::UploadId;
use seaworthy_oci::Digest;
use seaworthy_registry::measuring;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    own::Own,
    peer::{Connection, OCTETS, Peer, empty, whole},
    workloads::{image, noise},
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::{Figure, elapsed_ms, wire::Wire},
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

pub(super) async fn kills(own: &mut Own, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
    let (now, servers) = watch::channel(own.peer()?);
    let over = Arc::new(AtomicBool::new(false));
    let mut pushers = JoinSet::new();
    for number in 0..PUSHERS {
        pushers.spawn(push(number, servers.clone(), over.clone()));
    }
    let mut again = Figure::new("killed and started again".to_owned(), "ms");
    for kill in 0..flags.kills {
        let random = noise(own.seed() ^ u64::from(kill), 8);
        sleep(LIFE.mul_f64(f64::from(random.first().copied().unwrap_or_default()) / 255.0)).await;
        let begun = Instant::now();
        own.server.restart().await?;
        again.samples.push(elapsed_ms(begun));
        now.send_replace(own.peer()?);
    }
    over.store(true, Ordering::Relaxed);
    let (mut images, mut lost_layers) = (Vec::new(), 0);
    while let Some(ended) = pushers.join_next().await {
        let acknowledged = ended.map_err(|error| unable(error.to_string()))?;
        images.extend(acknowledged.images);
        lost_layers += acknowledged.lost_layers;
    }
    let peer = own.peer()?;
    let mut connection = peer.connect().await?;
    let mut lost = 0;
    for image in &images {
        lost += u32::from(!is_there(&mut connection, image).await?);
    }
    let count = f64::from(u32::try_from(images.len()).unwrap_or(u32::MAX));
    let (leaked, missing) = after_repair(own).await?;
    Ok(vec![
        again,
        Figure::of("images acknowledged while it was killed".to_owned(), "", count),
        Figure::of("images acknowledged and lost".to_owned(), "", f64::from(lost)),
        Figure::of("layers acknowledged and lost".to_owned(), "", f64::from(lost_layers)),
        Figure::of("leaked after a repair".to_owned(), "bytes", leaked),
        Figure::of("files missing after a repair".to_owned(), "", missing),
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

/// After a repair to which all files are old: the bytes of those that no row knows, and how many that a row knows are
/// missing.
async fn after_repair(own: &mut Own) -> Result<(f64, f64), Failure> {
    own.server.stop().await?;
    let data = own.server.data().to_owned();
    let [blobs, uploads] = ["blobs/registry", "uploads/registry"].map(|folder| data.join(folder));
    // Older than anything that a repair leaves alone.
    let aged = FileTimes::new().set_modified(UNIX_EPOCH);
    for folder in [&blobs, &uploads] {
        each_file(folder, &mut |file, _| file.set_times(aged))?;
    }
    own.server.go_on().await?;
    repair(own).await?;
    own.server.stop().await?;
    let mut files = BTreeMap::new();
    for folder in [&blobs, &uploads] {
        each_file(folder, &mut |file, name| {
            files.insert(name.to_owned(), file.metadata()?.len());
            Ok(())
        })?;
    }
    let db = own.database().await?;
    let known = measuring::files(&db).await;
    db.close().await;
    let mut missing = 0;
    for name in known.map_err(|error| unable(error.to_string()))? {
        // A session need not have a file: what it received may be nothing.
        missing += u32::from(files.remove(&name).is_none() && name.parse::<UploadId>().is_err());
    }
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^53")]
    let leaked = files.values().sum::<u64>() as f64;
    Ok((leaked, f64::from(missing)))
}

async fn repair(own: &Own) -> Result<(), Failure> {
    let mut wire = Wire::open(&own.server.socket()).await?;
    let path = "/api/v1/registry/repair";
    let mut after = String::new();
    loop {
        let body = json!({"after": after, "apply": true}).to_string();
        let reply = wire.send(Method::POST, path, "application/json", body).await?;
        let page: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        if !reply.status.is_success() {
            return Err(unable(format!("`{path}` answered {}: {page}", reply.status)));
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut after),
            None => return Ok(()),
        }
    }
}

/// Looks at all files below a folder, which need not be there.
fn each_file(
    folder: &Path,
    look: &mut impl FnMut(&File, &str) -> std::io::Result<()>,
) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            each_file(&path, look)?;
            continue;
        }
        let name = entry.file_name();
        File::options()
            .append(true)
            .open(&path)
            .and_then(|file| look(&file, name.to_str().unwrap_or_default()))
            .map_err(|error| unable(format!("`{}`: {error}", path.display())))?;
    }
    Ok(())
}
