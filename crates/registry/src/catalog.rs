//! Repositories and their tags as people look through them: what each holds, and what holds for it.

use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Prefix, Problem, Scope, Timestamp};
use seaworthy_oci::{Digest, RepoName, Tag};
use serde::Serialize;

use crate::{
    NameRange, Registry, RegistryError, RepositoryRules, RetentionRules, db, limit, lock, manifest, retention,
};

/// One repository.
#[derive(Clone, Debug, Serialize)]
pub struct RepositoryShown {
    /// Its name.
    pub repository: RepoName,
    /// Its tags.
    pub tags: u64,
    /// Its manifests.
    pub manifests: u64,
    /// Of manifests and blobs; a blob counts once.
    pub bytes: u64,
    /// When a manifest was pushed last.
    pub pushed_at: Option<Timestamp>,
    /// False when there is more than [`limit::COUNTED`] of one kind: the rest is not in the numbers.
    pub complete: bool,
    /// The rules that hold for it, of all prefixes that cover it.
    pub rules: Vec<RulesShown>,
    /// Whose rules of retention hold for it.
    pub retention: Option<Prefix>,
    /// The cache below which it is: nobody pushes there.
    pub cache: Option<Prefix>,
    /// What the caller may do there, beside pulling.
    pub may: Vec<Permission>,
}

/// That a prefix has rules, without their numbers: those are for who may read policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub struct RulesShown {
    /// Of which repositories.
    pub prefix: Prefix,
    /// Nobody pushes there.
    pub promotion_only: bool,
    /// What is pushed there is hidden until it is let out.
    pub quarantine: bool,
    /// Some tags never move.
    pub immutable: bool,
    /// They share a quota.
    pub quota: bool,
}

/// One tag.
#[derive(Clone, Debug, Serialize)]
pub struct TagShown {
    /// Its name.
    pub tag: String,
    /// What it points at.
    pub digest: Digest,
    /// Of that.
    pub media_type: String,
    /// Length of the manifest alone.
    pub manifest_bytes: u64,
    /// When it was set to that.
    pub set_at: Timestamp,
    /// When that was pulled last; stored every [`limit::PULLS_SECONDS`].
    pub last_pull: Option<Timestamp>,
    /// It, its manifest or its repository is kept from being changed or deleted.
    pub locked: bool,
    /// It never moves, by the rules of a prefix.
    pub immutable: bool,
    /// What it points at is hidden until it is let out of quarantine.
    pub quarantined: bool,
}

/// What a caller may do with a repository, beside looking.
const ACTS: [Permission; 4] =
    [Permission::Push, Permission::Delete, Permission::MetadataRead, Permission::PolicyWrite];

impl Registry {
    /// A page of the repositories that begin with `prefix` and that `identity` may pull from, in name order
    /// after `after`, and the last name on it when there are more: `most` and no more than
    /// [`limit::REPOSITORIES_PAGE`]. What they hold is counted for those on the page alone.
    pub async fn repositories_shown(
        &self,
        identity: &Identity,
        prefix: &str,
        after: &str,
        most: u32,
    ) -> Result<(Vec<RepositoryShown>, Option<RepoName>), RegistryError> {
        let most = most.min(limit::REPOSITORIES_PAGE) as usize;
        let mut names = self.pullable(identity, prefix, after, most + 1).await?;
        let more = most > 0 && names.len() > most;
        names.truncate(most);
        let rules = self.inner.rules.rules().await?;
        let retention = self.retention_rules().await?;
        let mut shown = Vec::with_capacity(names.len());
        for name in &names {
            shown.push(self.repository_shown(identity, name, &rules, &retention).await?);
        }
        Ok((shown, names.pop().filter(|_| more)))
    }

    /// What `identity` may do in some repository, beside pulling.
    pub async fn acts_somewhere(&self, identity: &Identity) -> Result<Vec<Permission>, RegistryError> {
        let all: Scope = "/repositories".parse().map_err(|error: seaworthy_model::ScopeError| {
            Problem::new(ErrorCode::Invalid, error.to_string())
        })?;
        let mut may = Vec::new();
        for permission in ACTS {
            if self.access().allows_below(identity, permission, &all).await? {
                may.push(permission);
            }
        }
        Ok(may)
    }

    /// Where names that begin with `prefix` may be of repositories that `identity` may pull from: what others have costs
    /// nothing to pass over.
    pub(crate) async fn ranges(
        &self,
        identity: &Identity,
        prefix: &str,
    ) -> Result<Vec<NameRange>, RegistryError> {
        let scopes = self.access().repository_scopes(identity, Permission::Pull).await?;
        let ranges = scopes.map_or_else(|| vec![NameRange::all()], |scopes| NameRange::of(&scopes));
        Ok(ranges.into_iter().map(|range| range.with_prefix(prefix)).collect())
    }

    /// Names in order, `most` of them or all that are left.
    async fn pullable(
        &self,
        identity: &Identity,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<Vec<RepoName>, RegistryError> {
        let mut after = after.to_owned();
        let mut names = Vec::new();
        for range in self.ranges(identity, prefix).await? {
            let mut more = most > 0;
            while more {
                let page = db::repository_names(self.db(), &range, &after, limit::PAGE.into()).await?;
                more = page.len() == limit::PAGE as usize;
                let roles = self.access().roles_now().await?;
                for name in page {
                    after = name.to_string();
                    if roles.allow(identity, Permission::Pull, &name) {
                        names.push(name);
                        if names.len() == most {
                            return Ok(names);
                        }
                    }
                }
            }
        }
        Ok(names)
    }

    async fn repository_shown(
        &self,
        identity: &Identity,
        name: &RepoName,
        rules: &[RepositoryRules],
        retention: &[(String, RetentionRules)],
    ) -> Result<RepositoryShown, RegistryError> {
        let held = db::held(self.db(), name, limit::COUNTED).await?;
        let roles = self.access().roles_now().await?;
        let may = ACTS.into_iter().filter(|permission| roles.allow(identity, *permission, name)).collect();
        let kept =
            retention::prefix_of(retention, name).map(|prefix| if prefix.is_empty() { "*" } else { prefix });
        Ok(RepositoryShown {
            repository: name.clone(),
            tags: held.tags,
            manifests: held.manifests,
            bytes: held.bytes,
            pushed_at: held.pushed_at,
            complete: held.complete,
            rules: rules.iter().filter(|rules| rules.prefix.covers(name)).map(rules_shown).collect(),
            retention: kept.map(str::parse).transpose()?,
            cache: self.inner.caches.of(name).await?.map(|cache| cache.settings.prefix.clone()),
            may,
        })
    }

    /// A page of the tags of a repository, in name order after `after`, and the last one on
    /// it when there are more: `most` and no more than [`limit::PAGE`].
    pub async fn tags_shown(
        &self,
        identity: &Identity,
        repository: &RepoName,
        (after, most): (&str, u32),
    ) -> Result<(Vec<TagShown>, Option<String>), RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let locks = db::repository_locks(self.db(), repository).await?;
        lock::check_read(locks.ok_or_else(|| manifest::unknown(repository))?, repository.as_str())?;
        let most = most.min(limit::PAGE);
        let mut rows = db::tags_to_show(self.db(), repository, after, i64::from(most) + 1).await?;
        let most = most as usize;
        let more = most > 0 && rows.len() > most;
        rows.truncate(most);
        let rules = self.inner.rules.rules().await?;
        let is_quarantined = self.is_quarantined(repository).await?;
        for row in &mut rows {
            row.quarantined &= is_quarantined;
            let Ok(tag) = row.tag.parse::<Tag>() else { continue };
            row.immutable = rules.iter().any(|it| it.prefix.covers(repository) && it.freeze(&tag));
        }
        let last = rows.last().filter(|_| more).map(|row| row.tag.clone());
        Ok((rows, last))
    }
}

fn rules_shown(rules: &RepositoryRules) -> RulesShown {
    RulesShown {
        prefix: rules.prefix.clone(),
        promotion_only: rules.promotion_only,
        quarantine: rules.quarantine,
        immutable: !rules.immutable.is_empty(),
        quota: !rules.quota.is_none(),
    }
}
