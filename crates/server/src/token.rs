//! `/oauth2/token`: the token service of the distribution spec. A request never fails over a
//! scope it may not have: it gets a token for the rest.

use axum::{
    Extension,
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use seaworthy_access::{Access, AccessError, DockerScope, Identity};
use seaworthy_model::Problem;
use serde_json::json;

use crate::{
    api::{ApiError, decode_form},
    route::Routes,
};

pub(crate) fn routes() -> Routes<Access> {
    Routes::new().get("/oauth2/token", by_get).post("/oauth2/token", by_form)
}

/// GET with Basic credentials: docker, podman, skopeo.
async fn by_get(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    RawQuery(query): RawQuery,
) -> Response {
    let form = decode_form(query.as_deref().unwrap_or_default());
    issue(&access, &identity, &form).await
}

/// POST of a form (OAuth 2.0): containerd tries this first.
async fn by_form(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    body: Bytes,
) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        return refuse("invalid_request", "the form is not UTF-8");
    };
    let form = decode_form(text);
    let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match value("grant_type") {
        Some("password") => {
            let (user, secret) =
                (value("username").unwrap_or_default(), value("password").unwrap_or_default());
            match access.authenticate_secret(user, secret, identity.actor.source.clone()).await {
                Ok(identity) => issue(&access, &identity, &form).await,
                Err(error) => failed(error),
            }
        }
        Some(_) => refuse("unsupported_grant_type", "only `password` is supported"),
        None => refuse("invalid_request", "`grant_type` is missing"),
    }
}

async fn issue(access: &Access, identity: &Identity, form: &[(String, String)]) -> Response {
    let scopes = form.iter().filter(|(key, _)| key == "scope").map(|(_, value)| value.as_str());
    let asked = DockerScope::parse_all(scopes);
    match access.issue_token(identity, &asked).await {
        Ok(token) => axum::Json(json!({
            "token": token.token.expose(),
            "access_token": token.token.expose(),
            "expires_in": token.expires_in,
            "issued_at": token.issued_at,
        }))
        .into_response(),
        Err(error) => failed(error),
    }
}

fn failed(error: AccessError) -> Response {
    let mut response = ApiError(Problem::from(error)).into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = http::HeaderValue::from_static("Basic realm=\"seaworthy\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn refuse(error: &str, description: &str) -> Response {
    (StatusCode::BAD_REQUEST, axum::Json(json!({"error": error, "error_description": description})))
        .into_response()
}
