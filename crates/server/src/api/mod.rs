//! `/api/v1`: what the command line and the console talk to, and the health routes.

mod access;
mod advisories;
mod agent;
mod alerts;
mod caches;
mod check;
mod container_page;
mod containers;
mod hosts;
mod image_findings;
mod image_page;
mod images;
mod ledger;
mod list_part;
mod live;
mod named;
mod overview;
mod policies;
mod promotion;
mod registry;
mod replications;
mod repositories;
mod scope_maps;
mod session;
mod vulnerabilities;

use std::{fmt::Write as _, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use seaworthy_access::{Access, Identity, Permission};
use seaworthy_clearance::Clearance;
use seaworthy_findings::Findings;
use seaworthy_fleet::Fleet;
use seaworthy_inspection::Inspection;
use seaworthy_model::{ErrorCode, Problem, Scope, consumer};
use seaworthy_policy::Language;
use seaworthy_registry::Registry;
use seaworthy_store::Db;
use seaworthy_telemetry::Telemetry;
use seaworthy_trust::Verifier;
use serde_json::{Value, json};

use self::list_part::ListPart;
use crate::{alerts::Post, connections::Slots, limit, live::Live, local_ca::LocalCa, route::Routes};

/// The rooms behind the routes.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) db: Db,
    pub(crate) access: Access,
    pub(crate) registry: Registry,
    pub(crate) inspection: Inspection,
    pub(crate) findings: Findings,
    pub(crate) clearance: Clearance,
    pub(crate) fleet: Fleet,
    pub(crate) telemetry: Telemetry,
    /// Sends alerts.
    pub(crate) post: Post,
    /// This machine's name.
    pub(crate) host_name: String,
    pub(crate) ca: Arc<LocalCa>,
    /// Where other machines reach this server.
    pub(crate) tls_url: Option<String>,
    pub(crate) live: Live,
    /// The network doors' connections.
    pub(crate) slots: Slots,
    pub(crate) verifier: Verifier,
    pub(crate) ledger: PathBuf,
    pub(crate) language: Language,
    /// Where the registry listens, `localhost:5000`.
    pub(crate) registry_host: String,
}

/// A problem as our own API writes it.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Problem);

impl<E: Into<Problem>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = self.0.retry_after_seconds;
        let mut response = (status, Json(json!({"error": &self.0}))).into_response();
        response.extensions_mut().insert(self.0);
        if let Some(seconds) = retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(crate) type Answer = Result<Json<Value>, ApiError>;

/// The description of these routes, written by hand and compared with them in tests.
const OPENAPI: &str = include_str!("../../../../docs/reference/openapi.json");

/// All routes of this module.
pub(crate) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/livez", async || "ok\n")
        .get("/readyz", ready)
        .get("/metrics", metrics)
        .get("/api/v1/openapi.json", async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI))
        .get("/api/v1/status", status)
        .get("/api/v1/whoami", whoami)
        .merge(access::routes())
        .merge(advisories::routes())
        .merge(agent::routes())
        .merge(alerts::routes())
        .merge(check::routes())
        .merge(containers::routes())
        .merge(container_page::routes())
        .merge(hosts::routes())
        .merge(images::routes())
        .merge(image_findings::routes())
        .merge(image_page::routes())
        .merge(ledger::routes())
        .merge(live::routes())
        .merge(overview::routes())
        .merge(policies::routes())
        .merge(promotion::routes())
        .merge(caches::routes())
        .merge(replications::routes())
        .merge(registry::routes())
        .merge(scope_maps::routes())
        .merge(repositories::routes())
        .merge(session::routes())
        .merge(vulnerabilities::routes())
}

/// Refuses unless `identity` may do `permission` at `scope`.
pub(crate) async fn require(
    rooms: &Rooms,
    identity: &Identity,
    permission: Permission,
    scope: &Scope,
) -> Result<(), ApiError> {
    if rooms.access.allows(identity, permission, scope).await? {
        return Ok(());
    }
    signed_in(identity)?;
    let message = format!("`{permission}` at `{scope}` is not permitted to `{}`", identity.actor.name);
    let hint = format!("run `seaworthy access explain {} {permission} {scope}`", identity.actor.name);
    Err(Problem::new(ErrorCode::Denied, message).hint(hint).into())
}

/// Refuses who says nothing about itself.
pub(crate) fn signed_in(identity: &Identity) -> Result<(), ApiError> {
    if identity.is_anonymous() {
        let problem = Problem::new(ErrorCode::Unauthorized, "authentication is required");
        return Err(problem.hint("send a credential with Basic authentication").into());
    }
    Ok(())
}

/// A scope that is written in the code.
pub(crate) fn scope(text: &str) -> Result<Scope, ApiError> {
    text.parse().map_err(|error: seaworthy_model::ScopeError| {
        Problem::new(ErrorCode::Invalid, error.to_string()).into()
    })
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    Problem::new(ErrorCode::Invalid, message).into()
}

/// Pairs of a query string or form (`application/x-www-form-urlencoded`); a pair that is not
/// UTF-8 after decoding is left out.
pub(crate) fn decode_form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (high, low) =
                    (char::from(bytes.next()?).to_digit(16)?, char::from(bytes.next()?).to_digit(16)?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

async fn ready(State(rooms): State<Rooms>) -> Result<&'static str, ApiError> {
    let asked =
        tokio::time::timeout(Duration::from_secs(limit::READY_SECONDS), rooms.clearance.policies()).await;
    let late = || Problem::new(ErrorCode::Unavailable, "the database does not answer").retry_after(5);
    asked.map_err(|_| late())??;
    Ok("ready\n")
}

async fn metrics(State(rooms): State<Rooms>) -> Result<String, ApiError> {
    let mut out = String::from("# TYPE seaworthy_deliveries_waiting gauge\n");
    for consumer in consumer::ALL.iter().copied() {
        let waiting = rooms.db.waiting_deliveries(consumer).await?;
        let _ = writeln!(out, "seaworthy_deliveries_waiting{{consumer=\"{consumer}\"}} {waiting}");
    }
    let failed = rooms.db.failed_deliveries(1_000).await?.len();
    let damaged = rooms.registry.damaged_blobs().await?;
    let messages = rooms.telemetry.counts().await?;
    let connections = rooms.slots.count();
    let gauges = [
        ("deliveries_failed", failed.to_string()),
        ("registry_blobs_damaged", damaged.to_string()),
        ("alert_messages_waiting", messages.waiting.to_string()),
        ("alert_messages_dead", messages.dead.to_string()),
        ("alert_messages_dropped", messages.dropped.to_string()),
        ("connections_open", connections.open.to_string()),
        ("connections_most", connections.most.to_string()),
    ];
    for (name, value) in gauges {
        let _ = writeln!(out, "# TYPE seaworthy_{name} gauge\nseaworthy_{name} {value}");
    }
    let closed = "seaworthy_connections_closed_total";
    let _ = writeln!(out, "# TYPE {closed} counter\n{closed}{{reason=\"share\"}} {}", connections.closed);
    Ok(out)
}

async fn whoami(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    let mut who = json!(identity.actor);
    if let Value::Object(map) = &mut who {
        if let Some(session) = identity.session() {
            map.insert("session".to_owned(), json!(session));
        }
        if !identity.is_anonymous() {
            map.insert("registry".to_owned(), json!(rooms.registry.names()));
        }
    }
    Ok(Json(who))
}

async fn status(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    require(&rooms, &identity, Permission::ClearanceRead, &Scope::root()).await?;
    let mut waiting = serde_json::Map::new();
    for consumer in consumer::ALL.iter().copied() {
        waiting.insert(consumer.to_owned(), json!(rooms.db.waiting_deliveries(consumer).await?));
    }
    let failed = rooms.db.failed_deliveries(100).await?;
    let failed: Vec<Value> = failed
        .iter()
        .map(|it| json!({"id": it.id, "consumer": it.consumer, "kind": it.kind, "reason": it.reason, "since": it.created_at}))
        .collect();
    let feeds = rooms.findings.status().await?;
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "waiting": waiting,
        "failed": failed,
        "damaged_blobs": rooms.registry.damaged_blobs().await?,
        "alerts": rooms.telemetry.counts().await?,
        "advisories": {"generation": feeds.generation, "state": feeds.state, "feeds": feeds.feeds.len()},
    })))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A probe's own limit is seconds.
    #[test]
    fn readiness_is_said_before_a_probe_gives_up() {
        let usual = 3;
        assert!((1..usual).contains(&limit::READY_SECONDS));
    }

    const VERBS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

    #[test]
    fn the_description_has_the_routes_of_the_router_and_no_other() {
        let table = routes();
        let tokens = crate::token::routes();
        let listed = table.listed().iter().chain(tokens.listed());
        let routed: BTreeSet<String> = listed.map(|(method, path)| format!("{method} {path}")).collect();
        let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for verb in VERBS.iter().filter(|verb| item.get(**verb).is_some()) {
                described.insert(format!("{} {path}", verb.to_uppercase()));
            }
        }
        let undescribed: Vec<_> = routed.difference(&described).collect();
        let invented: Vec<_> = described.difference(&routed).collect();
        assert!(undescribed.is_empty() && invented.is_empty(), "{undescribed:?} {invented:?}");
    }

    /// A route added past the list would be in nobody's description.
    #[test]
    fn no_route_passes_the_list() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![source];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("sources") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("src/route.rs") {
                    seen += 1;
                    let text = std::fs::read_to_string(&path).expect("text");
                    for word in [concat!(".rou", "te("), concat!(".nes", "t("), concat!("_serv", "ice(")] {
                        let hits = text.lines().filter(|line| line.contains(word)).count();
                        let served = text.contains("into_make_service") && word.ends_with("ice(");
                        assert!(hits == 0 || served, "{} has `{word}`", path.display());
                    }
                }
            }
        }
        assert!(seen > 10);
    }
}
