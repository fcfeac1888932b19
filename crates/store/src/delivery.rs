//! Deliveries: the transaction that makes a change inserts one row per consumer; workers
//! claim rows one by one, so a slow item blocks nobody and a late commit is never skipped.
//!
//! A handler settles its delivery in the same transaction as its own effect, fenced by the
//! claim's epoch: whatever kill -9, lost lease or double claim happens, the effect of one
//! delivery is stored once.

use std::{future::Future, sync::Arc, time::Duration};

use seaworthy_model::{DeliveryId, Event, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{Db, DbError, Row, Tx, args, error::chain, limit};

/// One event on its way to one consumer, claimed by this worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// How many times it has been claimed, this one included.
    pub attempts: i64,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// The event.
    pub event: Event,
    epoch: i64,
}

impl Tx<'_> {
    /// Inserts `event` for `consumer`; the consumer is woken by the commit.
    pub async fn deliver(
        &mut self,
        consumer: &'static str,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let payload = serde_json::to_string(event).unwrap_or_default();
        if payload.is_empty() || payload.len() > limit::EVENT_BYTES {
            return Err(DbError::EventTooLong { bytes: payload.len(), limit: limit::EVENT_BYTES });
        }
        let now = now.as_micros();
        self.execute(
            "INSERT INTO store_deliveries (id, consumer, kind, payload, created_at, due_at, attempts, epoch)
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0)",
            args![DeliveryId::generate().as_bytes(), consumer, event.kind(), &payload, now, now],
        )
        .await?;
        self.wake(consumer);
        Ok(())
    }

    /// Removes a handled delivery, in the transaction of the handler's effect.
    pub async fn settle(&mut self, delivery: &Delivery) -> Result<(), DbError> {
        let removed = self
            .execute(
                "DELETE FROM store_deliveries WHERE id = $1 AND epoch = $2",
                args![delivery.id.as_bytes(), delivery.epoch],
            )
            .await?;
        if removed == 1 { Ok(()) } else { Err(DbError::LeaseLost) }
    }

    /// Puts a delivery back to be claimed again after `seconds`, in the transaction of whatever
    /// the handler learnt. Does not count as a failure.
    pub async fn postpone(
        &mut self,
        delivery: &Delivery,
        now: Timestamp,
        seconds: i64,
    ) -> Result<(), DbError> {
        let changed = self
            .execute(
                "UPDATE store_deliveries SET due_at = $1, attempts = attempts - 1 WHERE id = $2 AND epoch = $3",
                args![now.plus_seconds(seconds).as_micros(), delivery.id.as_bytes(), delivery.epoch],
            )
            .await?;
        if changed == 1 { Ok(()) } else { Err(DbError::LeaseLost) }
    }
}

/// A delivery that was tried [`limit::DELIVERY_ATTEMPTS`] times and set aside.
#[derive(Clone, Debug)]
pub struct FailedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Who should have handled it.
    pub consumer: String,
    /// Kind of event.
    pub kind: String,
    /// Why, from the last attempt.
    pub reason: String,
    /// When it was inserted.
    pub created_at: Timestamp,
}

impl Db {
    /// Deliveries that failed for good, oldest first, at most `most`.
    pub async fn failed_deliveries(&self, most: i64) -> Result<Vec<FailedDelivery>, DbError> {
        self.fetch_all(
            "SELECT id, consumer, kind, failed, created_at FROM store_deliveries
             WHERE failed IS NOT NULL ORDER BY id LIMIT $1",
            args![most],
        )
        .await?
        .iter()
        .map(|row| {
            Ok(FailedDelivery {
                id: DeliveryId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))?,
                consumer: row.text(1)?.to_owned(),
                kind: row.text(2)?.to_owned(),
                reason: row.text(3)?.to_owned(),
                created_at: Timestamp::from_micros(row.int(4)?),
            })
        })
        .collect()
    }

    /// How many deliveries wait for `consumer`, failed ones not counted.
    pub async fn waiting_deliveries(&self, consumer: &'static str) -> Result<u64, DbError> {
        let row = self
            .fetch_optional(
                "SELECT COUNT(*) FROM store_deliveries WHERE consumer = $1 AND failed IS NULL",
                args![consumer],
            )
            .await?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// Claims up to `most` due deliveries for `consumer`.
    async fn claim_deliveries(&self, consumer: &'static str, most: i64) -> Result<Vec<Delivery>, DbError> {
        let now = self.now();
        let until = now.plus_seconds(limit::DELIVERY_LEASE_SECONDS);
        // The outer `due_at` is looked at again after waiting for a row's lock (see `Db::claim`).
        let rows = self
            .claim(
                "UPDATE store_deliveries SET due_at = $1, epoch = epoch + 1, attempts = attempts + 1
                 WHERE id IN (SELECT id FROM store_deliveries
                              WHERE consumer = $2 AND due_at <= $3 AND failed IS NULL
                              ORDER BY due_at, id LIMIT $4)
                   AND due_at <= $3
                 RETURNING id, attempts, created_at, payload, epoch",
                args![until.as_micros(), consumer, now.as_micros(), most],
            )
            .await?;
        let mut claimed = rows.iter().map(read_delivery).collect::<Result<Vec<_>, _>>()?;
        claimed.sort_by_key(|delivery| delivery.id);
        Ok(claimed)
    }

    /// True when some delivery for `consumer` is due: a read, so idling writes nothing.
    async fn has_due(&self, consumer: &'static str) -> Result<bool, DbError> {
        let row = self
            .fetch_optional(
                "SELECT id FROM store_deliveries
                 WHERE consumer = $1 AND due_at <= $2 AND failed IS NULL LIMIT 1",
                args![consumer, self.now().as_micros()],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Gives a claimed delivery another lease; false when it is no longer ours.
    async fn renew(&self, delivery: &Delivery) -> Result<bool, DbError> {
        let until = self.now().plus_seconds(limit::DELIVERY_LEASE_SECONDS).as_micros();
        let (id, epoch) = (delivery.id, delivery.epoch);
        self.upkeep((), move |(), tx| {
            Box::pin(async move {
                let changed = tx
                    .execute(
                        "UPDATE store_deliveries SET due_at = $1 WHERE id = $2 AND epoch = $3",
                        args![until, id.as_bytes(), epoch],
                    )
                    .await?;
                Ok(changed == 1)
            })
        })
        .await
    }

    /// Puts a delivery whose handler failed back, later each time; after
    /// [`limit::DELIVERY_ATTEMPTS`] it is set aside with the reason.
    async fn put_back(&self, delivery: &Delivery, reason: String) -> Result<(), DbError> {
        let wait =
            1i64.checked_shl(u32::try_from(delivery.attempts).unwrap_or(30).min(30)).unwrap_or(i64::MAX) / 4;
        let due = self.now().plus_seconds(wait.min(limit::BACKOFF_SECONDS_MAX)).as_micros();
        let failed = (delivery.attempts >= limit::DELIVERY_ATTEMPTS).then_some(reason);
        let (id, epoch) = (delivery.id, delivery.epoch);
        self.upkeep(failed, move |failed, tx| {
            Box::pin(async move {
                tx.execute(
                    "UPDATE store_deliveries SET due_at = $1, failed = $2 WHERE id = $3 AND epoch = $4",
                    args![due, failed.as_deref(), id.as_bytes(), epoch],
                )
                .await
                .map(|_| ())
            })
        })
        .await
    }
}

fn read_delivery(row: &Row) -> Result<Delivery, DbError> {
    Ok(Delivery {
        id: DeliveryId::from_bytes(row.bytes(0)?).map_err(|_| row.wrong(0, "an id"))?,
        attempts: row.int(1)?,
        created_at: Timestamp::from_micros(row.int(2)?),
        event: row.json(3)?,
        epoch: row.int(4)?,
    })
}

/// How a worker runs.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Whose deliveries.
    pub consumer: &'static str,
    /// How many at once.
    pub concurrency: usize,
}

/// Claims and handles deliveries until cancelled; then waits for what is running.
///
/// `handle` must settle (or postpone) the delivery in the transaction of its effect. An error
/// puts it back with backoff. One that was claimed [`limit::DELIVERY_ATTEMPTS`] times and never put back is set
/// aside before it is handled again: it may be what ends the process.
pub async fn work<H, R, E>(db: Db, config: WorkerConfig, cancel: CancellationToken, handle: H)
where
    H: Fn(Delivery) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let handle = Arc::new(handle);
    let slots = Arc::new(Semaphore::new(config.concurrency));
    let bell = db.bell(config.consumer);
    let poll = Duration::from_millis(match db.dialect() {
        crate::schema::Dialect::Sqlite => limit::POLL_SQLITE_MS,
        crate::schema::Dialect::Postgres => limit::POLL_POSTGRES_MS,
    });
    let mut is_told = false;
    loop {
        let rung = bell.notified();
        tokio::pin!(rung);
        // Registered before looking, so a commit between the look and the wait is not missed.
        rung.as_mut().enable();
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        if cancel.is_cancelled() {
            break;
        }
        let free = i64::try_from(slots.available_permits() + 1).unwrap_or(1).min(limit::CLAIM_BATCH);
        let claimed = match look(&db, config.consumer, (free, is_told)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::error!(consumer = config.consumer, error = %chain(&error), "claiming deliveries failed");
                Vec::new()
            }
        };
        let full = i64::try_from(claimed.len()).unwrap_or(0) == free;
        let claimed_none = claimed.is_empty();
        drop(slot);
        for delivery in claimed {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let (db, handle) = (db.clone(), handle.clone());
            tokio::spawn(async move {
                handle_one(&db, delivery, handle.as_ref()).await;
                drop(slot);
            });
        }
        is_told = true;
        // Another replica may have claimed some of what was meant for this one, with more behind.
        if full || (!claimed_none && db.dialect() == crate::schema::Dialect::Postgres) {
            continue;
        }
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(poll) => is_told = false,
            () = cancel.cancelled() => break,
        }
    }
    let all = u32::try_from(config.concurrency).unwrap_or(u32::MAX);
    drop(slots.acquire_many(all).await);
}

/// Claims what is due. Who was told of something claims at once; who was not looks first, so that idling writes
/// nothing.
async fn look(
    db: &Db,
    consumer: &'static str,
    (most, is_told): (i64, bool),
) -> Result<Vec<Delivery>, DbError> {
    if is_told || db.has_due(consumer).await? {
        db.claim_deliveries(consumer, most).await
    } else {
        Ok(Vec::new())
    }
}

async fn handle_one<H, R, E>(db: &Db, delivery: Delivery, handle: &H)
where
    H: Fn(Delivery) -> R,
    R: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    // Whoever had it before put it back each time, or died of it: then it must not be tried for ever.
    if delivery.attempts > limit::DELIVERY_ATTEMPTS {
        put_back(db, &delivery, DIED.to_owned()).await;
        return;
    }
    let work = handle(delivery.clone());
    tokio::pin!(work);
    let renewal = Duration::from_secs(u64::try_from(limit::DELIVERY_LEASE_SECONDS / 3).unwrap_or(1));
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            () = tokio::time::sleep(renewal) => match db.renew(&delivery).await {
                Ok(true) => {}
                // Settling will fail too, but there is no need to finish the work first.
                Ok(false) => return,
                Err(error) => tracing::warn!(delivery = %delivery.id, error = %chain(&error), "renewing a lease failed"),
            },
        }
    };
    if let Err(error) = outcome {
        put_back(db, &delivery, chain(&error)).await;
    }
}

/// The reason of a delivery that nobody put back.
const DIED: &str = "the server ended each time while it was handled";

async fn put_back(db: &Db, delivery: &Delivery, reason: String) {
    tracing::warn!(delivery = %delivery.id, kind = delivery.event.kind(), attempts = delivery.attempts, error = %reason, "delivery failed");
    if let Err(error) = db.put_back(delivery, reason).await {
        tracing::warn!(delivery = %delivery.id, error = %chain(&error), "putting a delivery back failed");
    }
}
