//! One name on its way to another registry: its blobs, its manifests, and what refers to them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Manifest, RepoName};

use super::ReplicationSettings;
use crate::{
    Door, Registry, RegistryError,
    db::{self, Claimed, OutgoingKey, There},
    limit,
    path::ManifestName,
    push::claimed_sizes,
    upstream::{Right, Trouble, Upstream, UpstreamError},
};

/// A name that is to be there as it is here.
pub(crate) struct Shipment {
    pub(crate) registry: Registry,
    pub(crate) settings: ReplicationSettings,
    pub(crate) to: Arc<Upstream>,
    pub(crate) key: OutgoingKey,
    pub(crate) claimed: Claimed,
}

/// What left, however the attempt ends.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) manifests: AtomicU64,
    pub(crate) blobs: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is there, and not all that belongs to it.
    There { there: There, behind: Behind },
    /// It was taken away there.
    Gone,
    /// It is no concern of the replication.
    Nothing,
}

/// Why something that belongs to what was sent is not there; of several, the first one says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) reason: Option<String>,
    /// For how many seconds the other registry asks to be left alone.
    pub(crate) rest: i64,
}

impl Behind {
    fn because(&mut self, reason: impl FnOnce() -> String) {
        self.reason.get_or_insert_with(reason);
    }

    fn because_of(&mut self, trouble: &Trouble) {
        self.rest = self.rest.max(trouble.rest());
        self.because(|| trouble.reason());
    }
}

impl Shipment {
    pub(crate) async fn run(&self, left: &Left) -> Result<Sent, Trouble> {
        // The settings may have changed since it was noted.
        if !self.settings.wants(&self.key.repository, &self.key.name) {
            return Ok(Sent::Nothing);
        }
        let Some(remote) = self.settings.remote(&self.key.repository) else {
            let message = format!("the name of `{}` would be too long there", self.key.repository);
            return Err(Trouble::Here(Problem::new(ErrorCode::NameInvalid, message).into()));
        };
        match self.registry.inner.reads.named(&self.key.repository, &self.key.name).await? {
            Some(stored) => self.bring(&remote, stored.digest, left).await,
            None => self.take_away(&remote).await,
        }
    }

    /// Takes a tag away that is gone here, if it is still what was put there.
    async fn take_away(&self, remote: &RepoName) -> Result<Sent, Trouble> {
        let put: Vec<Digest> = self.claimed.put().collect();
        let ManifestName::Tag(_) = &self.key.name else { return Ok(Sent::Nothing) };
        if put.is_empty() || !self.settings.deletions {
            return Ok(Sent::Nothing);
        }
        // Not by HEAD: what stands in front of a registry that is away answers 404, and only a body tells who says so.
        let is_put = match self.to.manifest(remote, &self.key.name, Right::Push).await {
            Ok(found) => put.iter().any(|digest| digest.is_of(&found.bytes)),
            Err(UpstreamError::NotFound { is_told: true, .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_put {
            return Ok(Sent::Nothing);
        }
        self.to.delete_manifest(remote, &self.key.name).await?;
        Ok(Sent::Gone)
    }

    async fn bring(&self, remote: &RepoName, digest: Digest, left: &Left) -> Result<Sent, Trouble> {
        if let ManifestName::Digest(_) = self.key.name
            && !self.has_subject(remote, &digest).await?
        {
            return Ok(Sent::Nothing);
        }
        let mut behind = Behind::default();
        let (sent, is_put) = self.send_tree(remote, (&self.key.name, digest), left, &mut behind).await?;
        let there = There { digest, is_found: !is_put && self.claimed.put().all(|put| put != digest) };
        // It is there, whatever comes of the rest: who deletes it here has it deleted there.
        if let Err(trouble) = self.send_referring(remote, sent, left, &mut behind).await {
            behind.because_of(&trouble);
        }
        Ok(Sent::There { there, behind })
    }

    /// Sends what refers to manifests that are there, and what refers to that.
    async fn send_referring(
        &self,
        remote: &RepoName,
        mut sent: Vec<Digest>,
        left: &Left,
        behind: &mut Behind,
    ) -> Result<(), Trouble> {
        let mut next = 0;
        while let Some(subject) = sent.get(next).copied() {
            next += 1;
            let mut after = String::new();
            loop {
                let page = (after.as_str(), limit::REFERRERS);
                let referring =
                    db::referring(self.registry.db(), &self.key.repository, &subject, page).await?;
                for referrer in &referring {
                    if sent.contains(referrer) {
                        continue;
                    }
                    if sent.len() >= limit::PROMOTED_MANIFESTS {
                        behind.because(too_many);
                        return Ok(());
                    }
                    let name = ManifestName::Digest(*referrer);
                    match self.send_tree(remote, (&name, *referrer), left, behind).await {
                        Ok((more, _)) => sent.extend(more),
                        // It holds up no other.
                        Err(trouble) if trouble.is_refusal() => behind.because_of(&trouble),
                        Err(trouble) => return Err(trouble),
                    }
                }
                match referring.last() {
                    Some(last) if referring.len() as u64 >= limit::REFERRERS.unsigned_abs() => {
                        after = last.to_string();
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Sends a manifest, of an index all its images before it; returns all of it, and whether it was not there itself.
    async fn send_tree(
        &self,
        remote: &RepoName,
        (name, root): (&ManifestName, Digest),
        left: &Left,
        behind: &mut Behind,
    ) -> Result<(Vec<Digest>, bool), Trouble> {
        let (mut open, mut seen, mut order) = (vec![(root, false)], BTreeSet::new(), Vec::new());
        let mut blobs = BTreeSet::new();
        while let Some((digest, is_expanded)) = open.pop() {
            if is_expanded {
                order.push(digest);
                continue;
            }
            if !seen.insert(digest) {
                continue;
            }
            if blobs.contains(&digest) {
                continue;
            }
            let by_digest = ManifestName::Digest(digest);
            if digest != root
                && self.registry.inner.reads.named(&self.key.repository, &by_digest).await?.is_none()
            {
                behind.because(|| format!("an image of the index is not here: `{digest}`"));
                continue;
            }
            self.may_leave(if digest == root { name } else { &by_digest }, &digest).await?;
            if seen.len() > limit::PROMOTED_MANIFESTS {
                return Err(Trouble::Here(Problem::new(ErrorCode::TooLarge, too_many()).into()));
            }
            open.push((digest, true));
            if let Some((Manifest::Index(index), ..)) = self.manifest(&digest).await? {
                let named = db::blobs_of_index(self.registry.db(), &self.key.repository, &digest).await?;
                blobs.extend(named.into_iter().map(|(digest, _)| digest));
                open.extend(index.manifests.iter().map(|child| (child.digest, false)));
            }
        }
        let mut is_put = false;
        for digest in &order {
            let by_digest = ManifestName::Digest(*digest);
            is_put =
                self.send(remote, (if *digest == root { name } else { &by_digest }, digest), left).await?;
        }
        Ok((order, is_put))
    }

    async fn manifest(&self, digest: &Digest) -> Result<Option<(Manifest, Bytes, String)>, Trouble> {
        let stored = self.registry.manifest_bytes(&self.key.repository, digest).await?;
        let Some((bytes, media_type)) = stored else { return Ok(None) };
        let manifest = Manifest::parse(&bytes, Some(&media_type)).map_err(RegistryError::from)?;
        Ok(Some((manifest, bytes, media_type)))
    }

    /// Makes a name there what it is here: the blobs that are not there, then the manifest; false when it is so
    /// already.
    async fn send(
        &self,
        remote: &RepoName,
        (name, digest): (&ManifestName, &Digest),
        left: &Left,
    ) -> Result<bool, Trouble> {
        let found = self.to.digest_there(remote, name).await?;
        if found == Some(*digest) {
            return Ok(false);
        }
        let Some((manifest, bytes, media_type)) = self.manifest(digest).await? else {
            return Err(Trouble::Here(changed(name).into()));
        };
        let is_there = match name {
            ManifestName::Digest(_) => false,
            ManifestName::Tag(_) => {
                self.to.digest_there(remote, &ManifestName::Digest(*digest)).await? == Some(*digest)
            }
        };
        if !is_there {
            let blobs = match &manifest {
                Manifest::Image(_) => claimed_sizes(&manifest),
                Manifest::Index(_) => {
                    db::blobs_of_index(self.registry.db(), &self.key.repository, digest).await?
                }
            };
            self.send_blobs(remote, blobs, left).await?;
            // That may have taken long.
            self.may_leave(name, digest).await?;
        }
        if let ManifestName::Tag(_) = name {
            self.note_sent(name, found, *digest).await?;
        }
        self.to.put_manifest(remote, name, (&bytes, &media_type), digest).await?;
        left.manifests.fetch_add(1, Ordering::Relaxed);
        left.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(true)
    }

    /// Notes what is about to stand for the tag there: nobody may live to hear that it does.
    async fn note_sent(
        &self,
        name: &ManifestName,
        found: Option<Digest>,
        digest: Digest,
    ) -> Result<(), Trouble> {
        let context = (self.key.clone(), self.claimed.epoch, found, digest);
        let noted = self.registry.in_upkeep(context, |(key, epoch, found, digest), tx| {
            Box::pin(db::note_sent(tx, (key, *epoch), found.as_ref(), digest))
        });
        if noted.await? { Ok(()) } else { Err(Trouble::Here(changed(name).into())) }
    }

    /// True when what a manifest refers to is there; an error while it may come.
    async fn has_subject(&self, remote: &RepoName, digest: &Digest) -> Result<bool, Trouble> {
        let Some((manifest, ..)) = self.manifest(digest).await? else { return Ok(false) };
        let Some(subject) = manifest.subject().map(|subject| subject.digest) else { return Ok(false) };
        if self.to.digest_there(remote, &ManifestName::Digest(subject)).await?.is_some() {
            return Ok(true);
        }
        if self.claimed.tries >= limit::SENDS_WITHOUT_SUBJECT {
            return Ok(false);
        }
        let message = format!("what it refers to is not there: `{subject}`");
        Err(Trouble::Here(Problem::new(ErrorCode::Unavailable, message).into()))
    }

    /// Refuses what no client may pull here by that name, what is not here as a whole, and what is another by now.
    async fn may_leave(&self, name: &ManifestName, digest: &Digest) -> Result<(), Trouble> {
        let (registry, repository) = (&self.registry, &self.key.repository);
        let stored = registry.resolve(&Identity::system(), repository, name).await?;
        if stored.digest != *digest {
            return Err(Trouble::Here(changed(name).into()));
        }
        if db::filled(registry.db(), repository, digest).await? == Some(false) {
            return Err(Trouble::Here(crate::promotion::not_whole(repository, digest).into()));
        }
        match registry.inner.config.gate.check(repository, digest, Door::Manifest).await?.refusal {
            Some(refusal) => Err(Trouble::Here(refusal.problem.into())),
            None => Ok(()),
        }
    }

    /// Sends the blobs of a manifest that are not there.
    async fn send_blobs(
        &self,
        remote: &RepoName,
        mut blobs: Vec<(Digest, u64)>,
        left: &Left,
    ) -> Result<(), Trouble> {
        blobs.sort_unstable();
        blobs.dedup();
        stream::iter(blobs)
            .map(|blob| self.send_blob(remote, blob, left))
            .buffer_unordered(limit::SENDS_PER_MANIFEST)
            .try_collect()
            .await
    }

    async fn send_blob(
        &self,
        remote: &RepoName,
        (digest, size): (Digest, u64),
        left: &Left,
    ) -> Result<(), Trouble> {
        if self.to.has_blob(remote, &digest, Right::Push).await? {
            return Ok(());
        }
        let reader = self.registry.open_for_inspection(&digest).await?;
        let reader = reader.ok_or_else(|| crate::blob::unknown(&digest))?;
        let body = reader.body();
        if body.size() != size {
            return Err(Trouble::Here(crate::blob::unknown(&digest).into()));
        }
        self.to.put_blob(remote, (&digest, size), body.stream(0..size)).await?;
        left.blobs.fetch_add(1, Ordering::Relaxed);
        left.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }
}

fn too_many() -> String {
    format!("more than {} manifests belong to it", limit::PROMOTED_MANIFESTS)
}

/// What changed is due again: it is looked at anew.
fn changed(name: &ManifestName) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("`{name}` changed meanwhile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded() {
        let reason = |text: String| Trouble::Here(Problem::new(ErrorCode::Invalid, text).into()).reason();
        assert_eq!(reason("x".repeat(limit::SEND_ERROR_BYTES)).len(), limit::SEND_ERROR_BYTES);
        assert_eq!(reason("x".repeat(limit::SEND_ERROR_BYTES + 1)).len(), limit::SEND_ERROR_BYTES);
        // No letter is cut in two.
        assert!(reason("あ".repeat(limit::SEND_ERROR_BYTES)).chars().all(|letter| letter == 'あ'));
    }

    #[test]
    fn a_registry_is_left_alone_for_an_hour_at_most() {
        let asked = |seconds| {
            let status = http::StatusCode::TOO_MANY_REQUESTS;
            Trouble::Far(UpstreamError::Answered { host: "r".into(), status, retry_after: Some(seconds) })
                .rest()
        };
        let most = limit::RETRY_AFTER_SECONDS_MAX;
        assert_eq!((asked(7), asked(most), asked(u32::MAX)), (7, most.into(), most.into()));
    }
}
