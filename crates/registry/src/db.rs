//! The registry's SQL.

use seaworthy_model::{ManifestPushed, PrincipalId, Timestamp, UploadId};
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{
    Db, DbError, Row, Tx, UploadState, args,
    schema::{Column, Index, Migration, RoomSchema, Step, Table},
};

/// The registry's tables.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "registry",
    migrations: &[Migration {
        id: 1,
        steps: &[
            Step::Create(Table {
                name: "registry_repositories",
                columns: &[Column::text("path"), Column::int("created_at")],
                primary_key: &["path"],
                indexes: &[],
            }),
            Step::Create(Table {
                name: "registry_blobs",
                columns: &[
                    Column::text("digest"),
                    Column::int("size"),
                    Column::text("state"),
                    Column::int("generation"),
                    Column::int("pinned_until"),
                    Column::int("stored_at"),
                ],
                primary_key: &["digest"],
                indexes: &[],
            }),
            Step::Create(Table {
                name: "registry_links",
                columns: &[
                    Column::text("repository"),
                    Column::text("digest"),
                    Column::text("principal"),
                    // 1 when the principal brought or could read the bytes; 0 when it mounted what
                    // it may name and not read.
                    Column::int("reader"),
                    Column::int("linked_at"),
                ],
                primary_key: &["repository", "digest", "principal"],
                indexes: &[Index::on(&["digest"])],
            }),
            Step::Create(Table {
                name: "registry_manifests",
                columns: &[
                    Column::text("repository"),
                    Column::text("digest"),
                    Column::text("media_type"),
                    Column::text("artifact_type").optional(),
                    Column::text("subject").optional(),
                    Column::int("size"),
                    Column::int("pushed_at"),
                    Column::text("pushed_by"),
                ],
                primary_key: &["repository", "digest"],
                indexes: &[Index::on(&["digest"]), Index::on(&["repository", "subject", "artifact_type"])],
            }),
            Step::Create(Table {
                name: "registry_manifest_bytes",
                columns: &[Column::text("digest"), Column::bytes("bytes")],
                primary_key: &["digest"],
                indexes: &[],
            }),
            Step::Create(Table {
                name: "registry_references",
                columns: &[
                    Column::text("repository"),
                    Column::text("manifest"),
                    Column::text("kind"),
                    Column::text("digest"),
                ],
                primary_key: &["repository", "manifest", "kind", "digest"],
                indexes: &[Index::on(&["repository", "digest", "manifest"])],
            }),
            Step::Create(Table {
                name: "registry_tags",
                columns: &[
                    Column::text("repository"),
                    Column::text("name"),
                    Column::text("digest"),
                    Column::int("updated_at"),
                ],
                primary_key: &["repository", "name"],
                indexes: &[Index::on(&["repository", "digest"])],
            }),
            Step::Create(Table {
                name: "registry_uploads",
                columns: &[
                    Column::bytes("id"),
                    Column::text("repository"),
                    Column::text("principal"),
                    Column::int("received"),
                    Column::bytes("hash_state"),
                    Column::int("version"),
                    Column::int("expires_at"),
                ],
                primary_key: &["id"],
                indexes: &[Index::on(&["expires_at"]), Index::on(&["principal"])],
            }),
        ],
    }],
};

/// The key of a link: who brought a blob into a repository.
pub(crate) fn bearer(principal: Option<PrincipalId>) -> String {
    principal.map_or_else(|| "operator".to_owned(), |id| id.to_string())
}

/// A stored manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) size: u64,
}

pub(crate) async fn manifest(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<StoredManifest>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT digest, media_type, size FROM registry_manifests WHERE repository = $1 AND digest = $2",
            args![repository.as_str(), &digest.to_string()],
        )
        .await?;
    row.map(|row| read_manifest(&row)).transpose()
}

pub(crate) async fn tagged(
    db: &Db,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<StoredManifest>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT m.digest, m.media_type, m.size FROM registry_tags AS t
             JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
             WHERE t.repository = $1 AND t.name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    row.map(|row| read_manifest(&row)).transpose()
}

fn read_manifest(row: &Row) -> Result<StoredManifest, DbError> {
    Ok(StoredManifest { digest: row.parsed(0)?, media_type: row.text(1)?.to_owned(), size: row.count(2)? })
}

pub(crate) async fn manifest_bytes(db: &Db, digest: &Digest) -> Result<Option<Vec<u8>>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT bytes FROM registry_manifest_bytes WHERE digest = $1",
            args![&digest.to_string()],
        )
        .await?;
    row.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

pub(crate) async fn blob_size(db: &Db, digest: &Digest) -> Result<Option<u64>, DbError> {
    let row = db
        .fetch_optional("SELECT size FROM registry_blobs WHERE digest = $1", args![&digest.to_string()])
        .await?;
    row.map(|row| row.count(0)).transpose()
}

/// What a link gives to the principal that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It may name the blob in a manifest.
    Name,
    /// It may read it as well, until a manifest decides.
    Read,
}

/// True when `principal` has a link to the blob that gives this.
pub(crate) async fn has_link(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    principal: &str,
    link: Link,
) -> Result<bool, DbError> {
    let row = db
        .fetch_optional(
            "SELECT 1 FROM registry_links
             WHERE repository = $1 AND digest = $2 AND principal = $3 AND reader >= $4",
            args![repository.as_str(), &digest.to_string(), principal, link == Link::Read],
        )
        .await?;
    Ok(row.is_some())
}

/// Manifests of the repository that name the blob, after `after` in digest order.
pub(crate) async fn reaching(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    after: &str,
    most: i64,
) -> Result<Vec<Digest>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT DISTINCT manifest FROM registry_references
             WHERE repository = $1 AND digest = $2 AND manifest > $3 ORDER BY manifest LIMIT $4",
            args![repository.as_str(), &digest.to_string(), after, most],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}

pub(crate) async fn tags(
    db: &Db,
    repository: &RepoName,
    after: &str,
    most: i64,
) -> Result<Vec<String>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT name FROM registry_tags WHERE repository = $1 AND name > $2 ORDER BY name LIMIT $3",
            args![repository.as_str(), after, most],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

pub(crate) async fn repository_exists(db: &Db, repository: &RepoName) -> Result<bool, DbError> {
    let row = db
        .fetch_optional("SELECT 1 FROM registry_repositories WHERE path = $1", args![repository.as_str()])
        .await?;
    Ok(row.is_some())
}

pub(crate) async fn repositories(db: &Db, after: &str, most: i64) -> Result<Vec<String>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT path FROM registry_repositories WHERE path > $1 ORDER BY path LIMIT $2",
            args![after, most],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// One line of the image list.
pub(crate) async fn images(
    db: &Db,
    prefix: &str,
    after: (&str, &str),
    most: i64,
) -> Result<Vec<Row>, DbError> {
    let end = format!("{prefix}\u{10ffff}");
    db.fetch_all(
        "SELECT t.repository, t.name, t.digest, m.media_type, m.size, m.pushed_at, m.pushed_by
         FROM registry_tags AS t
         JOIN registry_manifests AS m ON m.repository = t.repository AND m.digest = t.digest
         WHERE t.repository >= $1 AND t.repository < $2
           AND (t.repository > $3 OR (t.repository = $3 AND t.name > $4))
         ORDER BY t.repository, t.name LIMIT $5",
        args![prefix, &end, after.0, after.1, most],
    )
    .await
}

pub(crate) async fn insert_blob(
    tx: &mut Tx<'_>,
    digest: &Digest,
    size: u64,
    now: Timestamp,
) -> Result<bool, DbError> {
    let inserted = tx
        .execute(
            "INSERT INTO registry_blobs (digest, size, state, generation, pinned_until, stored_at)
             VALUES ($1, $2, 'live', 1, 0, $3) ON CONFLICT (digest) DO NOTHING",
            args![&digest.to_string(), size, now.as_micros()],
        )
        .await?;
    Ok(inserted == 1)
}

pub(crate) async fn insert_link(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    bearer: (&str, Link),
    now: Timestamp,
) -> Result<(), DbError> {
    let (principal, link) = bearer;
    tx.execute(
        "INSERT INTO registry_links (repository, digest, principal, reader, linked_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (repository, digest, principal) DO UPDATE SET
             reader = CASE WHEN registry_links.reader = 1 THEN 1 ELSE $4 END",
        args![repository.as_str(), &digest.to_string(), principal, link == Link::Read, now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// True when a manifest of `repository` by `pusher` may name the blob: it is reachable there
/// already, or the pusher brought it.
pub(crate) async fn may_name(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    pusher: &str,
) -> Result<Option<u64>, DbError> {
    let row = tx
        .fetch_optional(
            "SELECT size FROM registry_blobs WHERE digest = $2 AND (
                 EXISTS (SELECT 1 FROM registry_links WHERE repository = $1 AND digest = $2 AND principal = $3)
                 OR EXISTS (SELECT 1 FROM registry_references WHERE repository = $1 AND digest = $2))",
            args![repository.as_str(), &digest.to_string(), pusher],
        )
        .await?;
    row.map(|row| row.count(0)).transpose()
}

pub(crate) async fn insert_manifest(
    tx: &mut Tx<'_>,
    pushed: &ManifestPushed,
    artifact_type: Option<&str>,
    bytes: &[u8],
    by: &str,
) -> Result<(), DbError> {
    let (repository, digest) = (pushed.repository.as_str(), pushed.digest.to_string());
    let now = pushed.pushed_at.as_micros();
    tx.execute(
        "INSERT INTO registry_repositories (path, created_at) VALUES ($1, $2) ON CONFLICT (path) DO NOTHING",
        args![repository, now],
    )
    .await?;
    tx.execute(
        "INSERT INTO registry_manifest_bytes (digest, bytes) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING",
        args![&digest, bytes],
    )
    .await?;
    let subject = pushed.subject.map(|subject| subject.to_string());
    tx.execute(
        "INSERT INTO registry_manifests
             (repository, digest, media_type, artifact_type, subject, size, pushed_at, pushed_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (repository, digest) DO NOTHING",
        args![
            repository,
            &digest,
            &pushed.media_type,
            artifact_type,
            subject.as_deref(),
            bytes.len() as u64,
            now,
            by,
        ],
    )
    .await?;
    let config = pushed.config.iter().map(|config| ("config", config));
    let layers = pushed.layers.iter().filter(|layer| !layer.foreign).map(|layer| ("layer", &layer.digest));
    let children = pushed.children.iter().map(|child| ("child", &child.digest));
    for (kind, target) in config.chain(layers).chain(children) {
        tx.execute(
            "INSERT INTO registry_references (repository, manifest, kind, digest) VALUES ($1, $2, $3, $4)
             ON CONFLICT (repository, manifest, kind, digest) DO NOTHING",
            args![repository, &digest, kind, &target.to_string()],
        )
        .await?;
    }
    Ok(())
}

pub(crate) async fn set_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    digest: &Digest,
    now: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_tags (repository, name, digest, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repository, name) DO UPDATE SET digest = $3, updated_at = $4",
        args![repository.as_str(), tag.as_str(), &digest.to_string(), now.as_micros()],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn delete_tag(tx: &mut Tx<'_>, repository: &RepoName, tag: &Tag) -> Result<bool, DbError> {
    let deleted = tx
        .execute(
            "DELETE FROM registry_tags WHERE repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str()],
        )
        .await?;
    Ok(deleted == 1)
}

/// Deletes a manifest of a repository with its tags and references; false when it was not there.
pub(crate) async fn delete_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<bool, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let deleted = tx
        .execute("DELETE FROM registry_manifests WHERE repository = $1 AND digest = $2", args![name, &text])
        .await?;
    tx.execute("DELETE FROM registry_tags WHERE repository = $1 AND digest = $2", args![name, &text]).await?;
    tx.execute("DELETE FROM registry_references WHERE repository = $1 AND manifest = $2", args![name, &text])
        .await?;
    tx.execute(
        "DELETE FROM registry_manifest_bytes WHERE digest = $1
         AND NOT EXISTS (SELECT 1 FROM registry_manifests WHERE digest = $1)",
        args![&text],
    )
    .await?;
    Ok(deleted == 1)
}

/// Takes a blob's links out of a repository; `None` when a manifest there still names it.
pub(crate) async fn unlink_blob(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<bool>, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let named = tx
        .fetch_optional(
            "SELECT 1 FROM registry_references WHERE repository = $1 AND digest = $2 LIMIT 1",
            args![name, &text],
        )
        .await?;
    if named.is_some() {
        return Ok(None);
    }
    let removed = tx
        .execute("DELETE FROM registry_links WHERE repository = $1 AND digest = $2", args![name, &text])
        .await?;
    Ok(Some(removed > 0))
}

/// An upload session.
#[derive(Clone, Debug)]
pub(crate) struct UploadRow {
    pub(crate) state: UploadState,
    pub(crate) version: i64,
}

pub(crate) async fn count_uploads(tx: &mut Tx<'_>, principal: &str) -> Result<i64, DbError> {
    let row = tx
        .fetch_optional("SELECT COUNT(*) FROM registry_uploads WHERE principal = $1", args![principal])
        .await?;
    row.map_or(Ok(0), |row| row.int(0))
}

pub(crate) async fn insert_upload(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    principal: &str,
    state: &UploadState,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO registry_uploads (id, repository, principal, received, hash_state, version, expires_at)
         VALUES ($1, $2, $3, $4, $5, 1, $6)",
        args![
            state.id.as_bytes(),
            repository.as_str(),
            principal,
            state.offset,
            &state.hash_state,
            expires_at.as_micros(),
        ],
    )
    .await
    .map(|_| ())
}

/// The session `id` of this repository and principal; anybody else's is not there.
pub(crate) async fn upload(
    db: &Db,
    repository: &RepoName,
    principal: &str,
    id: UploadId,
) -> Result<Option<UploadRow>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT received, hash_state, version FROM registry_uploads
             WHERE id = $1 AND repository = $2 AND principal = $3 AND expires_at > $4",
            args![id.as_bytes(), repository.as_str(), principal, db.now().as_micros()],
        )
        .await?;
    row.map(|row| {
        let state = UploadState { id, offset: row.count(0)?, hash_state: row.bytes(1)?.to_vec() };
        Ok(UploadRow { state, version: row.int(2)? })
    })
    .transpose()
}

/// Stores the progress of a session if nobody else made any; false when somebody did.
pub(crate) async fn advance_upload(
    tx: &mut Tx<'_>,
    state: &UploadState,
    version: i64,
    expires_at: Timestamp,
) -> Result<bool, DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_uploads SET received = $1, hash_state = $2, version = version + 1, expires_at = $3
             WHERE id = $4 AND version = $5",
            args![state.offset, &state.hash_state, expires_at.as_micros(), state.id.as_bytes(), version],
        )
        .await?;
    Ok(changed == 1)
}

pub(crate) async fn delete_upload(tx: &mut Tx<'_>, id: UploadId) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM registry_uploads WHERE id = $1", args![id.as_bytes()]).await? == 1)
}

pub(crate) async fn expired_uploads(db: &Db) -> Result<Vec<UploadId>, DbError> {
    let rows = db
        .fetch_all("SELECT id FROM registry_uploads WHERE expires_at <= $1", args![db.now().as_micros()])
        .await?;
    rows.iter().map(read_upload_id).collect()
}

pub(crate) async fn upload_exists(db: &Db, id: UploadId) -> Result<bool, DbError> {
    let row = db.fetch_optional("SELECT 1 FROM registry_uploads WHERE id = $1", args![id.as_bytes()]).await?;
    Ok(row.is_some())
}

fn read_upload_id(row: &Row) -> Result<UploadId, DbError> {
    UploadId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))
}
