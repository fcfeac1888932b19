use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Digest, DigestError, digest::shorten, limit};

/// Why a text is not a reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Not a repository name.
    #[error("repository name `{name}` {problem}")]
    Repository {
        /// What was given, shortened.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a tag.
    #[error("tag `{tag}` {problem}")]
    Tag {
        /// What was given, shortened.
        tag: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The part after `@` is no digest.
    #[error("reference has a bad digest")]
    Digest(#[from] DigestError),
}

/// A repository name inside one registry, without host: `prod/web`.
///
/// Grammar: distribution spec, "Pulling manifests": path components of lower-case letters
/// and digits joined by `.`, `_`, `__` or dashes; at most [`limit::REPO_NAME_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoName(String);

impl RepoName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoName {
    type Err = ReferenceError;

    fn from_str(name: &str) -> Result<Self, ReferenceError> {
        let bad = |problem| ReferenceError::Repository { name: shorten(name), problem };
        if name.is_empty() {
            return Err(bad("is empty"));
        }
        if name.len() > limit::REPO_NAME_BYTES {
            return Err(bad("is longer than 255 bytes"));
        }
        for part in name.split('/') {
            check_component(part).map_err(bad)?;
        }
        Ok(Self(name.to_owned()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn check_component(part: &str) -> Result<(), &'static str> {
    if part.is_empty() {
        return Err("has an empty part");
    }
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if part.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("has upper-case letters");
    }
    if !part.starts_with(alphanumeric) || !part.ends_with(alphanumeric) {
        return Err("has a part that does not begin and end with a letter or digit");
    }
    for separator in part.split(alphanumeric).filter(|separator| !separator.is_empty()) {
        let dashes = separator.bytes().all(|b| b == b'-');
        if !(dashes || matches!(separator, "." | "_" | "__")) {
            return Err(
                "has characters other than `a-z`, `0-9`, `.`, `_`, `-`, `/`, or separators side by side",
            );
        }
    }
    Ok(())
}

/// A movable name of a manifest in a repository (`[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What clients mean when they name none.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(tag: &str) -> Result<Self, ReferenceError> {
        let bad = |problem| ReferenceError::Tag { tag: shorten(tag), problem };
        if tag.is_empty() {
            return Err(bad("is empty"));
        }
        if tag.len() > limit::TAG_BYTES {
            return Err(bad("is longer than 128 bytes"));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !tag.starts_with(word) || !tag.chars().all(|c| word(c) || c == '.' || c == '-') {
            return Err(bad("has characters other than letters, digits, `_`, `.` and `-`"));
        }
        Ok(Self(tag.to_owned()))
    }
}

/// What a person types to name an image: `[HOST/]REPOSITORY[:TAG][@DIGEST]`.
///
/// The first part is a host when it has a `.` or `:` or is `localhost`, as Docker reads it;
/// unlike Docker no host is *not* read as Docker Hub: what it means is the caller's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Registry host and port, when named.
    pub host: Option<String>,
    /// The repository.
    pub repository: RepoName,
    /// The tag, when named.
    pub tag: Option<Tag>,
    /// The digest, when named; it wins over the tag.
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((host, rest)) if host == "localhost" || host.contains(['.', ':']) => {
                (Some(host.to_owned()), rest)
            }
            _ => (None, rest),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse()?)),
            None => (rest, None),
        };
        Ok(Self { host, repository: repository.parse()?, tag, digest })
    }
}

impl Reference {
    /// The repository that this is where no registry is called by its host: the host is its first part, as it is in the
    /// distribution API. `None` when no repository can be called so, as with a port.
    pub fn whole_repository(&self) -> Option<RepoName> {
        match &self.host {
            Some(host) => format!("{host}/{}", self.repository).parse().ok(),
            None => Some(self.repository.clone()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}
text_type!(RepoName);
text_type!(Tag);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names() {
        for good in ["a", "a/b", "prod/web-1", "a__b/c.d_e", "a---b", "blobs", "manifests/uploads"] {
            assert_eq!(good.parse::<RepoName>().expect(good).as_str(), good);
        }
        let long = "a".repeat(limit::REPO_NAME_BYTES + 1);
        for bad in [
            "", "/", "a/", "/a", "a//b", "..", "a/../b", "A", "a b", "a..b", "a___b", "-a", "a-", "a%2e",
            "a\0", "é", &long,
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
        assert!("a".repeat(limit::REPO_NAME_BYTES).parse::<RepoName>().is_ok());
    }

    #[test]
    fn tags() {
        for good in ["1", "v1.2_3-x", "_", "latest", &"a".repeat(limit::TAG_BYTES)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "sha256:00", "é", &"a".repeat(limit::TAG_BYTES + 1)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn references() {
        let hex = Digest::sha256(b"").to_string();
        for (text, host, repository) in [
            ("localhost:5000/prod/web:1", Some("localhost:5000"), "prod/web"),
            ("localhost/web", Some("localhost"), "web"),
            ("prod/web:1", None, "prod/web"),
            ("web", None, "web"),
            (&format!("r.example/a/b:1@{hex}") as &str, Some("r.example"), "a/b"),
        ] {
            let reference: Reference = text.parse().expect(text);
            assert_eq!((reference.host.as_deref(), reference.repository.as_str()), (host, repository));
            assert_eq!(reference.to_string(), text);
        }
        for (text, whole) in [
            ("r.example/a/b:1", Some("r.example/a/b")),
            ("localhost/web", Some("localhost/web")),
            ("a/b:1", Some("a/b")),
            ("localhost:5000/web", None),
            ("R.example/a", None),
        ] {
            let whole_repository = text.parse::<Reference>().expect(text).whole_repository();
            assert_eq!(whole_repository.as_ref().map(RepoName::as_str), whole, "{text}");
        }
        assert!("web@sha256:00".parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text: String) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
