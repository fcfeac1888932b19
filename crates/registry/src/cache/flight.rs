//! One piece of work for all who want the same at the same time.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use seaworthy_model::{ErrorCode, Problem};
use tokio::sync::watch;

use super::tasks::Tasks;

type Open<K, S> = Arc<Mutex<HashMap<K, watch::Receiver<S>>>>;

/// Work under way, by what it is for. Each piece tells how it stands by an `S`.
pub(crate) struct Flights<K, S>(Open<K, S>);

impl<K, S> Default for Flights<K, S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Whether somebody began the work, or came when it was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Began,
    Joined,
}

/// A piece of work that is in the list until this is dropped.
pub(crate) struct Flight<K: Eq + Hash, S> {
    listed: Listed<K, S>,
    told: watch::Sender<S>,
}

impl<K: Eq + Hash, S> Flight<K, S> {
    /// Tells all who follow.
    pub(crate) fn told(&self) -> &watch::Sender<S> {
        &self.told
    }

    /// Tells the outcome. Who comes from now on begins anew.
    pub(crate) fn end(self, change: impl FnOnce(&mut S)) {
        drop(self.listed);
        self.told.send_modify(change);
    }
}

/// An entry of the list, until this is dropped.
pub(crate) struct Listed<K: Eq + Hash, S> {
    open: Open<K, S>,
    key: K,
}

impl<K: Eq + Hash, S> Drop for Listed<K, S> {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<K, S> Flights<K, S>
where
    K: Eq + Hash + Clone + Send + 'static,
    S: Default + Send + Sync + 'static,
{
    /// Follows the work for `key`, which is begun with `work` unless it is under way.
    pub(crate) fn follow<W>(
        &self,
        tasks: &Tasks,
        key: K,
        work: impl FnOnce(Flight<K, S>) -> W,
    ) -> (watch::Receiver<S>, Part)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (told, state) = {
            let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(state) = open.get(&key) {
                return (state.clone(), Part::Joined);
            }
            let (told, state) = watch::channel(S::default());
            open.insert(key.clone(), state.clone());
            (told, state)
        };
        // Not under the lock: a runtime that is ending drops at once what it is given.
        tasks.spawn(work(Flight { listed: Listed { open: self.0.clone(), key }, told }));
        (state, Part::Began)
    }

    /// True while there is work for `key`.
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// Lists work that is under way already, or says what is listed.
    pub(crate) fn list(&self, key: K, told: &watch::Sender<S>) -> Result<Listed<K, S>, watch::Receiver<S>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = open.get(&key) {
            return Err(state.clone());
        }
        open.insert(key.clone(), told.subscribe());
        Ok(Listed { open: self.0.clone(), key })
    }
}

impl<K, T> Flights<K, Option<T>>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The outcome of the work for `key`: begun with `work` unless it is under way. It goes on when nobody waits.
    pub(crate) async fn join<W>(&self, tasks: &Tasks, key: K, work: W) -> Result<(T, Part), Problem>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let (outcome, part) = self.begin(tasks, key, work);
        Ok((ended(outcome).await?, part))
    }

    /// [`Flights::join`], where who begins needs a `turn`: it is waited for here, by nobody who has gone.
    pub(crate) async fn join_in_turn<W, G>(
        &self,
        tasks: &Tasks,
        key: K,
        turn: impl Future<Output = Result<G, Problem>>,
        work: W,
    ) -> Result<(T, Part), Problem>
    where
        W: Future<Output = T> + Send + 'static,
        G: Send + 'static,
    {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let (outcome, part) = if let Some(outcome) = known {
            (outcome, Part::Joined)
        } else {
            let turn = turn.await?;
            self.begin(tasks, key, async move {
                let _turn = turn;
                work.await
            })
        };
        Ok((ended(outcome).await?, part))
    }

    /// Begins the work for `key` unless it is under way.
    pub(crate) fn begin<W>(&self, tasks: &Tasks, key: K, work: W) -> (watch::Receiver<Option<T>>, Part)
    where
        W: Future<Output = T> + Send + 'static,
    {
        self.follow(tasks, key, |flight| async move {
            let outcome = work.await;
            flight.end(|it| *it = Some(outcome));
        })
    }
}

/// The outcome, when there is one.
async fn ended<T: Clone>(mut outcome: watch::Receiver<Option<T>>) -> Result<T, Problem> {
    let ended = || Problem::new(ErrorCode::Unavailable, "the server is shutting down").retry_after(5);
    let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| ended())?;
    outcome.clone().ok_or_else(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_share_one_and_the_next_begins_anew() {
        let (flights, tasks) = (Flights::<&str, Option<u32>>::default(), Tasks::default());
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let first = flights.join(&tasks, "a", async move {
            wait.await.ok();
            1
        });
        let second = flights.join(&tasks, "a", async { 2 });
        let other = flights.join(&tasks, "b", async { 3 });
        let release = async {
            assert_eq!(other.await.expect("an outcome"), (3, Part::Began));
            go.send(()).expect("waiting");
        };
        let (first, second, ()) = tokio::join!(first, second, release);
        assert_eq!(first.expect("an outcome"), (1, Part::Began));
        assert_eq!(second.expect("an outcome"), (1, Part::Joined));
        assert_eq!(flights.join(&tasks, "a", async { 4 }).await.expect("an outcome"), (4, Part::Began));
        let no_turn = || async { Err::<(), _>(Problem::new(ErrorCode::Unavailable, "none")) };
        let under_way = flights.begin(&tasks, "c", async { 5 });
        let joined = flights.join_in_turn(&tasks, "c", no_turn(), async { 6 }).await;
        assert_eq!(joined.expect("an outcome"), (5, Part::Joined), "who joins needs none");
        drop(under_way);
        assert!(flights.join_in_turn(&tasks, "d", no_turn(), async { 7 }).await.is_err());
        let gone = flights.begin(&tasks, "a", std::future::pending());
        tasks.end().await;
        assert!(gone.0.has_changed().is_err(), "who waits is let go");
        assert!(flights.0.lock().expect("lock").is_empty());
    }

    #[test]
    fn what_is_under_way_is_listed_once() {
        let flights = Flights::<&str, u32>::default();
        let (first, second) = (watch::channel(1).0, watch::channel(2).0);
        let listed = flights.list("a", &first).unwrap_or_else(|_| panic!("listed"));
        assert_eq!(flights.list("a", &second).err().map(|state| *state.borrow()), Some(1));
        assert!(flights.list("b", &second).is_ok());
        drop(listed);
        assert!(flights.list("a", &second).is_ok());
    }

    #[test]
    fn an_ended_runtime_lets_go() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _in_it = handle.enter();
        let (flights, tasks) = (Flights::<&str, Option<u32>>::default(), Tasks::default());
        // It is dropped where it is spawned, and must find the list unlocked.
        let list = flights.0.clone();
        let (outcome, part) = flights.follow(&tasks, "a", |flight| {
            assert!(list.try_lock().is_ok());
            async move { flight.end(|it| *it = Some(1)) }
        });
        assert_eq!(part, Part::Began);
        assert!(outcome.has_changed().is_err() && flights.0.lock().expect("lock").is_empty());
    }
}
