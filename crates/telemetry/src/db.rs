//! The SQL of telemetry.

pub(crate) mod messages;

use std::collections::BTreeMap;

use seaworthy_model::{AlertId, AlertTargetId, Timestamp};
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

use crate::{Alert, Counts, Format, NewTarget, Target, TargetHealth, TargetKind, Wanted, limit};

/// The tables of telemetry.
pub const SCHEMA: RoomSchema = RoomSchema { room: "telemetry", migrations: &[FIRST, ACTS] };

/// Targets are told of acts of the registry, too, in the format that they ask for.
const ACTS: Migration = Migration {
    id: 2,
    steps: &[
        // A JSON list.
        Step::AddColumn("telemetry_targets", Column::text("repositories").optional()),
        // `acr`; NULL: a CloudEvent.
        Step::AddColumn("telemetry_targets", Column::text("format").optional()),
        // How far the ledger was read: one row, and none when nobody is told of acts.
        Step::Create(Table {
            name: "telemetry_followed",
            columns: &[Column::text("name"), Column::int("next")],
            primary_key: &["name"],
            indexes: &[],
        }),
    ],
};

const FIRST: Migration = Migration {
    id: 1,
    steps: &[
        Step::Create(Table {
            name: "telemetry_alerts",
            columns: &[Column::bytes("id"), Column::int("at"), Column::text("kind"), Column::text("body")],
            primary_key: &["id"],
            indexes: &[Index::on(&["at"])],
        }),
        Step::Create(Table {
            name: "telemetry_targets",
            columns: &[
                Column::bytes("id"),
                Column::text("name"),
                Column::text("kind"),
                Column::text("shown"),
                Column::bytes("sealed"),
                // JSON lists.
                Column::text("events"),
                Column::text("networks"),
                Column::int("created_at"),
                Column::text("created_by"),
                Column::int("dropped"),
                Column::int("delivered"),
                Column::int("delivered_at").optional(),
                Column::int("failed_at").optional(),
                Column::text("failure").optional(),
            ],
            primary_key: &["id"],
            indexes: &[Index::unique(&["name"])],
        }),
        // One alert or summary for one target. Claimed by moving `due_at`, fenced by `epoch`.
        Step::Create(Table {
            name: "telemetry_messages",
            columns: &[
                Column::bytes("id"),
                Column::bytes("target"),
                Column::text("state"),
                Column::text("kind"),
                Column::text("body"),
                Column::int("created_at"),
                Column::int("due_at"),
                Column::int("give_up_at"),
                Column::int("attempts"),
                Column::int("epoch"),
                Column::text("failure").optional(),
            ],
            primary_key: &["id"],
            indexes: &[Index::on(&["target", "state", "due_at"]), Index::on(&["state", "due_at"])],
        }),
    ],
};

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Held back for a summary.
    Gathering,
    /// To be sent, or sent again.
    Waiting,
    /// Given up.
    Dead,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Gathering => "gathering",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
        }
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) async fn insert_alert(tx: &mut Tx<'_>, alert: &Alert) -> Result<bool, DbError> {
    let sql = "INSERT INTO telemetry_alerts (id, at, kind, body) VALUES ($1, $2, $3, $4)
               ON CONFLICT (id) DO NOTHING";
    let body = json(alert);
    let args = args![alert.id.as_bytes(), alert.at.as_micros(), alert.kind.word(), &body];
    Ok(tx.execute(sql, args).await? == 1)
}

pub(crate) async fn alerts(db: &Db, after: Option<AlertId>, most: u32) -> Result<Vec<Alert>, DbError> {
    let after = after.unwrap_or(AlertId::from_u128(u128::MAX));
    let sql = "SELECT body FROM telemetry_alerts WHERE id < $1 ORDER BY id DESC LIMIT $2";
    db.fetch_all(sql, args![after.as_bytes(), most]).await?.iter().map(|row| row.json(0)).collect()
}

/// Removes alerts that are older, and of too many the oldest.
pub(crate) async fn forget_alerts(tx: &mut Tx<'_>, before: Timestamp) -> Result<(), DbError> {
    tx.execute("DELETE FROM telemetry_alerts WHERE at < $1", args![before.as_micros()]).await?;
    let sql = "DELETE FROM telemetry_alerts WHERE id <= (
                   SELECT id FROM telemetry_alerts ORDER BY id DESC LIMIT 1 OFFSET $1)";
    tx.execute(sql, args![limit::ALERTS]).await.map(|_| ())
}

pub(crate) async fn count_targets(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM telemetry_targets", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// False when the name is taken.
pub(crate) async fn insert_target(
    tx: &mut Tx<'_>,
    new: &NewTarget,
    (by, now): (&str, Timestamp),
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "INSERT INTO telemetry_targets
                 (id, name, kind, shown, sealed, events, networks, created_at, created_by, dropped, delivered,
                  repositories, format)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10, $11)
             ON CONFLICT (name) DO NOTHING",
            args![
                new.id.as_bytes(),
                &new.name,
                new.kind.word(),
                &new.shown,
                &new.sealed,
                &json(&new.events),
                &json(&new.networks),
                now.as_micros(),
                by,
                &json(&new.repositories),
                (new.format == Format::Acr).then_some("acr"),
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// All targets by name, with how many messages wait for each and were given up.
pub(crate) async fn targets(db: &Db) -> Result<Vec<Target>, DbError> {
    let mut counts: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
    let sql = "SELECT target, state, COUNT(*) FROM telemetry_messages GROUP BY target, state";
    for row in db.fetch_all(sql, args![]).await? {
        let (waiting, dead) = counts.entry(row.bytes(0)?.to_vec()).or_default();
        let count = if row.text(1)? == State::Dead.word() { dead } else { waiting };
        *count += row.count(2)?;
    }
    let rows = db
        .fetch_all(
            "SELECT id, name, kind, shown, sealed, events, networks, created_at, created_by, dropped, delivered,
                    delivered_at, failed_at, failure, COALESCE(repositories, '[]'), format
             FROM telemetry_targets ORDER BY name",
            args![],
        )
        .await?;
    rows.iter().map(|row| read_target(row, &counts)).collect()
}

fn read_target(row: &Row, counts: &BTreeMap<Vec<u8>, (u64, u64)>) -> Result<Target, DbError> {
    let (waiting, dead) = counts.get(row.bytes(0)?).copied().unwrap_or_default();
    let at = |column| Ok::<_, DbError>(row.int_opt(column)?.map(Timestamp::from_micros));
    Ok(Target {
        id: target_id(row, 0)?,
        name: row.text(1)?.to_owned(),
        kind: TargetKind::from_word(row.text(2)?).ok_or_else(|| row.wrong(2, "a kind of target"))?,
        address: row.text(3)?.to_owned(),
        sealed: row.bytes(4)?.to_vec(),
        events: row.json(5)?,
        repositories: row.json(14)?,
        format: if row.text_opt(15)? == Some("acr") { Format::Acr } else { Format::CloudEvents },
        networks: row.json(6)?,
        created_at: Timestamp::from_micros(row.int(7)?),
        created_by: row.text(8)?.to_owned(),
        health: TargetHealth {
            waiting,
            dead,
            dropped: row.count(9)?,
            delivered: row.count(10)?,
            delivered_at: at(11)?,
            failed_at: at(12)?,
            failure: row.text_opt(13)?.map(str::to_owned),
        },
    })
}

fn target_id(row: &Row, column: usize) -> Result<AlertTargetId, DbError> {
    AlertTargetId::from_bytes(row.bytes(column)?).map_err(|_| row.wrong(column, "an id"))
}

pub(crate) async fn delete_target(tx: &mut Tx<'_>, id: AlertTargetId) -> Result<bool, DbError> {
    tx.execute("DELETE FROM telemetry_messages WHERE target = $1", args![id.as_bytes()]).await?;
    let deleted = tx.execute("DELETE FROM telemetry_targets WHERE id = $1", args![id.as_bytes()]).await?;
    Ok(deleted == 1)
}

fn follows(events: &[Wanted]) -> bool {
    events.iter().any(|it| matches!(it, Wanted::Act(_)))
}

/// Reads the ledger from here on, if a target is the first that wants it.
pub(crate) async fn begin_to_follow(tx: &mut Tx<'_>, new: &NewTarget, size: u64) -> Result<(), DbError> {
    if !follows(&new.events) {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO telemetry_followed (name, next) VALUES ('ledger', $1) ON CONFLICT (name) DO NOTHING",
        args![size],
    )
    .await
    .map(|_| ())
}

/// The index of the next record that targets may want; `None` when nobody wants any.
pub(crate) async fn followed(db: &Db) -> Result<Option<u64>, DbError> {
    let row = db.fetch_optional("SELECT next FROM telemetry_followed WHERE name = 'ledger'", args![]).await?;
    row.map(|row| row.count(0)).transpose()
}

/// Moves on; false when another did.
pub(crate) async fn move_followed(tx: &mut Tx<'_>, (from, to): (u64, u64)) -> Result<bool, DbError> {
    let sql = "UPDATE telemetry_followed SET next = $2 WHERE name = 'ledger' AND next = $1";
    Ok(tx.execute(sql, args![from, to]).await? == 1)
}

/// Reads the ledger no more, if nobody wants it.
pub(crate) async fn end_following(tx: &mut Tx<'_>) -> Result<(), DbError> {
    for row in tx.fetch_all("SELECT events FROM telemetry_targets", args![]).await? {
        if follows(&row.json::<Vec<Wanted>>(0)?) {
            return Ok(());
        }
    }
    tx.execute("DELETE FROM telemetry_followed WHERE name = 'ledger'", args![]).await.map(|_| ())
}

pub(crate) async fn count_dropped(tx: &mut Tx<'_>, id: AlertTargetId) -> Result<(), DbError> {
    let sql = "UPDATE telemetry_targets SET dropped = dropped + 1 WHERE id = $1";
    tx.execute(sql, args![id.as_bytes()]).await.map(|_| ())
}

pub(crate) async fn count_delivered(
    tx: &mut Tx<'_>,
    id: AlertTargetId,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE telemetry_targets SET delivered = delivered + 1, delivered_at = $2 WHERE id = $1";
    tx.execute(sql, args![id.as_bytes(), now.as_micros()]).await.map(|_| ())
}

pub(crate) async fn set_failure(
    tx: &mut Tx<'_>,
    id: AlertTargetId,
    now: Timestamp,
    reason: &str,
) -> Result<(), DbError> {
    let sql = "UPDATE telemetry_targets SET failed_at = $2, failure = $3 WHERE id = $1";
    tx.execute(sql, args![id.as_bytes(), now.as_micros(), reason]).await.map(|_| ())
}

pub(crate) async fn counts(db: &Db) -> Result<Counts, DbError> {
    let mut counts = Counts::default();
    let sql = "SELECT state, COUNT(*) FROM telemetry_messages GROUP BY state";
    for row in db.fetch_all(sql, args![]).await? {
        if row.text(0)? == State::Dead.word() {
            counts.dead += row.count(1)?;
        } else {
            counts.waiting += row.count(1)?;
        }
    }
    for target in db.fetch_all("SELECT dropped FROM telemetry_targets", args![]).await? {
        counts.dropped += target.count(0)?;
    }
    Ok(counts)
}
