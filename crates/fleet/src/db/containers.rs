//! The SQL of containers.

use seaworthy_link::Container;
use seaworthy_model::{ContentId, HostId, Timestamp};
use seaworthy_oci::Digest;
use seaworthy_store::{
    Db, DbError, Row, Tx, args,
    schema::{Column, Index, Table},
};

use crate::{
    ContainerView, Cursor, ImageView, Mapping, Presence, Unmapped,
    alias::{self, Resolved},
    db::aliases,
    history::Before,
    limit,
};

pub(super) const CONTAINERS: Table = Table {
    name: "fleet_containers",
    columns: &[
        Column::bytes("host"),
        Column::text("runtime"),
        Column::text("id"),
        // What is sorted by: at most `limit::NAME_BYTES`; the whole name is in the body.
        Column::text("name"),
        Column::text("presence"),
        Column::text("body"),
        Column::int("generation"),
        Column::int("seen_at"),
        Column::int("received_at"),
        Column::int("gone_at").optional(),
        Column::text("image_id"),
        Column::text("manifest").optional(),
        Column::text("mapping"),
        Column::text("reason").optional(),
        Column::bytes("content").optional(),
        Column::text("repository").optional(),
        Column::text("digest").optional(),
    ],
    primary_key: &["host", "runtime", "id"],
    indexes: &[
        Index::on(&["presence", "name", "host", "runtime", "id"]),
        Index::on(&["host", "presence", "name", "runtime", "id"]),
        Index::on(&["content", "presence", "name", "host", "runtime", "id"]),
        Index::on(&["presence", "mapping"]),
        Index::on(&["image_id", "host", "runtime", "id"]),
        Index::on(&["manifest", "host", "runtime", "id"]),
        Index::on(&["id"]),
    ],
};

/// A container's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) host: HostId,
    pub(crate) runtime: String,
    pub(crate) id: String,
}

/// The names of a container's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) host: HostId,
    pub(crate) runtime: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) manifest: Option<Digest>,
}

impl Names {
    pub(crate) fn of(host: HostId, container: &Container) -> Self {
        Self {
            host,
            runtime: container.runtime.word().to_owned(),
            image: container.image.clone(),
            image_id: alias::image_key(&container.image_id),
            manifest: container.manifest,
        }
    }
}

/// A container as a batch finds it.
pub(crate) struct Stored {
    pub(crate) order: (i64, Timestamp),
    pub(crate) presence: Presence,
    pub(crate) before: Before,
    pub(crate) names: Names,
}

pub(crate) async fn stored(tx: &mut Tx<'_>, key: &Key) -> Result<Option<Stored>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT generation, seen_at, presence, body FROM fleet_containers
             WHERE host = $1 AND runtime = $2 AND id = $3",
            args![key.host.as_bytes(), &key.runtime, &key.id],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let container: Container = row.json(3)?;
    let presence = presence(&row, 2)?;
    Ok(Some(Stored {
        order: (row.int(0)?, Timestamp::from_micros(row.int(1)?)),
        presence,
        before: Before { live: presence == Presence::Live, started_at: container.started_at },
        names: Names::of(key.host, &container),
    }))
}

/// Stores a container as it is seen; how its image resolves is stored apart.
pub(crate) async fn put(
    tx: &mut Tx<'_>,
    key: &Key,
    container: &Container,
    (generation, now): (i64, Timestamp),
) -> Result<(), DbError> {
    let presence = if container.state.is_live() { Presence::Live } else { Presence::Stopped };
    let body = serde_json::to_string(container).unwrap_or_default();
    let manifest = container.manifest.map(|digest| digest.to_string());
    tx.execute(
        "INSERT INTO fleet_containers
           (host, runtime, id, name, presence, body, generation, seen_at, received_at, image_id, manifest, mapping)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'unmapped')
         ON CONFLICT (host, runtime, id) DO UPDATE SET name = $4, presence = $5, body = $6, generation = $7,
           seen_at = $8, received_at = $9, gone_at = NULL, image_id = $10, manifest = $11",
        args![
            key.host.as_bytes(),
            &key.runtime,
            &key.id,
            &sort_name(&container.name),
            presence.word(),
            &body,
            generation,
            container.seen_at.as_micros(),
            now.as_micros(),
            &alias::image_key(&container.image_id),
            manifest.as_deref()
        ],
    )
    .await
    .map(|_| ())
}

/// A name as it is sorted: what PostgreSQL can hold and index.
pub(crate) fn sort_name(name: &str) -> String {
    let clean = name.replace('\0', "\u{fffd}");
    clean.get(..clean.floor_char_boundary(limit::NAME_BYTES)).unwrap_or_default().to_owned()
}

/// Marks a container gone at the agent's `at`.
pub(crate) async fn set_gone(
    tx: &mut Tx<'_>,
    key: &Key,
    (generation, at): (i64, Timestamp),
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE fleet_containers SET presence = 'gone', generation = $4, seen_at = $5, gone_at = $5, received_at = $6
         WHERE host = $1 AND runtime = $2 AND id = $3",
        args![key.host.as_bytes(), &key.runtime, &key.id, generation, at.as_micros(), now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Containers of a runtime that are there and were not seen later than `(generation, at)`.
pub(crate) async fn seen_until(
    tx: &mut Tx<'_>,
    host: HostId,
    runtime: &str,
    (generation, at): (i64, Timestamp),
) -> Result<Vec<Key>, DbError> {
    tx.fetch_all(
        "SELECT host, runtime, id FROM fleet_containers
         WHERE host = $1 AND presence IN ('live', 'stopped') AND runtime = $2
           AND (generation < $3 OR (generation = $3 AND seen_at <= $4)) ORDER BY id",
        args![host.as_bytes(), runtime, generation, at.as_micros()],
    )
    .await?
    .iter()
    .map(read_key)
    .collect()
}

pub(crate) async fn count(tx: &mut Tx<'_>, host: HostId) -> Result<u64, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT COUNT(*) FROM fleet_containers WHERE host = $1 AND presence IN ('live', 'stopped')",
            args![host.as_bytes()],
        )
        .await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// Containers whose names include `digest`, on any host.
pub(crate) async fn named(tx: &mut Tx<'_>, digest: &Digest) -> Result<Vec<Key>, DbError> {
    tx.fetch_all(
        "SELECT host, runtime, id FROM fleet_containers WHERE image_id = $1
         UNION SELECT host, runtime, id FROM fleet_containers WHERE manifest = $1
         UNION SELECT c.host, c.runtime, c.id FROM fleet_image_digests AS d
           JOIN fleet_containers AS c ON c.host = d.host AND c.runtime = d.runtime AND c.image_id = d.image
           WHERE d.digest = $1",
        args![&digest.to_string()],
    )
    .await?
    .iter()
    .map(read_key)
    .collect()
}

pub(crate) async fn of_content(tx: &mut Tx<'_>, content: &ContentId) -> Result<Vec<Key>, DbError> {
    tx.fetch_all(
        "SELECT host, runtime, id FROM fleet_containers WHERE content = $1",
        args![content.as_bytes()],
    )
    .await?
    .iter()
    .map(read_key)
    .collect()
}

/// Containers of a host, or of one of its images.
pub(crate) async fn of_host(
    tx: &mut Tx<'_>,
    host: HostId,
    image: Option<(&str, &str)>,
) -> Result<Vec<Key>, DbError> {
    let rows = match image {
        None => {
            let sql = "SELECT host, runtime, id FROM fleet_containers WHERE host = $1";
            tx.fetch_all(sql, args![host.as_bytes()]).await?
        }
        Some((runtime, image)) => {
            let sql = "SELECT host, runtime, id FROM fleet_containers
                       WHERE image_id = $3 AND host = $1 AND runtime = $2";
            tx.fetch_all(sql, args![host.as_bytes(), runtime, image]).await?
        }
    };
    rows.iter().map(read_key).collect()
}

/// Stores how a container's image resolves.
pub(crate) async fn set_image(
    tx: &mut Tx<'_>,
    key: &Key,
    resolved: &Resolved,
    reported: &str,
) -> Result<(), DbError> {
    let (mapping, reason, content, repository, digest) = match resolved {
        Resolved::Exact(content, place) => {
            let repository = Some(place.repository.to_string());
            (Mapping::Exact, None, Some(*content), repository, Some(place.digest.to_string()))
        }
        Resolved::ScannedHere(content) => {
            (Mapping::ScannedHere, None, Some(*content), alias::foreign_repository(reported), None)
        }
        Resolved::Unmapped(reason) => {
            (Mapping::Unmapped, Some(reason.word()), None, alias::foreign_repository(reported), None)
        }
    };
    tx.execute(
        "UPDATE fleet_containers SET mapping = $4, reason = $5, content = $6, repository = $7, digest = $8
         WHERE host = $1 AND runtime = $2 AND id = $3",
        args![
            key.host.as_bytes(),
            &key.runtime,
            &key.id,
            mapping.word(),
            reason,
            content.as_ref().map(ContentId::as_bytes),
            repository.as_deref(),
            digest.as_deref()
        ],
    )
    .await
    .map(|_| ())
}

/// What clearance was told of a container: how often, and the hash of the last.
pub(crate) async fn told(tx: &mut Tx<'_>, key: &Key) -> Result<(i64, Option<String>), DbError> {
    let row = tx
        .fetch_optional(
            "SELECT told, told_hash FROM fleet_containers WHERE host = $1 AND runtime = $2 AND id = $3",
            args![key.host.as_bytes(), &key.runtime, &key.id],
        )
        .await?;
    let Some(row) = row else { return Ok((0, None)) };
    Ok((row.int_opt(0)?.unwrap_or(0), row.text_opt(1)?.map(str::to_owned)))
}

/// Containers that are there and were not told of, behind a key, in order.
pub(crate) async fn untold(tx: &mut Tx<'_>, after: Option<&Key>, most: usize) -> Result<Vec<Key>, DbError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let (host, runtime, id) =
        after.map_or((&[][..], "", ""), |key| (key.host.as_bytes(), key.runtime.as_str(), key.id.as_str()));
    let rows = tx
        .fetch_all(
            "SELECT host, runtime, id FROM fleet_containers
             WHERE told_hash IS NULL AND presence <> 'gone' AND (host, runtime, id) > ($1, $2, $3)
             ORDER BY host, runtime, id LIMIT $4",
            args![host, runtime, id, most],
        )
        .await?;
    rows.iter().map(read_key).collect()
}

pub(crate) async fn set_told(tx: &mut Tx<'_>, key: &Key, (told, hash): (i64, &str)) -> Result<(), DbError> {
    tx.execute(
        "UPDATE fleet_containers SET told = $4, told_hash = $5 WHERE host = $1 AND runtime = $2 AND id = $3",
        args![key.host.as_bytes(), &key.runtime, &key.id, told, hash],
    )
    .await
    .map(|_| ())
}

/// The columns of a view, its conditions, and its order.
macro_rules! views {
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT c.host, h.name, c.body, c.presence, c.received_at, c.gone_at, c.mapping, c.reason,
                    c.content, c.repository, c.digest, c.name, c.runtime, c.id
             FROM fleet_containers AS c JOIN fleet_hosts AS h ON h.id = c.host WHERE ",
            $where,
            $order
        )
    };
}

/// One container, in a transaction.
pub(crate) async fn view(tx: &mut Tx<'_>, key: &Key) -> Result<Option<ContainerView>, DbError> {
    let row = tx
        .fetch_optional(
            views!("c.host = $1 AND c.runtime = $2", " AND c.id = $3"),
            args![key.host.as_bytes(), &key.runtime, &key.id],
        )
        .await?;
    row.map(|row| Ok(read_view(&row)?.1)).transpose()
}

/// A page in name order: the first four arguments are the cursor, the fifth the limit, the sixth
/// the presence.
macro_rules! page {
    ($where:literal) => {
        views!(
            $where,
            " AND c.presence = $6 AND (c.name, c.host, c.runtime, c.id) > ($1, $2, $3, $4)
             ORDER BY c.name, c.host, c.runtime, c.id LIMIT $5"
        )
    };
}

/// A view and where it stands in the order of pages.
pub(crate) type Placed = (Cursor, ContainerView);

/// Containers of one presence, after a cursor in name order.
pub(crate) async fn page(
    db: &Db,
    (host, content): (Option<HostId>, Option<&ContentId>),
    presence: Presence,
    after: &Cursor,
    most: i64,
) -> Result<Vec<Placed>, DbError> {
    let (host, content) = (host.as_ref().map(HostId::as_bytes), content.map(ContentId::as_bytes));
    let word = presence.word();
    let key = (after.name.as_str(), after.host_bytes(), after.runtime.as_str(), after.id.as_str());
    let (a, b, c, d) = key;
    let rows = match (host, content) {
        (None, None) => db.fetch_all(page!("1 = 1"), args![a, b, c, d, most, word]).await,
        (Some(host), None) => db.fetch_all(page!("c.host = $7"), args![a, b, c, d, most, word, host]).await,
        (None, Some(content)) => {
            db.fetch_all(page!("c.content = $7"), args![a, b, c, d, most, word, content]).await
        }
        (Some(host), Some(content)) => {
            let sql = page!("c.content = $7 AND c.host = $8");
            db.fetch_all(sql, args![a, b, c, d, most, word, content, host]).await
        }
    };
    rows?.iter().map(read_view).collect()
}

/// Containers of one presence with exactly this name.
pub(crate) async fn by_name(
    db: &Db,
    host: Option<HostId>,
    presence: Presence,
    name: &str,
) -> Result<Vec<Placed>, DbError> {
    let most = i64::try_from(limit::CANDIDATES).unwrap_or(1);
    let name = sort_name(name);
    let rows = match host.as_ref().map(HostId::as_bytes) {
        None => {
            let sql = views!("c.presence = $1 AND c.name = $2", " ORDER BY c.host, c.runtime, c.id LIMIT $3");
            db.fetch_all(sql, args![presence.word(), &name, most]).await
        }
        Some(host) => {
            let sql = views!(
                "c.presence = $1 AND c.name = $2 AND c.host = $4",
                " ORDER BY c.host, c.runtime, c.id LIMIT $3"
            );
            db.fetch_all(sql, args![presence.word(), &name, most, host]).await
        }
    };
    rows?.iter().map(read_view).collect()
}

/// Containers in the order of ids from `prefix` on.
pub(crate) async fn from_id(db: &Db, host: Option<HostId>, prefix: &str) -> Result<Vec<Placed>, DbError> {
    let most = i64::try_from(limit::CANDIDATES).unwrap_or(1);
    let prefix = prefix.replace('\0', "\u{fffd}");
    let rows = match host.as_ref().map(HostId::as_bytes) {
        None => db.fetch_all(views!("c.id >= $1", " ORDER BY c.id LIMIT $2"), args![&prefix, most]).await,
        Some(host) => {
            let sql = views!("c.id >= $1 AND c.host = $3", " ORDER BY c.id LIMIT $2");
            db.fetch_all(sql, args![&prefix, most, host]).await
        }
    };
    rows?.iter().map(read_view).collect()
}

/// Containers of one presence: of a content, of a host.
pub(crate) async fn count_content(db: &Db, content: &ContentId) -> Result<u64, DbError> {
    let row = db
        .fetch_optional(
            "SELECT COUNT(*) FROM fleet_containers WHERE content = $1 AND presence = 'live'",
            args![content.as_bytes()],
        )
        .await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// How many containers every host has of each presence.
pub(crate) async fn count_by_host(db: &Db) -> Result<Vec<(HostId, Presence, u64)>, DbError> {
    db.fetch_all("SELECT host, presence, COUNT(*) FROM fleet_containers GROUP BY host, presence", args![])
        .await?
        .iter()
        .map(|row| Ok((super::host_id(row, 0)?, presence(row, 1)?, row.count(2)?)))
        .collect()
}

/// How many containers there are of each presence and mapping.
pub(crate) async fn count_by_mapping(db: &Db) -> Result<Vec<(Presence, Mapping, u64)>, DbError> {
    db.fetch_all(
        "SELECT presence, mapping, COUNT(*) FROM fleet_containers GROUP BY presence, mapping",
        args![],
    )
    .await?
    .iter()
    .map(|row| {
        let mapping = Mapping::from_word(row.text(1)?).ok_or_else(|| row.wrong(1, "a mapping"))?;
        Ok((presence(row, 0)?, mapping, row.count(2)?))
    })
    .collect()
}

fn presence(row: &Row, column: usize) -> Result<Presence, DbError> {
    Presence::from_word(row.text(column)?).ok_or_else(|| row.wrong(column, "a presence"))
}

fn read_key(row: &Row) -> Result<Key, DbError> {
    Ok(Key { host: super::host_id(row, 0)?, runtime: row.text(1)?.to_owned(), id: row.text(2)?.to_owned() })
}

fn read_view(row: &Row) -> Result<Placed, DbError> {
    let host = super::host_id(row, 0)?;
    let container: Container = row.json(2)?;
    let image = ImageView {
        reported: container.image.clone(),
        reported_id: container.image_id.clone(),
        mapping: Mapping::from_word(row.text(6)?).ok_or_else(|| row.wrong(6, "a mapping"))?,
        reason: row.text_opt(7)?.and_then(Unmapped::from_word),
        content_id: aliases::content_opt(row, 8)?,
        repository: row.text_opt(9)?.map(str::to_owned),
        digest: row.text_opt(10)?.map(|_| row.parsed(10)).transpose()?,
    };
    let cursor = Cursor {
        name: row.text(11)?.to_owned(),
        host: Some(host),
        runtime: row.text(12)?.to_owned(),
        id: row.text(13)?.to_owned(),
    };
    let view = ContainerView {
        host,
        host_name: row.text(1)?.to_owned(),
        container,
        image,
        presence: presence(row, 3)?,
        received_at: Timestamp::from_micros(row.int(4)?),
        gone_at: row.int_opt(5)?.map(Timestamp::from_micros),
    };
    Ok((cursor, view))
}
