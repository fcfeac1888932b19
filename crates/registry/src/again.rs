//! Manifests that were pushed long ago, told of again.

use bytes::Bytes;
use seaworthy_model::{Event, ManifestPushed, consumer};
use seaworthy_oci::{Digest, Manifest, RepoName};

use crate::{Registry, RegistryError, db, push::describe};

impl Registry {
    /// Tells inspection, and nobody else, of images that it inspected before, as when they were pushed. Those that
    /// are not here any more are passed over.
    pub async fn tell_again(&self, images: &[(RepoName, Digest)]) -> Result<(), RegistryError> {
        if !self.inner.config.manifest_consumers.contains(&consumer::INSPECTION) {
            return Ok(());
        }
        let mut events = Vec::with_capacity(images.len());
        for (repository, digest) in images {
            events.extend(self.pushed_before(repository, digest).await?.map(Event::ManifestPushed));
        }
        let now = self.inner.clock.now();
        self.in_upkeep(events, move |events, tx| {
            Box::pin(async move {
                for event in events {
                    tx.deliver(consumer::INSPECTION, event, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn pushed_before(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<ManifestPushed>, RegistryError> {
        let Some(stored) = db::manifest(self.db(), repository, digest).await? else { return Ok(None) };
        let Some(bytes) = db::manifest_bytes(self.db(), digest).await? else { return Ok(None) };
        let Ok(manifest) = Manifest::parse(&Bytes::from(bytes), Some(&stored.media_type)) else {
            return Ok(None);
        };
        let pushed = describe(repository, *digest, &manifest, self.inner.clock.now());
        // That it was inspected says that it is an image, whatever its manifest says of its config.
        Ok(pushed.config.is_some().then_some(ManifestPushed { is_image: true, ..pushed }))
    }
}
