mod reader;

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};

use self::reader::Watched;
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

/// Why bytes are not a value of some type.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// They are not what [`check_json`] lets pass, or no object.
    Json(JsonError),
    /// They are, and a field is missing or has another shape.
    Shape(serde_json::Error),
}

/// Reads an object and checks it in the sense of [`check_json`]. A struct is an object everywhere: its reader would take
/// an array for one. Good documents are gone through once, others a second time for the reason.
pub(crate) fn read_object<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ReadError> {
    read_object_with(bytes, PhantomData)
}

/// [`read_object`], as `seed` reads it.
pub(crate) fn read_object_with<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    seed: S,
) -> Result<S::Value, ReadError> {
    let read = match std::str::from_utf8(bytes) {
        Ok(text) => read_watched(serde_json::Deserializer::from_str(text), seed),
        Err(_) => read_watched(serde_json::Deserializer::from_slice(bytes), seed),
    };
    match read {
        Ok(value) if is_object(bytes) => Ok(value),
        Ok(_) => Err(ReadError::Json(no_object())),
        Err(source) => Err(check_object(bytes).err().map_or(ReadError::Shape(source), ReadError::Json)),
    }
}

/// Reads what need not be an object, and checks it in the sense of [`check_json`]. No key of an object that is read may be a
/// field to readers that ignore case, and none to us.
pub fn read_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    read_watched(serde_json::Deserializer::from_slice(bytes), PhantomData)
        .map_err(|source| JsonError::Syntax { source })
}

fn read_watched<'de, S, R>(
    mut reader: serde_json::Deserializer<R>,
    seed: S,
) -> Result<S::Value, serde_json::Error>
where
    S: DeserializeSeed<'de>,
    R: serde_json::de::Read<'de>,
{
    let place = Strict { depth: 0, names: &[], first: &mut Vec::new() };
    let value = seed.deserialize(Watched { inner: &mut reader, place })?;
    reader.end().map(|()| value)
}

fn check_object(bytes: &[u8]) -> Result<(), JsonError> {
    check_json(bytes)?;
    if is_object(bytes) { Ok(()) } else { Err(no_object()) }
}

fn is_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

fn no_object() -> JsonError {
    JsonError::Syntax { source: serde_json::Error::custom("not an object") }
}

/// Checks that `bytes` are one JSON value, nested at most [`limit::JSON_DEPTH`] deep,
/// in which no object has the same key twice.
///
/// Two readers of a duplicate key see two different documents (CVE-2021-41190 is of
/// that family), so a document that has one is refused before anything is read from it.
pub fn check_json(bytes: &[u8]) -> Result<(), JsonError> {
    match std::str::from_utf8(bytes) {
        // All of it is looked at once, which is faster than each string by itself.
        Ok(text) => check(serde_json::Deserializer::from_str(text)),
        // Says where.
        Err(_) => check(serde_json::Deserializer::from_slice(bytes)),
    }
}

fn check<'de>(mut reader: serde_json::Deserializer<impl serde_json::de::Read<'de>>) -> Result<(), JsonError> {
    Strict { depth: 0, names: &[], first: &mut Vec::new() }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|source| JsonError::Syntax { source })
}

/// What is known of a document at one value.
struct Strict<'s, 'de> {
    depth: usize,
    /// The keys that are read of the object that is this value, if it is one of some.
    names: &'static [&'static str],
    /// The first keys of each object around this value, one object's behind the other's.
    first: &'s mut Vec<Cow<'de, str>>,
}

impl<'de> Strict<'_, 'de> {
    fn inner(&mut self) -> Strict<'_, 'de> {
        Strict { depth: self.depth + 1, names: &[], first: self.first }
    }

    /// Whether the array or object that is this value may be nested so.
    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= limit::JSON_DEPTH {
            return Err(E::custom(format!("nested deeper than {}", limit::JSON_DEPTH)));
        }
        Ok(())
    }

    /// Those of the object that is this value: none yet.
    const fn keys(&self) -> Keys<'de> {
        Keys { begin: self.first.len(), others: None }
    }

    /// Other readers take a key in any case for the one that they know, and of two the last: they would see another
    /// document (Go's `encoding/json`, by which all engines read).
    fn check_case<E: serde::de::Error>(&self, key: &str) -> Result<(), E> {
        if self.names.contains(&key) {
            return Ok(());
        }
        match self.names.iter().find(|name| is_folded(key, name)) {
            Some(name) => {
                let key = crate::digest::shorten(key);
                Err(E::custom(format!("key `{key}` is `{name}` to readers that ignore case")))
            }
            None => Ok(()),
        }
    }

    fn enter<E: serde::de::Error>(&mut self, seen: &mut Keys<'de>, key: Cow<'de, str>) -> Result<(), E> {
        seen.insert(self.first, key)
            .map_err(|twice| E::custom(format!("key `{}` occurs twice", crate::digest::shorten(&twice))))
    }

    /// Forgets an object's keys at its end.
    fn leave(&mut self, seen: &Keys<'de>) {
        self.first.truncate(seen.begin);
    }
}

/// True when `key` is the ASCII `name` but for case: U+017F folds to `s`, and U+212A to `k` (Unicode, CaseFolding.txt).
fn is_folded(key: &str, name: &str) -> bool {
    if key.is_ascii() {
        return key.eq_ignore_ascii_case(name);
    }
    let fold = |it: char| match it {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

impl<'de> DeserializeSeed<'de> for Strict<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, 'de> {
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

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.check_depth()?;
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let mut seen = self.keys();
        while let Some(Key(key)) = entries.next_key()? {
            self.enter(&mut seen, key)?;
            entries.next_value_seed(self.inner())?;
        }
        self.leave(&seen);
        Ok(())
    }
}

/// A key as it stands in the document, unless it is written with escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// Keys of one object: the first ones are looked through, which is faster than hashing them; the others are hashed,
/// so that an object of a million keys costs a million steps.
struct Keys<'de> {
    /// Where the first ones begin in the list of all objects'.
    begin: usize,
    others: Option<HashSet<Cow<'de, str>>>,
}

impl<'de> Keys<'de> {
    /// Gives a key back that is there already.
    fn insert(&mut self, first: &mut Vec<Cow<'de, str>>, key: Cow<'de, str>) -> Result<(), Cow<'de, str>> {
        let mine = first.get(self.begin..).unwrap_or_default();
        if mine.contains(&key) || self.others.as_ref().is_some_and(|others| others.contains(&key)) {
            return Err(key);
        }
        if mine.len() < limit::FIRST_KEYS {
            first.push(key);
        } else {
            self.others.get_or_insert_default().insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A type that reads some of a document, in each way in which ours do.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        a: Option<u64>,
        #[serde(default)]
        b: Vec<BTreeMap<String, Option<Vec<f64>>>>,
        c: Option<BTreeMap<String, String>>,
        d: Option<serde_json::Value>,
    }

    /// Documents, and texts that almost are: keys that occur twice, written in two ways, and depth.
    fn document() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(vec![
            "null",
            "true",
            "0",
            "-7",
            "1.5",
            "1e400",
            "01",
            r#""x""#,
            r#""\u0061""#,
            r#""\ud800""#,
            "\"\n\"",
            "{}",
            "[]",
            "",
        ]);
        let key = proptest::sample::select(vec!["a", "b", "c", "d", r"\u0061", "e", "f"]);
        let value = leaf.prop_map(str::to_owned).prop_recursive(6, 48, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                proptest::collection::vec((key.clone(), inner.clone()), 0..5)
                    .prop_map(|entries| object(&entries)),
                (inner, 0..70_usize).prop_map(|(it, depth)| format!(
                    "{}{it}{}",
                    "[".repeat(depth),
                    "]".repeat(depth)
                )),
            ]
        });
        let key = proptest::sample::select(vec!["a", "b", "c", "d", r"\u0061", "e"]);
        prop_oneof![4 => proptest::collection::vec((key, value.clone()), 0..6).prop_map(|entries| object(&entries)), 1 => value]
    }

    fn object(entries: &[(&'static str, String)]) -> String {
        let entries: Vec<String> =
            entries.iter().map(|(key, value)| format!(r#""{key}": {value}"#)).collect();
        format!("{{{}}}", entries.join(","))
    }

    /// What is read at once is what is read after it was checked.
    fn compare<T: PartialEq + fmt::Debug + serde::de::DeserializeOwned>(
        text: &str,
    ) -> Result<(), TestCaseError> {
        let checked = check_object(text.as_bytes()).is_ok().then(|| serde_json::from_str::<T>(text).ok());
        let read = read_object::<T>(text.as_bytes());
        if matches!(read, Err(ReadError::Json(_))) {
            prop_assert!(checked.is_none(), "{}", text);
        }
        prop_assert_eq!(read.ok(), checked.flatten(), "{}", text);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn reading_at_once_is_checking_and_reading(text in document()) {
            compare::<Part>(&text)?;
            compare::<serde_json::Value>(&text)?;
            compare::<BTreeMap<String, serde_json::Value>>(&text)?;
        }
    }

    /// Go's `encoding/json` takes the last of them for the field.
    #[test]
    fn a_key_that_others_take_for_a_field_is_refused() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outer {
            disk_size: Option<u64>,
            kids: Option<Vec<Outer>>,
            free: Option<BTreeMap<String, String>>,
        }

        let read = |text: &str| read_object::<Outer>(text.as_bytes());
        for key in [
            "DiskSize",
            "disksize",
            "DISKSIZE",
            "di\u{17f}kSize",
            "diskSi\u{212a}e",
            "dis\u{212a}Size",
            "Ki\u{17f}",
        ] {
            let is_other = ["diskSi\u{212a}e", "Ki\u{17f}"].contains(&key);
            for text in [
                format!(r#"{{"{key}":1}}"#),
                format!(r#"{{"diskSize":1,"{key}":2}}"#),
                format!(r#"{{"{key}":2,"diskSize":1}}"#),
                format!(r#"{{"kids":[{{"kids":[{{"{key}":1}}]}}]}}"#),
            ] {
                assert_eq!(read(&text).is_ok(), is_other, "{text}");
            }
        }
        assert!(matches!(read(r#"{"kid\u017f":[]}"#), Err(ReadError::Shape(_))), "written with escapes");
        assert!(matches!(read("{\"\u{212a}ids\":[]}"), Err(ReadError::Shape(_))));
        // What is read whole has each key as it stands.
        assert!(read(r#"{"free":{"kids":"","Kids":"","KIDS":""},"other":{"kids":1,"Kids":2}}"#).is_ok());
    }

    #[test]
    fn an_array_is_no_struct() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Outer {
            b: Vec<Inner>,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct Inner {
            a: Option<u64>,
            b: Option<Box<Inner>>,
        }

        let read = |text: &str| read_object::<Outer>(text.as_bytes());
        assert!(read(r#"{"b":[{"a":1}]}"#).is_ok());
        for text in [r#"{"b":[[1,null]]}"#, r#"{"b":[{"b":[1,null]}]}"#] {
            assert!(serde_json::from_str::<Outer>(text).is_ok(), "{text}");
            assert!(matches!(read(text), Err(ReadError::Shape(_))), "{text}");
        }
        assert!(matches!(read("[[]]"), Err(ReadError::Json(_))));
    }

    /// What would take a part of the document as text.
    #[test]
    fn what_cannot_be_checked_while_it_is_read_is_refused() {
        #[derive(Debug, Deserialize)]
        struct Kept {
            #[allow(dead_code, reason = "never read")]
            a: Box<serde_json::value::RawValue>,
        }
        assert!(matches!(read_object::<Kept>(br#"{"a":{"b":1}}"#), Err(ReadError::Shape(_))));
    }

    #[test]
    fn a_key_is_found_among_few_and_many() {
        for count in [1, 2, limit::FIRST_KEYS, limit::FIRST_KEYS + 1, 3 * limit::FIRST_KEYS] {
            let object = |keys: &[usize]| {
                let keys: Vec<String> = keys.iter().map(|key| format!(r#""k{key}":{key}"#)).collect();
                format!("{{{}}}", keys.join(","))
            };
            let mut keys: Vec<usize> = (0..count).collect();
            assert!(check_json(object(&keys).as_bytes()).is_ok(), "{count}");
            for twice in 0..count {
                keys.push(twice);
                assert!(check_json(object(&keys).as_bytes()).is_err(), "{twice} of {count}");
                keys.pop();
            }
        }
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        assert!(check_json(br#"{"a":1,"b":{"c":[{"d":1}]}}"#).is_ok());
        assert!(check_json(br#"{"a":1,"a":1}"#).is_err());
        assert!(check_json(br#"{"b":{"c":[{"d":1,"d":2}]}}"#).is_err());
        assert!(check_json(br#"{"a":{"b":1,"a":[{"a":1},{"a":1}]},"b":{"a":1}}"#).is_ok(), "each its own");
        assert!(check_json(br#"{"a":{"b":1},"c":[{"d":1}],"a":1}"#).is_err(), "behind other objects");
        assert!(check_json(br#"{"a":1,"\u0061":2}"#).is_err(), "escapes spell the same key");
        assert!(check_json(br#"{"a":1} {"#).is_err(), "trailing bytes");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(check_json("{\"ä\":\"日本\"}".as_bytes()).is_ok());
        for bytes in [
            &b"{\"a\":\"\xff\"}"[..],
            b"{\"\xc3\":1}",
            b"{\"a\":1}\xff",
            b"\xff",
            b"{\"a\":1,\"b\":\"\xe6\x97\"}",
        ] {
            assert!(check_json(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check_json(nested(limit::JSON_DEPTH).as_bytes()).is_ok());
        assert!(check_json(nested(limit::JSON_DEPTH).replace("[]", "[1]").as_bytes()).is_ok());
        assert!(check_json(nested(limit::JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(check_json(nested(100_000).as_bytes()).is_err());
        let object = |n: usize| format!(r#"{{"a":{}}}"#, nested(n));
        let read = |text: String| read_object::<BTreeMap<String, serde_json::Value>>(text.as_bytes()).is_ok();
        assert!(read(object(limit::JSON_DEPTH - 1)) && !read(object(limit::JSON_DEPTH)));
    }
}
