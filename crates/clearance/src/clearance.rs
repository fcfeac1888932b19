use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, schema::Dialect};
use tokio::sync::{Notify, mpsc};

use crate::{ClearanceError, ask::Entry, db, limit, policies::Compiled};

/// The clearance room. Cheap to clone.
#[derive(Clone)]
pub struct Clearance {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    compiled: Arc<Mutex<Compiled>>,
    cache: quick_cache::sync::Cache<(RepoName, Digest), Entry>,
    /// Grow before entries are forgotten; see [`Clearance::cache_epoch`].
    epochs: Box<[AtomicU64]>,
    revision: AtomicI64,
    changes: Notify,
    wanted: mpsc::Sender<(RepoName, Digest)>,
    wanted_queue: Mutex<Option<mpsc::Receiver<(RepoName, Digest)>>>,
}

impl Clearance {
    /// Clearance over `db`.
    pub async fn open(db: Db) -> Result<Self, ClearanceError> {
        let revision = db::revision(&db).await?;
        let (wanted, queue) = mpsc::channel(1_024);
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                compiled: Arc::default(),
                cache: quick_cache::sync::Cache::new(limit::CACHE),
                epochs: (0..limit::EPOCHS).map(|_| AtomicU64::new(0)).collect(),
                revision: AtomicI64::new(revision),
                changes: Notify::new(),
                wanted,
                wanted_queue: Mutex::new(Some(queue)),
            }),
        })
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn compiled(&self) -> Arc<Mutex<Compiled>> {
        self.inner.compiled.clone()
    }

    pub(crate) fn cache(&self) -> &quick_cache::sync::Cache<(RepoName, Digest), Entry> {
        &self.inner.cache
    }

    /// A reader that saw the same number before and after its read may remember what it read. Shared by few:
    /// what is forgotten of one image leaves most others alone.
    pub(crate) fn cache_epoch(&self, key: &(RepoName, Digest)) -> u64 {
        self.epoch(key).load(Ordering::SeqCst)
    }

    fn epoch(&self, key: &(RepoName, Digest)) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % limit::EPOCHS as u64).unwrap_or_default();
        self.inner.epochs.get(slot).unwrap_or(&NONE)
    }

    /// Rung whenever a verdict was stored by this process.
    pub(crate) fn changes(&self) -> &Notify {
        &self.inner.changes
    }

    /// Forgets cached answers and wakes who waits for them.
    pub(crate) fn forget(&self, keys: &[(RepoName, Digest)]) {
        for key in keys {
            self.epoch(key).fetch_add(1, Ordering::SeqCst);
            self.inner.cache.remove(key);
        }
        self.inner.changes.notify_waiters();
    }

    /// Current revision of policies and exceptions. With PostgreSQL another replica may have
    /// changed them, which must hold at the next question.
    pub(crate) async fn revision(&self) -> Result<i64, ClearanceError> {
        if self.db().dialect() == Dialect::Postgres {
            self.changed().await?;
        }
        Ok(self.inner.revision.load(Ordering::SeqCst))
    }

    /// Policies or exceptions changed: older verdicts do not hold any more.
    pub(crate) async fn changed(&self) -> Result<(), ClearanceError> {
        let revision = db::revision(self.db()).await?;
        if self.inner.revision.fetch_max(revision, Ordering::SeqCst) < revision {
            self.inner.changes.notify_waiters();
        }
        Ok(())
    }

    /// Asks the worker to decide this one before others. Losing the wish costs half a second.
    pub(crate) fn want(&self, repository: &RepoName, digest: &Digest) {
        drop(self.inner.wanted.try_send((repository.clone(), *digest)));
    }

    pub(crate) fn take_wanted(&self) -> Option<mpsc::Receiver<(RepoName, Digest)>> {
        self.inner.wanted_queue.lock().ok()?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is forgotten of one image is forgotten, and of a thousand others hardly any.
    #[test]
    fn forgetting_one_leaves_others_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let clock = Arc::new(seaworthy_model::SystemClock);
            let db = Db::open_sqlite(&folder.path().join("db"), clock).await.expect("a database");
            db.migrate(&[seaworthy_ledger::SCHEMA, crate::SCHEMA]).await.expect("tables");
            let clearance = Clearance::open(db).await.expect("opens");
            let key = |n: usize| {
                ("prod/web".parse::<RepoName>().expect("a name"), Digest::sha256(&n.to_be_bytes()))
            };
            let before: Vec<u64> = (0..limit::EPOCHS).map(|n| clearance.cache_epoch(&key(n))).collect();
            clearance.forget(&[key(0)]);
            assert_ne!(clearance.cache_epoch(&key(0)), before[0], "who reads it now does not remember it");
            let changed =
                (0..limit::EPOCHS).filter(|n| clearance.cache_epoch(&key(*n)) != before[*n]).count();
            assert!(changed < 16, "{changed}");
        });
    }
}
