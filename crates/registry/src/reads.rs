//! What was read of manifests and is still so: most requests of a registry ask for the same few.
//!
//! An entry holds for as long as nobody committed to the tables that it was read from, which only the one
//! server of a SQLite file knows; on PostgreSQL each request reads. Bytes are named by their digest and hold
//! for ever. Who may read, and the gate, are asked each time.

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, Watch};

use crate::{
    RegistryError,
    db::{self, StoredManifest},
    limit,
    path::ManifestName,
};

type Key = (RepoName, ManifestName);

/// Manifests that were read.
pub(crate) struct Reads {
    db: Db,
    watch: Option<Watch>,
    named: Cache<Key, (u64, StoredManifest)>,
    bytes: Payloads,
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
        let named = Cache::new(limit::CACHED_NAMES);
        Self { watch: db.watch(db::NAMED_BY), named, bytes: Payloads::new(), db }
    }

    /// What a name stands for.
    pub(crate) async fn named(
        &self,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        // Before the rows: a commit in between makes what was read of no use to anybody later.
        let Some(count) = self.watch.as_ref().map(Watch::count) else {
            return self.read(repository, name).await;
        };
        let key = (repository.clone(), name.clone());
        if let Some((_, found)) = self.named.get(&key).filter(|(then, _)| *then == count) {
            return Ok(Some(found));
        }
        let found = self.read(repository, name).await?;
        match &found {
            Some(found) => self.named.insert(key, (count, found.clone())),
            None => drop(self.named.remove(&key)),
        }
        Ok(found)
    }

    async fn read(
        &self,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        Ok(match name {
            ManifestName::Tag(tag) => db::tagged(&self.db, repository, tag).await?,
            ManifestName::Digest(digest) => db::manifest(&self.db, repository, digest).await?,
        })
    }

    /// The bytes of a manifest that is there.
    pub(crate) async fn bytes(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        if let Some(bytes) = self.bytes.0.get(digest) {
            return Ok(Some(bytes));
        }
        let bytes = db::manifest_bytes(&self.db, digest).await?.map(Bytes::from);
        if let Some(bytes) = &bytes {
            self.bytes.keep(digest, bytes);
        }
        Ok(bytes)
    }
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
