use seaworthy_access::{Reach, Span};
use seaworthy_oci::RepoName;

/// Names of repositories from one on, and before another, in byte order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameRange {
    pub(crate) first: String,
    pub(crate) end: String,
}

/// Behind every name: none has this character (distribution spec, "Pulling manifests").
const END: &str = "~";

impl NameRange {
    /// Every name.
    pub fn all() -> Self {
        Self { first: String::new(), end: END.to_owned() }
    }

    /// One name.
    pub(crate) fn one(name: &RepoName) -> Self {
        Self { first: name.to_string(), end: format!("{name}!") }
    }

    /// Names with a prefix, whatever follows it.
    pub(crate) fn with_prefix(self, prefix: &str) -> Self {
        let end = format!("{prefix}{END}");
        Self { first: self.first.max(prefix.to_owned()), end: self.end.min(end) }
    }

    /// What scopes of repositories cover: in order, and no name twice. A scope is not one range: `a-b` is between `a`
    /// and `a/b`.
    pub fn of(spans: &[Span]) -> Vec<Self> {
        let mut ranges: Vec<Self> = spans.iter().flat_map(Self::of_span).collect();
        ranges.sort();
        let mut joined: Vec<Self> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.first <= last.end => last.end = range.end.max(last.end.clone()),
                _ => joined.push(range),
            }
        }
        joined
    }

    fn of_span(span: &Span) -> Vec<Self> {
        // What is no scope of repositories has none; `/repositories` itself has all, and is no name.
        let below = match span.scope.as_str().strip_prefix("/repositories") {
            Some("") if span.reach == Reach::Alone => None,
            Some("") => return vec![Self::all()],
            Some(rest) => rest.strip_prefix('/'),
            None => None,
        };
        let Some(name) = below else { return Vec::new() };
        // `!` is before all that names have.
        let alone = Self { first: name.to_owned(), end: format!("{name}!") };
        // `0` is behind the slash.
        let below = Self { first: format!("{name}/"), end: format!("{name}0") };
        match span.reach {
            Reach::Alone => vec![alone],
            Reach::Below => vec![below],
            Reach::Within => vec![alone, below],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seaworthy_model::Scope;

    use super::*;

    const REACHES: [Reach; 3] = [Reach::Within, Reach::Alone, Reach::Below];

    proptest! {
        #[test]
        fn a_name_is_in_the_ranges_of_what_covers_it(
            spans in proptest::collection::vec(("[ab0]([-./]?[ab0]){0,3}", 0..3usize), 0..5),
            name in "[ab0]([-./]?[ab0]){0,4}",
        ) {
            let scope = |name: &str| format!("/repositories/{name}").parse::<Scope>().expect("a scope");
            let spans: Vec<Span> =
                spans.iter().map(|(name, at)| Span { scope: scope(name), reach: REACHES[*at] }).collect();
            let of = scope(&name);
            let covers = |it: &Span| match it.reach {
                Reach::Within => it.scope.covers(&of),
                Reach::Alone => it.scope == of,
                Reach::Below => it.scope.covers(&of) && it.scope != of,
            };
            let ranges = NameRange::of(&spans);
            let is_in = ranges.iter().any(|range| range.first <= name && name < range.end);
            prop_assert_eq!(is_in, spans.iter().any(covers));
            prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(one, next)| one.end < next.first));
            let all = NameRange::all();
            prop_assert!(all.first <= name && name < all.end);
        }
    }
}
