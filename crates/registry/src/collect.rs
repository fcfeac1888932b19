//! Collection: what nobody needs goes, without a button, a phase or a window.
//!
//! Every change that may free something puts a review of it into the queue, in its own transaction.
//! Workers take what is due, one row each, and decide anew from what is there; a review is never an
//! order. Blobs that somebody was told of are pinned: they outlive a push that began in time.

mod blobs;
mod manifests;
mod retention;
#[cfg(test)]
pub(crate) mod tests;

pub use retention::Preview;

use std::time::Duration;

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
            match self.collect_some(&cancel).await {
                Ok(0) => {}
                Ok(_) if !cancel.is_cancelled() => continue,
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "looking for what can be collected failed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(limit::COLLECT_SECONDS)) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Looks at some of what is due and rests, so that who reads and writes meanwhile does not notice: a few at
    /// once share a commit. Without a rest when it is late.
    async fn collect_some(&self, cancel: &CancellationToken) -> Result<usize, RegistryError> {
        let Some(due) = db::first_due(self.db()).await? else { return Ok(0) };
        if due < self.db().now().plus_seconds(-limit::COLLECT_LATE_SECONDS) {
            return self.collect().await;
        }
        let looked_at = self.collect_batch(limit::REVIEW_BATCH_GENTLE).await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(limit::COLLECT_REST_MS)) => {}
            () = cancel.cancelled() => {}
        }
        Ok(looked_at)
    }

    /// Looks at one batch of what is due; returns how many that were.
    pub async fn collect(&self) -> Result<usize, RegistryError> {
        if db::first_due(self.db()).await?.is_none() {
            return Ok(0);
        }
        self.collect_batch(limit::REVIEW_BATCH).await
    }

    async fn collect_batch(&self, most: i64) -> Result<usize, RegistryError> {
        let reviews = claim(self.db(), most).await?;
        let looks = futures_util::stream::iter(&reviews);
        looks.for_each_concurrent(limit::REVIEWS_AT_ONCE, |review| self.look(review)).await;
        Ok(reviews.len())
    }

    /// A review that fails stays in the queue, and is due again later.
    async fn look(&self, review: &Review) {
        if let Err(error) = self.review(review).await {
            tracing::warn!(subject = ?review.subject, error = %chain(&error), "a review failed");
        }
    }

    async fn review(&self, review: &Review) -> Result<(), RegistryError> {
        match &review.subject {
            Subject::Blob(digest) => self.review_blob(review, *digest).await,
            Subject::Repository(repository) => self.review_repository(review, repository).await,
            Subject::Manifest(repository, digest) => self.review_manifest(review, repository, *digest).await,
            Subject::Reread(repository, digest) => self.reread_manifest(review, repository, *digest).await,
        }
    }
}

async fn claim(db: &Db, most: i64) -> Result<Vec<Review>, DbError> {
    let now = db.now();
    db.upkeep((), move |(), tx| Box::pin(async move { db::claim(tx, now, most).await })).await
}
