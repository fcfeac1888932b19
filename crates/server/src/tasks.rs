//! The tasks of a server by name: so that a shutdown can say who was late.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type Names = Arc<Mutex<BTreeMap<String, usize>>>;

/// Everything that runs for as long as the server does.
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    names: Names,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { tracker: TaskTracker::new(), cancel: CancellationToken::new(), names: Names::default() }
    }

    /// Cancelled when the server is to stop.
    pub(crate) fn cancel(&self) -> CancellationToken {
        self.cancel.child_token()
    }

    /// Runs `work` under a name that its user knows.
    pub(crate) fn spawn<F>(&self, name: impl Into<String>, work: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = Entry::new(name.into(), self.names.clone());
        self.tracker.spawn(async move {
            let _entry = entry;
            work.await;
        })
    }

    /// Tells all to stop and waits for them; the names of those that did not within `deadline`.
    pub(crate) async fn stop(&self, deadline: Duration) -> Vec<String> {
        self.cancel.cancel();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        self.names.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// A name for as long as its task lives, also when that panics.
struct Entry {
    name: String,
    names: Names,
}

impl Entry {
    fn new(name: String, names: Names) -> Self {
        *names.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default() += 1;
        Self { name, names }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_late_is_named_and_the_others_are_waited_for() {
        let tasks = Tasks::new();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("inspection", async move { drop(released.await) });
        for name in ["findings", "clearance"] {
            let cancelled = tasks.cancel();
            tasks.spawn(name, async move { cancelled.cancelled().await });
        }
        drop(tasks.spawn("broken", async { panic!("on purpose") }).await);
        assert_eq!(tasks.stop(Duration::from_millis(100)).await, ["inspection"]);
        release.send(()).expect("it waits");
        assert_eq!(tasks.stop(Duration::from_secs(60)).await, Vec::<String>::new());
    }
}
