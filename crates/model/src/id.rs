use std::{fmt, str::FromStr};

use seaworthy_oci::{Digest, Hasher, Platform};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A text that is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no {kind} id")]
pub struct IdError {
    /// Which kind of id was expected.
    pub kind: &'static str,
    /// What was given, shortened.
    pub text: String,
}

/// 16-byte ids in time order (UUID version 7, RFC 9562 §5.7), one type per thing named.
macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id; ids made later on this machine sort later.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 16 bytes, as stored in SQL.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// The id from its 16 stored bytes.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes).map(Self)
                    .map_err(|_| IdError { kind: $kind, text: format!("{} bytes", bytes.len()) })
            }

            /// The id from a fixed number: well-known ids and tests.
            pub const fn from_u128(number: u128) -> Self {
                Self(Uuid::from_u128(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self)
                    .map_err(|_| IdError { kind: $kind, text: text.chars().take(40).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

typed_id! {
    /// Who acts.
    PrincipalId = "principal";
    /// A long-lived proof of a principal.
    CredentialId = "credential";
    /// Principal + role + scope.
    RoleAssignmentId = "role assignment";
    /// An upload under way.
    UploadId = "upload";
    /// A policy, whatever its version.
    PolicyId = "policy";
    /// A time-limited accepted risk.
    ExceptionId = "exception";
    /// One event on its way to one consumer.
    DeliveryId = "delivery";
    /// A ledger leaf before it has an index.
    LeafId = "ledger leaf";
    /// An agent's queue of batches on its disk.
    SpoolId = "spool";
    /// A machine whose containers an agent reports.
    HostId = "host";
    /// Something that people are told of.
    AlertId = "alert";
    /// Where alerts are sent.
    AlertTargetId = "alert target";
    /// One alert, or a summary of many, on its way to one target.
    AlertMessageId = "alert message";
}

/// hash(platform, ordered diff ids), as measured by our own inspection: what an image *is*,
/// whatever its tags, manifests and configs are called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; 32]);

/// Bytes or text that are not a content id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a content id (64 lower-case hex characters)")]
pub struct ContentIdError {
    /// What was given, shortened.
    pub text: String,
}

impl ContentId {
    /// The id of an image on `platform` whose uncompressed layers are `diff_ids`, bottom first.
    pub fn of(platform: &Platform, diff_ids: &[Digest]) -> Self {
        let mut hasher = Hasher::new(seaworthy_oci::Algorithm::Sha256);
        hasher.update(b"seaworthy content id v1\n");
        hasher.update(platform.to_string().as_bytes());
        for diff_id in diff_ids {
            hasher.update(b"\n");
            hasher.update(diff_id.to_string().as_bytes());
        }
        let mut hash = [0; 32];
        hash.iter_mut().zip(hasher.finish().hash()).for_each(|(slot, byte)| *slot = *byte);
        Self(hash)
    }

    /// The id of an image of this content that was not read completely, or whose config says
    /// something else: `difference` is what sets it apart. Such an image never shares an answer
    /// with one that is whole, nor with one that has other problems.
    #[must_use]
    pub fn apart(&self, difference: &[u8]) -> Self {
        let mut hasher = Hasher::new(seaworthy_oci::Algorithm::Sha256);
        hasher.update(b"seaworthy content id with problems v1\n");
        hasher.update(&self.0);
        hasher.update(difference);
        let mut hash = [0; 32];
        hash.iter_mut().zip(hasher.finish().hash()).for_each(|(slot, byte)| *slot = *byte);
        Self(hash)
    }

    /// The 32 bytes, as stored in SQL.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id from its 32 stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ContentIdError> {
        let hash = bytes.try_into().map_err(|_| ContentIdError { text: format!("{} bytes", bytes.len()) })?;
        Ok(Self(hash))
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentId {
    type Err = ContentIdError;

    fn from_str(text: &str) -> Result<Self, ContentIdError> {
        let digest: Digest = format!("sha256:{text}")
            .parse()
            .map_err(|_| ContentIdError { text: text.chars().take(80).collect() })?;
        Self::from_bytes(digest.hash())
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_id_depends_on_platform_and_order() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let linux = Platform::linux_amd64();
        let arm = Platform { architecture: "arm64".into(), ..linux.clone() };
        let id = ContentId::of(&linux, &[a, b]);
        assert_ne!(id, ContentId::of(&linux, &[b, a]));
        assert_ne!(id, ContentId::of(&arm, &[a, b]));
        assert_ne!(id, ContentId::of(&linux, &[a]));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ContentId::from_bytes(id.as_bytes()), Ok(id));
    }

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let ids: Vec<_> = (0..100).map(|_| LeafId::generate()).collect();
        assert!(ids.is_sorted());
        let Some(id) = ids.first() else { panic!("ids") };
        assert_eq!(id.to_string().parse(), Ok(*id));
        assert_eq!(LeafId::from_bytes(id.as_bytes()), Ok(*id));
    }
}
