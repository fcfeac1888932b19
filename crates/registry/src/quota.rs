//! Quotas: how much the repositories below a prefix may hold together.
//!
//! What is used is counted in the transaction that changes it, and a transaction that would use more than
//! there is does not commit: however many push at once, no quota is exceeded. One that frees is never
//! refused, even where a quota was set below what is used.

use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Prefix, Problem, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::Tx;
use serde::{Deserialize, Serialize};

use crate::{Registry, RegistryError, db};

/// The most that the repositories of a prefix hold; `None`: as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Of manifests and blobs; a blob counts once in each repository that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<u64>,
    /// Repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<u64>,
}

impl Quota {
    /// True when nothing is limited.
    pub const fn is_none(&self) -> bool {
        self.bytes.is_none() && self.tags.is_none() && self.repositories.is_none()
    }

    /// Refuses numbers that no counter holds.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let numbers = [self.bytes, self.tags, self.repositories];
        if numbers.iter().flatten().any(|most| i64::try_from(*most).is_err()) {
            return Err(Problem::new(ErrorCode::Invalid, "a quota is larger than 2^63 - 1"));
        }
        Ok(())
    }
}

/// What is added to what repositories hold, or taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of manifests and blobs.
    pub bytes: i64,
    /// Tags.
    pub tags: i64,
    /// Repositories.
    pub repositories: i64,
}

impl Change {
    /// One repository more.
    pub(crate) const REPOSITORY: Self = Self { bytes: 0, tags: 0, repositories: 1 };
    /// One tag more.
    pub(crate) const TAG: Self = Self { bytes: 0, tags: 1, repositories: 0 };

    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes: i64::try_from(bytes).unwrap_or(i64::MAX), ..Self::default() }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) const fn and(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            tags: self.tags.saturating_add(more.tags),
            repositories: self.repositories.saturating_add(more.repositories),
        }
    }

    pub(crate) const fn negated(self) -> Self {
        Self {
            bytes: self.bytes.saturating_neg(),
            tags: self.tags.saturating_neg(),
            repositories: self.repositories.saturating_neg(),
        }
    }
}

/// What is used of a quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of which repositories.
    pub prefix: Prefix,
    /// What they hold.
    pub used: Change,
    /// What they may hold.
    pub quota: Quota,
}

impl Usage {
    /// Refuses what does not fit.
    fn check(&self, by: Change) -> Result<(), Problem> {
        for (what, used, more, most) in [
            ("bytes", self.used.bytes, by.bytes, self.quota.bytes),
            ("tags", self.used.tags, by.tags, self.quota.tags),
            ("repositories", self.used.repositories, by.repositories, self.quota.repositories),
        ] {
            let Some(most) = most else { continue };
            let sum = u64::try_from(used.saturating_add(more)).unwrap_or_default();
            if more > 0 && sum > most {
                let message = format!(
                    "the quota of `{}` is exceeded: {used} of {most} {what} are used, and {more} more do not fit",
                    self.prefix
                );
                let hint = format!(
                    "delete what is not needed, or run `seaworthy registry rules set {} --quota-{what} N`",
                    self.prefix
                );
                return Err(Problem::new(ErrorCode::Denied, message).hint(hint));
            }
        }
        Ok(())
    }
}

/// Counts what a transaction adds to a repository; refuses it when a quota does not allow it.
pub(crate) async fn charge(tx: &mut Tx<'_>, repository: &RepoName, by: Change) -> Result<(), RegistryError> {
    if by.is_nothing() {
        return Ok(());
    }
    let quotas = db::usage_for(tx, repository).await?;
    if quotas.is_empty() {
        return Ok(());
    }
    for usage in quotas {
        usage.check(by)?;
    }
    Ok(db::adjust(tx, repository, by).await?)
}

/// Counts a blob that was brought. Unless it is the first of its kind, which is looked at anyway, it is looked
/// at when its time to be named is over.
pub(crate) async fn hold(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    (digest, size, is_new): (&Digest, u64, bool),
    now: Timestamp,
) -> Result<(), RegistryError> {
    let held = db::hold_blob(tx, repository, digest, size).await?;
    if !held.is_nothing() && !is_new {
        db::enqueue(tx, &db::Subject::Blob(*digest), db::pin_from(now), "brought").await?;
    }
    charge(tx, repository, held).await
}

/// How many bytes still fit into a repository, as it looked before they came.
#[derive(Clone, Debug)]
pub(crate) struct Room(Option<Usage>);

impl Room {
    /// Refuses bytes that do not fit, before they are taken. Whether they do fit is decided when they are
    /// here.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Problem> {
        let by = Change::bytes(bytes);
        self.0.as_ref().map_or(Ok(()), |usage| usage.check(by))
    }
}

impl Registry {
    /// How much fits into a repository. What it holds already can be brought again where its digest is known
    /// beforehand: in one request, or when a session is closed.
    pub(crate) async fn room(
        &self,
        repository: &RepoName,
        digest: Option<&Digest>,
    ) -> Result<Room, RegistryError> {
        let rules = self.inner.rules.rules().await?;
        if !rules.iter().any(|rules| rules.quota.bytes.is_some() && rules.prefix.covers(repository)) {
            return Ok(Room(None));
        }
        if let Some(digest) = digest
            && db::holds(self.db(), repository, digest).await?
        {
            return Ok(Room(None));
        }
        let quotas = db::usage_now(self.db(), repository).await?;
        let left = |usage: &Usage| {
            let most = usage.quota.bytes.and_then(|most| i64::try_from(most).ok());
            most.map_or(i64::MAX, |most| most.saturating_sub(usage.used.bytes))
        };
        Ok(Room(quotas.into_iter().min_by_key(left)))
    }

    /// What is used of the quotas of the prefixes that `identity` may read the policies of.
    pub async fn usage(&self, identity: &Identity) -> Result<Vec<Usage>, RegistryError> {
        let mut shown = Vec::new();
        for usage in db::all_usage(self.db()).await? {
            if self.access().allows(identity, Permission::PolicyRead, &usage.prefix.scope()?).await? {
                shown.push(usage);
            }
        }
        Ok(shown)
    }
}
