//! Who may bring hosts in, and take them out.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_fleet::Invitation;
use seaworthy_link::JoinToken;
use seaworthy_model::{ErrorCode, Problem, Secret};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ApiError, Rooms, require, scope};
use crate::{limit, route::Routes, tls::hash};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().post("/api/v1/host-invitations", invite).delete("/api/v1/hosts/{name}", remove)
}

async fn may(rooms: &Rooms, identity: &Identity) -> Result<(), ApiError> {
    require(rooms, identity, Permission::HostWrite, &scope("/hosts")?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Name that the host gets; its own when there is none.
    name: Option<String>,
    /// For how long, in seconds.
    seconds: Option<i64>,
}

async fn invite(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(wanted): Json<Wanted>,
) -> Answer {
    may(&rooms, &identity).await?;
    let Some(url) = &rooms.tls_url else {
        let problem = Problem::new(ErrorCode::Unsupported, "the HTTPS door is closed");
        return Err(problem.hint("start the server with `--domain NAME`, or `--tls-listen ADDRESS`").into());
    };
    if wanted.name.as_ref() == Some(&rooms.host_name) {
        return Err(seaworthy_fleet::FleetError::HostTaken { name: rooms.host_name }.into());
    }
    let secret = seaworthy_seal::random::<32>().map_err(Problem::from)?;
    let seconds = wanted.seconds.unwrap_or(limit::INVITED_SECONDS);
    let invitation = Invitation { secret: hash(&secret), name: wanted.name.clone(), seconds };
    let expires_at = rooms.fleet.invite(&identity.actor, invitation).await?;
    let token = JoinToken { ca: hash(rooms.ca.certificate()), secret: Secret::new(secret) };
    Ok(Json(json!({
        "name": wanted.name,
        "url": url,
        "token": token.text().expose(),
        "expires_at": expires_at,
    })))
}

async fn remove(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    may(&rooms, &identity).await?;
    let Some(host) = rooms.fleet.host_named(&name).await? else {
        let problem = Problem::new(ErrorCode::NotFound, format!("no host `{name}` is in the fleet"));
        return Err(problem.hint("see `seaworthy host list`").into());
    };
    rooms.fleet.remove(&identity.actor, host).await?;
    Ok(Json(json!({"id": host, "name": name, "removed": true})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_when_nothing_is_said_is_allowed() {
        assert!((1..=seaworthy_fleet::limit::INVITATION_SECONDS).contains(&limit::INVITED_SECONDS));
    }
}
