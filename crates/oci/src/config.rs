use serde::{Deserialize, Deserializer};

use crate::{
    Digest, JsonError, Platform,
    json::{self, ReadError},
    limit,
};

/// The part of an image config that we read (image spec, "OCI Image Configuration").
/// Unknown fields are tolerated; duplicate keys are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ImageConfig {
    /// Architecture, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, in Go's words.
    #[serde(default)]
    pub os: String,
    /// Architecture variant.
    #[serde(default)]
    pub variant: Option<String>,
    /// What a container of this image runs with.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: RunConfig,
    /// The layers' identities as the config *claims* them.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How each layer came to be, oldest first; empty layers included.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: Vec<HistoryEntry>,
}

/// The `rootfs` member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers, bottom first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

/// The `config` member: the defaults a container starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// User (and group) the process runs as; empty is root.
    #[serde(default, deserialize_with = "null_as_default")]
    pub user: String,
    /// `NAME=value` pairs.
    #[serde(default, deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// Entry point.
    #[serde(default, deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// Arguments, or the command when there is no entry point.
    #[serde(default, deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
}

/// One step of the build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct HistoryEntry {
    /// The instruction, as the builder wrote it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub created_by: String,
    /// A free comment; `docker import` says what it imported here.
    #[serde(default, deserialize_with = "null_as_default")]
    pub comment: String,
    /// True when the step made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

/// True when a runtime could take `bytes` for the config of an OCI image, though their media type is none of an image
/// config.
///
/// Those engines that do not insist on the type need the member `rootfs` to start anything, and read JSON as Go does: names
/// in any case, the last of two equal ones, `\u017f` for `s`. So only JSON without any such member is surely no
/// image; bytes that do not begin like an object are none to any parser.
pub fn config_may_be_run(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if text.first() != Some(&b'{') {
        return false;
    }
    let folded = |key: &str| key.to_lowercase().replace('\u{17f}', "s") == "rootfs";
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(members) => members.keys().any(|key| folded(key)),
        // Not what we call JSON, but some other parser may be content with it.
        Err(_) => true,
    }
}

/// Why a config is not read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Longer than [`limit::CONFIG_BYTES`].
    #[error("image config is longer than {} bytes", limit::CONFIG_BYTES)]
    TooLong,
    /// Not JSON, or a key twice.
    #[error("image config is not strict JSON")]
    Json {
        /// What the check met.
        source: JsonError,
    },
    /// JSON of another shape.
    #[error("image config has a field of the wrong shape")]
    Shape {
        /// Which one, with line and column.
        source: serde_json::Error,
    },
}

impl ImageConfig {
    /// Reads a config from its exact bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > limit::CONFIG_BYTES {
            return Err(ConfigError::TooLong);
        }
        json::read_object(bytes).map_err(|error| match error {
            ReadError::Json(source) => ConfigError::Json { source },
            ReadError::Shape(source) => ConfigError::Shape { source },
        })
    }

    /// The platform; missing parts read as `unknown`.
    pub fn platform(&self) -> Platform {
        let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        Platform {
            os: or_unknown(&self.os),
            architecture: or_unknown(&self.architecture),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
        }
    }

    /// The instruction that made layer `index` (bottom is 0), when the history tells.
    pub fn instruction(&self, index: usize) -> Option<&str> {
        let entry = self.history.iter().filter(|entry| !entry.empty_layer).nth(index)?;
        let text = if entry.created_by.is_empty() { &entry.comment } else { &entry.created_by };
        (!text.is_empty()).then_some(text.as_str())
    }
}

/// Docker and others write `null` for an absent list or object.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_runtime_starts_is_known() {
        let runs = |text: &str| config_may_be_run(text.as_bytes());
        for text in [
            r#"{"rootfs":{}}"#,
            r#"{"os":"linux","RootFS":1}"#,
            r#"{"root\u0066s":1}"#,
            "{\"rootf\u{17f}\":1}",
            "\u{feff} {\"rootfs\":1}",
            "{broken",
            r#"{"a":1}{"rootfs":1}"#,
        ] {
            assert!(runs(text), "{text}");
        }
        for text in ["", "{}", "[]", "hello", "name: x", r#"{"name":"chart","nested":{"rootfs":1}}"#] {
            assert!(!runs(text), "{text}");
        }
    }

    #[test]
    fn history_skips_empty_layers() {
        let config = ImageConfig::parse(
            br#"{"os":"linux","architecture":"amd64","config":{"User":"www","Env":null},
                "history":[{"comment":"Imported from -"},{"created_by":"ENV A=1","empty_layer":true},
                {"created_by":"COPY x /"}]}"#,
        )
        .expect("config");
        assert_eq!(config.instruction(0), Some("Imported from -"));
        assert_eq!(config.instruction(1), Some("COPY x /"));
        assert_eq!(config.instruction(2), None);
        assert_eq!(config.config.user, "www");
        assert_eq!(config.platform(), Platform::linux_amd64());
    }

    #[test]
    fn only_an_object_is_a_config() {
        for bad in ["[]", "null", "7", "\"{}\""] {
            assert!(matches!(ImageConfig::parse(bad.as_bytes()), Err(ConfigError::Json { .. })), "{bad}");
        }
    }

    /// An engine would take the last of them for the field.
    #[test]
    fn a_field_in_another_case_is_refused() {
        let read = |text: &str| ImageConfig::parse(text.as_bytes()).is_ok();
        assert!(read(
            r#"{"config":{"User":"1000","Labels":{"user":"0","User":"1"}},"history":[{}],"rootfs":{}}"#
        ));
        for text in [
            r#"{"config":{"User":"1000","user":"0"}}"#,
            r#"{"config":{"U\u017fer":"0"}}"#,
            r#"{"config":{"env":[]}}"#,
            r#"{"config":{"entryPoint":[]}}"#,
            r#"{"config":{"CMD":[]}}"#,
            r#"{"Config":{}}"#,
            r#"{"RootFS":{}}"#,
            r#"{"rootfs":{"Diff_IDs":[]}}"#,
            r#"{"OS":"linux"}"#,
            r#"{"Architecture":"amd64"}"#,
            r#"{"variAnt":"v8"}"#,
            r#"{"History":[]}"#,
            r#"{"history":[{"Created_by":""}]}"#,
        ] {
            assert!(!read(text), "{text}");
        }
    }

    #[test]
    fn length_is_bounded() {
        let padded = |n: usize| {
            let mut text = b"{}".to_vec();
            text.resize(n, b' ');
            text
        };
        assert!(ImageConfig::parse(&padded(limit::CONFIG_BYTES)).is_ok());
        assert!(matches!(ImageConfig::parse(&padded(limit::CONFIG_BYTES + 1)), Err(ConfigError::TooLong)));
    }
}
