//! Upload sessions.

use seaworthy_model::{Timestamp, UploadId};
use seaworthy_oci::RepoName;
use seaworthy_store::{Db, DbError, Row, Tx, UploadState, args};

use crate::limit;

/// An upload session.
#[derive(Clone, Debug)]
pub(crate) struct UploadRow {
    pub(crate) state: UploadState,
    pub(crate) version: i64,
}

pub(crate) async fn count_uploads(tx: &mut Tx<'_>, principal: &str) -> Result<i64, DbError> {
    let row = tx
        .fetch_optional("SELECT COUNT(*) FROM registry_uploads WHERE principal = $1", args![principal])
        .await?;
    row.map_or(Ok(0), |row| row.int(0))
}

pub(crate) async fn insert_upload(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    principal: &str,
    state: &UploadState,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_uploads (id, repository, principal, received, hash_state, version, expires_at, boot)
         VALUES ($1, $2, $3, $4, $5, 1, $6, $7)",
        args![
            state.id.as_bytes(),
            repository.as_str(),
            principal,
            state.offset,
            &state.hash_state,
            expires_at.as_micros(),
            &state.boot,
        ],
    )
    .await
    .map(|_| ())
}

/// The session `id` of this repository and principal; anybody else's is not there.
pub(crate) async fn upload(
    db: &Db,
    repository: &RepoName,
    principal: &str,
    id: UploadId,
) -> Result<Option<UploadRow>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT received, hash_state, version, COALESCE(boot, '') FROM registry_uploads
             WHERE id = $1 AND repository = $2 AND principal = $3 AND expires_at > $4",
            args![id.as_bytes(), repository.as_str(), principal, db.now().as_micros()],
        )
        .await?;
    row.map(|row| {
        let boot = row.text(3)?.to_owned();
        let state = UploadState { id, offset: row.count(0)?, hash_state: row.bytes(1)?.to_vec(), boot };
        Ok(UploadRow { state, version: row.int(2)? })
    })
    .transpose()
}

/// Stores the progress of a session if nobody else made any; false when somebody did.
pub(crate) async fn advance_upload(
    tx: &mut Tx<'_>,
    state: &UploadState,
    version: i64,
    expires_at: Timestamp,
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_uploads SET received = $1, hash_state = $2, version = version + 1, expires_at = $3, boot = $6
             WHERE id = $4 AND version = $5",
            args![
                state.offset,
                &state.hash_state,
                expires_at.as_micros(),
                state.id.as_bytes(),
                version,
                &state.boot,
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// How often a session went on.
pub(crate) async fn upload_version(tx: &mut Tx<'_>, id: UploadId) -> Result<Option<i64>, DbError> {
    let sql = "SELECT version FROM registry_uploads WHERE id = $1";
    tx.fetch_optional(sql, args![id.as_bytes()]).await?.map(|row| row.int(0)).transpose()
}

pub(crate) async fn delete_upload(tx: &mut Tx<'_>, id: UploadId) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM registry_uploads WHERE id = $1", args![id.as_bytes()]).await? == 1)
}

/// Deletes a session that still expires at `expires`.
pub(crate) async fn delete_upload_unchanged(
    tx: &mut Tx<'_>,
    id: UploadId,
    expires: Timestamp,
) -> Result<bool, DbError> {
    let sql = "DELETE FROM registry_uploads WHERE id = $1 AND expires_at = $2";
    Ok(tx.execute(sql, args![id.as_bytes(), expires.as_micros()]).await? == 1)
}

/// Sessions that are over, and since when.
pub(crate) async fn expired_uploads(db: &Db) -> Result<Vec<(UploadId, Timestamp)>, DbError> {
    let sql = "SELECT id, expires_at FROM registry_uploads WHERE expires_at <= $1";
    let rows = db.fetch_all(sql, args![db.now().as_micros()]).await?;
    rows.iter().map(read_expiry).collect()
}

fn read_expiry(row: &Row) -> Result<(UploadId, Timestamp), DbError> {
    Ok((read_upload_id(row)?, Timestamp::from_micros(row.int(1)?)))
}

/// Uploads of a principal and when they expire: those first that were left alone longest.
pub(crate) async fn oldest_uploads(db: &Db, principal: &str) -> Result<Vec<(UploadId, Timestamp)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT id, expires_at FROM registry_uploads WHERE principal = $1 ORDER BY expires_at LIMIT $2",
            args![principal, limit::UPLOADS_PER_PRINCIPAL],
        )
        .await?;
    rows.iter().map(read_expiry).collect()
}

pub(crate) async fn upload_exists(db: &Db, id: UploadId) -> Result<bool, DbError> {
    let row = db.fetch_optional("SELECT 1 FROM registry_uploads WHERE id = $1", args![id.as_bytes()]).await?;
    Ok(row.is_some())
}

fn read_upload_id(row: &Row) -> Result<UploadId, DbError> {
    UploadId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))
}
