//! Deleting tags, manifests and whole repositories, unless a lock keeps them.

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::Tx;
use serde_json::json;

use crate::{
    Registry, RegistryError,
    conditional::Precondition,
    db::{self, Reason, Removal},
    limit,
    lock::{self, Ability, Locks},
    manifest,
    path::ManifestName,
    push,
    refusal::object,
    rules,
};

/// Locks that keep a thing from being deleted. What can be restored has its locks when it is back; where nothing can,
/// one against reading would go with it, and the next push would be without.
fn keeping(removal: &Removal) -> i64 {
    let written = Ability::Delete.bit() | Ability::Write.bit();
    if removal.can_be_undone() { written } else { written | Ability::Read.bit() }
}

/// Refuses to delete `what` while a lock keeps it.
pub(crate) fn check_removal(locks: Locks, what: &str, removal: &Removal) -> Result<(), Problem> {
    lock::check_delete(locks, what)?;
    if removal.can_be_undone() { Ok(()) } else { lock::check_final(locks, what) }
}

impl Registry {
    /// A deletion that `identity` asks for now.
    fn removal(&self, identity: &Identity) -> Removal {
        let at = self.inner.clock.now();
        let until = self.inner.config.collection.until(at);
        Removal { by: identity.actor.name.clone(), reason: Reason::Request, at, until }
    }

    /// Deletes a tag, or a manifest by digest with all its tags. It is gone for everybody, and can be
    /// restored for as long as the configuration says.
    pub async fn delete_manifest(
        &self,
        identity: &Identity,
        repository: &RepoName,
        reference: Result<Tag, Digest>,
    ) -> Result<(), RegistryError> {
        let name = reference.map_or_else(ManifestName::Digest, ManifestName::Tag);
        self.delete_manifest_if(identity, repository, (name, Precondition::default())).await
    }

    /// Deletes a tag that points at a manifest, not at another one.
    pub async fn delete_tag_of(
        &self,
        identity: &Identity,
        repository: &RepoName,
        (tag, digest): (Tag, Digest),
    ) -> Result<(), RegistryError> {
        let condition = Precondition::is(&digest);
        let name = ManifestName::Tag(tag.clone());
        let deleted = self.delete_manifest_if(identity, repository, (name, condition)).await;
        deleted.map_err(|error| match Problem::from(error) {
            problem if problem.code == ErrorCode::PreconditionFailed => {
                let message = format!("`{repository}:{tag}` points at another image than {digest}");
                Problem::new(ErrorCode::Conflict, message)
                    .hint("name the tag alone, or the digest alone")
                    .into()
            }
            problem => problem.into(),
        })
    }

    /// The same, where what must hold of it does.
    pub(crate) async fn delete_manifest_if(
        &self,
        identity: &Identity,
        repository: &RepoName,
        (name, condition): (ManifestName, Precondition),
    ) -> Result<(), RegistryError> {
        self.require(identity, Permission::Delete, repository).await?;
        let context = (repository.clone(), name, condition, self.removal(identity));
        seaworthy_ledger::write(self.db(), &identity.actor, context, |context, tx| {
            Box::pin(async move {
                let (repository, name, condition, removal) = context;
                db::hold_rules(tx).await?;
                // Whoever deletes beside it waits here.
                check_repository(tx, repository).await?;
                rules::check_deletion(tx, repository, Some(name)).await?;
                match name {
                    ManifestName::Tag(tag) => check_tag(tx, repository, tag, removal).await?,
                    ManifestName::Digest(digest) => check_kept(tx, repository, Some(digest), removal).await?,
                }
                // Of what is not there nothing is asked (RFC 9110 section 13.2.1).
                if condition.is_any()
                    && let Some(current) = push::current(tx, repository, name).await?
                {
                    condition.check(Some(&current))?;
                }
                let Some(act) = delete(tx, repository, name, removal).await? else {
                    let message = format!("`{repository}` has no manifest `{name}`");
                    return Err(RegistryError::from(Problem::new(ErrorCode::ManifestUnknown, message)));
                };
                Ok(((), vec![act]))
            })
        })
        .await
    }

    /// Deletes a repository with all its manifests and tags, and says which they were.
    pub(crate) async fn delete_repository(
        &self,
        identity: &Identity,
        repository: &RepoName,
    ) -> Result<db::Emptied, RegistryError> {
        self.require(identity, Permission::Delete, repository).await?;
        let context = (repository.clone(), self.removal(identity));
        seaworthy_ledger::write(self.db(), &identity.actor, context, |(repository, removal), tx| {
            Box::pin(async move {
                db::hold_rules(tx).await?;
                // Its row goes for good, and its own locks with it: one against reading must not be lost.
                let Some(locks) = db::held_alone(tx, repository).await? else {
                    return Err(RegistryError::from(manifest::unknown(repository)));
                };
                lock::check_delete(locks, repository.as_str())?;
                lock::check_final(locks, repository.as_str())?;
                check_kept(tx, repository, None, removal).await?;
                rules::check_deletion(tx, repository, None).await?;
                let names = db::names_in(tx, repository, limit::DELETED_NAMES + 1).await?;
                let count = names.manifests.len() + names.tags.len();
                if i64::try_from(count).unwrap_or(i64::MAX) > limit::DELETED_NAMES {
                    let message =
                        format!("`{repository}` has more than {} manifests and tags", limit::DELETED_NAMES);
                    return Err(Problem::new(ErrorCode::TooLarge, message)
                        .hint("delete some of its manifests first")
                        .into());
                }
                db::delete_repository(tx, repository, removal).await?;
                let act = Act::new(Action::RepositoryDelete, format!("repositories/{repository}"))
                    .details(json!({"manifests": names.manifests.len(), "tags": names.tags.len()}));
                Ok((names, vec![act]))
            })
        })
        .await
    }
}

async fn check_repository(tx: &mut Tx<'_>, repository: &RepoName) -> Result<(), RegistryError> {
    let locks = db::held_alone(tx, repository).await?.unwrap_or_default();
    Ok(lock::check_delete(locks, repository.as_str())?)
}

/// Deletes a tag or a manifest, and says what went; `None` when it was not there.
async fn delete(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    name: &ManifestName,
    removal: &Removal,
) -> Result<Option<Act>, RegistryError> {
    Ok(match name {
        ManifestName::Tag(tag) => db::delete_tag(tx, repository, tag, removal).await?.map(|digest| {
            Act::new(Action::TagDelete, format!("repositories/{repository}:{tag}"))
                .details(json!({"digest": digest}))
        }),
        ManifestName::Digest(digest) => {
            let tags = db::tags_on_manifest(tx, repository, digest).await?;
            let act = Act::new(Action::ManifestDelete, object(repository, digest));
            let deleted = db::delete_manifest(tx, repository, digest, removal).await?;
            deleted.then(|| act.details(json!({"tags": tags})))
        }
    })
}

async fn check_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    removal: &Removal,
) -> Result<(), RegistryError> {
    let locks = db::locks_of_tag(tx, repository, tag).await?.unwrap_or_default();
    Ok(check_removal(locks, &format!("{repository}:{tag}"), removal)?)
}

/// A manifest goes with its tags, so a lock on one of them keeps it; and an index without its images is none, so one on
/// an index keeps those.
async fn check_kept(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: Option<&Digest>,
    removal: &Removal,
) -> Result<(), RegistryError> {
    match db::kept(tx, repository, digest, keeping(removal)).await? {
        Some((name, locks)) => Ok(check_removal(locks, &format!("{repository}{name}"), removal)?),
        None => Ok(()),
    }
}
