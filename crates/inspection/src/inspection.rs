use std::{collections::HashMap, sync::Arc};

use quick_cache::sync::Cache;
use seaworthy_model::{ContentId, Event, Inventory, InventoryReady, consumer};
use seaworthy_oci::Digest;
use seaworthy_store::{Blobs, Db, Delivery, WorkerConfig, work};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{InspectionError, LayerReader, LayerSource, compose, db, flight::Flights, limit};

/// What an inspection is made of.
#[derive(Clone)]
pub struct InspectionConfig {
    /// Metadata.
    pub db: Db,
    /// Keeps the facts of layers.
    pub blobs: Blobs,
    /// Has the bytes of layers and configs.
    pub source: Arc<dyn LayerSource>,
    /// Reads layers.
    pub reader: LayerReader,
    /// Layers read at once; from 1 to [`limit::READERS`].
    pub concurrency: usize,
}

/// The inspection room. Cheap to clone.
#[derive(Clone)]
pub struct Inspection {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: InspectionConfig,
    pub(crate) flights: Flights,
    /// One permit per layer being read; the reading thread holds it.
    pub(crate) readers: Arc<Semaphore>,
    /// One permit per image being folded; the folding thread holds it.
    pub(crate) folds: Arc<Semaphore>,
    /// Configs that were read since the start.
    pub(crate) configs: Cache<Digest, ()>,
}

impl Inspection {
    /// An inspection over `config`; nothing runs until [`Inspection::run`].
    pub fn new(mut config: InspectionConfig) -> Self {
        config.concurrency = config.concurrency.clamp(1, limit::READERS);
        let readers = Arc::new(Semaphore::new(config.concurrency));
        let folds = Arc::new(Semaphore::new(limit::FOLDS));
        let configs = Cache::new(limit::CONFIGS);
        Self { inner: Arc::new(Inner { config, flights: Flights::default(), readers, folds, configs }) }
    }

    /// Handles the events for this room until cancelled; then waits for what is running.
    pub async fn run(self, cancel: CancellationToken) {
        let concurrency = self.inner.config.concurrency + limit::FOLDS;
        let config = WorkerConfig { consumer: consumer::INSPECTION, concurrency };
        let db = self.db().clone();
        work(db, config, cancel, move |delivery| {
            let inspection = self.clone();
            async move { inspection.handle(&delivery).await }
        })
        .await;
    }

    /// The stored result of a manifest, with all repositories (at most [`limit::REPOSITORIES`])
    /// that have this result; `None` when it was not inspected (yet), or is not an image.
    pub async fn of_manifest(&self, digest: &Digest) -> Result<Option<InventoryReady>, InspectionError> {
        let Some(newest) = db::newest_of_manifest(self.db(), digest).await? else { return Ok(None) };
        let Some(stored) = db::inventory(self.db(), &newest).await? else { return Ok(None) };
        let mut ready = compose::unpack(&stored, &newest.content_id)?;
        let repositories = db::repositories(self.db(), digest, &newest).await?;
        ready.manifests = repositories.into_iter().map(|repository| (repository, *digest)).collect();
        Ok(Some(ready))
    }

    /// The contents of many manifests; those that are not inspected yet are left out.
    pub async fn contents_of(
        &self,
        digests: &[Digest],
    ) -> Result<HashMap<Digest, ContentId>, InspectionError> {
        let mut found = HashMap::new();
        for some in digests.chunks(db::TOGETHER) {
            // Oldest first: the newest stays.
            found.extend(db::contents_of(self.db(), some).await?);
        }
        Ok(found)
    }

    /// The newest inventory of an image. Images of one content differ at most in what their
    /// configs tell of the layers' making.
    pub async fn of_content(&self, id: &ContentId) -> Result<Option<Inventory>, InspectionError> {
        let Some(stored) = db::newest_of_content(self.db(), id).await? else { return Ok(None) };
        Ok(Some(compose::unpack(&stored, id)?.inventory))
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), InspectionError> {
        match &delivery.event {
            Event::BlobStored(stored) => self.blob_stored(delivery, &stored.digest).await,
            Event::ManifestPushed(pushed) => self.manifest_pushed(delivery, pushed).await,
            // Not ours: an older or newer version of this server sent it.
            _ => self.settle(delivery).await,
        }
    }

    /// Ends a delivery that changes nothing.
    pub(crate) async fn settle(&self, delivery: &Delivery) -> Result<(), InspectionError> {
        self.db()
            .upkeep(delivery.clone(), |delivery, tx| {
                Box::pin(async move { tx.settle(delivery).await.map_err(InspectionError::from) })
            })
            .await
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.config.db
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.config.blobs
    }
}
