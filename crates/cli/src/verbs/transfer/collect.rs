//! What an export takes: manifests, what they list, what refers to them; everything but blobs is read here.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{
    Descriptor, Digest, ImageConfig, ImageManifest, Manifest, Platform, RepoName, limit::CONFIG_BYTES, media,
};
use serde_json::{Map, Value, json};

use super::{Held, blobs_of};
use crate::{
    client::read,
    distribution::{Name, Pulled, Remote},
    layout::{IMAGE_NAME, Place, REF_NAME, REPOSITORY, blob_name, limit},
    render,
    text::{Text, language},
};

/// An image as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) place: Place,
    pub(super) name: Name,
}

/// What comes along.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// One image of each index.
    pub(super) platform: Option<Platform>,
    /// Signatures, SBOMs, attestations.
    pub(super) referrers: Referrers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Referrers {
    Along,
    Left,
}

/// A blob, and where it can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed<'c> {
    pub(super) repository: &'c RepoName,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// One image that was asked for, with all that comes along.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) wanted: Wanted,
    pub(super) digest: Digest,
    pub(super) platform: Option<Platform>,
    /// All manifests, its own first.
    manifests: Vec<Digest>,
    pub(super) referrers: Vec<Digest>,
    /// What its indexes name and its repository does not have.
    pub(super) absent: Vec<Digest>,
    /// What refers to it and may not be pulled.
    pub(super) left: Vec<Digest>,
}

/// How a manifest belongs to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is a part of it.
    Part,
    /// It refers to it, or is a part of what does.
    Referrer,
}

/// All that goes into a layout. A manifest and a blob are in it once.
#[derive(Debug, Default)]
pub(super) struct Collection {
    manifests: BTreeMap<Digest, (Bytes, Manifest)>,
    held: Held,
    pub(super) roots: Vec<Root>,
    /// Layers that registries need not hold.
    pub(super) foreign: usize,
}

impl Collection {
    /// Reads an image and what comes along, as far as the registry gives it out.
    pub(super) async fn add(
        &mut self,
        remote: &mut Remote,
        wanted: &Wanted,
        extent: &Extent,
    ) -> Result<(), Problem> {
        let repository = &wanted.place.repository;
        let (first, platform) = start(remote, wanted, extent).await?;
        let mut root = Root {
            wanted: wanted.clone(),
            digest: first.digest,
            platform,
            manifests: Vec::new(),
            referrers: Vec::new(),
            absent: Vec::new(),
            left: Vec::new(),
        };
        let mut seen = HashSet::from([first.digest]);
        let (mut open, mut first) = (vec![(first.digest, 0, Role::Part)], Some(first));
        while let Some((digest, depth, role)) = open.pop() {
            if depth > limit::DEPTH {
                return Err(too_deep(&digest));
            }
            let pulled = match first.take() {
                Some(first) => first,
                None => match (remote.manifest(repository, &Name::Digest(digest)).await, role) {
                    (Ok(pulled), _) => pulled,
                    // An index may name what its repository does not have.
                    (Err(problem), _) if problem.code == ErrorCode::ManifestUnknown => {
                        root.absent.push(digest);
                        continue;
                    }
                    (Err(problem), Role::Referrer) if is_refusal(problem.code) => {
                        root.left.push(digest);
                        continue;
                    }
                    (Err(problem), _) => return Err(problem),
                },
            };
            let mut next: Vec<(Digest, Role)> = Vec::new();
            if let Manifest::Index(index) = &pulled.manifest {
                let images = index.manifests.iter().filter(|child| media::is_manifest(&child.media_type));
                next.extend(images.map(|child| (child.digest, role)));
            }
            if extent.referrers == Referrers::Along {
                let referrers = remote.referrers(repository, &pulled.digest).await?;
                let fresh = referrers.iter().map(|it| it.digest).filter(|digest| !seen.contains(digest));
                root.referrers.extend(fresh.clone());
                next.extend(fresh.map(|digest| (digest, Role::Referrer)));
            }
            root.manifests.push(pulled.digest);
            self.keep(pulled)?;
            next.retain(|(digest, _)| seen.insert(*digest));
            open.extend(next.into_iter().map(|(digest, role)| (digest, depth + 1, role)));
        }
        root.referrers.retain(|digest| !root.left.contains(digest) && !root.absent.contains(digest));
        root.referrers.sort_unstable();
        root.referrers.dedup();
        self.roots.push(root);
        Ok(())
    }

    fn keep(&mut self, pulled: Pulled) -> Result<(), Problem> {
        if self.manifests.contains_key(&pulled.digest) {
            return Ok(());
        }
        self.held
            .add(pulled.bytes.len())
            .map_err(|why| Problem::new(ErrorCode::TooLarge, why).hint("export fewer images at once"))?;
        self.foreign += blobs_of(&pulled.manifest).1;
        self.manifests.insert(pulled.digest, (pulled.bytes, pulled.manifest));
        Ok(())
    }

    /// Digests and bytes of all manifests, in digest order.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (&Digest, &Bytes)> {
        self.manifests.iter().map(|(digest, (bytes, _))| (digest, bytes))
    }

    /// The blobs of all of them, each once, in the order of the images.
    pub(super) fn blobs(&self) -> Result<Vec<Needed<'_>>, Problem> {
        let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
        let mut all = Vec::new();
        for root in &self.roots {
            for blob in self.blobs_of(root) {
                match sizes.insert(blob.digest, blob.size) {
                    None => all.push(Needed {
                        repository: &root.wanted.place.repository,
                        digest: blob.digest,
                        size: blob.size,
                    }),
                    Some(size) if size != blob.size => {
                        let message =
                            format!("{} is said to have {size} bytes, and {}", blob.digest, blob.size);
                        return Err(Problem::new(ErrorCode::SizeInvalid, message));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(all)
    }

    fn blobs_of(&self, root: &Root) -> impl Iterator<Item = &Descriptor> {
        let manifests = root.manifests.iter().filter_map(|digest| self.manifests.get(digest));
        manifests.flat_map(|(_, manifest)| blobs_of(manifest).0)
    }

    /// Bytes of an image with all that comes along, each blob once.
    pub(super) fn bytes_of(&self, root: &Root) -> u64 {
        let blobs: BTreeMap<Digest, u64> = self.blobs_of(root).map(|blob| (blob.digest, blob.size)).collect();
        let manifests = root.manifests.iter().filter_map(|digest| self.manifests.get(digest));
        manifests.map(|(bytes, _)| bytes.len() as u64).chain(blobs.into_values()).sum()
    }

    /// The entries of `index.json`: the images by name, what refers to them without one.
    pub(super) fn entries(&self, registry: Option<&str>) -> Vec<Value> {
        let named: HashSet<Digest> = self.roots.iter().map(|root| root.digest).collect();
        let referrers: BTreeSet<Digest> =
            self.roots.iter().flat_map(|root| &root.referrers).copied().collect();
        let images = self.roots.iter().filter_map(|root| {
            let mut entry = self.descriptor(&root.digest)?;
            entry.insert("annotations".to_owned(), annotations(&root.wanted.place, registry));
            if let Some(platform) = &root.platform {
                entry.insert("platform".to_owned(), json!(platform));
            }
            Some(Value::Object(entry))
        });
        let referrers = referrers.iter().filter(|digest| !named.contains(digest)).filter_map(|digest| {
            let mut entry = self.descriptor(digest)?;
            if let Some(kind) = self.manifests.get(digest)?.1.artifact_type() {
                entry.insert("artifactType".to_owned(), json!(kind));
            }
            Some(Value::Object(entry))
        });
        images.chain(referrers).collect()
    }

    /// Media type, digest and size of a manifest.
    fn descriptor(&self, digest: &Digest) -> Option<Map<String, Value>> {
        let (bytes, manifest) = self.manifests.get(digest)?;
        let fields = [
            ("mediaType", json!(manifest.media_type())),
            ("digest", json!(digest)),
            ("size", json!(bytes.len())),
        ];
        Some(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The entries of Docker's `manifest.json`: of each image the one that this machine can run, if all of it is there.
    pub(super) fn docker(&self, registry: Option<&str>) -> Vec<Value> {
        let entry = |root: &Root| {
            let image = self.runnable(&root.digest)?;
            let tag = root.wanted.place.tag.as_ref().map(|_| match registry {
                Some(registry) => format!("{registry}/{}", root.wanted.place),
                None => root.wanted.place.to_string(),
            });
            let layers: Vec<String> = image.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
            let tags: Vec<String> = tag.into_iter().collect();
            Some(json!({"Config": blob_name(&image.config.digest), "RepoTags": tags, "Layers": layers}))
        };
        self.roots.iter().filter_map(entry).collect()
    }

    fn runnable(&self, digest: &Digest) -> Option<&ImageManifest> {
        let mut digest = digest;
        for _ in 0..limit::DEPTH {
            match &self.manifests.get(digest)?.1 {
                Manifest::Image(image) => {
                    let whole = image.is_image() && !image.layers.iter().any(Descriptor::is_foreign);
                    return whole.then_some(image);
                }
                Manifest::Index(index) => {
                    digest = &index.manifests.iter().find(|child| runs_on(child, &Platform::host()))?.digest;
                }
            }
        }
        None
    }
}

/// The image itself; of an index the one of the platform, when one is asked for.
async fn start(
    remote: &mut Remote,
    wanted: &Wanted,
    extent: &Extent,
) -> Result<(Pulled, Option<Platform>), Problem> {
    let repository = &wanted.place.repository;
    let mut pulled = remote.manifest(repository, &wanted.name).await?;
    let Some(platform) = &extent.platform else { return Ok((pulled, None)) };
    let mut found = None;
    for _ in 0..limit::DEPTH {
        let index = match &pulled.manifest {
            Manifest::Index(index) => index,
            // An index has said it; of one image alone its config does.
            Manifest::Image(image) => {
                if found.is_none() {
                    check(remote, wanted, image, platform).await?;
                }
                return Ok((pulled, found));
            }
        };
        let Some(child) = index.manifests.iter().find(|child| runs_on(child, platform)) else {
            let message = format!("`{}` has no image for `{platform}`", wanted.place);
            return Err(
                Problem::new(ErrorCode::NotFound, message).hint("`seaworthy image show` lists its platforms")
            );
        };
        found.clone_from(&child.platform);
        pulled = remote.manifest(repository, &Name::Digest(child.digest)).await?;
    }
    Err(too_deep(&pulled.digest))
}

/// Refuses an image whose config names another platform. A config that names none is told of, and may be any.
async fn check(
    remote: &mut Remote,
    wanted: &Wanted,
    image: &ImageManifest,
    platform: &Platform,
) -> Result<(), Problem> {
    let Some(has) = platform_of(remote, &wanted.place.repository, image).await? else {
        render::note(&format!("{} `{}`", Text::PlatformUnsaid.say(language()), wanted.place));
        return Ok(());
    };
    if is_for(&has, platform) {
        return Ok(());
    }
    let message = format!("`{}` is for `{has}`, not for `{platform}`", wanted.place);
    Err(Problem::new(ErrorCode::NotFound, message)
        .hint("leave `--platform` out, or name the one that it has"))
}

/// What the config of an image says that it runs on, if it is one and says so.
async fn platform_of(
    remote: &mut Remote,
    repository: &RepoName,
    image: &ImageManifest,
) -> Result<Option<Platform>, Problem> {
    if !image.is_image() || image.config.size > CONFIG_BYTES as u64 {
        return Ok(None);
    }
    let body = remote.blob(repository, &image.config.digest, 0).await?;
    let bytes = read(body, CONFIG_BYTES).await?;
    if !image.config.digest.is_of(&bytes) {
        let message = format!("the server gave other bytes for {}", image.config.digest);
        return Err(Problem::new(ErrorCode::DigestInvalid, message));
    }
    let config = ImageConfig::parse(&bytes).ok();
    let said = config.filter(|it| !it.os.is_empty() && !it.architecture.is_empty());
    Ok(said.map(|it| Platform { os: it.os, architecture: it.architecture, variant: it.variant }))
}

fn runs_on(child: &Descriptor, wanted: &Platform) -> bool {
    child.platform.as_ref().is_some_and(|it| is_for(it, wanted))
}

/// Without a variant any will do.
fn is_for(has: &Platform, wanted: &Platform) -> bool {
    has.os == wanted.os
        && has.architecture == wanted.architecture
        && (wanted.variant.is_none() || has.variant.is_none() || has.variant == wanted.variant)
}

fn too_deep(digest: &Digest) -> Problem {
    let message = format!("{digest} lies more than {} manifests deep", limit::DEPTH);
    Problem::new(ErrorCode::ManifestInvalid, message)
}

/// It is not given out: another attempt says the same.
const fn is_refusal(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Blocked | ErrorCode::Denied | ErrorCode::Locked | ErrorCode::Pending)
}

/// What an image is called, and where it was.
fn annotations(place: &Place, registry: Option<&str>) -> Value {
    let full = registry.map(|registry| format!("{registry}/{place}"));
    let all = [
        (REPOSITORY, Some(place.repository.to_string())),
        (REF_NAME, place.tag.as_ref().map(|_| place.to_string())),
        (IMAGE_NAME, full.filter(|_| place.tag.is_some())),
    ];
    let given = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))));
    Value::Object(given.collect())
}
