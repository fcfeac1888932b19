//! A pushed manifest on its way into one transaction.

use std::collections::BTreeSet;

use bytes::Bytes;
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{
    ChildManifest, ErrorCode, Event, LayerRef, ManifestPushed, Problem, Timestamp, consumer,
};
use seaworthy_oci::{Digest, Manifest, RepoName, Tag, media};
use seaworthy_store::{DbError, Tx};
use serde_json::json;

use crate::{
    RegistryError, SparseIndexes,
    conditional::Precondition,
    db::{self, NewManifest, Subject},
    limit, lock,
    path::ManifestName,
    quota::{self, Change},
    refusal::object,
    restore,
    rules::{self, Way},
};

pub(crate) fn describe(
    repository: &RepoName,
    digest: Digest,
    manifest: &Manifest,
    now: Timestamp,
) -> ManifestPushed {
    let mut pushed = ManifestPushed {
        repository: repository.clone(),
        digest,
        media_type: manifest.media_type().to_owned(),
        is_image: false,
        config: None,
        layers: Vec::new(),
        children: Vec::new(),
        subject: manifest.subject().map(|subject| subject.digest),
        pushed_at: now,
    };
    match manifest {
        Manifest::Image(image) => {
            pushed.is_image = image.is_image();
            pushed.config = Some(image.config.digest);
            let layer = |layer: &seaworthy_oci::Descriptor| LayerRef {
                digest: layer.digest,
                media_type: layer.media_type.clone(),
                foreign: layer.is_foreign(),
            };
            pushed.layers = image.layers.iter().map(layer).collect();
        }
        Manifest::Index(index) => {
            let child = |child: &seaworthy_oci::Descriptor| ChildManifest {
                digest: child.digest,
                platform: child.platform.clone(),
            };
            pushed.children = index.manifests.iter().map(child).collect();
        }
    }
    pushed
}

/// Digest and claimed size of every blob the registry must hold for this manifest.
pub(crate) fn claimed_sizes(manifest: &Manifest) -> Vec<(Digest, u64)> {
    match manifest {
        // Only layers may stay away, whatever a config says of itself (image spec, non-distributable layers).
        Manifest::Image(image) => std::iter::once(&image.config)
            .chain(image.layers.iter().filter(|layer| !layer.is_foreign()))
            .map(|descriptor| (descriptor.digest, descriptor.size))
            .collect(),
        // An index may arrive before its children (distribution spec, sparse indexes).
        Manifest::Index(_) => Vec::new(),
    }
}

/// Digest and claimed size of what a manifest calls a blob: for an index, what it calls no manifest and does not say to be
/// elsewhere, as in caches of builds. A manifest has a clearance of its own.
pub(crate) fn named_blobs(manifest: &Manifest) -> Vec<(Digest, u64)> {
    match manifest {
        Manifest::Image(_) => claimed_sizes(manifest),
        Manifest::Index(index) => index
            .manifests
            .iter()
            .filter(|child| !media::is_manifest(&child.media_type) && !child.is_foreign())
            .map(|child| (child.digest, child.size))
            .collect(),
    }
}

/// Where the blobs of a manifest are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blobs {
    Here,
    /// They are fetched afterwards.
    Come,
}

/// What a name stands for; nobody moves it until the transaction has ended.
pub(crate) async fn current(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    name: &ManifestName,
) -> Result<Option<Digest>, DbError> {
    Ok(match name {
        ManifestName::Tag(tag) => db::held_tag(tx, repository, tag).await?.map(|(_, digest)| digest),
        ManifestName::Digest(digest) => db::locks_of_manifest(tx, repository, digest).await?.map(|_| *digest),
    })
}

/// What an index names besides manifests: caches of builds are indexes of layers.
#[derive(Clone, Debug)]
pub(crate) enum NamedBlobs {
    /// Those of these that are here, and that the pusher may read.
    Of(Vec<Digest>),
    /// Those that it names in this repository, from where it is copied.
    AsIn(RepoName),
}

/// A push on its way into one transaction.
pub(crate) struct Push {
    pub(crate) way: Way,
    pub(crate) pushed: ManifestPushed,
    pub(crate) pusher: String,
    pub(crate) by: String,
    pub(crate) tags: Vec<Tag>,
    /// What must hold of what the path names.
    pub(crate) only_if: Option<(ManifestName, Precondition)>,
    pub(crate) artifact_type: Option<String>,
    /// JSON.
    pub(crate) annotations: String,
    pub(crate) sparse: SparseIndexes,
    pub(crate) sizes: Vec<(Digest, u64)>,
    /// The lengths of children as an index says them, if they are to be compared.
    pub(crate) child_sizes: Vec<(Digest, u64)>,
    /// Of an index, what may be no manifest but a blob that it names.
    pub(crate) blobs: NamedBlobs,
    pub(crate) consumers: &'static [&'static str],
    pub(crate) bytes: Bytes,
}

impl Push {
    /// Everything that a push changes; returns the children that are not here.
    pub(crate) async fn store(
        &self,
        tx: &mut Tx<'_>,
    ) -> Result<(Option<(u64, Digest)>, Vec<Act>), RegistryError> {
        let repository = &self.pushed.repository;
        let now = self.pushed.pushed_at;
        if self.artifact_type.as_ref().is_some_and(|name| name.len() > limit::TYPE_BYTES) {
            let message = format!("the type of the artifact is longer than {} bytes", limit::TYPE_BYTES);
            return Err(Problem::new(ErrorCode::ManifestInvalid, message).into());
        }
        db::hold_rules(tx).await?;
        let left = self.check_locks(tx).await?;
        if let Some((name, condition)) = &self.only_if {
            condition.check(current(tx, repository, name).await?.as_ref())?;
        }
        let hides = rules::check_push(tx, repository, self.way, (&self.tags, &self.pushed.digest)).await?;
        self.check_blobs(tx).await?;
        let new = NewManifest {
            pushed: &self.pushed,
            artifact_type: self.artifact_type.as_deref(),
            annotations: &self.annotations,
            bytes: &self.bytes,
            by: &self.by,
            now,
            is_cached: self.way == Way::Cache,
        };
        let (mut held, other) = db::insert_manifest(tx, &new).await?;
        if let Some(other) = other.filter(|_| self.way == Way::Push) {
            let message =
                format!("manifest is here as `{other}` and was sent as `{}`", self.pushed.media_type);
            return Err(Problem::new(ErrorCode::ManifestInvalid, message).into());
        }
        let (absent, more, mut acts) = self.absent_children(tx).await?;
        held = held.and(more);
        for tag in &self.tags {
            held = held.and(db::set_tag(tx, repository, tag, &self.pushed.digest, now).await?);
        }
        quota::charge(tx, repository, held).await?;
        for digest in left {
            db::loosen(tx, repository, &digest, now, "untagged").await?;
        }
        if self.tags.is_empty() {
            let subject = Subject::Manifest(repository.clone(), self.pushed.digest);
            db::enqueue(tx, &subject, now.plus_seconds(limit::GRACE_SECONDS), "pushed").await?;
        }
        let filled = self.mark(tx).await?;
        self.tell(tx, filled).await?;
        let mut details = json!({
            "tag": self.tags.first(),
            "media_type": self.pushed.media_type,
            "bytes": self.bytes.len(),
        });
        if let Some(fields) = details.as_object_mut()
            && self.tags.len() > 1
        {
            fields.insert("tags".to_owned(), json!(self.tags));
        }
        let locks = db::locks_of_manifest(tx, repository, &self.pushed.digest).await?.unwrap_or_default();
        let action = match self.way {
            _ if hides && !locks.has_passed() => Action::ManifestQuarantine,
            Way::Cache => Action::ManifestCache,
            Way::Push | Way::Promotion => Action::ManifestPush,
        };
        if let Some(fields) = details.as_object_mut()
            && self.way == Way::Cache
        {
            fields.insert("from".to_owned(), json!(self.by));
        }
        let act = Act::new(action, object(repository, &self.pushed.digest)).details(details);
        acts.push(act);
        Ok((absent, acts))
    }

    /// Refuses to move what is locked; returns the manifests that its tags leave. A manifest's own locks do
    /// not matter: its bytes never change, and its tags are things of their own.
    async fn check_locks(&self, tx: &mut Tx<'_>) -> Result<BTreeSet<Digest>, RegistryError> {
        let repository = &self.pushed.repository;
        let locks = db::held_locks(tx, repository).await?.unwrap_or_default();
        lock::check_write(locks, repository.as_str())?;
        let mut left = BTreeSet::new();
        // In one order, whoever pushes.
        for tag in self.tags.iter().collect::<BTreeSet<_>>() {
            if let Some((locks, digest)) = db::held_tag(tx, repository, tag).await? {
                lock::check_write(locks, &format!("{repository}:{tag}"))?;
                left.insert(digest);
            }
        }
        left.remove(&self.pushed.digest);
        Ok(left)
    }

    /// The children that are not here: how many, and one of them; what those hold that are blobs; and what brought
    /// others back.
    async fn absent_children(
        &self,
        tx: &mut Tx<'_>,
    ) -> Result<(Option<(u64, Digest)>, Change, Vec<Act>), RegistryError> {
        let (mut held, mut acts) = (Change::default(), Vec::new());
        if self.pushed.children.is_empty() {
            return Ok((None, held, acts));
        }
        let repository = &self.pushed.repository;
        let mut absent = db::absent_children(tx, repository, &self.pushed.digest).await?;
        if absent.is_some() {
            // Those that were collected while the index was made are wanted after all.
            for child in &self.pushed.children {
                let now = self.pushed.pushed_at;
                acts.extend(restore::collected_back(tx, repository, &child.digest, now).await?);
            }
            held = self.name_blobs(tx).await?;
            absent = db::absent_children(tx, repository, &self.pushed.digest).await?;
        }
        self.check_children(tx).await?;
        match (absent, self.sparse) {
            (Some((_, digest)), SparseIndexes::Refuse) => {
                Err(RegistryError::BlobMissing { repository: repository.clone(), digest })
            }
            (absent, _) => Ok((absent, held, acts)),
        }
    }

    /// Refuses an index whose children are here and longer or shorter than it says: no client would take them.
    async fn check_children(&self, tx: &mut Tx<'_>) -> Result<(), RegistryError> {
        if self.child_sizes.is_empty() {
            return Ok(());
        }
        let sizes = db::sizes_of_children(tx, &self.pushed.repository, &self.pushed.digest).await?;
        for (digest, claimed) in &self.child_sizes {
            if let Some(size) = sizes.get(digest)
                && size != claimed
            {
                let message = format!("index says {digest} has {claimed} bytes, it has {size}");
                return Err(Problem::new(ErrorCode::ManifestInvalid, message).into());
            }
        }
        Ok(())
    }

    /// Names the blobs among the children that are no manifests: they stay as long as the index does, and it opens them.
    async fn name_blobs(&self, tx: &mut Tx<'_>) -> Result<Change, DbError> {
        let (repository, index, now) = (&self.pushed.repository, &self.pushed.digest, self.pushed.pushed_at);
        let mut held = Change::default();
        match &self.blobs {
            NamedBlobs::Of(blobs) => {
                for digest in blobs {
                    if let Some(size) = db::name_blob(tx, repository, digest, &self.pusher, now).await? {
                        held = held.and(db::name_in_index(tx, (repository, index), (digest, size)).await?);
                    }
                }
            }
            NamedBlobs::AsIn(source) => {
                for (digest, size) in db::blobs_of_index_in(tx, source, index).await? {
                    held = held.and(db::name_in_index(tx, (repository, index), (&digest, size)).await?);
                }
            }
        }
        Ok(held)
    }

    async fn check_blobs(&self, tx: &mut Tx<'_>) -> Result<(), RegistryError> {
        let repository = &self.pushed.repository;
        for (digest, claimed) in &self.sizes {
            let now = self.pushed.pushed_at;
            let Some(size) = db::name_blob(tx, repository, digest, &self.pusher, now).await? else {
                return Err(RegistryError::BlobMissing { repository: repository.clone(), digest: *digest });
            };
            if size != *claimed {
                let message = format!("manifest says {digest} has {claimed} bytes, it has {size}");
                return Err(Problem::new(ErrorCode::ManifestInvalid, message).into());
            }
        }
        Ok(())
    }

    /// Notes that a manifest came from an upstream; says whether its blobs are here. An index has none.
    async fn mark(&self, tx: &mut Tx<'_>) -> Result<Blobs, DbError> {
        let (repository, digest) = (&self.pushed.repository, &self.pushed.digest);
        if self.way != Way::Cache {
            // Whoever pushes it has all of it.
            db::stop_caching(tx, repository, digest).await?;
            return Ok(Blobs::Here);
        }
        db::mark_cached(tx, repository, digest).await?;
        if self.pushed.config.is_none() {
            db::set_filled(tx, repository, digest).await?;
        }
        let filled = db::filled_in(tx, repository, digest).await?;
        Ok(if filled == Some(false) { Blobs::Come } else { Blobs::Here })
    }

    /// Tells what was pushed. Blobs that an index names are no images of it: nothing is to be known of them.
    async fn tell(&self, tx: &mut Tx<'_>, blobs: Blobs) -> Result<(), DbError> {
        let mut pushed = self.pushed.clone();
        if !pushed.children.is_empty() {
            let blobs = db::blobs_of_index_in(tx, &pushed.repository, &pushed.digest).await?;
            let blobs: BTreeSet<Digest> = blobs.into_iter().map(|(digest, _)| digest).collect();
            pushed.children.retain(|child| !blobs.contains(&child.digest));
        }
        tell(tx, pushed, self.consumers, blobs).await
    }
}

/// Inspection is told when there is something to inspect: until then the image is pending.
pub(crate) async fn tell(
    tx: &mut Tx<'_>,
    pushed: ManifestPushed,
    consumers: &[&'static str],
    blobs: Blobs,
) -> Result<(), DbError> {
    let at = pushed.pushed_at;
    let event = Event::ManifestPushed(pushed);
    for consumer in consumers {
        if blobs == Blobs::Come && *consumer == consumer::INSPECTION {
            continue;
        }
        tx.deliver(consumer, &event, at).await?;
    }
    Ok(())
}
