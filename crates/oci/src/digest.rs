use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

mod lane;

/// A hash algorithm registered by the image spec ("Registered algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw hash, in bytes.
    pub const fn hash_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(name: &str) -> Result<Self, DigestError> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            other => Err(DigestError::UnknownAlgorithm { algorithm: shorten(other) }),
        }
    }
}

/// Why a text is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("digest `{text}` has no algorithm")]
    NoAlgorithm {
        /// What was given, shortened.
        text: String,
    },
    /// The algorithm is not one of ours.
    #[error("digest algorithm `{algorithm}` is not supported")]
    UnknownAlgorithm {
        /// What was given, shortened.
        algorithm: String,
    },
    /// The hash is not lower-case hex of the algorithm's length.
    #[error("digest `{text}` is not {expected} lower-case hex characters after the colon")]
    BadHex {
        /// What was given, shortened.
        text: String,
        /// Number of hex characters the algorithm has.
        expected: usize,
    },
}

/// An immutable name of bytes: `sha256:…` or `sha512:…`, lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hash: [u8; 64],
}

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// True when it names `bytes`.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        hasher.finish() == *self
    }

    /// A digest from a raw hash; `None` when the length is not the algorithm's.
    pub fn from_hash(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.hash_bytes() {
            return None;
        }
        let mut hash = [0; 64];
        hash.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self { algorithm, hash })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash: 32 or 64 bytes.
    pub fn hash(&self) -> &[u8] {
        self.hash.get(..self.algorithm.hash_bytes()).unwrap_or_default()
    }

    /// The hash as lower-case hex.
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(128);
        push_hex(&mut out, self.hash());
        out
    }

    /// `sha256:` and the first 12 hex characters: for people, never for comparing.
    pub fn short(&self) -> String {
        let text = self.to_string();
        let end = self.algorithm.name().len() + 1 + 12;
        text.get(..end).unwrap_or(&text).to_owned()
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm { text: shorten(text) });
        };
        let algorithm = Algorithm::from_str(name)?;
        let expected = algorithm.hash_bytes() * 2;
        let bad = || DigestError::BadHex { text: shorten(text), expected };
        if hex.len() != expected {
            return Err(bad());
        }
        let mut hash = [0u8; 64];
        for (slot, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return Err(bad()) };
            let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else { return Err(bad()) };
            *slot = high << 4 | low;
        }
        Ok(Self { algorithm, hash })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A digest in the making: bytes go in as they stream, once.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256 under way.
    Sha256(sha2::Sha256),
    /// SHA-512 under way.
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// An empty hash.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::new(sha2::Sha512::new())),
        }
    }

    /// What it computes.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Adds the next bytes of two digests, in pieces, as [`Hasher::update`] would for each. Two SHA-256 are
    /// computed in turn, a block of each: a round waits for the one before it, and a processor that has
    /// instructions for them does those of the other digest meanwhile.
    pub fn update_two<'a>(
        one: (&mut Self, impl IntoIterator<Item = &'a [u8]>),
        two: (&mut Self, impl IntoIterator<Item = &'a [u8]>),
    ) {
        match (one, two) {
            ((Self::Sha256(one), first), (Self::Sha256(two), second)) => {
                lane::update_two((one, first.into_iter()), (two, second.into_iter()));
            }
            ((one, first), (two, second)) => {
                first.into_iter().for_each(|piece| one.update(piece));
                second.into_iter().for_each(|piece| two.update(piece));
            }
        }
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> Digest {
        let mut hash = [0u8; 64];
        let algorithm = match self {
            Self::Sha256(hasher) => {
                for (slot, byte) in hash.iter_mut().zip(hasher.finalize()) {
                    *slot = byte;
                }
                Algorithm::Sha256
            }
            Self::Sha512(hasher) => {
                hash.copy_from_slice(&hasher.finalize());
                Algorithm::Sha512
            }
        };
        Digest { algorithm, hash }
    }

    /// The state as bytes, so that an upload resumes after a crash without re-reading.
    pub fn state(&self) -> Vec<u8> {
        use sha2::digest::common::hazmat::SerializableState;
        match self {
            Self::Sha256(hasher) => {
                let mut out = vec![1];
                out.extend_from_slice(&hasher.serialize());
                out
            }
            Self::Sha512(hasher) => {
                let mut out = vec![2];
                out.extend_from_slice(&hasher.serialize());
                out
            }
        }
    }

    /// The hasher that [`Hasher::state`] described; `None` when the bytes are not one.
    pub fn from_state(state: &[u8]) -> Option<Self> {
        use sha2::digest::common::hazmat::SerializableState;
        match state.split_first()? {
            (1, rest) => Some(Self::Sha256(sha2::Sha256::deserialize(rest.try_into().ok()?).ok()?)),
            (2, rest) => Some(Self::Sha512(Box::new(sha2::Sha512::deserialize(rest.try_into().ok()?).ok()?))),
            _ => None,
        }
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        out.extend(HEX.get(usize::from(byte >> 4)));
        out.extend(HEX.get(usize::from(byte & 15)));
    }
}

const fn nibble(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// Errors quote what was given, but never all of a hostile megabyte.
pub(crate) fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_sha256_is_the_known_one() {
        assert_eq!(
            Digest::sha256(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for bad in [
            String::new(),
            hex.to_owned(),
            format!("sha1:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256: {}", &hex[1..]),
            format!("SHA256:{hex}"),
        ] {
            assert!(Digest::from_str(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: Vec<u8>) {
            let digest = Digest::sha256(&bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn a_saved_hasher_goes_on_as_if_never_saved(head: Vec<u8>, tail: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut whole = Hasher::new(algorithm);
            whole.update(&head);
            let mut resumed = Hasher::from_state(&whole.state()).expect("own state");
            whole.update(&tail);
            resumed.update(&tail);
            prop_assert_eq!(whole.finish(), resumed.finish());
        }

        #[test]
        fn two_at_once_are_as_each_alone(
            pieces in proptest::array::uniform2(proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..300), 0..8
            )),
            before in proptest::array::uniform2(proptest::collection::vec(any::<u8>(), 0..130)),
            long: [bool; 2],
        ) {
            let begun = |lane: usize| {
                let mut hasher = Hasher::new(if long[lane] { Algorithm::Sha512 } else { Algorithm::Sha256 });
                hasher.update(&before[lane]);
                hasher
            };
            let alone = [0, 1].map(|lane| {
                let mut hasher = begun(lane);
                hasher.update(&pieces[lane].concat());
                hasher
            });
            let mut together = [0, 1].map(begun);
            let [one, two] = &mut together;
            let [first, second] = &pieces;
            Hasher::update_two(
                (one, first.iter().map(Vec::as_slice)),
                (two, second.iter().map(Vec::as_slice)),
            );
            for (alone, together) in alone.into_iter().zip(together) {
                prop_assert_eq!(alone.state(), together.state());
                prop_assert_eq!(alone.finish(), together.finish());
            }
        }
    }
}
