//! Turns: how much is asked of upstreams at once, of each and of all. A cache that has nothing under way always gets one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use seaworthy_model::{ErrorCode, Problem};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Cache, CacheId};
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
    /// Those of one cache: a slow upstream leaves turns for others.
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

    /// Of each kind the one that a cache has when those of all are taken: a few slow upstreams leave one to each other.
    pub(super) fn first_of_cache() -> Self {
        let lists = room(1);
        Self {
            fetches: room(1),
            fills: room(1),
            errands: room(1),
            searches: room(1),
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
    _of_all: OwnedSemaphorePermit,
}

/// Where turns of one kind are taken.
#[derive(Clone, Copy)]
struct Rooms<'a> {
    /// As many as the cache may have.
    own: &'a Arc<Semaphore>,
    /// The one that it has when those of all are taken.
    first: &'a Arc<Semaphore>,
    all: &'a Arc<Semaphore>,
}

impl<'a> Rooms<'a> {
    fn of(cache: &'a Cache, all: &'a Turns, kind: impl Fn(&Turns) -> &Arc<Semaphore>) -> Self {
        Self { own: kind(&cache.turns), first: kind(&cache.first_turns), all: kind(all) }
    }

    /// A turn; `None` when it does not come in time.
    async fn turn(self, patience: Duration) -> Option<Turn> {
        timeout(patience, self.any_turn()).await.ok()?
    }

    /// A turn, whenever it comes. None of the rooms is ever closed.
    async fn any_turn(self) -> Option<Turn> {
        // Its own first: who waits for a slow upstream takes no turn from others.
        let own = self.own.clone().acquire_owned().await.ok()?;
        let of_all = tokio::select! {
            biased;
            // While there are any: the first is for when there are none.
            of_all = self.all.clone().acquire_owned() => of_all,
            first = self.first.clone().acquire_owned() => first,
        };
        Some(Turn { _own: own, _of_all: of_all.ok()? })
    }
}

/// Turns for images that nobody waits for, as they were free when somebody looked.
pub(super) struct FreeFills {
    all: usize,
    /// Of each cache that was looked at: of its own, and whether it has its first.
    of_caches: HashMap<CacheId, (usize, bool)>,
}

impl FreeFills {
    /// Takes one of them for an image of `cache`; false when it would have to wait.
    pub(super) fn take(&mut self, cache: &Cache) -> bool {
        let free =
            || (cache.turns.fills.available_permits(), cache.first_turns.fills.available_permits() > 0);
        let (own, first) = self.of_caches.entry(cache.id).or_insert_with(free);
        if *own == 0 || (self.all == 0 && !*first) {
            return false;
        }
        *own -= 1;
        match self.all {
            0 => *first = false,
            _ => self.all -= 1,
        }
        true
    }
}

impl Registry {
    /// A turn to fetch a blob. Each that is taken ends, or brings bytes at a pace: many large blobs wait for one another
    /// for long, and none for ever.
    pub(super) async fn fetch_turn(&self, cache: &Cache) -> Option<Turn> {
        Rooms::of(cache, &self.inner.turns, |turns| &turns.fetches).any_turn().await
    }

    /// The turns for images that nobody waits for and that are free now.
    pub(super) fn free_fills(&self) -> FreeFills {
        FreeFills { all: self.inner.turns.fills.available_permits(), of_caches: HashMap::new() }
    }

    /// A turn of a cache for what `of` says.
    pub(super) async fn turn(
        &self,
        cache: &Cache,
        of: impl Fn(&Turns) -> &Arc<Semaphore>,
    ) -> Result<Turn, Problem> {
        let patience = self.inner.config.upstreams.turn_patience;
        Rooms::of(cache, &self.inner.turns, of).turn(patience).await.ok_or_else(|| {
            let message = format!("no turn to ask upstream `{}` came in time", cache.upstream.host());
            Problem::new(ErrorCode::Unavailable, message).retry_after(limit::UPSTREAM_RETRY_SECONDS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(limit::TURN_SECONDS);

    /// What nobody waits for leaves turns for what somebody does, of each cache and of all.
    const _: () = assert!(
        limit::FILLS * limit::FILLS_PER_IMAGE < limit::FETCHES
            && limit::CACHE_FILLS * limit::FILLS_PER_IMAGE < limit::CACHE_FETCHES
    );

    /// Who waits has looked whether it is needed before it is given up.
    const _: () = assert!(limit::LOOK_AGAIN_SECONDS < limit::TURN_SECONDS);

    /// So many turns of an upstream, and of all; of those that it has besides, so many.
    fn rooms(own: usize, first: usize, all: usize) -> [Arc<Semaphore>; 3] {
        [room(own), room(first), room(all)]
    }

    async fn turn([own, first, all]: &[Arc<Semaphore>; 3]) -> Option<Turn> {
        Rooms { own, first, all }.turn(PATIENCE).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_in_time_or_not_at_all() {
        for (own, first, all) in [(0, 1, 1), (1, 0, 0)] {
            assert!(turn(&rooms(own, first, all)).await.is_none());
        }
        let rooms = rooms(1, 0, 1);
        let first = turn(&rooms).await.expect("a turn");
        let ends = async {
            tokio::time::sleep(Duration::from_secs(limit::TURN_SECONDS - 1)).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(turn(&rooms), ends);
        assert!(second.is_some());
        assert!(turn(&rooms).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_its_upstream_holds_nobody_else_up() {
        let (slow, well) = (rooms(0, 1, 1), rooms(1, 0, 0));
        let well = [well[0].clone(), well[1].clone(), slow[2].clone()];
        let (waits, other) = tokio::join!(turn(&slow), turn(&well));
        assert!(waits.is_none() && other.is_some());
        drop(other);
        assert_eq!((slow[1].available_permits(), slow[2].available_permits()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_with_nothing_under_way_gets_one_whoever_has_the_others() {
        let (all, begun) = (room(1), tokio::time::Instant::now());
        let others = all.clone().try_acquire_owned().expect("the only one");
        let rooms = [room(2), room(1), all.clone()];
        let first = turn(&rooms).await.expect("its first");
        assert_eq!(begun.elapsed(), Duration::ZERO, "at once");
        let (second, ()) = tokio::join!(turn(&rooms), async { drop(others) });
        assert!(second.is_some(), "that of the others");
        assert!(all.try_acquire().is_err());
        drop(second);
        let _others = all.clone().try_acquire_owned().expect("it came back");
        assert!(turn(&rooms).await.is_none(), "its second waits");
        drop(first);
        assert!(turn(&rooms).await.is_some());
    }

    /// Its first is what is left when all are taken: as long as there are others it takes those.
    #[tokio::test(start_paused = true)]
    async fn a_first_turn_is_taken_last() {
        let rooms = rooms(2, 1, 1);
        let _one = turn(&rooms).await.expect("a turn");
        assert_eq!((rooms[1].available_permits(), rooms[2].available_permits()), (1, 0));
        let _two = turn(&rooms).await.expect("a turn");
        assert_eq!(rooms[1].available_permits(), 0);
    }
}
