use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use seaworthy_model::{CredentialId, PrincipalId, Secret, Timestamp};
use seaworthy_oci::Digest;
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use crate::AccessError;

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A service principal's long-lived secret.
    ClientSecret,
    /// A `login --docker` password of 12 hours.
    Login,
}

impl CredentialKind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ClientSecret => "client_secret",
            Self::Login => "login",
        }
    }
}

impl FromStr for CredentialKind {
    type Err = AccessError;

    fn from_str(word: &str) -> Result<Self, AccessError> {
        match word {
            "client_secret" => Ok(Self::ClientSecret),
            "login" => Ok(Self::Login),
            _ => Err(AccessError::Unreadable { what: "kind of a credential" }),
        }
    }
}

/// A long-lived proof, without the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is.
    pub principal: PrincipalId,
    /// What it is for.
    pub kind: CredentialKind,
    /// A word to know it by.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the secret. The secret has 256 random bits, so a slow hash would add nothing.
    #[serde(skip)]
    pub(crate) hash: Vec<u8>,
}

impl Credential {
    /// True when `secret` is this credential's and it has not ended.
    pub(crate) fn accepts(&self, secret: &str, now: Timestamp) -> bool {
        let fits: bool = hash_of(secret).as_slice().ct_eq(&self.hash).into();
        fits && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A new credential and its secret, shown once.
#[derive(Debug)]
pub struct NewCredential {
    /// The credential.
    pub credential: Credential,
    /// The secret.
    pub secret: Secret<String>,
}

/// A secret of 256 random bits: a prefix and base64url, so that secret scanners know it. `sws_` is
/// a client secret, `swl_` a one-time link, `swc_` the cookie of a session.
pub(crate) fn generate_secret(prefix: &'static str) -> Result<Secret<String>, AccessError> {
    let random = seaworthy_seal::random::<32>()?;
    Ok(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random))))
}

pub(crate) fn hash_of(secret: &str) -> Vec<u8> {
    Digest::sha256(secret.as_bytes()).hash().to_vec()
}
