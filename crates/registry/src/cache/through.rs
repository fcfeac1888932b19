//! Manifests through a cache: asked for upstream when what is here is not known to be the same there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use seaworthy_access::Identity;
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, Problem};
use seaworthy_oci::{Algorithm, Digest, Hasher, Manifest, RepoName, Tag};
use seaworthy_store::Tx;
use serde_json::json;

use super::{Cache, Said, Served, flight::Part};
use crate::{
    Registry, RegistryError, SparseIndexes,
    db::{self, Reason, Removal, StoredManifest},
    deletion::check_removal,
    limit,
    lock::{self, Ability},
    path::ManifestName,
    push::{NamedBlobs, Push, describe, named_blobs},
    rules::{self, Way},
    upstream::{Right, Sent, Trouble, UpstreamError},
};

/// When tags were looked at last; those that nobody asked for lately are forgotten.
pub(crate) fn checks() -> quick_cache::sync::Cache<(RepoName, Tag), Said> {
    quick_cache::sync::Cache::new(limit::CHECKS)
}

/// When it was said last that there is no such manifest.
pub(crate) fn absent() -> quick_cache::sync::Cache<(RepoName, ManifestName), Said> {
    quick_cache::sync::Cache::new(limit::ABSENT)
}

/// What came of asking.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The upstream has what is here.
    Same,
    /// What it has is here now.
    Stored,
    /// It has none.
    Gone,
    /// It could not be asked, or gave nothing that can be taken.
    Away(Problem),
    /// We do not take it, or failed ourselves.
    Refused(Problem),
}

impl Registry {
    /// Sees to it that what a name stands for below a cache is here, and says where it came from; `None` where
    /// there is no cache. Who asks may pull there.
    pub(crate) async fn bring(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: &ManifestName,
    ) -> Result<Option<Served>, RegistryError> {
        let Some(cache) = self.inner.caches.of(repository).await? else { return Ok(None) };
        let held = self.inner.reads.named(repository, name).await?;
        if let Some(held) = &held
            && self.holds(&cache, repository, name, held).await?
        {
            return Ok(Some(Served::Kept));
        }
        let Some(remote) = cache.settings.remote(repository) else { return Ok(None) };
        let key = (repository.clone(), name.clone());
        if held.is_none() && self.is_absent(&cache, &key) {
            return Ok(None);
        }
        let errand = Errand {
            registry: self.clone(),
            cache: cache.clone(),
            remote,
            repository: repository.clone(),
            name: name.clone(),
            held: held.as_ref().map(|held| held.digest),
            actor: identity.actor.clone(),
        };
        let key = (cache.id, key.0, key.1);
        let turn = self.turn(&cache, |turns| &turns.errands);
        let asked = self.inner.errands.join_in_turn(&self.inner.tasks, key, turn, Box::pin(errand.run()));
        tokio::pin!(asked);
        let asked = loop {
            tokio::select! {
                asked = &mut asked => break asked,
                // Others may have brought it while this waited for a turn; and what is here need not wait for one.
                () = tokio::time::sleep(Duration::from_secs(limit::LOOK_AGAIN_SECONDS)) => {
                    if self.inner.reads.named(repository, name).await?.is_some() && held.is_none() {
                        return Ok(Some(Served::Joined));
                    }
                }
            }
        };
        let (outcome, part) = asked.unwrap_or_else(|problem| (Outcome::Away(problem), Part::Began));
        match outcome {
            Outcome::Same => Ok(Some(Served::Checked)),
            Outcome::Stored if part == Part::Joined => Ok(Some(Served::Joined)),
            Outcome::Stored => Ok(Some(Served::Fetched)),
            // Whoever looks it up finds none.
            Outcome::Gone => Ok(None),
            Outcome::Away(problem) | Outcome::Refused(problem) if held.is_some() => {
                Ok(Some(Served::Stale(problem.message)))
            }
            Outcome::Away(problem) | Outcome::Refused(problem) => Err(problem.into()),
        }
    }

    /// True when the upstream said a moment ago that it does not have it.
    fn is_absent(&self, cache: &Cache, key: &(RepoName, ManifestName)) -> bool {
        let seconds = limit::ABSENT_SECONDS.min(cache.settings.check_seconds);
        self.is_said(cache, self.inner.absent.get(key), seconds)
    }

    /// True when what is here is served without asking: it cannot be another, must not become another, or was
    /// looked at a moment ago.
    async fn holds(
        &self,
        cache: &Cache,
        repository: &RepoName,
        name: &ManifestName,
        held: &StoredManifest,
    ) -> Result<bool, RegistryError> {
        if !self.inner.reads.is_sound(&held.digest).await? {
            return Ok(false);
        }
        let ManifestName::Tag(tag) = name else { return Ok(true) };
        let checked = self.inner.checks.get(&(repository.clone(), tag.clone()));
        if self.is_said(cache, checked, cache.settings.check_seconds) || !held.locks.allow(Ability::Write) {
            return Ok(true);
        }
        self.is_frozen(repository, tag).await
    }

    /// True when it was said less than `seconds` ago, by the cache as it is now.
    fn is_said(&self, cache: &Cache, said: Option<Said>, seconds: u32) -> bool {
        said.is_some_and(|said| {
            said.by == cache.id && self.inner.clock.now() < said.at.plus_seconds(i64::from(seconds))
        })
    }

    /// True when a rule has a tag stay what it is.
    pub(crate) async fn is_frozen(&self, repository: &RepoName, tag: &Tag) -> Result<bool, RegistryError> {
        let rules = self.inner.rules.rules().await?;
        Ok(rules.iter().any(|rules| rules.prefix.covers(repository) && rules.freeze(tag)))
    }
}

/// One manifest to be asked for.
struct Errand {
    registry: Registry,
    cache: Arc<Cache>,
    repository: RepoName,
    /// What the upstream calls it.
    remote: RepoName,
    name: ManifestName,
    /// What the name stands for here.
    held: Option<Digest>,
    actor: Actor,
}

impl Errand {
    async fn run(self) -> Outcome {
        let late = || UpstreamError::Late { host: self.cache.upstream.host().to_owned() };
        // However slowly it comes, it comes in time or not at all: others wait for this.
        let asked = tokio::time::timeout(Duration::from_secs(limit::ERRAND_SECONDS), self.ask()).await;
        let outcome = match asked.unwrap_or_else(|_| Err(late().into())) {
            Err(Trouble::Far(error @ UpstreamError::NotFound { is_told, .. })) => {
                match self.forget(is_told).await {
                    Ok(true) => {
                        let key = (self.repository.clone(), self.name.clone());
                        self.registry.inner.absent.insert(key, self.said());
                        Ok(Outcome::Gone)
                    }
                    // It stays, and is not what the upstream has.
                    Ok(false) => Err(error.into()),
                    Err(error) => Err(error.into()),
                }
            }
            asked => asked,
        };
        match outcome {
            Ok(outcome) => outcome,
            Err(Trouble::Far(error)) => {
                let reason = seaworthy_store::chain(&error);
                let image = crate::manifest::named(&self.repository, &self.name);
                tracing::warn!(image, reason, "a manifest did not come from its upstream");
                Outcome::Away(error.problem())
            }
            Err(Trouble::Here(error)) => Outcome::Refused(error.into()),
        }
    }

    async fn ask(&self) -> Result<Outcome, Trouble> {
        let upstream = &self.cache.upstream;
        // The errand before may have ended since it was looked for.
        let held = self.registry.inner.reads.named(&self.repository, &self.name).await?;
        if let Some(held) = &held
            && self.registry.holds(&self.cache, &self.repository, &self.name, held).await?
        {
            return Ok(Outcome::Same);
        }
        if let (ManifestName::Tag(tag), Some(held)) = (&self.name, held.map(|held| held.digest)) {
            let there = match upstream.digest_of(&self.remote, &self.name, Right::Pull).await {
                // Without a body nobody knows who says so.
                Err(UpstreamError::NotFound { .. }) => None,
                answered => answered?,
            };
            if there == Some(held) && self.registry.inner.reads.is_sound(&held).await? {
                self.checked();
                return Ok(Outcome::Same);
            }
            if let Some(there) = there
                && self.registry.inner.reads.is_sound(&there).await?
                && let Some((bytes, media_type)) =
                    self.registry.manifest_bytes(&self.repository, &there).await?
            {
                let sent = Sent { bytes, content_type: Some(media_type), digest: Some(there) };
                self.store(sent, there, vec![tag.clone()]).await?;
                return Ok(Outcome::Same);
            }
        }
        let sent = upstream.manifest(&self.remote, &self.name, Right::Pull).await?;
        let digest = self.verified(&sent)?;
        let tags: Vec<Tag> = match &self.name {
            ManifestName::Tag(tag) => vec![tag.clone()],
            ManifestName::Digest(_) => Vec::new(),
        };
        self.store(sent, digest, tags).await?;
        Ok(Outcome::Stored)
    }

    /// The digest of what came, which is the one that was asked for and the one that it is called there.
    fn verified(&self, sent: &Sent) -> Result<Digest, UpstreamError> {
        let expected = match &self.name {
            ManifestName::Digest(digest) => Some(*digest),
            ManifestName::Tag(_) => sent.digest,
        };
        let mut hasher = Hasher::new(expected.map_or(Algorithm::Sha256, |digest| digest.algorithm()));
        hasher.update(&sent.bytes);
        let actual = hasher.finish();
        if expected.is_some_and(|expected| expected != actual) {
            return Err(self.wrong("a manifest with another digest"));
        }
        Ok(actual)
    }

    fn wrong(&self, why: &str) -> UpstreamError {
        UpstreamError::Wrong { host: self.cache.upstream.host().to_owned(), why: why.to_owned() }
    }

    async fn store(&self, sent: Sent, digest: Digest, tags: Vec<Tag>) -> Result<(), Trouble> {
        let manifest = self.parsed(&sent)?;
        let mut pushed = describe(&self.repository, digest, &manifest, self.registry.inner.clock.now());
        if let Manifest::Image(image) = &manifest
            && !pushed.is_image
        {
            // Whether engines would run it is said by its config: that is fetched first.
            let config = &image.config;
            if config.size <= seaworthy_oci::limit::CONFIG_BYTES as u64 {
                let blob = (config.digest, config.size);
                self.registry.fetched(&self.cache, &self.repository, blob).await?;
            }
            pushed.is_image = self.registry.may_be_run(&config.digest).await?;
        }
        let listed = match &manifest {
            Manifest::Image(_) => Vec::new(),
            Manifest::Index(_) => named_blobs(&manifest).into_iter().map(|(blob, _)| blob).collect(),
        };
        let push = Push {
            way: Way::Cache,
            pusher: self.cache.settings.bearer(),
            by: format!("{}/{}", self.cache.upstream.host(), self.remote),
            tags,
            only_if: None,
            artifact_type: manifest.artifact_type().map(str::to_owned),
            annotations: json!(manifest.annotations()).to_string(),
            // Its blobs come later, by themselves; what an index lists and is here stays with it.
            sizes: Vec::new(),
            child_sizes: Vec::new(),
            blobs: NamedBlobs::Of(listed),
            sparse: SparseIndexes::Allow,
            consumers: self.registry.inner.config.manifest_consumers,
            pushed,
            bytes: Bytes::clone(&sent.bytes),
        };
        seaworthy_ledger::write::<_, _, RegistryError, _>(
            self.registry.db(),
            &self.actor,
            push,
            |push, tx| Box::pin(async move { push.store(tx).await.map(|(_, acts)| ((), acts)) }),
        )
        .await?;
        self.checked();
        Ok(())
    }

    fn parsed(&self, sent: &Sent) -> Result<Manifest, UpstreamError> {
        Manifest::parse(&sent.bytes, sent.content_type.as_deref()).map_err(|error| {
            let reason = seaworthy_store::chain(&error);
            tracing::warn!(upstream = self.cache.upstream.host(), reason, "an upstream's manifest is none");
            self.wrong("a manifest that is none")
        })
    }

    fn checked(&self) {
        self.registry.inner.absent.remove(&(self.repository.clone(), self.name.clone()));
        if let ManifestName::Tag(tag) = &self.name {
            self.registry.inner.checks.insert((self.repository.clone(), tag.clone()), self.said());
        }
    }

    fn said(&self) -> Said {
        Said { by: self.cache.id, at: self.registry.inner.clock.now() }
    }

    /// Takes a tag away that the upstream has no more. Its manifest stays as long as others do that nothing leads
    /// to, and the tag can be restored.
    /// False when it stays: locks and rules keep it, or it is not sure that a registry said so.
    async fn forget(&self, is_told: bool) -> Result<bool, RegistryError> {
        let ManifestName::Tag(tag) = &self.name else { return Ok(true) };
        if self.held.is_none() {
            return Ok(true);
        }
        if !is_told {
            return Ok(false);
        }
        let at = self.registry.inner.clock.now();
        let until = self.registry.inner.config.collection.until(at);
        let removal = Removal { by: self.actor.name.clone(), reason: Reason::Upstream, at, until };
        let context = (self.repository.clone(), tag.clone(), removal, self.cache.upstream.host().to_owned());
        seaworthy_ledger::write(
            self.registry.db(),
            &self.actor,
            context,
            |(repository, tag, removal, host), tx| {
                Box::pin(async move {
                    if is_kept(tx, repository, tag, removal).await? {
                        return Ok((false, vec![]));
                    }
                    let gone = db::delete_tag(tx, repository, tag, removal).await?;
                    let act = gone.map(|digest| {
                        Act::new(Action::TagDelete, format!("repositories/{repository}:{tag}"))
                            .details(json!({"digest": digest, "gone_from": host}))
                    });
                    Ok::<_, RegistryError>((true, act.into_iter().collect()))
                })
            },
        )
        .await
    }
}

/// True when a lock or a rule keeps a tag from deletion.
async fn is_kept(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    removal: &Removal,
) -> Result<bool, RegistryError> {
    db::hold_rules(tx).await?;
    let (of_repository, of_tag) = (
        db::held_alone(tx, repository).await?.unwrap_or_default(),
        db::locks_of_tag(tx, repository, tag).await?.unwrap_or_default(),
    );
    if check_removal(of_tag, "", removal).is_err() || lock::check_delete(of_repository, "").is_err() {
        return Ok(true);
    }
    // Below promotions, who pulls changes nothing.
    if db::rules_for(tx, repository).await?.iter().any(|rules| rules.promotion_only) {
        return Ok(true);
    }
    match rules::check_deletion(tx, repository, Some(&ManifestName::Tag(tag.clone()))).await {
        Ok(()) => Ok(false),
        Err(RegistryError::Refused(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_model::Timestamp;

    use super::{super::CacheId, *};

    /// An answer that begins in time has time to end.
    const _: () = assert!(limit::ERRAND_SECONDS > 2 * limit::UPSTREAM_SECONDS);

    #[test]
    fn what_is_remembered_is_bounded() {
        let said = Said { by: CacheId::NONE, at: Timestamp::from_seconds(0) };
        let (checks, absent) = (checks(), absent());
        let tag = Tag::latest();
        for number in 0..limit::CHECKS + limit::CHECKS / 4 {
            let repository: RepoName = format!("r{number}").parse().expect("a name");
            checks.insert((repository.clone(), tag.clone()), said);
            absent.insert((repository, ManifestName::Tag(tag.clone())), said);
        }
        assert!(checks.len() <= limit::CHECKS && checks.len() > limit::CHECKS / 2, "{}", checks.len());
        assert!(absent.len() <= limit::ABSENT && absent.len() > limit::ABSENT / 2, "{}", absent.len());
    }
}
