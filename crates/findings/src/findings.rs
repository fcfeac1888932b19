use std::{collections::HashMap, sync::Arc, time::Duration};

use seaworthy_model::{
    ContentId, FeedsChanged, FindingSet, FindingsChanged, OsRelease, PackageRow, consumer,
};
use seaworthy_package::InstalledPackage;
use seaworthy_store::{Blobs, Db, DbError, WorkerConfig, chain, work};
use tokio_util::sync::CancellationToken;

use crate::{
    FeedReader, FindingsError,
    db::{self, package_sets},
    generation::{Active, Generation},
    limit,
    package_set::{Matched, PackageSet, PackageSets},
    read_sets::ReadSets,
};

/// What findings are made of.
#[derive(Clone)]
pub struct FindingsConfig {
    /// Metadata.
    pub db: Db,
    /// Segments.
    pub blobs: Blobs,
    /// Where feeds are parsed.
    pub reader: FeedReader,
}

/// The findings room. Cheap to clone.
#[derive(Clone)]
pub struct Findings {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: FindingsConfig,
    pub(crate) active: Active,
    pub(crate) sets: PackageSets,
    read: ReadSets,
}

impl Findings {
    /// Loads the active generation and which packages are where, and settles an import that was cut off.
    pub async fn open(config: FindingsConfig) -> Result<Self, FindingsError> {
        let inner =
            Inner { config, active: Active::new(), sets: PackageSets::default(), read: ReadSets::new() };
        let findings = Self { inner: Arc::new(inner) };
        findings.generation().await?;
        findings.inner.sets.synchronise(findings.db()).await?;
        findings.settle_interrupted().await?;
        Ok(findings)
    }

    /// Matches inventories and finishes what an import left undone, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let config = WorkerConfig { consumer: consumer::FINDINGS, concurrency: limit::MATCHERS };
        let handler = self.clone();
        let matching = work(self.db().clone(), config, cancel.clone(), move |delivery| {
            let findings = handler.clone();
            async move { findings.handle(delivery).await }
        });
        tokio::join!(matching, self.recover_until(cancel));
    }

    async fn recover_until(&self, cancel: CancellationToken) {
        loop {
            let recovery = async {
                if let Err(error) = self.recover().await {
                    tracing::warn!(error = %chain(&error), "finishing an interrupted import failed, will try again");
                }
                tokio::time::sleep(Duration::from_secs(limit::RECOVERY_SECONDS)).await;
            };
            // Cut off, it goes on from its cursor at the next start.
            tokio::select! {
                () = recovery => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// The feeds that are loaded, as the event tells it.
    pub async fn feeds(&self) -> Result<FeedsChanged, FindingsError> {
        let feeds: Result<_, DbError> = self.db().upkeep((), |(), tx| Box::pin(db::feeds_changed(tx))).await;
        Ok(feeds?)
    }

    /// What the newest index finds in an image that was never pushed. Nothing is stored, and no
    /// content ids are named.
    pub async fn find(
        &self,
        os: Option<&OsRelease>,
        packages: &[InstalledPackage],
    ) -> Result<FindingsChanged, FindingsError> {
        let row =
            |package: &InstalledPackage| PackageRow { package: package.clone(), layer: 0, paths: Vec::new() };
        if packages.len() > limit::PACKAGES {
            return Err(crate::package_set::too_many_packages());
        }
        let set = PackageSet::of(os, &packages.iter().map(row).collect::<Vec<_>>())?;
        let generation = self.generation().await?;
        let set = self.find_in(&generation, set).await?.1.set;
        Ok(FindingsChanged { set, content_ids: Vec::new(), generation: generation.number })
    }

    /// The stored findings of an image; `None` when it was not matched yet.
    pub async fn of_content(&self, id: &ContentId) -> Result<Option<Arc<FindingSet>>, FindingsError> {
        Ok(self.of_contents(std::slice::from_ref(id)).await?.remove(id))
    }

    /// The stored findings of many images; those that were not matched yet are left out. What images
    /// share is read once and shared.
    pub async fn of_contents(
        &self,
        ids: &[ContentId],
    ) -> Result<HashMap<ContentId, Arc<FindingSet>>, FindingsError> {
        let mut found = HashMap::new();
        for some in ids.chunks(package_sets::TOGETHER) {
            for (content, package_set, name) in package_sets::finding_sets(self.db(), some).await? {
                if let Some(set) = self.inner.read.get(self.db(), &package_set, &name).await? {
                    found.insert(content, set);
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.config.db
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.config.blobs
    }

    /// The newest generation, loaded.
    pub(crate) async fn generation(&self) -> Result<Generation, FindingsError> {
        self.inner.active.newest(self.db(), self.blobs()).await
    }

    /// Matches on a thread that may block.
    pub(crate) async fn find_in(
        &self,
        generation: &Generation,
        set: PackageSet,
    ) -> Result<(PackageSet, Matched), FindingsError> {
        let index = Arc::clone(&generation.index);
        tokio::task::spawn_blocking(move || {
            let matched = set.find(&index);
            (set, matched)
        })
        .await
        .map_err(|_| FindingsError::Interrupted { step: "matching" })
    }
}
