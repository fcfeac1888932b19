use std::{fmt, str::FromStr};

use seaworthy_oci::RepoName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which repositories: path parts matched literally, `*` within one part, `**` for any number
/// of parts. `prod/**` also matches what lies below `prod/` at any depth, not `prod` itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoPattern {
    text: String,
}

/// Why a text is not a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("repository pattern `{text}` {problem}")]
pub struct PatternError {
    /// What was given, shortened.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl RepoPattern {
    /// Matches everything.
    pub fn all() -> Self {
        Self { text: "**".into() }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True when `repository` is one of those meant.
    pub fn matches(&self, repository: &RepoName) -> bool {
        parts_match(&self.text, repository.as_str())
    }
}

/// Compares part by part; a `**` tries every split, at most 255 bytes deep.
fn parts_match(pattern: &str, name: &str) -> bool {
    let (part, rest) = pattern.split_once('/').map_or((pattern, None), |(part, rest)| (part, Some(rest)));
    if part == "**" {
        let Some(rest) = rest else { return true };
        return parts_match(rest, name)
            || name
                .match_indices('/')
                .any(|(at, _)| name.get(at + 1..).is_some_and(|tail| parts_match(rest, tail)));
    }
    let (first, tail) = name.split_once('/').map_or((name, None), |(first, tail)| (first, Some(tail)));
    if !part_matches(part, first) {
        return false;
    }
    match (rest, tail) {
        (None, None) => true,
        (Some(rest), Some(tail)) => parts_match(rest, tail),
        _ => false,
    }
}

fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut tail) = part.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return tail.ends_with(piece);
        }
        // The earliest fit leaves the most for what follows.
        match tail.find(piece) {
            Some(at) => tail = tail.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

impl FromStr for RepoPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let bad = |problem| PatternError { text: text.chars().take(80).collect(), problem };
        if text.is_empty() || text.len() > 255 {
            return Err(bad("is empty or longer than 255 bytes"));
        }
        if text.matches("**").count() > 3 {
            return Err(bad("has more than three `**`"));
        }
        for part in text.split('/') {
            let plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '*');
            if part.is_empty() {
                return Err(bad("has an empty part"));
            }
            if !part.chars().all(plain) {
                return Err(bad("has characters other than `a-z`, `0-9`, `.`, `_`, `-`, `*`, `/`"));
            }
            if part.contains("**") && part != "**" {
                return Err(bad("has `**` beside other characters"));
            }
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl fmt::Display for RepoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for RepoPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for RepoPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("prod/**", "prod/web", true),
            ("prod/**", "prod/a/b", true),
            ("prod/**", "prod", false),
            ("prod/**", "production/web", false),
            ("prod/*", "prod/a/b", false),
            ("prod/*-web", "prod/a-web", true),
            ("prod/*a*b", "prod/xaxxb", true),
            ("prod/*a*b", "prod/xaxxbx", false),
            ("**/web", "web", true),
            ("**/web", "a/b/web", true),
            ("**/web", "a/webx", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("web", "web", true),
            ("web", "web/x", false),
        ] {
            let pattern: RepoPattern = pattern.parse().expect("pattern");
            assert_eq!(pattern.matches(&name.parse().expect("name")), expected, "{pattern} {name}");
        }
        for bad in ["", "a//b", "A", "a/**b", "/a", "a b", "**/**/**/**"] {
            assert!(bad.parse::<RepoPattern>().is_err(), "{bad}");
        }
    }
}
