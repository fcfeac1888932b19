//! Locking and unlocking.

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::RepoName;
use seaworthy_store::Tx;

use crate::{
    Registry, RegistryError, db,
    lock::{LockChange, Locks},
    manifest,
    path::ManifestName,
};

impl Registry {
    /// Locks or unlocks a repository, or a manifest or tag of it. What changes nothing is not recorded.
    pub(crate) async fn change_locks(
        &self,
        identity: &Identity,
        repository: &RepoName,
        name: Option<&ManifestName>,
        change: LockChange,
    ) -> Result<(), RegistryError> {
        self.require(identity, Permission::MetadataWrite, repository).await?;
        let context = (repository.clone(), name.cloned(), change);
        seaworthy_ledger::write(self.db(), &identity.actor, context, |(repository, name, change), tx| {
            Box::pin(async move {
                let before = locks(tx, repository, name.as_ref()).await?;
                let after = change.apply(before);
                if after == before {
                    return Ok::<_, RegistryError>(((), vec![]));
                }
                let object = match name {
                    None => {
                        db::lock_repository(tx, repository, after).await?;
                        repository.to_string()
                    }
                    Some(name @ ManifestName::Tag(tag)) => {
                        db::touch_repository(tx, repository).await?;
                        db::lock_tag(tx, repository, tag, after).await?;
                        manifest::named(repository, name)
                    }
                    Some(name @ ManifestName::Digest(digest)) => {
                        db::touch_repository(tx, repository).await?;
                        db::lock_manifest(tx, repository, digest, after).await?;
                        manifest::named(repository, name)
                    }
                };
                let act = Act::new(Action::LockChange, format!("repositories/{object}"));
                Ok(((), vec![act.details(after.attributes())]))
            })
        })
        .await
    }
}

async fn locks(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    name: Option<&ManifestName>,
) -> Result<Locks, RegistryError> {
    let found = match name {
        None => db::held_alone(tx, repository).await?,
        Some(ManifestName::Tag(tag)) => db::locks_of_tag(tx, repository, tag).await?,
        Some(ManifestName::Digest(digest)) => db::locks_of_manifest(tx, repository, digest).await?,
    };
    let unknown = || match name {
        None => manifest::unknown(repository),
        Some(name) => {
            Problem::new(ErrorCode::ManifestUnknown, format!("`{repository}` has no manifest `{name}`"))
        }
    };
    Ok(found.ok_or_else(unknown)?)
}
