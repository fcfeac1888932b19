use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, AlertTargetId, Prefix, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::{AlertKind, Format, Telemetry, TelemetryError, Wanted, db, limit};

/// How a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A signed HTTP request for each alert.
    Webhook,
    /// A mail for each alert, or a summary of many.
    Mail,
}

impl TargetKind {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Webhook, Self::Mail].into_iter().find(|it| it.word() == word)
    }
}

/// A target to be made.
#[derive(Clone, Debug)]
pub struct NewTarget {
    /// Its id, which `sealed` is bound to.
    pub id: AlertTargetId,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub kind: TargetKind,
    /// What people see of its address: a webhook's scheme and host, a mail address.
    pub shown: String,
    /// What only the sender may know, sealed.
    pub sealed: Vec<u8>,
    /// What it wants to be told; empty for every alert.
    pub events: Vec<Wanted>,
    /// Of the registry it wants to be told of these alone; none for all.
    pub repositories: Vec<Prefix>,
    /// What it is sent.
    pub format: Format,
    /// Private networks that its address may lie in.
    pub networks: Vec<String>,
}

/// Where alerts are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its id.
    pub id: AlertTargetId,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub kind: TargetKind,
    /// What people see of its address.
    pub address: String,
    /// What only the sender may know, sealed.
    #[serde(skip)]
    pub sealed: Vec<u8>,
    /// What it wants to be told; empty for every alert.
    pub events: Vec<Wanted>,
    /// Of the registry it wants to be told of these alone; none for all.
    pub repositories: Vec<Prefix>,
    /// What it is sent.
    pub format: Format,
    /// Private networks that its address may lie in.
    pub networks: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// How it goes.
    pub health: TargetHealth,
}

/// How deliveries to a target go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TargetHealth {
    /// Messages that wait to be sent, or to be sent again.
    pub waiting: u64,
    /// Messages that were given up.
    pub dead: u64,
    /// Alerts that made no message, because too many were waiting.
    pub dropped: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// When the last one arrived.
    pub delivered_at: Option<Timestamp>,
    /// When an attempt last failed.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub failure: Option<String>,
}

impl Target {
    /// True when it wants to be told of this.
    pub fn wants(&self, kind: AlertKind) -> bool {
        self.events.is_empty() || self.events.contains(&Wanted::Alert(kind))
    }
}

impl Telemetry {
    /// Makes a target.
    pub async fn create_target(&self, actor: &Actor, new: NewTarget) -> Result<Target, TelemetryError> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = new.name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || new.name.len() > limit::NAME_BYTES || !new.name.chars().all(is_name) {
            return Err(TelemetryError::TargetName);
        }
        if new.networks.len() > limit::NETWORKS {
            return Err(TelemetryError::TooMany {
                what: "networks",
                limit: u64::try_from(limit::NETWORKS).unwrap_or(u64::MAX),
            });
        }
        check(&new)?;
        let name = new.name.clone();
        let size = seaworthy_ledger::size(self.db()).await?;
        let context = (new, actor.name.clone(), self.db().now(), size);
        seaworthy_ledger::write(self.db(), actor, context, |(new, by, now, size), tx| {
            Box::pin(async move {
                if db::count_targets(tx).await? >= limit::TARGETS {
                    return Err(TelemetryError::TooMany { what: "alert targets", limit: limit::TARGETS });
                }
                if !db::insert_target(tx, new, (by, *now)).await? {
                    return Err(TelemetryError::TargetTaken { name: new.name.clone() });
                }
                db::begin_to_follow(tx, new, *size).await?;
                let details = json!({
                    "id": new.id, "kind": new.kind, "address": new.shown, "events": new.events,
                    "repositories": new.repositories, "format": new.format, "networks": new.networks,
                });
                Ok(((), vec![act(Action::AlertTargetCreate, &new.name).details(details)]))
            })
        })
        .await?;
        self.target(&name).await
    }

    /// All targets, by name.
    pub async fn targets(&self) -> Result<Vec<Target>, TelemetryError> {
        Ok(db::targets(self.db()).await?)
    }

    /// One target.
    pub async fn target(&self, name: &str) -> Result<Target, TelemetryError> {
        let found = self.targets().await?.into_iter().find(|target| target.name == name);
        found.ok_or_else(|| TelemetryError::UnknownTarget { name: name.chars().take(100).collect() })
    }

    /// Deletes a target with its messages.
    pub async fn delete_target(&self, actor: &Actor, name: &str) -> Result<(), TelemetryError> {
        let target = self.target(name).await?;
        seaworthy_ledger::write(self.db(), actor, target, |target, tx| {
            Box::pin(async move {
                if !db::delete_target(tx, target.id).await? {
                    return Err(TelemetryError::UnknownTarget { name: target.name.clone() });
                }
                db::end_following(tx).await?;
                let act = act(Action::AlertTargetDelete, &target.name);
                Ok(((), vec![act.details(json!({ "id": target.id }))]))
            })
        })
        .await
    }

    /// Records a test of a target: `None` before it is sent, then how it went.
    pub async fn record_test(
        &self,
        actor: &Actor,
        target: &Target,
        outcome: Option<Result<(), String>>,
    ) -> Result<(), TelemetryError> {
        let details = match outcome {
            None => json!({"id": target.id, "phase": "intent"}),
            Some(Ok(())) => json!({"id": target.id, "phase": "outcome", "delivered": true}),
            Some(Err(failure)) => {
                json!({"id": target.id, "phase": "outcome", "delivered": false, "failure": failure})
            }
        };
        let act = act(Action::AlertTargetTest, &target.name).details(details);
        seaworthy_ledger::write(self.db(), actor, act, |act, _| {
            Box::pin(async move { Ok(((), vec![act.clone()])) })
        })
        .await
    }
}

/// Refuses what could not be told.
fn check(new: &NewTarget) -> Result<(), TelemetryError> {
    if new.repositories.len() > limit::PREFIXES {
        return Err(TelemetryError::TooMany {
            what: "prefixes of repositories",
            limit: u64::try_from(limit::PREFIXES).unwrap_or(u64::MAX),
        });
    }
    let acts = new.events.iter().any(|it| matches!(it, Wanted::Act(_)));
    if acts && new.kind == TargetKind::Mail {
        return Err(TelemetryError::MailOfActs);
    }
    if !acts && !new.repositories.is_empty() {
        return Err(TelemetryError::NothingOfRepositories);
    }
    let untold = new.events.iter().find(|it| !new.format.tells(**it)).copied();
    match (new.format, untold) {
        (_, Some(event)) => Err(TelemetryError::Untold { event: event.word(), format: new.format.word() }),
        // Without events it is told of alerts.
        (Format::Acr, None) if new.events.is_empty() => {
            Err(TelemetryError::Untold { event: "container.blocked", format: new.format.word() })
        }
        _ => Ok(()),
    }
}

fn act(action: Action, name: &str) -> Act {
    Act::new(action, format!("alerts/targets/{name}"))
}
