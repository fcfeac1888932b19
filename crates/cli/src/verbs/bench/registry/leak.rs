//! What a server of this binary keeps of what nobody knows, when it was killed often and was repaired.

use std::{
    collections::BTreeMap,
    fs::{File, FileTimes},
    path::Path,
    time::UNIX_EPOCH,
};

use http::Method;
use seaworthy_model::UploadId;
use seaworthy_registry::measuring;
use serde_json::{Value, json};

use super::own::Own;
use crate::{
    failure::{Failure, unable},
    verbs::bench::{Figure, wire::Wire},
};

/// After a repair to which all files are old: the bytes of those that no row knows, and how many that a row knows are
/// missing.
pub(super) async fn after_repair(own: &mut Own) -> Result<Vec<Figure>, Failure> {
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
    // For what is measured next.
    own.server.go_on().await?;
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^53")]
    let leaked = files.values().sum::<u64>() as f64;
    Ok(vec![
        Figure::of("leaked after a repair".to_owned(), "bytes", leaked),
        Figure::of("files missing after a repair".to_owned(), "", f64::from(missing)),
    ])
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
