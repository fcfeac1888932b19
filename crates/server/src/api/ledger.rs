//! The ledger: list, verify, prove.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Action, Filter};
use seaworthy_model::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Rooms, require, scope};
use crate::{limit, offline, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/ledger", list)
        .post("/api/v1/ledger/verify", verify)
        .get("/api/v1/ledger/{index}/proof", proof)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    actor: Option<String>,
    action: Option<Action>,
    object: Option<String>,
    since: Option<Timestamp>,
    before: Option<u64>,
    n: Option<u32>,
}

async fn may(rooms: &Rooms, identity: &Identity) -> Result<(), ApiError> {
    require(rooms, identity, Permission::LedgerRead, &scope("/ledger")?).await
}

async fn list(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Wanted>,
) -> Answer {
    may(&rooms, &identity).await?;
    let filter =
        Filter { actor: it.actor, action: it.action, object: it.object, since: it.since, before: it.before };
    let records = seaworthy_ledger::list(&rooms.db, &filter, it.n.unwrap_or(100).min(limit::PAGE)).await?;
    let rows = records.iter().map(|(index, record)| json!({"index": index, "record": record}));
    Ok(Json(Value::Array(rows.collect())))
}

async fn verify(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    may(&rooms, &identity).await?;
    let report = seaworthy_ledger::verify(&rooms.db, &rooms.ledger, &rooms.verifier).await?;
    Ok(Json(offline::answer(&report, &rooms.verifier)))
}

async fn proof(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(index): Path<u64>,
) -> Answer {
    may(&rooms, &identity).await?;
    let proof = seaworthy_ledger::prove(&rooms.db, &rooms.ledger, &rooms.verifier, index).await?;
    let path: Vec<String> = proof.path.iter().map(|hash| STANDARD.encode(hash.0)).collect();
    Ok(Json(json!({
        "index": proof.index,
        "record": proof.record,
        "leaf": proof.leaf,
        "path": path,
        "checkpoint": proof.checkpoint,
        "key": proof.vkey,
    })))
}
