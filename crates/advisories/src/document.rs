//! One file in memory, and what its content says it is.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::{ImportError, catalogue};

/// A file's bytes with its name and, when the archive tells, its date.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    pub(crate) path: &'a str,
    pub(crate) bytes: &'a [u8],
    /// Modification date from the archive, `2026-08-21`.
    pub(crate) date: Option<&'a str>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse<T: Deserialize<'a>>(&self, format: &'static str) -> Result<T, ImportError> {
        serde_json::from_slice(self.bytes).map_err(|source| ImportError::json(self.path, format, source))
    }

    pub(crate) fn text(&self) -> Result<&'a str, ImportError> {
        let text = self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.bytes);
        str::from_utf8(text).map_err(|_| ImportError::Archive {
            path: self.path.to_owned(),
            reason: "a text file is not UTF-8".to_owned(),
        })
    }
}

/// What a file is, by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Debian's security tracker, JSON export.
    DebianTracker,
    /// OSV: one record, an array of records, or one record per line.
    Osv,
    KevJson,
    KevCsv,
    Epss,
    /// Text that may be something, with the reason why it is nothing we know.
    Unknown(&'static str),
    /// Begins like JSON and is none: cut off or damaged.
    BrokenJson,
    /// The same, but what can be read of it is of no feed that is recognised.
    BrokenOtherJson,
}

/// True when a file that begins like this is worth reading whole.
pub(crate) fn may_be_feed(head: &[u8]) -> bool {
    let head = trim(head);
    matches!(head.first(), Some(b'{' | b'[' | b'#')) || head.starts_with(b"cve") || head.starts_with(b"\"cve")
}

/// Recognises a whole file.
pub(crate) fn recognise(bytes: &[u8]) -> Format {
    let content = trim(bytes);
    match content.first() {
        Some(b'{') => recognise_object(content),
        Some(b'[') => recognise_array(content),
        _ => {
            let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
            match str::from_utf8(line) {
                Ok(line) if catalogue::is_epss(line) => Format::Epss,
                Ok(line) if catalogue::is_kev_csv(line) => Format::KevCsv,
                _ => Format::Unknown("not a format that is recognised"),
            }
        }
    }
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start()
}

fn recognise_array(content: &[u8]) -> Format {
    // Only a first element that is a record decides; `[section]` of an INI file is no JSON.
    let inner = content.get(1..).unwrap_or_default().trim_ascii_start();
    match inner.first() {
        Some(b'{') => match recognise_object(inner) {
            Format::Osv => Format::Osv,
            broken @ (Format::BrokenJson | Format::BrokenOtherJson) => broken,
            _ => Format::Unknown("a JSON array, but not of OSV records"),
        },
        _ => Format::Unknown("a JSON array, but not of OSV records"),
    }
}

/// Reads the first object as far as needed. A decision ends the reading with an error that is
/// not one: a large file is parsed once, by its importer, and not twice.
fn recognise_object(content: &[u8]) -> Format {
    let mut found = Format::Unknown("JSON, but not of a feed that is recognised");
    let mut reader = serde_json::Deserializer::from_slice(content);
    let mut other = false;
    let outcome = Probe { found: &mut found, other: &mut other }.deserialize(&mut reader);
    match (outcome, found) {
        (Err(_), Format::Unknown(_)) if other => Format::BrokenOtherJson,
        (Err(_), Format::Unknown(_)) => Format::BrokenJson,
        _ => found,
    }
}

struct Probe<'a> {
    found: &'a mut Format,
    /// Set at the first field that no feed has.
    other: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        // Many formats have one of these fields; a record with two is OSV, also when it lacks
        // the others: then its importer says what is missing.
        let mut marks = 0;
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "id" | "modified" | "schema_version" | "affected" => {
                    marks += 1;
                    if marks == 2 {
                        return decide(self.found, Format::Osv);
                    }
                }
                "catalogVersion" | "dateReleased" => return decide(self.found, Format::KevJson),
                // Metadata that OSV, KEV and many others have.
                "title" | "summary" | "details" | "published" | "withdrawn" | "aliases" | "count" => {}
                _ => {
                    entries.next_value_seed(SourceProbe { found: self.found, other: self.other })?;
                    continue;
                }
            }
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

fn decide<E: serde::de::Error>(found: &mut Format, format: Format) -> Result<(), E> {
    *found = format;
    Err(E::custom("recognised"))
}

/// Looks for `{"CVE-…": …}`, the value of a source package in the tracker's export.
struct SourceProbe<'a> {
    found: &'a mut Format,
    other: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for SourceProbe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SourceProbe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            if key.starts_with("CVE-") || key.starts_with("TEMP-") {
                *self.found = Format::DebianTracker;
                return Err(A::Error::custom("recognised"));
            }
            *self.other = true;
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        *self.other = true;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        *self.other = true;
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        *self.other = true;
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        *self.other = true;
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        *self.other = true;
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        *self.other = true;
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        *self.other = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        for (text, format) in [
            (r#"{"expat":{"CVE-2013-0340":{"releases":{}}}}"#, Format::DebianTracker),
            (r#"{"expat":{"CVE-2013-0340":{"rel"#, Format::DebianTracker),
            (r#"{"a":{},"b":{"TEMP-0-1":7"#, Format::DebianTracker),
            (r#"{"id":"X-1","modified":"2026-01-01T00:00:00Z"}"#, Format::Osv),
            (r#"{"id":"X-1","schema_version":"1.7.3","aff"#, Format::Osv),
            (r#"{"schema_version":"1.7.3","affected":[]}"#, Format::Osv),
            ("[ {\"id\":\"X-1\",\"affected\":[]}]", Format::Osv),
            ("\u{feff}{\"id\":\"X-1\",\"affected\":[]}\n{\"id\":\"X-2\"}", Format::Osv),
            (r#"{"title":"t","catalogVersion":"1","vulnerabilities":[]}"#, Format::KevJson),
            ("cveID,vendorProject,dateAdded\n", Format::KevCsv),
            ("#model_version:v1,score_date:x\ncve,epss,percentile\n", Format::Epss),
            (r#"{"dataType":"CVE_RECORD","containers":{"cna":{}}"#, Format::BrokenOtherJson),
            (r#"{"document":{"category":,}}"#, Format::BrokenOtherJson),
            (r#"{"expat":{"#, Format::BrokenJson),
            (r#"{"details":"cut o"#, Format::BrokenJson),
            (r#"{"id":"X-"#, Format::BrokenJson),
        ] {
            assert_eq!(recognise(text.as_bytes()), format, "{text}");
        }
        for text in [
            "{}",
            r#"{"dataType":"CVE_RECORD","containers":{"cna":{}}}"#,
            r#"{"schema_version":"1.0","data":[{"id":"ALBA-2021:3049","modified":1}]}"#,
            r#"{"id":"X-1","published":"2026-01-01T00:00:00Z"}"#,
            "[section]\na=1\n",
            "[1,2]",
            "name: x\n",
            "",
        ] {
            assert!(matches!(recognise(text.as_bytes()), Format::Unknown(_)), "{text}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert_eq!(recognise(deep.as_bytes()), Format::BrokenOtherJson);
        assert_eq!(recognise("{\"a\":".repeat(1_000_000).as_bytes()), Format::BrokenOtherJson);
    }
}
