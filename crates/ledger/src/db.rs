//! The ledger's SQL.

use seaworthy_model::Timestamp;
use seaworthy_store::{
    Db, DbError, Lease, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

use crate::{Action, LedgerError, Record, limit};

/// The ledger's tables.
pub const SCHEMA: RoomSchema = RoomSchema { room: "ledger", migrations: &[FIRST, OBJECTS] };

const FIRST: Migration = Migration {
    id: 1,
    steps: &[
        Step::Create(Table {
            name: "ledger_leaves",
            columns: &[
                Column::bytes("id"),
                Column::int("position").optional(),
                Column::int("at"),
                Column::text("actor"),
                Column::text("action"),
                Column::text("object"),
                Column::text("leaf"),
            ],
            primary_key: &["id"],
            indexes: &[
                Index::unique(&["position"]),
                Index::on(&["actor", "position"]),
                Index::on(&["action", "position"]),
                Index::on(&["object", "position"]),
            ],
        }),
        Step::Create(Table {
            name: "ledger_head",
            columns: &[
                Column::text("name"),
                Column::int("size"),
                Column::bytes("root"),
                Column::text("checkpoint"),
            ],
            primary_key: &["name"],
            indexes: &[],
        }),
    ],
};

/// Objects are found without their number: with it, giving a record its number moved it in this index too.
const OBJECTS: Migration = Migration {
    id: 2,
    steps: &[
        Step::Sql("DROP INDEX ledger_leaves_object_position"),
        Step::AddIndex("ledger_leaves", Index::on(&["object"])),
    ],
};

/// Rings (see [`Db::bell`]) when this process has signed another tree head.
pub const HEAD_BELL: &str = "ledger head";

/// How many records the last signed tree head covers.
pub async fn size(db: &Db) -> Result<u64, LedgerError> {
    Ok(head(db).await?.map_or(0, |head| head.size))
}

/// How many records there were up to the newest one of these acts; 0 when there is none. It grows
/// when one of them was done: one index seek for each act.
pub async fn last_of(db: &Db, actions: &[Action]) -> Result<u64, LedgerError> {
    let mut last = 0;
    for action in actions {
        let sql = "SELECT MAX(position) + 1 FROM ledger_leaves WHERE action = $1";
        let row = db.fetch_optional(sql, args![action.word()]).await?;
        let newest = row.map(|row| row.int_opt(0)).transpose()?.flatten();
        last = last.max(newest.map_or(0, i64::unsigned_abs));
    }
    Ok(last)
}

/// The last signed tree head, as SQL has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) checkpoint: String,
}

pub(crate) async fn head(db: &Db) -> Result<Option<Head>, DbError> {
    let row = db
        .fetch_optional("SELECT size, root, checkpoint FROM ledger_head WHERE name = 'head'", args![])
        .await?;
    row.map(|row| {
        Ok(Head { size: row.count(0)?, root: row.bytes(1)?.to_vec(), checkpoint: row.text(2)?.to_owned() })
    })
    .transpose()
}

/// Gives unnumbered leaves the next positions, in id order; returns how many positions exist.
pub(crate) async fn number_leaves(db: &Db, lease: &Lease) -> Result<u64, DbError> {
    db.upkeep(lease.clone(), |lease, tx| {
        Box::pin(async move {
            tx.check_lease(lease).await?;
            let next = next_position(tx).await?;
            let numbered = tx
                .execute(
                    "UPDATE ledger_leaves SET position = $1 + waiting.rank - 1
                     FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS rank FROM ledger_leaves
                           WHERE position IS NULL ORDER BY id LIMIT $2) AS waiting
                     WHERE ledger_leaves.id = waiting.id",
                    args![next, limit::BATCH],
                )
                .await?;
            Ok(next.unsigned_abs() + numbered)
        })
    })
    .await
}

async fn next_position(tx: &mut Tx<'_>) -> Result<i64, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT position FROM ledger_leaves WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1",
            args![],
        )
        .await?;
    row.map_or(Ok(0), |row| Ok(row.int(0)?.saturating_add(1)))
}

/// How many records from `from` on have a number, and the number behind the last of them.
pub(crate) async fn numbered_from(db: &Db, from: u64) -> Result<(u64, u64), DbError> {
    let sql = "SELECT COUNT(*), MAX(position) FROM ledger_leaves WHERE position >= $1";
    let row = db.fetch_optional(sql, args![from]).await?;
    row.map_or(Ok((0, from)), |row| {
        let last = row.int_opt(1)?.map(i64::unsigned_abs);
        Ok((row.count(0)?, last.map_or(from, |last| last + 1)))
    })
}

/// The first record from `from` on that has no row, though one with a higher number has.
pub(crate) async fn first_gap(db: &Db, from: u64) -> Result<Option<u64>, DbError> {
    let (count, end) = numbered_from(db, from).await?;
    if from + count == end {
        return Ok(None);
    }
    let sql = "SELECT MIN(place) FROM (
                   SELECT position, $1 + ROW_NUMBER() OVER (ORDER BY position) - 1 AS place
                   FROM ledger_leaves WHERE position >= $1) AS numbered
               WHERE position <> place";
    let row = db.fetch_optional(sql, args![from]).await?;
    Ok(row.map(|row| row.int_opt(0)).transpose()?.flatten().map(i64::unsigned_abs))
}

/// Moves the head from `old_size` on, if the lease is still held and nobody else moved it.
pub(crate) async fn store_head(db: &Db, lease: &Lease, old_size: u64, head: &Head) -> Result<(), DbError> {
    db.upkeep((lease.clone(), head.clone()), move |(lease, head), tx| {
        Box::pin(async move {
            tx.check_lease(lease).await?;
            let changed = tx
                .execute(
                    "INSERT INTO ledger_head (name, size, root, checkpoint) VALUES ('head', $1, $2, $3)
                     ON CONFLICT (name) DO UPDATE SET size = $1, root = $2, checkpoint = $3
                     WHERE ledger_head.size = $4",
                    args![head.size, &head.root, &head.checkpoint, old_size],
                )
                .await?;
            tx.wake(HEAD_BELL);
            if changed == 1 { Ok(()) } else { Err(DbError::LeaseLost) }
        })
    })
    .await
}

/// Rows that were read; nothing when one of them is not what its columns hold.
pub(crate) fn readable<T>(read: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match read {
        Err(DbError::Column { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// A numbered leaf row, as it stands in SQL.
pub(crate) struct LeafRow {
    pub(crate) position: u64,
    pub(crate) leaf: String,
    columns: (Vec<u8>, i64, String, String, String),
}

impl LeafRow {
    /// True when the columns that are searched say what the leaf says.
    pub(crate) fn is_consistent(&self) -> bool {
        let Ok(record) = serde_json::from_str::<Record>(&self.leaf) else { return false };
        let (id, at, actor, action, object) = &self.columns;
        id == record.id.as_bytes()
            && *at == record.at.as_micros()
            && *actor == record.actor.name
            && action == record.action.word()
            && *object == record.object
    }
}

/// Leaves `from..to` in order; missing ones are simply not among them.
pub(crate) async fn leaves(db: &Db, from: u64, to: u64) -> Result<Vec<LeafRow>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT position, leaf, id, at, actor, action, object FROM ledger_leaves
             WHERE position >= $1 AND position < $2 ORDER BY position",
            args![from, to],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(LeafRow {
                position: row.count(0)?,
                leaf: row.text(1)?.to_owned(),
                columns: (
                    row.bytes(2)?.to_vec(),
                    row.int(3)?,
                    row.text(4)?.to_owned(),
                    row.text(5)?.to_owned(),
                    row.text(6)?.to_owned(),
                ),
            })
        })
        .collect()
}

/// The texts of leaves `from..to` in order; missing ones are simply not among them.
pub(crate) async fn leaf_texts(db: &Db, from: u64, to: u64) -> Result<Vec<Row>, DbError> {
    let sql = "SELECT leaf FROM ledger_leaves WHERE position >= $1 AND position < $2 ORDER BY position";
    db.fetch_all(sql, args![from, to]).await
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this actor's name.
    pub actor: Option<String>,
    /// Only this act.
    pub action: Option<Action>,
    /// Only objects that begin with this.
    pub object: Option<String>,
    /// Only at or after this moment.
    pub since: Option<Timestamp>,
    /// Only before this index (paging: the smallest index of the page before).
    pub before: Option<u64>,
}

/// A list by all its conditions, read by the index of those that come first.
macro_rules! list_sql {
    ($first:literal, $position:literal) => {
        concat!(
            "SELECT position, leaf FROM ledger_leaves WHERE ",
            $first,
            " AND ($2 IS NULL OR actor = $2) AND ($3 IS NULL OR action = $3)
               AND ($4 IS NULL OR (object >= $4 AND object < $5)) AND at >= $6
             ORDER BY ",
            $position,
            " DESC LIMIT $7"
        )
    };
}

/// How a list is found: from the newest record back, or through an index that gives its records alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Back,
    Actor,
    Action,
    /// All that begin with an object, then sorted: at most [`limit::SORTED`].
    Object,
}

impl Way {
    async fn of(db: &Db, filter: &Filter) -> Result<Self, DbError> {
        if let Some(prefix) = &filter.object {
            let sql = "SELECT COUNT(*) FROM
                (SELECT 1 FROM ledger_leaves WHERE object >= $1 AND object < $2 LIMIT $3) AS first";
            let end = end_of(prefix);
            let row = db.fetch_optional(sql, args![prefix, &end, limit::SORTED + 1]).await?;
            if row.map_or(Ok(0), |row| row.count(0))? <= limit::SORTED {
                return Ok(Self::Object);
            }
        }
        // Many begin with it, so some of the newest do: where they are rare among an actor's, that is searched.
        Ok(match filter {
            Filter { actor: Some(_), .. } => Self::Actor,
            Filter { action: Some(_), .. } => Self::Action,
            _ => Self::Back,
        })
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Back => list_sql!("position < $1", "position"),
            Self::Actor => list_sql!("actor = $2 AND position < $1", "position"),
            Self::Action => list_sql!("action = $3 AND position < $1", "position"),
            // The sign keeps the index of the numbers out of it.
            Self::Object => list_sql!("object >= $4 AND object < $5 AND +position < $1", "+position"),
        }
    }
}

/// What no text is behind that begins with `prefix`.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// Numbered records, newest first, at most `most` (and never more than [`limit::PAGE`]).
pub async fn list(db: &Db, filter: &Filter, most: u32) -> Result<Vec<(u64, Record)>, LedgerError> {
    let end = filter.object.as_deref().map(end_of);
    let args = args![
        filter.before.unwrap_or(u64::MAX),
        filter.actor.as_deref(),
        filter.action.map(Action::word),
        filter.object.as_deref(),
        end.as_deref(),
        filter.since.map_or(i64::MIN, Timestamp::as_micros),
        most.min(limit::PAGE),
    ];
    let rows = db.fetch_all(Way::of(db, filter).await?.sql(), args).await?;
    Ok(rows.iter().map(read_record).collect::<Result<_, DbError>>()?)
}

/// Records from an index on, oldest first, as far as the last signed tree head covers them: at most `most`
/// (and never more than [`limit::PAGE`]).
pub async fn from(db: &Db, index: u64, most: u32) -> Result<Vec<(u64, Record)>, LedgerError> {
    let rows = db
        .fetch_all(
            "SELECT position, leaf FROM ledger_leaves WHERE position >= $1 AND position < $2
             ORDER BY position LIMIT $3",
            args![index, size(db).await?, most.min(limit::PAGE)],
        )
        .await?;
    Ok(rows.iter().map(read_record).collect::<Result<_, DbError>>()?)
}

fn read_record(row: &Row) -> Result<(u64, Record), DbError> {
    Ok((row.count(0)?, row.json(1)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use seaworthy_model::SystemClock;

    use super::*;

    #[tokio::test]
    async fn each_way_reads_its_index() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("test.sqlite");
        let db = Db::open_sqlite(&path, Arc::new(SystemClock)).await.expect("opens");
        db.migrate(&[SCHEMA]).await.expect("tables");
        let text = |row: &Row| row.text(3).expect("a step").to_owned();
        for (way, index) in [
            (Way::Back, "INDEX ledger_leaves_position (position<?)"),
            (Way::Actor, "INDEX ledger_leaves_actor_position (actor=? AND position<?)"),
            (Way::Action, "INDEX ledger_leaves_action_position (action=? AND position<?)"),
            (Way::Object, "INDEX ledger_leaves_object (object>? AND object<?)"),
        ] {
            let sql: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {}", way.sql()).into_boxed_str());
            let none: Option<&str> = None;
            let plan =
                db.fetch_all(sql, args![0_i64, none, none, none, none, 0_i64, 0_i64]).await.expect("a plan");
            let plan: Vec<String> = plan.iter().map(text).collect();
            let sorts = plan.iter().any(|step| step.contains("ORDER BY"));
            assert!(plan[0].ends_with(index) && sorts == (way == Way::Object), "{way:?}: {plan:?}");
        }
    }
}
