//! Taking tags, manifests and blobs out of a repository: at once, or so that they can come back.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{DbError, Row, Tx, args};

use super::{
    Subject, adjust, enqueue, enqueue_named, gone_manifests, gone_tag,
    holdings::{let_go, let_go_of_blob, let_go_of_repository},
    reviews::{enqueue_followers, loosen, span},
};
use crate::quota::Change;

/// Why something was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody asked for it.
    Request,
    /// Nothing led to it.
    Untagged,
    /// By the rules of its repository.
    Retention,
    /// It is gone upstream.
    Upstream,
}

impl Reason {
    /// The stable word. Stored: never changed.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Untagged => "untagged",
            Self::Retention => "retention",
            Self::Upstream => "upstream",
        }
    }
}

/// A deletion: by whom, why, when, and until when it can be undone.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub(crate) by: String,
    pub(crate) reason: Reason,
    pub(crate) at: Timestamp,
    /// Not after `at`: it cannot be.
    pub(crate) until: Timestamp,
}

impl Removal {
    pub(crate) fn can_be_undone(&self) -> bool {
        self.until > self.at
    }
}

/// Deletes a tag, and says where it pointed; `None` when it was not there.
pub(crate) async fn delete_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    removal: &Removal,
) -> Result<Option<Digest>, DbError> {
    let Some(digest) = super::target_of(tx, repository, tag).await? else { return Ok(None) };
    if removal.can_be_undone() {
        tx.execute(
            "INSERT INTO registry_deleted (repository, kind, name, digest, deleted_at, deleted_by, reason, until,
                 locks)
             VALUES ($1, 'tag', $2, $3, $4, $5, $6, $7,
                 (SELECT locks FROM registry_tags WHERE repository = $1 AND name = $2))
             ON CONFLICT (repository, kind, name, digest) DO UPDATE SET
                 deleted_at = $4, deleted_by = $5, reason = $6, until = $7, locks = excluded.locks",
            args![
                repository.as_str(),
                tag.as_str(),
                &digest.to_string(),
                removal.at.as_micros(),
                &removal.by,
                removal.reason.word(),
                removal.until.as_micros(),
            ],
        )
        .await?;
    }
    let sql = "DELETE FROM registry_tags WHERE repository = $1 AND name = $2";
    tx.execute(sql, args![repository.as_str(), tag.as_str()]).await?;
    adjust(tx, repository, Change::TAG.negated()).await?;
    gone_tag(tx, repository, tag, removal.at).await?;
    loosen(tx, repository, &digest, removal.at, "untagged").await?;
    Ok(Some(digest))
}

/// Deletes a manifest of a repository with its tags and references; false when it was not there.
pub(crate) async fn delete_manifest(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    removal: &Removal,
) -> Result<bool, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let sql = "SELECT 1 FROM registry_manifests WHERE repository = $1 AND digest = $2";
    if tx.fetch_optional(sql, args![name, &text]).await?.is_none() {
        return Ok(false);
    }
    enqueue_followers(tx, repository, digest, removal.at).await?;
    set_aside(tx, repository, Some(digest), removal).await?;
    delete_rows(tx, repository, Some(digest)).await?;
    Ok(true)
}

/// Deletes a repository with all that it holds. Uploads that are under way end with their sessions.
pub(crate) async fn delete_repository(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    removal: &Removal,
) -> Result<(), DbError> {
    let name = repository.as_str();
    set_aside(tx, repository, None, removal).await?;
    delete_rows(tx, repository, None).await?;
    tx.execute("DELETE FROM registry_links WHERE repository = $1", args![name]).await?;
    let sql = "DELETE FROM registry_repositories WHERE path = $1";
    if tx.execute(sql, args![name]).await? > 0 {
        let_go_of_repository(tx, repository).await?;
    }
    Ok(())
}

/// Keeps what is needed to undo a deletion, and has it looked at when that is over. Without undo the
/// blobs are looked at now.
async fn set_aside(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: Option<&Digest>,
    removal: &Removal,
) -> Result<(), DbError> {
    gone_manifests(tx, repository, manifest, removal.at).await?;
    let (first, last) = span(manifest);
    if !removal.can_be_undone() {
        for sql in [
            "DELETE FROM registry_pulls WHERE repository = $1 AND digest >= $2 AND digest <= $3",
            "DELETE FROM registry_cached WHERE repository = $1 AND digest >= $2 AND digest <= $3",
        ] {
            tx.execute(sql, args![repository.as_str(), &first, &last]).await?;
        }
        return enqueue_named(tx, repository, manifest, removal.at).await;
    }
    let (name, at, until) = (repository.as_str(), removal.at.as_micros(), removal.until.as_micros());
    let args = args![name, &first, &last, at, &removal.by, removal.reason.word(), until];
    tx.execute(
        "INSERT INTO registry_deleted (repository, kind, name, digest, media_type, pushed_at, pushed_by,
             deleted_at, deleted_by, reason, until, locks)
         SELECT repository, 'manifest', '', digest, media_type, pushed_at, pushed_by,
             CAST($4 AS BIGINT), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS BIGINT), locks
         FROM registry_manifests WHERE repository = $1 AND digest >= $2 AND digest <= $3
         ON CONFLICT (repository, kind, name, digest) DO UPDATE SET deleted_at = excluded.deleted_at,
             deleted_by = excluded.deleted_by, reason = excluded.reason, until = excluded.until,
             locks = excluded.locks",
        args,
    )
    .await?;
    tx.execute(
        "INSERT INTO registry_deleted (repository, kind, name, digest, deleted_at, deleted_by, reason, until, locks)
         SELECT repository, 'tag', name, digest,
             CAST($4 AS BIGINT), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS BIGINT), locks
         FROM registry_tags WHERE repository = $1 AND digest >= $2 AND digest <= $3
         ON CONFLICT (repository, kind, name, digest) DO UPDATE SET deleted_at = excluded.deleted_at,
             deleted_by = excluded.deleted_by, reason = excluded.reason, until = excluded.until,
             locks = excluded.locks",
        args,
    )
    .await?;
    tx.execute(
        // What is said to be elsewhere and is held here is held again when it is restored, and kept until then.
        "INSERT INTO registry_deleted_references (repository, manifest, kind, digest)
         SELECT f.repository, f.manifest, CASE WHEN f.kind = 'foreign' AND EXISTS (SELECT 1 FROM registry_holdings AS h
             WHERE h.repository = f.repository AND h.digest = f.digest) THEN 'held' ELSE f.kind END, f.digest
         FROM registry_references AS f WHERE f.repository = $1 AND f.manifest >= $2 AND f.manifest <= $3
         UNION SELECT repository, digest, 'subject', subject FROM registry_manifests
         WHERE repository = $1 AND digest >= $2 AND digest <= $3 AND subject IS NOT NULL
         ON CONFLICT (repository, manifest, kind, digest) DO NOTHING",
        args![name, &first, &last],
    )
    .await?;
    tx.execute(
        "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
         SELECT 'manifest', repository, digest, CAST($4 AS BIGINT), 0, 'deleted', 0 FROM registry_manifests
         WHERE repository = $1 AND digest >= $2 AND digest <= $3
         ON CONFLICT (kind, repository, digest) DO UPDATE SET reason = excluded.reason,
             epoch = registry_reviews.epoch + 1,
             due = CASE WHEN registry_reviews.due < excluded.due THEN registry_reviews.due ELSE excluded.due END",
        args![name, &first, &last, until],
    )
    .await
    .map(|_| ())
}

/// Deletes the rows of a manifest, or of all of a repository.
async fn delete_rows(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: Option<&Digest>,
) -> Result<(), DbError> {
    let (first, last) = span(manifest);
    let_go(tx, repository, (&first, &last)).await?;
    let args = args![repository.as_str(), &first, &last];
    for sql in [
        "DELETE FROM registry_manifest_bytes WHERE
             digest IN (SELECT digest FROM registry_manifests
                 WHERE repository = $1 AND digest >= $2 AND digest <= $3)
             AND NOT EXISTS (SELECT 1 FROM registry_manifests AS m
                 WHERE m.digest = registry_manifest_bytes.digest AND m.repository <> $1)
             AND NOT EXISTS (SELECT 1 FROM registry_deleted AS d
                 WHERE d.digest = registry_manifest_bytes.digest AND d.kind = 'manifest')",
        "DELETE FROM registry_referrers WHERE repository = $1 AND (subject, digest) IN
             (SELECT subject, digest FROM registry_manifests
              WHERE repository = $1 AND digest >= $2 AND digest <= $3)",
        "DELETE FROM registry_tags WHERE repository = $1 AND digest >= $2 AND digest <= $3",
        "DELETE FROM registry_references WHERE repository = $1 AND manifest >= $2 AND manifest <= $3",
        "DELETE FROM registry_manifests WHERE repository = $1 AND digest >= $2 AND digest <= $3",
    ] {
        tx.execute(sql, args).await?;
    }
    Ok(())
}

/// Takes a blob's links out of a repository; `None` when a manifest there still names it.
pub(crate) async fn unlink_blob(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<bool>, DbError> {
    let (name, text) = (repository.as_str(), digest.to_string());
    let named = tx
        .fetch_optional(
            "SELECT 1 FROM registry_references
             WHERE repository = $1 AND digest = $2 AND kind <> 'foreign' LIMIT 1",
            args![name, &text],
        )
        .await?;
    if named.is_some() {
        return Ok(None);
    }
    let removed = tx
        .execute("DELETE FROM registry_links WHERE repository = $1 AND digest = $2", args![name, &text])
        .await?;
    if removed > 0 {
        let_go_of_blob(tx, repository, digest).await?;
        enqueue(tx, &Subject::Blob(*digest), now, "unlinked").await?;
    }
    Ok(Some(removed > 0))
}

/// The names that a repository holds.
#[derive(Debug)]
pub(crate) struct Emptied {
    pub(crate) manifests: Vec<String>,
    pub(crate) tags: Vec<String>,
}

/// Manifests and tags of a repository, at most `most` of each.
pub(crate) async fn names_in(tx: &mut Tx<'_>, repository: &RepoName, most: i64) -> Result<Emptied, DbError> {
    let manifests = tx
        .fetch_all(
            "SELECT digest FROM registry_manifests WHERE repository = $1 ORDER BY digest LIMIT $2",
            args![repository.as_str(), most],
        )
        .await?;
    let tags = tx
        .fetch_all(
            "SELECT name FROM registry_tags WHERE repository = $1 ORDER BY name LIMIT $2",
            args![repository.as_str(), most],
        )
        .await?;
    Ok(Emptied { manifests: texts(&manifests)?, tags: texts(&tags)? })
}

fn texts(rows: &[Row]) -> Result<Vec<String>, DbError> {
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn the_console_says_why_something_was_deleted() {
        for language in ["en", "ja"] {
            let path = format!("{}/../../web/src/text/registry.{language}.ts", env!("CARGO_MANIFEST_DIR"));
            let texts = std::fs::read_to_string(path).expect("the console's texts");
            let line = texts.lines().find(|line| line.contains("deletedWhy:")).expect("a line");
            for reason in [Reason::Request, Reason::Untagged, Reason::Retention, Reason::Upstream] {
                assert!(line.contains(&format!(" {}: \"", reason.word())), "{language}: {reason:?}");
            }
        }
    }
}
