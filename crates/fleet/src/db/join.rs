//! The SQL of invitations and certificates.

use seaworthy_model::{HostId, Timestamp};
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Table},
};

use crate::join::{Hash, Invitation};

pub(super) const INVITATIONS: Table = Table {
    name: "fleet_invitations",
    columns: &[
        // SHA-256 of the secret.
        Column::bytes("secret"),
        Column::text("name").optional(),
        Column::text("invited_by"),
        Column::int("made_at"),
        Column::int("expires_at"),
        // The key that used it, and the host that it became.
        Column::bytes("used_by").optional(),
        Column::bytes("host").optional(),
    ],
    primary_key: &["secret"],
    indexes: &[Index::on(&["expires_at"])],
};

pub(super) const CERTIFICATES: Table = Table {
    name: "fleet_certificates",
    columns: &[Column::bytes("certificate"), Column::bytes("host")],
    primary_key: &["certificate"],
    indexes: &[Index::on(&["host"])],
};

/// An invitation that is open, or was used and would still be.
pub(crate) struct Found {
    pub(crate) name: Option<String>,
    pub(crate) by: String,
    pub(crate) used: Option<(Hash, HostId)>,
}

pub(crate) async fn count_open(tx: &mut Tx<'_>, now: Timestamp) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM fleet_invitations WHERE expires_at > $1 AND host IS NULL";
    tx.fetch_optional(sql, args![now.as_micros()]).await?.map_or(Ok(0), |row| row.count(0))
}

pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    invitation: &Invitation,
    by: &str,
    (now, until): (Timestamp, Timestamp),
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO fleet_invitations (secret, name, invited_by, made_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        args![
            invitation.secret.as_slice(),
            invitation.name.as_deref(),
            by,
            now.as_micros(),
            until.as_micros()
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn open(db: &Db, secret: &Hash, now: Timestamp) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM fleet_invitations WHERE secret = $1 AND expires_at > $2";
    Ok(db.fetch_optional(sql, args![secret.as_slice(), now.as_micros()]).await?.is_some())
}

pub(crate) async fn find(tx: &mut Tx<'_>, secret: &Hash, now: Timestamp) -> Result<Option<Found>, DbError> {
    let sql = "SELECT name, invited_by, used_by, host FROM fleet_invitations
               WHERE secret = $1 AND expires_at > $2";
    let row = tx.fetch_optional(sql, args![secret.as_slice(), now.as_micros()]).await?;
    let Some(row) = row else { return Ok(None) };
    let used = match row.bytes_opt(2)? {
        None => None,
        Some(key) => {
            let key: Hash = key.try_into().map_err(|_| row.wrong(2, "a hash"))?;
            Some((key, super::host_id(&row, 3)?))
        }
    };
    Ok(Some(Found { name: row.text_opt(0)?.map(str::to_owned), by: row.text(1)?.to_owned(), used }))
}

pub(crate) async fn set_used(
    tx: &mut Tx<'_>,
    secret: &Hash,
    (key, host): (&Hash, HostId),
) -> Result<(), DbError> {
    let sql = "UPDATE fleet_invitations SET used_by = $2, host = $3 WHERE secret = $1";
    tx.execute(sql, args![secret.as_slice(), key.as_slice(), host.as_bytes()]).await.map(drop)
}

pub(crate) async fn forget_expired(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, DbError> {
    tx.execute("DELETE FROM fleet_invitations WHERE expires_at < $1", args![before.as_micros()]).await
}

/// One certificate for each host: the newest.
pub(crate) async fn certify(tx: &mut Tx<'_>, host: HostId, certificate: &Hash) -> Result<(), DbError> {
    tx.execute("DELETE FROM fleet_certificates WHERE host = $1", args![host.as_bytes()]).await?;
    // A host that was removed meanwhile gets none.
    let sql =
        "INSERT INTO fleet_certificates (certificate, host) SELECT $1, id FROM fleet_hosts WHERE id = $2";
    tx.execute(sql, args![certificate.as_slice(), host.as_bytes()]).await.map(drop)
}

pub(crate) async fn certified(db: &Db, certificate: &Hash) -> Result<Option<HostId>, DbError> {
    let sql = "SELECT host FROM fleet_certificates WHERE certificate = $1";
    let row: Option<Row> = db.fetch_optional(sql, args![certificate.as_slice()]).await?;
    row.map(|row| super::host_id(&row, 0)).transpose()
}

pub(crate) async fn unread(db: &Db, host: HostId) -> Result<Vec<String>, DbError> {
    let sql = "SELECT DISTINCT image_id FROM fleet_containers
               WHERE host = $1 AND presence IN ('live', 'stopped') AND reason = 'never-pushed'
               ORDER BY image_id LIMIT $2";
    let most = i64::try_from(seaworthy_link::limit::UNREAD).unwrap_or(i64::MAX);
    let rows = db.fetch_all(sql, args![host.as_bytes(), most]).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}
