//! What the fleet tells: which digests run.

use seaworthy_model::{Event, consumer};
use seaworthy_store::{Delivery, WorkerConfig, work};
use tokio_util::sync::CancellationToken;

use crate::{Registry, RegistryError, db, limit};

impl Registry {
    /// Keeps in mind what runs, until cancelled.
    pub async fn listen(self, cancel: CancellationToken) {
        let config = WorkerConfig { consumer: consumer::REGISTRY, concurrency: limit::RUNNING_AT_ONCE };
        let db = self.db().clone();
        work(db, config, cancel, move |delivery| {
            let registry = self.clone();
            async move { registry.hear(delivery).await }
        })
        .await;
    }

    pub(crate) async fn hear(&self, delivery: Delivery) -> Result<(), RegistryError> {
        let now = self.inner.clock.now();
        self.db()
            .upkeep((delivery, now), |(delivery, now), tx| {
                Box::pin(async move {
                    if let Event::ContainerSeen(seen) = &delivery.event {
                        db::put_running(tx, seen, *now).await?;
                    }
                    Ok(tx.settle(delivery).await?)
                })
            })
            .await
    }
}
