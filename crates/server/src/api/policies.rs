//! Policies and exceptions.

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_clearance::{ClearanceError, NewException};
use seaworthy_model::{ErrorCode, ExceptionId, Problem, Scope, Timestamp};
use seaworthy_policy::ExceptionScope;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ApiError, Rooms, invalid, require, scope};

pub(super) fn routes() -> Router<Rooms> {
    Router::new()
        .route("/api/v1/policies", get(list).post(apply))
        .route("/api/v1/policies/{name}", get(show))
        .route("/api/v1/exceptions", get(exceptions).post(request))
        .route("/api/v1/exceptions/{id}", get(exception))
        .route("/api/v1/exceptions/{id}/approve", post(approve))
        .route("/api/v1/exceptions/{id}/revoke", post(revoke))
}

async fn list(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    require(&rooms, &identity, Permission::PolicyRead, &scope("/policies")?).await?;
    Ok(Json(json!(rooms.clearance.policies().await?)))
}

async fn show(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    require(&rooms, &identity, Permission::PolicyRead, &scope("/policies")?).await?;
    let row = rooms.clearance.policies().await?.into_iter().find(|row| row.name == name);
    let row =
        row.ok_or_else(|| Problem::new(ErrorCode::NotFound, format!("policy `{name}` does not exist")))?;
    Ok(Json(json!({"policy": row, "source": row.source})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    source: String,
}

async fn apply(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Source>,
) -> Answer {
    let policy =
        seaworthy_policy::Policy::parse(&it.source).map_err(|source| ClearanceError::Policy { source })?;
    let at = scope(&format!("/policies/{}", policy.name))?;
    require(&rooms, &identity, Permission::PolicyWrite, &at).await?;
    Ok(Json(json!(rooms.clearance.apply_policy(&identity.actor, &it.source).await?)))
}

async fn exceptions(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    require(&rooms, &identity, Permission::PolicyRead, &scope("/policies")?).await?;
    Ok(Json(json!(rooms.clearance.exceptions().await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    scope: ExceptionScope,
    owner: String,
    reason: String,
    expires_at: Timestamp,
}

/// Where an exception's rights are asked: its repository when it names one, else all of them.
fn repository_scope(pattern: &str) -> Result<Scope, ApiError> {
    if pattern.contains('*') { scope("/repositories") } else { scope(&format!("/repositories/{pattern}")) }
}

async fn request(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Request>,
) -> Answer {
    let at = repository_scope(it.scope.repositories.as_str())?;
    require(&rooms, &identity, Permission::ExceptionRequest, &at).await?;
    let new = NewException { scope: it.scope, owner: it.owner, reason: it.reason, expires_at: it.expires_at };
    Ok(Json(json!(rooms.clearance.request_exception(&identity.actor, new).await?)))
}

fn parse(id: &str) -> Result<ExceptionId, ApiError> {
    id.parse().map_err(|error: seaworthy_model::IdError| invalid(error.to_string()))
}

async fn exception(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
) -> Answer {
    require(&rooms, &identity, Permission::PolicyRead, &scope("/policies")?).await?;
    Ok(Json(json!(rooms.clearance.exception(parse(&id)?).await?)))
}

async fn may_decide(rooms: &Rooms, identity: &Identity, id: ExceptionId) -> Result<(), ApiError> {
    let row = rooms.clearance.exception(id).await?;
    let at = repository_scope(row.exception.scope.repositories.as_str())?;
    require(rooms, identity, Permission::ExceptionApprove, &at).await
}

async fn approve(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
) -> Answer {
    let id = parse(&id)?;
    may_decide(&rooms, &identity, id).await?;
    Ok(Json(json!(rooms.clearance.approve_exception(&identity.actor, id).await?)))
}

async fn revoke(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
) -> Answer {
    let id = parse(&id)?;
    may_decide(&rooms, &identity, id).await?;
    Ok(Json(json!(rooms.clearance.revoke_exception(&identity.actor, id).await?)))
}
