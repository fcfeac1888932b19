use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::limit;

/// Why bytes are not JSON that we read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Syntax, depth, or a key that occurs twice in one object.
    #[error("not readable as JSON")]
    Syntax {
        /// What the parser met, with line and column.
        source: serde_json::Error,
    },
}

/// Checks that `bytes` are one JSON object in the sense of [`check_json`]: readers of structs
/// would take an array for one.
pub(crate) fn check_object(bytes: &[u8]) -> Result<(), JsonError> {
    use serde::de::Error as _;
    check_json(bytes)?;
    match bytes.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        _ => Err(JsonError::Syntax { source: serde_json::Error::custom("not an object") }),
    }
}

/// Checks that `bytes` are one JSON value, nested at most [`limit::JSON_DEPTH`] deep,
/// in which no object has the same key twice.
///
/// Two readers of a duplicate key see two different documents (CVE-2021-41190 is of
/// that family), so a document that has one is refused before anything is read from it.
pub fn check_json(bytes: &[u8]) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|source| JsonError::Syntax { source })
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > limit::JSON_DEPTH {
            return Err(D::Error::custom(format!("nested deeper than {}", limit::JSON_DEPTH)));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = Self { depth: self.depth + 1 };
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = Self { depth: self.depth + 1 };
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("key `{}` occurs twice", crate::digest::shorten(&key))));
            }
            seen.insert(key);
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        assert!(check_json(br#"{"a":1,"b":{"c":[{"d":1}]}}"#).is_ok());
        assert!(check_json(br#"{"a":1,"a":1}"#).is_err());
        assert!(check_json(br#"{"b":{"c":[{"d":1,"d":2}]}}"#).is_err());
        assert!(check_json(br#"{"a":1,"\u0061":2}"#).is_err(), "escapes spell the same key");
        assert!(check_json(br#"{"a":1} {"#).is_err(), "trailing bytes");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check_json(nested(limit::JSON_DEPTH).as_bytes()).is_ok());
        assert!(check_json(nested(limit::JSON_DEPTH + 2).as_bytes()).is_err());
        assert!(check_json(nested(100_000).as_bytes()).is_err());
    }
}
