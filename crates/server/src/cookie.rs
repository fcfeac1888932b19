//! The cookie of a session, and whose requests may carry it.
//!
//! Browsers send cookies by host, not by port: every server on `localhost` sees this one, and any
//! page there can make a browser send it. So it counts below `/api/` alone, and only when the
//! browser says that the request is this server's own page's.

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use seaworthy_model::{ErrorCode, Problem, Secret};

/// `__Host-`: browsers take it only with `Secure` and `Path=/`, without `Domain`, and from this host.
const NAME: &str = "__Host-seaworthy";
const ATTRIBUTES: &str = "Path=/; HttpOnly; Secure; SameSite=Strict";
/// Whose page asks (W3C Fetch Metadata): this one, a port or subdomain beside it, another, or nobody's.
const SITE: &str = "sec-fetch-site";

/// The session cookie of a request, if it counts; `Err` when the request is made by another page.
pub(crate) fn of(request: &Parts) -> Result<Option<Secret<String>>, Problem> {
    let carried = if request.uri.path().starts_with("/api/") { carried(&request.headers) } else { None };
    let site = text(&request.headers, SITE);
    let own_page = matches!(site, Some("same-origin" | "none"));
    if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        // Reading on behalf of another page: it is nobody's.
        return Ok(carried.filter(|_| own_page || site.is_none()));
    }
    // Programs send neither header; a browser that sends a cookie sends both.
    let origin_fits = text(&request.headers, "origin").map(|origin| is_own(origin, request));
    let allowed = match (site, origin_fits) {
        (Some(_), Some(fits)) => own_page && fits,
        (Some(_), None) => own_page && carried.is_none(),
        (None, Some(fits)) => fits && carried.is_none(),
        (None, None) => carried.is_none(),
    };
    if allowed {
        return Ok(carried);
    }
    let problem = Problem::new(ErrorCode::Denied, "the request was made by a page of another site");
    Err(problem.hint("use the console at its own address; programs send a credential, and no cookie"))
}

/// What begins a session in the browser.
pub(crate) fn set(cookie: &Secret<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{NAME}={}; {ATTRIBUTES}", cookie.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What ends it there.
pub(crate) fn clear() -> HeaderValue {
    HeaderValue::from_static("__Host-seaworthy=; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age=0")
}

fn carried(headers: &HeaderMap) -> Option<Secret<String>> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == NAME).then_some(value)
    });
    values.next().map(|value| Secret::new(value.to_owned()))
}

fn text<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    // What is no text is no word that we know.
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// True when `origin` is where the request was sent.
fn is_own(origin: &str, request: &Parts) -> bool {
    let host =
        text(&request.headers, "host").or_else(|| request.uri.authority().map(http::uri::Authority::as_str));
    let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://localhost:5000";

    /// `Some(true)`: the cookie counts; `Some(false)`: the request is nobody's; `None`: refused.
    fn counts(method: &str, path: &str, headers: &[(&str, &str)]) -> Option<bool> {
        let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost:5000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        of(&parts).ok().map(|cookie| cookie.is_some())
    }

    #[test]
    fn only_the_own_page_acts_with_the_cookie() {
        let cookie = ("cookie", "a=b; __Host-seaworthy=swc_x; c=d");
        for (site, origin, reads, acts) in [
            (Some("same-origin"), Some(OWN), true, Some(true)),
            (Some("none"), Some(OWN), true, Some(true)),
            (Some("same-origin"), Some("HTTP://localhost:5000"), true, None),
            (Some("same-origin"), Some("http://LOCALHOST:5000"), true, Some(true)),
            // Another port of this host is the same site, and not this page.
            (Some("same-site"), Some("http://localhost:3000"), false, None),
            (Some("same-site"), Some(OWN), false, None),
            (Some("cross-site"), Some("https://evil.example"), false, None),
            (Some("same-origin"), Some("http://localhost:3000"), true, None),
            (Some("same-origin"), Some("null"), true, None),
            (Some("same-origin"), Some("http://localhost:5000.evil.example"), true, None),
            (Some("same-origin"), None, true, None),
            (Some("unheard-of"), Some(OWN), false, None),
            (None, Some(OWN), true, None),
            (None, None, true, None),
        ] {
            let mut headers = vec![cookie];
            headers.extend(site.map(|site| ("sec-fetch-site", site)));
            headers.extend(origin.map(|origin| ("origin", origin)));
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert_eq!(counts(method, "/api/v1/images", &headers), Some(reads), "{method} {headers:?}");
            }
            for method in ["POST", "PUT", "DELETE", "PATCH", "ODD"] {
                assert_eq!(counts(method, "/api/v1/images", &headers), acts, "{method} {headers:?}");
            }
        }
    }

    #[test]
    fn without_a_cookie_programs_pass_and_other_pages_do_not() {
        for (headers, passes) in [
            (vec![], true),
            (vec![("authorization", "Basic YTpi")], true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", OWN)], true),
            (vec![("sec-fetch-site", "none")], true),
            // A browser may remember a password and send it for any page.
            (vec![("authorization", "Basic YTpi"), ("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")], false),
            (vec![("origin", "https://evil.example")], false),
            (vec![("origin", OWN)], true),
        ] {
            let expected = passes.then_some(false);
            assert_eq!(counts("POST", "/api/v1/session", &headers), expected, "{headers:?}");
            assert_eq!(counts("PUT", "/v2/a/manifests/1", &headers), expected, "{headers:?}");
            assert_eq!(counts("GET", "/", &headers), Some(false), "{headers:?}");
        }
    }

    #[test]
    fn the_cookie_is_looked_at_below_the_api_alone() {
        let headers =
            [("cookie", "__Host-seaworthy=swc_x"), ("sec-fetch-site", "same-origin"), ("origin", OWN)];
        for (path, looked_at) in [
            ("/api/v1/whoami", true),
            ("/", false),
            ("/v2/", false),
            ("/oauth2/token", false),
            ("/apiary", false),
        ] {
            assert_eq!(counts("GET", path, &headers), Some(looked_at), "{path}");
            assert_eq!(counts("POST", path, &headers), Some(looked_at), "{path}");
        }
        for other in ["seaworthy=x", "__Host-seaworthy2=x", "x__Host-seaworthy=x", "", ";;=;"] {
            assert_eq!(counts("GET", "/api/v1/whoami", &[("cookie", other)]), Some(false), "{other}");
        }
    }

    #[test]
    fn what_is_set_is_what_is_read() {
        let value = set(&Secret::new("swc_abc".to_owned())).expect("a header");
        assert_eq!(value, "__Host-seaworthy=swc_abc; Path=/; HttpOnly; Secure; SameSite=Strict");
        assert!(!format!("{value:?}").contains("swc_"));
        assert_eq!(clear().to_str().expect("text"), format!("{NAME}=; {ATTRIBUTES}; Max-Age=0"));
    }
}
