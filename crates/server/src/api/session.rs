//! Sessions of people, and the one-time links that begin them.

use axum::{
    Extension, Json,
    body::{Body, to_bytes},
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, header};
use seaworthy_access::{Identity, NewLink, Permission, Proof};
use seaworthy_model::{ErrorCode, Problem, Scope, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Rooms, access::operator_uid, require};
use crate::{cookie, limit, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .post("/api/v1/session", begin)
        .delete("/api/v1/session", end)
        .post("/api/v1/console", console)
        .post("/api/v1/principals/{name}/link", link)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    link: Option<String>,
    name: Option<String>,
    password: Option<String>,
}

/// Begins a session. The caller's own, if there is one, ends with it: a session is never taken over.
async fn begin(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let proof = proof(&headers, body).await?;
    let signed = rooms.access.sign_in(&identity, proof).await?;
    let answer = json!({
        "name": signed.principal.name, "kind": signed.principal.kind, "session": signed.session,
    });
    let cookie = cookie::set(&signed.cookie)
        .ok_or_else(|| Problem::new(ErrorCode::Internal, "the cookie cannot be written"))?;
    Ok(with_cookie(answer, cookie))
}

/// Reads what was shown, without ever repeating it in an answer.
async fn proof(headers: &HeaderMap, body: Body) -> Result<Proof, ApiError> {
    let wrong = || {
        let problem = Problem::new(ErrorCode::Invalid, "the request is not a sign-in");
        problem.hint("send `link`, `link` and `password`, or `name` and `password` as JSON")
    };
    // A form of another page cannot have this type.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(wrong().into());
    }
    let bytes = to_bytes(body, limit::SESSION_BYTES).await.map_err(|_| {
        let message = format!("the sign-in is longer than {} bytes, or broke off", limit::SESSION_BYTES);
        Problem::new(ErrorCode::TooLarge, message)
    })?;
    let shown: Shown = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    match (shown.link, shown.name, shown.password.map(Secret::new)) {
        (Some(link), None, password) => Ok(Proof::Link { link: Secret::new(link), password }),
        (None, Some(name), Some(password)) => Ok(Proof::Password { name, password }),
        _ => Err(wrong().into()),
    }
}

/// Ends the caller's session. A cookie of a session that ended already is taken back too.
async fn end(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, ApiError> {
    let ended = rooms.access.sign_out(&identity).await?;
    Ok(with_cookie(json!({"ended": ended}), cookie::clear()))
}

fn with_cookie(answer: Value, cookie: HeaderValue) -> Response {
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A link that signs the operator who asks on the socket in.
async fn console(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    let Some(uid) = operator_uid(&identity) else {
        let problem = Problem::new(ErrorCode::Denied, "`seaworthy console` is for operators of this machine");
        return Err(problem.hint("open the server's address in a browser, and sign in there").into());
    };
    let link = rooms.access.operator_link(&identity.actor, uid).await?;
    Ok(Json(shown_once(&rooms, &link)))
}

/// A link with which a person sets a password: the first, or another one.
async fn link(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
) -> Answer {
    require(&rooms, &identity, Permission::AccessWrite, &Scope::root()).await?;
    let principal = rooms.access.principal(&name).await?;
    let link = rooms.access.person_link(&identity.actor, &principal).await?;
    Ok(Json(shown_once(&rooms, &link)))
}

/// The link as it is opened. What follows `#` stays in the browser: no server's log gets it.
pub(super) fn shown_once(rooms: &Rooms, link: &NewLink) -> Value {
    json!({
        "name": link.principal.name,
        "url": format!("http://{}/sign-in#{}", rooms.registry_host, link.token.expose()),
        "expires_at": link.expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(kind: &'static str, body: String) -> Result<Proof, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        proof(&headers, Body::from(body)).await.map_err(|error| error.0.code.status())
    }

    #[tokio::test]
    async fn a_sign_in_is_json_of_a_known_shape_and_short() {
        let json = "application/json";
        for (body, known) in [
            (json!({"link": "l"}), true),
            (json!({"link": "l", "password": "p"}), true),
            (json!({"link": "l", "name": null, "password": null}), true),
            (json!({"name": "n", "password": "p"}), true),
            (json!({"link": "l", "name": "n", "password": "p"}), false),
            (json!({"name": "n"}), false),
            (json!({"password": "p"}), false),
            (json!({"link": "l", "more": 1}), false),
            (json!(null), false),
        ] {
            assert_eq!(read(json, body.to_string()).await.is_ok(), known, "{body}");
        }
        let link = json!({"link": "l"}).to_string();
        assert!(read("Application/JSON; charset=utf-8", link.clone()).await.is_ok());
        // What a form or a script of another page may send without being asked first.
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            assert_eq!(read(kind, link.clone()).await.err(), Some(400), "{kind}");
        }
        let padded = |bytes: usize| format!("{link:bytes$}");
        assert!(read(json, padded(limit::SESSION_BYTES)).await.is_ok());
        assert_eq!(read(json, padded(limit::SESSION_BYTES + 1)).await.err(), Some(413));
    }
}
