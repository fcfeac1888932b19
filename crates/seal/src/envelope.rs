use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use seaworthy_model::Secret;
use seaworthy_oci::Digest;

use crate::{SealError, keyfile, limit, random};

/// Envelope format: version, key id, nonce and wrapped data key, nonce and ciphertext.
const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const WRAPPED_BYTES: usize = 32 + 16;

/// The unlocked root key.
pub struct Seal {
    root: Secret<[u8; 32]>,
    key_id: [u8; KEY_ID_BYTES],
}

impl Seal {
    /// Unlocks the key file in `directory` (DATA/keys), making it on first use.
    pub fn open(directory: &Path) -> Result<Self, SealError> {
        Ok(Self::with(keyfile::load_or_create(directory)?))
    }

    /// Opens the key file in `directory`; one that is not there is an error.
    pub fn open_existing(directory: &Path) -> Result<Self, SealError> {
        Ok(Self::with(keyfile::load(directory)?))
    }

    fn with(root: Secret<[u8; 32]>) -> Self {
        let mut named = b"seaworthy seal key id v1\n".to_vec();
        named.extend_from_slice(root.expose());
        let mut key_id = [0; KEY_ID_BYTES];
        key_id.iter_mut().zip(Digest::sha256(&named).hash()).for_each(|(slot, byte)| *slot = *byte);
        Self { root, key_id }
    }

    /// Seals `payload` for `what`: only the same `what` opens it again.
    pub fn wrap(&self, what: &str, payload: &[u8]) -> Result<Vec<u8>, SealError> {
        if payload.len() > limit::PAYLOAD_BYTES {
            return Err(SealError::TooLong { what: what.into() });
        }
        let data_key = Secret::new(random::<32>()?);
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.key_id);
        out.extend(encrypt(self.root.expose(), what, data_key.expose())?);
        out.extend(encrypt(data_key.expose(), what, payload)?);
        Ok(out)
    }

    /// Opens an envelope that was sealed for `what`.
    pub fn unwrap(&self, what: &str, envelope: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let damaged = || SealError::Damaged { what: what.into() };
        let rest = envelope.strip_prefix(&[VERSION]).ok_or_else(damaged)?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or_else(damaged)?;
        if *key_id != self.key_id {
            return Err(SealError::OtherKey {
                what: what.into(),
                theirs: hex(*key_id),
                ours: hex(self.key_id),
            });
        }
        let (wrapped, sealed) = rest.split_at_checked(NONCE_LEN + WRAPPED_BYTES).ok_or_else(damaged)?;
        let data_key = decrypt(self.root.expose(), what, wrapped).ok_or_else(damaged)?;
        let data_key: [u8; 32] = data_key.expose().as_slice().try_into().map_err(|_| damaged())?;
        decrypt(&data_key, what, sealed).ok_or_else(damaged)
    }
}

fn key(bytes: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

fn encrypt(with: &[u8; 32], what: &str, payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce = random::<NONCE_LEN>()?;
    let mut sealed = payload.to_vec();
    key(with)
        .and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::from(what.as_bytes()), &mut sealed).ok()
        })
        .ok_or_else(|| SealError::Damaged { what: what.into() })?;
    let mut out = nonce.to_vec();
    out.append(&mut sealed);
    Ok(out)
}

fn decrypt(with: &[u8; 32], what: &str, sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut buffer = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key(with)?.open_in_place(nonce, Aad::from(what.as_bytes()), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(Secret::new(buffer))
}

fn hex(key_id: [u8; KEY_ID_BYTES]) -> String {
    format!("{:016x}", u64::from_be_bytes(key_id))
}
