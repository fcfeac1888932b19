//! Answers: the OCI error body, the challenge, and headers every client relies on.

use std::fmt::Write as _;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use seaworthy_model::{ErrorCode, Problem};
use serde_json::json;

use crate::{
    limit,
    path::{Target, encode},
    routes::CredentialRejected,
};

/// A header made of our own text. What cannot be a header value is left out.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_LENGTH, "0");
    response
}

/// The problem that an answer tells, kept beside it for who says it in another language.
#[derive(Clone, Debug)]
pub struct Told(pub Problem);

/// A problem as the distribution spec writes it ("Error Codes").
pub fn body_of(problem: &Problem) -> String {
    let message = match &problem.hint {
        Some(hint) => format!("{}; {hint}", problem.message),
        None => problem.message.clone(),
    };
    json!({"errors": [{"code": problem.code.oci_code(), "message": message, "detail": null}]}).to_string()
}

/// The answer that tells a problem; without a body to HEAD.
pub(crate) fn problem(problem: &Problem, head: bool) -> Response {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = body_of(problem);
    let length = body.len();
    let mut response = (status, if head { String::new() } else { body }).into_response();
    if head {
        // Of the body that a GET would get (RFC 9110 §8.6).
        set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    }
    response.extensions_mut().insert(Told(problem.clone()));
    set(&mut response, header::CONTENT_TYPE, "application/json");
    let again = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if let Some(seconds) = problem.retry_after_seconds.or_else(|| again.then_some(limit::RETRY_SECONDS)) {
        set(&mut response, header::RETRY_AFTER, &seconds.to_string());
    }
    response
}

/// Adds the bearer challenge to a 401 (distribution spec, token authentication). `host` is
/// what the client called us; `error` is of [`token_error`]. With `ns` the scope is in the words of that host, and the
/// token service is told so: clients keep what a realm has of a query.
pub(crate) fn challenge(
    response: &mut Response,
    host: &Host,
    service: &str,
    (scope, ns): (&str, Option<&str>),
    error: Option<&str>,
) {
    let ns = ns.map_or_else(String::new, |ns| format!("?ns={}", encode(ns)));
    let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
    let error = error.map_or_else(String::new, |error| format!(",error=\"{error}\""));
    let value =
        format!("Bearer realm=\"{}/oauth2/token{ns}\",service=\"{service}\"{scope}{error}", host.base);
    set(response, header::WWW_AUTHENTICATE, &value);
}

/// What a 401 says of the token that a request shows (RFC 6750 §3.1); nothing of other credentials.
pub(crate) fn token_error(request: &Request) -> Option<&'static str> {
    let shown = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, _) = shown.split_once(' ')?;
    let rejected = request.extensions().get::<CredentialRejected>().is_some();
    scheme.eq_ignore_ascii_case("bearer").then_some(if rejected {
        "invalid_token"
    } else {
        "insufficient_scope"
    })
}

/// The URL under which the client reached us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) base: String,
}

impl Host {
    /// From the request's target, if it names one, else from the `Host` header (RFC 9112 section 3.2.2); what could
    /// break out of a quoted string is refused.
    pub(crate) fn of(headers: &http::HeaderMap, uri: &http::Uri) -> Result<Self, Problem> {
        let named = uri.authority().map(|authority| Ok(authority.as_str()));
        let host = named.or_else(|| headers.get(header::HOST).map(HeaderValue::to_str));
        // A request of HTTP/1.0 need not say.
        let host = host.unwrap_or(Ok("localhost")).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
        if host.is_empty() || host.len() > 255 || !host.chars().all(plain) {
            return Err(Problem::new(ErrorCode::Invalid, "`Host` header is malformed"));
        }
        let scheme = uri.scheme_str().unwrap_or("http");
        Ok(Self { base: format!("{scheme}://{host}") })
    }

    /// Without the scheme: `registry.example.com:8443`.
    pub(crate) fn name(&self) -> &str {
        self.base.split_once("://").map_or(self.base.as_str(), |(_, name)| name)
    }
}

/// The scope a client should ask a token for, to repeat this request.
pub(crate) fn wanted_scope(target: &Target, method: &http::Method, from: Option<&str>) -> String {
    let Some(repository) = target.repository() else {
        return if *target == Target::Catalog { "registry:catalog:*".to_owned() } else { String::new() };
    };
    let actions = match *method {
        http::Method::GET | http::Method::HEAD if !matches!(target, Target::Upload(..)) => "pull",
        http::Method::DELETE if !matches!(target, Target::Upload(..)) => "delete",
        _ => "pull,push",
    };
    let mut scope = format!("repository:{repository}:{actions}");
    if let Some(from) = from.and_then(|from| from.parse::<seaworthy_oci::RepoName>().ok()) {
        let _ = write!(scope, " repository:{from}:pull");
    }
    scope
}
