//! Caches of other registries.

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_registry::{NewCache, Prefix};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ListPart, Rooms, signed_in};
use crate::route::Routes;

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/registry/caches", caches)
        .post("/api/v1/registry/caches", set_cache)
        .delete("/api/v1/registry/caches", remove_cache)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only this one.
    prefix: Option<Prefix>,
    #[serde(default)]
    after: String,
    n: Option<usize>,
}

async fn caches(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    signed_in(&identity)?;
    let mut caches = rooms.registry.caches(&identity).await?;
    if let Some(prefix) = wanted.prefix {
        caches.retain(|cache| cache.settings.prefix == prefix);
        if caches.is_empty() {
            return Err(Problem::new(ErrorCode::NotFound, format!("`{prefix}` is no cache")).into());
        }
    }
    let part = ListPart { after: wanted.after, n: wanted.n };
    Ok(Json(part.of(&caches, "prefix")))
}

async fn set_cache(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<NewCache>,
) -> Answer {
    signed_in(&identity)?;
    Ok(Json(json!(rooms.registry.set_cache(&identity, &new).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    prefix: Prefix,
}

async fn remove_cache(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(which): Query<Which>,
) -> Answer {
    signed_in(&identity)?;
    rooms.registry.remove_cache(&identity, &which.prefix).await?;
    Ok(Json(json!({"removed": which.prefix})))
}
