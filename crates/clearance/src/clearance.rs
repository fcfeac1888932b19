use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering},
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
    /// Grows before entries are forgotten; see [`Clearance::cache_epoch`].
    epoch: AtomicU64,
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
                epoch: AtomicU64::new(0),
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

    /// A reader that saw the same number before and after its read may remember what it read.
    pub(crate) fn cache_epoch(&self) -> u64 {
        self.inner.epoch.load(Ordering::SeqCst)
    }

    /// Rung whenever a verdict was stored by this process.
    pub(crate) fn changes(&self) -> &Notify {
        &self.inner.changes
    }

    /// Forgets cached answers and wakes who waits for them.
    pub(crate) fn forget(&self, keys: &[(RepoName, Digest)]) {
        self.inner.epoch.fetch_add(1, Ordering::SeqCst);
        for key in keys {
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
