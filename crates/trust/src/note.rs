use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Ed25519, C2SP `signed-note` signature type 1.
const TYPE_ED25519: u8 = 1;

/// Why a note is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not a note: no blank line, or a signature line of another shape.
    #[error("text is not a signed note")]
    Malformed,
    /// No signature by the key we know.
    #[error("note has no signature by `{name}`")]
    NotSigned {
        /// The key's name.
        name: String,
    },
    /// The signature by our key does not fit the text.
    #[error("note's signature by `{name}` does not fit its text")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// The key's bytes are no key.
    #[error("signing key `{name}` is unusable")]
    BadKey {
        /// The key's name.
        name: String,
    },
}

/// A key that signs notes.
pub struct Signer {
    name: String,
    pair: Ed25519KeyPair,
}

/// A key that checks notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    public: Vec<u8>,
}

impl Signer {
    /// A key named `name` from its 32-byte seed.
    pub fn from_seed(name: &str, seed: &[u8]) -> Result<Self, NoteError> {
        let bad = |_| NoteError::BadKey { name: name.to_owned() };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(bad)?;
        Ok(Self { name: name.to_owned(), pair })
    }

    /// The checking half.
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), public: self.pair.public_key().as_ref().to_vec() }
    }

    /// Signs `text`, which ends with a newline: the text, a blank line, one signature line.
    pub fn sign(&self, text: &str) -> String {
        let mut blob = self.verifier().key_hash().to_vec();
        blob.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {} {}\n", self.name, BASE64.encode(blob))
    }
}

impl Verifier {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of SHA-256 over name, newline, type and key.
    pub fn key_hash(&self) -> [u8; 4] {
        let mut bytes = self.name.clone().into_bytes();
        bytes.extend_from_slice(&[b'\n', TYPE_ED25519]);
        bytes.extend_from_slice(&self.public);
        let mut hash = [0; 4];
        hash.iter_mut().zip(digest(&SHA256, &bytes).as_ref()).for_each(|(slot, byte)| *slot = *byte);
        hash
    }

    /// The key as text, `name+hash+base64`, as every note verifier takes it.
    pub fn vkey(&self) -> String {
        let hash = format!("{:08x}", u32::from_be_bytes(self.key_hash()));
        let mut key = vec![TYPE_ED25519];
        key.extend_from_slice(&self.public);
        format!("{}+{hash}+{}", self.name, BASE64.encode(key))
    }

    /// The text of a note whose signature by this key fits.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, signatures) = note.split_at(split + 1);
        let signatures = signatures.strip_prefix('\n').ok_or(NoteError::Malformed)?;
        if !signatures.ends_with('\n') {
            return Err(NoteError::Malformed);
        }
        let mut verdict = Err(NoteError::NotSigned { name: self.name.clone() });
        for line in signatures.lines() {
            let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed)?;
            let (name, blob) = line.split_once(' ').ok_or(NoteError::Malformed)?;
            let blob = BASE64.decode(blob).map_err(|_| NoteError::Malformed)?;
            let (hash, signature) = blob.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
            if name == self.name && *hash == self.key_hash() {
                let key = UnparsedPublicKey::new(&ED25519, &self.public);
                key.verify(text.as_bytes(), signature)
                    .map_err(|_| NoteError::BadSignature { name: self.name.clone() })?;
                verdict = Ok(text);
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let signer = Signer::from_seed("ledger.test", &[7; 32]).expect("seed");
        let note = signer.sign("ledger.test\n3\nabc=\n");
        let verifier = signer.verifier();
        assert_eq!(verifier.open(&note), Ok("ledger.test\n3\nabc=\n"));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(verifier.open(&changed).is_err(), "byte {at}");
            }
        }
        let other = Signer::from_seed("ledger.test", &[8; 32]).expect("seed").verifier();
        assert_eq!(other.open(&note), Err(NoteError::NotSigned { name: "ledger.test".into() }));
    }
}
