//! Replications, and what is on its way out.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use super::reviews::span;
use crate::{Outgoing, Prefix, ReplicationSettings, limit, path::ManifestName, replication::BELL};

/// A replication as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct ReplicationRow {
    pub(crate) settings: ReplicationSettings,
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) changed_at: Timestamp,
    /// The tag behind which tags are to be looked at, if they are.
    pub(crate) seed: Option<(String, String)>,
}

/// Something that is to be there as it is here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OutgoingKey {
    pub(crate) replication: String,
    pub(crate) repository: RepoName,
    pub(crate) name: ManifestName,
}

/// Something that was taken to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed {
    /// How often it was tried before.
    pub(crate) tries: i64,
    /// Its epoch from now on.
    pub(crate) epoch: i64,
    /// What is there.
    pub(crate) there: Option<Digest>,
    /// Whether that stood there already.
    pub(crate) is_found: bool,
    /// What may be there instead: nobody heard what came of sending it.
    pub(crate) sent: Option<Digest>,
}

impl Claimed {
    /// What was put there, as far as anybody knows.
    pub(crate) fn put(&self) -> impl Iterator<Item = Digest> {
        self.there.filter(|_| !self.is_found).into_iter().chain(self.sent)
    }
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) digest: Digest,
    /// It stood there already: somebody else put it.
    pub(crate) is_found: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Settled {
    /// It is there.
    Done(There),
    /// It is not, or something that belongs to it is not.
    Failed { error: String, due: Timestamp, there: Option<There> },
    /// It is no concern of the replication any more.
    Forgotten,
}

/// All replications, by name.
pub(crate) async fn replications(db: &Db) -> Result<Vec<ReplicationRow>, DbError> {
    let sql = "SELECT settings, sealed, changed_at, seed_repository, seed_tag
         FROM registry_replications ORDER BY name";
    let read = |row: &Row| {
        let seed = (row.text_opt(3)?.map(str::to_owned), row.text_opt(4)?.map(str::to_owned));
        Ok(ReplicationRow {
            settings: row.json(0)?,
            sealed: row.bytes_opt(1)?.map(<[u8]>::to_vec),
            changed_at: Timestamp::from_micros(row.int(2)?),
            seed: seed.0.zip(seed.1),
        })
    };
    db.fetch_all(sql, args![]).await?.iter().map(read).collect()
}

pub(crate) async fn count_replications(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    let row = tx.fetch_optional("SELECT COUNT(*) FROM registry_replications", args![]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// The prefix of a replication; `None` when there is none of that name.
pub(crate) async fn prefix_of(tx: &mut Tx<'_>, name: &str) -> Result<Option<Prefix>, DbError> {
    let sql = "SELECT prefix FROM registry_replications WHERE name = $1";
    let row = tx.fetch_optional(sql, args![name]).await?;
    row.map(|row| row.parsed(0)).transpose()
}

/// True as long as a replication is what it was.
pub(crate) async fn is_so(db: &Db, name: &str, changed_at: Timestamp) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM registry_replications WHERE name = $1 AND changed_at = $2";
    Ok(db.fetch_optional(sql, args![name, changed_at.as_micros()]).await?.is_some())
}

/// Sets a replication; all tags are then looked at. What was put elsewhere counts for nothing.
pub(crate) async fn put_replication(tx: &mut Tx<'_>, row: &ReplicationRow) -> Result<(), DbError> {
    let sql = "SELECT settings FROM registry_replications WHERE name = $1";
    let before = tx.fetch_optional(sql, args![row.settings.name.as_str()]).await?;
    let before: Option<ReplicationSettings> = before.map(|row| row.json(0)).transpose()?;
    let settings = serde_json::to_string(&row.settings).unwrap_or_default();
    let (name, prefix) = (row.settings.name.as_str(), row.settings.prefix.to_string());
    tx.execute(
        "INSERT INTO registry_replications (name, prefix, settings, sealed, changed_at, seed_repository, seed_tag)
         VALUES ($1, $2, $3, $4, $5, '', '')
         ON CONFLICT (name) DO UPDATE SET prefix = $2, settings = $3, sealed = $4, changed_at = $5,
             seed_repository = '', seed_tag = ''",
        args![name, &prefix, &settings, row.sealed.as_deref(), row.changed_at.as_micros()],
    )
    .await?;
    if !before.is_some_and(|before| before.is_to_same_place(&row.settings)) {
        let sql = "UPDATE registry_outgoing SET digest = NULL, found = NULL, sent = NULL, done_at = NULL WHERE replication = $1";
        tx.execute(sql, args![name]).await?;
    }
    due_again(tx, name, row.changed_at).await
}

/// Has everything looked at again; false when there is no such replication.
pub(crate) async fn seed_again(tx: &mut Tx<'_>, name: &str, now: Timestamp) -> Result<bool, DbError> {
    let sql = "UPDATE registry_replications SET seed_repository = '', seed_tag = '' WHERE name = $1";
    if tx.execute(sql, args![name]).await? == 0 {
        return Ok(false);
    }
    due_again(tx, name, now).await?;
    Ok(true)
}

async fn due_again(tx: &mut Tx<'_>, name: &str, now: Timestamp) -> Result<(), DbError> {
    tx.wake(BELL);
    let sql = "UPDATE registry_outgoing SET due = $2, tries = 0, epoch = epoch + 1, error = NULL
         WHERE replication = $1";
    tx.execute(sql, args![name, now.as_micros()]).await.map(|_| ())
}

pub(crate) async fn remove_replication(tx: &mut Tx<'_>, name: &str) -> Result<bool, DbError> {
    tx.execute("DELETE FROM registry_outgoing WHERE replication = $1", args![name]).await?;
    Ok(tx.execute("DELETE FROM registry_replications WHERE name = $1", args![name]).await? == 1)
}

/// Notes that a name stands for something new: for every replication that it belongs to.
pub(crate) async fn send(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    name: &ManifestName,
    now: Timestamp,
) -> Result<(), DbError> {
    let rows = tx
        .fetch_all(
            "SELECT settings FROM registry_replications WHERE prefix = '*' OR prefix = $1
             OR substr($1, 1, length(prefix) + 1) = prefix || '/'",
            args![repository.as_str()],
        )
        .await?;
    for row in &rows {
        let settings: ReplicationSettings = row.json(0)?;
        if settings.wants(repository, name) {
            put_outgoing(tx, settings.name.as_str(), (repository, name), now).await?;
        }
    }
    Ok(())
}

async fn put_outgoing(
    tx: &mut Tx<'_>,
    replication: &str,
    (repository, name): (&RepoName, &ManifestName),
    now: Timestamp,
) -> Result<(), DbError> {
    tx.wake(BELL);
    tx.execute(
        // An epoch never comes again, also when its row went and is back.
        "INSERT INTO registry_outgoing (replication, repository, name, due, tries, epoch)
         VALUES ($1, $2, $3, $4, 0, $4)
         ON CONFLICT (replication, repository, name) DO UPDATE SET due = $4, tries = 0,
             epoch = registry_outgoing.epoch + 1, error = NULL",
        args![replication, repository.as_str(), &name.to_string(), now.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Notes that a tag is gone.
pub(crate) async fn gone_tag(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    tag: &Tag,
    now: Timestamp,
) -> Result<(), DbError> {
    let changed = tx
        .execute(
            "UPDATE registry_outgoing SET due = $3, tries = 0, epoch = epoch + 1
             WHERE replication IN (SELECT name FROM registry_replications) AND repository = $1 AND name = $2",
            args![repository.as_str(), tag.as_str(), now.as_micros()],
        )
        .await?;
    if changed > 0 {
        tx.wake(BELL);
    }
    Ok(())
}

/// Notes that a manifest of a repository, or all of them, are about to go with their tags.
pub(crate) async fn gone_manifests(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    manifest: Option<&Digest>,
    now: Timestamp,
) -> Result<(), DbError> {
    let (first, last) = span(manifest);
    let changed = tx
        .execute(
            "UPDATE registry_outgoing SET due = $4, tries = 0, epoch = epoch + 1
             WHERE replication IN (SELECT name FROM registry_replications) AND repository = $1
               AND ((name >= $2 AND name <= $3) OR name IN (SELECT t.name FROM registry_tags AS t
                   WHERE t.repository = $1 AND t.digest >= $2 AND t.digest <= $3))",
            args![repository.as_str(), &first, &last, now.as_micros()],
        )
        .await?;
    if changed > 0 {
        tx.wake(BELL);
    }
    Ok(())
}

/// Looks at some more tags of a replication that is to look at all, and notes where it is. What is pushed meanwhile
/// is in the list, or has seen the replication: both are one transaction.
pub(crate) async fn seed(tx: &mut Tx<'_>, row: &ReplicationRow, now: Timestamp) -> Result<(), DbError> {
    let (Some(before), settings) = (&row.seed, &row.settings) else { return Ok(()) };
    let first = settings.prefix.name();
    let end = format!("{first}\u{10ffff}");
    let page = tx
        .fetch_all(
            "SELECT repository, name FROM registry_tags
             WHERE repository >= $1 AND repository < $2
               AND (repository > $3 OR (repository = $3 AND name > $4))
             ORDER BY repository, name LIMIT $5",
            args![first, &end, &before.0, &before.1, limit::SEED_TAGS],
        )
        .await?;
    let after = page.last().filter(|_| page.len() as u64 >= limit::SEED_TAGS);
    let after = after.map(|row| Ok::<_, DbError>((row.text(0)?, row.text(1)?))).transpose()?;
    let (repository, tag) = after.map_or((None, None), |(repository, tag)| (Some(repository), Some(tag)));
    let moved = tx
        .execute(
            "UPDATE registry_replications SET seed_repository = $3, seed_tag = $4
             WHERE name = $1 AND changed_at = $2 AND seed_repository = $5 AND seed_tag = $6",
            args![settings.name.as_str(), row.changed_at.as_micros(), repository, tag, &before.0, &before.1,],
        )
        .await?;
    if moved == 0 {
        return Ok(());
    }
    if after.is_some() {
        tx.wake(BELL);
    }
    for row in &page {
        let (repository, name) = (row.parsed(0)?, ManifestName::Tag(row.parsed(1)?));
        if settings.wants(&repository, &name) {
            put_outgoing(tx, settings.name.as_str(), (&repository, &name), now).await?;
        }
    }
    Ok(())
}

/// What is due for a replication, longest first.
pub(crate) async fn due_outgoing(
    db: &Db,
    replication: &str,
    now: Timestamp,
) -> Result<Vec<OutgoingKey>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository, name FROM registry_outgoing WHERE replication = $1 AND due <= $2
             ORDER BY due LIMIT $3",
            args![replication, now.as_micros(), limit::SENDS_LOOKED_AT],
        )
        .await?;
    let read = |row: &Row| {
        Ok(OutgoingKey {
            replication: replication.to_owned(),
            repository: row.parsed(0)?,
            name: row.parsed(1)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Takes something that is due, so that nobody else does for a while; `None` when somebody else took it.
pub(crate) async fn claim_outgoing(
    tx: &mut Tx<'_>,
    key: &OutgoingKey,
    (now, until): (Timestamp, Timestamp),
) -> Result<Option<Claimed>, DbError> {
    let row = tx
        .fetch_optional(
            "UPDATE registry_outgoing SET due = $5, tries = tries + 1, epoch = epoch + 1
             WHERE replication = $1 AND repository = $2 AND name = $3 AND due <= $4
             RETURNING tries, epoch, digest, found, sent",
            args![
                &key.replication,
                key.repository.as_str(),
                &key.name.to_string(),
                now.as_micros(),
                until.as_micros()
            ],
        )
        .await?;
    let digest = |row: &Row, at| Ok::<_, DbError>(row.text_opt(at)?.and_then(|digest| digest.parse().ok()));
    row.map(|row| {
        Ok(Claimed {
            tries: row.int(0)? - 1,
            epoch: row.int(1)?,
            there: digest(&row, 2)?,
            is_found: row.int_opt(3)?.is_some(),
            sent: digest(&row, 4)?,
        })
    })
    .transpose()
}

/// Notes what is about to be put there, where `found` is; false when what is to be there changed meanwhile.
pub(crate) async fn note_sent(
    tx: &mut Tx<'_>,
    (key, epoch): (&OutgoingKey, i64),
    found: Option<&Digest>,
    digest: &Digest,
) -> Result<bool, DbError> {
    let found = found.map(Digest::to_string);
    let changed = tx
        .execute(
            "UPDATE registry_outgoing SET digest = CASE WHEN sent = $5 THEN sent ELSE digest END,
                 found = CASE WHEN sent = $5 THEN NULL ELSE found END, sent = $6
             WHERE replication = $1 AND repository = $2 AND name = $3 AND epoch = $4",
            args![
                &key.replication,
                key.repository.as_str(),
                &key.name.to_string(),
                epoch,
                found.as_deref(),
                &digest.to_string(),
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Keeps others from taking what is being sent for longer, unless it changed.
pub(crate) async fn hold_outgoing(
    tx: &mut Tx<'_>,
    key: &OutgoingKey,
    epoch: i64,
    until: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_outgoing SET due = $5
         WHERE replication = $1 AND repository = $2 AND name = $3 AND epoch = $4 AND due IS NOT NULL",
        args![&key.replication, key.repository.as_str(), &key.name.to_string(), epoch, until.as_micros()],
    )
    .await
    .map(|_| ())
}

/// Notes how an attempt ended that a replication made as it is now; false when it is another. What changed meanwhile, or
/// was sent by another server, is looked at again: whose work ended last there, nobody knows.
pub(crate) async fn settle_outgoing(
    tx: &mut Tx<'_>,
    key: &OutgoingKey,
    (epoch, changed_at): (i64, Timestamp),
    settled: &Settled,
    now: Timestamp,
) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM registry_replications WHERE name = $1 AND changed_at = $2";
    if tx.fetch_optional(sql, args![&key.replication, changed_at.as_micros()]).await?.is_none() {
        return Ok(false);
    }
    let (replication, repository, name) = (&key.replication, key.repository.as_str(), key.name.to_string());
    let changed = match settled {
        Settled::Done(there) => {
            tx.execute(
                "UPDATE registry_outgoing SET due = NULL, tries = 0, error = NULL, digest = $5, found = $7,
                     sent = NULL, done_at = $6
                 WHERE replication = $1 AND repository = $2 AND name = $3 AND epoch = $4",
                args![
                    replication,
                    repository,
                    &name,
                    epoch,
                    &there.digest.to_string(),
                    now.as_micros(),
                    there.is_found.then_some(1_i64),
                ],
            )
            .await?
        }
        Settled::Failed { error, due, there } => {
            let is_found = there.is_some_and(|there| there.is_found).then_some(1_i64);
            let there = there.map(|there| there.digest.to_string());
            tx.execute(
                "UPDATE registry_outgoing SET due = $6, error = $5, digest = COALESCE($7, digest),
                     found = CASE WHEN $7 IS NULL THEN found ELSE $9 END,
                     sent = CASE WHEN $7 IS NULL THEN sent ELSE NULL END,
                     done_at = CASE WHEN $7 IS NULL THEN done_at ELSE $8 END
                 WHERE replication = $1 AND repository = $2 AND name = $3 AND epoch = $4",
                args![
                    replication,
                    repository,
                    &name,
                    epoch,
                    error,
                    due.as_micros(),
                    there.as_deref(),
                    now.as_micros(),
                    is_found,
                ],
            )
            .await?
        }
        Settled::Forgotten => {
            tx.execute(
                "DELETE FROM registry_outgoing
                 WHERE replication = $1 AND repository = $2 AND name = $3 AND epoch = $4",
                args![replication, repository, &name, epoch],
            )
            .await?
        }
    };
    if changed == 0 {
        tx.wake(BELL);
        // Whoever has it in hand ends late as well, and what is there is looked at when its hold is over.
        let sql =
            "UPDATE registry_outgoing SET epoch = epoch + 1, due = CASE WHEN due > $4 THEN due ELSE $4 END
             WHERE replication = $1 AND repository = $2 AND name = $3";
        tx.execute(sql, args![replication, repository, &name, now.as_micros()]).await?;
    }
    Ok(true)
}

/// What is not there yet, of each replication: how many, and how many of them failed.
pub(crate) async fn behind(db: &Db) -> Result<Vec<(String, u64, u64)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT replication, COUNT(*), COUNT(error) FROM registry_outgoing WHERE due IS NOT NULL
             GROUP BY replication",
            args![],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.count(1)?, row.count(2)?))).collect()
}

/// A page of what a replication sends, in order after (`repository`, `name`).
pub(crate) async fn outgoing_page(
    db: &Db,
    replication: &str,
    after: (&str, &str),
    is_waiting: bool,
) -> Result<Vec<Outgoing>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT repository, name, due, tries, error, digest, done_at FROM registry_outgoing
             WHERE replication = $1 AND (repository > $2 OR (repository = $2 AND name > $3))
               AND ($4 = 0 OR due IS NOT NULL)
             ORDER BY repository, name LIMIT $5",
            args![replication, after.0, after.1, is_waiting, limit::PAGE],
        )
        .await?;
    let read = |row: &Row| {
        Ok(Outgoing {
            repository: row.parsed(0)?,
            name: row.text(1)?.to_owned(),
            due: row.int_opt(2)?.map(Timestamp::from_micros),
            tries: row.count(3)?,
            error: row.text_opt(4)?.map(str::to_owned),
            digest: row.text_opt(5)?.and_then(|digest| digest.parse().ok()),
            done_at: row.int_opt(6)?.map(Timestamp::from_micros),
        })
    };
    rows.iter().map(read).collect()
}
