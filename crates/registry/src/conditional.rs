//! Conditional requests (RFC 9110 §13): a digest is the strongest of entity tags.

use http::{HeaderMap, HeaderName, header};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::Digest;

/// What must hold of what a name stands for, before a request does anything with it (RFC 9110 §13.1.1, §13.1.2). Of
/// `If-None-Match` a read asks with [`is_fresh`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Precondition {
    is: Option<Vec<String>>,
    is_none_of: Option<Vec<String>>,
}

impl Precondition {
    /// Of a request that reads.
    pub(crate) fn of_read(headers: &HeaderMap) -> Self {
        Self { is: tags(headers, &header::IF_MATCH), is_none_of: None }
    }

    /// Of a request that writes.
    pub(crate) fn of_write(headers: &HeaderMap) -> Self {
        Self { is: tags(headers, &header::IF_MATCH), is_none_of: tags(headers, &header::IF_NONE_MATCH) }
    }

    /// That it is this.
    pub(crate) fn is(digest: &Digest) -> Self {
        Self { is: Some(vec![etag(digest)]), is_none_of: None }
    }

    /// True when there is something to check.
    pub(crate) const fn is_any(&self) -> bool {
        self.is.is_some() || self.is_none_of.is_some()
    }

    /// Checks it against what is there now.
    pub(crate) fn check(&self, current: Option<&Digest>) -> Result<(), Problem> {
        let etag = current.map(etag);
        let named = |tags: &[String], weakly: bool| {
            let opaque = |tag: &str| tag.strip_prefix("W/").filter(|_| weakly).unwrap_or(tag).to_owned();
            etag.is_some() && tags.iter().any(|tag| tag == "*" || Some(opaque(tag)) == etag)
        };
        let failed = |message: &str| Err(Problem::new(ErrorCode::PreconditionFailed, message));
        if self.is.as_ref().is_some_and(|tags| !named(tags, false)) {
            return failed("it is not what `If-Match` says");
        }
        if self.is_none_of.as_ref().is_some_and(|tags| named(tags, true)) {
            return failed("it is what `If-None-Match` excludes");
        }
        Ok(())
    }
}

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

/// `None` without the header.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    headers.contains_key(name).then(|| listed(headers, name).map(str::to_owned).collect())
}

/// The entity tags of a list, or `*`, which is none if it is not alone. A tag with commas in it (RFC 9110 §8.8.3) comes in
/// pieces, none of which is ours: those have quotes at both ends.
fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut listed: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    if listed.len() > 1 {
        listed.retain(|tag| *tag != "*");
    }
    listed.into_iter()
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
            (vec!["\"other\"", "*"], false),
            (vec!["\"a,*,b\""], false),
            (vec![&format!("\"a,b\",{etag}")], true),
            (vec![&digest.to_string()], false),
        ] {
            assert_eq!(is_fresh(&headers(&header::IF_NONE_MATCH, &values), &digest), fresh, "{values:?}");
        }
    }

    #[test]
    fn a_write_is_done_under_its_conditions_alone() {
        let (digest, other) = (Digest::sha256(b"x"), Digest::sha256(b"y"));
        let (here, weak) = (etag(&digest), format!("W/{}", etag(&digest)));
        let (matches, none) = (&header::IF_MATCH, &header::IF_NONE_MATCH);
        for (name, values, on_it, on_other, on_nothing) in [
            (matches, vec!["*"], true, true, false),
            (matches, vec![here.as_str()], true, false, false),
            (matches, vec!["\"z\"", here.as_str()], true, false, false),
            (matches, vec![weak.as_str()], false, false, false),
            (matches, vec![""], false, false, false),
            (none, vec!["*"], false, false, true),
            (none, vec![here.as_str()], false, true, true),
            (none, vec![weak.as_str()], false, true, true),
            (none, vec!["\"z\""], true, true, true),
        ] {
            let condition = Precondition::of_write(&headers(name, &values));
            let holds = [Some(&digest), Some(&other), None].map(|it| condition.check(it).is_ok());
            assert_eq!(holds, [on_it, on_other, on_nothing], "{name}: {values:?}");
        }
        assert!(!Precondition::of_read(&headers(none, &["*"])).is_any());
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
