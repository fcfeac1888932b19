//! Feeds: import, status, history.

use std::path::PathBuf;

use axum::{Extension, Json, extract::State};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ActorKind, ErrorCode, Problem, Scope};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Rooms, invalid, require};
use crate::route::Routes;

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .post("/api/v1/advisories/import", import)
        .get("/api/v1/advisories", status)
        .get("/api/v1/advisories/history", history)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    /// Absolute paths on the server's machine.
    paths: Vec<PathBuf>,
}

/// The server opens files by name, so only an operator of its machine may name them.
async fn import(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Import>,
) -> Answer {
    require(&rooms, &identity, Permission::AdvisoryImport, &Scope::root()).await?;
    if identity.actor.kind != ActorKind::Operator {
        let problem = Problem::new(ErrorCode::Denied, "files are imported on the server's own machine");
        return Err(problem.hint("run `seaworthy advisories import PATH` there").into());
    }
    if it.paths.is_empty() || it.paths.iter().any(|path| !path.is_absolute()) {
        return Err(invalid("`paths` are absolute and at least one"));
    }
    // A task of its own: an import goes on when the client goes away.
    let (findings, actor) = (rooms.findings.clone(), identity.actor.clone());
    let report = tokio::spawn(async move { findings.import(&actor, &it.paths).await })
        .await
        .map_err(|_| Problem::new(ErrorCode::Internal, "the import ended unexpectedly"))??;
    Ok(Json(json!(report)))
}

async fn status(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    require(&rooms, &identity, Permission::ClearanceRead, &Scope::root()).await?;
    Ok(Json(json!(rooms.findings.status().await?)))
}

async fn history(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    require(&rooms, &identity, Permission::ClearanceRead, &Scope::root()).await?;
    Ok(Json(json!(rooms.findings.history(100).await?)))
}
