//! The SQL of scope maps and tokens.

use seaworthy_model::PrincipalId;
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Migration, Step, Table},
};

use crate::ScopeMap;

/// Tokens: principals with a scope map instead of roles.
pub(crate) const MIGRATION: Migration = Migration {
    id: 3,
    steps: &[
        Step::Create(Table {
            name: "access_scope_maps",
            // Actions: a JSON list.
            columns: &[Column::text("name"), Column::text("description"), Column::text("actions")],
            primary_key: &["name"],
            indexes: &[],
        }),
        // NULL: it has roles.
        Step::AddColumn("access_principals", Column::text("scope_map").optional()),
    ],
};

pub(crate) async fn all(db: &Db) -> Result<Vec<ScopeMap>, DbError> {
    let rows = db.fetch_all("SELECT name, description, actions FROM access_scope_maps", args![]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<ScopeMap, DbError> {
    Ok(ScopeMap {
        name: row.text(0)?.to_owned(),
        description: row.text(1)?.to_owned(),
        actions: row.json(2)?,
        built_in: false,
    })
}

/// Sets a map; whoever has it must not go on with a token from before.
pub(crate) async fn upsert(tx: &mut Tx<'_>, map: &ScopeMap) -> Result<(), DbError> {
    let actions = serde_json::to_string(&map.actions).unwrap_or_default();
    tx.execute(
        "INSERT INTO access_scope_maps (name, description, actions) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET description = $2, actions = $3",
        args![&map.name, &map.description, &actions],
    )
    .await?;
    let sql = "UPDATE access_principals SET epoch = epoch + 1 WHERE scope_map = $1";
    tx.execute(sql, args![&map.name]).await.map(|_| ())
}

pub(crate) async fn count(tx: &mut Tx<'_>) -> Result<usize, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM access_scope_maps", args![]).await?;
    row.map_or(Ok(0), |row| Ok(usize::try_from(row.int(0)?).unwrap_or(usize::MAX)))
}

/// A token that has the map.
pub(crate) async fn holder(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>, DbError> {
    let sql = "SELECT name FROM access_principals WHERE scope_map = $1 ORDER BY name LIMIT 1";
    let row = tx.fetch_optional(sql, args![name]).await?;
    row.map(|row| row.text(0).map(str::to_owned)).transpose()
}

pub(crate) async fn exists(tx: &mut Tx<'_>, name: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM access_scope_maps WHERE name = $1";
    Ok(tx.fetch_optional(sql, args![name]).await?.is_some())
}

pub(crate) async fn delete(tx: &mut Tx<'_>, name: &str) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM access_scope_maps WHERE name = $1", args![name]).await? == 1)
}

pub(crate) async fn give(tx: &mut Tx<'_>, token: PrincipalId, map: &str) -> Result<(), DbError> {
    let sql = "UPDATE access_principals SET scope_map = $2 WHERE id = $1";
    tx.execute(sql, args![token.as_bytes(), map]).await.map(|_| ())
}
