//! The caller's language, and one error shape: what leaves `/api/` with an error status is a
//! [`Problem`], whoever refused the request.

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use seaworthy_registry::Told;

use crate::{api::ApiError, japanese, limit, token};

/// Puts the language in front of the handlers, and renders their problems in it. Without
/// `Accept-Language` the server's own holds: clients of the registry send none.
pub(crate) async fn to_the_caller(State(own): State<Language>, mut request: Request, next: Next) -> Response {
    let language = wanted(request.headers()).unwrap_or(own);
    let path = request.uri().path();
    let of =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let (is_api, is_token, is_registry) = (path.starts_with("/api/"), of("/oauth2"), of("/v2") || of("/acr"));
    let is_head = request.method() == http::Method::HEAD;
    request.extensions_mut().insert(language);
    let mut response = next.run(request).await;
    if let Some(Told(problem)) = response.extensions_mut().remove::<Told>() {
        return registry_answer(response, problem, language);
    }
    let (mut parts, body) = response.into_parts();
    let failed = parts.status.is_client_error() || parts.status.is_server_error();
    let is_said = parts.headers.get(header::CONTENT_TYPE).is_some_and(|it| it == "application/json");
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        // The router and the readers of bodies and queries answer in plain text.
        None if is_api && failed => unnamed(parts.status, body, limit::BODY_BYTES).await,
        None if is_token && failed && !is_said => unnamed(parts.status, body, limit::FORM_BYTES).await,
        None if is_registry && failed && !is_said && !is_head => {
            unnamed(parts.status, body, limit::BODY_BYTES).await
        }
        None => return Response::from_parts(parts, body),
    };
    let mut response = if is_token {
        token::told(problem, language)
    } else if is_registry {
        let body = seaworthy_registry::body_of(&japanese::problem(problem, language));
        (parts.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    } else {
        ApiError(japanese::problem(problem, language)).into_response()
    };
    response.extensions_mut().clear();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The registry's answer with its problem said in `language`.
fn registry_answer(response: Response, problem: Problem, language: Language) -> Response {
    if language == Language::English {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = seaworthy_registry::body_of(&japanese::problem(problem, language));
    Response::from_parts(parts, Body::from(body))
}

async fn unnamed(status: StatusCode, body: Body, longest: usize) -> Problem {
    let bytes = to_bytes(body, limit::REJECTION_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match status {
        StatusCode::NOT_FOUND => Problem::new(ErrorCode::NotFound, "there is no such route")
            .hint("docs/reference/openapi.json lists all of them"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(ErrorCode::Unsupported, "the route does not know this method")
                .hint("docs/reference/openapi.json lists all of them")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(ErrorCode::TooLarge, format!("the request is longer than {longest} bytes"))
        }
        status if status.is_client_error() => {
            Problem::new(ErrorCode::Invalid, format!("the request cannot be read: {}", reason(&text)))
        }
        _ => Problem::new(ErrorCode::Internal, "the answer ended unexpectedly"),
    }
}

/// Why a body or a query was not read, without the words of who read it. What is wrong with a field is said with the
/// field: its line and column are those of a body that the caller may never have seen.
fn reason(text: &str) -> &str {
    let Some((reader, reason)) = text.split_once(": ").filter(|(first, _)| first.starts_with("Failed to "))
    else {
        return text;
    };
    let is_place = |end: &str| {
        end.split_once(" column ").is_some_and(|(line, column)| is_number(line) && is_number(column))
    };
    match reason.rsplit_once(" at line ") {
        Some((fault, end)) if reader.contains("deserialize") && is_place(end) => fault,
        _ => reason,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The best of our languages in `Accept-Language` (RFC 9110 §12.5.4).
fn wanted(headers: &HeaderMap) -> Option<Language> {
    let text = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(f32, Language)> = None;
    for range in text.split(',').take(limit::LANGUAGES) {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight: f32 = weight.trim().strip_prefix("q=").and_then(|it| it.parse().ok()).unwrap_or(0.0);
        let language = match tag.trim().get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("ja") => Language::Japanese,
            Some("en") => Language::English,
            _ => continue,
        };
        if weight > best.map_or(0.0, |(weight, _)| weight) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_is_wrong() {
        for (text, expected) in [
            (
                "Failed to deserialize the JSON body into the target type: name: `a/b` is wrong: x at line 1 column 9",
                "name: `a/b` is wrong: x",
            ),
            (
                "Failed to parse the request body as JSON: expected value at line 1 column 1",
                "expected value at line 1 column 1",
            ),
            (
                "Expected request with `Content-Type: application/json`",
                "Expected request with `Content-Type: application/json`",
            ),
            (
                "Failed to deserialize query string: n: broken at line x column 2",
                "n: broken at line x column 2",
            ),
            ("", ""),
        ] {
            assert_eq!(reason(text), expected);
        }
    }

    #[test]
    fn the_best_of_our_languages_is_chosen() {
        for (header, expected) in [
            ("ja", Some(Language::Japanese)),
            ("ja-JP, en;q=0.5", Some(Language::Japanese)),
            ("ja;q=0.2, en-GB;q=0.8", Some(Language::English)),
            ("fr, de", None),
            ("fr, ja;q=0.1", Some(Language::Japanese)),
            ("en;q=0", None),
            ("", None),
            ("日本語", None),
        ] {
            let mut headers = HeaderMap::new();
            let value = http::HeaderValue::from_bytes(header.as_bytes()).expect("a header");
            headers.insert(header::ACCEPT_LANGUAGE, value);
            assert_eq!(wanted(&headers), expected, "{header}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
