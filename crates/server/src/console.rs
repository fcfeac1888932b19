//! The console: the bundle of `web/dist`, compiled in. It holds no data and is the same for
//! everybody; what it shows it asks `/api/v1` for, as whoever is signed in.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::limit;

/// One file of the bundle, in the encodings that it is served in.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    etag: &'static str,
    identity: &'static [u8],
    brotli: &'static [u8],
    gzip: &'static [u8],
}

// The bundle's own table: `ASSETS`, written beside the files by its build.
include!("../../../web/dist/table.rs");

/// First parts of the paths that the page itself routes; anything else is not found here.
const PAGES: &[&str] = &[
    "",
    "sign-in",
    "images",
    "repositories",
    "vulnerabilities",
    "policies",
    "exceptions",
    "advisories",
    "ledger",
    "access",
    "containers",
    "hosts",
];

/// What the page may do: its own scripts and styles, its own server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

/// Answers what no route does: a file of the bundle, the page for a path that it routes, or 404.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let file = ASSETS.iter().find(|asset| asset.path == path && asset.path != INDEX);
    let asset = file.or_else(|| ASSETS.iter().find(|asset| asset.path == INDEX && PAGES.contains(&first)));
    let Some(asset) = asset else { return StatusCode::NOT_FOUND.into_response() };
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let is_known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == asset.etag.as_bytes());
    let (status, (encoding, body)) = if is_known {
        (StatusCode::NOT_MODIFIED, (None, &[][..]))
    } else {
        (StatusCode::OK, encoded(asset, &headers))
    };
    let mut response = (status, body).into_response();
    dress(response.headers_mut(), asset, encoding);
    response
}

/// The page itself, in the bundle.
const INDEX: &str = "/index.html";

fn dress(out: &mut HeaderMap, asset: &Asset, encoding: Option<&'static str>) {
    // A hashed name never holds anything else; the page is asked for again each time.
    let kept =
        if asset.path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let pairs = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, kept),
        (header::ETAG, asset.etag),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
        (header::HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in pairs {
        out.insert(name, HeaderValue::from_static(value));
    }
    if let Some(encoding) = encoding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
}

/// The smallest form that the caller takes (RFC 9110 §12.5.3); one that it weighs 0 it does not.
fn encoded(asset: &'static Asset, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    let value =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.get(..limit::ENCODINGS_BYTES.min(value.len())).unwrap_or_default();
    let takes = |name: &str| {
        value.split(',').any(|part| {
            let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
            let weight: f32 = weight.trim().strip_prefix("q=").and_then(|it| it.parse().ok()).unwrap_or(0.0);
            coding.trim().eq_ignore_ascii_case(name) && weight > 0.0
        })
    };
    if takes("br") {
        (Some("br"), asset.brotli)
    } else if takes("gzip") {
        (Some("gzip"), asset.gzip)
    } else {
        (None, asset.identity)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn get(path: &str, encodings: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(encodings).expect("a value"));
        let response = serve(Method::GET, path.parse().expect("a path"), headers).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        (parts.status, parts.headers, body)
    }

    #[tokio::test]
    async fn pages_are_the_page_and_other_doors_are_not() {
        for path in ["/", "/sign-in", "/images", "/images/prod/web:1", "/repositories/prod/web", "/ledger/12"]
        {
            let (status, headers, body) = get(path, "").await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
            assert!(body.starts_with(b"<!doctype html>"), "{path}");
        }
        for path in ["/v2", "/api/v1/nothing", "/oauth2/x", "/metrics/x", "/index.html/", "/assets/none.js"] {
            assert_eq!(get(path, "br").await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let response = serve(Method::POST, Uri::from_static("/images"), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn every_file_comes_in_the_form_that_is_asked_for() {
        for asset in ASSETS.iter().filter(|asset| asset.path != INDEX) {
            for (asked, given, length) in [
                ("gzip, deflate, br, zstd", Some("br"), asset.brotli.len()),
                ("gzip;q=0.5, br;q=0", Some("gzip"), asset.gzip.len()),
                ("", None, asset.identity.len()),
                ("identity", None, asset.identity.len()),
            ] {
                let (status, headers, body) = get(asset.path, asked).await;
                assert_eq!((status, body.len()), (StatusCode::OK, length), "{} {asked}", asset.path);
                let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
                assert_eq!(encoding, given.map(str::as_bytes));
                assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            }
        }
    }

    #[tokio::test]
    async fn encodings_are_read_up_to_a_length() {
        let path = ASSETS.iter().find(|asset| asset.path != INDEX).expect("a file").path;
        for (more, given) in [(0, Some("br")), (1, None)] {
            let padding = "x".repeat(limit::ENCODINGS_BYTES - ",br".len() + more);
            let (_, headers, _) = get(path, &format!("{padding},br")).await;
            let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
            assert_eq!(encoding, given.map(str::as_bytes), "{more} bytes more");
        }
    }

    /// What a first visit loads, within its budget.
    #[test]
    fn the_page_is_small() {
        let initial: usize =
            ASSETS.iter().filter(|it| it.path.starts_with("/assets/")).map(|it| it.brotli.len()).sum();
        assert!(initial <= 120 * 1024, "{initial} bytes of script and style");
    }

    /// The policy forbids inline scripts and styles, so there must be none.
    #[test]
    fn nothing_is_inline() {
        let index = ASSETS.iter().find(|asset| asset.path == INDEX).expect("the page");
        let text = std::str::from_utf8(index.identity).expect("text");
        assert!(!text.contains("<style") && !text.contains(" style="), "{text}");
        assert!(
            text.matches("<script").count()
                == text.matches("<script type=\"module\" crossorigin src=").count()
        );
    }

    /// Who looks for an act on the page of the ledger finds all of them.
    #[test]
    fn the_page_of_the_ledger_knows_every_act() {
        let page = include_str!("../../../web/src/pages/Ledger.svelte");
        for action in seaworthy_ledger::Action::ALL {
            assert!(page.contains(&format!("\"{action}\"")), "{action}");
        }
    }
}
