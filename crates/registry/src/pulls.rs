//! How often manifests are pulled, and when last: counted in memory, stored in one transaction now and
//! then, never on a request's way.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::DbError;

use crate::{Registry, RegistryError, db, limit};

/// What is not stored yet, in the order of the rows: two servers that store theirs do not wait for each
/// other in a ring.
#[derive(Default)]
pub(crate) struct Pulls(Mutex<BTreeMap<(RepoName, Digest), (u64, Timestamp)>>);

#[cfg(test)]
impl Pulls {
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().expect("not poisoned").len()
    }
}

impl Registry {
    /// Counts a pull. More manifests than [`limit::PULLS`] between two stores are not counted: then the
    /// first ones are.
    pub(crate) fn count_pull(&self, repository: &RepoName, digest: &Digest) {
        let now = self.inner.clock.now();
        let mut pulls = self.inner.pulls.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (repository.clone(), *digest);
        if let Some((count, last)) = pulls.get_mut(&key) {
            *count += 1;
            *last = now;
        } else if pulls.len() < limit::PULLS {
            pulls.insert(key, (1, now));
        }
    }

    /// Stores what was counted.
    pub(crate) async fn flush_pulls(&self) -> Result<(), RegistryError> {
        let pulls = std::mem::take(&mut *self.inner.pulls.0.lock().unwrap_or_else(PoisonError::into_inner));
        if pulls.is_empty() {
            return Ok(());
        }
        self.db()
            .upkeep(pulls, |pulls, tx| {
                Box::pin(async move {
                    for ((repository, digest), (count, last)) in pulls {
                        db::add_pulls(tx, (repository, digest), *count, *last).await?;
                    }
                    Ok(())
                })
            })
            .await
            .map_err(|error: DbError| RegistryError::Db(error))
    }
}
