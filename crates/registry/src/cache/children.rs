//! Images of an index that nobody asked for by name: containerd and `BuildKit` do not fetch manifests that they have,
//! and ask at once for what those name.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use seaworthy_access::Identity;
use seaworthy_model::Problem;
use seaworthy_oci::{Descriptor, Digest, Manifest, RepoName, media};

use super::Cache;
use crate::{
    Registry, RegistryError, db, limit,
    path::ManifestName,
    push::claimed_sizes,
    upstream::{Right, UpstreamError},
};

impl Registry {
    /// Has images fetched that indexes of `repository` name, until one is here that names the blob; false when
    /// none does. Nothing is fetched unless the upstream has the blob, and at most [`limit::CHILDREN`] at once. Who
    /// asks may pull there.
    pub(crate) async fn bring_naming(
        &self,
        identity: &Identity,
        cache: &Arc<Cache>,
        (repository, digest): (&RepoName, &Digest),
    ) -> Result<bool, RegistryError> {
        let Some(remote) = cache.settings.remote(repository) else { return Ok(false) };
        let indexes = db::indexes_lacking(self.db(), repository, limit::INDEXES).await?;
        if indexes.is_empty() {
            return Ok(false);
        }
        let search = Search {
            registry: self.clone(),
            identity: identity.clone(),
            cache: cache.clone(),
            repository: repository.clone(),
            remote,
            digest: *digest,
        };
        let key = (cache.id, repository.clone(), *digest);
        let turn = self.turn(cache, |turns| &turns.searches);
        let search = Box::pin(search.run(indexes));
        let searching = self.inner.searches.join_in_turn(&self.inner.tasks, key, turn, search);
        let (found, _) = searching.await?;
        Ok(found?)
    }
}

/// Looks for a manifest that names a blob.
struct Search {
    registry: Registry,
    identity: Identity,
    cache: Arc<Cache>,
    repository: RepoName,
    /// What the upstream calls it.
    remote: RepoName,
    digest: Digest,
}

impl Search {
    async fn run(self, indexes: Vec<Digest>) -> Result<bool, Problem> {
        let late = || UpstreamError::Late { host: self.cache.upstream.host().to_owned() };
        let found =
            tokio::time::timeout(Duration::from_secs(limit::ERRAND_SECONDS), self.look(indexes)).await;
        found.unwrap_or_else(|_| Err(late().problem()))
    }

    async fn look(&self, indexes: Vec<Digest>) -> Result<bool, Problem> {
        match self.cache.upstream.has_blob(&self.remote, &self.digest, Right::Pull).await {
            Ok(true) => {}
            // Requests for manifests are what upstreams count: they are not for guesses.
            Ok(false) => return Ok(false),
            Err(error) => return Err(error.problem()),
        }
        let (mut indexes, mut left) = (VecDeque::from(indexes), limit::CHILDREN);
        let mut trouble = None;
        while let Some(index) = indexes.pop_front() {
            let Some(Manifest::Index(index)) = self.manifest(&index).await? else { continue };
            for child in likely_first(index.manifests) {
                let name = ManifestName::Digest(child.digest);
                if self.registry.inner.reads.named(&self.repository, &name).await?.is_some() {
                    // Another search may have brought it meanwhile.
                    match self.manifest(&child.digest).await? {
                        Some(image @ Manifest::Image(_)) if names(&image, &self.digest) => return Ok(true),
                        _ => continue,
                    }
                }
                if left == 0 {
                    return trouble.map_or(Ok(false), Err);
                }
                left -= 1;
                if let Err(error) = self.registry.bring(&self.identity, &self.repository, &name).await {
                    trouble.get_or_insert(error.into());
                    continue;
                }
                match self.manifest(&child.digest).await? {
                    Some(image @ Manifest::Image(_)) if names(&image, &self.digest) => {
                        self.registry.fill_behind(&self.repository, &child.digest).await?;
                        return Ok(true);
                    }
                    Some(Manifest::Index(_)) => indexes.push_front(child.digest),
                    _ => {}
                }
            }
        }
        trouble.map_or(Ok(false), Err)
    }

    async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, RegistryError> {
        let stored = self.registry.manifest_bytes(&self.repository, digest).await?;
        Ok(stored.map(|(bytes, media_type)| Manifest::parse(&bytes, Some(&media_type))).transpose()?)
    }
}

fn names(manifest: &Manifest, digest: &Digest) -> bool {
    claimed_sizes(manifest).iter().any(|(named, _)| named == digest)
}

/// Manifests among the children of an index, those of which nobody knows where they run (attestations) last.
fn likely_first(children: Vec<Descriptor>) -> impl Iterator<Item = Descriptor> {
    let is_known =
        |child: &Descriptor| child.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let manifests = children.into_iter().filter(|child| media::is_manifest(&child.media_type));
    let (known, unknown): (Vec<_>, Vec<_>) = manifests.partition(is_known);
    known.into_iter().chain(unknown)
}
