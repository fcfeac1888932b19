//! Alerts, where they are sent, and what did not arrive.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{AlertId, AlertMessageId, AlertTargetId, ErrorCode, Network, Prefix, Problem};
use seaworthy_policy::Language;
use seaworthy_telemetry::{
    Body, DeadMessage, Format, NewTarget, Target, TargetKind, UnknownEvent, Wanted as Event,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Rooms, invalid, require, scope};
use crate::{
    alerts::{row, sealed_for},
    japanese, limit, mail,
    route::Routes,
    webhook::{Address, AddressError, Endpoint, Key},
};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/alerts", list)
        .get("/api/v1/alerts/targets", targets)
        .post("/api/v1/alerts/targets", create)
        .get("/api/v1/alerts/targets/{name}", show)
        .delete("/api/v1/alerts/targets/{name}", delete)
        .post("/api/v1/alerts/targets/{name}/test", test)
        .get("/api/v1/alerts/dead", dead)
        .post("/api/v1/alerts/dead/{id}/resend", resend)
}

async fn may(rooms: &Rooms, identity: &Identity, permission: Permission) -> Result<(), ApiError> {
    require(rooms, identity, permission, &scope("/alerts")?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page<I> {
    /// `next` of the page before.
    after: Option<I>,
    limit: Option<u32>,
}

impl<I> Page<I> {
    fn most(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, limit::PAGE)
    }
}

async fn list(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Query(page): Query<Page<AlertId>>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertRead).await?;
    let most = page.most();
    let alerts = rooms.telemetry.alerts(page.after, most).await?;
    let full = u32::try_from(alerts.len()).is_ok_and(|count| count == most);
    let next = alerts.last().filter(|_| full).map(|alert| alert.id);
    let rows = alerts.iter().map(|alert| row(rooms.post.links(), alert, language));
    Ok(Json(json!({"alerts": rows.collect::<Vec<Value>>(), "next": next})))
}

/// A target as pages show it, its last failure in the reader's language.
fn shown(target: &Target, language: Language) -> Value {
    let mut shown = json!(target);
    if let (Some(failure), Some(slot)) = (&target.health.failure, shown.pointer_mut("/health/failure")) {
        *slot = japanese::text(failure.clone(), language).into();
    }
    shown
}

async fn targets(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertRead).await?;
    let targets = rooms.telemetry.targets().await?;
    Ok(Json(targets.iter().map(|target| shown(target, language)).collect()))
}

async fn show(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertRead).await?;
    Ok(Json(shown(&rooms.telemetry.target(&name).await?, language)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    /// Address of a webhook.
    url: Option<String>,
    /// Mail address.
    mail: Option<String>,
    /// Events; none for every alert.
    #[serde(default)]
    events: Vec<String>,
    /// Of the registry these alone; none for all.
    #[serde(default)]
    repositories: Vec<Prefix>,
    /// What the webhook is sent.
    #[serde(default)]
    format: Format,
    /// Private networks that the webhook may lie in.
    #[serde(default)]
    networks: Vec<String>,
}

async fn create(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Json(wanted): Json<Wanted>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertWrite).await?;
    if !wanted.networks.is_empty() {
        may(&rooms, &identity, Permission::AlertNetwork).await?;
    }
    let events: Result<Vec<Event>, UnknownEvent> = wanted.events.iter().map(|it| it.parse()).collect();
    let events = events.map_err(|error| no_event(&error))?;
    may_be_told(&rooms, &identity, &events, &wanted.repositories).await?;
    let networks: Result<Vec<Network>, _> = wanted.networks.iter().map(|it| it.parse()).collect();
    let (id, mut secret) = (AlertTargetId::generate(), Value::Null);
    let (kind, shown_as, sealed) = match (&wanted.url, &wanted.mail) {
        (Some(url), None) => {
            let endpoint = Endpoint { address: Address::parse(url)?, key: Key::generate()? };
            let sealed = rooms.post.seal().wrap(&sealed_for(id), endpoint.keep().expose())?;
            secret = json!(endpoint.key.told().expose());
            (TargetKind::Webhook, endpoint.address.shown(), sealed)
        }
        (None, Some(address)) => {
            mail_is_possible(&rooms, address)?;
            (TargetKind::Mail, address.clone(), Vec::new())
        }
        _ => return Err(invalid("an alert target has either `url` or `mail`")),
    };
    let new = NewTarget {
        id,
        name: wanted.name,
        kind,
        shown: shown_as,
        sealed,
        events,
        repositories: wanted.repositories,
        format: wanted.format,
        networks: networks?.iter().map(ToString::to_string).collect(),
    };
    let target = rooms.telemetry.create_target(&identity.actor, new).await?;
    Ok(Json(json!({"target": shown(&target, language), "secret": secret})))
}

fn mail_is_possible(rooms: &Rooms, address: &str) -> Result<(), ApiError> {
    if !mail::is_address(address) {
        let short: String = address.chars().take(100).collect();
        return Err(invalid(format!("`{short}` is not a mail address")));
    }
    if !rooms.post.has_mail() {
        let problem = Problem::new(ErrorCode::Conflict, "no mail server is configured");
        return Err(problem.hint("set `[mail]` in `seaworthy.toml`: see docs/reference/config.md").into());
    }
    Ok(())
}

impl From<AddressError> for Problem {
    fn from(error: AddressError) -> Self {
        Self::new(ErrorCode::Invalid, error.to_string())
    }
}

/// Who is told what happens in repositories learns their names, tags and digests: so must whoever sets that up
/// be able to.
async fn may_be_told(
    rooms: &Rooms,
    identity: &Identity,
    events: &[Event],
    repositories: &[Prefix],
) -> Result<(), ApiError> {
    if !events.iter().any(|it| matches!(it, Event::Act(_))) {
        return Ok(());
    }
    if repositories.is_empty() {
        return require(rooms, identity, Permission::MetadataRead, &scope("/repositories")?).await;
    }
    for prefix in repositories {
        require(rooms, identity, Permission::MetadataRead, &prefix.scope()?).await?;
    }
    Ok(())
}

fn no_event(error: &UnknownEvent) -> ApiError {
    invalid(error.to_string())
}

async fn delete(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertWrite).await?;
    rooms.telemetry.delete_target(&identity.actor, &name).await?;
    Ok(Json(json!({"deleted": name})))
}

/// Sends a test at once, and says how it went.
async fn test(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertWrite).await?;
    let target = rooms.telemetry.target(&name).await?;
    rooms.telemetry.record_test(&identity.actor, &target, None).await?;
    let outcome = rooms.post.test(&target).await.map_err(|failure| failure.reason);
    rooms.telemetry.record_test(&identity.actor, &target, Some(outcome.clone())).await?;
    let failure = outcome.err().map(|reason| japanese::text(reason, language));
    Ok(Json(json!({"delivered": failure.is_none(), "failure": failure})))
}

/// A message that was given up, in short.
fn given_up(message: &DeadMessage, language: Language) -> Value {
    let (event, count, container) = match &message.body {
        Body::Alert(alert) => (alert.kind.word(), 1, Some(&alert.about.name)),
        Body::Summary(summary) => ("summary", summary.count(), None),
        Body::Act(told) => (told.record.action.word(), 1, Some(&told.record.object)),
        Body::Test => ("test", 0, None),
    };
    json!({
        "id": message.id, "target": message.target, "event": event, "alerts": count,
        "container": container, "created_at": message.created_at, "attempts": message.attempts,
        "failure": japanese::text(message.failure.clone(), language),
    })
}

async fn dead(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Query(page): Query<Page<AlertMessageId>>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertRead).await?;
    let most = page.most();
    let messages = rooms.telemetry.dead(page.after, most).await?;
    let full = u32::try_from(messages.len()).is_ok_and(|count| count == most);
    let next = messages.last().filter(|_| full).map(|message| message.id);
    let rows = messages.iter().map(|message| given_up(message, language));
    Ok(Json(json!({"messages": rows.collect::<Vec<Value>>(), "next": next})))
}

async fn resend(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AlertWrite).await?;
    let id: AlertMessageId =
        id.parse().map_err(|error: seaworthy_model::IdError| invalid(error.to_string()))?;
    rooms.telemetry.resend(&identity.actor, id).await?;
    Ok(Json(json!({"resent": id})))
}
