//! One name on its way to another registry: its blobs, its manifests, and what refers to them.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_access::Identity;
use seaworthy_model::Problem;
use seaworthy_oci::{Digest, Manifest, RepoName};

use super::ReplicationSettings;
use crate::{
    Door, Registry, RegistryError, db, limit,
    path::ManifestName,
    promotion::Part,
    push::claimed_sizes,
    upstream::{Upstream, UpstreamError},
};

/// A name that is to be there as it is here.
pub(crate) struct Shipment {
    pub(crate) registry: Registry,
    pub(crate) settings: ReplicationSettings,
    pub(crate) to: Arc<Upstream>,
    pub(crate) repository: RepoName,
    pub(crate) name: ManifestName,
    /// What was there last.
    pub(crate) there: Option<Digest>,
    pub(crate) tries: i64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is there, after so much was sent.
    There { digest: Digest, manifests: u64, blobs: u64, bytes: u64 },
    /// It was taken away there.
    Gone,
    /// It is no concern of the replication.
    Nothing,
}

/// Why it is not there.
pub(crate) enum Trouble {
    Far(UpstreamError),
    Here(RegistryError),
}

impl From<UpstreamError> for Trouble {
    fn from(error: UpstreamError) -> Self {
        Self::Far(error)
    }
}

impl<E: Into<RegistryError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

impl Trouble {
    /// In words, at most [`limit::SEND_ERROR_BYTES`].
    pub(crate) fn reason(&self) -> String {
        let mut text = match self {
            Self::Far(error) => seaworthy_store::chain(error),
            Self::Here(RegistryError::Refused(problem)) => problem.message.clone(),
            Self::Here(error) => seaworthy_store::chain(error),
        };
        let end = text.floor_char_boundary(limit::SEND_ERROR_BYTES);
        text.truncate(end);
        text
    }

    /// For how many seconds the other registry asks to be left alone.
    pub(crate) fn rest(&self) -> i64 {
        match self {
            Self::Far(UpstreamError::Resting { seconds, .. }) => i64::from(*seconds),
            Self::Far(error) => error.retry_after().map_or(0, i64::from),
            Self::Here(_) => 0,
        }
    }
}

impl Shipment {
    pub(crate) async fn run(&self) -> Result<Sent, Trouble> {
        // The settings may have changed since it was noted.
        if !self.settings.wants(&self.repository, &self.name) {
            return Ok(Sent::Nothing);
        }
        let Some(remote) = self.settings.remote(&self.repository) else { return Ok(Sent::Nothing) };
        match self.registry.inner.reads.named(&self.repository, &self.name).await? {
            Some(stored) => self.bring(&remote, stored.digest).await,
            None if self.settings.deletions && self.there.is_some() => {
                self.to.delete_manifest(&remote, &self.name).await?;
                Ok(Sent::Gone)
            }
            None => Ok(Sent::Nothing),
        }
    }

    async fn bring(&self, remote: &RepoName, digest: Digest) -> Result<Sent, Trouble> {
        if let ManifestName::Digest(_) = self.name
            && !self.has_subject(remote, &digest).await?
        {
            return Ok(Sent::Nothing);
        }
        let parts = self.registry.parts(&Identity::system(), &self.repository, &digest).await?.into_parts();
        let root = parts.iter().position(|part| part.digest == digest).unwrap_or_default();
        let (mut manifests, mut blobs, mut bytes) = (0, 0, 0);
        for (place, part) in parts.iter().enumerate() {
            match self.check(&part.digest).await {
                Ok(()) => {}
                // An image is not held up by what refers to it.
                Err(Trouble::Here(RegistryError::Refused(_))) if place > root => continue,
                Err(trouble) => return Err(trouble),
            }
            let by_digest = ManifestName::Digest(part.digest);
            let is_there = self.to.digest_there(remote, &by_digest).await? == Some(part.digest);
            if !is_there {
                let (some, length) = self.send_blobs(remote, part).await?;
                blobs += some;
                bytes += length;
            }
            let name = if place == root { &self.name } else { &by_digest };
            let is_named = match name {
                ManifestName::Digest(_) => is_there,
                ManifestName::Tag(_) => self.to.digest_there(remote, name).await? == Some(part.digest),
            };
            if !is_named {
                let sent = (&part.bytes, part.media_type.as_str());
                self.to.put_manifest(remote, name, sent, &part.digest).await?;
                manifests += 1;
                bytes += part.bytes.len() as u64;
            }
        }
        Ok(Sent::There { digest, manifests, blobs, bytes })
    }

    /// True when what a manifest refers to is there; an error while it may come.
    async fn has_subject(&self, remote: &RepoName, digest: &Digest) -> Result<bool, Trouble> {
        let Some((bytes, media_type)) = self.registry.manifest_bytes(&self.repository, digest).await? else {
            return Ok(false);
        };
        let manifest = Manifest::parse(&bytes, Some(&media_type)).map_err(RegistryError::from)?;
        let Some(subject) = manifest.subject().map(|subject| subject.digest) else { return Ok(false) };
        if self.to.digest_there(remote, &ManifestName::Digest(subject)).await?.is_some() {
            return Ok(true);
        }
        if self.tries >= limit::SENDS_WITHOUT_SUBJECT {
            return Ok(false);
        }
        let message = format!("what it refers to is not there: `{subject}`");
        Err(Trouble::Here(Problem::new(seaworthy_model::ErrorCode::Unavailable, message).into()))
    }

    /// Refuses what nobody may pull here, or what is not here as a whole.
    async fn check(&self, digest: &Digest) -> Result<(), Trouble> {
        let (registry, repository) = (&self.registry, &self.repository);
        if db::filled(registry.db(), repository, digest).await? == Some(false) {
            return Err(Trouble::Here(crate::promotion::not_whole(repository, digest).into()));
        }
        match registry.inner.config.gate.check(repository, digest, Door::Manifest).await? {
            Some(refusal) => Err(Trouble::Here(refusal.problem.into())),
            None => Ok(()),
        }
    }

    /// Sends the blobs of a manifest that are not there: how many, and their length.
    async fn send_blobs(&self, remote: &RepoName, part: &Part) -> Result<(u64, u64), Trouble> {
        let manifest = Manifest::parse(&part.bytes, Some(&part.media_type)).map_err(RegistryError::from)?;
        let mut blobs = claimed_sizes(&manifest);
        blobs.sort_unstable();
        blobs.dedup();
        stream::iter(blobs)
            .map(|(digest, size)| self.send_blob(remote, digest, size))
            .buffer_unordered(limit::SENDS_PER_MANIFEST)
            .try_fold((0, 0), |(blobs, bytes), size| {
                std::future::ready(Ok(size.map_or((blobs, bytes), |size| (blobs + 1, bytes + size))))
            })
            .await
    }

    async fn send_blob(&self, remote: &RepoName, digest: Digest, size: u64) -> Result<Option<u64>, Trouble> {
        if self.to.has_blob(remote, &digest).await? {
            return Ok(None);
        }
        let reader = self.registry.open_for_inspection(&digest).await?;
        let reader = reader.ok_or_else(|| crate::blob::unknown(&digest))?;
        let body = reader.body();
        if body.size() != size {
            return Err(Trouble::Here(crate::blob::unknown(&digest).into()));
        }
        self.to.put_blob(remote, (&digest, size), body.stream(0..size)).await?;
        Ok(Some(size))
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_model::ErrorCode;

    use super::*;

    #[test]
    fn reasons_are_bounded() {
        let reason = |text: String| Trouble::Here(Problem::new(ErrorCode::Invalid, text).into()).reason();
        assert_eq!(reason("x".repeat(limit::SEND_ERROR_BYTES)).len(), limit::SEND_ERROR_BYTES);
        assert_eq!(reason("x".repeat(limit::SEND_ERROR_BYTES + 1)).len(), limit::SEND_ERROR_BYTES);
        // No letter is cut in two.
        assert!(reason("あ".repeat(limit::SEND_ERROR_BYTES)).chars().all(|letter| letter == 'あ'));
    }
}
