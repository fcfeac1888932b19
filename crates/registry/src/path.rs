//! The URL grammar below `/v2/`: read from the right, because names contain slashes.

use std::fmt::Write as _;

use seaworthy_model::{ErrorCode, Problem, UploadId};
use seaworthy_oci::{Digest, RepoName, Tag};

use crate::limit;

/// A manifest by its movable or its immutable name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ManifestName {
    Tag(Tag),
    Digest(Digest),
}

impl std::fmt::Display for ManifestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "{tag}"),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl std::str::FromStr for ManifestName {
    type Err = seaworthy_oci::ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No tag has a colon.
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

/// What a path below `/v2/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Root,
    Catalog,
    Tags(RepoName),
    Manifest(RepoName, ManifestName),
    Blob(RepoName, Digest),
    Referrers(RepoName, Digest),
    Uploads(RepoName),
    Upload(RepoName, UploadId),
}

impl Target {
    /// Reads what follows `/v2/`, still percent-encoded.
    pub(crate) fn parse(path: &str) -> Result<Self, Problem> {
        if path.is_empty() {
            return Ok(Self::Root);
        }
        let parts = segments(path)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "tags", "list"] if !name.is_empty() => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] if !name.is_empty() => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] if !name.is_empty() => {
                let name = repository(name)?;
                let id = id.parse().map_err(|_| {
                    Problem::new(ErrorCode::BlobUploadUnknown, "upload id is not one of this registry's")
                })?;
                Ok(Self::Upload(name, id))
            }
            [name @ .., "blobs", digest] if !name.is_empty() => {
                Ok(Self::Blob(repository(name)?, self::digest(digest)?))
            }
            [name @ .., "referrers", subject] if !name.is_empty() => {
                Ok(Self::Referrers(repository(name)?, digest(subject)?))
            }
            [name @ .., "manifests", reference] if !name.is_empty() => {
                Ok(Self::Manifest(repository(name)?, manifest_name(reference)?))
            }
            _ => Err(Problem::new(ErrorCode::NotFound, "no such route in the distribution API")),
        }
    }

    /// The same in another repository.
    pub(crate) fn moved(self, to: RepoName) -> Self {
        match self {
            Self::Root | Self::Catalog => self,
            Self::Tags(_) => Self::Tags(to),
            Self::Manifest(_, name) => Self::Manifest(to, name),
            Self::Blob(_, digest) => Self::Blob(to, digest),
            Self::Referrers(_, digest) => Self::Referrers(to, digest),
            Self::Uploads(_) => Self::Uploads(to),
            Self::Upload(_, id) => Self::Upload(to, id),
        }
    }

    /// The repository, when the path names one.
    pub(crate) const fn repository(&self) -> Option<&RepoName> {
        match self {
            Self::Root | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Referrers(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _) => Some(name),
        }
    }
}

/// What a path below `/acr/v1/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AcrTarget {
    Catalog,
    Repository(RepoName),
    Tags(RepoName),
    Manifests(RepoName),
    /// One tag below `_tags`, or one digest below `_manifests`.
    Named(RepoName, ManifestName),
}

impl AcrTarget {
    /// Reads what follows `/acr/v1/`, still percent-encoded.
    pub(crate) fn parse(path: &str) -> Result<Self, Problem> {
        let parts = segments(path)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            [own, ..] if own.starts_with('_') => {
                Err(Problem::new(ErrorCode::NotFound, format!("`/acr/v1/{own}` is not served"))
                    .hint("`seaworthy image deleted` lists what can be restored"))
            }
            [name @ .., "_tags"] if !name.is_empty() => Ok(Self::Tags(repository(name)?)),
            [name @ .., "_manifests"] if !name.is_empty() => Ok(Self::Manifests(repository(name)?)),
            [name @ .., "_tags", tag] if !name.is_empty() => {
                Ok(Self::Named(repository(name)?, ManifestName::Tag(self::tag(tag)?)))
            }
            [name @ .., "_manifests", digest] if !name.is_empty() => {
                Ok(Self::Named(repository(name)?, ManifestName::Digest(self::digest(digest)?)))
            }
            name => Ok(Self::Repository(repository(name)?)),
        }
    }

    /// The repository, when the path names one.
    pub(crate) const fn repository(&self) -> Option<&RepoName> {
        match self {
            Self::Catalog => None,
            Self::Repository(name) | Self::Tags(name) | Self::Manifests(name) | Self::Named(name, _) => {
                Some(name)
            }
        }
    }

    /// The least scope that a client should ask a token for: it repeats this word for word.
    pub(crate) fn wanted_scope(&self, method: &http::Method) -> String {
        let Some(repository) = self.repository() else { return "registry:catalog:*".to_owned() };
        let action = match *method {
            http::Method::PATCH => "metadata_write",
            http::Method::DELETE => "delete",
            _ => "metadata_read",
        };
        format!("repository:{repository}:{action}")
    }
}

/// A path's segments, each decoded: a name may come with its slashes encoded.
fn segments(path: &str) -> Result<Vec<String>, Problem> {
    if path.len() > limit::PATH_BYTES {
        return Err(Problem::new(ErrorCode::NameInvalid, "path is longer than 1024 bytes"));
    }
    path.split('/')
        .map(decode)
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| Problem::new(ErrorCode::NameInvalid, "path has a malformed percent-encoding"))
}

fn repository(parts: &[&str]) -> Result<RepoName, Problem> {
    parts.join("/").parse().map_err(|error: seaworthy_oci::ReferenceError| {
        Problem::new(ErrorCode::NameInvalid, error.to_string())
    })
}

fn manifest_name(reference: &str) -> Result<ManifestName, Problem> {
    if reference.contains(':') {
        return digest(reference).map(ManifestName::Digest);
    }
    tag(reference).map(ManifestName::Tag)
}

/// Reads a digest of a path or query.
pub(crate) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|error: seaworthy_oci::DigestError| {
        Problem::new(ErrorCode::DigestInvalid, error.to_string())
    })
}

/// Reads a tag of a path or query.
pub(crate) fn tag(text: &str) -> Result<Tag, Problem> {
    text.parse().map_err(|error: seaworthy_oci::ReferenceError| {
        Problem::new(ErrorCode::ManifestInvalid, error.to_string())
    })
}

/// Percent-decodes one path segment to UTF-8 (RFC 3986 §2.1).
pub(crate) fn decode(segment: &str) -> Option<String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (bytes.next()?, bytes.next()?);
            let digit = |byte: u8| char::from(byte).to_digit(16);
            out.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes a value for a query string.
pub(crate) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(path: &str) -> String {
        match Target::parse(path) {
            Ok(Target::Upload(name, _)) => format!("upload in {name}"),
            Ok(target) => format!("{target:?}").replace("RepoName", "").replace('"', ""),
            Err(problem) => format!("{:?}", problem.code),
        }
    }

    #[test]
    fn paths_are_read_from_the_right() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (path, expected) in [
            ("", "Root"),
            ("_catalog", "Catalog"),
            ("a/tags/list", "Tags((a))"),
            ("tags/list/tags/list", "Tags((tags/list))"),
            ("library%2Fnginx/tags/list", "Tags((library/nginx))"),
            ("a/b/manifests/1", "Manifest((a/b), Tag(Tag(1)))"),
            ("manifests/uploads/manifests/1", "Manifest((manifests/uploads), Tag(Tag(1)))"),
            ("a/blobs/uploads/", "Uploads((a))"),
            ("a/blobs/uploads", "Uploads((a))"),
            ("blobs/blobs/uploads/", "Uploads((blobs))"),
            ("a/blobs/uploads/0190b4a0-0000-7000-8000-000000000000", "upload in a"),
            ("a/blobs/uploads/nonsense", "BlobUploadUnknown"),
            (&format!("a/blobs/sha256:{hex}"), &format!("Blob((a), sha256:{hex})")),
            (&format!("a/blobs/sha256%3A{hex}"), &format!("Blob((a), sha256:{hex})")),
            ("a/blobs/sha256:12", "DigestInvalid"),
            ("a/manifests/sha256:12", "DigestInvalid"),
            (&format!("a/referrers/sha256:{hex}"), &format!("Referrers((a), sha256:{hex})")),
            ("a/referrers/latest", "DigestInvalid"),
            (&format!("referrers/sha256:{hex}"), "NotFound"),
            ("a/manifests/-bad", "ManifestInvalid"),
            ("A/tags/list", "NameInvalid"),
            ("a/../b/tags/list", "NameInvalid"),
            ("a/%2e%2e/b/tags/list", "NameInvalid"),
            ("a//b/tags/list", "NameInvalid"),
            ("a%00/tags/list", "NameInvalid"),
            ("a%zz/tags/list", "NameInvalid"),
            ("tags/list", "NotFound"),
            ("a/b/c", "NotFound"),
        ] {
            assert_eq!(check(path), expected, "{path}");
        }
        assert_eq!(check(&"a/".repeat(limit::PATH_BYTES)), "NameInvalid");
    }

    proptest! {
        #[test]
        fn hostile_paths_do_not_panic(path: String) {
            let _ = Target::parse(&path);
        }

        #[test]
        fn encoding_round_trips(text: String) {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }
    }
}
