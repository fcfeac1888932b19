//! The SQL of messages: gathered, claimed, put back, given up.

use std::collections::BTreeMap;

use seaworthy_model::{AlertMessageId, AlertTargetId, Timestamp};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use super::{State, json, target_id};
use crate::{Alert, AlertKind, BELL, Body, DeadMessage, Message, Told, limit};

/// Stores a message, unless its target was deleted meanwhile.
pub(crate) async fn insert_message(
    tx: &mut Tx<'_>,
    (target, state): (AlertTargetId, State),
    alert: &Alert,
    now: Timestamp,
) -> Result<(), DbError> {
    let body = Body::Alert(Box::new(alert.clone()));
    insert(tx, (target, state), (alert.kind.word(), &body), now).await
}

/// [`insert_message`] of an act of the registry. Whoever calls rings.
pub(crate) async fn insert_told(
    tx: &mut Tx<'_>,
    (target, state): (AlertTargetId, State),
    told: &Told,
    now: Timestamp,
) -> Result<(), DbError> {
    let body = Body::Act(Box::new(told.clone()));
    insert(tx, (target, state), (told.record.action.word(), &body), now).await
}

pub(crate) async fn insert_summary(
    tx: &mut Tx<'_>,
    target: AlertTargetId,
    body: &Body,
    now: Timestamp,
) -> Result<(), DbError> {
    insert(tx, (target, State::Waiting), ("summary", body), now).await
}

async fn insert(
    tx: &mut Tx<'_>,
    (target, state): (AlertTargetId, State),
    (kind, body): (&str, &Body),
    at: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO telemetry_messages
             (id, target, state, kind, body, created_at, due_at, give_up_at, attempts, epoch)
         SELECT $1, id, $3, $4, $5, $6, $6, $7, 0, 0 FROM telemetry_targets WHERE id = $2",
        args![
            AlertMessageId::generate().as_bytes(),
            target.as_bytes(),
            state.word(),
            kind,
            &json(body),
            at.as_micros(),
            at.plus_seconds(limit::RETRY_SECONDS).as_micros(),
        ],
    )
    .await?;
    tx.wake(BELL);
    Ok(())
}

/// Targets whose first gathered message is from `until` or before.
pub(crate) async fn gathered(db: &Db, until: Timestamp) -> Result<Vec<AlertTargetId>, DbError> {
    let sql = "SELECT DISTINCT target FROM telemetry_messages WHERE state = 'gathering' AND due_at <= $1";
    db.fetch_all(sql, args![until.as_micros()]).await?.iter().map(|row| target_id(row, 0)).collect()
}

pub(crate) async fn gathering_kinds(
    tx: &mut Tx<'_>,
    target: AlertTargetId,
) -> Result<BTreeMap<AlertKind, u64>, DbError> {
    let sql = "SELECT kind, COUNT(*) FROM telemetry_messages
               WHERE target = $1 AND state = 'gathering' GROUP BY kind";
    let rows = tx.fetch_all(sql, args![target.as_bytes()]).await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, row.count(1)?))).collect()
}

pub(crate) async fn first_gathering(tx: &mut Tx<'_>, target: AlertTargetId) -> Result<Vec<Body>, DbError> {
    let sql = "SELECT body FROM telemetry_messages
               WHERE target = $1 AND state = 'gathering' ORDER BY due_at, id LIMIT $2";
    let rows = tx.fetch_all(sql, args![target.as_bytes(), limit::SUMMARY_SHOWN]).await?;
    rows.iter().map(|row| row.json(0)).collect()
}

pub(crate) async fn remove_gathering(tx: &mut Tx<'_>, target: AlertTargetId) -> Result<(), DbError> {
    let sql = "DELETE FROM telemetry_messages WHERE target = $1 AND state = 'gathering'";
    tx.execute(sql, args![target.as_bytes()]).await.map(|_| ())
}

/// Gathered messages are sent as they are.
pub(crate) async fn let_go(tx: &mut Tx<'_>, target: AlertTargetId, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE telemetry_messages SET state = 'waiting', due_at = $2
               WHERE target = $1 AND state = 'gathering'";
    tx.execute(sql, args![target.as_bytes(), now.as_micros()]).await?;
    tx.wake(BELL);
    Ok(())
}

pub(crate) async fn due_targets(db: &Db, now: Timestamp) -> Result<Vec<AlertTargetId>, DbError> {
    let sql = "SELECT target, MIN(due_at) FROM telemetry_messages
               WHERE state = 'waiting' AND due_at <= $1 GROUP BY target ORDER BY 2, 1";
    db.fetch_all(sql, args![now.as_micros()]).await?.iter().map(|row| target_id(row, 0)).collect()
}

pub(crate) async fn claim(
    tx: &mut Tx<'_>,
    target: AlertTargetId,
    now: Timestamp,
    most: i64,
) -> Result<Vec<Message>, DbError> {
    let rows = tx
        .fetch_all(
            "UPDATE telemetry_messages SET due_at = $1, epoch = epoch + 1
             WHERE id IN (SELECT id FROM telemetry_messages
                          WHERE target = $2 AND state = 'waiting' AND due_at <= $3
                          ORDER BY due_at, id LIMIT $4)
             RETURNING id, target, body, attempts, give_up_at, epoch",
            args![
                now.plus_seconds(limit::LEASE_SECONDS).as_micros(),
                target.as_bytes(),
                now.as_micros(),
                most,
            ],
        )
        .await?;
    let mut claimed = rows.iter().map(read_message).collect::<Result<Vec<_>, _>>()?;
    claimed.sort_by_key(|message| message.id);
    Ok(claimed)
}

fn read_message(row: &Row) -> Result<Message, DbError> {
    Ok(Message {
        id: message_id(row, 0)?,
        target: target_id(row, 1)?,
        body: row.json(2)?,
        attempts: row.int(3)?,
        give_up_at: Timestamp::from_micros(row.int(4)?),
        epoch: row.int(5)?,
    })
}

/// False when it was claimed again, or is gone with its target.
pub(crate) async fn remove_message(tx: &mut Tx<'_>, message: &Message) -> Result<bool, DbError> {
    let sql = "DELETE FROM telemetry_messages WHERE id = $1 AND epoch = $2 AND state = 'waiting'";
    Ok(tx.execute(sql, args![message.id.as_bytes(), message.epoch]).await? == 1)
}

pub(crate) async fn put_back(
    tx: &mut Tx<'_>,
    message: &Message,
    due: Timestamp,
    reason: &str,
) -> Result<bool, DbError> {
    let sql = "UPDATE telemetry_messages SET due_at = $3, attempts = attempts + 1, failure = $4
               WHERE id = $1 AND epoch = $2 AND state = 'waiting'";
    let args = args![message.id.as_bytes(), message.epoch, due.as_micros(), reason];
    Ok(tx.execute(sql, args).await? == 1)
}

pub(crate) async fn set_dead(tx: &mut Tx<'_>, message: &Message, reason: &str) -> Result<bool, DbError> {
    let sql = "UPDATE telemetry_messages SET state = 'dead', attempts = attempts + 1, failure = $3
               WHERE id = $1 AND epoch = $2 AND state = 'waiting'";
    Ok(tx.execute(sql, args![message.id.as_bytes(), message.epoch, reason]).await? == 1)
}

/// Leases of a process that is gone are over; what waits for its next attempt goes on waiting.
pub(crate) async fn reclaim(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE telemetry_messages SET due_at = $1
               WHERE state = 'waiting' AND due_at > $1 AND due_at <= $2";
    let until = now.plus_seconds(limit::LEASE_SECONDS);
    tx.execute(sql, args![now.as_micros(), until.as_micros()]).await.map(|_| ())
}

pub(crate) async fn dead(
    db: &Db,
    after: Option<AlertMessageId>,
    most: u32,
) -> Result<Vec<DeadMessage>, DbError> {
    let after = after.unwrap_or(AlertMessageId::from_u128(u128::MAX));
    let rows = db
        .fetch_all(
            "SELECT m.id, t.name, m.body, m.created_at, m.attempts, m.failure
             FROM telemetry_messages m JOIN telemetry_targets t ON t.id = m.target
             WHERE m.state = 'dead' AND m.id < $1 ORDER BY m.id DESC LIMIT $2",
            args![after.as_bytes(), most],
        )
        .await?;
    let read = |row: &Row| {
        Ok(DeadMessage {
            id: message_id(row, 0)?,
            target: row.text(1)?.to_owned(),
            body: row.json(2)?,
            created_at: Timestamp::from_micros(row.int(3)?),
            attempts: row.int(4)?,
            failure: row.text_opt(5)?.unwrap_or_default().to_owned(),
        })
    };
    rows.iter().map(read).collect()
}

/// Makes a message that was given up wait again; false when none with this id was.
pub(crate) async fn revive(tx: &mut Tx<'_>, id: AlertMessageId, now: Timestamp) -> Result<bool, DbError> {
    let until = now.plus_seconds(limit::RETRY_SECONDS);
    let sql = "UPDATE telemetry_messages SET state = 'waiting', due_at = $2, give_up_at = $3, attempts = 0,
                   epoch = epoch + 1
               WHERE id = $1 AND state = 'dead'";
    let changed = tx.execute(sql, args![id.as_bytes(), now.as_micros(), until.as_micros()]).await?;
    tx.wake(BELL);
    Ok(changed == 1)
}

pub(crate) async fn forget_dead(tx: &mut Tx<'_>, before: Timestamp) -> Result<(), DbError> {
    let sql = "DELETE FROM telemetry_messages WHERE state = 'dead' AND due_at < $1";
    tx.execute(sql, args![before.as_micros()]).await.map(|_| ())
}

fn message_id(row: &Row, column: usize) -> Result<AlertMessageId, DbError> {
    AlertMessageId::from_bytes(row.bytes(column)?).map_err(|_| row.wrong(column, "an id"))
}
