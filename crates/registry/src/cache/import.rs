//! An image fetched as a whole, because somebody asked for it: to be copied to where it is wanted.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Manifest, RepoName, Tag, media};

use super::{Cache, Referrer, Served};
use crate::{
    Registry, RegistryError, db, limit,
    path::ManifestName,
    promotion::{Referrers, too_much},
    push::named_blobs,
    quota::{self, Change},
    upstream::{Origin, Right},
};

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
                match remote {
                    Some(remote) => self.answering(host, &remote).await?,
                    None => None,
                }
            }
            None if self.is_cache(repository).await? => Some(repository.clone()),
            None => None,
        };
        Ok(local.ok_or_else(|| {
            let place = host.map_or_else(|| repository.to_string(), |host| format!("{host}/{repository}"));
            Problem::new(ErrorCode::NotFound, format!("no cache here answers for `{place}`")).hint(format!(
                "make one: `seaworthy registry cache create PREFIX --upstream {}`",
                host.unwrap_or("docker.io")
            ))
        })?)
    }

    /// What a repository of another registry is called here: by the cache that answers for its host, else by the only one
    /// that is in front of it.
    async fn answering(&self, host: &str, remote: &RepoName) -> Result<Option<RepoName>, RegistryError> {
        if let Some(cache) = self.inner.caches.for_host(host).await? {
            return Ok(cache.settings.local(remote));
        }
        let all = self.inner.caches.all().await?;
        let is_it = |origin: &Origin| {
            [origin.authority(), origin.host.clone()].iter().any(|name| name.eq_ignore_ascii_case(host))
        };
        let found = all.iter().filter(|cache| is_it(&cache.settings.upstream));
        let mut named = found.filter_map(|cache| cache.settings.local(remote));
        Ok(named.next().filter(|_| named.next().is_none()))
    }

    /// Has all of an image fetched that is below a cache, of an index all its images and blobs that the upstream has, as it is
    /// there now, with what refers to them or without; returns its digest. At most [`limit::PROMOTED_MANIFESTS`].
    pub async fn fetch_whole(
        &self,
        identity: &Identity,
        (repository, reference): (&RepoName, Result<Tag, Digest>),
        referrers: Referrers,
    ) -> Result<Digest, RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let name = reference.map_or_else(ManifestName::Digest, ManifestName::Tag);
        self.ask_again(repository, &name);
        let (root, served) = self.resolve_through(identity, repository, &name).await?;
        if let Some(Served::Stale(why)) = &served {
            return Err(not_asked(repository, &name, why).into());
        }
        let cache = self.inner.caches.of(repository).await?;
        let cache = cache.ok_or_else(|| crate::manifest::unknown(repository))?;
        if served == Some(Served::Kept) {
            self.check_same_there(&cache, (repository, &name), &root.digest).await?;
        }
        let absent = match referrers {
            Referrers::Along => self.fetch_all_of(identity, (&cache, repository), root.digest).await?,
            Referrers::Left => self.fetch_below(identity, (&cache, repository), root.digest).await?.absent,
        };
        if let Some(first) = absent.first() {
            let count = absent.len();
            tracing::info!(%repository, digest = %root.digest, %first, count, "an upstream has not all of an index");
        }
        Ok(root.digest)
    }

    /// A lock or a rule has a tag stay what it is, and nobody asked: refuses when the upstream has another there.
    async fn check_same_there(
        &self,
        cache: &Cache,
        (repository, name): (&RepoName, &ManifestName),
        here: &Digest,
    ) -> Result<(), RegistryError> {
        let (ManifestName::Tag(_), Some(remote)) = (name, cache.settings.remote(repository)) else {
            return Ok(());
        };
        match cache.upstream.digest_of(&remote, name, Right::Pull).await {
            Ok(Some(there)) if there == *here => Ok(()),
            Ok(Some(there)) => {
                let image = crate::manifest::named(repository, name);
                let message = format!("`{image}` stays {here} here, and is {there} at its upstream");
                let hint = format!("copy what is here: `seaworthy image promote {image} …`");
                Err(Problem::new(ErrorCode::Conflict, message).hint(hint).into())
            }
            Ok(None) => Err(not_asked(repository, name, "its upstream does not say").into()),
            Err(error) => Err(not_asked(repository, name, &seaworthy_store::chain(&error)).into()),
        }
    }

    /// Has all of a manifest fetched that is here, and what refers to it in turn, by lists as they are now; returns what
    /// indexes name and the upstream does not have.
    pub(crate) async fn fetch_all_of(
        &self,
        identity: &Identity,
        (cache, repository): (&Arc<Cache>, &RepoName),
        root: Digest,
    ) -> Result<Vec<Digest>, RegistryError> {
        let Below { manifests: mut subjects, mut absent } =
            self.fetch_below(identity, (cache, repository), root).await?;
        let mut next = 0;
        while let Some(subject) = subjects.get(next).copied() {
            next += 1;
            let (told, _) = self.told_referrers(cache, (repository, &subject), 0).await?;
            if let Some(problem) = told.trouble() {
                return Err(problem.clone().into());
            }
            for referrer in told.entries().unwrap_or_default().iter().map(Referrer::digest) {
                if subjects.contains(referrer) {
                    continue;
                }
                if subjects.len() >= limit::PROMOTED_MANIFESTS {
                    return Err(too_much(limit::PROMOTED_MANIFESTS, "manifests").into());
                }
                match self.fetch_below(identity, (cache, repository), *referrer).await {
                    Ok(below) => {
                        subjects.extend(below.manifests);
                        absent.extend(below.absent);
                    }
                    // A list by tag names what was deleted.
                    Err(RegistryError::Refused(problem)) if problem.code == ErrorCode::ManifestUnknown => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(absent)
    }

    /// Has the upstream asked whatever it said a moment ago: who wants all of an image wants what is there now.
    pub(crate) fn ask_again(&self, repository: &RepoName, name: &ManifestName) {
        if let ManifestName::Tag(tag) = name {
            self.inner.checks.remove(&(repository.clone(), tag.clone()));
        }
        self.inner.absent.remove(&(repository.clone(), name.clone()));
    }

    /// Has all of a manifest fetched that is here, of an index all its images and blobs.
    async fn fetch_below(
        &self,
        identity: &Identity,
        (cache, repository): (&Arc<Cache>, &RepoName),
        root: Digest,
    ) -> Result<Below, RegistryError> {
        let mut below = Below { manifests: Vec::new(), absent: Vec::new() };
        let (mut names, mut next) = (vec![root], 0);
        while let Some(digest) = names.get(next).copied() {
            next += 1;
            let name = ManifestName::Digest(digest);
            self.ask_again(repository, &name);
            self.bring(identity, repository, &name).await?;
            let Some((bytes, media_type)) = self.manifest_bytes(repository, &digest).await? else {
                if digest == root {
                    let message = format!("`{repository}` has no manifest `{digest}`");
                    return Err(Problem::new(ErrorCode::ManifestUnknown, message).into());
                }
                below.absent.push(digest);
                continue;
            };
            below.manifests.push(digest);
            let manifest = Manifest::parse(&bytes, Some(&media_type))?;
            let Manifest::Index(index) = &manifest else {
                self.fill_now(repository, &digest).await?;
                continue;
            };
            for child in index.manifests.iter().filter(|child| media::is_manifest(&child.media_type)) {
                if !names.contains(&child.digest) {
                    names.push(child.digest);
                }
            }
            if names.len() > limit::PROMOTED_MANIFESTS {
                return Err(too_much(limit::PROMOTED_MANIFESTS, "manifests").into());
            }
            below.absent.extend(self.fetch_named((cache, repository), &digest, &manifest).await?);
        }
        Ok(below)
    }

    /// Has the blobs fetched that an index names; returns those that the upstream does not have.
    async fn fetch_named(
        &self,
        (cache, repository): (&Arc<Cache>, &RepoName),
        index: &Digest,
        manifest: &Manifest,
    ) -> Result<Vec<Digest>, RegistryError> {
        let known = db::blobs_of_index(self.db(), repository, index).await?;
        let wanted: Vec<_> = named_blobs(manifest).into_iter().filter(|blob| !known.contains(blob)).collect();
        let (mut here, mut absent) = (Vec::new(), Vec::new());
        let fetch =
            |blob: (Digest, u64)| async move { (blob.0, self.fetched(cache, repository, blob).await) };
        let mut fetched = stream::iter(wanted).map(fetch).buffer_unordered(limit::FILLS_PER_IMAGE);
        while let Some((digest, outcome)) = fetched.next().await {
            match outcome {
                Ok(()) => here.push(digest),
                Err(RegistryError::Refused(problem)) if problem.code == ErrorCode::BlobUnknown => {
                    absent.push(digest);
                }
                Err(error) => return Err(error),
            }
        }
        if !here.is_empty() {
            self.name_fetched((cache, repository), here.into_iter().map(|blob| (*index, blob)).collect())
                .await?;
        }
        Ok(absent)
    }

    /// Names a blob that came in the indexes of its repository that list it.
    pub(super) async fn name_where_listed(
        &self,
        (cache, repository): (&Cache, &RepoName),
        blob: Digest,
    ) -> Result<(), RegistryError> {
        let (mut named, mut after) = (Vec::new(), String::new());
        loop {
            let page = db::listing(self.db(), (repository, &blob), &after, limit::REACH_PAGE).await?;
            for index in &page {
                let Some((bytes, media_type)) = self.manifest_bytes(repository, index).await? else {
                    continue;
                };
                // One that is not read any more opens nothing.
                let Ok(manifest) = Manifest::parse(&bytes, Some(&media_type)) else { continue };
                let listed = named_blobs(&manifest);
                if listed.iter().any(|(listed, _)| *listed == blob) {
                    named.push((*index, blob));
                }
            }
            match page.last() {
                Some(last) if page.len() as u64 >= limit::REACH_PAGE.unsigned_abs() => {
                    after = last.to_string();
                }
                _ => break,
            }
        }
        if named.is_empty() { Ok(()) } else { self.name_fetched((cache, repository), named).await }
    }

    /// Names blobs that came in indexes, each behind its index: they stay as long as it does, and are copied with it.
    async fn name_fetched(
        &self,
        (cache, repository): (&Cache, &RepoName),
        named: Vec<(Digest, Digest)>,
    ) -> Result<(), RegistryError> {
        let context = (repository.clone(), named, cache.settings.bearer(), self.inner.clock.now());
        self.db()
            .upkeep(context, |(repository, named, bearer, now), tx| {
                Box::pin(async move {
                    db::held_locks(tx, repository).await?;
                    let mut held = Change::default();
                    for (index, blob) in named {
                        if db::locks_of_manifest(tx, repository, index).await?.is_some()
                            && let Some(size) = db::name_blob(tx, repository, blob, bearer, *now).await?
                        {
                            let more = db::name_in_index(tx, (repository, index), (blob, size)).await?;
                            held = held.and(more);
                        }
                    }
                    quota::charge(tx, repository, held).await
                })
            })
            .await
    }
}

/// That an upstream could not be asked what it has now.
fn not_asked(repository: &RepoName, name: &ManifestName, why: &str) -> Problem {
    let image = crate::manifest::named(repository, name);
    let message = format!("what `{image}` is at its upstream now is not known: {why}");
    let hint = format!("try again, or copy what is here: `seaworthy image promote {image} …`");
    Problem::new(ErrorCode::Unavailable, message).retry_after(5).hint(hint)
}

/// What came of fetching a manifest with all that it names.
struct Below {
    /// Those that are here.
    manifests: Vec<Digest>,
    /// What an index names and the upstream does not have.
    absent: Vec<Digest>,
}
