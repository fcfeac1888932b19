//! The room's SQL.

use seaworthy_model::{ContentId, InventoryProblem, InventoryReady, ProblemCode, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{
    Arg, Db, DbError, Row, Tx, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

use crate::{
    ROOM, compose,
    layer::{LayerState, NewLayer},
    limit,
};

/// The inspection room's tables.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "inspection",
    migrations: &[Migration {
        id: 1,
        steps: &[
            Step::Create(Table {
                name: "inspection_layers",
                columns: &[
                    Column::text("digest"),
                    Column::int("reader_version"),
                    Column::text("diff_id").optional(),
                    Column::text("answer").optional(),
                    Column::int("answer_bytes").optional(),
                    Column::text("problem").optional(),
                    Column::text("message").optional(),
                    Column::int("inspected_at"),
                ],
                primary_key: &["digest", "reader_version"],
                indexes: &[Index::on(&["answer"])],
            }),
            Step::Create(Table {
                name: "inspection_inventories",
                columns: &[
                    Column::bytes("content_id"),
                    Column::text("config"),
                    Column::int("reader_version"),
                    Column::bytes("ready"),
                    Column::int("inspected_at"),
                ],
                primary_key: &["content_id", "config"],
                indexes: &[Index::on(&["config"])],
            }),
            Step::Create(Table {
                name: "inspection_manifests",
                columns: &[
                    Column::text("repository"),
                    Column::text("digest"),
                    Column::text("config"),
                    Column::bytes("content_id"),
                    Column::int("inspected_at"),
                ],
                primary_key: &["repository", "digest"],
                indexes: &[Index::on(&["digest", "inspected_at"])],
            }),
        ],
    }],
};

/// The key of a stored inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InventoryKey {
    pub(crate) content_id: ContentId,
    pub(crate) config: Digest,
}

/// An inventory in its stored form.
#[derive(Clone, Debug)]
pub(crate) struct StoredInventory(Vec<u8>);

impl StoredInventory {
    /// Packs a result that names no manifests.
    pub(crate) fn new(ready: &InventoryReady) -> Self {
        Self(compose::pack(ready))
    }
}

/// What these readers found in a layer; `None` when they have not read it.
pub(crate) async fn layer(db: &Db, digest: &Digest, reader: u32) -> Result<Option<LayerState>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT diff_id, answer, answer_bytes, problem, message FROM inspection_layers
             WHERE digest = $1 AND reader_version = $2",
            args![&digest.to_string(), reader],
        )
        .await?;
    row.map(|row| read_layer(&row)).transpose()
}

fn read_layer(row: &Row) -> Result<LayerState, DbError> {
    if row.text_opt(0)?.is_some() {
        return Ok(LayerState::Read {
            diff_id: row.parsed(0)?,
            answer: row.parsed(1)?,
            bytes: row.count(2)?,
        });
    }
    let code = row.text(3)?;
    let code = [ProblemCode::LayerUnreadable, ProblemCode::LayerTooLarge, ProblemCode::ReaderFailed]
        .into_iter()
        .find(|known| known.name() == code)
        .ok_or_else(|| row.wrong(3, "a layer's problem"))?;
    Ok(LayerState::Problem(InventoryProblem { code, layer: None, message: row.text(4)?.to_owned() }))
}

/// Stores what was found in a layer; a reading that was stored meanwhile is replaced by its equal.
pub(crate) async fn put_layer(tx: &mut Tx<'_>, new: &NewLayer, now: Timestamp) -> Result<(), DbError> {
    if let Some(small) = &new.small {
        tx.put_small_blob(ROOM, small).await?;
    }
    let (diff_id, answer, bytes, problem) = match &new.state {
        LayerState::Read { diff_id, answer, bytes } => {
            (Some(diff_id.to_string()), Some(answer.to_string()), i64::try_from(*bytes).ok(), None)
        }
        LayerState::Problem(problem) => (None, None, None, Some(problem)),
    };
    tx.execute(
        "INSERT INTO inspection_layers
             (digest, reader_version, diff_id, answer, answer_bytes, problem, message, inspected_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (digest, reader_version)
         DO UPDATE SET diff_id = $3, answer = $4, answer_bytes = $5, problem = $6, message = $7",
        args![
            &new.digest.to_string(),
            seaworthy_inventory::READER_VERSION,
            diff_id.as_deref(),
            answer.as_deref(),
            bytes,
            problem.map(|problem| problem.code.name()),
            problem.map(|problem| problem.message.as_str()),
            now.as_micros(),
        ],
    )
    .await
    .map(|_| ())
}

/// Forgets all readings that are in the blob `answer` of this room.
pub(crate) async fn forget_answer(tx: &mut Tx<'_>, answer: &Digest) -> Result<(), DbError> {
    tx.remove_small_blob(ROOM, answer).await?;
    tx.execute("DELETE FROM inspection_layers WHERE answer = $1", args![&answer.to_string()])
        .await
        .map(|_| ())
}

/// Stores a result for its manifests.
pub(crate) async fn put_inventory(
    tx: &mut Tx<'_>,
    ready: &InventoryReady,
    stored: &StoredInventory,
    now: Timestamp,
) -> Result<(), DbError> {
    let (content_id, config) = (ready.content_id(), ready.config.to_string());
    tx.execute(
        "INSERT INTO inspection_inventories (content_id, config, reader_version, ready, inspected_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (content_id, config)
         DO UPDATE SET reader_version = $3, ready = $4, inspected_at = $5
         WHERE inspection_inventories.reader_version <= $3",
        args![content_id.as_bytes(), &config, ready.inventory.reader_version, &stored.0, now.as_micros()],
    )
    .await?;
    for (repository, digest) in &ready.manifests {
        tx.execute(
            "INSERT INTO inspection_manifests (repository, digest, config, content_id, inspected_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (repository, digest) DO UPDATE SET content_id = $4, inspected_at = $5",
            args![repository.as_str(), &digest.to_string(), &config, content_id.as_bytes(), now.as_micros()],
        )
        .await?;
    }
    Ok(())
}

/// The newest result of a manifest, whatever the repository.
pub(crate) async fn newest_of_manifest(db: &Db, digest: &Digest) -> Result<Option<InventoryKey>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT content_id, config FROM inspection_manifests
             WHERE digest = $1 ORDER BY inspected_at DESC LIMIT 1",
            args![&digest.to_string()],
        )
        .await?;
    row.map(|row| Ok(InventoryKey { content_id: read_content_id(&row)?, config: row.parsed(1)? })).transpose()
}

/// The newest content of each manifest, for at most [`TOGETHER`] of them.
pub(crate) async fn contents_of(db: &Db, digests: &[Digest]) -> Result<Vec<(Digest, ContentId)>, DbError> {
    // One text for every number of them: the last one is asked for again.
    let Some(last) = digests.last() else { return Ok(Vec::new()) };
    let padded = digests.iter().chain(std::iter::repeat(last)).take(TOGETHER);
    let texts: Vec<String> = padded.map(Digest::to_string).collect();
    let args: Vec<Arg<'_>> = texts.iter().map(|text| Arg::from(text.as_str())).collect();
    let rows = db
        .fetch_all(
            "SELECT content_id, digest FROM inspection_manifests WHERE digest IN (
               $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
               $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35,
               $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50)
             ORDER BY inspected_at",
            &args,
        )
        .await?;
    rows.iter().map(|row| Ok((row.parsed(1)?, read_content_id(row)?))).collect()
}

/// Manifests of one question: as many as its statement has places.
pub(crate) const TOGETHER: usize = 50;

/// Repositories where the manifest has this result.
pub(crate) async fn repositories(
    db: &Db,
    digest: &Digest,
    key: &InventoryKey,
) -> Result<Vec<RepoName>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository FROM inspection_manifests
             WHERE digest = $1 AND content_id = $2 ORDER BY repository LIMIT $3",
            args![&digest.to_string(), key.content_id.as_bytes(), limit::REPOSITORIES],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// One stored inventory, packed.
pub(crate) async fn inventory(db: &Db, key: &InventoryKey) -> Result<Option<Vec<u8>>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT ready FROM inspection_inventories WHERE content_id = $1 AND config = $2",
            args![key.content_id.as_bytes(), &key.config.to_string()],
        )
        .await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

/// The newest inventory of a content, packed.
pub(crate) async fn newest_of_content(db: &Db, id: &ContentId) -> Result<Option<Vec<u8>>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT ready FROM inspection_inventories
             WHERE content_id = $1 ORDER BY inspected_at DESC, config LIMIT 1",
            args![id.as_bytes()],
        )
        .await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

/// Inventories with this config that these readers made, packed, newest first.
pub(crate) async fn inventories_of_config(
    db: &Db,
    config: &Digest,
    reader: u32,
) -> Result<Vec<(ContentId, Vec<u8>)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT content_id, ready FROM inspection_inventories
             WHERE config = $1 AND reader_version = $2 ORDER BY inspected_at DESC, content_id LIMIT $3",
            args![&config.to_string(), reader, limit::CANDIDATES],
        )
        .await?;
    rows.iter().map(|row| Ok((read_content_id(row)?, row.bytes(1)?.to_vec()))).collect()
}

fn read_content_id(row: &Row) -> Result<ContentId, DbError> {
    ContentId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "a content id"))
}
