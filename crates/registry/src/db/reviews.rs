//! What is to be looked at, and when: the queue of collection.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use crate::limit;

/// What a review looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Blob(Digest),
    Manifest(RepoName, Digest),
    /// What a manifest is.
    Reread(RepoName, Digest),
    /// The tags that a repository keeps.
    Repository(RepoName),
}

impl Subject {
    /// Kind, repository and digest as they are stored.
    fn key(&self) -> (&'static str, &str, String) {
        match self {
            Self::Blob(digest) => ("blob", "", digest.to_string()),
            Self::Repository(repository) => ("repository", repository.as_str(), String::new()),
            Self::Manifest(repository, digest) => ("manifest", repository.as_str(), digest.to_string()),
            Self::Reread(repository, digest) => ("reread", repository.as_str(), digest.to_string()),
        }
    }
}

/// A review that this worker has claimed.
#[derive(Clone, Debug)]
pub(crate) struct Review {
    pub(crate) subject: Subject,
    /// The last one; `upgrade` of what was there before anything was collected.
    pub(crate) reason: String,
    epoch: i64,
}

/// Has something looked at when it is `due`, or earlier if it is to be anyway. A worker that looks at it
/// now does so again.
pub(crate) async fn enqueue(
    tx: &mut Tx<'_>,
    subject: &Subject,
    due: Timestamp,
    reason: &'static str,
) -> Result<(), DbError> {
    let (kind, repository, digest) = subject.key();
    tx.execute(
        "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
         VALUES ($1, $2, $3, $4, 0, $5, 0)
         ON CONFLICT (kind, repository, digest) DO UPDATE SET reason = $5, epoch = registry_reviews.epoch + 1,
             due = CASE WHEN registry_reviews.due < $4 THEN registry_reviews.due ELSE $4 END",
        args![kind, repository, &digest, due.as_micros(), reason],
    )
    .await
    .map(|_| ())
}

/// A manifest, or all of a repository, as a range of digests.
pub(super) fn span(manifest: Option<&Digest>) -> (String, String) {
    manifest.map_or_else(
        || (String::new(), "\u{10ffff}".to_owned()),
        |digest| (digest.to_string(), digest.to_string()),
    )
}

/// Has all blobs looked at that a manifest names, or all of the repository's, as they lose them.
pub(crate) async fn enqueue_named(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: Option<&Digest>,
    due: Timestamp,
) -> Result<(), DbError> {
    let (first, last) = span(manifest);
    tx.execute(
        "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
         SELECT DISTINCT 'blob', '', digest, CAST($4 AS BIGINT), 0, 'manifest', 0 FROM registry_references
         WHERE repository = $1 AND manifest >= $2 AND manifest <= $3 AND kind <> 'child'
         ON CONFLICT (kind, repository, digest) DO UPDATE SET reason = excluded.reason,
             epoch = registry_reviews.epoch + 1,
             due = CASE WHEN registry_reviews.due < excluded.due THEN registry_reviews.due ELSE excluded.due END",
        args![repository.as_str(), &first, &last, due.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Has the children of a manifest and its referrers looked at, as they lose it; their time begins now.
pub(crate) async fn enqueue_followers(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: &Digest,
    now: Timestamp,
) -> Result<(), DbError> {
    let rows = tx
        .fetch_all(
            "SELECT digest FROM registry_references WHERE repository = $1 AND manifest = $2 AND kind = 'child'
             UNION SELECT digest FROM registry_deleted_references
                 WHERE repository = $1 AND manifest = $2 AND kind = 'child'
             UNION SELECT digest FROM registry_referrers WHERE repository = $1 AND subject = $2
             ORDER BY digest",
            args![repository.as_str(), &manifest.to_string()],
        )
        .await?;
    for row in &rows {
        loosen(tx, repository, &row.parsed(0)?, now, "follows").await?;
    }
    Ok(())
}

/// A manifest's time begins now.
pub(crate) async fn touch(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: &Digest,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE registry_manifests SET touched_at = $3 WHERE repository = $1 AND digest = $2";
    tx.execute(sql, args![repository.as_str(), &manifest.to_string(), now.as_micros()]).await.map(|_| ())
}

/// Has a manifest looked at that lost what kept it; its time begins now.
pub(crate) async fn loosen(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: &Digest,
    now: Timestamp,
    reason: &'static str,
) -> Result<(), DbError> {
    touch(tx, repository, manifest, now).await?;
    enqueue(tx, &Subject::Manifest(repository.clone(), *manifest), now, reason).await
}

/// Since when something is due: a read, so idling writes nothing.
pub(crate) async fn first_due(db: &Db) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT due FROM registry_reviews WHERE due <= $1 ORDER BY due LIMIT 1";
    let row = db.fetch_optional(sql, args![db.now().as_micros()]).await?;
    row.map(|row| row.int(0).map(Timestamp::from_micros)).transpose()
}

/// Claims up to `most` due reviews for a while; who fails or dies leaves them due again, later each time.
pub(crate) async fn claim(tx: &mut Tx<'_>, now: Timestamp, most: i64) -> Result<Vec<Review>, DbError> {
    let rows = tx
        .fetch_all(
            "UPDATE registry_reviews SET epoch = epoch + 1, tries = tries + 1,
                 due = $1 + $2 * (CASE WHEN tries > 8 THEN 256 ELSE tries + 1 END)
             WHERE due <= $1 AND (kind, repository, digest) IN
                 (SELECT kind, repository, digest FROM registry_reviews WHERE due <= $1 ORDER BY due LIMIT $3)
             RETURNING kind, repository, digest, epoch, reason",
            args![now.as_micros(), limit::REVIEW_SECONDS * 1_000_000, most],
        )
        .await?;
    rows.iter().map(read_review).collect()
}

fn read_review(row: &Row) -> Result<Review, DbError> {
    let subject = match row.text(0)? {
        "blob" => Subject::Blob(row.parsed(2)?),
        "manifest" => Subject::Manifest(row.parsed(1)?, row.parsed(2)?),
        "reread" => Subject::Reread(row.parsed(1)?, row.parsed(2)?),
        "repository" => Subject::Repository(row.parsed(1)?),
        _ => return Err(row.wrong(0, "a kind of review")),
    };
    Ok(Review { subject, reason: row.text(4)?.to_owned(), epoch: row.int(3)? })
}

/// Ends a review, unless something new came meanwhile.
pub(crate) async fn settle(tx: &mut Tx<'_>, review: &Review) -> Result<(), DbError> {
    let (kind, repository, digest) = review.subject.key();
    tx.execute(
        "DELETE FROM registry_reviews WHERE kind = $1 AND repository = $2 AND digest = $3 AND epoch = $4",
        args![kind, repository, &digest, review.epoch],
    )
    .await
    .map(|_| ())
}

/// Puts a review back until then, unless something new came meanwhile.
pub(crate) async fn postpone(tx: &mut Tx<'_>, review: &Review, due: Timestamp) -> Result<(), DbError> {
    let (kind, repository, digest) = review.subject.key();
    tx.execute(
        "UPDATE registry_reviews SET due = $5, tries = 0
         WHERE kind = $1 AND repository = $2 AND digest = $3 AND epoch = $4",
        args![kind, repository, &digest, review.epoch, due.as_micros()],
    )
    .await
    .map(|_| ())
}
