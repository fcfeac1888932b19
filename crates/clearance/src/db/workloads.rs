//! The SQL of containers as clearance knows them.

use seaworthy_model::{ContainerKey, ContainerSeen, ContentId, HostId, Presence, Timestamp};
use seaworthy_policy::Verdict;
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Table},
};

use crate::{
    limit,
    workload::{Judgement, Workload},
};

/// One row for each container; of one that is gone only a trace that outdates late news of it.
pub(super) const WORKLOADS: Table = Table {
    name: "clearance_workloads",
    columns: &[
        Column::bytes("host"),
        Column::text("runtime"),
        Column::text("id"),
        // `ContainerSeen`, and its revision and presence.
        Column::text("seen"),
        Column::int("told"),
        Column::text("presence"),
        Column::int("changed_at"),
        Column::bytes("content").optional(),
        // Empty until it is judged.
        Column::text("verdict"),
        Column::text("judgement").optional(),
        Column::int("valid_until").optional(),
        Column::int("revision"),
        // The start that was reported as a violation.
        Column::int("reported_start").optional(),
    ],
    primary_key: &["host", "runtime", "id"],
    indexes: &[
        Index::on(&["content"]),
        Index::on(&["presence", "verdict", "host", "runtime", "id"]),
        Index::on(&["presence", "revision"]),
        Index::on(&["presence", "valid_until"]),
        Index::on(&["presence", "changed_at"]),
    ],
};

/// Stores what a container is now, unless something newer is there; to be judged in the same transaction.
pub(crate) async fn put(tx: &mut Tx<'_>, seen: &ContainerSeen, now: Timestamp) -> Result<bool, DbError> {
    let body = serde_json::to_string(seen).unwrap_or_default();
    let changed = tx
        .execute(
            "INSERT INTO clearance_workloads
                 (host, runtime, id, seen, told, presence, changed_at, content, verdict, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', 0)
             ON CONFLICT (host, runtime, id) DO UPDATE SET
                 seen = $4, told = $5, presence = $6, changed_at = $7, content = $8, revision = 0
             WHERE clearance_workloads.told <= $5",
            args![
                seen.key.host.as_bytes(),
                &seen.key.runtime,
                &seen.key.id,
                &body,
                seen.revision,
                seen.presence.word(),
                now.as_micros(),
                seen.content_id.as_ref().map(ContentId::as_bytes),
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Forgets containers that are gone for longer than late news of them could take.
pub(crate) async fn forget_gone(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), DbError> {
    let before = now.plus_seconds(-limit::GONE_SECONDS).as_micros();
    tx.execute("DELETE FROM clearance_workloads WHERE presence = 'gone' AND changed_at < $1", args![before])
        .await
        .map(|_| ())
}

const WORKLOAD: &str = "SELECT seen, verdict, judgement, valid_until, revision, reported_start, allowed_start
     FROM clearance_workloads WHERE host = $1 AND runtime = $2 AND id = $3";

pub(crate) async fn workload_in(tx: &mut Tx<'_>, key: &ContainerKey) -> Result<Option<Workload>, DbError> {
    let row = tx.fetch_optional(WORKLOAD, args![key.host.as_bytes(), &key.runtime, &key.id]).await?;
    row.map(|row| read(&row)).transpose()
}

pub(crate) async fn workload(db: &Db, key: &ContainerKey) -> Result<Option<Workload>, DbError> {
    let row = db.fetch_optional(WORKLOAD, args![key.host.as_bytes(), &key.runtime, &key.id]).await?;
    row.map(|row| read(&row)).transpose()
}

/// A verdict without what it rests on.
pub(crate) struct Answer {
    /// `None` until it is judged.
    verdict: Option<Verdict>,
    valid_until: Option<Timestamp>,
    revision: i64,
}

impl Answer {
    /// What it says now, under this revision of policies and exceptions.
    pub(crate) fn at(&self, revision: i64, now: Timestamp) -> Verdict {
        let holds = self.revision >= revision && self.valid_until.is_none_or(|until| now < until);
        self.verdict.filter(|_| holds).unwrap_or(Verdict::Pending)
    }
}

/// The answer of a container that is not gone.
pub(crate) async fn answer(db: &Db, key: &ContainerKey) -> Result<Option<Answer>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT verdict, valid_until, revision FROM clearance_workloads
             WHERE host = $1 AND runtime = $2 AND id = $3 AND presence <> 'gone'",
            args![key.host.as_bytes(), &key.runtime, &key.id],
        )
        .await?;
    row.map(|row| {
        Ok(Answer {
            verdict: verdict(&row, 0)?,
            valid_until: row.int_opt(1)?.map(Timestamp::from_micros),
            revision: row.int(2)?,
        })
    })
    .transpose()
}

fn verdict(row: &Row, column: usize) -> Result<Option<Verdict>, DbError> {
    match row.text(column)? {
        "" => Ok(None),
        "allowed" => Ok(Some(Verdict::Allowed)),
        "blocked" => Ok(Some(Verdict::Blocked)),
        "pending" => Ok(Some(Verdict::Pending)),
        _ => Err(row.wrong(column, "a verdict")),
    }
}

fn read(row: &Row) -> Result<Workload, DbError> {
    let judgement = match (verdict(row, 1)?, row.text_opt(2)?) {
        (None, _) | (_, None) => None,
        (Some(verdict), Some(_)) => {
            let mut judgement: Judgement = row.json(2)?;
            judgement.verdict = verdict;
            judgement.valid_until = row.int_opt(3)?.map(Timestamp::from_micros);
            judgement.revision = row.int(4)?;
            Some(judgement)
        }
    };
    Ok(Workload {
        seen: row.json(0)?,
        judgement,
        reported_start: row.int_opt(5)?.map(Timestamp::from_micros),
        allowed_start: row.int_opt(6)?.map(Timestamp::from_micros),
    })
}

/// Stores a judgement, and the starts that were reported and allowed.
pub(crate) async fn set_judgement(
    tx: &mut Tx<'_>,
    key: &ContainerKey,
    it: &Judgement,
    (reported_start, allowed_start): (Option<Timestamp>, Option<Timestamp>),
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE clearance_workloads SET verdict = $4, judgement = $5, valid_until = $6, revision = $7,
             reported_start = $8, allowed_start = $9
         WHERE host = $1 AND runtime = $2 AND id = $3",
        args![
            key.host.as_bytes(),
            &key.runtime,
            &key.id,
            it.verdict.word(),
            &serde_json::to_string(it).unwrap_or_default(),
            it.valid_until.map(Timestamp::as_micros),
            it.revision,
            reported_start.map(Timestamp::as_micros),
            allowed_start.map(Timestamp::as_micros),
        ],
    )
    .await
    .map(|_| ())
}

/// Containers that run one of these contents, and are there.
pub(crate) async fn of_content(tx: &mut Tx<'_>, content: &ContentId) -> Result<Vec<ContainerKey>, DbError> {
    let sql = "SELECT host, runtime, id FROM clearance_workloads WHERE content = $1 AND presence <> 'gone'";
    tx.fetch_all(sql, args![content.as_bytes()]).await?.iter().map(read_key).collect()
}

/// Judgements that time or a policy change made pending: of running containers first.
pub(crate) async fn due(
    db: &Db,
    revision: i64,
    now: Timestamp,
    most: i64,
) -> Result<Vec<ContainerKey>, DbError> {
    let mut keys = Vec::new();
    for presence in [Presence::Live, Presence::Stopped] {
        for (sql, bound) in [
            (
                "SELECT host, runtime, id FROM clearance_workloads
                 WHERE presence = $1 AND revision < $2 ORDER BY revision LIMIT $3",
                revision,
            ),
            (
                "SELECT host, runtime, id FROM clearance_workloads
                 WHERE presence = $1 AND valid_until <= $2 ORDER BY valid_until LIMIT $3",
                now.as_micros(),
            ),
        ] {
            let rows = db.fetch_all(sql, args![presence.word(), bound, most]).await?;
            keys.extend(rows.iter().map(read_key).collect::<Result<Vec<_>, _>>()?);
        }
    }
    keys.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(keys)
}

/// Containers that are there with this verdict, after a key, in key order.
pub(crate) async fn with_verdict(
    db: &Db,
    (presence, verdict): (Presence, &'static str),
    after: Option<&ContainerKey>,
    most: i64,
) -> Result<Vec<ContainerKey>, DbError> {
    let none = ContainerKey { host: HostId::from_u128(0), runtime: String::new(), id: String::new() };
    let after = after.unwrap_or(&none);
    db.fetch_all(
        "SELECT host, runtime, id FROM clearance_workloads
         WHERE presence = $1 AND verdict = $2 AND (host, runtime, id) > ($3, $4, $5)
         ORDER BY host, runtime, id LIMIT $6",
        args![presence.word(), verdict, after.host.as_bytes(), &after.runtime, &after.id, most],
    )
    .await?
    .iter()
    .map(read_key)
    .collect()
}

fn read_key(row: &Row) -> Result<ContainerKey, DbError> {
    let host = HostId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))?;
    Ok(ContainerKey { host, runtime: row.text(1)?.to_owned(), id: row.text(2)?.to_owned() })
}
