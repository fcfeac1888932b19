use seaworthy_model::Secret;
use seaworthy_store::{
    Db, DbError, args,
    schema::{Column, Migration, RoomSchema, Step, Table},
};

use crate::{Seal, SealError};

/// Sealed values that all replicas share.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "seal",
    migrations: &[Migration {
        id: 1,
        steps: &[Step::Create(Table {
            name: "seal_items",
            columns: &[Column::text("name"), Column::bytes("envelope")],
            primary_key: &["name"],
            indexes: &[],
        })],
    }],
};

/// The sealed value `name`, made by `generate` when no replica has made it yet.
pub async fn sealed_item(
    db: &Db,
    seal: &Seal,
    name: &'static str,
    generate: impl FnOnce() -> Result<Vec<u8>, SealError>,
) -> Result<Secret<Vec<u8>>, SealError> {
    if let Some(envelope) = read(db, name).await? {
        return seal.unwrap(name, &envelope);
    }
    let envelope = seal.wrap(name, &generate()?)?;
    db.upkeep(envelope, move |envelope, tx| {
        Box::pin(async move {
            let sql = "INSERT INTO seal_items (name, envelope) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
            tx.execute(sql, args![name, envelope]).await.map(|_| ())
        })
    })
    .await
    .map_err(|error: DbError| SealError::Db(error))?;
    // Read back: when two made one at once, both use the one that is stored.
    let stored = read(db, name).await?.ok_or_else(|| SealError::Damaged { what: name.into() })?;
    seal.unwrap(name, &stored)
}

async fn read(db: &Db, name: &str) -> Result<Option<Vec<u8>>, DbError> {
    let row = db.fetch_optional("SELECT envelope FROM seal_items WHERE name = $1", args![name]).await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}
