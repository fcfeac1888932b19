//! Package sets, their results, and the contents that have them.

use seaworthy_model::{ContentId, Timestamp};
use seaworthy_oci::{Algorithm, Digest};
use seaworthy_store::{
    Arg, Db, DbError, Row, Tx, args,
    schema::{Column, Index, Table},
};

/// Operating system and packages that content ids share, once.
pub(super) const SETS: Table = Table {
    name: "findings_sets",
    columns: &[
        Column::bytes("id"),
        // Zstandard over JSON.
        Column::bytes("packages"),
        Column::int("stored_at"),
    ],
    primary_key: &["id"],
    indexes: &[],
};

/// The newest finding set of each package set.
pub(super) const RESULTS: Table = Table {
    name: "findings_results",
    columns: &[
        Column::bytes("package_set"),
        // Generation with which it was computed; later ones give the same unless they are in `findings_rematch`.
        Column::int("generation"),
        Column::text("finding_set"),
        // The finding set that all contents were told.
        Column::text("announced"),
        // Zstandard over the JSON of a `FindingSet`.
        Column::bytes("body"),
    ],
    primary_key: &["package_set"],
    indexes: &[],
};

/// The package set of each content id.
pub(super) const CONTENTS: Table = Table {
    name: "findings_contents",
    columns: &[
        Column::bytes("content"),
        Column::bytes("package_set"),
        Column::int("reader_version"),
        Column::int("stored_at"),
    ],
    primary_key: &["content"],
    indexes: &[Index::on(&["package_set", "content"])],
};

/// A result as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct ResultRow {
    pub(crate) generation: i64,
    pub(crate) finding_set: String,
    pub(crate) announced: String,
}

/// The id of a package set in SQL, read back.
pub(crate) fn set_id(row: &Row, column: usize) -> Result<Digest, DbError> {
    Digest::from_hash(Algorithm::Sha256, row.bytes(column)?)
        .ok_or_else(|| row.wrong(column, "a package set's id"))
}

pub(crate) fn content_id(row: &Row, column: usize) -> Result<ContentId, DbError> {
    ContentId::from_bytes(row.bytes(column)?).map_err(|_| row.wrong(column, "a content id"))
}

/// Ids after `after`, in order.
pub(crate) async fn ids(db: &Db, after: &[u8], most: i64) -> Result<Vec<Digest>, DbError> {
    let rows = db
        .fetch_all("SELECT id FROM findings_sets WHERE id > $1 ORDER BY id LIMIT $2", args![after, most])
        .await?;
    rows.iter().map(|row| set_id(row, 0)).collect()
}

/// The packed operating system and packages of a set.
pub(crate) async fn packages(db: &Db, set: &Digest) -> Result<Option<Vec<u8>>, DbError> {
    let row =
        db.fetch_optional("SELECT packages FROM findings_sets WHERE id = $1", args![set.hash()]).await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

/// Ids and packed packages after `after` up to `last`.
pub(crate) async fn packages_between(
    db: &Db,
    after: &[u8],
    last: &Digest,
) -> Result<Vec<(Digest, Vec<u8>)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT id, packages FROM findings_sets WHERE id > $1 AND id <= $2",
            args![after, last.hash()],
        )
        .await?;
    rows.iter().map(|row| Ok((set_id(row, 0)?, row.bytes(1)?.to_vec()))).collect()
}

const READ_RESULT: &str =
    "SELECT generation, finding_set, announced FROM findings_results WHERE package_set = $1";

fn read_result(row: &Row) -> Result<ResultRow, DbError> {
    Ok(ResultRow {
        generation: row.int(0)?,
        finding_set: row.text(1)?.to_owned(),
        announced: row.text(2)?.to_owned(),
    })
}

pub(crate) async fn result(db: &Db, set: &Digest) -> Result<Option<ResultRow>, DbError> {
    db.fetch_optional(READ_RESULT, args![set.hash()]).await?.as_ref().map(read_result).transpose()
}

pub(crate) async fn result_in(tx: &mut Tx<'_>, set: &Digest) -> Result<Option<ResultRow>, DbError> {
    tx.fetch_optional(READ_RESULT, args![set.hash()]).await?.as_ref().map(read_result).transpose()
}

/// A set's packed finding set, and the generation it was computed with.
pub(crate) async fn body(db: &Db, set: &Digest) -> Result<Option<(i64, Vec<u8>)>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT generation, body FROM findings_results WHERE package_set = $1",
            args![set.hash()],
        )
        .await?;
    row.map(|row| Ok((row.int(0)?, row.bytes(1)?.to_vec()))).transpose()
}

/// The package sets of contents, and the names of their finding sets, for at most [`TOGETHER`] of them.
pub(crate) async fn finding_sets(
    db: &Db,
    contents: &[ContentId],
) -> Result<Vec<(ContentId, Digest, String)>, DbError> {
    // One text for every number of them: the last one is asked for again.
    let Some(last) = contents.last() else { return Ok(Vec::new()) };
    let padded = contents.iter().chain(std::iter::repeat(last)).take(TOGETHER);
    let args: Vec<Arg<'_>> = padded.map(|content| Arg::from(content.as_bytes())).collect();
    let rows = db
        .fetch_all(
            "SELECT c.content, r.package_set, r.finding_set
             FROM findings_contents AS c JOIN findings_results AS r ON r.package_set = c.package_set
             WHERE c.content IN (
               $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
               $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36,
               $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50)",
            &args,
        )
        .await?;
    rows.iter().map(|row| Ok((content_id(row, 0)?, set_id(row, 1)?, row.text(2)?.to_owned()))).collect()
}

/// Contents of one question: as many as its statement has places.
pub(crate) const TOGETHER: usize = 50;

pub(crate) async fn insert_set(
    tx: &mut Tx<'_>,
    set: &Digest,
    packages: &[u8],
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO findings_sets (id, packages, stored_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        args![set.hash(), packages, now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// A new result, told to whoever brings the set; of an existing one only the content changes.
pub(crate) async fn put_result(
    tx: &mut Tx<'_>,
    set: &Digest,
    generation: i64,
    finding_set: &str,
    body: &[u8],
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO findings_results (package_set, generation, finding_set, announced, body)
         VALUES ($1, $2, $3, $3, $4)
         ON CONFLICT (package_set) DO UPDATE SET generation = $2, finding_set = $3, body = $4",
        args![set.hash(), generation, finding_set, body],
    )
    .await
    .map(|_| ())
}

/// Changes a result that exists; a set that went meanwhile stays away.
pub(crate) async fn update_result(
    tx: &mut Tx<'_>,
    set: &Digest,
    generation: i64,
    finding_set: &str,
    body: &[u8],
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE findings_results SET generation = $2, finding_set = $3, body = $4 WHERE package_set = $1",
        args![set.hash(), generation, finding_set, body],
    )
    .await
    .map(|_| ())
}

/// All contents of the set know its result now.
pub(crate) async fn announced(tx: &mut Tx<'_>, set: &Digest) -> Result<(), DbError> {
    tx.execute(
        "UPDATE findings_results SET announced = finding_set WHERE package_set = $1",
        args![set.hash()],
    )
    .await
    .map(|_| ())
}

/// The set of a content, and the version of the readers that saw it.
pub(crate) async fn set_of(tx: &mut Tx<'_>, content: &ContentId) -> Result<Option<(Digest, i64)>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT package_set, reader_version FROM findings_contents WHERE content = $1",
            args![content.as_bytes()],
        )
        .await?;
    row.map(|row| Ok((set_id(&row, 0)?, row.int(1)?))).transpose()
}

pub(crate) async fn assign(
    tx: &mut Tx<'_>,
    content: &ContentId,
    set: &Digest,
    reader_version: u32,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO findings_contents (content, package_set, reader_version, stored_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (content) DO UPDATE SET package_set = $2, reader_version = $3",
        args![content.as_bytes(), set.hash(), reader_version, now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Forgets a set that no content has.
pub(crate) async fn forget_unused(tx: &mut Tx<'_>, set: &Digest) -> Result<(), DbError> {
    let id = set.hash();
    let used = tx
        .fetch_optional("SELECT 1 FROM findings_contents WHERE package_set = $1 LIMIT 1", args![id])
        .await?;
    if used.is_none() {
        tx.execute("DELETE FROM findings_results WHERE package_set = $1", args![id]).await?;
        tx.execute("DELETE FROM findings_sets WHERE id = $1", args![id]).await?;
    }
    Ok(())
}

const CONTENTS_PAGE: &str =
    "SELECT content FROM findings_contents WHERE package_set = $1 AND content > $2 ORDER BY content LIMIT $3";

/// Contents of a set after `after`, in order.
pub(crate) async fn contents_in(
    tx: &mut Tx<'_>,
    set: &Digest,
    after: &[u8],
    most: i64,
) -> Result<Vec<ContentId>, DbError> {
    let rows = tx.fetch_all(CONTENTS_PAGE, args![set.hash(), after, most]).await?;
    rows.iter().map(|row| content_id(row, 0)).collect()
}

/// The same outside a transaction.
pub(crate) async fn contents(
    db: &Db,
    set: &Digest,
    after: &[u8],
    most: i64,
) -> Result<Vec<ContentId>, DbError> {
    let rows = db.fetch_all(CONTENTS_PAGE, args![set.hash(), after, most]).await?;
    rows.iter().map(|row| content_id(row, 0)).collect()
}
