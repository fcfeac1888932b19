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

use seaworthy_oci::{Manifest, limit::MANIFEST_BYTES, media};

use crate::layout::limit;

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
