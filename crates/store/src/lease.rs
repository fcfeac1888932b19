//! Leases: of several replicas one does a job. A row with owner, epoch and expiry; the epoch
//! fences a holder that was asleep past its expiry.

use seaworthy_model::{Timestamp, consumer};

use crate::{Db, DbError, Tx, args};

/// A held lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: &'static str,
    /// Grows by one with each change of holder.
    pub epoch: i64,
    /// Until when, unless renewed.
    pub until: Timestamp,
}

impl Db {
    /// Takes or renews the lease `name` for `owner`; `None` when somebody else holds it.
    pub async fn acquire_lease(
        &self,
        name: &'static str,
        owner: &str,
        seconds: i64,
    ) -> Result<Option<Lease>, DbError> {
        let now = self.now();
        let until = now.plus_seconds(seconds);
        let rows = self
            .claim(
                "INSERT INTO store_leases (name, owner, epoch, until) VALUES ($1, $2, 1, $3)
                 ON CONFLICT (name) DO UPDATE SET
                     epoch = CASE WHEN store_leases.owner = $2 THEN store_leases.epoch ELSE store_leases.epoch + 1 END,
                     owner = $2, until = $3
                 WHERE store_leases.owner = $2 OR store_leases.until <= $4
                 RETURNING epoch",
                args![name, owner, until.as_micros(), now.as_micros()],
            )
            .await?;
        rows.first().map(|row| Ok(Lease { name, epoch: row.int(0)?, until })).transpose()
    }

    /// Gives the lease back at once, if it is still ours.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), DbError> {
        let (name, epoch) = (lease.name, lease.epoch);
        self.upkeep((), move |(), tx| {
            Box::pin(async move {
                tx.execute(
                    "UPDATE store_leases SET until = 0 WHERE name = $1 AND epoch = $2",
                    args![name, epoch],
                )
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// Takes what processes that are gone had: every claimed or postponed delivery is due now, and no lease is
    /// held. Only for a caller that knows no other process works on this database: the holder of an SQLite data
    /// directory's lock, at its start.
    pub async fn reclaim(&self) -> Result<(), DbError> {
        let now = self.now().as_micros();
        self.upkeep((), move |(), tx| {
            Box::pin(async move {
                for name in consumer::ALL {
                    // For each, because the index begins with it.
                    let due = "UPDATE store_deliveries SET due_at = $2
                               WHERE consumer = $1 AND due_at > $2 AND failed IS NULL";
                    tx.execute(due, args![*name, now]).await?;
                }
                tx.execute("UPDATE store_leases SET until = 0 WHERE until > 0", args![]).await.map(|_| ())
            })
        })
        .await
    }
}

impl Tx<'_> {
    /// Fails the transaction with [`DbError::LeaseLost`] when the lease changed hands.
    pub async fn check_lease(&mut self, lease: &Lease) -> Result<(), DbError> {
        let row =
            self.fetch_optional("SELECT epoch FROM store_leases WHERE name = $1", args![lease.name]).await?;
        match row {
            Some(row) if row.int(0)? == lease.epoch => Ok(()),
            _ => Err(DbError::LeaseLost),
        }
    }
}
