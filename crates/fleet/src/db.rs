//! The SQL of the fleet: tables, hosts, spools, history.

pub(crate) mod aliases;
pub(crate) mod containers;
pub(crate) mod join;

use seaworthy_link::Host;
use seaworthy_model::{HostId, SpoolId, Timestamp};
use seaworthy_oci::Platform;
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

use crate::{Happening, HistoryRow, limit};

/// The tables of the fleet.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "fleet",
    migrations: &[
        Migration {
            id: 1,
            steps: &[
                Step::Create(HOSTS),
                Step::Create(SPOOLS),
                Step::Create(HISTORY),
                Step::Create(aliases::MANIFESTS),
                Step::Create(aliases::CHILDREN),
                Step::Create(aliases::IMAGES),
                Step::Create(aliases::IMAGE_DIGESTS),
                Step::Create(containers::CONTAINERS),
            ],
        },
        Migration {
            id: 2,
            steps: &[
                // What clearance was told of a container: counts, and the hash of the last.
                Step::AddColumn("fleet_containers", Column::int("told").optional()),
                Step::AddColumn("fleet_containers", Column::text("told_hash").optional()),
            ],
        },
        Migration {
            id: 3,
            // The content of an image that its host read, as it is called on that host alone.
            steps: &[Step::AddColumn("fleet_images", Column::bytes("scanned").optional())],
        },
        Migration { id: 4, steps: &[Step::Create(join::INVITATIONS), Step::Create(join::CERTIFICATES)] },
        // The registry was told nothing yet, findings not of what ran before it asked: all is told again.
        Migration { id: 5, steps: &[Step::Sql("UPDATE fleet_containers SET told_hash = NULL")] },
    ],
};

const HOSTS: Table = Table {
    name: "fleet_hosts",
    columns: &[
        Column::bytes("id"),
        Column::text("name"),
        Column::int("joined_at"),
        Column::text("facts").optional(),
        Column::bytes("spool").optional(),
        // Counts spools: the order of observations is (generation, the agent's time).
        Column::int("generation"),
        Column::int("history"),
        Column::int("heard_at").optional(),
        Column::int("skew").optional(),
    ],
    primary_key: &["id"],
    indexes: &[Index::unique(&["name"])],
};

const SPOOLS: Table = Table {
    name: "fleet_spools",
    columns: &[
        Column::bytes("host"),
        Column::bytes("spool"),
        Column::int("generation"),
        Column::int("number"),
    ],
    primary_key: &["host", "spool"],
    indexes: &[Index::on(&["host", "generation"])],
};

const HISTORY: Table = Table {
    name: "fleet_history",
    columns: &[
        Column::bytes("host"),
        Column::int("number"),
        // Empty: the whole host.
        Column::text("runtime"),
        Column::text("container"),
        Column::int("at"),
        Column::int("received_at"),
        Column::text("what"),
    ],
    primary_key: &["host", "number"],
    indexes: &[Index::on(&["host", "runtime", "container", "number"]), Index::on(&["received_at"])],
};

/// A host as a batch finds it.
pub(crate) struct HostRow {
    pub(crate) facts: Option<Host>,
    pub(crate) spool: Option<SpoolId>,
    pub(crate) generation: i64,
    pub(crate) history: i64,
}

impl HostRow {
    pub(crate) fn platform(&self) -> Option<Platform> {
        self.facts.as_ref().map(|facts| facts.platform.clone())
    }
}

pub(crate) async fn count_hosts(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM fleet_hosts", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// False when the name is taken.
pub(crate) async fn insert_host(
    tx: &mut Tx<'_>,
    host: HostId,
    name: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let added = tx
        .execute(
            "INSERT INTO fleet_hosts (id, name, joined_at, generation, history) VALUES ($1, $2, $3, 0, 0)
             ON CONFLICT (name) DO NOTHING",
            args![host.as_bytes(), name, now.as_micros()],
        )
        .await?;
    Ok(added == 1)
}

/// Deletes all of a host but its history; returns its name.
pub(crate) async fn delete_host(tx: &mut Tx<'_>, host: HostId) -> Result<Option<String>, DbError> {
    let Some(name) = host_name(tx, host).await? else { return Ok(None) };
    for statement in [
        "DELETE FROM fleet_hosts WHERE id = $1",
        "DELETE FROM fleet_spools WHERE host = $1",
        "DELETE FROM fleet_images WHERE host = $1",
        "DELETE FROM fleet_image_digests WHERE host = $1",
        "DELETE FROM fleet_containers WHERE host = $1",
        "DELETE FROM fleet_certificates WHERE host = $1",
    ] {
        tx.execute(statement, args![host.as_bytes()]).await?;
    }
    Ok(Some(name))
}

pub(crate) async fn host_name(tx: &mut Tx<'_>, host: HostId) -> Result<Option<String>, DbError> {
    let row = tx.fetch_optional("SELECT name FROM fleet_hosts WHERE id = $1", args![host.as_bytes()]).await?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

pub(crate) async fn host_named(db: &Db, name: &str) -> Result<Option<HostId>, DbError> {
    let row = db.fetch_all("SELECT id FROM fleet_hosts WHERE name = $1", args![name]).await?;
    row.first().map(|row| host_id(row, 0)).transpose()
}

pub(crate) async fn host(tx: &mut Tx<'_>, host: HostId) -> Result<Option<HostRow>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT facts, spool, generation, history FROM fleet_hosts WHERE id = $1",
            args![host.as_bytes()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let spool = row.bytes_opt(1)?.map(SpoolId::from_bytes).transpose();
    Ok(Some(HostRow {
        facts: row.text_opt(0)?.map(|_| row.json(0)).transpose()?,
        spool: spool.map_err(|_| row.wrong(1, "an id"))?,
        generation: row.int(2)?,
        history: row.int(3)?,
    }))
}

/// Stores a host after a batch that was made at `made_at`.
pub(crate) async fn update_host(
    tx: &mut Tx<'_>,
    host: HostId,
    row: &HostRow,
    (now, made_at): (Timestamp, Timestamp),
) -> Result<(), DbError> {
    let facts = row.facts.as_ref().map(|facts| serde_json::to_string(facts).unwrap_or_default());
    let skew = made_at.as_micros().saturating_sub(now.as_micros());
    tx.execute(
        "UPDATE fleet_hosts SET facts = $1, spool = $2, generation = $3, history = $4, heard_at = $5, skew = $6
         WHERE id = $7",
        args![
            facts.as_deref(),
            row.spool.as_ref().map(SpoolId::as_bytes),
            row.generation,
            row.history,
            now.as_micros(),
            skew,
            host.as_bytes()
        ],
    )
    .await
    .map(|_| ())
}

/// The number of the last batch of a spool that was stored.
pub(crate) async fn spool_number(
    tx: &mut Tx<'_>,
    host: HostId,
    spool: SpoolId,
) -> Result<Option<u64>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT number FROM fleet_spools WHERE host = $1 AND spool = $2",
            args![host.as_bytes(), spool.as_bytes()],
        )
        .await?;
    row.map(|row| row.count(0)).transpose()
}

pub(crate) async fn set_spool_number(
    tx: &mut Tx<'_>,
    host: HostId,
    spool: SpoolId,
    (generation, number): (i64, u64),
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO fleet_spools (host, spool, generation, number) VALUES ($1, $2, $3, $4)
         ON CONFLICT (host, spool) DO UPDATE SET number = $4",
        args![host.as_bytes(), spool.as_bytes(), generation, number],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn forget_spools(tx: &mut Tx<'_>, host: HostId) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM fleet_spools WHERE host = $1
           AND generation <= (SELECT generation - $2 FROM fleet_hosts WHERE id = $1)",
        args![host.as_bytes(), limit::SPOOLS],
    )
    .await
    .map(|_| ())
}

/// Appends to a host's history; `container` is runtime and key, empty for the whole host.
pub(crate) async fn append_history(
    tx: &mut Tx<'_>,
    host: HostId,
    (runtime, container): (&str, &str),
    row: &HistoryRow,
) -> Result<(), DbError> {
    let what = serde_json::to_string(&row.what).unwrap_or_default();
    tx.execute(
        "INSERT INTO fleet_history (host, number, runtime, container, at, received_at, what)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            host.as_bytes(),
            row.number,
            runtime,
            container,
            row.at.as_micros(),
            row.received_at.as_micros(),
            &what
        ],
    )
    .await
    .map(|_| ())
}

/// When the newest entry of all hosts was heard, in microseconds: one index seek.
pub(crate) async fn newest_history(db: &Db) -> Result<i64, DbError> {
    let row = db.fetch_optional("SELECT MAX(received_at) FROM fleet_history", args![]).await?;
    Ok(row.map(|row| row.int_opt(0)).transpose()?.flatten().unwrap_or_default())
}

/// Holds [`limit::HISTORY`].
pub(crate) async fn trim_history(tx: &mut Tx<'_>, host: HostId, newest: i64) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM fleet_history WHERE host = $1 AND number <= $2",
        args![host.as_bytes(), newest.saturating_sub(limit::HISTORY)],
    )
    .await
    .map(|_| ())
}

/// Removes some history older than `before`; returns how much.
pub(crate) async fn forget_history(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, DbError> {
    tx.execute(
        "DELETE FROM fleet_history WHERE (host, number) IN
           (SELECT host, number FROM fleet_history WHERE received_at < $1 ORDER BY received_at LIMIT $2)",
        args![before.as_micros(), limit::UPKEEP_ROWS],
    )
    .await
}

/// Removes containers that have been gone since before `before`, and the oldest beyond
/// [`limit::GONE`].
pub(crate) async fn forget_gone(tx: &mut Tx<'_>, host: HostId, before: Timestamp) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM fleet_containers WHERE host = $1 AND presence = 'gone' AND (received_at < $2
           OR (runtime, id) IN (SELECT runtime, id FROM fleet_containers WHERE host = $1 AND presence = 'gone'
                                ORDER BY received_at DESC, runtime, id LIMIT $4 OFFSET $3))",
        args![host.as_bytes(), before.as_micros(), limit::GONE, i64::MAX],
    )
    .await
    .map(|_| ())
}

/// Forgets an engine's oldest images beyond [`limit::IMAGES`].
pub(crate) async fn forget_images(tx: &mut Tx<'_>, host: HostId) -> Result<(), DbError> {
    let args = args![host.as_bytes(), limit::IMAGES, i64::MAX];
    tx.execute(
        "DELETE FROM fleet_image_digests WHERE host = $1 AND (runtime, image) IN
           (SELECT runtime, id FROM fleet_images WHERE host = $1
            ORDER BY received_at DESC, runtime, id LIMIT $3 OFFSET $2)",
        args,
    )
    .await?;
    tx.execute(
        "DELETE FROM fleet_images WHERE host = $1 AND (runtime, id) IN
           (SELECT runtime, id FROM fleet_images WHERE host = $1
            ORDER BY received_at DESC, runtime, id LIMIT $3 OFFSET $2)",
        args,
    )
    .await
    .map(|_| ())
}

pub(crate) async fn host_ids(db: &Db) -> Result<Vec<HostId>, DbError> {
    db.fetch_all("SELECT id FROM fleet_hosts ORDER BY id", args![])
        .await?
        .iter()
        .map(|row| host_id(row, 0))
        .collect()
}

/// All hosts in name order, without counts.
pub(crate) async fn hosts(db: &Db) -> Result<Vec<crate::HostView>, DbError> {
    db.fetch_all("SELECT id, name, joined_at, facts, heard_at, skew FROM fleet_hosts ORDER BY name", args![])
        .await?
        .iter()
        .map(|row| {
            Ok(crate::HostView {
                id: host_id(row, 0)?,
                name: row.text(1)?.to_owned(),
                joined_at: Timestamp::from_micros(row.int(2)?),
                facts: row.text_opt(3)?.map(|_| row.json(3)).transpose()?,
                heard_at: row.int_opt(4)?.map(Timestamp::from_micros),
                skew_micros: row.int_opt(5)?,
                live: 0,
                stopped: 0,
            })
        })
        .collect()
}

/// A container's history and its host's gaps, newest first, before entry `before`.
pub(crate) async fn history(
    db: &Db,
    host: HostId,
    (runtime, container): (&str, &str),
    before: i64,
) -> Result<Vec<HistoryRow>, DbError> {
    db.fetch_all(
        "SELECT number, container, at, received_at, what FROM (
           SELECT * FROM (SELECT * FROM fleet_history
             WHERE host = $1 AND runtime = $2 AND container = $3 AND number < $4
             ORDER BY number DESC LIMIT $5) AS own
           UNION ALL
           SELECT * FROM (SELECT * FROM fleet_history
             WHERE host = $1 AND runtime = '' AND container = '' AND number < $4
             ORDER BY number DESC LIMIT $5) AS gaps) AS both_of_them
         ORDER BY number DESC LIMIT $5",
        args![host.as_bytes(), runtime, container, before, limit::HISTORY_PAGE],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(HistoryRow {
            number: row.count(0)?,
            container: Some(row.text(1)?).filter(|it| !it.is_empty()).map(str::to_owned),
            at: Timestamp::from_micros(row.int(2)?),
            received_at: Timestamp::from_micros(row.int(3)?),
            what: row.json::<Happening>(4)?,
        })
    })
    .collect()
}

pub(crate) fn host_id(row: &Row, column: usize) -> Result<HostId, DbError> {
    HostId::from_bytes(row.bytes(column)?).map_err(|_| row.wrong(column, "an id"))
}
