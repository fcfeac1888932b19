//! Promotion: an image is copied to another repository by its digest, with the manifests that it consists of
//! and those that refer to it, in one transaction. Whether it may be there, whoever calls has asked: the
//! clearance of each image, as if it stood there.

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Problem, Scope};
use seaworthy_oci::{Digest, ImageIndex, Manifest, RepoName, Tag};
use seaworthy_store::Tx;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Registry, RegistryError, SparseIndexes, db, limit,
    lock::{self, Locks},
    path::ManifestName,
    push::{NamedBlobs, Push, describe},
    quarantine,
    refusal::object,
    rules::Way,
};

/// What is to be copied from where to where.
#[derive(Clone, Debug)]
pub struct Promotion {
    /// Where it is.
    pub source: RepoName,
    /// What.
    pub digest: Digest,
    /// Where it is to be.
    pub destination: RepoName,
    /// The tag that it gets there.
    pub tag: Option<Tag>,
    /// Why it may be there, for the ledger.
    pub because: Value,
}

/// What goes along with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Manifests of single images and artifacts that it consists of; itself, if it is no index.
    pub manifests: Vec<Digest>,
    /// Images that refer to it, or that what refers to it consists of: nobody asked for them by name.
    pub referring: Vec<Digest>,
    /// What indexes name and the repository does not have.
    pub absent: Vec<Digest>,
    /// All of it, what is named before what names it, what refers after what it refers to.
    all: Vec<Part>,
    /// Bytes of these manifests.
    bytes: usize,
    /// What these manifests name.
    references: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    digest: Digest,
    subject: Option<Digest>,
    media_type: String,
}

/// A part, as it was found.
struct Found {
    part: Part,
    locks: Locks,
    manifest: Manifest,
    bytes: usize,
}

/// What refers to an image goes along with it, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Referrers {
    /// It does: signatures and SBOMs are where the image is.
    #[default]
    Along,
    /// It stays.
    Left,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Promoted {
    /// Manifests and indexes that the destination has now, the promoted one among them.
    pub manifests: Vec<Digest>,
}

impl Parts {
    /// One more. All of them are written in one transaction, which others wait for.
    fn add(&mut self, found: Found) -> Result<Part, RegistryError> {
        self.bytes += found.bytes;
        self.references += match &found.manifest {
            Manifest::Image(image) => image.layers.len() + 1,
            Manifest::Index(index) => index.manifests.len(),
        };
        let too_much = |most: usize, what: &str| Err(too_much(most, what).into());
        if self.bytes > limit::PROMOTED_BYTES {
            return too_much(limit::PROMOTED_BYTES, "bytes of manifests");
        }
        if self.references > limit::PROMOTED_REFERENCES {
            return too_much(limit::PROMOTED_REFERENCES, "layers and images");
        }
        Ok(found.part)
    }

    /// Leaves something behind that refers to it, with what refers to that.
    pub fn leave(&mut self, digest: &Digest) {
        let mut left = vec![*digest];
        while let Some(gone) = left.pop() {
            self.all.retain(|part| {
                if part.subject == Some(gone) {
                    left.push(part.digest);
                }
                part.digest != gone
            });
        }
    }
}

impl Registry {
    /// The manifests that are copied with `digest`: of an index its children that are here, and whatever
    /// refers to any of them, with what that consists of. At most [`limit::PROMOTED_MANIFESTS`].
    pub async fn parts(
        &self,
        identity: &Identity,
        source: &RepoName,
        digest: &Digest,
    ) -> Result<Parts, RegistryError> {
        self.parts_with(identity, (source, digest), Referrers::Along).await
    }

    /// The same, with what refers to them or without.
    pub async fn parts_with(
        &self,
        identity: &Identity,
        (source, digest): (&RepoName, &Digest),
        referrers: Referrers,
    ) -> Result<Parts, RegistryError> {
        let stored = self.resolve(identity, source, &ManifestName::Digest(*digest)).await?;
        let scope = Scope::repository(source);
        let hides = self.is_quarantined(source).await?
            && !self.access().allows(identity, Permission::Quarantine, &scope).await?;
        let mut parts = Parts {
            manifests: Vec::new(),
            referring: Vec::new(),
            absent: Vec::new(),
            all: Vec::new(),
            bytes: 0,
            references: 0,
        };
        // An index before its children in this list, and the other way around afterwards.
        let mut names = vec![stored.digest];
        let mut next = 0;
        while let Some(name) = names.get(next).copied() {
            next += 1;
            let Some(found) = self.part(source, &name).await? else {
                parts.absent.push(name);
                continue;
            };
            if hides && !found.locks.has_passed() {
                return Err(quarantine::hidden(source, &ManifestName::Digest(name)).into());
            }
            // Who may not pull it here would pull it there.
            if let Some(refusal) = self.refused(identity, source, &name).await? {
                self.inner.refusals.record(&identity.actor, source, &name, &refusal).await?;
                return Err(refusal.problem.into());
            }
            match &found.manifest {
                Manifest::Index(index) => add(&mut names, self.children(source, &name, index).await?)?,
                Manifest::Image(_) => parts.manifests.push(name),
            }
            let part = parts.add(found)?;
            parts.all.push(part);
        }
        parts.all.reverse();
        if referrers == Referrers::Left {
            return Ok(parts);
        }
        let mut next = 0;
        while let Some(subject) = parts.all.get(next).map(|part| part.digest) {
            next += 1;
            let mut after = String::new();
            loop {
                let page = (after.as_str(), limit::REFERRERS);
                let referring = db::referring(self.db(), source, &subject, page).await?;
                self.refer((identity, source, hides), (&mut names, &mut parts), &referring).await?;
                match referring.last() {
                    Some(last) if referring.len() as u64 >= limit::REFERRERS.unsigned_abs() => {
                        after = last.to_string();
                    }
                    _ => break,
                }
            }
        }
        Ok(parts)
    }

    /// Adds what refers to something, with what it consists of. What is locked, hidden or refused stays behind.
    async fn refer(
        &self,
        (identity, source, hides): (&Identity, &RepoName, bool),
        (names, parts): (&mut Vec<Digest>, &mut Parts),
        referring: &[Digest],
    ) -> Result<(), RegistryError> {
        let (mut next, mut more) = (names.len(), Vec::new());
        add(names, referring.iter().copied())?;
        while let Some(name) = names.get(next).copied() {
            next += 1;
            let found = match self.part(source, &name).await {
                Ok(Some(found)) => found,
                Ok(None) => {
                    parts.absent.push(name);
                    continue;
                }
                Err(RegistryError::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            if hides && !found.locks.has_passed() || self.refused(identity, source, &name).await?.is_some() {
                continue;
            }
            match &found.manifest {
                Manifest::Index(index) => add(names, self.children(source, &name, index).await?)?,
                Manifest::Image(image) => {
                    if image.is_image() || self.may_be_run(&image.config.digest).await? {
                        parts.referring.push(name);
                    }
                }
            }
            more.push(parts.add(found)?);
        }
        more.reverse();
        parts.all.append(&mut more);
        Ok(())
    }

    /// What an index lists, but for blobs that are here: those are copied with it.
    async fn children(
        &self,
        source: &RepoName,
        digest: &Digest,
        index: &ImageIndex,
    ) -> Result<Vec<Digest>, RegistryError> {
        let blobs = db::blobs_of_index(self.db(), source, digest).await?;
        let children = index.manifests.iter().map(|child| child.digest);
        Ok(children.filter(|child| !blobs.iter().any(|(blob, _)| blob == child)).collect())
    }

    async fn part(&self, source: &RepoName, digest: &Digest) -> Result<Option<Found>, RegistryError> {
        let name = ManifestName::Digest(*digest);
        let Some(stored) = self.inner.reads.named(source, &name).await? else { return Ok(None) };
        lock::check_read(stored.locks, &format!("{source}@{digest}"))?;
        let Some(bytes) = self.inner.reads.bytes(digest).await? else { return Ok(None) };
        let manifest = Manifest::parse(&bytes, Some(&stored.media_type))?;
        let subject = manifest.subject().map(|subject| subject.digest);
        let part = Part { digest: *digest, subject, media_type: stored.media_type };
        Ok(Some(Found { part, locks: stored.locks, manifest, bytes: bytes.len() }))
    }

    /// Copies them. Who asks may pull there and push here; rules and locks of the destination hold.
    pub async fn promote(
        &self,
        identity: &Identity,
        promotion: Promotion,
        parts: Parts,
    ) -> Result<Promoted, RegistryError> {
        self.require(identity, Permission::Pull, &promotion.source).await?;
        self.require(identity, Permission::Push, &promotion.destination).await?;
        let mut pushes = Vec::with_capacity(parts.all.len());
        for part in parts.all {
            pushes.push(self.copy_of(identity, &promotion, part).await?);
        }
        let context = (promotion, pushes);
        seaworthy_ledger::write(self.db(), &identity.actor, context, |(promotion, pushes), tx| {
            Box::pin(async move { copy(tx, promotion, pushes).await })
        })
        .await
    }

    async fn copy_of(
        &self,
        identity: &Identity,
        promotion: &Promotion,
        part: Part,
    ) -> Result<Push, RegistryError> {
        let bytes = self.inner.reads.bytes(&part.digest).await?;
        let bytes = bytes.ok_or_else(|| gone(promotion, &part.digest))?;
        let manifest = Manifest::parse(&bytes, Some(&part.media_type))?;
        let now = self.inner.clock.now();
        let mut pushed = describe(&promotion.destination, part.digest, &manifest, now);
        if let Manifest::Image(image) = &manifest
            && !pushed.is_image
        {
            pushed.is_image = self.may_be_run(&image.config.digest).await?;
        }
        let is_root = part.digest == promotion.digest;
        Ok(Push {
            way: Way::Promotion,
            pusher: db::bearer(identity.principal()),
            by: identity.actor.name.clone(),
            tags: promotion.tag.iter().filter(|_| is_root).cloned().collect(),
            only_if: None,
            artifact_type: manifest.artifact_type().map(str::to_owned),
            annotations: json!(manifest.annotations()).to_string(),
            // The source's manifest names them, so they are here.
            sizes: Vec::new(),
            child_sizes: Vec::new(),
            blobs: NamedBlobs::AsIn(promotion.source.clone()),
            sparse: SparseIndexes::Allow,
            consumers: self.inner.config.manifest_consumers,
            pushed,
            bytes,
        })
    }
}

/// Adds names that are new.
fn add(names: &mut Vec<Digest>, more: impl IntoIterator<Item = Digest>) -> Result<(), RegistryError> {
    for digest in more {
        if names.contains(&digest) {
            continue;
        }
        if names.len() >= limit::PROMOTED_MANIFESTS {
            return Err(too_much(limit::PROMOTED_MANIFESTS, "manifests").into());
        }
        names.push(digest);
    }
    Ok(())
}

/// That too much belongs to an image for one transaction.
pub(crate) fn too_much(most: usize, what: &str) -> Problem {
    let message = format!("more than {most} {what} would be copied at once");
    let hint =
        "copy the images of an index one by one, or leave behind what refers to them: `--no-referrers`";
    Problem::new(ErrorCode::TooLarge, message).hint(hint)
}

fn gone(promotion: &Promotion, digest: &Digest) -> Problem {
    let message = format!("`{}` has no manifest `{digest}` any more", promotion.source);
    Problem::new(ErrorCode::ManifestUnknown, message)
}

/// What came from an upstream is copied with all its bytes, or not: who names them has not shown that they may.
pub(crate) fn not_whole(source: &RepoName, digest: &Digest) -> Problem {
    let message = format!("not all layers of `{source}@{digest}` came from its upstream yet");
    Problem::new(ErrorCode::Unavailable, message).retry_after(5).hint("pull it once, and try again")
}

async fn copy(
    tx: &mut Tx<'_>,
    promotion: &Promotion,
    pushes: &[Push],
) -> Result<(Promoted, Vec<Act>), RegistryError> {
    db::hold_rules(tx).await?;
    let (mut acts, mut manifests) = (Vec::new(), Vec::new());
    for push in pushes {
        let digest = push.pushed.digest;
        let Some(locks) = db::locks_of_manifest(tx, &promotion.source, &digest).await? else {
            return Err(gone(promotion, &digest).into());
        };
        lock::check_read(locks, &format!("{}@{digest}", promotion.source))?;
        if db::filled_in(tx, &promotion.source, &digest).await? == Some(false) {
            return Err(not_whole(&promotion.source, &digest).into());
        }
        let (_, act) = push.store(tx).await?;
        acts.extend(act);
        manifests.push(digest);
    }
    let details = json!({
        "from": format!("{}@{}", promotion.source, promotion.digest),
        "tag": promotion.tag,
        "manifests": manifests.len(),
        "because": promotion.because,
    });
    let promoted = object(&promotion.destination, &promotion.digest);
    acts.push(Act::new(Action::ImagePromote, promoted).details(details));
    Ok((Promoted { manifests }, acts))
}
