//! Scope maps: what tokens may do.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use seaworthy_access::{Identity, MapEntry, Permission};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Rooms, access::may};
use crate::route::Routes;

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/scope-maps", list)
        .post("/api/v1/scope-maps", set)
        .get("/api/v1/scope-maps/{name}", show)
        .delete("/api/v1/scope-maps/{name}", remove)
        .post("/api/v1/principals/{name}/scope-map", give)
}

async fn list(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    Ok(Json(json!(rooms.access.scope_maps().await?)))
}

async fn show(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessRead).await?;
    Ok(Json(json!(rooms.access.scope_map(&name).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default)]
    description: String,
    actions: Vec<String>,
}

async fn set(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(wanted): Json<Wanted>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessWrite).await?;
    let actions: Result<Vec<MapEntry>, _> = wanted.actions.iter().map(|entry| entry.parse()).collect();
    let (name, actor) = (wanted.name.parse()?, &identity.actor);
    Ok(Json(json!(rooms.access.set_scope_map(actor, name, &wanted.description, actions?).await?)))
}

async fn remove(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessWrite).await?;
    rooms.access.delete_scope_map(&identity.actor, &name).await?;
    Ok(Json(json!({"deleted": name})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    scope_map: String,
}

/// Another scope map for a token.
async fn give(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
    Json(given): Json<Given>,
) -> Answer {
    may(&rooms, &identity, Permission::AccessWrite).await?;
    rooms.access.set_token_map(&identity.actor, &name, &given.scope_map).await?;
    Ok(Json(json!(rooms.access.principal(&name).await?)))
}
