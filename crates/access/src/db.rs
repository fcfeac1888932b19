//! The SQL of access.

pub(crate) mod people;
pub(crate) mod scope_maps;

use seaworthy_model::{CredentialId, PrincipalId, RoleAssignmentId, Timestamp};
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

use crate::{
    Assignment, Credential, Permission, Principal, Role, RoleId,
    snapshot::{Reach, Snapshot},
};

/// The tables of access.
pub const SCHEMA: RoomSchema =
    RoomSchema { room: "access", migrations: &[FIRST, people::MIGRATION, scope_maps::MIGRATION] };

const FIRST: Migration = Migration {
    id: 1,
    steps: &[
        Step::Create(Table {
            name: "access_principals",
            columns: &[
                Column::bytes("id"),
                Column::text("name"),
                Column::text("kind"),
                Column::int("disabled"),
                Column::int("epoch"),
                Column::int("created_at"),
            ],
            primary_key: &["id"],
            indexes: &[Index::unique(&["name"])],
        }),
        Step::Create(Table {
            name: "access_credentials",
            columns: &[
                Column::bytes("id"),
                Column::bytes("principal"),
                Column::text("kind"),
                Column::text("label"),
                Column::bytes("hash"),
                Column::int("created_at"),
                Column::int("expires_at").optional(),
            ],
            primary_key: &["id"],
            indexes: &[Index::on(&["principal"])],
        }),
        Step::Create(Table {
            name: "access_roles",
            columns: &[
                Column::bytes("id"),
                Column::text("name"),
                Column::text("description"),
                Column::text("permissions"),
            ],
            primary_key: &["id"],
            indexes: &[Index::unique(&["name"])],
        }),
        Step::Create(Table {
            name: "access_assignments",
            columns: &[
                Column::bytes("id"),
                Column::bytes("principal"),
                Column::bytes("role"),
                Column::text("scope"),
                Column::int("created_at"),
            ],
            primary_key: &["id"],
            indexes: &[Index::unique(&["principal", "role", "scope"])],
        }),
        Step::Create(Table {
            name: "access_revision",
            columns: &[Column::text("name"), Column::int("revision")],
            primary_key: &["name"],
            indexes: &[],
        }),
        Step::Sql("INSERT INTO access_revision (name, revision) VALUES ('access', 1)"),
    ],
};

/// The table that every change of principals, rights and credentials touches ([`bump`]).
pub(crate) const REVISED_BY: &[&str] = &["access_revision"];

pub(crate) async fn revision(db: &Db) -> Result<i64, DbError> {
    let row =
        db.fetch_optional("SELECT revision FROM access_revision WHERE name = 'access'", args![]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// Everything but credentials. The revision is read first: a change in between makes the
/// snapshot newer than it says, never older.
pub(crate) async fn snapshot(db: &Db) -> Result<Snapshot, DbError> {
    let revision = revision(db).await?;
    let principals = db
        .fetch_all(
            "SELECT id, name, kind, disabled, epoch, created_at, scope_map FROM access_principals",
            args![],
        )
        .await?;
    let roles = db.fetch_all("SELECT id, name, description, permissions FROM access_roles", args![]).await?;
    let assignments = db
        .fetch_all("SELECT id, principal, role, scope, created_at FROM access_assignments", args![])
        .await?;
    Ok(Snapshot::new(
        revision,
        principals.iter().map(read_principal).collect::<Result<_, _>>()?,
        roles.iter().map(read_role).collect::<Result<_, _>>()?,
        assignments.iter().map(read_assignment).collect::<Result<_, _>>()?,
        scope_maps::all(db).await?,
    ))
}

pub(crate) async fn credentials(db: &Db, principal: PrincipalId) -> Result<Vec<Credential>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT id, principal, kind, label, hash, created_at, expires_at FROM access_credentials
             WHERE principal = $1 ORDER BY id",
            args![principal.as_bytes()],
        )
        .await?;
    rows.iter().map(read_credential).collect()
}

fn read_principal(row: &Row) -> Result<Principal, DbError> {
    Ok(Principal {
        id: PrincipalId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))?,
        name: row.parsed(1)?,
        kind: row.parsed(2)?,
        disabled: row.int(3)? != 0,
        epoch: row.int(4)?,
        created_at: Timestamp::from_micros(row.int(5)?),
        scope_map: row.text_opt(6)?.map(str::to_owned),
    })
}

fn read_role(row: &Row) -> Result<Role, DbError> {
    Ok(Role {
        id: RoleId::from_bytes(row.bytes(0)?).ok_or_else(|| row.wrong(0, "an id"))?,
        name: row.text(1)?.to_owned(),
        description: row.text(2)?.to_owned(),
        permissions: row.json::<Vec<Permission>>(3)?,
        built_in: false,
    })
}

fn read_assignment(row: &Row) -> Result<Assignment, DbError> {
    Ok(Assignment {
        id: RoleAssignmentId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))?,
        principal: PrincipalId::from_bytes(row.bytes(1)?).map_err(|_| row.wrong(1, "an id"))?,
        role: String::new(),
        role_id: RoleId::from_bytes(row.bytes(2)?).ok_or_else(|| row.wrong(2, "an id"))?,
        scope: row.parsed(3)?,
        reach: Reach::Within,
        created_at: Timestamp::from_micros(row.int(4)?),
    })
}

fn read_credential(row: &Row) -> Result<Credential, DbError> {
    Ok(Credential {
        id: CredentialId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))?,
        principal: PrincipalId::from_bytes(row.bytes(1)?).map_err(|_| row.wrong(1, "an id"))?,
        kind: row.parsed(2)?,
        label: row.text(3)?.to_owned(),
        hash: row.bytes(4)?.to_vec(),
        created_at: Timestamp::from_micros(row.int(5)?),
        expires_at: row.int_opt(6)?.map(Timestamp::from_micros),
    })
}

/// Makes every token issued so far to `principal` invalid, and tells replicas to look again.
pub(crate) async fn bump(tx: &mut Tx<'_>, principal: Option<PrincipalId>) -> Result<(), DbError> {
    if let Some(principal) = principal {
        tx.execute(
            "UPDATE access_principals SET epoch = epoch + 1 WHERE id = $1",
            args![principal.as_bytes()],
        )
        .await?;
    }
    tx.execute("UPDATE access_revision SET revision = revision + 1 WHERE name = 'access'", args![]).await?;
    Ok(())
}

pub(crate) async fn insert_principal(tx: &mut Tx<'_>, it: &Principal) -> Result<bool, DbError> {
    let inserted = tx
        .execute(
            "INSERT INTO access_principals (id, name, kind, disabled, epoch, created_at, scope_map)
             VALUES ($1, $2, $3, 0, 1, $4, $5) ON CONFLICT (name) DO NOTHING",
            args![
                it.id.as_bytes(),
                it.name.as_str(),
                it.kind.word(),
                it.created_at.as_micros(),
                it.scope_map.as_deref(),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

pub(crate) async fn insert_credential(tx: &mut Tx<'_>, it: &Credential) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO access_credentials (id, principal, kind, label, hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            it.id.as_bytes(),
            it.principal.as_bytes(),
            it.kind.word(),
            &it.label,
            &it.hash,
            it.created_at.as_micros(),
            it.expires_at.map(Timestamp::as_micros),
        ],
    )
    .await
    .map(|_| ())
}

/// Live credentials of one kind, oldest first; ended ones are removed on the way.
pub(crate) async fn live_credentials(
    tx: &mut Tx<'_>,
    principal: PrincipalId,
    kind: &'static str,
    now: Timestamp,
) -> Result<Vec<CredentialId>, DbError> {
    tx.execute(
        "DELETE FROM access_credentials WHERE principal = $1 AND kind = $2 AND expires_at <= $3",
        args![principal.as_bytes(), kind, now.as_micros()],
    )
    .await?;
    let rows = tx
        .fetch_all(
            "SELECT id FROM access_credentials WHERE principal = $1 AND kind = $2 ORDER BY id",
            args![principal.as_bytes(), kind],
        )
        .await?;
    rows.iter()
        .map(|row| CredentialId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id")))
        .collect()
}

pub(crate) async fn delete_credential(
    tx: &mut Tx<'_>,
    principal: PrincipalId,
    id: CredentialId,
) -> Result<bool, DbError> {
    let deleted = tx
        .execute(
            "DELETE FROM access_credentials WHERE id = $1 AND principal = $2",
            args![id.as_bytes(), principal.as_bytes()],
        )
        .await?;
    Ok(deleted == 1)
}

pub(crate) async fn insert_assignment(tx: &mut Tx<'_>, it: &Assignment) -> Result<bool, DbError> {
    let inserted = tx
        .execute(
            "INSERT INTO access_assignments (id, principal, role, scope, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (principal, role, scope) DO NOTHING",
            args![
                it.id.as_bytes(),
                it.principal.as_bytes(),
                it.role_id.as_bytes(),
                it.scope.as_str(),
                it.created_at.as_micros(),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

pub(crate) async fn delete_assignment(
    tx: &mut Tx<'_>,
    principal: PrincipalId,
    role: RoleId,
    scope: &str,
) -> Result<bool, DbError> {
    let deleted = tx
        .execute(
            "DELETE FROM access_assignments WHERE principal = $1 AND role = $2 AND scope = $3",
            args![principal.as_bytes(), role.as_bytes(), scope],
        )
        .await?;
    Ok(deleted == 1)
}

pub(crate) async fn disable_principal(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<(), DbError> {
    tx.execute("UPDATE access_principals SET disabled = 1 WHERE id = $1", args![principal.as_bytes()])
        .await?;
    people::end_all(tx, principal).await
}

pub(crate) async fn enable_principal(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<(), DbError> {
    let sql = "UPDATE access_principals SET disabled = 0 WHERE id = $1";
    tx.execute(sql, args![principal.as_bytes()]).await.map(|_| ())
}

/// Deletes a principal with all it has.
pub(crate) async fn delete_principal(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<(), DbError> {
    people::forget(tx, principal).await?;
    let id = principal.as_bytes();
    tx.execute("DELETE FROM access_assignments WHERE principal = $1", args![id]).await?;
    tx.execute("DELETE FROM access_credentials WHERE principal = $1", args![id]).await?;
    tx.execute("DELETE FROM access_principals WHERE id = $1", args![id]).await?;
    Ok(())
}

pub(crate) async fn count_assignments(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<usize, DbError> {
    let sql = "SELECT COUNT(*) FROM access_assignments WHERE principal = $1";
    let row = tx.fetch_optional(sql, args![principal.as_bytes()]).await?;
    row.map_or(Ok(0), |row| Ok(usize::try_from(row.int(0)?).unwrap_or(usize::MAX)))
}

/// The names of custom roles, of which there are at most [`crate::limit::ROLES`].
pub(crate) async fn custom_roles(tx: &mut Tx<'_>) -> Result<Vec<(RoleId, String)>, DbError> {
    let rows = tx.fetch_all("SELECT id, name FROM access_roles", args![]).await?;
    rows.iter()
        .map(|row| {
            let id = RoleId::from_bytes(row.bytes(0)?).ok_or_else(|| row.wrong(0, "an id"))?;
            Ok((id, row.text(1)?.to_owned()))
        })
        .collect()
}

/// Custom roles.
pub(crate) async fn count_roles(tx: &mut Tx<'_>) -> Result<usize, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM access_roles", args![]).await?;
    row.map_or(Ok(0), |row| Ok(usize::try_from(row.int(0)?).unwrap_or(usize::MAX)))
}

pub(crate) async fn upsert_role(tx: &mut Tx<'_>, role: &Role) -> Result<(), DbError> {
    let permissions = serde_json::to_string(&role.permissions).unwrap_or_default();
    tx.execute(
        "INSERT INTO access_roles (id, name, description, permissions) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET description = $3, permissions = $4",
        args![role.id.as_bytes(), &role.name, &role.description, &permissions],
    )
    .await?;
    // Whoever holds the role must not go on with a token from before.
    tx.execute(
        "UPDATE access_principals SET epoch = epoch + 1 WHERE id IN
             (SELECT principal FROM access_assignments WHERE role IN
                 (SELECT id FROM access_roles WHERE name = $1))",
        args![&role.name],
    )
    .await
    .map(|_| ())
}
