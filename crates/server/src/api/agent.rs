//! What agents report. On the operator socket being allowed to open it is the credential; an agent
//! of another machine shows the certificate that it got when it joined.

use axum::{
    Extension, Json,
    body::Body,
    extract::{FromRequestParts, State},
};
use http::request::Parts;
use seaworthy_access::Identity;
use seaworthy_fleet::{FleetError, Newcomer};
use seaworthy_link::{Ack, Batch, Join, JoinToken, Joined, Unread, UsageReport, limit};
use seaworthy_model::{ErrorCode, HostId, Problem};
use serde_json::{Value, json};

use super::{ApiError, Rooms};
use crate::{
    auth::RemoteHost,
    local_ca::{Request, pem},
    route::Routes,
    tls::hash,
};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .post("/api/v1/agent/batches", batches)
        .post("/api/v1/agent/usage", usage)
        .get("/api/v1/agent/unread", unread)
        .post("/api/v1/agent/join", join)
}

/// Whose agent it is. Who may not report is refused before a byte of its body is read.
struct Reporter(HostId);

impl FromRequestParts<Rooms> for Reporter {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, ApiError> {
        if let Some(RemoteHost(host)) = parts.extensions.get() {
            return Ok(Self(*host));
        }
        let identity = parts.extensions.get::<Identity>();
        match identity {
            Some(identity) if identity.is_operator() => Ok(Self(this_host(rooms, identity).await?)),
            identity => {
                let is_anonymous = identity.is_none_or(Identity::is_anonymous);
                let code = if is_anonymous { ErrorCode::Unauthorized } else { ErrorCode::Denied };
                let message = "agents report on the operator socket, or with the certificate of a host";
                let hint =
                    "invite the host with `seaworthy host invite`, and run `seaworthy host join` there";
                Err(Problem::new(code, message).hint(hint).into())
            }
        }
    }
}

async fn read(body: Body, what: &str, most: usize) -> Result<axum::body::Bytes, ApiError> {
    axum::body::to_bytes(body, most).await.map_err(|_| {
        let message = format!("the {what} is longer than {most} bytes, or broke off");
        Problem::new(ErrorCode::TooLarge, message).into()
    })
}

async fn batches(
    Reporter(host): Reporter,
    State(rooms): State<Rooms>,
    body: Body,
) -> Result<Json<Ack>, ApiError> {
    let bytes = read(body, "batch", limit::BATCH_BYTES).await?;
    let batch = Batch::parse(&bytes).map_err(FleetError::from)?;
    Ok(Json(rooms.fleet.receive(host, batch).await?))
}

/// What containers use: kept in memory, for as long as a page shows it.
async fn usage(
    Reporter(host): Reporter,
    State(rooms): State<Rooms>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = read(body, "report", limit::USAGE_BYTES).await?;
    let report = UsageReport::parse(&bytes).map_err(FleetError::from)?;
    let kept = rooms.fleet.receive_usage(host, report);
    Ok(Json(json!({"kept": kept})))
}

/// Images that the host may read itself, because nobody pushed them.
async fn unread(Reporter(host): Reporter, State(rooms): State<Rooms>) -> Result<Json<Unread>, ApiError> {
    Ok(Json(Unread { images: rooms.fleet.unread(host).await? }))
}

/// A host comes in: the token is looked at before anything else that it sends.
async fn join(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Result<Json<Joined>, ApiError> {
    let bytes = read(body, "request", limit::JOIN_BYTES).await?;
    let invalid = |why: &dyn std::fmt::Display| Problem::new(ErrorCode::Invalid, why.to_string());
    let join: Join = serde_json::from_slice(&bytes).map_err(|error| invalid(&error))?;
    let token: JoinToken = join.token.parse().map_err(|error| {
        invalid(&error).hint("it begins with `swj_`; make one with `seaworthy host invite`")
    })?;
    let secret = hash(token.secret.expose());
    rooms.fleet.is_invited(secret).await?;
    let request = Request::parse(&join.request).map_err(|error| invalid(&error))?;
    let newcomer =
        Newcomer { secret, name: join.name, key: request.key(), reserved: rooms.host_name.clone() };
    let (host, name) = rooms.fleet.admit(&identity.actor, newcomer).await?;
    let certificate = rooms.ca.for_host(&name, &request).map_err(crate::StartError::from)?;
    rooms.fleet.certify(host, hash(&certificate)).await?;
    Ok(Json(Joined { host, name, certificate: pem(&certificate), ca: rooms.ca.pem() }))
}

/// The host that this machine is. It joins with its first batch.
async fn this_host(rooms: &Rooms, identity: &Identity) -> Result<HostId, ApiError> {
    let name = &rooms.host_name;
    if let Some(host) = rooms.fleet.host_named(name).await? {
        return Ok(host);
    }
    match rooms.fleet.join(&identity.actor, name).await {
        // Another batch came between.
        Err(FleetError::HostTaken { .. }) => match rooms.fleet.host_named(name).await? {
            Some(host) => Ok(host),
            None => Err(FleetError::HostTaken { name: name.clone() }.into()),
        },
        joined => Ok(joined?),
    }
}
