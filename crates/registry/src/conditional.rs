//! Conditional requests (RFC 9110 §13): a digest is the strongest of entity tags.

use http::{HeaderMap, HeaderName, header};
use seaworthy_oci::Digest;

/// The entity tag of immutable content.
pub(crate) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// True when the caller has this content already: 304. Weak and strong tags compare alike here.
pub(crate) fn is_fresh(headers: &HeaderMap, digest: &Digest) -> bool {
    let etag = etag(digest);
    listed(headers, &header::IF_NONE_MATCH)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}

/// True when `Range` is to be obeyed: no `If-Range`, or one with this very tag. Dates never match,
/// because content has none.
pub(crate) fn obeys_range(headers: &HeaderMap, digest: &Digest) -> bool {
    let etag = etag(digest);
    let mut candidates = headers.get_all(header::IF_RANGE).iter().peekable();
    candidates.peek().is_none()
        || candidates.all(|value| value.to_str().is_ok_and(|value| value.trim() == etag))
}

fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().expect("value"))).collect()
    }

    #[test]
    fn content_is_fresh_under_any_of_its_tags() {
        let digest = Digest::sha256(b"x");
        let etag = etag(&digest);
        for (values, fresh) in [
            (vec![], false),
            (vec![etag.as_str()], true),
            (vec!["\"other\""], false),
            (vec!["\"other\"", etag.as_str()], true),
            (vec![&format!("\"other\", W/{etag}")], true),
            (vec!["*"], true),
            (vec![&digest.to_string()], false),
        ] {
            assert_eq!(is_fresh(&headers(&header::IF_NONE_MATCH, &values), &digest), fresh, "{values:?}");
        }
    }

    #[test]
    fn a_range_is_obeyed_for_this_content_alone() {
        let digest = Digest::sha256(b"x");
        let etag = etag(&digest);
        for (values, obeyed) in [
            (vec![], true),
            (vec![etag.as_str()], true),
            (vec!["\"other\""], false),
            (vec![&format!("W/{etag}")], false),
            (vec!["Wed, 21 Oct 2015 07:28:00 GMT"], false),
        ] {
            assert_eq!(obeys_range(&headers(&header::IF_RANGE, &values), &digest), obeyed, "{values:?}");
        }
    }
}
