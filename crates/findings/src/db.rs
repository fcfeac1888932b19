//! The SQL of findings: the state, generations and feeds here; package sets and results in
//! [`package_sets`].

pub(crate) mod package_sets;
pub(crate) mod running;

use seaworthy_model::{Event, FeedCoverage, FeedState, FeedsChanged, Timestamp, consumer};
use seaworthy_oci::Digest;
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

use crate::limit;

/// The tables of findings.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "findings",
    migrations: &[
        Migration {
        id: 1,
        steps: &[
            Step::Create(STATE),
            Step::Create(SEGMENTS),
            Step::Create(FEEDS),
            Step::Create(GARBAGE),
            Step::Create(IMPORTS),
            Step::Create(REMATCH),
            Step::Create(package_sets::SETS),
            Step::Create(package_sets::RESULTS),
            Step::Create(package_sets::CONTENTS),
            // The hash is that of an index without segments.
            Step::Sql(
                "INSERT INTO findings_state (name, generation, revision, state, index_hash) VALUES
                 ('state', 0, 0, 'settled', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')",
            ),
        ],
    },
    Migration { id: 2, steps: &[Step::Create(running::RUNNING)] },
    ],
};

/// One row: which generation is active, and whether an import runs.
const STATE: Table = Table {
    name: "findings_state",
    columns: &[
        Column::text("name"),
        Column::int("generation"),
        Column::int("revision"),
        Column::text("state"),
        Column::text("index_hash"),
    ],
    primary_key: &["name"],
    indexes: &[],
};

/// The segments of the active generation and of the one before it.
const SEGMENTS: Table = Table {
    name: "findings_segments",
    columns: &[
        Column::int("generation"),
        Column::text("feed"),
        Column::text("digest"),
        Column::int("size"),
        Column::text("content_hash"),
        Column::int("records"),
        Column::text("newest").optional(),
        Column::text("covers"),
        // Generation in which this content came.
        Column::int("since"),
    ],
    primary_key: &["generation", "feed"],
    indexes: &[Index::on(&["digest"])],
};

/// When each feed was last imported or verified unchanged.
const FEEDS: Table = Table {
    name: "findings_feeds",
    columns: &[Column::text("feed"), Column::int("checked_at"), Column::int("imported_at")],
    primary_key: &["feed"],
    indexes: &[],
};

/// Blobs that no generation needs, or that are on their way into one.
const GARBAGE: Table = Table {
    name: "findings_garbage",
    columns: &[Column::text("digest"), Column::int("size")],
    primary_key: &["digest"],
    indexes: &[],
};

/// Imports, by the revision with which they began.
const IMPORTS: Table = Table {
    name: "findings_imports",
    columns: &[
        Column::int("revision"),
        Column::text("actor"),
        Column::int("started_at"),
        Column::int("finished_at").optional(),
        Column::text("outcome"),
        Column::text("report"),
    ],
    primary_key: &["revision"],
    indexes: &[],
};

/// At most one row: the generation whose consequences are not all stored yet, and how far they are.
const REMATCH: Table = Table {
    name: "findings_rematch",
    columns: &[
        Column::int("generation"),
        Column::int("previous"),
        // The set that was done last, or is half done when a content is named.
        Column::bytes("package_set"),
        Column::bytes("content"),
    ],
    primary_key: &["generation"],
    indexes: &[],
};

/// The one state row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) generation: i64,
    pub(crate) revision: i64,
    pub(crate) feeds: FeedState,
    pub(crate) index_hash: String,
}

const READ_STATE: &str =
    "SELECT generation, revision, state, index_hash FROM findings_state WHERE name = 'state'";

pub(crate) async fn state(db: &Db) -> Result<State, DbError> {
    read_state(db.fetch_all(READ_STATE, args![]).await?.first())
}

pub(crate) async fn state_in(tx: &mut Tx<'_>) -> Result<State, DbError> {
    read_state(tx.fetch_all(READ_STATE, args![]).await?.first())
}

/// [`state_in`], and no import becomes active before this transaction has ended: what it stores is
/// there for the rematch that follows, which reads in no transaction.
pub(crate) async fn held_state(tx: &mut Tx<'_>) -> Result<State, DbError> {
    tx.fetch_held("SELECT 1 FROM findings_state WHERE name = 'state' FOR SHARE", args![]).await?;
    state_in(tx).await
}

fn read_state(row: Option<&Row>) -> Result<State, DbError> {
    let missing = || DbError::Column { statement: READ_STATE.into(), column: 0, expected: "there at all" };
    let row = row.ok_or_else(missing)?;
    let feeds = match row.text(2)? {
        "settled" => FeedState::Settled,
        "importing" => FeedState::Importing,
        _ => return Err(row.wrong(2, "a feed state")),
    };
    Ok(State { generation: row.int(0)?, revision: row.int(1)?, feeds, index_hash: row.text(3)?.to_owned() })
}

/// Moves the state and tells clearance, in one revision.
pub(crate) async fn set_state(tx: &mut Tx<'_>, state: FeedState, now: Timestamp) -> Result<i64, DbError> {
    let word = match state {
        FeedState::Settled => "settled",
        FeedState::Importing => "importing",
    };
    tx.execute(
        "UPDATE findings_state SET state = $1, revision = revision + 1 WHERE name = 'state'",
        args![word],
    )
    .await?;
    let changed = feeds_changed(tx).await?;
    let revision = changed.revision;
    tx.deliver(consumer::CLEARANCE, &Event::FeedsChanged(changed), now).await?;
    Ok(revision)
}

pub(crate) async fn set_generation(
    tx: &mut Tx<'_>,
    generation: i64,
    index_hash: &str,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE findings_state SET generation = $1, index_hash = $2 WHERE name = 'state'",
        args![generation, index_hash],
    )
    .await
    .map(|_| ())
}

/// The state as an event tells it.
pub(crate) async fn feeds_changed(tx: &mut Tx<'_>) -> Result<FeedsChanged, DbError> {
    let state = state_in(tx).await?;
    let feeds = loaded_feeds(tx, state.generation).await?;
    let feeds = feeds.into_iter().map(|(segment, checked_at, _)| FeedCoverage {
        feed: segment.feed,
        covers: segment.covers,
        checked_at,
        newest: segment.newest,
    });
    Ok(FeedsChanged {
        generation: state.generation,
        revision: state.revision,
        index_hash: state.index_hash,
        feeds: feeds.collect(),
        state: state.feeds,
    })
}

/// One feed of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    pub(crate) feed: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) content_hash: String,
    pub(crate) records: u64,
    pub(crate) newest: Option<String>,
    pub(crate) covers: Vec<String>,
    pub(crate) since: i64,
}

fn read_segment(row: &Row) -> Result<SegmentRow, DbError> {
    Ok(SegmentRow {
        feed: row.text(0)?.to_owned(),
        digest: row.parsed(1)?,
        size: row.count(2)?,
        content_hash: row.text(3)?.to_owned(),
        records: row.count(4)?,
        newest: row.text_opt(5)?.map(str::to_owned),
        covers: row.json(6)?,
        since: row.int(7)?,
    })
}

pub(crate) async fn segments(db: &Db, generation: i64) -> Result<Vec<SegmentRow>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT feed, digest, size, content_hash, records, newest, covers, since
             FROM findings_segments WHERE generation = $1 ORDER BY feed",
            args![generation],
        )
        .await?;
    rows.iter().map(read_segment).collect()
}

/// Feeds of a generation, when each was checked last, and when its content came.
pub(crate) async fn loaded_feeds(
    tx: &mut Tx<'_>,
    generation: i64,
) -> Result<Vec<(SegmentRow, Timestamp, Timestamp)>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT s.feed, s.digest, s.size, s.content_hash, s.records, s.newest, s.covers, s.since,
                    f.checked_at, f.imported_at
             FROM findings_segments AS s JOIN findings_feeds AS f ON f.feed = s.feed
             WHERE s.generation = $1 ORDER BY s.feed",
            args![generation],
        )
        .await?;
    let read = |row: &Row| {
        let moments = (Timestamp::from_micros(row.int(8)?), Timestamp::from_micros(row.int(9)?));
        Ok((read_segment(row)?, moments.0, moments.1))
    };
    rows.iter().map(read).collect()
}

pub(crate) async fn insert_segment(tx: &mut Tx<'_>, generation: i64, it: &SegmentRow) -> Result<(), DbError> {
    let covers = serde_json::to_string(&it.covers).unwrap_or_default();
    let digest = it.digest.to_string();
    tx.execute(
        "INSERT INTO findings_segments
             (generation, feed, digest, size, content_hash, records, newest, covers, since)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        args![
            generation,
            &it.feed,
            &digest,
            it.size,
            &it.content_hash,
            it.records,
            it.newest.as_deref(),
            &covers,
            it.since,
        ],
    )
    .await?;
    tx.execute("DELETE FROM findings_garbage WHERE digest = $1", args![&digest]).await.map(|_| ())
}

/// Forgets generations before `generation`; the blobs that only they had become garbage.
pub(crate) async fn forget_before(tx: &mut Tx<'_>, generation: i64) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO findings_garbage (digest, size)
         SELECT DISTINCT digest, size FROM findings_segments WHERE generation < $1
             AND digest NOT IN (SELECT digest FROM findings_segments WHERE generation >= $1)
         ON CONFLICT (digest) DO NOTHING",
        args![generation],
    )
    .await?;
    tx.execute("DELETE FROM findings_segments WHERE generation < $1", args![generation]).await.map(|_| ())
}

/// A feed was seen: with content that is new, or with the same.
pub(crate) async fn touch_feed(
    tx: &mut Tx<'_>,
    feed: &str,
    checked_at: Timestamp,
    imported_at: Option<Timestamp>,
) -> Result<(), DbError> {
    let (checked_at, imported_at) = (checked_at.as_micros(), imported_at.map(Timestamp::as_micros));
    tx.execute(
        "INSERT INTO findings_feeds (feed, checked_at, imported_at) VALUES ($1, $2, $2)
         ON CONFLICT (feed) DO UPDATE SET
             checked_at = $2, imported_at = COALESCE($3, findings_feeds.imported_at)",
        args![feed, checked_at, imported_at],
    )
    .await
    .map(|_| ())
}

/// Names a blob before it is written: if nothing ever needs it, it is removed.
pub(crate) async fn insert_garbage(tx: &mut Tx<'_>, digest: &Digest, size: u64) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO findings_garbage (digest, size)
         SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM findings_segments WHERE digest = $1)
         ON CONFLICT (digest) DO NOTHING",
        args![&digest.to_string(), size],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn garbage(db: &Db) -> Result<Vec<(Digest, u64)>, DbError> {
    let rows = db.fetch_all("SELECT digest, size FROM findings_garbage", args![]).await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, row.count(1)?))).collect()
}

pub(crate) async fn delete_garbage(tx: &mut Tx<'_>, digest: &Digest) -> Result<(), DbError> {
    let digest = digest.to_string();
    tx.execute("DELETE FROM findings_garbage WHERE digest = $1", args![&digest]).await.map(|_| ())
}

pub(crate) async fn insert_import(
    tx: &mut Tx<'_>,
    revision: i64,
    actor: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO findings_imports (revision, actor, started_at, outcome, report)
         VALUES ($1, $2, $3, 'running', '{}')",
        args![revision, actor, now.as_micros()],
    )
    .await?;
    tx.execute(
        "DELETE FROM findings_imports WHERE revision NOT IN
             (SELECT revision FROM findings_imports ORDER BY revision DESC LIMIT $1)",
        args![limit::HISTORY],
    )
    .await
    .map(|_| ())
}

/// How the import that began with `revision` ended, or stands.
pub(crate) async fn finish_import(
    tx: &mut Tx<'_>,
    revision: i64,
    outcome: &str,
    report: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE findings_imports SET finished_at = $1, outcome = $2, report = $3 WHERE revision = $4",
        args![now.as_micros(), outcome, report, revision],
    )
    .await
    .map(|_| ())
}

/// Imports that were running when their process ended.
pub(crate) async fn mark_interrupted(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), DbError> {
    tx.execute(
        "UPDATE findings_imports SET finished_at = $1, outcome = 'interrupted' WHERE outcome = 'running'",
        args![now.as_micros()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn imports(db: &Db, most: u32) -> Result<Vec<Row>, DbError> {
    db.fetch_all(
        "SELECT revision, actor, started_at, finished_at, outcome, report FROM findings_imports
         ORDER BY revision DESC LIMIT $1",
        args![most.min(limit::PAGE)],
    )
    .await
}

/// Work that an activated generation still causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RematchRow {
    pub(crate) generation: i64,
    pub(crate) previous: i64,
    pub(crate) package_set: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

pub(crate) async fn rematch(db: &Db) -> Result<Option<RematchRow>, DbError> {
    let row = db
        .fetch_optional("SELECT generation, previous, package_set, content FROM findings_rematch", args![])
        .await?;
    row.map(|row| {
        Ok(RematchRow {
            generation: row.int(0)?,
            previous: row.int(1)?,
            package_set: row.bytes(2)?.to_vec(),
            content: row.bytes(3)?.to_vec(),
        })
    })
    .transpose()
}

/// True while an activated generation has consequences that are not stored.
pub(crate) async fn is_rematching(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    Ok(tx.fetch_optional("SELECT 1 FROM findings_rematch", args![]).await?.is_some())
}

pub(crate) async fn insert_rematch(tx: &mut Tx<'_>, generation: i64, previous: i64) -> Result<(), DbError> {
    let nothing: &[u8] = &[];
    tx.execute(
        "INSERT INTO findings_rematch (generation, previous, package_set, content) VALUES ($1, $2, $3, $3)",
        args![generation, previous, nothing],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn move_rematch(
    tx: &mut Tx<'_>,
    generation: i64,
    package_set: &[u8],
    content: &[u8],
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE findings_rematch SET package_set = $1, content = $2 WHERE generation = $3",
        args![package_set, content, generation],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn delete_rematch(tx: &mut Tx<'_>, generation: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM findings_rematch WHERE generation = $1", args![generation]).await.map(|_| ())
}
