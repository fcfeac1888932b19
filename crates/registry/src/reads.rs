//! What was read of manifests and blobs and is still so: most requests of a registry ask for the same few.
//!
//! An entry holds for as long as nobody committed to the tables that it was read from, which only the one
//! server of a SQLite file knows; on PostgreSQL each request reads. Bytes are named by their digest and hold
//! for ever. Who may read, and the gate, are asked each time.

use std::{future::Future, hash::Hash};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Manifest, RepoName};
use seaworthy_store::{Db, Watch};

use crate::{
    RegistryError,
    db::{self, BlobRow, Reaching, StoredManifest},
    limit,
    lock::Locks,
    path::ManifestName,
};

/// What was read of some tables, until somebody commits to them.
struct Watched<K, V> {
    watch: Option<Watch>,
    kept: Cache<K, (u64, V)>,
}

impl<K: Eq + Hash, V: Clone> Watched<K, V> {
    fn new(db: &Db, tables: &'static [&'static str]) -> Self {
        Self { watch: db.watch(tables), kept: Cache::new(limit::CACHED_NAMES) }
    }

    /// What `read` finds, or found before. Kept if `is_worth` it.
    async fn get<R>(&self, key: K, is_worth: impl Fn(&V) -> bool, read: R) -> Result<V, RegistryError>
    where
        R: Future<Output = Result<V, RegistryError>>,
    {
        // Before the rows: a commit in between makes what was read of no use to anybody later.
        let Some(count) = self.watch.as_ref().map(Watch::count) else { return read.await };
        if let Some((_, found)) = self.kept.get(&key).filter(|(then, _)| *then == count) {
            return Ok(found);
        }
        let found = read.await?;
        if is_worth(&found) {
            self.kept.insert(key, (count, found.clone()));
        } else {
            drop(self.kept.remove(&key));
        }
        Ok(found)
    }
}

/// Manifests that reach a blob, in digest order, with their locks and the repository's.
pub(crate) type Reach = Vec<(Digest, Locks)>;

/// Manifests and blobs that were read.
pub(crate) struct Reads {
    db: Db,
    named: Watched<(RepoName, ManifestName), Option<StoredManifest>>,
    blobs: Watched<Digest, Option<BlobRow>>,
    opening: Watched<(RepoName, Digest), Reach>,
    bytes: Payloads,
    /// Manifests whose bytes were found to be what they are called, and one document to every reader.
    sound: Cache<Digest, ()>,
}

/// Bytes of manifests.
struct Payloads(Cache<Digest, Bytes, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<Digest, Bytes> for Weight {
    fn weight(&self, _: &Digest, bytes: &Bytes) -> u64 {
        bytes.len() as u64
    }
}

impl Payloads {
    fn new() -> Self {
        Self(Cache::with_weighter(limit::CACHED_NAMES, limit::CACHED_BYTES, Weight))
    }

    fn keep(&self, digest: &Digest, bytes: &Bytes) {
        if bytes.len() <= limit::CACHED_MANIFEST_BYTES {
            self.0.insert(*digest, bytes.clone());
        }
    }
}

impl Reads {
    pub(crate) fn new(db: Db) -> Self {
        Self {
            named: Watched::new(&db, db::NAMED_BY),
            blobs: Watched::new(&db, db::BLOBS_IN),
            opening: Watched::new(&db, db::REACHED_BY),
            bytes: Payloads::new(),
            sound: Cache::new(limit::CACHED_NAMES),
            db,
        }
    }

    /// What a name stands for.
    pub(crate) async fn named(
        &self,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        let key = (repository.clone(), name.clone());
        let read = async {
            Ok(match name {
                ManifestName::Tag(tag) => db::tagged(&self.db, repository, tag).await?,
                ManifestName::Digest(digest) => db::manifest(&self.db, repository, digest).await?,
            })
        };
        self.named.get(key, Option::is_some, read).await
    }

    /// The row of a blob.
    pub(crate) async fn blob(&self, digest: &Digest) -> Result<Option<BlobRow>, RegistryError> {
        let read = async { Ok(db::blob(&self.db, digest).await?) };
        self.blobs.get(*digest, Option::is_some, read).await
    }

    /// The first manifests of a repository that open a blob: at most [`limit::REACH_PAGE`].
    pub(crate) async fn opening(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Reach, RegistryError> {
        let read = async {
            let blob = (repository, digest);
            Ok(db::reaching(&self.db, blob, Reaching::Opens, "", limit::REACH_PAGE).await?)
        };
        let is_worth = |reach: &Reach| !reach.is_empty() && reach.len() <= limit::CACHED_REACH;
        self.opening.get((repository.clone(), *digest), is_worth, read).await
    }

    /// Refuses a manifest whose bytes are not served.
    pub(crate) async fn check(&self, digest: &Digest) -> Result<(), RegistryError> {
        if self.sound.get(digest).is_some() {
            return Ok(());
        }
        self.bytes(digest).await.map(drop)
    }

    /// [`Reads::check`], of what is to be asked for anew then.
    pub(crate) async fn is_sound(&self, digest: &Digest) -> Result<bool, RegistryError> {
        match self.check(digest).await {
            Err(RegistryError::Refused(_)) => Ok(false),
            checked => checked.map(|()| true),
        }
    }

    /// The bytes of a manifest that is there.
    pub(crate) async fn bytes(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        if let Some(bytes) = self.bytes.0.get(digest) {
            return Ok(Some(bytes));
        }
        let bytes = db::manifest_bytes(&self.db, digest).await?.map(Bytes::from);
        if let Some(bytes) = &bytes {
            if self.sound.get(digest).is_none() {
                check_sound(digest, bytes)?;
                self.sound.insert(*digest, ());
            }
            self.bytes.keep(digest, bytes);
        }
        Ok(bytes)
    }
}

/// Refuses bytes that rotted, and what was taken when manifests were read less strictly.
fn check_sound(digest: &Digest, bytes: &[u8]) -> Result<(), Problem> {
    if !digest.is_of(bytes) {
        tracing::error!(%digest, "the bytes of a manifest are not those that it names");
        let message = format!("the bytes of manifest `{digest}` are damaged");
        return Err(Problem::new(ErrorCode::ManifestUnknown, message).hint("push it again"));
    }
    // A media type decides which fields there must be, and not how they are read.
    Manifest::parse(bytes, None).map(drop).map_err(|error| {
        let message = format!("`{digest}` is not read: {}", seaworthy_store::chain(&error));
        Problem::new(ErrorCode::Denied, message).hint("it was stored by an earlier version: delete it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Payloads::new();
        for length in [limit::CACHED_MANIFEST_BYTES, limit::CACHED_MANIFEST_BYTES + 1] {
            let bytes = Bytes::from(vec![0; length]);
            let digest = Digest::sha256(&bytes);
            kept.keep(&digest, &bytes);
            assert_eq!(kept.0.get(&digest).is_some(), length == limit::CACHED_MANIFEST_BYTES, "{length}");
        }
        for number in 0..1_000_u32 {
            let mut bytes = vec![0; limit::CACHED_MANIFEST_BYTES];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            kept.keep(&Digest::sha256(&bytes), &bytes.into());
            assert!(kept.0.weight() <= limit::CACHED_BYTES, "{}", kept.0.weight());
        }
        assert!(kept.0.weight() > limit::CACHED_BYTES / 2, "{}", kept.0.weight());
        for number in 0..u32::try_from(2 * limit::CACHED_NAMES).expect("small") {
            let bytes = Bytes::copy_from_slice(&number.to_be_bytes());
            kept.keep(&Digest::sha256(&bytes), &bytes);
        }
        assert!(kept.0.len() > limit::CACHED_NAMES / 2);
    }
}
