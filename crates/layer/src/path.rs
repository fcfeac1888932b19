use std::fmt;

use crate::{Limits, error::LayerError};

/// A path inside a layer: relative, no empty, `.` or `..` part, no NUL; empty for the root
/// itself. Names are bytes; those that are not UTF-8 print as `\xNN`, deterministically.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Cleans `raw` as Go's `filepath.Clean` does, relative to the root. A leading `/` and
    /// `./` are dropped; a relative path whose `..` climbs above the root is hostile.
    pub fn parse(raw: &[u8], entry: u32, limits: &Limits) -> Result<Self, LayerError> {
        if raw.contains(&0) {
            return Err(LayerError::BadEntry { entry, problem: "has a NUL in its path" });
        }
        let absolute = raw.first() == Some(&b'/');
        let mut parts: Vec<&[u8]> = Vec::with_capacity(16);
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() && !absolute {
                        let shown: Vec<u8> = raw.iter().copied().take(100).collect();
                        return Err(LayerError::HostilePath { entry, path: escape(&shown) });
                    }
                }
                name => parts.push(name),
            }
        }
        if parts.len() > limits.path_depth {
            return Err(LayerError::TooLarge {
                what: "parts in a path",
                at_most: u64::try_from(limits.path_depth).unwrap_or(u64::MAX),
            });
        }
        let joined = parts.join(&b'/');
        if joined.len() > limits.path_bytes {
            return Err(LayerError::TooLarge {
                what: "bytes in a path",
                at_most: u64::try_from(limits.path_bytes).unwrap_or(u64::MAX),
            });
        }
        Ok(Self(joined))
    }

    /// The raw bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Path bytes as text: valid UTF-8 stays, other bytes and control characters become `\xNN`,
/// and a literal backslash is doubled, so that different paths never print alike.
pub fn escape(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                out.push_str("\\\\");
            } else if character.is_control() {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The last part of `path` and what is in front of it.
pub(crate) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: &str) {
        let path = EntryPath::parse(raw.as_bytes(), 0, &Limits::default()).map(|path| path.to_string());
        assert_eq!(path.unwrap_or_else(|error| error.to_string()), expected, "{raw}");
    }

    #[test]
    fn paths_are_cleaned() {
        check("./", "");
        check("/", "");
        check("./etc//passwd", "etc/passwd");
        check("/etc/./passwd/", "etc/passwd");
        check("a/../b", "b");
        check("/../b", "b");
        check("a/../../b", "entry 0 of the layer leads out of the root: `a/../../b`");
        check("..", "entry 0 of the layer leads out of the root: `..`");
        check("a\0b", "entry 0 of the layer has a NUL in its path");
    }

    #[test]
    fn names_that_are_not_text_print_distinctly() {
        assert_eq!(escape(b"a\xff\\xff\n"), "a\\xff\\\\xff\\x0a");
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let limits = Limits { path_bytes: 5, path_depth: 3, ..Limits::default() };
        let parse = |raw: &str| EntryPath::parse(raw.as_bytes(), 0, &limits);
        assert!(parse("a/b/c").is_ok());
        assert!(parse("abcde").is_ok());
        assert!(matches!(parse("abcdef"), Err(LayerError::TooLarge { what: "bytes in a path", at_most: 5 })));
        assert!(matches!(
            parse("a/b/c/d"),
            Err(LayerError::TooLarge { what: "parts in a path", at_most: 3 })
        ));
    }
}
