//! The SQL of the alias graph: what was pushed, what it is, and what engines call it.

use std::collections::BTreeSet;

use seaworthy_link::EngineImage;
use seaworthy_model::{ChildManifest, ContentId, HostId, Timestamp};
use seaworthy_oci::{Digest, Platform, RepoName};
use seaworthy_store::{
    DbError, Row, Tx, args,
    schema::{Column, Index, Table},
};

use crate::{alias, limit};

/// Manifests by repository. All rows of one digest have the same content.
pub(super) const MANIFESTS: Table = Table {
    name: "fleet_manifests",
    columns: &[
        Column::text("repository"),
        Column::text("digest"),
        Column::int("is_index"),
        Column::text("config").optional(),
        Column::bytes("content").optional(),
        Column::text("platform").optional(),
        // The first push; the end of time until the push is heard of.
        Column::int("pushed_at"),
    ],
    primary_key: &["repository", "digest"],
    indexes: &[
        Index::on(&["digest"]),
        Index::on(&["config", "content"]),
        Index::on(&["content", "pushed_at", "repository", "digest"]),
        Index::on(&["content", "repository", "pushed_at", "digest"]),
    ],
};

pub(super) const CHILDREN: Table = Table {
    name: "fleet_children",
    columns: &[Column::text("parent"), Column::text("child"), Column::text("platform").optional()],
    primary_key: &["parent", "child"],
    indexes: &[Index::on(&["child", "parent"])],
};

/// Images of engines: claims about their own host.
pub(super) const IMAGES: Table = Table {
    name: "fleet_images",
    columns: &[
        Column::bytes("host"),
        Column::text("runtime"),
        Column::text("id"),
        Column::text("body"),
        Column::int("received_at"),
    ],
    primary_key: &["host", "runtime", "id"],
    indexes: &[Index::on(&["host", "received_at"])],
};

pub(super) const IMAGE_DIGESTS: Table = Table {
    name: "fleet_image_digests",
    columns: &[Column::text("digest"), Column::bytes("host"), Column::text("runtime"), Column::text("image")],
    primary_key: &["digest", "host", "runtime", "image"],
    indexes: &[Index::on(&["host", "runtime", "image"])],
};

/// Notes that an image or an index was pushed.
pub(crate) async fn put_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    config: Option<&Digest>,
    pushed_at: Timestamp,
) -> Result<(), DbError> {
    let (digest, config) = (digest.to_string(), config.map(Digest::to_string));
    tx.execute(
        "INSERT INTO fleet_manifests (repository, digest, is_index, config, content, platform, pushed_at)
         VALUES ($1, $2, $3, $4, (SELECT content FROM fleet_manifests WHERE digest = $2 LIMIT 1),
                 (SELECT platform FROM fleet_manifests WHERE digest = $2 LIMIT 1), $5)
         ON CONFLICT (repository, digest) DO UPDATE SET pushed_at = $5 WHERE fleet_manifests.pushed_at > $5",
        args![repository.as_str(), &digest, config.is_none(), config.as_deref(), pushed_at.as_micros()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn put_children(
    tx: &mut Tx<'_>,
    parent: &Digest,
    children: &[ChildManifest],
) -> Result<(), DbError> {
    let parent = parent.to_string();
    for child in children {
        let platform = child.platform.as_ref().map(|it| serde_json::to_string(it).unwrap_or_default());
        tx.execute(
            "INSERT INTO fleet_children (parent, child, platform) VALUES ($1, $2, $3)
             ON CONFLICT (parent, child) DO NOTHING",
            args![&parent, &child.digest.to_string(), platform.as_deref()],
        )
        .await?;
    }
    Ok(())
}

/// Notes what an image was measured to be, wherever it is.
pub(crate) async fn put_content(
    tx: &mut Tx<'_>,
    (repository, digest): (&RepoName, &Digest),
    config: &Digest,
    content: &ContentId,
    platform: &Platform,
) -> Result<(), DbError> {
    let (digest, config) = (digest.to_string(), config.to_string());
    let platform = serde_json::to_string(platform).unwrap_or_default();
    tx.execute(
        "INSERT INTO fleet_manifests (repository, digest, is_index, config, content, platform, pushed_at)
         VALUES ($1, $2, 0, $3, $4, $5, $6) ON CONFLICT (repository, digest) DO NOTHING",
        args![repository.as_str(), &digest, &config, content.as_bytes(), &platform, i64::MAX],
    )
    .await?;
    tx.execute(
        "UPDATE fleet_manifests SET config = $2, content = $3, platform = $4
         WHERE digest = $1 AND (content IS NULL OR content <> $3 OR config <> $2)",
        args![&digest, &config, content.as_bytes(), &platform],
    )
    .await
    .map(|_| ())
}

/// What is known of a manifest or index digest, in any repository.
pub(crate) struct KnownManifest {
    pub(crate) is_index: bool,
    pub(crate) content: Option<ContentId>,
    pub(crate) platform: Option<Platform>,
}

pub(crate) async fn manifest(tx: &mut Tx<'_>, digest: &Digest) -> Result<Option<KnownManifest>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT is_index, content, platform FROM fleet_manifests WHERE digest = $1 LIMIT 1",
            args![&digest.to_string()],
        )
        .await?;
    row.map(|row| {
        Ok(KnownManifest {
            is_index: row.int(0)? != 0,
            content: content_opt(&row, 1)?,
            platform: row.text_opt(2)?.map(|_| row.json(2)).transpose()?,
        })
    })
    .transpose()
}

/// Children of an index with the platforms it claims.
pub(crate) async fn children(tx: &mut Tx<'_>, parent: &Digest) -> Result<Vec<ChildManifest>, DbError> {
    tx.fetch_all(
        "SELECT child, platform FROM fleet_children WHERE parent = $1 ORDER BY child LIMIT $2",
        args![&parent.to_string(), limit::CHILDREN],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(ChildManifest {
            digest: row.parsed(0)?,
            platform: row.text_opt(1)?.map(|_| row.json(1)).transpose()?,
        })
    })
    .collect()
}

/// Indexes that name a manifest.
pub(crate) async fn parents(tx: &mut Tx<'_>, child: &Digest) -> Result<Vec<Digest>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT parent FROM fleet_children WHERE child = $1 ORDER BY parent LIMIT $2",
            args![&child.to_string(), limit::CHILDREN],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

/// Measured contents of a config; `None` when no image with it was pushed.
pub(crate) async fn contents_of_config(
    tx: &mut Tx<'_>,
    config: &Digest,
) -> Result<Option<BTreeSet<ContentId>>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT DISTINCT content FROM fleet_manifests WHERE config = $1 LIMIT $2",
            args![&config.to_string(), limit::CONTENTS],
        )
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let contents: Result<Vec<_>, _> = rows.iter().map(|row| content_opt(row, 0)).collect();
    Ok(Some(contents?.into_iter().flatten().collect()))
}

/// A manifest with a content, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) repository: RepoName,
    pub(crate) digest: Digest,
}

/// Manifests of a content in one repository, oldest first.
pub(crate) async fn places_in(
    tx: &mut Tx<'_>,
    content: &ContentId,
    repository: &RepoName,
) -> Result<Vec<Place>, DbError> {
    let rows = tx
        .fetch_all(
            "SELECT repository, digest FROM fleet_manifests WHERE content = $1 AND repository = $2
             ORDER BY pushed_at, digest LIMIT $3",
            args![content.as_bytes(), repository.as_str(), limit::PLACES],
        )
        .await?;
    rows.iter().map(read_place).collect()
}

/// The oldest manifest of a content.
pub(crate) async fn oldest_place(tx: &mut Tx<'_>, content: &ContentId) -> Result<Option<Place>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT repository, digest FROM fleet_manifests WHERE content = $1
             ORDER BY pushed_at, repository, digest LIMIT 1",
            args![content.as_bytes()],
        )
        .await?;
    row.map(|row| read_place(&row)).transpose()
}

fn read_place(row: &Row) -> Result<Place, DbError> {
    Ok(Place { repository: row.parsed(0)?, digest: row.parsed(1)? })
}

pub(crate) fn content_opt(row: &Row, column: usize) -> Result<Option<ContentId>, DbError> {
    let bytes = row.bytes_opt(column)?;
    bytes.map(ContentId::from_bytes).transpose().map_err(|_| row.wrong(column, "a content id"))
}

/// Stores an engine's image; false when it is as it was.
pub(crate) async fn put_image(
    tx: &mut Tx<'_>,
    host: HostId,
    image: &EngineImage,
    now: Timestamp,
) -> Result<bool, DbError> {
    let (runtime, id) = (image.runtime.word(), alias::image_key(&image.id));
    let body = serde_json::to_string(image).unwrap_or_default();
    let before = tx
        .fetch_optional(
            "SELECT body FROM fleet_images WHERE host = $1 AND runtime = $2 AND id = $3",
            args![host.as_bytes(), runtime, &id],
        )
        .await?;
    tx.execute(
        "INSERT INTO fleet_images (host, runtime, id, body, received_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (host, runtime, id) DO UPDATE SET body = $4, received_at = $5",
        args![host.as_bytes(), runtime, &id, &body, now.as_micros()],
    )
    .await?;
    if before.as_ref().map(|row| row.text(0)).transpose()? == Some(body.as_str()) {
        return Ok(false);
    }
    tx.execute(
        "DELETE FROM fleet_image_digests WHERE host = $1 AND runtime = $2 AND image = $3",
        args![host.as_bytes(), runtime, &id],
    )
    .await?;
    for digest in alias::digests(&image.repository_digests) {
        tx.execute(
            "INSERT INTO fleet_image_digests (digest, host, runtime, image) VALUES ($1, $2, $3, $4)
             ON CONFLICT (digest, host, runtime, image) DO NOTHING",
            args![&digest.to_string(), host.as_bytes(), runtime, &id],
        )
        .await?;
    }
    Ok(true)
}

/// Notes what its host read in an image; false when that engine never described such an image.
pub(crate) async fn set_scanned(
    tx: &mut Tx<'_>,
    host: HostId,
    (runtime, id): (&str, &str),
    content: &ContentId,
) -> Result<bool, DbError> {
    let sql = "UPDATE fleet_images SET scanned = $4 WHERE host = $1 AND runtime = $2 AND id = $3";
    let changed = tx.execute(sql, args![host.as_bytes(), runtime, id, content.as_bytes()]).await?;
    Ok(changed == 1)
}

/// What the host itself read in an image.
pub(crate) async fn scanned(
    tx: &mut Tx<'_>,
    host: HostId,
    runtime: &str,
    id: &str,
) -> Result<Option<ContentId>, DbError> {
    let sql = "SELECT scanned FROM fleet_images WHERE host = $1 AND runtime = $2 AND id = $3";
    let row = tx.fetch_optional(sql, args![host.as_bytes(), runtime, id]).await?;
    row.map_or(Ok(None), |row| content_opt(&row, 0))
}

pub(crate) async fn image(
    tx: &mut Tx<'_>,
    host: HostId,
    runtime: &str,
    id: &str,
) -> Result<Option<EngineImage>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT body FROM fleet_images WHERE host = $1 AND runtime = $2 AND id = $3",
            args![host.as_bytes(), runtime, id],
        )
        .await?;
    row.map(|row| row.json(0)).transpose()
}
