//! A server that is killed at random moments while it is written to: what it acknowledged and lost, and what it keeps
//! of what nobody knows.

use std::{
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
use seaworthy_store::Db;
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

/// An image that the server said it has.
struct Acknowledged {
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
    let mut acknowledged = Vec::new();
    while let Some(ended) = pushers.join_next().await {
        acknowledged.extend(ended.map_err(|error| unable(error.to_string()))?);
    }
    let peer = own.peer()?;
    let mut connection = peer.connect().await?;
    let mut lost = 0;
    for image in &acknowledged {
        lost += u32::from(!is_there(&mut connection, image).await?);
    }
    let count = f64::from(u32::try_from(acknowledged.len()).unwrap_or(u32::MAX));
    Ok(vec![
        again,
        Figure::of("images acknowledged while it was killed".to_owned(), "", count),
        Figure::of("images acknowledged and lost".to_owned(), "", f64::from(lost)),
        Figure::of("leaked after a repair".to_owned(), "bytes", leaked(own).await?),
    ])
}

/// Pushes images, small and large ones, each again and again until it is acknowledged.
async fn push(number: u8, servers: watch::Receiver<Peer>, over: Arc<AtomicBool>) -> Vec<Acknowledged> {
    let mut all = Vec::new();
    for count in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let peer = servers.borrow().clone();
        let length = if count % 2 == 0 { 2_000 } else { 60_000 };
        let (layer, bytes) = peer.blobs(100 + number, length).get(count);
        let (repository, tag) = (format!("kill-{}", count % 3), format!("p{number}-{count}"));
        loop {
            let peer = servers.borrow().clone();
            match push_one(&peer, (&repository, &tag), (&layer, &bytes)).await {
                Ok(manifest) => {
                    all.push(Acknowledged { repository, tag, manifest, layer });
                    break;
                }
                // Killed meanwhile; the last server lives.
                Err(_) => sleep(RETRY).await,
            }
        }
    }
    all
}

async fn push_one(
    peer: &Peer,
    (repository, tag): (&str, &str),
    (layer, bytes): (&str, &Bytes),
) -> Result<String, Failure> {
    let mut connection = peer.connect().await?;
    connection.push_streamed(repository, (layer, bytes)).await?;
    image(&mut connection, repository, (tag, &[(layer, bytes.len())])).await
}

/// True when the server gives the image out, with the bytes that it was pushed with.
async fn is_there(connection: &mut Connection, image: &Acknowledged) -> Result<bool, Failure> {
    let Acknowledged { repository, tag, manifest, layer } = image;
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

/// Bytes of files that no row knows, after a repair to which all of them are old.
async fn leaked(own: &mut Own) -> Result<f64, Failure> {
    own.server.stop().await?;
    let data = own.server.data().to_owned();
    let folders = ["blobs/registry", "uploads/registry"].map(|folder| data.join(folder));
    // Older than anything that a repair leaves alone.
    let aged = FileTimes::new().set_modified(UNIX_EPOCH);
    for folder in &folders {
        each_file(folder, &mut |file, _| file.set_times(aged))?;
    }
    own.server.go_on().await?;
    repair(own).await?;
    own.server.stop().await?;
    let (mut bytes, mut sessions) = (0_u64, Vec::new());
    let [blobs, uploads] = &folders;
    each_file(blobs, &mut |file, _| {
        bytes += file.metadata()?.len();
        Ok(())
    })?;
    each_file(uploads, &mut |file, name| {
        sessions.push((name.parse::<UploadId>().ok(), file.metadata()?.len()));
        Ok(())
    })?;
    let db = own.database().await?;
    let known = known(&db, sessions).await;
    db.close().await;
    let (in_rows, unknown) = known.map_err(|error| unable(error.to_string()))?;
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^53")]
    let leaked = (bytes.saturating_sub(in_rows) + unknown) as f64;
    Ok(leaked)
}

/// Bytes of blobs that rows know to be in files, and of uploads that no row knows.
async fn known(
    db: &Db,
    sessions: Vec<(Option<UploadId>, u64)>,
) -> Result<(u64, u64), seaworthy_store::DbError> {
    let mut unknown = 0;
    for (id, bytes) in sessions {
        let is_known = match id {
            Some(id) => measuring::has_upload(db, id).await?,
            None => false,
        };
        unknown += if is_known { 0 } else { bytes };
    }
    Ok((measuring::file_bytes(db).await?, unknown))
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
