//! Principals, credentials, roles, assignments, explanations.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use seaworthy_access::{Identity, NewCredential, Permission, Principal, PrincipalKind};
use seaworthy_model::{ActorKind, ErrorCode, Problem, Scope};
use seaworthy_policy::Language;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Rooms, invalid, require, session};
use crate::{japanese, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .post("/api/v1/login", login)
        .get("/api/v1/principals", list)
        .post("/api/v1/principals", create)
        .get("/api/v1/principals/{name}", show)
        .delete("/api/v1/principals/{name}", remove)
        .post("/api/v1/principals/{name}/disable", disable)
        .post("/api/v1/principals/{name}/enable", enable)
        .get("/api/v1/principals/{name}/credentials", credentials)
        .post("/api/v1/principals/{name}/credentials", add_credential)
        .delete("/api/v1/principals/{name}/credentials/{id}", remove_credential)
        .get("/api/v1/roles", roles)
        .post("/api/v1/roles", define_role)
        .get("/api/v1/roles/{name}", role)
        .post("/api/v1/assignments", assign)
        .delete("/api/v1/assignments", unassign)
        .get("/api/v1/access/explain", explain)
}

/// Refuses unless `identity` may do `permission` everywhere.
pub(super) async fn may(rooms: &Rooms, identity: &Identity, permission: Permission) -> Result<(), ApiError> {
    require(rooms, identity, permission, &Scope::root()).await
}

/// A 12-hour registry credential for the operator who asks on the socket.
async fn login(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    let actor = &identity.actor;
    let Some(uid) = operator_uid(&identity) else {
        let problem = Problem::new(ErrorCode::Denied, "login is for operators of this machine");
        return Err(problem.hint("use a service principal's client id and secret").into());
    };
    let principal = rooms.access.operator_principal(actor, uid).await?;
    let new = rooms.access.add_login(actor, &principal, "login --docker").await?;
    Ok(Json(json!({
        "username": principal.name,
        "password": new.secret.expose(),
        "registry": rooms.registry_host,
        "expires_at": new.credential.expires_at,
    })))
}

/// The uid of an operator, as the kernel said it.
pub(super) fn operator_uid(identity: &Identity) -> Option<u32> {
    let actor = &identity.actor;
    let proved = actor.source.as_ref().unwrap_or(&actor.name);
    let uid = proved.strip_prefix("uid:").and_then(|uid| uid.parse().ok());
    uid.filter(|_| actor.kind == ActorKind::Operator)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPrincipal {
    name: String,
    #[serde(default)]
    kind: Option<PrincipalKind>,
    role: Option<String>,
    scope: Option<Scope>,
    /// Of a token.
    scope_map: Option<String>,
    /// How long the first secret of a token lasts.
    days: Option<u32>,
}

async fn create(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<NewPrincipal>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessWrite).await?;
    let role = match (&new.role, &new.scope) {
        (Some(role), Some(scope)) => Some((rooms.access.role(role).await?, scope.clone())),
        (None, None) => None,
        _ => return Err(invalid("`role` and `scope` are given together")),
    };
    let kind = new.kind.unwrap_or(PrincipalKind::ServicePrincipal);
    let (actor, name) = (&identity.actor, new.name.parse()?);
    let created = match (kind, &new.scope_map) {
        (PrincipalKind::Token, Some(map)) if role.is_none() => {
            rooms.access.create_token(actor, name, map, new.days).await?
        }
        (PrincipalKind::Token, _) => return Err(invalid("a token has a `scope_map`, and no `role`")),
        (_, None) if new.days.is_none() => match role {
            Some(role) => rooms.access.create_principal_as(actor, name, kind, role).await?,
            None => rooms.access.create_principal(actor, name, kind).await?,
        },
        _ => return Err(invalid("`scope_map` and `days` are for tokens: set `kind` to `token`")),
    };
    let link = match kind {
        PrincipalKind::ServicePrincipal | PrincipalKind::Token => None,
        PrincipalKind::User => Some(rooms.access.person_link(&identity.actor, &created.principal).await?),
    };
    Ok(Json(json!({
        "id": created.principal.id,
        "name": created.principal.name,
        "client_id": created.principal.id,
        "client_secret": created.secret.as_ref().map(|secret| secret.secret.expose()),
        "expires_at": created.secret.as_ref().and_then(|secret| secret.credential.expires_at),
        "link": link.map(|link| session::shown_once(&rooms, &link)),
    })))
}

async fn list(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    Ok(Json(json!(rooms.access.principals().await?)))
}

async fn show(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    let principal = rooms.access.principal(&name).await?;
    let (password_set_at, sessions) = rooms.access.standing(principal.id).await?;
    Ok(Json(json!({
        "password_set_at": password_set_at,
        "sessions": sessions,
        "principal": principal,
        "assignments": rooms.access.assignments(principal.id).await?,
        "credentials": rooms.access.credentials(principal.id).await?,
    })))
}

async fn writable(rooms: &Rooms, identity: &Identity, name: &str) -> Result<Principal, ApiError> {
    may(rooms, identity, Permission::AccessWrite).await?;
    Ok(rooms.access.principal(name).await?)
}

async fn remove(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    let principal = writable(&rooms, &identity, &name).await?;
    rooms.access.delete(&identity.actor, &principal).await?;
    Ok(Json(json!({"deleted": principal.name})))
}

async fn disable(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    let principal = writable(&rooms, &identity, &name).await?;
    rooms.access.disable(&identity.actor, &principal).await?;
    Ok(Json(json!({"disabled": principal.name})))
}

async fn enable(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    let principal = writable(&rooms, &identity, &name).await?;
    rooms.access.enable(&identity.actor, &principal).await?;
    Ok(Json(json!({"enabled": principal.name})))
}

async fn credentials(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    let principal = rooms.access.principal(&name).await?;
    Ok(Json(json!(rooms.access.credentials(principal.id).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    #[serde(default)]
    label: String,
    /// How long it lasts; without, until it is removed.
    days: Option<u32>,
}

async fn add_credential(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
    Json(label): Json<Label>,
) -> Answer {
    let principal = writable(&rooms, &identity, &name).await?;
    let new = rooms.access.add_secret_for(&identity.actor, &principal, &label.label, label.days).await?;
    Ok(Json(shown_once(&principal, &new)))
}

fn shown_once(principal: &Principal, new: &NewCredential) -> Value {
    json!({
        "id": new.credential.id,
        "name": principal.name,
        "client_id": principal.id,
        "client_secret": new.secret.expose(),
        "expires_at": new.credential.expires_at,
    })
}

async fn remove_credential(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path((name, id)): Path<(String, String)>,
) -> Answer {
    let principal = writable(&rooms, &identity, &name).await?;
    let id = id.parse().map_err(|error: seaworthy_model::IdError| invalid(error.to_string()))?;
    rooms.access.remove_credential(&identity.actor, &principal, id).await?;
    Ok(Json(json!({"removed": id})))
}

fn role_json(role: &seaworthy_access::Role) -> Value {
    json!({
        "id": role.id.to_string(), "name": role.name, "description": role.description,
        "permissions": role.permissions, "built_in": role.built_in,
    })
}

async fn roles(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    let roles = rooms.access.roles().await?;
    Ok(Json(Value::Array(roles.iter().map(role_json).collect())))
}

async fn role(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    Ok(Json(role_json(&rooms.access.role(&name).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleDefinition {
    name: String,
    #[serde(default)]
    description: String,
    permissions: Vec<Permission>,
}

async fn define_role(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<RoleDefinition>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessWrite).await?;
    let name = new.name.parse()?;
    let role = rooms.access.define_role(&identity.actor, name, &new.description, new.permissions).await?;
    Ok(Json(role_json(&role)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    principal: String,
    role: String,
    scope: Scope,
}

async fn assign(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Assignment>,
) -> Answer {
    require(&rooms, &identity, Permission::AccessWrite, &it.scope).await?;
    let assignment = rooms.access.assign(&identity.actor, &it.principal, &it.role, it.scope).await?;
    Ok(Json(json!(assignment)))
}

async fn unassign(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Assignment>,
) -> Answer {
    require(&rooms, &identity, Permission::AccessWrite, &it.scope).await?;
    rooms.access.unassign(&identity.actor, &it.principal, &it.role, &it.scope).await?;
    Ok(Json(json!({"unassigned": it.role})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    principal: String,
    action: String,
    scope: Scope,
}

async fn explain(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Query(it): Query<Question>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    let permission: Permission = it.action.parse().map_err(|_| {
        let words: Vec<_> = Permission::ALL.iter().map(|permission| permission.word()).collect();
        let problem = Problem::new(ErrorCode::Invalid, format!("`{}` is not an action", it.action));
        ApiError(problem.hint(format!("use one of {}", words.join(", "))))
    })?;
    let decision = rooms.access.explain(&it.principal, permission, &it.scope).await?;
    let reason = japanese::text(decision.reason, language);
    Ok(Json(json!({"allowed": decision.allowed, "reason": reason, "assignment": decision.by})))
}
