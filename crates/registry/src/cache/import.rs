//! An image fetched as a whole, because somebody asked for it: to be copied to where it is wanted.

use std::sync::Arc;

use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Manifest, RepoName, Tag};

use super::{Cache, Referrer};
use crate::{Registry, RegistryError, limit, path::ManifestName};

impl Registry {
    /// Where a cache has what a host calls `repository`; without a host, where it is called so here.
    pub async fn cached_place(
        &self,
        host: Option<&str>,
        repository: &RepoName,
    ) -> Result<RepoName, RegistryError> {
        let local = match host {
            Some(host) => {
                // Docker's own images have a folder that nobody writes.
                let remote = match repository.as_str() {
                    name if host == "docker.io" && !name.contains('/') => {
                        format!("library/{name}").parse().ok()
                    }
                    _ => Some(repository.clone()),
                };
                let cache = self.inner.caches.for_host(host).await?;
                remote.and_then(|remote| cache?.settings.local(&remote))
            }
            None if self.is_cache(repository).await? => Some(repository.clone()),
            None => None,
        };
        Ok(local.ok_or_else(|| {
            let place = host.map_or_else(|| repository.to_string(), |host| format!("{host}/{repository}"));
            Problem::new(ErrorCode::NotFound, format!("no cache here answers for `{place}`"))
                .hint("make one: `seaworthy registry cache create hub --upstream docker.io`")
        })?)
    }

    /// Has all of an image fetched that is below a cache, of an index all its images, with what refers to them;
    /// returns its digest. At most [`limit::PROMOTED_MANIFESTS`].
    pub async fn fetch_whole(
        &self,
        identity: &Identity,
        repository: &RepoName,
        reference: Result<Tag, Digest>,
    ) -> Result<Digest, RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let name = reference.map_or_else(ManifestName::Digest, ManifestName::Tag);
        self.ask_again(repository, &name);
        let (root, _) = self.resolve_through(identity, repository, &name).await?;
        let cache = self.inner.caches.of(repository).await?;
        let cache = cache.ok_or_else(|| crate::manifest::unknown(repository))?;
        let seconds = cache.settings.check_seconds;
        self.fetch_all_of(identity, (&cache, repository), root.digest, seconds).await?;
        Ok(root.digest)
    }

    /// Has all of a manifest fetched that is here, and what refers to it in turn, by lists that are no older than
    /// `seconds`.
    pub(crate) async fn fetch_all_of(
        &self,
        identity: &Identity,
        (cache, repository): (&Arc<Cache>, &RepoName),
        root: Digest,
        seconds: u32,
    ) -> Result<(), RegistryError> {
        let mut subjects = self.fetch_below(identity, repository, root).await?;
        let mut next = 0;
        while let Some(subject) = subjects.get(next).copied() {
            next += 1;
            let (told, _) = self.told_referrers(cache, (repository, &subject), seconds).await?;
            if let Some(problem) = told.trouble() {
                return Err(problem.clone().into());
            }
            for referrer in told.entries().unwrap_or_default().iter().map(Referrer::digest) {
                if subjects.contains(referrer) {
                    continue;
                }
                if subjects.len() >= limit::PROMOTED_MANIFESTS {
                    let message = format!("more than {} manifests belong to it", limit::PROMOTED_MANIFESTS);
                    return Err(Problem::new(ErrorCode::TooLarge, message).into());
                }
                match self.fetch_below(identity, repository, *referrer).await {
                    Ok(manifests) => subjects.extend(manifests),
                    // A list by tag names what was deleted.
                    Err(RegistryError::Refused(problem)) if problem.code == ErrorCode::ManifestUnknown => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Has the upstream asked whatever it lacked a moment ago: who wants all of an image knows that it is there.
    pub(crate) fn ask_again(&self, repository: &RepoName, name: &ManifestName) {
        self.inner.absent.remove(&(repository.clone(), name.clone()));
    }

    /// Has all of a manifest fetched that is here, of an index all its images; returns its manifests.
    async fn fetch_below(
        &self,
        identity: &Identity,
        repository: &RepoName,
        root: Digest,
    ) -> Result<Vec<Digest>, RegistryError> {
        let (mut names, mut next) = (vec![root], 0);
        while let Some(digest) = names.get(next).copied() {
            next += 1;
            let name = ManifestName::Digest(digest);
            self.ask_again(repository, &name);
            self.bring(identity, repository, &name).await?;
            let stored = self.manifest_bytes(repository, &digest).await?;
            let (bytes, media_type) = stored.ok_or_else(|| {
                let message = format!("`{repository}` has no manifest `{digest}`");
                Problem::new(ErrorCode::ManifestUnknown, message)
            })?;
            match Manifest::parse(&bytes, Some(&media_type))? {
                Manifest::Index(index) => {
                    let new = index.manifests.iter().map(|child| child.digest);
                    for digest in new {
                        if !names.contains(&digest) {
                            names.push(digest);
                        }
                    }
                    if names.len() > limit::PROMOTED_MANIFESTS {
                        let most = limit::PROMOTED_MANIFESTS;
                        let message = format!("more than {most} manifests would be copied at once");
                        return Err(Problem::new(ErrorCode::TooLarge, message)
                            .hint("promote the images of the index one by one")
                            .into());
                    }
                }
                Manifest::Image(_) => self.fill_now(repository, &digest).await?,
            }
        }
        Ok(names)
    }
}
