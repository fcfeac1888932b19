use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    Digest, JsonError, Platform,
    json::{self, ReadError},
    limit, media,
};

/// A pointer to a blob or manifest (image spec, "OCI Content Descriptors"). Bytes that it brings along (`data`) are those
/// that it names, or it is none: who reads them there would have others than who fetches them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawDescriptor")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their name.
    pub digest: Digest,
    /// Their length in bytes: a *claim*, compared with what is stored, never allocated by.
    pub size: u64,
    /// Places outside this registry that hold the bytes.
    pub urls: Vec<String>,
    /// Only in an index: what the child runs on.
    pub platform: Option<Platform>,
    /// What the pointed-at manifest carries.
    pub artifact_type: Option<String>,
    /// Free key-value pairs.
    pub annotations: Option<BTreeMap<String, String>>,
    /// It brings its bytes along.
    pub has_data: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    urls: Vec<String>,
    platform: Option<Platform>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
    data: Option<String>,
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = String;

    fn try_from(raw: RawDescriptor) -> Result<Self, String> {
        // An int64 (image spec, "Properties"): others could not read it.
        if i64::try_from(raw.size).is_err() {
            return Err(format!("`size` of {} is more than 2^63 - 1", raw.digest));
        }
        let has_data = raw.data.is_some();
        if let Some(data) = raw.data {
            let is_named = STANDARD
                .decode(data)
                .is_ok_and(|bytes| bytes.len() as u64 == raw.size && raw.digest.is_of(&bytes));
            if !is_named {
                return Err(format!("`data` is not what {} names", raw.digest));
            }
        }
        Ok(Self {
            media_type: raw.media_type,
            digest: raw.digest,
            size: raw.size,
            urls: raw.urls,
            platform: raw.platform,
            artifact_type: raw.artifact_type,
            annotations: raw.annotations,
            has_data,
        })
    }
}

impl Descriptor {
    /// True when the registry need not hold the bytes (non-distributable, or with `urls`).
    pub fn is_foreign(&self) -> bool {
        media::is_foreign_layer(&self.media_type) || !self.urls.is_empty()
    }
}

/// One image's list of blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// Media type under which it is stored.
    pub media_type: String,
    /// The image config, or another artifact's.
    pub config: Descriptor,
    /// Layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The manifest this one refers to.
    pub subject: Option<Descriptor>,
    /// What an artifact carries; the config's media type when the field is absent.
    pub artifact_type: Option<String>,
    /// Free key-value pairs.
    pub annotations: BTreeMap<String, String>,
}

impl ImageManifest {
    /// True for something that a runtime starts by what it is called, whatever it calls itself besides: engines look at
    /// the config's media type and not at `artifactType`, and of a Docker manifest at neither.
    pub fn is_image(&self) -> bool {
        media::is_image_config(&self.config.media_type) || self.media_type == media::DOCKER_MANIFEST
    }
}

/// A list of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageIndex {
    /// Media type under which it is stored.
    pub media_type: String,
    /// The children.
    pub manifests: Vec<Descriptor>,
    /// The manifest this one refers to.
    pub subject: Option<Descriptor>,
    /// What an artifact carries.
    pub artifact_type: Option<String>,
    /// Free key-value pairs.
    pub annotations: BTreeMap<String, String>,
}

impl ImageIndex {
    /// The manifest for a platform, whatever its variant, else the first.
    pub fn manifest_for(&self, platform: &Platform) -> Option<&Descriptor> {
        let manifests = || self.manifests.iter().filter(|it| media::is_manifest(&it.media_type));
        let fits = |it: &&Descriptor| {
            let its = it.platform.as_ref();
            its.is_some_and(|it| it.os == platform.os && it.architecture == platform.architecture)
        };
        manifests().find(fits).or_else(|| manifests().next())
    }
}

/// What a registry stores under a manifest digest.
#[allow(clippy::large_enum_variant, reason = "one short-lived value per request; a box would only add a hop")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// A single image or artifact.
    Image(ImageManifest),
    /// A list.
    Index(ImageIndex),
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`limit::MANIFEST_BYTES`].
    #[error("manifest is longer than {} bytes", limit::MANIFEST_BYTES)]
    TooLong,
    /// Not JSON, too deep, or a key twice.
    #[error("manifest is not strict JSON")]
    Json {
        /// What the check met.
        source: JsonError,
    },
    /// A field is missing or has the wrong shape.
    #[error("manifest has a missing or misshapen field")]
    Shape {
        /// Which one.
        source: serde_json::Error,
    },
    /// Not a media type we store.
    #[error("manifest media type `{media_type}` is not supported")]
    MediaType {
        /// What was claimed, shortened.
        media_type: String,
    },
    /// `mediaType` in the bytes is not the one it was sent under (CVE-2021-41190).
    #[error("manifest says `{inside}` but was sent as `{outside}`")]
    MediaTypeConflict {
        /// The field's value, shortened.
        inside: String,
        /// The request's content type, shortened.
        outside: String,
    },
    /// Fields of an image and of an index in one document (CVE-2021-41190).
    #[error("manifest has the fields of both an image and an index")]
    Ambiguous,
    /// More than [`limit::LAYERS`] or [`limit::INDEX_CHILDREN`].
    #[error("manifest has {count} entries, more than {limit}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// An index brings a manifest along, or says where else it is: engines take it from there and ask nobody for it.
    #[error("index has the manifest {digest} in itself, or elsewhere (`data`, `urls`)")]
    ChildElsewhere {
        /// Which one.
        digest: Digest,
    },
    /// `schemaVersion` is not 2.
    #[error("manifest schema version is not 2")]
    SchemaVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Reads a manifest from its exact bytes.
    ///
    /// `content_type` is what it was sent or stored under; without one the document's own
    /// `mediaType` decides. The bytes are never rewritten: callers store what they were given.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > limit::MANIFEST_BYTES {
            return Err(ManifestError::TooLong);
        }
        let raw: Raw = json::read_object(bytes).map_err(|error| match error {
            ReadError::Json(source) => ManifestError::Json { source },
            ReadError::Shape(source) => ManifestError::Shape { source },
        })?;
        let media_type = media_type_of(&raw, content_type)?;
        if raw.schema_version != Some(2) {
            return Err(ManifestError::SchemaVersion);
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        if media::is_index(&media_type) { index(raw, media_type) } else { image(raw, media_type) }
    }

    /// The stored media type.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Image(image) => &image.media_type,
            Self::Index(index) => &index.media_type,
        }
    }

    /// The manifest this one refers to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// Free key-value pairs.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Image(image) => &image.annotations,
            Self::Index(index) => &index.annotations,
        }
    }

    /// What a referrers list calls it: `artifactType`, else the config's media type.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Image(image) => {
                Some(named(image.artifact_type.as_ref()).unwrap_or(&image.config.media_type))
            }
            Self::Index(index) => named(index.artifact_type.as_ref()),
        }
    }
}

/// An empty type is none.
fn named(artifact_type: Option<&String>) -> Option<&str> {
    artifact_type.map(String::as_str).filter(|name| !name.is_empty())
}

fn media_type_of(raw: &Raw, content_type: Option<&str>) -> Result<String, ManifestError> {
    let shorten = crate::digest::shorten;
    let outside = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    if let (Some(inside), Some(outside)) = (raw.media_type.as_deref(), outside)
        && inside != outside
    {
        return Err(ManifestError::MediaTypeConflict { inside: shorten(inside), outside: shorten(outside) });
    }
    let media_type = outside.or(raw.media_type.as_deref()).unwrap_or(if raw.manifests.is_some() {
        media::OCI_INDEX
    } else {
        media::OCI_MANIFEST
    });
    if media::is_manifest(media_type) {
        Ok(media_type.to_owned())
    } else {
        Err(ManifestError::MediaType { media_type: shorten(media_type) })
    }
}

fn image(raw: Raw, media_type: String) -> Result<Manifest, ManifestError> {
    use serde::de::Error as _;
    let missing = |field| ManifestError::Shape { source: serde_json::Error::missing_field(field) };
    let config = raw.config.ok_or_else(|| missing("config"))?;
    let layers = raw.layers.ok_or_else(|| missing("layers"))?;
    bounded(layers.len(), limit::LAYERS)?;
    Ok(Manifest::Image(ImageManifest {
        media_type,
        config,
        layers,
        subject: raw.subject,
        artifact_type: raw.artifact_type,
        annotations: raw.annotations.unwrap_or_default(),
    }))
}

fn index(raw: Raw, media_type: String) -> Result<Manifest, ManifestError> {
    use serde::de::Error as _;
    let manifests = raw
        .manifests
        .ok_or_else(|| ManifestError::Shape { source: serde_json::Error::missing_field("manifests") })?;
    bounded(manifests.len(), limit::INDEX_CHILDREN)?;
    let is_elsewhere = |child: &&Descriptor| {
        (child.has_data || !child.urls.is_empty()) && media::names_manifest(&child.media_type)
    };
    if let Some(child) = manifests.iter().find(is_elsewhere) {
        return Err(ManifestError::ChildElsewhere { digest: child.digest });
    }
    Ok(Manifest::Index(ImageIndex {
        media_type,
        manifests,
        subject: raw.subject,
        artifact_type: raw.artifact_type,
        annotations: raw.annotations.unwrap_or_default(),
    }))
}

const fn bounded(count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::TooMany { count, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor() -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{HEX}","size":0}}"#
        )
    }

    fn check(json: &str, content_type: Option<&str>) -> String {
        let json = json.replace("DESC", &descriptor());
        match Manifest::parse(json.as_bytes(), content_type) {
            Ok(Manifest::Image(image)) => format!("image of {} layers", image.layers.len()),
            Ok(Manifest::Index(index)) => format!("index of {}", index.manifests.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reads_what_clients_send() {
        let image = r#"{"schemaVersion":2,"config":DESC,"layers":[DESC,DESC],"x":{"unknown":1}}"#;
        assert_eq!(check(image, None), "image of 2 layers");
        assert_eq!(check(image, Some(media::DOCKER_MANIFEST)), "image of 2 layers");
        assert_eq!(check(r#"{"schemaVersion":2,"manifests":[DESC]}"#, None), "index of 1");
        assert_eq!(
            check(
                r#"{"schemaVersion":2,"manifests":[]}"#,
                Some("application/vnd.oci.image.index.v1+json; charset=utf-8")
            ),
            "index of 0"
        );
    }

    #[test]
    fn refuses_confusion() {
        for (json, content_type, says) in [
            ("{", None, "manifest is not strict JSON"),
            ("[]", None, "manifest is not strict JSON"),
            (r#"{"schemaVersion":2,"layers":[]}"#, None, "manifest has a missing or misshapen field"),
            (r#"{"schemaVersion":1,"config":DESC,"layers":[]}"#, None, "manifest schema version is not 2"),
            (
                r#"{"schemaVersion":2,"config":DESC,"layers":[],"manifests":[]}"#,
                None,
                "manifest has the fields of both an image and an index",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
                Some(media::OCI_MANIFEST),
                "manifest says `application/vnd.oci.image.index.v1+json` but was sent as `application/vnd.oci.image.manifest.v1+json`",
            ),
            (
                r#"{"schemaVersion":2,"config":DESC,"layers":[]}"#,
                Some(media::DOCKER_SCHEMA1_SIGNED),
                "manifest media type `application/vnd.docker.distribution.manifest.v1+prettyjws` is not supported",
            ),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:00","size":0},"layers":[]}"#,
                None,
                "manifest has a missing or misshapen field",
            ),
            (
                r#"{"schemaVersion":2,"config":DESC,"layers":[],"layers":[]}"#,
                None,
                "manifest is not strict JSON",
            ),
        ] {
            assert_eq!(check(json, content_type), says, "{json}");
        }
    }

    #[test]
    fn a_text_has_no_end_within() {
        for json in [
            r#"{"schemaVersion":2,"config":DESC,"layers":[],"artifactType":"a\u0000b"}"#,
            r#"{"schemaVersion":2,"config":DESC,"layers":[],"annotations":{"a":"\u0000"}}"#,
            r#"{"schemaVersion":2,"config":DESC,"layers":[],"annotations":{"a\u0000":"b"}}"#,
        ] {
            assert_eq!(check(json, None), "manifest has a missing or misshapen field", "{json}");
            assert_eq!(check(&json.replace("u0000", "u0001"), None), "image of 0 layers", "{json}");
        }
    }

    #[test]
    fn negative_and_huge_sizes_are_refused() {
        for size in ["-1", "9223372036854775808", "18446744073709551616", "1e400", "\"1\""] {
            let json = format!(
                r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{HEX}","size":{size}}},"layers":[]}}"#
            );
            assert!(Manifest::parse(json.as_bytes(), None).is_err(), "{size}");
        }
    }

    /// Engines read a field under its name in any case, and of two the last one: such a manifest is two.
    #[test]
    fn a_field_in_another_case_is_refused() {
        let image = |extra: &str| format!(r#"{{"schemaVersion":2,"config":DESC,"layers":[]{extra}}}"#);
        let within = |place: &str, extra: &str| {
            let descriptor = format!(
                r#"{{"mediaType":"a","digest":"sha256:{HEX}","size":0,"platform":{{"os":"a","architecture":"b"{}}}{}}}"#,
                if place == "platform" { extra } else { "" },
                if place == "descriptor" { extra } else { "" }
            );
            format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#)
        };
        let others = |name: &str| {
            let (first, rest) = name.split_at(1);
            [
                name.to_uppercase(),
                format!("{}{rest}", first.to_uppercase()),
                name.to_lowercase(),
                name.replace('s', "\u{17f}"),
                name.replace('k', "\u{212a}"),
            ]
            .into_iter()
            .filter(|other| other != name)
            .collect::<Vec<_>>()
        };
        for name in [
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "subject",
            "artifactType",
            "annotations",
        ] {
            for other in others(name) {
                let json = image(&format!(r#","{other}":null"#));
                assert_eq!(check(&json, None), "manifest has a missing or misshapen field", "{json}");
            }
        }
        for (place, names) in [
            (
                "descriptor",
                &["mediaType", "digest", "size", "urls", "platform", "artifactType", "annotations", "data"][..],
            ),
            ("platform", &["os", "architecture", "variant"][..]),
        ] {
            assert_eq!(check(&within(place, ""), None), "index of 1");
            for other in names.iter().flat_map(|name| others(name)) {
                let json = within(place, &format!(r#","{other}":null"#));
                assert_eq!(check(&json, None), "manifest has a missing or misshapen field", "{json}");
            }
        }
        assert_eq!(check(&image(r#","annotations":{"Layers":"","layers":""}"#), None), "image of 0 layers");
    }

    /// By what engines go when they decide whether to start something.
    #[test]
    fn what_an_engine_starts_is_an_image() {
        let is_image = |of: &str, config: &str, extra: &str| {
            let config = format!(r#"{{"mediaType":"{config}","digest":"sha256:{HEX}","size":0}}"#);
            let json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]{extra}}}"#);
            let Ok(Manifest::Image(image)) = Manifest::parse(json.as_bytes(), Some(of)) else {
                panic!("{json}")
            };
            image.is_image()
        };
        for extra in ["", r#","artifactType":"application/x""#, r#","artifactType":"""#] {
            for config in [media::OCI_CONFIG, media::DOCKER_CONFIG] {
                assert!(is_image(media::OCI_MANIFEST, config, extra), "{config}{extra}");
            }
            assert!(!is_image(media::OCI_MANIFEST, media::OCI_EMPTY, extra), "{extra}");
            assert!(is_image(media::DOCKER_MANIFEST, "application/x", extra), "{extra}");
        }
    }

    #[test]
    fn inline_data_is_what_is_named() {
        let digest = Digest::sha256(b"hello");
        let read = |data: &str, size: usize| {
            let config = format!(r#"{{"digest":"{digest}","size":{size},"data":{data}}}"#);
            check(&format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#), None)
        };
        assert_eq!(read(r#""aGVsbG8=""#, 5), "image of 0 layers");
        assert_eq!(read("null", 5), "image of 0 layers");
        for (data, size) in [
            (r#""aGVsbG8=""#, 6),
            (r#""aGVsbG9v""#, 5),
            (r#""aGVsbG8""#, 5),
            (r#""!""#, 5),
            (r#""""#, 5),
            ("5", 5),
        ] {
            assert_eq!(read(data, size), "manifest has a missing or misshapen field", "{data}");
        }
    }

    /// containerd looks for a child in its descriptor, and at its addresses, before it asks the registry.
    #[test]
    fn a_child_is_in_the_registry() {
        let digest = Digest::sha256(b"{}");
        let read = |media_type: &str, more: &str| {
            let child = format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":2{more}}}"#);
            check(&format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#), None)
        };
        let refused = format!("index has the manifest {digest} in itself, or elsewhere (`data`, `urls`)");
        let upper = media::OCI_MANIFEST.to_uppercase();
        let with_parameter = format!("{} ; a=b", media::OCI_MANIFEST);
        for more in [r#","data":"e30=""#, r#","urls":["https://a.example/b"]"#] {
            for manifest in
                [media::OCI_MANIFEST, media::OCI_INDEX, media::DOCKER_MANIFEST, media::DOCKER_LIST]
            {
                assert_eq!(read(manifest, more), refused, "{manifest}");
            }
            for manifest in [media::DOCKER_SCHEMA1, media::DOCKER_SCHEMA1_SIGNED, &upper, &with_parameter, ""]
            {
                assert_eq!(read(manifest, more), refused, "{manifest}");
            }
            assert_eq!(read("application/vnd.oci.image.layer.v1.tar", more), "index of 1");
        }
        assert_eq!(read(media::OCI_MANIFEST, r#","data":null,"urls":[]"#), "index of 1");
    }

    #[test]
    fn bytes_are_bounded() {
        let json = r#"{"schemaVersion":2,"config":DESC,"layers":[]}"#;
        let whole = json.len() - "DESC".len() + descriptor().len();
        let padded = |length: usize| check(&format!("{json}{}", " ".repeat(length - whole)), None);
        assert_eq!(padded(limit::MANIFEST_BYTES), "image of 0 layers");
        assert_eq!(padded(limit::MANIFEST_BYTES + 1), "manifest is longer than 4194304 bytes");
    }

    #[test]
    fn layers_are_bounded() {
        let many = |n: usize| {
            format!(r#"{{"schemaVersion":2,"config":DESC,"layers":[{}]}}"#, vec!["DESC"; n].join(","))
        };
        assert_eq!(check(&many(limit::LAYERS), None), "image of 1000 layers");
        assert_eq!(check(&many(limit::LAYERS + 1), None), "manifest has 1001 entries, more than 1000");
    }

    #[test]
    fn children_are_bounded() {
        let many = |n: usize| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec!["DESC"; n].join(","));
        assert_eq!(check(&many(limit::INDEX_CHILDREN), None), "index of 10000");
        let over = check(&many(limit::INDEX_CHILDREN + 1), None);
        assert_eq!(over, "manifest has 10001 entries, more than 10000");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Manifest::parse(&bytes, None);
            let _ = crate::ImageConfig::parse(&bytes);
        }
    }
}
