//! Links, passwords and sessions.

use seaworthy_model::{PrincipalId, Timestamp};
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, Step, Table},
};

use crate::{Session, limit, password::StoredPassword, sign_in::Purpose};

pub(crate) const MIGRATION: Migration = Migration {
    id: 2,
    steps: &[
        // One per principal: a newer link makes the older one void.
        Step::Create(Table {
            name: "access_links",
            columns: &[
                Column::bytes("principal"),
                Column::bytes("hash"),
                Column::text("purpose"),
                Column::int("created_at"),
                Column::int("expires_at"),
            ],
            primary_key: &["principal"],
            indexes: &[Index::unique(&["hash"]), Index::on(&["expires_at"])],
        }),
        Step::Create(Table {
            name: "access_passwords",
            columns: &[
                Column::bytes("principal"),
                Column::text("scheme"),
                Column::bytes("salt"),
                Column::bytes("hash"),
                Column::int("set_at"),
            ],
            primary_key: &["principal"],
            indexes: &[],
        }),
        Step::Create(Table {
            name: "access_sessions",
            columns: &[
                Column::bytes("hash"),
                Column::bytes("principal"),
                Column::int("epoch"),
                Column::int("began_at"),
                Column::int("used_at"),
                Column::int("expires_at"),
            ],
            primary_key: &["hash"],
            indexes: &[Index::on(&["principal", "began_at"]), Index::on(&["expires_at"])],
        }),
    ],
};

/// The principal of a name that nobody has: reading its password costs what any other does.
pub(crate) const NOBODY: PrincipalId = PrincipalId::from_u128(0);

/// A link, as stored.
#[derive(Clone, Debug)]
pub(crate) struct LinkRow {
    pub(crate) principal: PrincipalId,
    pub(crate) purpose: Purpose,
    pub(crate) expires_at: Timestamp,
}

pub(crate) async fn link(db: &Db, hash: &[u8]) -> Result<Option<LinkRow>, DbError> {
    let sql = "SELECT principal, purpose, expires_at FROM access_links WHERE hash = $1";
    let row = db.fetch_optional(sql, args![hash]).await?;
    row.map(|row| {
        Ok(LinkRow {
            principal: principal_at(&row, 0)?,
            purpose: row.parsed(1)?,
            expires_at: Timestamp::from_micros(row.int(2)?),
        })
    })
    .transpose()
}

pub(crate) async fn replace_link(
    tx: &mut Tx<'_>,
    hash: &[u8],
    it: &LinkRow,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO access_links (principal, hash, purpose, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (principal) DO UPDATE SET hash = $2, purpose = $3, created_at = $4, expires_at = $5",
        args![it.principal.as_bytes(), hash, it.purpose.word(), now.as_micros(), it.expires_at.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Uses a link up; false when it is none any more. Of two at the same time one gets true.
pub(crate) async fn take_link(tx: &mut Tx<'_>, hash: &[u8], now: Timestamp) -> Result<bool, DbError> {
    let sql = "DELETE FROM access_links WHERE hash = $1 AND expires_at > $2";
    Ok(tx.execute(sql, args![hash, now.as_micros()]).await? == 1)
}

const PASSWORD: &str = "SELECT scheme, salt, hash FROM access_passwords WHERE principal = $1";

pub(crate) async fn password(db: &Db, principal: PrincipalId) -> Result<Option<StoredPassword>, DbError> {
    let row = db.fetch_optional(PASSWORD, args![principal.as_bytes()]).await?;
    row.as_ref().map(read_password).transpose()
}

pub(crate) async fn password_in(
    tx: &mut Tx<'_>,
    principal: PrincipalId,
) -> Result<Option<StoredPassword>, DbError> {
    let row = tx.fetch_optional(PASSWORD, args![principal.as_bytes()]).await?;
    row.as_ref().map(read_password).transpose()
}

fn read_password(row: &Row) -> Result<StoredPassword, DbError> {
    Ok(StoredPassword {
        scheme: row.text(0)?.to_owned(),
        salt: row.bytes(1)?.to_vec(),
        hash: row.bytes(2)?.to_vec(),
    })
}

pub(crate) async fn set_password(
    tx: &mut Tx<'_>,
    principal: PrincipalId,
    it: &StoredPassword,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO access_passwords (principal, scheme, salt, hash, set_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (principal) DO UPDATE SET scheme = $2, salt = $3, hash = $4, set_at = $5",
        args![principal.as_bytes(), &it.scheme, &it.salt, &it.hash, now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// When a principal's password was set, and how many sessions hold.
pub(crate) async fn standing(
    db: &Db,
    principal: PrincipalId,
    now: Timestamp,
) -> Result<(Option<Timestamp>, u64), DbError> {
    let id = principal.as_bytes();
    let set =
        db.fetch_optional("SELECT set_at FROM access_passwords WHERE principal = $1", args![id]).await?;
    let idle = now.plus_seconds(-limit::SESSION_IDLE_SECONDS);
    let sessions = db
        .fetch_optional(
            "SELECT COUNT(*) FROM access_sessions WHERE principal = $1 AND expires_at > $2 AND used_at > $3
                AND epoch = (SELECT epoch FROM access_principals WHERE id = $1)",
            args![id, now.as_micros(), idle.as_micros()],
        )
        .await?;
    let set = set.map(|row| row.int(0)).transpose()?.map(Timestamp::from_micros);
    Ok((set, sessions.map_or(Ok(0), |row| row.count(0))?))
}

pub(crate) async fn session(db: &Db, hash: &[u8]) -> Result<Option<Session>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT principal, epoch, began_at, used_at, expires_at FROM access_sessions WHERE hash = $1",
            args![hash],
        )
        .await?;
    row.map(|row| {
        Ok(Session {
            hash: hash.to_vec(),
            principal: principal_at(&row, 0)?,
            epoch: row.int(1)?,
            proved_at: Timestamp::from_micros(row.int(2)?),
            used_at: Timestamp::from_micros(row.int(3)?),
            expires_at: Timestamp::from_micros(row.int(4)?),
        })
    })
    .transpose()
}

/// Makes room for one more session of a principal, and stores it.
pub(crate) async fn insert_session(tx: &mut Tx<'_>, it: &Session) -> Result<(), DbError> {
    let id = it.principal.as_bytes();
    tx.execute(
        "DELETE FROM access_sessions WHERE principal = $1 AND (expires_at <= $2 OR epoch <> $3)",
        args![id, it.proved_at.as_micros(), it.epoch],
    )
    .await?;
    let rows = tx
        .fetch_all(
            "SELECT hash FROM access_sessions WHERE principal = $1 ORDER BY began_at DESC, hash",
            args![id],
        )
        .await?;
    for row in rows.iter().skip(limit::SESSIONS - 1) {
        delete_session(tx, row.bytes(0)?).await?;
    }
    tx.execute(
        "INSERT INTO access_sessions (hash, principal, epoch, began_at, used_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![
            &it.hash,
            id,
            it.epoch,
            it.proved_at.as_micros(),
            it.used_at.as_micros(),
            it.expires_at.as_micros(),
        ],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn touch_session(tx: &mut Tx<'_>, hash: &[u8], now: Timestamp) -> Result<(), DbError> {
    tx.execute(
        "UPDATE access_sessions SET used_at = $2 WHERE hash = $1 AND used_at < $2",
        args![hash, now.as_micros()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn delete_session(tx: &mut Tx<'_>, hash: &[u8]) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM access_sessions WHERE hash = $1", args![hash]).await? == 1)
}

/// Epoch of a principal that may sign in; `None` when it is gone or disabled.
pub(crate) async fn active_epoch(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<Option<i64>, DbError> {
    let sql = "SELECT epoch FROM access_principals WHERE id = $1 AND disabled = 0";
    let row = tx.fetch_optional(sql, args![principal.as_bytes()]).await?;
    row.map(|row| row.int(0)).transpose()
}

/// Ends every session and the link of a principal.
pub(crate) async fn end_all(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<(), DbError> {
    let id = principal.as_bytes();
    tx.execute("DELETE FROM access_sessions WHERE principal = $1", args![id]).await?;
    tx.execute("DELETE FROM access_links WHERE principal = $1", args![id]).await.map(|_| ())
}

/// Everything of a principal that is deleted.
pub(crate) async fn forget(tx: &mut Tx<'_>, principal: PrincipalId) -> Result<(), DbError> {
    end_all(tx, principal).await?;
    let sql = "DELETE FROM access_passwords WHERE principal = $1";
    tx.execute(sql, args![principal.as_bytes()]).await.map(|_| ())
}

/// Removes links and sessions whose time is over.
pub(crate) async fn sweep(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), DbError> {
    let now = now.as_micros();
    tx.execute("DELETE FROM access_links WHERE expires_at <= $1", args![now]).await?;
    tx.execute("DELETE FROM access_sessions WHERE expires_at <= $1", args![now]).await.map(|_| ())
}

fn principal_at(row: &Row, column: usize) -> Result<PrincipalId, DbError> {
    PrincipalId::from_bytes(row.bytes(column)?).map_err(|_| row.wrong(column, "an id"))
}
