//! Collection: what nobody needs goes, without a button, a phase or a window.
//!
//! Every change that may free something puts a review of it into the queue, in its own transaction.
//! Workers take what is due, one row each, and decide anew from what is there; a review is never an
//! order. Blobs that somebody was told of are pinned: they outlive a push that began in time.

mod blobs;
mod manifests;
mod retention;
#[cfg(test)]
mod tests;

pub use retention::Preview;

use futures_util::StreamExt as _;
use seaworthy_store::{Db, DbError, chain};
use tokio_util::sync::CancellationToken;

use crate::{
    Registry, RegistryError,
    db::{self, Review, Subject},
    limit,
};

impl Registry {
    /// Looks at what is due until cancelled.
    pub async fn collection(self, cancel: CancellationToken) {
        loop {
            match self.collect().await {
                Ok(0) => {}
                Ok(_) if !cancel.is_cancelled() => continue,
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "looking for what can be collected failed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_secs(limit::COLLECT_SECONDS)) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Looks at one batch of what is due; returns how many that were.
    pub async fn collect(&self) -> Result<usize, RegistryError> {
        if !db::has_due(self.db()).await? {
            return Ok(0);
        }
        let reviews = claim(self.db()).await?;
        let count = reviews.len();
        futures_util::stream::iter(reviews)
            .for_each_concurrent(limit::REVIEWS_AT_ONCE, |review| async move {
                if let Err(error) = self.review(&review).await {
                    // It stays in the queue, and is due again later.
                    tracing::warn!(subject = ?review.subject, error = %chain(&error), "a review failed");
                }
            })
            .await;
        Ok(count)
    }

    async fn review(&self, review: &Review) -> Result<(), RegistryError> {
        match &review.subject {
            Subject::Blob(digest) => self.review_blob(review, *digest).await,
            Subject::Repository(repository) => self.review_repository(review, repository).await,
            Subject::Manifest(repository, digest) => self.review_manifest(review, repository, *digest).await,
        }
    }
}

async fn claim(db: &Db) -> Result<Vec<Review>, DbError> {
    let now = db.now();
    db.upkeep((), move |(), tx| Box::pin(async move { db::claim(tx, now, limit::REVIEW_BATCH).await })).await
}
