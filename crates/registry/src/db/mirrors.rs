//! What caches fetch without being asked.

use seaworthy_model::Timestamp;
use seaworthy_store::{Db, DbError, Row, Tx, args};

use crate::{CacheSettings, MirrorShown};

/// Has the mirrors of a cache looked at now, and forgets those that it has no more.
pub(crate) async fn put_mirrors(
    tx: &mut Tx<'_>,
    settings: &CacheSettings,
    now: Timestamp,
) -> Result<(), DbError> {
    let prefix = settings.prefix.to_string();
    remove_mirrors(tx, &prefix).await?;
    for mirror in &settings.mirrors {
        tx.execute(
            "INSERT INTO registry_mirrors (prefix, mirror, set_at, due, tries) VALUES ($1, $2, $3, $3, 0)
             ON CONFLICT (prefix, mirror) DO NOTHING",
            args![&prefix, &mirror.to_string(), now.as_micros()],
        )
        .await?;
    }
    Ok(())
}

pub(crate) async fn remove_mirrors(tx: &mut Tx<'_>, prefix: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM registry_mirrors WHERE prefix = $1", args![prefix]).await.map(|_| ())
}

/// A mirror that somebody looks at.
#[derive(Clone, Debug)]
pub(crate) struct MirrorKey {
    pub(crate) prefix: String,
    pub(crate) mirror: String,
    pub(crate) set_at: Timestamp,
}

/// Takes one that is due, so that nobody else does for a while, and says how often it was tried.
pub(crate) async fn claim_mirror(
    tx: &mut Tx<'_>,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<(MirrorKey, i64)>, DbError> {
    let row = tx
        .fetch_optional(
            "UPDATE registry_mirrors SET due = $2, tries = tries + 1 WHERE (prefix, mirror) IN
                 (SELECT prefix, mirror FROM registry_mirrors WHERE due <= $1 ORDER BY due LIMIT 1)
             RETURNING prefix, mirror, set_at, tries",
            args![now.as_micros(), until.as_micros()],
        )
        .await?;
    row.map(|row| {
        let (prefix, mirror) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        let set_at = Timestamp::from_micros(row.int(2)?);
        Ok((MirrorKey { prefix, mirror, set_at }, row.int(3)? - 1))
    })
    .transpose()
}

/// Leaves one to who looks at it until then.
pub(crate) async fn hold_mirror(tx: &mut Tx<'_>, key: &MirrorKey, until: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE registry_mirrors SET due = $4 WHERE prefix = $1 AND mirror = $2 AND set_at = $3";
    let args = args![&key.prefix, &key.mirror, key.set_at.as_micros(), until.as_micros()];
    tx.execute(sql, args).await.map(|_| ())
}

/// Notes what came of looking.
pub(crate) async fn settle_mirror(
    tx: &mut Tx<'_>,
    key: &MirrorKey,
    (tags, error): (Option<u64>, Option<&str>),
    tries: i64,
    (now, due): (Timestamp, Timestamp),
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE registry_mirrors SET due = $3, looked_at = $4, tags = COALESCE($5, tags), error = $6,
             tries = $8
         WHERE prefix = $1 AND mirror = $2 AND set_at = $7",
        args![
            &key.prefix,
            &key.mirror,
            due.as_micros(),
            now.as_micros(),
            tags.map(|tags| i64::try_from(tags).unwrap_or(i64::MAX)),
            error,
            key.set_at.as_micros(),
            tries,
        ],
    )
    .await
    .map(|_| ())
}

/// All of them, by prefix and name.
pub(crate) async fn mirrors(db: &Db) -> Result<Vec<(String, MirrorShown)>, DbError> {
    let sql =
        "SELECT prefix, mirror, due, looked_at, tags, error FROM registry_mirrors ORDER BY prefix, mirror";
    let read = |row: &Row| {
        Ok((
            row.text(0)?.to_owned(),
            MirrorShown {
                mirror: row.text(1)?.to_owned(),
                due: Timestamp::from_micros(row.int(2)?),
                looked_at: row.int_opt(3)?.map(Timestamp::from_micros),
                tags: row.int_opt(4)?.map(|tags| u64::try_from(tags).unwrap_or_default()),
                error: row.text_opt(5)?.map(str::to_owned),
            },
        ))
    };
    db.fetch_all(sql, args![]).await?.iter().map(read).collect()
}
