//! `/oauth2/token`: the token service of the distribution spec, and `/oauth2/exchange`, where clients
//! of Azure's registry get the refresh token that buys their access tokens. A request never fails
//! over a scope it may not have: it gets a token for the rest.

use std::{collections::HashSet, convert::Infallible};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequestParts, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use seaworthy_access::{Access, AccessError, DockerScope, Identity, ResourceAccess};
use seaworthy_model::{AuthMethod, ErrorCode, Problem};
use seaworthy_policy::Language;
use seaworthy_registry::Registry;
use serde_json::{Value, json};

use crate::{
    api::{ApiError, decode_form},
    japanese, limit,
    rate::SignedIn,
    route::Routes,
};

pub(crate) fn routes() -> Routes<Access> {
    Routes::new()
        .get("/oauth2/token", by_get)
        .post("/oauth2/token", by_form)
        .post("/oauth2/exchange", exchange)
}

pub(crate) fn router(access: Access, registry: Registry) -> Router {
    without_caches(access).layer(Extension(registry))
}

fn without_caches(access: Access) -> Router {
    routes().with_state(access).into_router().layer(DefaultBodyLimit::max(limit::FORM_BYTES))
}

/// Whose words the scopes are in: those of a host that a cache answers for, as the challenge had it in its realm.
struct Words {
    registry: Option<Registry>,
    ns: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Words {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = decode_form(parts.uri.query().unwrap_or_default());
        let ns = query.into_iter().find(|(name, _)| name == "ns").map(|(_, value)| value);
        Ok(Self { registry: parts.extensions.get::<Registry>().cloned(), ns })
    }
}

impl Words {
    async fn here(&self, asked: Vec<DockerScope>) -> Result<Vec<DockerScope>, Problem> {
        match (&self.registry, &self.ns) {
            (Some(registry), Some(ns)) => Ok(registry.scopes_here(ns, asked).await?),
            _ => Ok(asked),
        }
    }
}

/// GET with Basic credentials: docker, podman, skopeo.
async fn by_get(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    RawQuery(query): RawQuery,
    words: Words,
) -> Response {
    let form = decode_form(query.as_deref().unwrap_or_default());
    issue(&access, &identity, (&form, &words)).await
}

/// POST of a form (OAuth 2.0): containerd tries this first.
async fn by_form(
    State(access): State<Access>,
    (Extension(identity), Extension(language)): (Extension<Identity>, Extension<Language>),
    headers: HeaderMap,
    words: Words,
    body: Bytes,
) -> Response {
    let form = match Form::read(&body, language) {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let source = identity.actor.source.clone();
    let identity = match form.get("grant_type") {
        Some("password") if form.is_nobodys() => {
            if let Err(refusal) = form.check_audience(&access, &headers, language) {
                return refusal;
            }
            Ok(Identity::anonymous(source))
        }
        Some("password") => form.secret(&access, ("username", "password"), source).await,
        // A client may say who it is in the header instead (RFC 6749 §2.3.1).
        Some("client_credentials")
            if form.get("client_id").is_none() && identity.actor.method == AuthMethod::ClientSecret =>
        {
            return exchangeable(&access, &identity).await;
        }
        Some("client_credentials") => {
            return match form.secret(&access, ("client_id", "client_secret"), source).await {
                Ok(identity) => signed_in(&identity, exchangeable(&access, &identity).await),
                Err(error) => disbelieved(error, "invalid_client", language),
            };
        }
        Some("refresh_token") => {
            if let Err(refusal) = form.check_audience(&access, &headers, language) {
                return refusal;
            }
            access.authenticate_refresh(form.get("refresh_token").unwrap_or_default(), source).await
        }
        Some(_) => {
            let known = "`password`, `client_credentials` and `refresh_token` are supported";
            return refuse("unsupported_grant_type", known, language);
        }
        None => return refuse("invalid_request", "`grant_type` is missing", language),
    };
    match identity {
        Ok(identity) => signed_in(&identity, issue(&access, &identity, (&form.0, &words)).await),
        Err(error) => disbelieved(error, "invalid_grant", language),
    }
}

/// An answer to whom a form proved to be somebody.
fn signed_in(identity: &Identity, mut answer: Response) -> Response {
    if let Some(principal) = identity.principal() {
        answer.extensions_mut().insert(SignedIn(principal));
    }
    answer
}

/// A refresh token for a proof: an access token of the grant `client_credentials`, or a secret.
async fn exchange(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = match Form::read(&body, language) {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    if let Err(refusal) = form.check_audience(&access, &headers, language) {
        return refusal;
    }
    let source = identity.actor.source.clone();
    let proved = match form.get("grant_type") {
        Some("access_token" | "access_token_refresh_token") => {
            access.authenticate_exchange(form.get("access_token").unwrap_or_default(), source).await
        }
        Some("password") => form.secret(&access, ("username", "password"), source).await,
        Some(_) => {
            let known = "`access_token`, `access_token_refresh_token` and `password` are supported";
            return refuse("unsupported_grant_type", known, language);
        }
        None => return refuse("invalid_request", "`grant_type` is missing", language),
    };
    let issued = match proved {
        Ok(identity) => access.issue_refresh_token(&identity).await.map(|token| (identity, token)),
        Err(error) => Err(error),
    };
    match issued {
        Ok((identity, token)) => signed_in(&identity, secret(&json!({"refresh_token": token.expose()}))),
        Err(error) => disbelieved(error, "invalid_grant", language),
    }
}

/// The fields of a form.
struct Form(Vec<(String, String)>);

impl Form {
    /// No parameter is there twice (RFC 6749 §3.2), but `scope`, of which docker sends several.
    fn read(body: &Bytes, language: Language) -> Result<Self, Response> {
        let invalid = |why| refuse("invalid_request", why, language);
        let form = decode_form(std::str::from_utf8(body).map_err(|_| invalid("the form is not UTF-8"))?);
        let mut seen = HashSet::new();
        if !form.iter().all(|(name, _)| name == "scope" || seen.insert(name)) {
            return Err(invalid("a parameter is there twice"));
        }
        drop(seen);
        Ok(Self(form))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Azure's anonymous clients send the grant `password` and no password.
    fn is_nobodys(&self) -> bool {
        ["username", "password", "refresh_token"]
            .into_iter()
            .all(|name| self.get(name).unwrap_or_default().is_empty())
    }

    async fn secret(
        &self,
        access: &Access,
        (user, secret): (&str, &str),
        source: Option<String>,
    ) -> Result<Identity, AccessError> {
        let value = |name| self.get(name).unwrap_or_default();
        access.authenticate_secret(value(user), value(secret), source).await
    }

    /// The service of the challenge, or the name that the client knows us by, which the Azure command
    /// line sends. What is meant for another service is not for us to answer.
    fn check_audience(
        &self,
        access: &Access,
        headers: &HeaderMap,
        language: Language,
    ) -> Result<(), Response> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        match self.get("service") {
            Some(service) if service == access.service() => Ok(()),
            Some(service) if !service.is_empty() && (service == host || service == name) => Ok(()),
            Some(_) => Err(refuse("invalid_request", "`service` is another one than this", language)),
            None => Err(refuse("invalid_request", "`service` is missing", language)),
        }
    }
}

/// A token that proves who holds it, and whose only use is to be exchanged.
async fn exchangeable(access: &Access, identity: &Identity) -> Response {
    let asked = [DockerScope { access: ResourceAccess::exchange() }];
    match access.issue_token(identity, &asked).await {
        Ok(token) => secret(&json!({
            "token_type": "Bearer",
            "access_token": token.token.expose(),
            "expires_in": token.expires_in,
            "ext_expires_in": token.expires_in,
        })),
        Err(error) => failed(error),
    }
}

/// No refresh token, also for who asks for one (`offline_token`, `access_type=offline`; the answer is optional there):
/// docker keeps it in the place of the secret, and would be signed out at its end.
async fn issue(
    access: &Access,
    identity: &Identity,
    (form, words): (&[(String, String)], &Words),
) -> Response {
    let scopes = form.iter().filter(|(key, _)| key == "scope").map(|(_, value)| value.as_str());
    let asked = match words.here(DockerScope::parse_all(scopes)).await {
        Ok(asked) => asked,
        Err(problem) => return failed(problem),
    };
    match access.issue_token(identity, &asked).await {
        Ok(token) => secret(&json!({
            "token_type": "Bearer",
            "token": token.token.expose(),
            "access_token": token.token.expose(),
            // Of what was asked for, what was granted (RFC 6749 §5.1).
            "scope": token.scope(),
            "expires_in": token.expires_in,
            "issued_at": token.issued_at,
        })),
        Err(error) => failed(error),
    }
}

/// An answer that nobody keeps (RFC 6749 §5.1).
fn secret(body: &Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], axum::Json(body)).into_response()
}

/// Said by [`told`] in the caller's language. A 401 says how else to prove who asks (RFC 9110 §15.5.2).
pub(crate) fn failed(error: impl Into<Problem>) -> Response {
    let mut response = ApiError(error.into()).into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = http::HeaderValue::from_static("Basic realm=\"seaworthy\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// A problem below `/oauth2/`, as OAuth says it and as registries do.
pub(crate) fn told(problem: Problem, language: Language) -> Response {
    let word = match problem.code {
        ErrorCode::Unauthorized => "invalid_client",
        ErrorCode::TooManyRequests | ErrorCode::Unavailable => "temporarily_unavailable",
        ErrorCode::Internal => "server_error",
        _ => "invalid_request",
    };
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(both(word, problem, language))).into_response()
}

/// The description is ASCII (RFC 6749 §5.2).
fn both(word: &str, problem: Problem, language: Language) -> Value {
    let description = problem.message.clone();
    let problem = japanese::problem(problem, language);
    json!({
        "error": word,
        "error_description": description,
        "errors": [{"code": problem.code.oci_code(), "message": problem.message, "detail": null}],
    })
}

/// What a form shows proves nothing: as OAuth says it (RFC 6749 §5.2, whose description is ASCII), and as registries do,
/// for clients of both: with 401, which theirs expect of every grant.
fn disbelieved(error: AccessError, word: &str, language: Language) -> Response {
    let problem = Problem::from(error);
    if problem.code != ErrorCode::Unauthorized {
        return ApiError(problem).into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"seaworthy\"")];
    (StatusCode::UNAUTHORIZED, challenge, axum::Json(both(word, problem, language))).into_response()
}

fn refuse(error: &str, description: &str, language: Language) -> Response {
    let problem = Problem::new(ErrorCode::Invalid, description);
    (StatusCode::BAD_REQUEST, axum::Json(both(error, problem, language))).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, extract::Request};
    use seaworthy_model::{Actor, SystemClock};
    use seaworthy_store::Db;
    use tower::ServiceExt as _;

    use super::*;

    async fn access(folder: &std::path::Path) -> Access {
        let db = Db::open_sqlite(&folder.join("db"), Arc::new(SystemClock)).await.expect("db");
        let rooms = [seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA];
        db.migrate(&rooms).await.expect("tables");
        let seal = seaworthy_seal::Seal::open(folder).expect("a key");
        Access::open(db, &seal, "registry.test").await.expect("access")
    }

    async fn post(access: &Access, identity: Identity, form: String) -> (StatusCode, Value) {
        let router =
            without_caches(access.clone()).layer(Extension(identity)).layer(Extension(Language::English));
        let request = Request::post("/oauth2/token").body(Body::from(form)).expect("a request");
        let answer = router.oneshot(request).await.expect("an answer");
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn forms_are_bounded_and_have_each_parameter_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let access = access(folder.path()).await;
        let nobody = || Identity::anonymous(None);
        let long = |length: usize| format!("a={}", "x".repeat(length - 2));
        for (form, status, says) in [
            (long(limit::FORM_BYTES), StatusCode::BAD_REQUEST, "`grant_type` is missing"),
            (long(limit::FORM_BYTES + 1), StatusCode::PAYLOAD_TOO_LARGE, ""),
            (
                "grant_type=password&grant_type=password".into(),
                StatusCode::BAD_REQUEST,
                "a parameter is there twice",
            ),
            (
                "grant_type=password&service=x&scope=a&scope=b".into(),
                StatusCode::BAD_REQUEST,
                "`service` is another one than this",
            ),
            (
                "grant_type=password&service=registry.test&scope=a&scope=b".into(),
                StatusCode::UNAUTHORIZED,
                "authentication is required",
            ),
        ] {
            let (answered, body) = post(&access, nobody(), form).await;
            assert_eq!(answered, status, "{says}");
            let problem = body.pointer("/error/message").or_else(|| body.get("error_description"));
            assert_eq!(problem.and_then(Value::as_str).unwrap_or_default(), says, "{body}");
        }
    }

    /// RFC 6749 section 2.3.1.
    #[tokio::test]
    async fn a_client_may_say_who_it_is_by_basic() {
        let folder = tempfile::tempdir().expect("a folder");
        let access = access(folder.path()).await;
        let name = "ci".parse().expect("a name");
        let kind = seaworthy_access::PrincipalKind::ServicePrincipal;
        let new = access.create_principal(&Actor::system(), name, kind).await.expect("created");
        let secret = new.secret.expect("a secret").secret;
        let ci = access.authenticate_secret("ci", secret.expose(), None).await.expect("right");
        let form = || "grant_type=client_credentials".to_owned();
        let (status, body) = post(&access, ci.clone(), form()).await;
        assert_eq!((status, body["token_type"].as_str()), (StatusCode::OK, Some("Bearer")), "{body}");
        // A token is no secret, and nobody has none.
        let token = access.issue_token(&ci, &[]).await.expect("a token");
        let bearer = access.authenticate_token(token.token.expose(), None).await.expect("valid");
        for identity in [bearer, Identity::anonymous(None)] {
            let (status, body) = post(&access, identity, form()).await;
            assert_eq!((status, body["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")));
        }
    }
}
