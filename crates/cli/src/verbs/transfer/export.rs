//! `image export`: images of the registry to a layout.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use indicatif::ProgressBar;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Platform};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    collect::{Collection, Extent, Needed, Referrers, Root, Wanted},
    local, names,
};
use crate::{
    client::{Server, broke},
    distribution::{Name, Remote},
    failure::{Failure, Outcome, usage},
    flags::{ExportFlags, Global},
    layout::{Destination, Place, Writer, limit},
    render::{self, Amount},
    text::{Text, language},
};

/// Pieces of a blob that are on their way from the server to the disk.
const PIECES: usize = 8;

pub(crate) async fn export(global: &Global, flags: &ExportFlags) -> Outcome {
    let server = Server::of(global)?;
    let registry = server.registry();
    let mut wanted = Vec::new();
    let texts: Vec<&str> = flags.references.iter().map(String::as_str).collect();
    let names = names(&server, &texts).await;
    for text in texts {
        let image = parse(text, &names)?;
        if !wanted.contains(&image) {
            wanted.push(image);
        }
    }
    let platform = flags.platform.as_deref().map(platform).transpose()?;
    let referrers = if flags.no_referrers { Referrers::Left } else { Referrers::Along };
    let extent = Extent { platform, referrers };
    let to = Destination::parse(&flags.to)?;

    let mut remote = Remote::connect(&server).await?;
    let mut collection = Collection::default();
    for image in &wanted {
        collection.add(&mut remote, image, &extent).await?;
    }
    let blobs = collection.blobs()?;
    let total = blobs.iter().map(|blob| blob.size).sum();
    let bar = render::progress(global, Text::ExportingImages, Amount::BytesOf(total));
    let written = write(&mut remote, (&collection, &blobs), &to, &bar).await;
    bar.finish_and_clear();
    written?.finish(&collection.entries(registry.as_deref()), &collection.docker(registry.as_deref()))?;
    if collection.foreign > 0 {
        render::note(&format!("{} {}", Text::ForeignLeftOut.say(language()), collection.foreign));
    }
    let of = |list: fn(&Root) -> &Vec<Digest>| -> BTreeSet<String> {
        collection.roots.iter().flat_map(list).map(Digest::to_string).collect()
    };
    for (why, left) in
        [(Text::AbsentLeftOut, of(|root| &root.absent)), (Text::RefusedLeftOut, of(|root| &root.left))]
    {
        if !left.is_empty() {
            let left: Vec<String> = left.into_iter().collect();
            render::note(&format!("{} {}", why.say(language()), left.join(", ")));
        }
    }
    say(global, &collection, &to);
    Ok(())
}

/// Writes all but what names the images.
async fn write(
    remote: &mut Remote,
    (collection, blobs): (&Collection, &[Needed<'_>]),
    to: &Destination,
    bar: &ProgressBar,
) -> Result<Writer, Problem> {
    let mut writer = Writer::create(to)?;
    for (digest, bytes) in collection.manifests() {
        if !writer.holds(digest, bytes.len() as u64) {
            let written = writer.blob(digest, bytes.len() as u64, &bytes[..]);
            written.map_err(|error| unwritten(digest, &error))?;
        }
    }
    for blob in blobs {
        writer = bring(remote, writer, *blob, bar).await?;
    }
    Ok(writer)
}

/// The images of an export: on stdout, unless the archive is there.
fn say(global: &Global, collection: &Collection, to: &Destination) {
    let rows = collection.roots.iter().map(|root| {
        let name = match (&root.wanted.place.tag, &root.wanted.name) {
            (None, Name::Digest(digest)) => format!("{}@{digest}", root.wanted.place.repository),
            _ => root.wanted.place.to_string(),
        };
        json!({
            "reference": name, "digest": root.digest, "bytes": collection.bytes_of(root),
            "referrers": root.referrers.len(), "absent": root.absent, "refused": root.left,
        })
    });
    let rows = rows.collect();
    if *to == Destination::Stdout {
        return;
    }
    let columns = [
        ("REFERENCE", "/reference"),
        ("DIGEST", "/digest"),
        ("BYTES", "/bytes"),
        ("REFERRERS", "/referrers"),
    ];
    render::list(global, &rows, "/digest", &columns);
}

/// `prod/web:1`, `prod/web@sha256:…`, or both: that digest, by that name.
fn parse(text: &str, names: &[String]) -> Result<Wanted, Failure> {
    let reference = local(text, names)?;
    let name = match (reference.digest, &reference.tag) {
        (Some(digest), _) => Name::Digest(digest),
        (None, Some(tag)) => Name::Tag(tag.clone()),
        (None, None) => return Err(usage(format!("`{text}` has neither a tag nor a digest"))),
    };
    Ok(Wanted { place: Place { repository: reference.repository, tag: reference.tag }, name })
}

/// `linux/arm64`, `linux/arm/v7`.
fn platform(text: &str) -> Result<Platform, Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    let named = |os: &str, architecture: &str, variant: Option<&str>| Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.map(str::to_owned),
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err(usage(format!("`{text}` is not a platform like `linux/arm64`")));
    }
    match parts.as_slice() {
        [os, architecture] => Ok(named(os, architecture, None)),
        [os, architecture, variant] => Ok(named(os, architecture, Some(variant))),
        _ => Err(usage(format!("`{text}` is not a platform like `linux/arm64`"))),
    }
}

fn unwritten(digest: &Digest, why: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("failed to export {digest}: {why}"))
}

/// Brings a blob into the layout, unless it is there.
async fn bring(
    remote: &mut Remote,
    writer: Writer,
    blob: Needed<'_>,
    bar: &ProgressBar,
) -> Result<Writer, Problem> {
    let Needed { digest, size, .. } = blob;
    let ended = |_| unwritten(&digest, &"the thread that writes it ended");
    let task = move || {
        let is_there = writer.holds(&digest, size);
        (writer, is_there)
    };
    let (mut writer, is_there) = tokio::task::spawn_blocking(task).await.map_err(ended)?;
    if is_there {
        bar.inc(size);
        return Ok(writer);
    }
    let (sender, receiver) = mpsc::channel(PIECES);
    let shown = bar.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let pieces = Pieces { receiver, rest: Bytes::new() };
        let written = writer.blob(&digest, size, shown.wrap_read(pieces));
        (writer, written)
    });
    let sent = send(remote, blob, sender).await;
    let (writer, written) = writing.await.map_err(ended)?;
    sent?;
    written.map_err(|error| unwritten(&digest, &error))?;
    Ok(writer)
}

/// Sends a blob to whoever writes it. What broke off is taken up where it did.
async fn send(remote: &mut Remote, blob: Needed<'_>, sender: mpsc::Sender<Bytes>) -> Result<(), Problem> {
    remote.wait_anew();
    let mut at = 0;
    for attempt in 1.. {
        let problem = match pour(remote, blob, &sender, &mut at).await {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        if problem.code != ErrorCode::Unavailable || attempt >= limit::ATTEMPTS {
            return Err(Problem { message: unwritten(&blob.digest, &problem.message).message, ..problem });
        }
        tokio::time::sleep(pause(attempt)).await;
        // It may be away for longer: the next attempt says so.
        drop(remote.reconnect().await);
    }
    Ok(())
}

/// Before another attempt: a quarter of a second, then longer.
pub(super) fn pause(attempt: u32) -> Duration {
    Duration::from_millis(125 << attempt.min(limit::ATTEMPTS))
}

/// Sends what follows `at`, as it comes. An end that comes early is one when there should be more.
async fn pour(
    remote: &mut Remote,
    blob: Needed<'_>,
    sender: &mpsc::Sender<Bytes>,
    at: &mut u64,
) -> Result<(), Problem> {
    let mut body = remote.blob(blob.repository, &blob.digest, *at).await?;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|error| broke(&error))?.into_data() else { continue };
        *at += bytes.len() as u64;
        // Who writes has refused it, and says why.
        if sender.send(bytes).await.is_err() {
            return Ok(());
        }
    }
    if *at < blob.size { Err(broke(&format!("{at} of {} bytes came", blob.size))) } else { Ok(()) }
}

/// What comes, for a thread that may wait for it.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(next) => self.rest = next,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_by_tag_or_digest() {
        let digest = Digest::sha256(b"");
        let names = ["r.example".to_owned(), "localhost:5000".to_owned()];
        for (text, repository) in [
            ("prod/web:1".to_owned(), Some("prod/web")),
            (format!("prod/web@{digest}"), Some("prod/web")),
            (format!("prod/web:1@{digest}"), Some("prod/web")),
            ("localhost:5000/prod/web:1".to_owned(), Some("prod/web")),
            ("R.example/prod/web:1".to_owned(), Some("prod/web")),
            ("other.example/prod/web:1".to_owned(), Some("other.example/prod/web")),
            ("other.example:5000/prod/web:1".to_owned(), None),
            ("prod/web".to_owned(), None),
            ("Prod/web:1".to_owned(), None),
        ] {
            let found = parse(&text, &names).ok().map(|wanted| wanted.place.repository.to_string());
            assert_eq!(found.as_deref(), repository, "{text}");
        }
        for (text, is_fine) in [
            ("linux/arm64", true),
            ("linux/arm/v7", true),
            ("linux", false),
            ("a/b/c/d", false),
            ("linux/", false),
        ] {
            assert_eq!(platform(text).is_ok(), is_fine, "{text}");
        }
    }

    #[test]
    fn attempts_wait_longer_each_time_and_never_long() {
        let pauses: Vec<Duration> = (1..limit::ATTEMPTS).map(pause).collect();
        assert!(pauses.is_sorted());
        assert!(pauses.iter().all(|it| it.as_secs() < limit::RETRY_SECONDS));
    }
}
