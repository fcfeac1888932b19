//! The caches that there are, each with what was learnt of its upstream.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use seaworthy_model::Timestamp;
use seaworthy_oci::RepoName;
use seaworthy_store::{Db, Watch};
use tokio_rustls::TlsConnector;

use super::{CacheSettings, Turns};
use crate::{
    RegistryError, UpstreamAccess,
    db::{self, CacheRow},
    limit,
    upstream::{Upstream, UpstreamConfig},
};

/// Which cache, as it was set last: one that was changed is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheId(u64);

impl CacheId {
    /// Of none.
    #[cfg(test)]
    pub(super) const NONE: Self = Self(u64::MAX);
}

/// When a cache's upstream said something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) by: CacheId,
    pub(crate) at: Timestamp,
}

/// A cache and its upstream.
pub(crate) struct Cache {
    pub(crate) id: CacheId,
    pub(crate) settings: CacheSettings,
    pub(crate) upstream: Upstream,
    pub(crate) turns: Turns,
    /// Those that it has when those of all are taken.
    pub(crate) first_turns: Turns,
    row: CacheRow,
}

type All = Arc<Vec<Arc<Cache>>>;

/// What was read, and what says whether it still holds.
struct Slot {
    count: Option<u64>,
    /// `None`: this server changed one since.
    read_at: Option<Instant>,
    all: All,
}

impl Slot {
    fn holds(&self, count: Option<u64>) -> bool {
        match count {
            Some(_) => self.count == count,
            None => self.read_at.is_some_and(|at| at.elapsed() < Duration::from_millis(limit::CACHES_MS)),
        }
    }
}

/// All caches as they were read last.
pub(crate) struct Caches {
    db: Db,
    watch: Option<Watch>,
    access: UpstreamAccess,
    tls: TlsConnector,
    slot: Mutex<Option<Slot>>,
    opened: AtomicU64,
}

impl Caches {
    pub(crate) fn new(db: Db, access: UpstreamAccess) -> Self {
        let tls = TlsConnector::from(access.tls.clone());
        Self {
            watch: db.watch(db::CACHES_IN),
            access,
            tls,
            slot: Mutex::default(),
            opened: AtomicU64::new(0),
            db,
        }
    }

    /// All of them, in order of their prefixes. Those that did not change keep what was learnt.
    pub(crate) async fn all(&self) -> Result<All, RegistryError> {
        // Before the rows: a commit in between makes what was read of no use to anybody later.
        let count = self.watch.as_ref().map(Watch::count);
        if let Some(slot) = self.lock().as_ref().filter(|slot| slot.holds(count)) {
            return Ok(slot.all.clone());
        }
        let read_at = Some(Instant::now());
        let rows = db::caches(&self.db).await?;
        // As they are by now: of many who read them at once, all have the same.
        let mut slot = self.lock();
        let before = slot.as_ref().map(|slot| slot.all.clone()).unwrap_or_default();
        let known = |row: &CacheRow| {
            let same = |cache: &&Arc<Cache>| {
                cache.row.changed_at == row.changed_at
                    && cache.row.settings == row.settings
                    && cache.row.sealed == row.sealed
            };
            before.iter().find(same).cloned()
        };
        let all: All = Arc::new(
            rows.into_iter().map(|row| known(&row).unwrap_or_else(|| Arc::new(self.opened(row)))).collect(),
        );
        *slot = Some(Slot { count, read_at, all: all.clone() });
        Ok(all)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Slot>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has them read again, because this server changed one.
    pub(crate) fn forget(&self) {
        if let Some(slot) = self.lock().as_mut() {
            slot.read_at = None;
        }
    }

    /// The cache that a repository belongs to.
    pub(crate) async fn of(&self, repository: &RepoName) -> Result<Option<Arc<Cache>>, RegistryError> {
        let all = self.all().await?;
        let covering = all.iter().filter(|cache| cache.settings.prefix.covers(repository));
        Ok(covering.max_by_key(|cache| cache.settings.prefix.name().len()).cloned())
    }

    /// The cache that answers for a host.
    pub(crate) async fn for_host(&self, host: &str) -> Result<Option<Arc<Cache>>, RegistryError> {
        let all = self.all().await?;
        let host = host.to_ascii_lowercase();
        Ok(all.iter().find(|cache| cache.settings.ns.iter().any(|ns| ns.as_str() == host)).cloned())
    }

    fn opened(&self, row: CacheRow) -> Cache {
        let settings = row.settings.clone();
        let upstream = Upstream::new(UpstreamConfig {
            origin: settings.upstream.clone(),
            realms: settings.realms.clone(),
            networks: settings.networks.clone(),
            login: self.access.login(&settings.sealed_for(), row.sealed.as_deref()),
            tls: self.tls.clone(),
            patience: self.access.patience,
            clock: self.db.clock(),
        });
        let id = CacheId(self.opened.fetch_add(1, Ordering::Relaxed));
        let (turns, first_turns) = (Turns::of_cache(), Turns::first_of_cache());
        Cache { id, settings, upstream, turns, first_turns, row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_holds_for_a_while() {
        let slot = |count: Option<u64>, age_ms: u64| Slot {
            count,
            read_at: Instant::now().checked_sub(Duration::from_millis(age_ms)),
            all: All::default(),
        };
        assert!(slot(Some(3), 0).holds(Some(3)) && !slot(Some(3), 0).holds(Some(4)));
        // Where others may change them it ends by itself, and when this server does.
        assert!(slot(None, 0).holds(None));
        assert!(!slot(None, limit::CACHES_MS).holds(None));
        assert!(!Slot { read_at: None, ..slot(None, 0) }.holds(None));
    }
}
