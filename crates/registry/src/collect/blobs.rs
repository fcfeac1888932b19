//! Blobs on their way out.

use seaworthy_model::Timestamp;
use seaworthy_oci::Digest;
use seaworthy_store::{DbError, Tx, limit::SMALL_BLOB_BYTES};

use crate::{
    ROOM, Registry, RegistryError,
    db::{self, BlobRow, BlobState, Hold, Review},
    limit,
    pauses::Point,
};

impl Registry {
    /// Moves a blob one step on, or back.
    pub(super) async fn review_blob(&self, review: &Review, digest: Digest) -> Result<(), RegistryError> {
        let context = (review.clone(), digest, self.inner.clock.now());
        let doomed = self
            .in_upkeep(context, |(review, digest, now), tx| {
                Box::pin(async move { judge(tx, review, digest, *now).await })
            })
            .await?;
        match doomed {
            Some(row) => self.remove_blob(review, row).await,
            None => Ok(()),
        }
    }

    /// Removes a blob's file, then its row. Whoever is late finds another generation, and bytes of
    /// another name, and changes nothing.
    async fn remove_blob(&self, review: &Review, row: BlobRow) -> Result<(), RegistryError> {
        self.pause(Point::Deleting).await;
        self.blobs().remove(ROOM, &row.copy).await?;
        self.pause(Point::Removed).await;
        self.in_upkeep((review.clone(), row), |(review, row), tx| {
            Box::pin(async move {
                db::forget_blob(tx, &row.copy.digest, row.generation).await?;
                db::settle(tx, review).await
            })
        })
        .await
    }
}

/// Decides about a blob; returns its row when the file with its bytes is to be removed now.
async fn judge(
    tx: &mut Tx<'_>,
    review: &Review,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<BlobRow>, DbError> {
    let Some(mut row) = db::blob_in(tx, digest).await? else {
        db::settle(tx, review).await?;
        return Ok(None);
    };
    if row.state == BlobState::Deleting {
        return last(tx, review, row).await;
    }
    match db::hold_on(tx, &row, now).await? {
        Hold::Nothing => {}
        // It stays, and not for those who brought it and named it in time nowhere.
        Hold::Named if db::is_brought_in_vain(tx, digest).await? => {
            if row.state == BlobState::Condemned {
                db::set_state(tx, &row, BlobState::Live, now).await?;
            }
            if row.pinned_until > now {
                db::postpone(tx, review, row.pinned_until).await?;
            } else {
                db::forget_brought(tx, digest).await?;
                db::settle(tx, review).await?;
            }
            return Ok(None);
        }
        hold => {
            if row.state == BlobState::Condemned {
                db::set_state(tx, &row, BlobState::Live, now).await?;
            }
            match hold {
                Hold::Until(due) => db::postpone(tx, review, due).await?,
                Hold::Named | Hold::Nothing => db::settle(tx, review).await?,
            }
            return Ok(None);
        }
    }
    let due = row.changed_at.plus_seconds(limit::CONDEMNED_SECONDS);
    match row.state {
        BlobState::Live => {
            db::set_state(tx, &row, BlobState::Condemned, now).await?;
            db::postpone(tx, review, now.plus_seconds(limit::CONDEMNED_SECONDS)).await?;
            Ok(None)
        }
        BlobState::Condemned if due > now => {
            db::postpone(tx, review, due).await?;
            Ok(None)
        }
        BlobState::Condemned | BlobState::Deleting => {
            db::set_state(tx, &row, BlobState::Deleting, now).await?;
            row.generation += 1;
            last(tx, review, row).await
        }
    }
}

/// The last step: a file goes before its row, bytes that are in a row go with it.
async fn last(tx: &mut Tx<'_>, review: &Review, row: BlobRow) -> Result<Option<BlobRow>, DbError> {
    if row.size > SMALL_BLOB_BYTES as u64 {
        return Ok(Some(row));
    }
    db::forget_blob(tx, &row.copy.digest, row.generation).await?;
    db::settle(tx, review).await?;
    Ok(None)
}
