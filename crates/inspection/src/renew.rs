//! After an upgrade: images that older readers inspected are inspected again, behind what is pushed.

use std::time::Duration;

use seaworthy_inventory::READER_VERSION;
use seaworthy_model::consumer;
use seaworthy_oci::Digest;
use seaworthy_store::{Lease, chain};
use tokio_util::sync::CancellationToken;

use crate::{Inspection, InspectionError, db, limit};

/// Of several servers one walks at a time.
const LEASE: &str = "inspection renewal";
/// How long a server that walks is believed to be there.
const LEASE_SECONDS: i64 = 60;
/// How long it is until a walk that failed, or that another server makes, is begun again.
const AGAIN_SECONDS: u64 = 60;

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
enum Walk {
    /// Every image was looked at, or the server is to stop.
    Ended,
    /// Another server walks.
    Elsewhere,
}

impl Inspection {
    /// Has every image inspected again that older readers inspected, a few at a time; ends when all were told of,
    /// or when cancelled. Until its turn comes an image keeps its inventory and the answer that rests on it: an
    /// upgrade stops no production. What a crash or another server repeats is found as it is.
    pub async fn renew(self, cancel: CancellationToken) {
        let owner = format!("{}-{}", std::process::id(), self.db().now().as_micros());
        loop {
            match self.walk(&owner, &cancel).await {
                Ok(Walk::Ended) => return,
                Ok(Walk::Elsewhere) => {}
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "looking for images to inspect again failed, will try again");
                }
            }
            if pause(&cancel, Duration::from_secs(AGAIN_SECONDS)).await {
                return;
            }
        }
    }

    async fn walk(&self, owner: &str, cancel: &CancellationToken) -> Result<Walk, InspectionError> {
        let mut after = (String::new(), String::new());
        loop {
            let Some(lease) = self.lease(owner).await? else { return Ok(Walk::Elsewhere) };
            let waiting = self.db().waiting_deliveries(consumer::INSPECTION).await?;
            if waiting >= limit::RENEW_WAITING {
                if pause(cancel, Duration::from_millis(limit::RENEW_MS)).await {
                    return self.end(&lease).await;
                }
                continue;
            }
            let page = db::read_by(self.db(), (&after.0, &after.1), limit::RENEW_PAGE).await?;
            let Some(last) = page.last().filter(|_| !cancel.is_cancelled()) else {
                return self.end(&lease).await;
            };
            after = (last.repository.to_string(), last.digest.to_string());
            let older: Vec<_> = page
                .into_iter()
                .filter(|image| image.reader_version < i64::from(READER_VERSION))
                .map(|image| (image.repository, image.digest))
                .collect();
            if let Some((_, digest)) = older.first() {
                self.tell_again(*digest, &older).await?;
            }
        }
    }

    async fn lease(&self, owner: &str) -> Result<Option<Lease>, InspectionError> {
        Ok(self.db().acquire_lease(LEASE, owner, LEASE_SECONDS).await?)
    }

    async fn end(&self, lease: &Lease) -> Result<Walk, InspectionError> {
        self.db().release_lease(lease).await?;
        Ok(Walk::Ended)
    }

    async fn tell_again(
        &self,
        first: Digest,
        images: &[(seaworthy_oci::RepoName, Digest)],
    ) -> Result<(), InspectionError> {
        let told = self.inner.config.source.tell_again(images).await;
        told.map_err(|problem| InspectionError::Source { digest: first, problem: Box::new(problem) })
    }
}

/// True when it was cancelled meanwhile.
async fn pause(cancel: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        () = cancel.cancelled() => true,
    }
}
