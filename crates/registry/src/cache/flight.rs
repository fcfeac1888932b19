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

type Open<K, T> = Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>;

/// Work under way, by what it is for.
pub(crate) struct Flights<K, T>(Open<K, T>);

impl<K, T> Default for Flights<K, T> {
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

/// Takes the work out of the list, however it ends.
struct Listed<K: Eq + Hash, T> {
    open: Open<K, T>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Listed<K, T> {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The outcome of the work for `key`: begun with `work` unless it is under way. It goes on when nobody waits.
    pub(crate) async fn join<W>(&self, tasks: &Tasks, key: K, work: W) -> Result<(T, Part), Problem>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let (mut outcome, part) = self.begin(tasks, key, work);
        let ended = || Problem::new(ErrorCode::Unavailable, "the server is shutting down").retry_after(5);
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| ended())?;
        outcome.clone().map(|outcome| (outcome, part)).ok_or_else(ended)
    }

    /// Begins the work for `key` unless it is under way.
    pub(crate) fn begin<W>(&self, tasks: &Tasks, key: K, work: W) -> (watch::Receiver<Option<T>>, Part)
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = open.get(&key) {
            return (outcome.clone(), Part::Joined);
        }
        let (told, outcome) = watch::channel(None);
        open.insert(key.clone(), outcome.clone());
        let listed = Listed { open: self.0.clone(), key };
        tasks.spawn(async move {
            let outcome = work.await;
            // Who comes from now on begins anew.
            drop(listed);
            told.send_replace(Some(outcome));
        });
        (outcome, Part::Began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_share_one_and_the_next_begins_anew() {
        let (flights, tasks) = (Flights::<&str, u32>::default(), Tasks::default());
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
        let gone = flights.begin(&tasks, "a", std::future::pending());
        tasks.end().await;
        assert!(gone.0.has_changed().is_err(), "who waits is let go");
        assert!(flights.0.lock().expect("lock").is_empty());
    }
}
