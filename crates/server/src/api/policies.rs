//! Policies and exceptions.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_clearance::{ClearanceError, NewException};
use seaworthy_model::{ErrorCode, ExceptionId, Problem, Scope, Timestamp};
use seaworthy_policy::{ExceptionScope, Mode, RuleResult};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ApiError, Rooms, invalid, require, scope};
use crate::{limit, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/policies", list)
        .post("/api/v1/policies", apply)
        .post("/api/v1/policies/preview", preview)
        .get("/api/v1/policies/{name}", show)
        .get("/api/v1/policies/{name}/versions/{version}", version)
        .get("/api/v1/exceptions", exceptions)
        .post("/api/v1/exceptions", request)
        .get("/api/v1/exceptions/{id}", exception)
        .post("/api/v1/exceptions/{id}/approve", approve)
        .post("/api/v1/exceptions/{id}/revoke", revoke)
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

async fn version(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path((name, version)): Path<(String, i64)>,
) -> Answer {
    require(&rooms, &identity, Permission::PolicyRead, &scope("/policies")?).await?;
    let unknown = || Problem::new(ErrorCode::NotFound, format!("policy `{name}` has no version `{version}`"));
    let row = rooms.clearance.policy_version(&name, version).await?.ok_or_else(unknown)?;
    Ok(Json(json!({"policy": row, "source": row.source})))
}

/// Whose verdict would change if a policy were applied: of the images that the caller may see, the
/// first [`limit::PREVIEWED`] tags.
async fn preview(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Source>,
) -> Answer {
    require(&rooms, &identity, Permission::PolicyRead, &scope("/policies")?).await?;
    let policy =
        seaworthy_policy::Policy::parse(&it.source).map_err(|source| ClearanceError::Policy { source })?;
    let (mut judged, mut changed) = (0_u32, Vec::new());
    for row in rooms.registry.images(&identity, "", ("", ""), limit::PREVIEWED).await? {
        let Some(stored) = rooms.clearance.stored(&row.repository, &row.digest).await? else { continue };
        let decision = rooms.clearance.preview(&stored, &policy).await?;
        judged += 1;
        if decision.verdict != stored.verdict {
            let against = decision
                .reasons
                .iter()
                .filter(|reason| reason.mode == Mode::Enforce && reason.result != RuleResult::Pass);
            let rules: Vec<&str> = against.map(|reason| reason.rule.as_str()).collect();
            changed.push(json!({
                "repository": row.repository, "tag": row.tag, "digest": row.digest,
                "before": stored.verdict, "after": decision.verdict, "rules": rules,
            }));
        }
    }
    Ok(Json(json!({"judged": judged, "changed": changed})))
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
    rooms.access.require_fresh(&identity)?;
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
