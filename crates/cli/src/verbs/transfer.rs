//! Images as OCI layouts: `image export`, `image import` of one. Everything goes through the distribution API, so that
//! what the registry guarantees holds for what leaves and for what comes.

mod collect;
mod export;
mod import;
#[cfg(test)]
mod made;
mod plan;

pub(crate) use export::export;
pub(crate) use import::import;

use seaworthy_oci::{Manifest, Reference, limit::MANIFEST_BYTES, media};
use serde_json::Value;

use crate::{
    client::Server,
    failure::{Failure, usage},
    layout::limit,
};

/// What the registry is called: as it was reached, and as it says itself. It is asked only about a text that names a host,
/// and who cannot reach it yet hears so later.
pub(super) async fn names(server: &Server, texts: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = server.registry().into_iter().collect();
    let has_host = |text: &&str| text.parse().is_ok_and(|it: Reference| it.host.is_some());
    if texts.iter().any(has_host)
        && let Ok(who) = server.get("/api/v1/whoami").await
        && let Some(Value::Array(told)) = who.get("registry")
    {
        names.extend(told.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    names
}

/// An image of the registry, by what somebody calls it. What is read as a host is left out where it is the registry's name;
/// else it is the first part of the repository.
pub(super) fn local(text: &str, names: &[String]) -> Result<Reference, Failure> {
    let reference: Reference =
        text.parse().map_err(|error: seaworthy_oci::ReferenceError| usage(error.to_string()))?;
    let is_own = |host: &String| names.iter().any(|name| name.eq_ignore_ascii_case(host));
    if reference.host.as_ref().is_some_and(is_own) {
        return Ok(Reference { host: None, ..reference });
    }
    let repository = reference.whole_repository();
    let repository = repository.ok_or_else(|| usage(format!("`{text}` is an image of another registry")))?;
    Ok(Reference { host: None, repository, ..reference })
}

/// Manifests of one export or import, counted: they are in memory.
#[derive(Debug, Default)]
struct Held {
    manifests: usize,
    bytes: usize,
}

impl Held {
    /// One more of so many bytes; the reason when that is too many.
    fn add(&mut self, bytes: usize) -> Result<(), String> {
        self.manifests += 1;
        self.bytes += bytes;
        if self.manifests > limit::MANIFESTS {
            return Err(format!("there are more than {} manifests", limit::MANIFESTS));
        }
        if self.bytes > limit::MANIFESTS_BYTES {
            return Err(format!("the manifests have more than {} bytes", limit::MANIFESTS_BYTES));
        }
        Ok(())
    }
}

/// The blobs that go with a manifest, and how many stay away because a registry need not hold them.
fn blobs_of(manifest: &Manifest) -> (Vec<&seaworthy_oci::Descriptor>, usize) {
    let image = match manifest {
        Manifest::Image(image) => image,
        // Caches of builds are indexes of layers.
        Manifest::Index(index) => {
            let blobs = index.manifests.iter().filter(|child| !media::is_manifest(&child.media_type));
            return (blobs.collect(), 0);
        }
    };
    let (foreign, mut own): (Vec<_>, Vec<_>) = image.layers.iter().partition(|layer| layer.is_foreign());
    own.insert(0, &image.config);
    (own, foreign.len())
}

const _: () = assert!(MANIFEST_BYTES <= limit::MANIFESTS_BYTES, "one manifest always fits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_in_memory_are_bounded() {
        let mut held = Held::default();
        assert!((0..limit::MANIFESTS).all(|_| held.add(1).is_ok()));
        assert!(held.add(1).is_err());
        let mut held = Held::default();
        assert!(held.add(limit::MANIFESTS_BYTES).is_ok());
        assert!(held.add(1).is_err());
    }
}
