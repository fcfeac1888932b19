//! Which advisories speak of the same vulnerability.

use std::collections::HashMap;

use crate::catalogue::is_cve;

/// The CVE inside `DEBIAN-CVE-2022-29824` and its like: a vendor's own record about one CVE.
pub(super) fn cve_of(id: &str) -> Option<&str> {
    let at = id.find("CVE-")?;
    let (prefix, cve) = id.split_at(at);
    let vendor = prefix.is_empty()
        || prefix.strip_suffix('-').is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()));
    (vendor && is_cve(cve)).then_some(cve)
}

/// Sets of ids joined by `aliases` and single `upstream` edges (union–find by smallest number).
/// Advisories about several CVEs join nothing: they are no other name of any of them.
#[derive(Default)]
pub(super) struct Clusters {
    numbers: HashMap<String, usize>,
    parents: Vec<usize>,
}

impl Clusters {
    pub(super) fn join<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        let mut first = None;
        for id in ids {
            let root = self.add(id);
            match first {
                None => first = Some(root),
                Some(first) => {
                    let first = self.root(first);
                    if let Some(parent) = self.parents.get_mut(root.max(first)) {
                        *parent = root.min(first);
                    }
                }
            }
        }
    }

    /// For each set with exactly one CVE: its members' common name.
    pub(super) fn names(mut self) -> HashMap<String, String> {
        let mut cves: HashMap<usize, Option<String>> = HashMap::new();
        let ids: Vec<(String, usize)> = self.numbers.drain().collect();
        for (id, number) in &ids {
            if let Some(cve) = cve_of(id) {
                let name = cves.entry(self.root(*number)).or_insert_with(|| Some(cve.to_owned()));
                if name.as_deref() != Some(cve) {
                    *name = None;
                }
            }
        }
        ids.into_iter()
            .filter_map(|(id, number)| {
                let name = cves.get(&self.root(number))?.clone()?;
                Some((id, name))
            })
            .collect()
    }

    fn add(&mut self, id: &str) -> usize {
        if let Some(number) = self.numbers.get(id).copied() {
            return self.root(number);
        }
        let number = self.parents.len();
        self.numbers.insert(id.to_owned(), number);
        self.parents.push(number);
        number
    }

    /// The set's smallest number; halves the path on the way so that long chains stay cheap.
    fn root(&mut self, mut number: usize) -> usize {
        while let Some(parent) = self.parents.get(number).copied().filter(|parent| *parent != number) {
            let grandparent = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parents.get_mut(number) {
                *slot = grandparent;
            }
            number = grandparent;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cves_inside_vendor_ids() {
        for (id, cve) in [
            ("CVE-2022-29824", Some("CVE-2022-29824")),
            ("DEBIAN-CVE-2022-29824", Some("CVE-2022-29824")),
            ("DSA-5801-1", None),
            ("x CVE-2022-29824", None),
            ("CVE-2022-29824 and more", None),
            ("CVE-22-1", None),
        ] {
            assert_eq!(cve_of(id), cve, "{id}");
        }
    }

    #[test]
    fn chains_join_and_two_cves_do_not() {
        let mut clusters = Clusters::default();
        clusters.join(["PYSEC-1", "GHSA-a"]);
        clusters.join(["GHSA-a", "GHSA-b"]);
        clusters.join(["CVE-2020-1111", "GHSA-b"]);
        clusters.join(["GHSA-c", "CVE-2020-2222"]);
        clusters.join(["GHSA-c", "CVE-2020-3333"]);
        clusters.join(["GHSA-d"]);
        let names = clusters.names();
        assert_eq!(names.get("PYSEC-1").map(String::as_str), Some("CVE-2020-1111"));
        assert_eq!(names.get("GHSA-c"), None);
        assert_eq!(names.get("GHSA-d"), None);
    }
}
