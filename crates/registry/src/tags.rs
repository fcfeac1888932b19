//! Lists of tags: of what is here, and below a cache of what its upstream says that it has.

use std::sync::Arc;

use seaworthy_access::{Identity, Permission};
use seaworthy_oci::{RepoName, Tag};

use crate::{
    Registry, RegistryError,
    cache::{Served, Told, abreast},
    db, limit,
    lock::{self, Ability, Locks},
    manifest::unknown,
    path::ManifestName,
};

impl Registry {
    /// Tags of a repository in byte order after `last`, and below a cache from where they come.
    pub(crate) async fn tags(
        &self,
        identity: &Identity,
        repository: &RepoName,
        last: &str,
        most: u32,
    ) -> Result<(Vec<String>, Option<Served>), RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let locks = db::repository_locks(self.db(), repository).await?;
        if let Some(locks) = locks {
            lock::check_read(locks, repository.as_str())?;
        }
        let Some(cache) = self.inner.caches.of(repository).await? else {
            locks.ok_or_else(|| unknown(repository))?;
            return Ok((db::tags(self.db(), repository, last, most.into()).await?, None));
        };
        let (told, served) = self.told_tags(&cache, repository).await?;
        if locks.is_none() && told.entries().is_none() {
            return Err(told.trouble().cloned().unwrap_or_else(|| unknown(repository)).into());
        }
        let view = View { registry: self, repository, told, locks: locks.unwrap_or_default() };
        Ok((view.page(last, most as usize).await?, Some(served)))
    }
}

/// Tags of one repository below a cache.
struct View<'r> {
    registry: &'r Registry,
    repository: &'r RepoName,
    told: Arc<Told<Tag>>,
    /// The repository's.
    locks: Locks,
}

impl View<'_> {
    /// In our order, whatever the upstream's is: some sort without a look at the case.
    async fn page(&self, last: &str, most: usize) -> Result<Vec<String>, RegistryError> {
        let (mut page, mut after) = (Vec::new(), last.to_owned());
        // As many as go on the page; more when some of those turn out not to.
        let mut step = limit::PAGE.min(u32::try_from(most).unwrap_or(u32::MAX));
        while page.len() < most {
            let held = db::tags_with_locks(self.registry.db(), self.repository, &after, step.into()).await?;
            let told = self.told.entries().unwrap_or_default();
            let from = told.partition_point(|tag| tag.as_str() <= after.as_str());
            let told = told.iter().skip(from).take(step as usize).map(|tag| (tag.to_string(), ())).collect();
            let (names, until) = abreast(held, told, step as usize);
            for (name, (locks, told)) in names {
                if page.len() < most && self.is_listed(&name, locks, told.is_some()).await? {
                    page.push(name);
                }
            }
            let Some(until) = until else { break };
            after = until;
            step = limit::PAGE;
        }
        Ok(page)
    }

    async fn is_listed(
        &self,
        name: &str,
        locks: Option<Locks>,
        is_told: bool,
    ) -> Result<bool, RegistryError> {
        let Ok(tag) = name.parse::<Tag>() else { return Ok(locks.is_some()) };
        let (inner, repository) = (&self.registry.inner, self.repository);
        let Some(locks) = locks else {
            // It may have been asked for since, in vain.
            let absent = inner.absent.get(&(repository.clone(), ManifestName::Tag(tag)));
            return Ok(absent.is_none_or(|said| !self.told.is_before(said)));
        };
        if !locks.allow(Ability::List) {
            return Ok(false);
        }
        if is_told || !self.told.is_current() {
            return Ok(true);
        }
        // What the upstream has no more goes when somebody asks for it, unless it stays here.
        let checked = inner.checks.get(&(repository.clone(), tag.clone()));
        Ok(checked.is_some_and(|said| self.told.is_before(said))
            || !locks.allow_deletion()
            || !self.locks.allow_deletion()
            || self.registry.is_frozen(repository, &tag).await?)
    }
}
