use seaworthy_model::Scope;
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

    /// What scopes of repositories cover, in order. A scope is not one range: `a-b` is between `a` and `a/b`.
    pub fn of(scopes: &[Scope]) -> Vec<Self> {
        let names = scopes.iter().filter_map(|scope| scope.as_str().strip_prefix("/repositories/"));
        let mut ranges: Vec<Self> = names
            .flat_map(|name| {
                [
                    // Before all that names have.
                    Self { first: name.to_owned(), end: format!("{name}!") },
                    // The character behind the slash; before it, one that is before all that names have.
                    Self { first: format!("{name}/"), end: format!("{name}0") },
                ]
            })
            .collect();
        ranges.sort();
        ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_in_the_ranges_of_what_covers_it(
            scopes in proptest::collection::vec("[ab0]([-./]?[ab0]){0,3}", 0..5),
            name in "[ab0]([-./]?[ab0]){0,4}",
        ) {
            let scopes: Vec<Scope> =
                scopes.iter().map(|it| format!("/repositories/{it}").parse().expect("a scope")).collect();
            let of: Scope = format!("/repositories/{name}").parse().expect("a scope");
            let ranges = NameRange::of(&scopes);
            let is_in = ranges.iter().any(|range| range.first <= name && name < range.end);
            prop_assert_eq!(is_in, scopes.iter().any(|scope| scope.covers(&of)));
            prop_assert!(ranges.is_sorted());
            let all = NameRange::all();
            prop_assert!(all.first <= name && name < all.end);
        }
    }
}
