use std::time::Duration;

use seaworthy_model::{AlertId, ClearanceChanged, Event, Timestamp, consumer};
use seaworthy_store::{Db, DbError, Delivery, Tx, WorkerConfig, chain};
use tokio_util::sync::CancellationToken;

use crate::{
    Alert, AlertKind, Target, TargetKind, TelemetryError,
    db::{self, messages},
    limit,
};

/// Rung when a message was stored or made due.
pub const BELL: &str = "telemetry messages";

/// The telemetry room. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    db: Db,
}

impl Telemetry {
    /// Telemetry over `db`.
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    /// Its database.
    pub const fn db(&self) -> &Db {
        &self.db
    }

    /// Alerts, newest first, older than `after`.
    pub async fn alerts(&self, after: Option<AlertId>, most: u32) -> Result<Vec<Alert>, TelemetryError> {
        Ok(db::alerts(&self.db, after, most.clamp(1, limit::PAGE)).await?)
    }

    /// Handles events, and removes what is too old, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        // One at a time: so that the limit of waiting messages is one, and alerts keep their order.
        let config = WorkerConfig { consumer: consumer::TELEMETRY, concurrency: 1 };
        let room = self.clone();
        let events = seaworthy_store::work(self.db.clone(), config, cancel.clone(), move |delivery| {
            let room = room.clone();
            async move { room.handle(delivery).await }
        });
        tokio::join!(events, self.follow(cancel.clone()), self.clean(cancel));
    }

    async fn handle(&self, delivery: Delivery) -> Result<(), TelemetryError> {
        let changed = match &delivery.event {
            Event::ClearanceChanged(changed) => Some(changed.as_ref().clone()),
            _ => None,
        };
        let alert = changed.map(|about| alert(&delivery, about));
        let targets = if alert.is_some() { self.targets().await? } else { Vec::new() };
        let context = (delivery, alert, targets, self.db.now());
        self.db
            .upkeep(context, |(delivery, alert, targets, now), tx| {
                Box::pin(async move {
                    if let Some(alert) = alert
                        && db::insert_alert(tx, alert).await?
                    {
                        for target in targets.iter().filter(|target| target.wants(alert.kind)) {
                            tell(tx, target, alert, *now).await?;
                        }
                    }
                    tx.settle(delivery).await
                })
            })
            .await
            .map_err(|error: DbError| TelemetryError::Db(error))
    }

    async fn clean(&self, cancel: CancellationToken) {
        loop {
            if let Err(error) = self.forget_old().await {
                tracing::warn!(error = %chain(&error), "removing old alerts failed, will try again");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(limit::UPKEEP_SECONDS)) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Removes what passes its limit of age or number: alerts, and messages that were given up.
    pub async fn forget_old(&self) -> Result<(), TelemetryError> {
        let day = 24 * 3_600;
        let now = self.db.now();
        let oldest = (now.plus_seconds(-limit::ALERT_DAYS * day), now.plus_seconds(-limit::DEAD_DAYS * day));
        self.db
            .upkeep(oldest, |(alerts, dead), tx| {
                Box::pin(async move {
                    db::forget_alerts(tx, *alerts).await?;
                    messages::forget_dead(tx, *dead).await
                })
            })
            .await
            .map_err(|error: DbError| TelemetryError::Db(error))
    }
}

fn alert(delivery: &Delivery, about: ClearanceChanged) -> Alert {
    // Both are 16 bytes in time order; one delivery is one alert.
    let id = AlertId::from_bytes(delivery.id.as_bytes()).unwrap_or_else(|_| AlertId::generate());
    Alert { id, kind: AlertKind::of(&about), at: delivery.created_at, about }
}

async fn tell(tx: &mut Tx<'_>, target: &Target, alert: &Alert, now: Timestamp) -> Result<(), DbError> {
    if target.health.waiting >= limit::WAITING {
        return db::count_dropped(tx, target.id).await;
    }
    let state = match target.kind {
        TargetKind::Mail => db::State::Gathering,
        TargetKind::Webhook => db::State::Waiting,
    };
    messages::insert_message(tx, (target.id, state), alert, now).await
}
