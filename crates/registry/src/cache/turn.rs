//! Turns: how much is asked of upstreams at once, of each and of all.

use std::{sync::Arc, time::Duration};

use seaworthy_model::{ErrorCode, Problem};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Cache;
use crate::{Registry, limit};

/// Room for work of each kind.
pub(crate) struct Turns {
    /// For blobs.
    pub(super) fetches: Arc<Semaphore>,
    /// For images that nobody waits for.
    pub(super) fills: Arc<Semaphore>,
    /// For manifests.
    pub(super) errands: Arc<Semaphore>,
    /// For manifests that name a blob; each is an errand besides.
    pub(super) searches: Arc<Semaphore>,
    /// For lists: of one cache those of both kinds together.
    pub(super) tags: Arc<Semaphore>,
    pub(super) referrers: Arc<Semaphore>,
}

impl Turns {
    /// Those of one cache: one slow upstream leaves turns for others.
    pub(super) fn of_cache() -> Self {
        let lists = room(limit::CACHE_LISTS_AT_ONCE);
        Self {
            fetches: room(limit::CACHE_FETCHES),
            fills: room(limit::CACHE_FILLS),
            errands: room(limit::CACHE_ERRANDS),
            searches: room(limit::CACHE_SEARCHES),
            tags: lists.clone(),
            referrers: lists,
        }
    }

    /// Those of all together.
    pub(crate) fn of_all() -> Self {
        Self {
            fetches: room(limit::FETCHES),
            fills: room(limit::FILLS),
            errands: room(limit::ERRANDS),
            searches: room(limit::SEARCHES),
            tags: room(limit::LISTS_AT_ONCE),
            referrers: room(limit::LISTS_AT_ONCE),
        }
    }
}

fn room(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most))
}

/// A turn, until this is dropped.
pub(crate) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// The turn of an upstream and that of all; `None` when they do not come in time.
async fn turn(own: &Arc<Semaphore>, all: &Arc<Semaphore>, patience: Duration) -> Option<Turn> {
    timeout(patience, any_turn(own, all)).await.ok()?
}

/// The turn of an upstream and that of all, whenever they come. They are never closed.
async fn any_turn(own: &Arc<Semaphore>, all: &Arc<Semaphore>) -> Option<Turn> {
    // Its own first: who waits for a slow upstream takes no turn from others.
    let own = own.clone().acquire_owned().await.ok()?;
    Some(Turn { _own: own, _all: all.clone().acquire_owned().await.ok()? })
}

impl Registry {
    /// A turn to fetch a blob. Each that is taken ends, or brings bytes at a pace: many large blobs wait for one another
    /// for long, and none for ever.
    pub(super) async fn fetch_turn(&self, cache: &Cache) -> Option<Turn> {
        any_turn(&cache.turns.fetches, &self.inner.turns.fetches).await
    }

    /// A turn of a cache for what `of` says.
    pub(super) async fn turn(
        &self,
        cache: &Cache,
        of: impl Fn(&Turns) -> &Arc<Semaphore>,
    ) -> Result<Turn, Problem> {
        let patience = self.inner.config.upstreams.turn_patience;
        turn(of(&cache.turns), of(&self.inner.turns), patience).await.ok_or_else(|| {
            let message = format!("no turn to ask upstream `{}` came in time", cache.upstream.host());
            Problem::new(ErrorCode::Unavailable, message).retry_after(limit::UPSTREAM_RETRY_SECONDS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(limit::TURN_SECONDS);

    /// What nobody waits for leaves turns for what somebody does.
    const _: () = assert!(
        limit::FILLS * limit::FILLS_PER_IMAGE < limit::FETCHES
            && limit::CACHE_FILLS * limit::FILLS_PER_IMAGE < limit::CACHE_FETCHES
    );

    /// Who waits has looked whether it is needed before it is given up.
    const _: () = assert!(limit::LOOK_AGAIN_SECONDS < limit::TURN_SECONDS);

    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_in_time_or_not_at_all() {
        for (own, all) in [(0, 1), (1, 0)] {
            assert!(turn(&room(own), &room(all), PATIENCE).await.is_none());
        }
        let (own, all) = (room(1), room(1));
        let first = turn(&own, &all, PATIENCE).await.expect("a turn");
        let ends = async {
            tokio::time::sleep(Duration::from_secs(limit::TURN_SECONDS - 1)).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(turn(&own, &all, PATIENCE), ends);
        assert!(second.is_some());
        assert!(turn(&own, &all, PATIENCE).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_its_upstream_holds_nobody_else_up() {
        let (slow, own, all) = (room(0), room(1), room(1));
        let (waits, other) = tokio::join!(turn(&slow, &all, PATIENCE), turn(&own, &all, PATIENCE));
        assert!(waits.is_none() && other.is_some());
        drop(other);
        assert_eq!(all.available_permits(), 1);
    }
}
