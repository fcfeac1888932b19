//! Work that goes on when the request that began it is over, until the server ends.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// All such work of one registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// Runs `work` to its end, or to that of the server.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            cancel.run_until_cancelled_owned(work).await;
        });
    }

    /// Ends all of it, and waits until it has.
    pub(crate) async fn end(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
