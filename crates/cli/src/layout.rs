//! OCI image layouts, as folders and as tar archives (image spec, "OCI Image Layout Specification"): what they are
//! made of, and where their images belong.

mod archive;
mod read;
mod verified;
mod write;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Descriptor, Digest, RepoName, Tag};

pub(crate) use read::{Blob, Layout, Source};
pub(crate) use verified::Verified;
pub(crate) use write::{Destination, Writer};

/// Named limits of layouts. A layout comes from elsewhere: nothing in it is believed.
pub(crate) mod limit {
    /// Members of an archive.
    pub(crate) const MEMBERS: usize = 100_000;
    /// What precedes one member's bytes: its header, and the long name and attributes that describe it, in bytes.
    pub(crate) const HEAD_BYTES: u64 = 64 * 1024;
    /// An archive that is compressed may unpack to so many times its length …
    pub(crate) const UNPACKED_RATIO: u64 = 100;
    /// … and to this at any rate, in bytes (1 GiB).
    pub(crate) const UNPACKED_FREE_BYTES: u64 = 1024 * 1024 * 1024;
    /// Manifests, indexes and referrers of one export or import.
    pub(crate) const MANIFESTS: usize = 10_000;
    /// Their bytes, all together: they are kept in memory (64 MiB).
    pub(crate) const MANIFESTS_BYTES: usize = 64 * 1024 * 1024;
    /// Indexes in indexes, and referrers of referrers.
    pub(crate) const DEPTH: usize = 16;
    /// Uploads at once.
    pub(crate) const UPLOADS: usize = 4;
    /// Attempts at one blob that breaks off, or at what the server wants to be asked later.
    pub(crate) const ATTEMPTS: u32 = 5;
    /// Longest time that a server is waited for before another attempt, in seconds.
    pub(crate) const RETRY_SECONDS: u64 = 60;
    /// Longest time that it is waited for in all, for one blob or for one request besides, in seconds (five minutes).
    pub(crate) const WAIT_SECONDS: u64 = 300;
}

/// The file that says that a folder is a layout.
pub(crate) const MARK: &str = "oci-layout";
/// Its content.
pub(crate) const MARK_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that names the images.
pub(crate) const INDEX: &str = "index.json";
/// What Docker names them by.
pub(crate) const DOCKER: &str = "manifest.json";

/// The name of an image (image spec, "Pre-Defined Annotation Keys").
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The repository that an image was exported from.
pub(crate) const REPOSITORY: &str = "io.seaworthy.repository";
/// The name of an image with its registry, as containerd and Docker read it.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// Where the bytes of a digest are.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

pub(crate) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join(blob_name(digest))
}

pub(crate) fn unreadable(what: &Path, why: impl fmt::Display) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("failed to read `{}`: {why}", what.display()))
}

pub(crate) fn unwritable(what: &Path, why: impl fmt::Display) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("failed to write `{}`: {why}", what.display()))
}

/// Where an image belongs: `prod/web:1`, or a repository alone for an image that only its digest names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) repository: RepoName,
    pub(crate) tag: Option<Tag>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

impl Place {
    /// `REPOSITORY` or `REPOSITORY:TAG`, behind a host or not, which is left out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let reference: seaworthy_oci::Reference = text.parse().ok()?;
        let plain = reference.digest.is_none();
        plain.then_some(Self { repository: reference.repository, tag: reference.tag })
    }

    /// Where the entry of an `index.json` says that it belongs: by our own annotation, by a name with a repository,
    /// by containerd's.
    pub(crate) fn of(entry: &Descriptor) -> Option<Self> {
        let name = annotation(entry, REF_NAME);
        if let Some(repository) = annotation(entry, REPOSITORY).and_then(|text| text.parse().ok()) {
            // containerd keeps the annotation, and writes the tag alone.
            let tag = match name.filter(|name| !name.contains(['/', ':'])) {
                Some(tag) => tag.parse().ok(),
                None => name
                    .and_then(Self::parse)
                    .filter(|place| place.repository == repository)
                    .and_then(|place| place.tag),
            };
            return Some(Self { repository, tag });
        }
        let full = name.filter(|name| name.contains(['/', ':'])).and_then(Self::parse);
        full.or_else(|| annotation(entry, IMAGE_NAME).and_then(Self::parse))
    }

    /// The same below a prefix.
    pub(crate) fn below(self, prefix: &RepoName) -> Result<Self, Problem> {
        let name = format!("{prefix}/{}", self.repository);
        let repository = name.parse().map_err(|error: seaworthy_oci::ReferenceError| {
            Problem::new(ErrorCode::NameInvalid, error.to_string())
        })?;
        Ok(Self { repository, ..self })
    }
}

/// The tag that an entry's name ends in, or is.
pub(crate) fn tag_of(entry: &Descriptor) -> Option<Tag> {
    Place::of(entry).and_then(|place| place.tag).or_else(|| annotation(entry, REF_NAME)?.parse().ok())
}

pub(crate) fn annotation<'d>(entry: &'d Descriptor, key: &str) -> Option<&'d str> {
    entry.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(annotations: &[(&str, &str)]) -> Descriptor {
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Descriptor {
            media_type: seaworthy_oci::media::OCI_MANIFEST.to_owned(),
            digest: Digest::sha256(b""),
            size: 0,
            urls: Vec::new(),
            platform: None,
            artifact_type: None,
            annotations: Some(pairs.collect()),
            has_data: false,
        }
    }

    #[test]
    fn entries_say_where_they_belong() {
        for (annotations, place, tag) in [
            (&[(REF_NAME, "prod/web:1"), (REPOSITORY, "prod/web")][..], Some("prod/web:1"), Some("1")),
            (&[(REPOSITORY, "prod/web")], Some("prod/web"), None),
            (&[(REF_NAME, "1"), (REPOSITORY, "prod/web")], Some("prod/web:1"), Some("1")),
            // A name that is not of that repository is no tag there.
            (&[(REF_NAME, "other:1"), (REPOSITORY, "prod/web")], Some("prod/web"), None),
            (&[(REF_NAME, "docker.io/library/debian:12")], Some("library/debian:12"), Some("12")),
            (&[(REF_NAME, "localhost/web:1")], Some("web:1"), Some("1")),
            (&[(REF_NAME, "web:1")], Some("web:1"), Some("1")),
            (&[(REF_NAME, "1"), (IMAGE_NAME, "localhost:5000/prod/web:1")], Some("prod/web:1"), Some("1")),
            (&[(REF_NAME, "latest")], None, Some("latest")),
            (&[(REF_NAME, "Prod/Web:1")], None, None),
            (&[(REF_NAME, "../../x:1")], None, None),
            (&[(REPOSITORY, "../x")], None, None),
            (&[], None, None),
        ] {
            let entry = entry(annotations);
            let found = Place::of(&entry).map(|place| place.to_string());
            assert_eq!(found.as_deref(), place, "{annotations:?}");
            assert_eq!(tag_of(&entry).as_ref().map(Tag::as_str), tag, "{annotations:?}");
        }
    }

    #[test]
    fn places_move_below_a_prefix() {
        let place = Place::parse("prod/web:1").expect("a place");
        let prefix = |text: &str| text.parse::<RepoName>().expect("a prefix");
        assert_eq!(place.clone().below(&prefix("air")).expect("fits").to_string(), "air/prod/web:1");
        let long = "a".repeat(seaworthy_oci::limit::REPO_NAME_BYTES);
        assert!(place.below(&prefix(&long)).is_err());
        assert!(Place::parse("prod/web@sha256:00").is_none());
        assert!(Place::parse(&format!("prod/web@{}", Digest::sha256(b""))).is_none());
    }
}
