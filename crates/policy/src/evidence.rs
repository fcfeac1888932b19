use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};

use crate::limit;

/// Names of what proves a result: advisory ids with packages, paths, digests. A list of texts in
/// two allocations, whatever its length, because a decision about an image with a thousand
/// findings is mostly its evidence. Its JSON is an array of strings.
///
/// The first names, up to [`limit::LISTED`] of [`limit::LISTED_BYTES`]: a verdict is stored for every manifest and
/// every rule. How many there are says the [`crate::Cause`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    text: String,
    ends: Vec<u32>,
}

impl Evidence {
    /// Adds one name, made of parts with a space between, if there is room for it.
    pub(crate) fn push(&mut self, first: &str, second: &str) {
        let bytes = self.text.len() + first.len() + usize::from(!second.is_empty()) + second.len();
        if self.ends.len() >= limit::LISTED || bytes > limit::LISTED_BYTES {
            return;
        }
        self.text.push_str(first);
        if !second.is_empty() {
            self.text.push(' ');
            self.text.push_str(second);
        }
        // Far below 4 GiB: see above.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// Makes room for `names` more, of about `bytes` bytes each.
    pub(crate) fn reserve(&mut self, names: usize, bytes: usize) {
        let names = names.min(limit::LISTED);
        self.ends.reserve(names);
        self.text.reserve((names * bytes).min(limit::LISTED_BYTES));
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start as usize..*end as usize).unwrap_or(""))
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when nothing needs proof.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Evidence;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Evidence, A::Error> {
                let mut evidence = Evidence::default();
                while let Some(name) = names.next_element::<String>()? {
                    evidence.push(&name, "");
                }
                Ok(evidence)
            }
        }
        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_texts_and_its_json() {
        let mut evidence = Evidence::default();
        assert!(evidence.is_empty());
        evidence.push("CVE-2026-1", "expat");
        evidence.push("", "");
        evidence.push("鍵/id_rsa", "");
        let names = ["CVE-2026-1 expat", "", "鍵/id_rsa"];
        assert!(evidence.iter().eq(names) && evidence.len() == 3);
        let json = serde_json::to_string(&evidence).expect("json");
        assert_eq!(json, serde_json::to_string(&names).expect("json"));
        assert_eq!(serde_json::from_str::<Evidence>(&json).expect("read"), evidence);
        assert!(serde_json::from_str::<Evidence>("[1]").is_err());
        assert_eq!(format!("{evidence:?}"), format!("{names:?}"));
    }

    #[test]
    fn names_are_bounded() {
        let filled = |names: usize, bytes: usize| {
            let mut evidence = Evidence::default();
            (0..names).for_each(|_| evidence.push(&"n".repeat(bytes), ""));
            let stored = serde_json::to_string(&vec!["n".repeat(bytes); names]).expect("json");
            // What was stored without a bound is read with one.
            assert_eq!(serde_json::from_str::<Evidence>(&stored).expect("read").len(), evidence.len());
            evidence.len()
        };
        assert_eq!(filled(limit::LISTED, 1), limit::LISTED);
        assert_eq!(filled(limit::LISTED + 1, 1), limit::LISTED);
        let half = limit::LISTED_BYTES / 2;
        assert_eq!(filled(2, half), 2);
        assert_eq!(filled(2, half + 1), 1);
    }
}
