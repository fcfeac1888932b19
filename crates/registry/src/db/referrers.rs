//! Manifests by the manifest they refer to.

use std::{collections::BTreeMap, sync::LazyLock};

use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Arg, Db, DbError, Tx, args};

use super::NewManifest;
use crate::{
    limit,
    lock::{Ability, Locks},
};

/// One referrer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReferrerRow {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    /// Empty when it has none.
    pub(crate) artifact_type: String,
    pub(crate) size: u64,
    /// Length of its annotations in bytes of JSON, or a bound of it.
    pub(crate) annotation_bytes: u64,
    /// As JSON, when there are some, and at most [`limit::REFERRER_INLINE_BYTES`].
    pub(crate) annotations: Option<String>,
    /// Its own.
    pub(crate) locks: Locks,
    /// False when only an upstream says that there is one.
    pub(crate) is_here: bool,
}

impl ReferrerRow {
    /// What it adds to a page, where that may be much.
    pub(crate) const fn bytes(&self) -> u64 {
        self.annotation_bytes.saturating_add(self.artifact_type.len() as u64)
    }
}

/// Those that lists leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlisted {
    Left,
    Along,
}

/// Referrers of `subject` after `after` in digest order; with an artifact type, those of it alone.
pub(crate) async fn referrers(
    db: &Db,
    (repository, subject): (&RepoName, &Digest),
    artifact_type: Option<&str>,
    (after, most): (&str, i64),
    unlisted: Unlisted,
) -> Result<Vec<ReferrerRow>, DbError> {
    let (repository, subject) = (repository.as_str(), subject.to_string());
    let inline = limit::REFERRER_INLINE_BYTES;
    let hidden = if unlisted == Unlisted::Left { Ability::List.bit() } else { 0 };
    let rows = match artifact_type {
        Some(artifact_type) => {
            db.fetch_all(
                "SELECT f.digest, f.media_type, f.artifact_type, f.size, f.annotation_bytes, COALESCE(m.locks, 0),
                   CASE WHEN f.annotation_bytes > 2 AND f.annotation_bytes <= $7 THEN f.annotations END
                 FROM registry_referrers AS f
                 LEFT JOIN registry_manifests AS m ON m.repository = $1 AND m.digest = f.digest
                 WHERE f.repository = $1 AND f.subject = $2 AND f.artifact_type = $3 AND f.digest > $4
                   AND (COALESCE(m.locks, 0) & $6) = 0
                 ORDER BY f.digest LIMIT $5",
                args![repository, &subject, artifact_type, after, most, hidden, inline],
            )
            .await?
        }
        None => {
            db.fetch_all(
                "SELECT f.digest, f.media_type, f.artifact_type, f.size, f.annotation_bytes, COALESCE(m.locks, 0),
                   CASE WHEN f.annotation_bytes > 2 AND f.annotation_bytes <= $6 THEN f.annotations END
                 FROM registry_referrers AS f
                 LEFT JOIN registry_manifests AS m ON m.repository = $1 AND m.digest = f.digest
                 WHERE f.repository = $1 AND f.subject = $2 AND f.digest > $3
                   AND (COALESCE(m.locks, 0) & $5) = 0
                 ORDER BY f.digest LIMIT $4",
                args![repository, &subject, after, most, hidden, inline],
            )
            .await?
        }
    };
    rows.iter()
        .map(|row| {
            Ok(ReferrerRow {
                digest: row.parsed(0)?,
                media_type: row.text(1)?.to_owned(),
                artifact_type: row.text(2)?.to_owned(),
                size: row.count(3)?,
                annotation_bytes: row.count(4)?,
                annotations: row.text_opt(6)?.map(str::to_owned),
                locks: Locks::from_bits(row.int(5)?),
                is_here: true,
            })
        })
        .collect()
}

/// Asks about as many manifests as [`manifests_among`] is given at most.
static AMONG: LazyLock<String> = LazyLock::new(|| {
    let places: Vec<String> = (2..=limit::REFERRERS + 2).map(|place| format!("${place}")).collect();
    format!(
        "SELECT digest, media_type, COALESCE(artifact_type, ''), size, COALESCE(locks, 0) FROM registry_manifests
         WHERE repository = $1 AND digest IN ({})",
        places.join(", ")
    )
});

/// Of so many as one page has and one more, those that are manifests here, whatever they refer to.
pub(crate) async fn manifests_among(
    db: &Db,
    repository: &RepoName,
    digests: &[Digest],
) -> Result<BTreeMap<Digest, ReferrerRow>, DbError> {
    let mut all = BTreeMap::new();
    let most = usize::try_from(limit::REFERRERS + 1).unwrap_or(usize::MAX);
    for digests in digests.chunks(most) {
        let mut texts: Vec<String> = digests.iter().map(ToString::to_string).collect();
        // One statement, however many there are.
        texts.resize(most, String::new());
        let args: Vec<Arg<'_>> = std::iter::once(repository.as_str())
            .chain(texts.iter().map(String::as_str))
            .map(Arg::from)
            .collect();
        for row in db.fetch_all(AMONG.as_str(), &args).await? {
            let (digest, size) = (row.parsed(0)?, row.count(3)?);
            let row = ReferrerRow {
                digest,
                media_type: row.text(1)?.to_owned(),
                artifact_type: row.text(2)?.to_owned(),
                size,
                annotation_bytes: size,
                annotations: None,
                locks: Locks::from_bits(row.int(4)?),
                is_here: true,
            };
            all.insert(digest, row);
        }
    }
    Ok(all)
}

/// Annotations of one referrer, as JSON; `None` when only its manifest knows them.
pub(crate) async fn annotations(
    db: &Db,
    (repository, subject): (&RepoName, &Digest),
    digest: &Digest,
) -> Result<Option<String>, DbError> {
    let row = db
        .fetch_optional(
            "SELECT annotations FROM registry_referrers WHERE repository = $1 AND subject = $2 AND digest = $3",
            args![repository.as_str(), &subject.to_string(), &digest.to_string()],
        )
        .await?;
    Ok(row.map(|row| row.text_opt(0).map(|text| text.map(str::to_owned))).transpose()?.flatten())
}

/// Enters a manifest that has a subject.
pub(super) async fn insert_referrer(tx: &mut Tx<'_>, new: &NewManifest<'_>) -> Result<(), DbError> {
    let pushed = new.pushed;
    let Some(subject) = pushed.subject else { return Ok(()) };
    tx.execute(
        "INSERT INTO registry_referrers
             (repository, subject, artifact_type, digest, media_type, size, annotations, annotation_bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (repository, subject, digest) DO NOTHING",
        args![
            pushed.repository.as_str(),
            &subject.to_string(),
            new.artifact_type.unwrap_or_default(),
            &pushed.digest.to_string(),
            &pushed.media_type,
            new.bytes.len() as u64,
            new.annotations,
            new.annotations.len() as u64,
        ],
    )
    .await
    .map(|_| ())
}

/// Manifests that refer to `subject`, in digest order after `after`.
pub(crate) async fn referring(
    db: &Db,
    repository: &RepoName,
    subject: &Digest,
    (after, most): (&str, i64),
) -> Result<Vec<Digest>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT digest FROM registry_referrers WHERE repository = $1 AND subject = $2 AND digest > $3
             ORDER BY digest LIMIT $4",
            args![repository.as_str(), &subject.to_string(), after, most],
        )
        .await?;
    rows.iter().map(|row| row.parsed(0)).collect()
}
