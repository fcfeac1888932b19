//! What a bench does to a registry that nobody serves from: time cannot be waited for.

use seaworthy_model::UploadId;
use seaworthy_store::{Db, DbError, args};

/// Lets the time of every blob be over that no manifest names: collection begins with all of them at once.
pub async fn expire_unnamed(db: &Db) -> Result<(), DbError> {
    let now = db.now().as_micros();
    db.upkeep((), move |(), tx| {
        Box::pin(async move {
            for sql in [
                "UPDATE registry_blobs SET pinned_until = 0, stored_at = 0, changed_at = 0, state = 'condemned'
                 WHERE NOT EXISTS (SELECT 1 FROM registry_references AS f WHERE f.digest = registry_blobs.digest)",
                "UPDATE registry_links SET linked_at = 0",
            ] {
                tx.execute(sql, args![]).await?;
            }
            // Due now and not late: at the pace that a server keeps.
            tx.execute("UPDATE registry_reviews SET due = $1 WHERE kind = 'blob'", args![now]).await.map(|_| ())
        })
    })
    .await
}

/// Bytes of the blobs that are in files.
pub async fn file_bytes(db: &Db) -> Result<u64, DbError> {
    let most = i64::try_from(seaworthy_store::limit::SMALL_BLOB_BYTES).unwrap_or(i64::MAX);
    let sql = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM registry_blobs WHERE size > $1";
    let row = db.fetch_optional(sql, args![most]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// Whether a session remembers the upload.
pub async fn has_upload(db: &Db, id: UploadId) -> Result<bool, DbError> {
    crate::db::upload_exists(db, id).await
}

/// How many blobs there are.
pub async fn count_blobs(db: &Db) -> Result<u64, DbError> {
    let row = db.fetch_optional("SELECT COUNT(*) FROM registry_blobs", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}
