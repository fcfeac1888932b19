//! What a bench does to a registry that nobody serves from: time cannot be waited for.

use seaworthy_model::UploadId;
use seaworthy_oci::Digest;
use seaworthy_store::{Db, DbError, Row, args};

/// Lets the time of every blob be over that no manifest names: collection begins with all of them at once, or looks
/// at none for a day.
pub async fn expire_unnamed(db: &Db, is_due: bool) -> Result<(), DbError> {
    let due = db.now().plus_seconds(if is_due { 0 } else { 86_400 }).as_micros();
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
            tx.execute("UPDATE registry_reviews SET due = $1 WHERE kind = 'blob'", args![due]).await.map(|_| ())
        })
    })
    .await
}

/// The names of all files that rows know: those of large blobs, and of uploads under way.
pub async fn files(db: &Db) -> Result<Vec<String>, DbError> {
    let most = i64::try_from(seaworthy_store::limit::SMALL_BLOB_BYTES).unwrap_or(i64::MAX);
    let id = |row: &Row, at: usize| {
        let id = row.bytes_opt(at)?.map(UploadId::from_bytes).transpose();
        id.map_err(|_| row.wrong(at, "an id"))
    };
    let sql = "SELECT digest, copy FROM registry_blobs WHERE size > $1";
    let mut names = Vec::new();
    for row in db.fetch_all(sql, args![most]).await? {
        let digest: Digest = row.parsed(0)?;
        let upload = id(&row, 1)?.map(|upload| format!(".{upload}")).unwrap_or_default();
        names.push(format!("{}{upload}", digest.hex()));
    }
    for row in db.fetch_all("SELECT id FROM registry_uploads", args![]).await? {
        names.extend(id(&row, 0)?.map(|id| id.to_string()));
    }
    Ok(names)
}

/// How many blobs there are.
pub async fn count_blobs(db: &Db) -> Result<u64, DbError> {
    let row = db.fetch_optional("SELECT COUNT(*) FROM registry_blobs", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}
