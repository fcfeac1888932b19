use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, schema::Dialect};
use tokio::sync::{Notify, mpsc};

use crate::{ClearanceError, ask::Entry, db, limit, policies::Compiled};

/// Answers that were read. Images differ by orders of magnitude in what a verdict says of them, so they are
/// weighed by their bytes.
pub(crate) type Answers = Cache<(RepoName, Digest), Entry, Weight>;

/// See [`Answers`].
#[derive(Clone)]
pub(crate) struct Weight;

impl Weighter<(RepoName, Digest), Entry> for Weight {
    fn weight(&self, _: &(RepoName, Digest), entry: &Entry) -> u64 {
        entry.bytes
    }
}

/// The clearance room. Cheap to clone.
#[derive(Clone)]
pub struct Clearance {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    compiled: Arc<Mutex<Compiled>>,
    cache: Answers,
    /// Grow before entries are forgotten; see [`Clearance::cache_epoch`].
    epochs: Box<[AtomicU64]>,
    revision: AtomicI64,
    changes: Notify,
    wanted: mpsc::Sender<(RepoName, Digest)>,
    wanted_queue: Mutex<Option<mpsc::Receiver<(RepoName, Digest)>>>,
}

/// Nothing is kept that a shard alone has no room for, so there are few, however many processors there are.
fn answers() -> Answers {
    let mut options = OptionsBuilder::new();
    options
        .shards(limit::CACHE_SHARDS)
        .estimated_items_capacity(limit::CACHE)
        .weight_capacity(limit::CACHE_BYTES);
    match options.build() {
        Ok(options) => {
            Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
        }
        // Both numbers are given.
        Err(_) => Cache::with_weighter(limit::CACHE, limit::CACHE_BYTES, Weight),
    }
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
                cache: answers(),
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

    pub(crate) fn cache(&self) -> &Answers {
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

    async fn room(folder: &std::path::Path) -> Clearance {
        let clock = Arc::new(seaworthy_model::SystemClock);
        let db = Db::open_sqlite(&folder.join("db"), clock).await.expect("a database");
        db.migrate(&[seaworthy_ledger::SCHEMA, crate::SCHEMA]).await.expect("tables");
        Clearance::open(db).await.expect("opens")
    }

    fn key(n: usize) -> (RepoName, Digest) {
        ("prod/web".parse::<RepoName>().expect("a name"), Digest::sha256(&n.to_be_bytes()))
    }

    /// Large answers drive others out, and one that is larger than all is not kept.
    #[tokio::test]
    async fn answers_are_weighed() {
        let folder = tempfile::tempdir().expect("a folder");
        let clearance = room(folder.path()).await;
        let insert = async |n: usize, text: usize| {
            let (repository, digest) = key(n);
            let facts = format!(
                r#"{{"repository":"prod/web","inventory":null,"findings":null,"feeds":[],"image":"settled","import":"settled"}}{}"#,
                " ".repeat(text)
            );
            let added: Result<(), seaworthy_store::DbError> = clearance
                .db()
                .upkeep((repository, digest, facts), |(repository, digest, facts), tx| {
                    Box::pin(async move {
                        db::insert_subject(tx, repository, digest, &db::Subject::Image(None)).await?;
                        tx.execute(
                            "INSERT INTO clearance_verdicts (repository, digest, purpose, settings, verdict, reasons,
                                 policies, exceptions, facts, decided_at, revision)
                             VALUES ($1, $2, 'pull', '', 'allowed', '[]', '[]', '[]', $3, 1, 1)",
                            seaworthy_store::args![repository.as_str(), &digest.to_string(), &*facts],
                        )
                        .await
                        .map(|_| ())
                    })
                })
                .await;
            added.expect("added");
            let (repository, digest) = key(n);
            clearance.ask(&repository, &digest).await.expect("an answer");
        };
        let large = usize::try_from(limit::CACHE_BYTES).expect("bytes") / 3;
        insert(0, large).await;
        assert!(clearance.cache().get(&key(0)).is_none(), "it would take all");
        let shard = large / limit::CACHE_SHARDS;
        for (n, text, is_kept) in [(51, shard, false), (52, shard * 9 / 10, true)] {
            insert(n, text).await;
            assert_eq!(clearance.cache().get(&key(n)).is_some(), is_kept, "of a shard's room");
        }
        for n in 1..=40 {
            insert(n, large / 20).await;
            assert!(clearance.cache().weight() <= limit::CACHE_BYTES);
        }
        assert!((1..=20).contains(&clearance.cache().len()), "{}", clearance.cache().len());
    }

    /// What is forgotten of one image is forgotten, and of a thousand others hardly any.
    #[test]
    fn forgetting_one_leaves_others_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let clearance = room(folder.path()).await;
            let before: Vec<u64> = (0..limit::EPOCHS).map(|n| clearance.cache_epoch(&key(n))).collect();
            clearance.forget(&[key(0)]);
            assert_ne!(clearance.cache_epoch(&key(0)), before[0], "who reads it now does not remember it");
            let changed =
                (0..limit::EPOCHS).filter(|n| clearance.cache_epoch(&key(*n)) != before[*n]).count();
            assert!(changed < 16, "{changed}");
        });
    }
}
