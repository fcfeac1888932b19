//! Manifests and tags: pushing, resolving, pulling, deleting, listing.

use std::collections::BTreeSet;

use bytes::Bytes;
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, Scope, Timestamp};
use seaworthy_oci::{Algorithm, Digest, Hasher, Manifest, RepoName, Tag, media};
use seaworthy_store::{DbError, Row};
use serde::Serialize;
use serde_json::json;

use crate::{
    Door, Refusal, Registry, RegistryError, RepositoryRules,
    cache::Served,
    conditional::Precondition,
    db::{self, StoredManifest},
    limit,
    lock::{self, Ability, Locks},
    path::ManifestName,
    pauses::Point,
    push::{NamedBlobs, Push, claimed_sizes, describe, named_blobs},
    rules::Way,
};

/// A manifest and its exact bytes.
pub(crate) struct PulledManifest {
    pub(crate) stored: StoredManifest,
    pub(crate) bytes: Bytes,
    /// Where it came from, below a cache.
    pub(crate) served: Option<Served>,
}

/// A manifest as it was sent.
pub(crate) struct ManifestPut<'p> {
    /// What the path calls it.
    pub(crate) name: &'p ManifestName,
    /// What must hold of that.
    pub(crate) precondition: Precondition,
    /// The tags to set, the path's among them.
    pub(crate) tags: Vec<Tag>,
    /// Its exact bytes.
    pub(crate) bytes: Bytes,
    /// What it was sent as.
    pub(crate) content_type: Option<&'p str>,
}

/// A manifest that was stored.
pub(crate) struct Pushed {
    pub(crate) digest: Digest,
    pub(crate) subject: Option<Digest>,
    /// Children of an index that are not here: how many, and one of them.
    pub(crate) absent: Option<(u64, Digest)>,
}

/// One tag, as the image list shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ImageRow {
    /// Repository.
    pub repository: RepoName,
    /// Tag.
    pub tag: String,
    /// Manifest or index.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Length of the manifest, in bytes.
    pub manifest_bytes: u64,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// By whom.
    pub pushed_by: String,
    /// It is hidden until it is let out of quarantine.
    pub quarantined: bool,
    /// Nobody may read it: by a lock of its own, its tag's or its repository's.
    #[serde(skip)]
    pub locked: bool,
}

impl Registry {
    /// Stores a manifest byte for byte, sets its tags, records the push and tells the consumers,
    /// in one transaction.
    pub(crate) async fn push_manifest(
        &self,
        identity: &Identity,
        repository: &RepoName,
        put: ManifestPut<'_>,
    ) -> Result<Pushed, RegistryError> {
        self.require(identity, Permission::Push, repository).await?;
        let manifest = Manifest::parse(&put.bytes, put.content_type)?;
        self.blobs().check_floor()?;
        let digest = digest_for(put.name, &put.bytes)?;
        let mut pushed = describe(repository, digest, &manifest, self.inner.clock.now());
        if let Manifest::Image(image) = &manifest
            && !pushed.is_image
        {
            // What may not be named here is not looked at.
            if !self.is_nameable(identity, repository, &image.config.digest).await? {
                let (repository, digest) = (repository.clone(), image.config.digest);
                return Err(RegistryError::BlobMissing { repository, digest });
            }
            pushed.is_image = self.may_be_run(&image.config.digest).await?;
        }
        if !pushed.is_image {
            self.check_readable(identity, repository, &manifest).await?;
        }
        let blobs = NamedBlobs::Of(self.blobs_among(identity, repository, &manifest).await?);
        self.pause(Point::Checked).await;
        let subject = pushed.subject;
        let push = Push {
            way: Way::Push,
            pusher: db::bearer(identity.principal()),
            by: identity.actor.name.clone(),
            tags: put.tags,
            only_if: put.precondition.is_any().then(|| (put.name.clone(), put.precondition)),
            artifact_type: manifest.artifact_type().map(str::to_owned),
            annotations: json!(manifest.annotations()).to_string(),
            sizes: claimed_sizes(&manifest),
            child_sizes: match &manifest {
                Manifest::Index(index) => index.manifests.iter().map(|it| (it.digest, it.size)).collect(),
                Manifest::Image(_) => Vec::new(),
            },
            sparse: self.inner.config.sparse_indexes,
            blobs,
            consumers: self.inner.config.manifest_consumers,
            pushed,
            bytes: put.bytes,
        };
        let absent = seaworthy_ledger::write(self.db(), &identity.actor, push, |push, tx| {
            Box::pin(async move { push.store(tx).await })
        })
        .await?;
        Ok(Pushed { digest, subject, absent })
    }

    /// No clearance is asked about an artifact, so it opens what it names: it may name only what
    /// its pusher can read now, or whoever may push could read a refused image's layers.
    async fn check_readable(
        &self,
        identity: &Identity,
        repository: &RepoName,
        artifact: &Manifest,
    ) -> Result<(), RegistryError> {
        for (digest, _) in claimed_sizes(artifact) {
            let missing = || RegistryError::BlobMissing { repository: repository.clone(), digest };
            if !self.may_name(identity, repository, &digest).await?.ok_or_else(missing)? {
                let message =
                    format!("an artifact cannot name {digest}: it is part of an image that you may not pull");
                let hint = "upload the blob to this repository first: who has its bytes may name it";
                return Err(Problem::new(ErrorCode::Denied, message).hint(hint).into());
            }
        }
        Ok(())
    }

    /// The children of an index that it calls no manifests, and that its pusher may read as blobs: it opens what it
    /// names, as an artifact does.
    async fn blobs_among(
        &self,
        identity: &Identity,
        repository: &RepoName,
        manifest: &Manifest,
    ) -> Result<Vec<Digest>, RegistryError> {
        let mut blobs = Vec::new();
        // What an image names, its transaction asks about.
        let Manifest::Index(_) = manifest else { return Ok(blobs) };
        let named: BTreeSet<Digest> = named_blobs(manifest).into_iter().map(|(digest, _)| digest).collect();
        for digest in named {
            if self.may_name(identity, repository, &digest).await? == Some(true) {
                blobs.push(digest);
            }
        }
        Ok(blobs)
    }

    /// True unless the config shows that no runtime starts what calls itself an artifact: engines
    /// look at the config's content, not at what it or the manifest is called. What cannot be
    /// read may be run.
    pub(crate) async fn may_be_run(&self, config: &Digest) -> Result<bool, RegistryError> {
        let Some(blob) = self.open_for_inspection(config).await? else { return Ok(true) };
        if blob.size > seaworthy_oci::limit::CONFIG_BYTES as u64 {
            return Ok(true);
        }
        Ok(seaworthy_oci::config_may_be_run(&blob.read_all().await?))
    }

    /// What a name stands for, for a caller who may read there. Not gated: see [`Registry::pull_manifest`].
    pub(crate) async fn resolve(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<StoredManifest, RegistryError> {
        let found = self.resolve_hidden(identity, repository, name).await?;
        self.check_quarantine(identity, repository, (name, &found)).await?;
        Ok(found)
    }

    /// Whether it is there, told to a pusher, who is not kept from knowing what to send.
    pub(crate) async fn resolve_for_head(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<(StoredManifest, Option<Served>), RegistryError> {
        let scope = Scope::repository(repository);
        let (stored, served) = if self.is_quarantined(repository).await?
            && self.access().allows_with_wider_token(identity, Permission::Push, &scope).await?
        {
            self.require(identity, Permission::Pull, repository).await?;
            let served = self.bring(identity, repository, name).await?;
            (self.resolve_hidden(identity, repository, name).await?, served)
        } else {
            self.resolve_through(identity, repository, name).await?
        };
        // Who is told that it is here does not send it.
        self.inner.reads.check(&stored.digest).await?;
        Ok((stored, served))
    }

    async fn resolve_hidden(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<StoredManifest, RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let found = self.inner.reads.named(repository, name).await?.ok_or_else(|| {
            Problem::new(ErrorCode::ManifestUnknown, format!("`{repository}` has no manifest `{name}`"))
        })?;
        lock::check_read(found.locks, &named(repository, name))?;
        Ok(found)
    }

    /// [`Registry::resolve`], after a cache was asked to have it.
    pub(crate) async fn resolve_through(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<(StoredManifest, Option<Served>), RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let served = self.bring(identity, repository, name).await?;
        Ok((self.resolve(identity, repository, name).await?, served))
    }

    /// The bytes of a manifest, if its clearance lets it be pulled here.
    pub(crate) async fn pull_manifest(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<PulledManifest, RegistryError> {
        let (stored, served) = self.resolve_through(identity, repository, name).await?;
        let mut is_asked = true;
        if served.is_some() {
            if media::is_index(&stored.media_type) {
                // What it lists is judged when it is asked for, and only who has the list can ask.
                is_asked = !db::lacks_children(self.db(), repository, &stored.digest).await?;
            } else {
                self.fill_behind(repository, &stored.digest).await?;
            }
        }
        if is_asked && let Some(refusal) = self.refused(identity, repository, &stored.digest).await? {
            self.inner.refusals.record(&identity.actor, repository, &stored.digest, &refusal).await?;
            return Err(refusal.problem.into());
        }
        let bytes = self.inner.reads.bytes(&stored.digest).await?.ok_or_else(|| {
            // Deleted between the two reads.
            Problem::new(ErrorCode::ManifestUnknown, format!("`{repository}` has no manifest `{name}`"))
        })?;
        self.count_pull(repository, &stored.digest);
        Ok(PulledManifest { stored, bytes, served })
    }

    /// Why the caller may not pull a manifest of the repository.
    pub(crate) async fn refused(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<Refusal>, RegistryError> {
        let passage = self.inner.config.gate.check(repository, digest, Door::Manifest).await?;
        let Some(refusal) = passage.refusal else { return Ok(None) };
        let scope = Scope::repository(repository);
        let may_all = self.access().allows(identity, Permission::Quarantine, &scope).await?;
        Ok((!may_all).then_some(refusal))
    }

    /// The digest a reference stands for, without asking for rights: for rooms that have decided them.
    pub async fn digest_of(&self, repository: &RepoName, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        Ok(db::tagged(self.db(), repository, tag).await?.map(|manifest| manifest.digest))
    }

    /// Refuses what a lock of the repository, of the manifest, or of the tag that leads to it keeps from being read.
    pub async fn check_unlocked(
        &self,
        repository: &RepoName,
        reference: Result<Tag, Digest>,
    ) -> Result<(), RegistryError> {
        let name = reference.map_or_else(ManifestName::Digest, ManifestName::Tag);
        let Some(found) = self.inner.reads.named(repository, &name).await? else { return Ok(()) };
        Ok(lock::check_read(found.locks, &named(repository, &name))?)
    }

    /// True when there is such a repository.
    pub async fn has_repository(&self, repository: &RepoName) -> Result<bool, RegistryError> {
        Ok(db::repository_locks(self.db(), repository).await?.is_some())
    }

    /// True when the repository has the manifest.
    pub async fn has_manifest(&self, repository: &RepoName, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(db::manifest(self.db(), repository, digest).await?.is_some())
    }

    /// A manifest's exact bytes and media type, for other rooms' workers.
    pub async fn manifest_bytes(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<(Bytes, String)>, RegistryError> {
        let Some(stored) = db::manifest(self.db(), repository, digest).await? else { return Ok(None) };
        let bytes = db::manifest_bytes(self.db(), digest).await?;
        Ok(bytes.map(|bytes| (bytes.into(), stored.media_type)))
    }

    /// Tags of all repositories that begin with `prefix` and that `identity` may pull, in order after
    /// (`repository`, `tag`): `most` of them and no more than [`limit::PAGE`], or all that are left.
    pub async fn images(
        &self,
        identity: &Identity,
        prefix: &str,
        after: (&str, &str),
        most: u32,
    ) -> Result<Vec<ImageRow>, RegistryError> {
        let most = most.min(limit::PAGE) as usize;
        let mut after = (after.0.to_owned(), after.1.to_owned());
        let mut out = Vec::new();
        let rules = self.inner.rules.rules().await?;
        for range in self.ranges(identity, prefix).await? {
            let mut more = most > 0;
            while more {
                let rows = db::images(self.db(), &range, (&after.0, &after.1), limit::PAGE.into()).await?;
                more = rows.len() == limit::PAGE as usize;
                let roles = self.access().roles_now().await?;
                for row in &rows {
                    let mut image = image_row(row)?;
                    after = (image.repository.to_string(), image.tag.clone());
                    if roles.allow(identity, Permission::Pull, &image.repository) {
                        let hides =
                            |it: &RepositoryRules| it.quarantine && it.prefix.covers(&image.repository);
                        image.quarantined &= rules.iter().any(hides);
                        out.push(image);
                        if out.len() == most {
                            return Ok(out);
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}

pub(crate) fn unknown(repository: &RepoName) -> Problem {
    Problem::new(ErrorCode::NameUnknown, format!("repository `{repository}` is not known"))
}

/// `prod/web:1` or `prod/web@sha256:…`.
pub(crate) fn named(repository: &RepoName, name: &ManifestName) -> String {
    match name {
        ManifestName::Tag(tag) => format!("{repository}:{tag}"),
        ManifestName::Digest(digest) => format!("{repository}@{digest}"),
    }
}

impl Registry {
    /// The tags that point at a manifest in a repository that `identity` may pull from, with what is listed of them:
    /// the first [`limit::PAGE`].
    pub async fn images_of(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Vec<ImageRow>, RegistryError> {
        if !self.access().allows(identity, Permission::Pull, &Scope::repository(repository)).await? {
            return Ok(Vec::new());
        }
        let rows = db::images_of(self.db(), repository, digest, limit::PAGE.into()).await?;
        let mut images: Vec<ImageRow> = rows.iter().map(image_row).collect::<Result<_, _>>()?;
        let is_quarantined = self.is_quarantined(repository).await?;
        for image in &mut images {
            image.quarantined &= is_quarantined;
        }
        Ok(images)
    }
}

/// Whether rules have it in quarantine is not known here: only that it was not let out.
fn image_row(row: &Row) -> Result<ImageRow, DbError> {
    let locks = Locks::from_bits(row.int(7)?);
    Ok(ImageRow {
        repository: row.parsed(0)?,
        tag: row.text(1)?.to_owned(),
        digest: row.parsed(2)?,
        media_type: row.text(3)?.to_owned(),
        manifest_bytes: row.count(4)?,
        pushed_at: Timestamp::from_micros(row.int(5)?),
        pushed_by: row.text(6)?.to_owned(),
        quarantined: !locks.has_passed(),
        locked: !locks.allow(Ability::Read),
    })
}

/// The digest to store under: the one in the URL, which must fit, or SHA-256.
fn digest_for(name: &ManifestName, bytes: &[u8]) -> Result<Digest, RegistryError> {
    let algorithm = match name {
        ManifestName::Digest(digest) => digest.algorithm(),
        ManifestName::Tag(_) => Algorithm::Sha256,
    };
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    let actual = hasher.finish();
    match name {
        ManifestName::Digest(expected) if *expected != actual => {
            let message = format!("content is {actual}, not {expected}");
            Err(Problem::new(ErrorCode::DigestInvalid, message).into())
        }
        _ => Ok(actual),
    }
}
