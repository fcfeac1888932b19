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
pub(crate) struct Pulls(Mutex<Counted>);

type Counted = BTreeMap<(RepoName, Digest), (u64, Timestamp)>;

impl Pulls {
    /// What could not be stored is counted with what came since.
    fn put_back(&self, pulls: Counted) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, (count, last)) in pulls {
            let since = counted.entry(key).or_insert((0, last));
            since.0 += count;
            since.1 = since.1.max(last);
        }
    }

    #[cfg(test)]
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
        let stored = self
            .db()
            .upkeep(pulls.clone(), |pulls, tx| {
                Box::pin(async move {
                    for ((repository, digest), (count, last)) in pulls {
                        db::add_pulls(tx, (repository, digest), *count, *last).await?;
                    }
                    Ok(())
                })
            })
            .await;
        stored.map_err(|error: DbError| {
            self.inner.pulls.put_back(pulls);
            RegistryError::Db(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_stored_is_not_forgotten() {
        let key = |name: &str| (name.parse().expect("a name"), Digest::sha256(b"x"));
        let at = Timestamp::from_seconds;
        let pulls = Pulls::default();
        pulls.0.lock().expect("not poisoned").insert(key("a"), (1, at(9)));
        pulls.put_back([(key("a"), (2, at(5))), (key("b"), (3, at(7)))].into());
        let counted = pulls.0.into_inner().expect("not poisoned");
        assert_eq!(counted, [(key("a"), (3, at(9))), (key("b"), (3, at(7)))].into());
    }
}
