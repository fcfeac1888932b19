//! Messages on their way: gathered, claimed, taken by their target, or given up.

use std::collections::BTreeMap;

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, AlertMessageId, AlertTargetId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Alert, AlertKind, Failure, Retry, Summary, Telemetry, TelemetryError, Told,
    db::{self, messages},
    delay_seconds, limit,
};

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum Body {
    /// One alert.
    Alert(Box<Alert>),
    /// Many at once.
    Summary(Box<Summary>),
    /// An act of the registry.
    Act(Box<Told>),
    /// Nothing happened: somebody wants to see that messages arrive. Never stored.
    Test,
}

/// A message, claimed by this sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same through every attempt.
    pub id: AlertMessageId,
    /// Whom it is for.
    pub target: AlertTargetId,
    /// What it says.
    pub body: Body,
    /// How many attempts have failed.
    pub attempts: i64,
    pub(crate) give_up_at: Timestamp,
    pub(crate) epoch: i64,
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadMessage {
    /// Its id.
    pub id: AlertMessageId,
    /// Its target's name.
    pub target: String,
    /// What it says.
    pub body: Body,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub failure: String,
}

/// Messages of all targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// That wait.
    pub waiting: u64,
    /// That were given up.
    pub dead: u64,
    /// Alerts that made no message.
    pub dropped: u64,
}

impl Telemetry {
    /// Lets go what was gathered for long enough: up to [`limit::SUMMARY_OVER`] messages as they are,
    /// more as one summary.
    pub async fn gather(&self) -> Result<(), TelemetryError> {
        let now = self.db().now();
        for target in messages::gathered(self.db(), now.plus_seconds(-limit::SUMMARY_SECONDS)).await? {
            self.db()
                .upkeep((target, now), |(target, now), tx| {
                    Box::pin(async move {
                        let kinds = messages::gathering_kinds(tx, *target).await?;
                        let count: u64 = kinds.values().sum();
                        if count <= limit::SUMMARY_OVER {
                            return messages::let_go(tx, *target, *now).await;
                        }
                        let summary = summary(kinds, messages::first_gathering(tx, *target).await?, *now);
                        messages::remove_gathering(tx, *target).await?;
                        let body = Body::Summary(Box::new(summary));
                        messages::insert_summary(tx, *target, &body, *now).await
                    })
                })
                .await
                .map_err(|error: seaworthy_store::DbError| TelemetryError::Db(error))?;
        }
        Ok(())
    }

    /// Targets with messages that are due, those that wait longest first.
    pub async fn due_targets(&self) -> Result<Vec<AlertTargetId>, TelemetryError> {
        Ok(messages::due_targets(self.db(), self.db().now()).await?)
    }

    /// Claims up to `most` due messages of a target for [`limit::LEASE_SECONDS`].
    pub async fn claim(&self, target: AlertTargetId, most: i64) -> Result<Vec<Message>, TelemetryError> {
        let now = self.db().now();
        self.db()
            .upkeep((), move |(), tx| Box::pin(messages::claim(tx, target, now, most)))
            .await
            .map_err(|error: seaworthy_store::DbError| TelemetryError::Db(error))
    }

    /// The target took it: it is done. Nothing happens when the message was claimed again meanwhile.
    pub async fn delivered(&self, message: &Message) -> Result<(), TelemetryError> {
        let now = self.db().now();
        self.db()
            .upkeep(message.clone(), move |message, tx| {
                Box::pin(async move {
                    if messages::remove_message(tx, message).await? {
                        db::count_delivered(tx, message.target, now).await?;
                    }
                    Ok(())
                })
            })
            .await
            .map_err(|error: seaworthy_store::DbError| TelemetryError::Db(error))
    }

    /// The attempt failed: it waits for the next one, or is given up. True for the latter.
    pub async fn failed(&self, message: &Message, failure: Failure) -> Result<bool, TelemetryError> {
        let now = self.db().now();
        let attempts = message.attempts + 1;
        let wait = match failure.retry {
            Retry::Never => None,
            Retry::Later => Some(delay_seconds(message.id, attempts)),
            Retry::After(seconds) => {
                Some(seconds.clamp(delay_seconds(message.id, attempts), limit::BACKOFF_SECONDS_MAX))
            }
        };
        // The last attempt is made when the time is over.
        let due = wait.filter(|_| now < message.give_up_at);
        let due = due.map(|wait| now.plus_seconds(wait).min(message.give_up_at));
        let reason: String = failure.reason.chars().take(limit::FAILURE_CHARS).collect();
        let context = (message.clone(), reason);
        self.db()
            .upkeep(context, move |(message, reason), tx| {
                Box::pin(async move {
                    let ours = match due {
                        Some(due) => messages::put_back(tx, message, due, reason).await?,
                        None => messages::set_dead(tx, message, reason).await?,
                    };
                    if ours {
                        db::set_failure(tx, message.target, now, reason).await?;
                    }
                    Ok(())
                })
            })
            .await
            .map_err(|error: seaworthy_store::DbError| TelemetryError::Db(error))?;
        Ok(due.is_none())
    }

    /// Makes every claimed message due now. Only for a caller that knows no other process works on
    /// this database: the holder of an SQLite data directory's lock, at its start.
    pub async fn reclaim(&self) -> Result<(), TelemetryError> {
        let now = self.db().now();
        self.db()
            .upkeep((), move |(), tx| Box::pin(messages::reclaim(tx, now)))
            .await
            .map_err(|error: seaworthy_store::DbError| TelemetryError::Db(error))
    }

    /// Messages that were given up, newest first, older than `after`.
    pub async fn dead(
        &self,
        after: Option<AlertMessageId>,
        most: u32,
    ) -> Result<Vec<DeadMessage>, TelemetryError> {
        Ok(messages::dead(self.db(), after, most.clamp(1, limit::PAGE)).await?)
    }

    /// Sends a message again that was given up, as if it were new; its id stays.
    pub async fn resend(&self, actor: &Actor, id: AlertMessageId) -> Result<(), TelemetryError> {
        let context = (id, self.db().now());
        seaworthy_ledger::write(self.db(), actor, context, |(id, now), tx| {
            Box::pin(async move {
                if !messages::revive(tx, *id, *now).await? {
                    return Err(TelemetryError::NotDead { id: *id });
                }
                let act = Act::new(Action::AlertResend, format!("alerts/messages/{id}"));
                Ok(((), vec![act.details(json!({ "id": id }))]))
            })
        })
        .await
    }

    /// How many messages wait, were given up, and were never made.
    pub async fn counts(&self) -> Result<Counts, TelemetryError> {
        Ok(db::counts(self.db()).await?)
    }
}

fn summary(kinds: BTreeMap<AlertKind, u64>, first: Vec<Body>, until: Timestamp) -> Summary {
    let alerts = first.into_iter().filter_map(|body| match body {
        Body::Alert(alert) => Some(*alert),
        Body::Summary(_) | Body::Act(_) | Body::Test => None,
    });
    let first: Vec<Alert> = alerts.collect();
    let since = first.iter().map(|alert| alert.at).min().unwrap_or(until);
    Summary { since, until, kinds, first }
}
