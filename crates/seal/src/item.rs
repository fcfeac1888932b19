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
    if let Some(item) = existing_item(db, seal, name).await? {
        return Ok(item);
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
    existing_item(db, seal, name).await?.ok_or_else(|| SealError::Damaged { what: name.into() })
}

/// The sealed value `name`, when a replica has made it.
pub async fn existing_item(
    db: &Db,
    seal: &Seal,
    name: &'static str,
) -> Result<Option<Secret<Vec<u8>>>, SealError> {
    let row = db.fetch_optional("SELECT envelope FROM seal_items WHERE name = $1", args![name]).await?;
    row.map(|row| seal.unwrap(name, row.bytes(0)?)).transpose()
}
