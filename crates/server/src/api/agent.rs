//! What agents report. Only the agent of this machine has a way in yet: on the operator socket,
//! being allowed to open it is the credential. Remote hosts come with joins and certificates.

use axum::{Extension, Json, body::Body, extract::State};
use seaworthy_access::Identity;
use seaworthy_fleet::FleetError;
use seaworthy_link::{Ack, Batch, UsageReport, limit};
use seaworthy_model::{ErrorCode, HostId, Problem};
use serde_json::{Value, json};

use super::{ApiError, Rooms};
use crate::route::Routes;

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().post("/api/v1/agent/batches", batches).post("/api/v1/agent/usage", usage)
}

/// Who may not report is refused before a byte of the batch is read.
async fn batches(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Result<Json<Ack>, ApiError> {
    at_the_socket(&identity)?;
    let bytes = axum::body::to_bytes(body, limit::BATCH_BYTES).await.map_err(|_| {
        let message = format!("the batch is longer than {} bytes, or broke off", limit::BATCH_BYTES);
        Problem::new(ErrorCode::TooLarge, message)
    })?;
    let batch = Batch::parse(&bytes).map_err(FleetError::from)?;
    let host = this_host(&rooms, &identity).await?;
    Ok(Json(rooms.fleet.receive(host, batch).await?))
}

/// What containers use: kept in memory, for as long as a page shows it.
async fn usage(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    at_the_socket(&identity)?;
    let bytes = axum::body::to_bytes(body, limit::USAGE_BYTES).await.map_err(|_| {
        let message = format!("the report is longer than {} bytes, or broke off", limit::USAGE_BYTES);
        Problem::new(ErrorCode::TooLarge, message)
    })?;
    let report = UsageReport::parse(&bytes).map_err(FleetError::from)?;
    let host = this_host(&rooms, &identity).await?;
    let kept = rooms.fleet.receive_usage(host, report);
    Ok(Json(json!({"kept": kept})))
}

fn at_the_socket(identity: &Identity) -> Result<(), ApiError> {
    if identity.is_operator() {
        return Ok(());
    }
    let code = if identity.is_anonymous() { ErrorCode::Unauthorized } else { ErrorCode::Denied };
    let problem = Problem::new(code, "agents report on the operator socket of the server's machine only");
    Err(problem.hint("run `seaworthy agent` on the machine of the server").into())
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
