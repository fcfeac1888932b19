//! The SQL of clearance.

pub(crate) mod workloads;

use seaworthy_model::{ContentId, ExceptionId, FeedsChanged, FindingSet, FindingsChanged, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::{Facts, InventoryFacts, Verdict};
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};
use serde::Deserialize;

use crate::{ExceptionRow, PolicyRow, StoredVerdict, exceptions::State};

/// The tables of clearance.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "clearance",
    migrations: &[
        Migration {
            id: 1,
            steps: &[
                // What was pushed where, and what it is.
                Step::Create(Table {
                    name: "clearance_subjects",
                    columns: &[
                        Column::text("repository"),
                        Column::text("digest"),
                        Column::text("kind"),
                        Column::text("related"),
                        Column::bytes("content").optional(),
                    ],
                    primary_key: &["repository", "digest"],
                    indexes: &[Index::on(&["content"])],
                }),
                Step::Create(Table {
                    name: "clearance_contents",
                    columns: &[
                        Column::bytes("content"),
                        Column::text("facts"),
                        Column::text("finding_set").optional(),
                        Column::int("generation"),
                    ],
                    primary_key: &["content"],
                    indexes: &[],
                }),
                Step::Create(Table {
                    name: "clearance_sets",
                    columns: &[Column::text("id"), Column::text("body")],
                    primary_key: &["id"],
                    indexes: &[],
                }),
                Step::Create(Table {
                    name: "clearance_state",
                    columns: &[Column::text("name"), Column::int("revision"), Column::text("body")],
                    primary_key: &["name"],
                    indexes: &[],
                }),
                Step::Sql("INSERT INTO clearance_state (name, revision, body) VALUES ('policies', 1, '')"),
                Step::Create(Table {
                    name: "clearance_policies",
                    columns: &[
                        Column::text("name"),
                        Column::int("version"),
                        Column::text("hash"),
                        Column::text("source"),
                        Column::int("applied_at"),
                        Column::text("applied_by"),
                    ],
                    primary_key: &["name", "version"],
                    indexes: &[],
                }),
                Step::Create(Table {
                    name: "clearance_exceptions",
                    columns: &[
                        Column::bytes("id"),
                        Column::text("state"),
                        Column::text("body"),
                        Column::int("expires_at"),
                        Column::int("uses"),
                    ],
                    primary_key: &["id"],
                    indexes: &[Index::on(&["state", "expires_at"])],
                }),
                Step::Create(Table {
                    name: "clearance_verdicts",
                    columns: &[
                        Column::text("repository"),
                        Column::text("digest"),
                        Column::text("purpose"),
                        Column::text("settings"),
                        Column::bytes("content").optional(),
                        Column::text("verdict"),
                        Column::text("reasons"),
                        Column::text("policies"),
                        Column::text("exceptions"),
                        Column::text("facts"),
                        Column::int("decided_at"),
                        Column::int("valid_until").optional(),
                        Column::int("revision"),
                    ],
                    primary_key: &["repository", "digest", "purpose", "settings"],
                    indexes: &[
                        Index::on(&["valid_until"]),
                        Index::on(&["revision"]),
                        Index::on(&["verdict", "repository", "digest"]),
                    ],
                }),
            ],
        },
        Migration { id: 2, steps: &[Step::Create(workloads::WORKLOADS)] },
        // The start under which a container was last allowed: whether it ran before it was blocked.
        Migration {
            id: 3,
            steps: &[Step::AddColumn("clearance_workloads", Column::int("allowed_start").optional())],
        },
    ],
};

/// What a manifest is to clearance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A runnable image, and its content once inspected.
    Image(Option<ContentId>),
    /// An index and its children.
    Index(Vec<Digest>),
    /// Something else, and what it refers to.
    Artifact(Option<Digest>),
}

impl Subject {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Index(_) => "index",
            Self::Artifact(_) => "artifact",
        }
    }
}

/// Names a manifest. An index that is pushed again may wait for less: what it names is a blob by then.
pub(crate) async fn insert_subject(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    subject: &Subject,
) -> Result<(), DbError> {
    let related: Vec<String> = match subject {
        Subject::Image(_) => Vec::new(),
        Subject::Index(children) => children.iter().map(ToString::to_string).collect(),
        Subject::Artifact(subject) => subject.iter().map(ToString::to_string).collect(),
    };
    let related = serde_json::to_string(&related).unwrap_or_default();
    tx.execute(
        "INSERT INTO clearance_subjects (repository, digest, kind, related) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repository, digest) DO UPDATE SET kind = excluded.kind, related = excluded.related
         WHERE (clearance_subjects.kind = 'index' AND clearance_subjects.related <> excluded.related)
             OR (clearance_subjects.kind = 'artifact' AND excluded.kind = 'image')",
        args![repository.as_str(), &digest.to_string(), subject.kind(), &related],
    )
    .await
    .map(|_| ())
}

/// Names the content of an image; the image may not have been announced yet. What older readers saw in it does not
/// replace what newer ones did.
pub(crate) async fn set_content(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    facts: &InventoryFacts,
) -> Result<(), DbError> {
    let known = tx
        .fetch_optional(
            "SELECT c.facts FROM clearance_subjects AS s JOIN clearance_contents AS c ON c.content = s.content
             WHERE s.repository = $1 AND s.digest = $2 AND s.content <> $3",
            args![repository.as_str(), &digest.to_string(), facts.content_id.as_bytes()],
        )
        .await?;
    if is_newer(known.as_ref(), facts) {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO clearance_subjects (repository, digest, kind, related, content)
         VALUES ($1, $2, 'image', '[]', $3)
         ON CONFLICT (repository, digest) DO UPDATE SET content = $3",
        args![repository.as_str(), &digest.to_string(), facts.content_id.as_bytes()],
    )
    .await
    .map(|_| ())
}

/// True when the facts that are stored, in the row's first column, are of newer readers than `facts`.
fn is_newer(stored: Option<&Row>, facts: &InventoryFacts) -> bool {
    /// The part of stored facts that is asked for.
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        reader_version: u32,
    }
    // Empty until there are any; damaged ones are replaced.
    stored.is_some_and(|row| row.json(0).is_ok_and(|it: Version| it.reader_version > facts.reader_version))
}

pub(crate) const SUBJECT: &str =
    "SELECT kind, related, content FROM clearance_subjects WHERE repository = $1 AND digest = $2";

pub(crate) fn read_subject(row: &Row) -> Result<Subject, DbError> {
    let related = || row.json::<Vec<Digest>>(1);
    Ok(match row.text(0)? {
        "index" => Subject::Index(related()?),
        "artifact" => Subject::Artifact(related()?.first().copied()),
        _ => Subject::Image(read_content(row, 2)?),
    })
}

fn read_content(row: &Row, column: usize) -> Result<Option<ContentId>, DbError> {
    let bytes = row.bytes_opt(column)?;
    bytes.map(ContentId::from_bytes).transpose().map_err(|_| row.wrong(column, "a content id"))
}

/// Stores the facts of a content; false when they are what was known, or newer readers saw it already.
pub(crate) async fn upsert_content(tx: &mut Tx<'_>, facts: &InventoryFacts) -> Result<bool, DbError> {
    let sql = "SELECT facts FROM clearance_contents WHERE content = $1";
    let known = tx.fetch_optional(sql, args![facts.content_id.as_bytes()]).await?;
    if is_newer(known.as_ref(), facts) {
        return Ok(false);
    }
    let body = serde_json::to_string(facts).unwrap_or_default();
    let changed = tx
        .execute(
            "INSERT INTO clearance_contents (content, facts, generation) VALUES ($1, $2, 0)
             ON CONFLICT (content) DO UPDATE SET facts = $2 WHERE clearance_contents.facts <> $2",
            args![facts.content_id.as_bytes(), &body],
        )
        .await?;
    Ok(changed == 1)
}

/// Stores a finding set and gives it to a content id, unless a newer one is there; false when that is so, or
/// the content has this set of this generation already.
pub(crate) async fn set_findings(
    tx: &mut Tx<'_>,
    content: &ContentId,
    findings: &FindingsChanged,
) -> Result<bool, DbError> {
    let body = serde_json::to_string(&findings.set).unwrap_or_default();
    // The same rows under another index hash are the same set for rules; the newest hash is kept.
    tx.execute(
        "INSERT INTO clearance_sets (id, body) VALUES ($1, $2)
         ON CONFLICT (id) DO UPDATE SET body = $2 WHERE clearance_sets.body <> $2",
        args![&findings.set.id, &body],
    )
    .await?;
    let sql = "SELECT finding_set, generation FROM clearance_contents WHERE content = $1";
    if let Some(row) = tx.fetch_optional(sql, args![content.as_bytes()]).await?
        && (row.text_opt(0)?, row.int(1)?) == (Some(findings.set.id.as_str()), findings.generation)
    {
        return Ok(false);
    }
    let changed = tx
        .execute(
            "INSERT INTO clearance_contents (content, facts, finding_set, generation) VALUES ($1, '', $2, $3)
             ON CONFLICT (content) DO UPDATE SET finding_set = $2, generation = $3
             WHERE clearance_contents.generation <= $3",
            args![content.as_bytes(), &findings.set.id, findings.generation],
        )
        .await?;
    Ok(changed == 1)
}

/// What is known of a content: inventory facts, finding set with its generation.
pub(crate) async fn content(
    tx: &mut Tx<'_>,
    content: &ContentId,
) -> Result<(Option<InventoryFacts>, Option<FindingsChanged>), DbError> {
    read_known(tx.fetch_optional(CONTENT, args![content.as_bytes()]).await?, content)
}

/// The same, outside a transaction: one statement.
pub(crate) async fn content_now(
    db: &Db,
    content: &ContentId,
) -> Result<(Option<InventoryFacts>, Option<FindingsChanged>), DbError> {
    read_known(db.fetch_optional(CONTENT, args![content.as_bytes()]).await?, content)
}

const CONTENT: &str = "SELECT c.facts, s.body, c.generation FROM clearance_contents AS c
     LEFT JOIN clearance_sets AS s ON s.id = c.finding_set WHERE c.content = $1";

fn read_known(
    row: Option<Row>,
    content: &ContentId,
) -> Result<(Option<InventoryFacts>, Option<FindingsChanged>), DbError> {
    let Some(row) = row else { return Ok((None, None)) };
    let facts = if row.text(0)?.is_empty() { None } else { Some(row.json(0)?) };
    let findings = match row.text_opt(1)? {
        None => None,
        Some(_) => Some(FindingsChanged {
            set: row.json::<FindingSet>(1)?,
            content_ids: vec![*content],
            generation: row.int(2)?,
        }),
    };
    Ok((facts, findings))
}

pub(crate) async fn finding_set(db: &Db, id: &str) -> Result<Option<FindingSet>, DbError> {
    let row = db.fetch_optional("SELECT body FROM clearance_sets WHERE id = $1", args![id]).await?;
    row.map(|row| row.json(0)).transpose()
}

/// Images with one of these contents.
pub(crate) async fn subjects_of(
    tx: &mut Tx<'_>,
    content: &ContentId,
) -> Result<Vec<(RepoName, Digest)>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT repository, digest FROM clearance_subjects WHERE content = $1 AND kind = 'image'",
            args![content.as_bytes()],
        )
        .await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, row.parsed(1)?))).collect()
}

/// Makes every verdict about a content pending until it is decided again.
pub(crate) async fn doubt(tx: &mut Tx<'_>, content: &ContentId) -> Result<(), DbError> {
    for sql in [
        "UPDATE clearance_verdicts SET revision = 0 WHERE (repository, digest) IN
             (SELECT repository, digest FROM clearance_subjects WHERE content = $1 AND kind = 'image')",
        "UPDATE clearance_workloads SET revision = 0 WHERE content = $1",
    ] {
        tx.execute(sql, args![content.as_bytes()]).await?;
    }
    Ok(())
}

const FEEDS: &str = "SELECT body, revision FROM clearance_state WHERE name = 'feeds'";

pub(crate) async fn feeds(tx: &mut Tx<'_>) -> Result<Option<FeedsChanged>, DbError> {
    tx.fetch_optional(FEEDS, args![]).await?.map(|row| row.json(0)).transpose()
}

pub(crate) async fn feeds_now(db: &Db) -> Result<Option<FeedsChanged>, DbError> {
    db.fetch_optional(FEEDS, args![]).await?.map(|row| row.json(0)).transpose()
}

/// Stores the state of feeds, unless a newer one is there.
pub(crate) async fn set_feeds(tx: &mut Tx<'_>, feeds: &FeedsChanged) -> Result<bool, DbError> {
    let body = serde_json::to_string(feeds).unwrap_or_default();
    let changed = tx
        .execute(
            "INSERT INTO clearance_state (name, revision, body) VALUES ('feeds', $1, $2)
             ON CONFLICT (name) DO UPDATE SET revision = $1, body = $2 WHERE clearance_state.revision < $1",
            args![feeds.revision, &body],
        )
        .await?;
    Ok(changed == 1)
}

const REVISION: &str = "SELECT revision FROM clearance_state WHERE name = 'policies'";

pub(crate) async fn revision(db: &Db) -> Result<i64, DbError> {
    db.fetch_optional(REVISION, args![]).await?.map_or(Ok(0), |row| row.int(0))
}

pub(crate) async fn revision_in(tx: &mut Tx<'_>) -> Result<i64, DbError> {
    tx.fetch_optional(REVISION, args![]).await?.map_or(Ok(0), |row| row.int(0))
}

/// Makes every verdict pending until it is decided again: policies or exceptions changed.
pub(crate) async fn bump(tx: &mut Tx<'_>) -> Result<(), DbError> {
    tx.execute("UPDATE clearance_state SET revision = revision + 1 WHERE name = 'policies'", args![])
        .await
        .map(|_| ())
}

const NEWEST_POLICIES: &str =
    "SELECT name, version, hash, source, applied_at, applied_by FROM clearance_policies AS p
     WHERE version = (SELECT MAX(version) FROM clearance_policies WHERE name = p.name) ORDER BY name";

pub(crate) async fn policies(tx: &mut Tx<'_>) -> Result<Vec<PolicyRow>, DbError> {
    tx.fetch_all(NEWEST_POLICIES, args![]).await?.iter().map(read_policy).collect()
}

pub(crate) async fn policies_now(db: &Db) -> Result<Vec<PolicyRow>, DbError> {
    db.fetch_all(NEWEST_POLICIES, args![]).await?.iter().map(read_policy).collect()
}

pub(crate) async fn policy_source(db: &Db, hash: &str) -> Result<Option<String>, DbError> {
    let row = db.fetch_optional("SELECT source FROM clearance_policies WHERE hash = $1", args![hash]).await?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

pub(crate) async fn policy_version(db: &Db, name: &str, version: i64) -> Result<Option<PolicyRow>, DbError> {
    let text = "SELECT name, version, hash, source, applied_at, applied_by FROM clearance_policies
                WHERE name = $1 AND version = $2";
    db.fetch_optional(text, args![name, version]).await?.map(|row| read_policy(&row)).transpose()
}

fn read_policy(row: &Row) -> Result<PolicyRow, DbError> {
    Ok(PolicyRow {
        name: row.text(0)?.to_owned(),
        version: row.int(1)?,
        hash: row.text(2)?.to_owned(),
        source: row.text(3)?.to_owned(),
        applied_at: Timestamp::from_micros(row.int(4)?),
        applied_by: row.text(5)?.to_owned(),
    })
}

pub(crate) async fn insert_policy(tx: &mut Tx<'_>, row: &PolicyRow) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO clearance_policies (name, version, hash, source, applied_at, applied_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![&row.name, row.version, &row.hash, &row.source, row.applied_at.as_micros(), &row.applied_by],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn upsert_exception(tx: &mut Tx<'_>, row: &ExceptionRow) -> Result<(), DbError> {
    let body = serde_json::to_string(&row.exception).unwrap_or_default();
    tx.execute(
        "INSERT INTO clearance_exceptions (id, state, body, expires_at, uses) VALUES ($1, $2, $3, $4, 0)
         ON CONFLICT (id) DO UPDATE SET state = $2, body = $3",
        args![row.exception.id.as_bytes(), row.state.word(), &body, row.exception.expires_at.as_micros()],
    )
    .await
    .map(|_| ())
}

const EXCEPTIONS: &str = "SELECT body, state, uses FROM clearance_exceptions";

pub(crate) async fn active_exceptions(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<ExceptionRow>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT body, state, uses FROM clearance_exceptions WHERE state = 'approved' AND expires_at > $1 ORDER BY id",
            args![now.as_micros()],
        )
        .await?;
    rows.iter().map(read_exception).collect()
}

pub(crate) async fn exception(tx: &mut Tx<'_>, id: ExceptionId) -> Result<Option<ExceptionRow>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT body, state, uses FROM clearance_exceptions WHERE id = $1",
            args![id.as_bytes()],
        )
        .await?;
    row.map(|row| read_exception(&row)).transpose()
}

pub(crate) async fn exceptions(db: &Db) -> Result<Vec<ExceptionRow>, DbError> {
    db.fetch_all(EXCEPTIONS, args![]).await?.iter().map(read_exception).collect()
}

pub(crate) async fn count_exceptions(tx: &mut Tx<'_>, now: Timestamp) -> Result<i64, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT COUNT(*) FROM clearance_exceptions WHERE expires_at > $1",
            args![now.as_micros()],
        )
        .await?;
    row.map_or(Ok(0), |row| row.int(0))
}

pub(crate) async fn count_use(tx: &mut Tx<'_>, id: ExceptionId) -> Result<(), DbError> {
    tx.execute("UPDATE clearance_exceptions SET uses = uses + 1 WHERE id = $1", args![id.as_bytes()])
        .await
        .map(|_| ())
}

fn read_exception(row: &Row) -> Result<ExceptionRow, DbError> {
    Ok(ExceptionRow {
        exception: row.json(0)?,
        state: State::parse(row.text(1)?).ok_or_else(|| row.wrong(1, "a state"))?,
        uses: row.count(2)?,
    })
}

const VERDICT: &str =
    "SELECT repository, digest, content, verdict, reasons, policies, exceptions, facts, decided_at,
         valid_until, revision FROM clearance_verdicts
     WHERE repository = $1 AND digest = $2 AND purpose = $3 AND settings = ''";

pub(crate) async fn verdict(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    purpose: &'static str,
) -> Result<Option<StoredVerdict>, DbError> {
    verdict_row(db, repository, digest, purpose).await?.map(|row| read_verdict(&row)).transpose()
}

/// The row of a verdict: for [`read_verdict`].
pub(crate) async fn verdict_row(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    purpose: &'static str,
) -> Result<Option<Row>, DbError> {
    db.fetch_optional(VERDICT, args![repository.as_str(), &digest.to_string(), purpose]).await
}

/// Bytes of the texts that a verdict's row holds.
pub(crate) fn verdict_texts(row: &Row) -> Result<u64, DbError> {
    let mut bytes = 0;
    for column in 4..=7 {
        bytes += row.text(column)?.len() as u64;
    }
    Ok(bytes)
}

pub(crate) async fn verdict_in(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    purpose: &'static str,
) -> Result<Option<StoredVerdict>, DbError> {
    let row = tx.fetch_optional(VERDICT, args![repository.as_str(), &digest.to_string(), purpose]).await?;
    row.map(|row| read_verdict(&row)).transpose()
}

pub(crate) fn read_verdict(row: &Row) -> Result<StoredVerdict, DbError> {
    let verdict = match row.text(3)? {
        "allowed" => Verdict::Allowed,
        "blocked" => Verdict::Blocked,
        "pending" => Verdict::Pending,
        _ => return Err(row.wrong(3, "a verdict")),
    };
    Ok(StoredVerdict {
        repository: row.parsed(0)?,
        digest: row.parsed(1)?,
        content_id: read_content(row, 2)?,
        verdict,
        reasons: row.json(4)?,
        policies: row.json(5)?,
        exceptions: row.json(6)?,
        facts: row.json::<Facts>(7)?,
        decided_at: Timestamp::from_micros(row.int(8)?),
        valid_until: row.int_opt(9)?.map(Timestamp::from_micros),
        revision: row.int(10)?,
    })
}

pub(crate) async fn upsert_verdict(
    tx: &mut Tx<'_>,
    it: &StoredVerdict,
    purpose: &'static str,
) -> Result<(), DbError> {
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    tx.execute(
        "INSERT INTO clearance_verdicts (repository, digest, purpose, settings, content, verdict, reasons, policies,
             exceptions, facts, decided_at, valid_until, revision)
         VALUES ($1, $2, $3, '', $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (repository, digest, purpose, settings) DO UPDATE SET
             content = $4, verdict = $5, reasons = $6, policies = $7, exceptions = $8, facts = $9,
             decided_at = $10, valid_until = $11, revision = $12",
        args![
            it.repository.as_str(),
            &it.digest.to_string(),
            purpose,
            it.content_id.as_ref().map(ContentId::as_bytes),
            it.verdict.word(),
            &json(serde_json::to_string(&it.reasons)),
            &json(serde_json::to_string(&it.policies)),
            &json(serde_json::to_string(&it.exceptions)),
            &json(serde_json::to_string(&it.facts)),
            it.decided_at.as_micros(),
            it.valid_until.map(Timestamp::as_micros),
            it.revision,
        ],
    )
    .await
    .map(|_| ())
}

/// Verdicts that time or a policy change made pending, oldest first.
pub(crate) async fn due(
    db: &Db,
    revision: i64,
    now: Timestamp,
    most: i64,
) -> Result<Vec<(RepoName, Digest)>, DbError> {
    let mut rows = db
        .fetch_all(
            "SELECT repository, digest FROM clearance_verdicts WHERE revision < $1 ORDER BY revision LIMIT $2",
            args![revision, most],
        )
        .await?;
    rows.extend(
        db.fetch_all(
            "SELECT repository, digest FROM clearance_verdicts WHERE valid_until <= $1 ORDER BY valid_until LIMIT $2",
            args![now.as_micros(), most],
        )
        .await?,
    );
    rows.iter().map(|row| Ok((row.parsed(0)?, row.parsed(1)?))).collect()
}

/// Verdicts other than `allowed`, after a key, in key order.
pub(crate) async fn unsettled(
    db: &Db,
    verdict: &'static str,
    after: &(String, String),
    most: i64,
) -> Result<Vec<(RepoName, Digest)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository, digest FROM clearance_verdicts
             WHERE verdict = $1 AND (repository > $2 OR (repository = $2 AND digest > $3))
             ORDER BY repository, digest LIMIT $4",
            args![verdict, &after.0, &after.1, most],
        )
        .await?;
    rows.iter().map(|row| Ok((row.parsed(0)?, row.parsed(1)?))).collect()
}
