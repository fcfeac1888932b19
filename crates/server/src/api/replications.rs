//! What is copied to other registries.

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_registry::{NewReplication, ReplicationName};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ListPart, Rooms, signed_in};
use crate::route::Routes;

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/registry/replications", replications)
        .post("/api/v1/registry/replications", set_replication)
        .delete("/api/v1/registry/replications", remove_replication)
        .get("/api/v1/registry/replications/outgoing", outgoing)
        .post("/api/v1/registry/replications/run", run_replication)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only this one.
    name: Option<ReplicationName>,
    #[serde(default)]
    after: String,
    n: Option<usize>,
}

async fn replications(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    signed_in(&identity)?;
    let mut all = rooms.registry.replications(&identity).await?;
    if let Some(name) = wanted.name {
        all.retain(|it| it.settings.name == name);
        if all.is_empty() {
            let message = format!("there is no replication `{name}`");
            return Err(Problem::new(ErrorCode::NotFound, message)
                .hint("`seaworthy registry replication list` shows them")
                .into());
        }
    }
    let part = ListPart { after: wanted.after, n: wanted.n };
    Ok(Json(part.of(&all, "name")))
}

async fn set_replication(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<NewReplication>,
) -> Answer {
    signed_in(&identity)?;
    Ok(Json(json!(rooms.registry.set_replication(&identity, &new).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: ReplicationName,
}

async fn remove_replication(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(which): Query<Which>,
) -> Answer {
    signed_in(&identity)?;
    rooms.registry.remove_replication(&identity, &which.name).await?;
    Ok(Json(json!({"removed": which.name})))
}

async fn run_replication(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(which): Json<Which>,
) -> Answer {
    signed_in(&identity)?;
    rooms.registry.run_replication(&identity, &which.name).await?;
    Ok(Json(json!({"name": which.name, "seeding": true})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    name: ReplicationName,
    /// Only what is not there as it is here.
    #[serde(default)]
    waiting: bool,
    #[serde(default)]
    after_repository: String,
    #[serde(default)]
    after_name: String,
}

async fn outgoing(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(page): Query<Page>,
) -> Answer {
    signed_in(&identity)?;
    let after = (page.after_repository.as_str(), page.after_name.as_str());
    Ok(Json(json!(rooms.registry.outgoing(&identity, &page.name, after, page.waiting).await?)))
}
