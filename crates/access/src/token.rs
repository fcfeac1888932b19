//! Access tokens: JWT (RFC 7519), ES256 (RFC 7518 §3.4), in the claim shape of the
//! distribution spec's token authentication.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use seaworthy_model::{PrincipalId, Scope, Secret, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{AccessError, Permission, limit};

/// One resource a token is for, as the distribution spec writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceAccess {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Repository name, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete`, or `*`.
    pub actions: Vec<String>,
}

impl ResourceAccess {
    /// What makes a token one that can be exchanged for a refresh token, and of no other use.
    pub fn exchange() -> Self {
        Self { kind: "registry".to_owned(), name: "exchange".to_owned(), actions: vec!["*".to_owned()] }
    }

    pub(crate) fn is_exchange(&self) -> bool {
        self.kind == "registry" && self.name == "exchange"
    }

    /// The one repository where the token may be used for `permission`.
    pub(crate) fn repository_of(&self, permission: Permission) -> Option<Scope> {
        let scope = format!("/repositories/{}", self.name).parse().ok()?;
        self.covers(permission, &scope).then_some(scope)
    }

    /// True when the token may be used for `permission` at `scope`.
    pub(crate) fn covers(&self, permission: Permission, scope: &Scope) -> bool {
        let action = match permission {
            // What a repository's clearance says is part of pulling from it.
            Permission::Pull | Permission::Quarantine | Permission::ClearanceRead => "pull",
            // Clients of Azure's registry that ask for one word of their own get it.
            Permission::MetadataRead => "metadata_read",
            // What was found out in quarantine is written among the attributes of a manifest.
            Permission::MetadataWrite | Permission::QuarantineWrite => "metadata_write",
            Permission::Push => "push",
            Permission::Delete => "delete",
            Permission::Catalog => return self.kind == "registry" && self.name == "catalog",
            _ => return false,
        };
        self.kind == "repository"
            && scope.as_str().strip_prefix("/repositories/") == Some(self.name.as_str())
            && self.actions.iter().any(|granted| granted == action)
    }
}

impl fmt::Display for ResourceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

/// One `scope` parameter of a token request: `repository:prod/web:pull,push`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerScope {
    /// What is asked for.
    pub access: ResourceAccess,
}

impl DockerScope {
    /// Reads a parameter, which may hold several scopes separated by spaces. What is not a scope
    /// is left out: a token request never fails over it (distribution spec, token authentication).
    pub fn parse_all<'s>(parameters: impl Iterator<Item = &'s str>) -> Vec<Self> {
        parameters.flat_map(str::split_whitespace).filter_map(Self::parse).take(limit::TOKEN_SCOPES).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` and other classes are Docker Hub's.
        if !matches!(kind, "repository" | "registry") {
            return None;
        }
        let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        Some(Self { access: ResourceAccess { kind: kind.to_owned(), name: name.to_owned(), actions } })
    }
}

/// What a verified token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: PrincipalId,
    pub(crate) exp: i64,
    pub(crate) nbf: i64,
    pub(crate) iat: i64,
    pub(crate) jti: String,
    /// The principal's epoch when the token was issued.
    pub(crate) epoch: i64,
    pub(crate) access: Vec<ResourceAccess>,
    /// When the secret ends that it was bought with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret_ends: Option<i64>,
}

/// A signed token.
#[derive(Debug)]
pub struct Token {
    /// The compact JWT.
    pub token: Secret<String>,
    /// Seconds until it ends.
    pub expires_in: i64,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// What was granted of what was asked for.
    pub access: Vec<ResourceAccess>,
}

impl Token {
    /// What was granted as a list of scopes: `repository:prod/web:pull registry:catalog:*`.
    pub fn scope(&self) -> String {
        self.access.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Signs and checks tokens.
pub(crate) struct TokenKey {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
}

const HEADER: &str = r#"{"alg":"ES256","typ":"JWT"}"#;

/// True when a token with these claims is no longer than [`limit::TOKEN_BYTES`], which [`TokenKey::open`] takes.
pub(crate) fn fits(claims: &impl Serialize) -> bool {
    // The header, the signature of 64 bytes, and two dots.
    let rest = (HEADER.len() + 64).div_ceil(3) * 4 + 4;
    let payload = serde_json::to_vec(claims).map_or(usize::MAX, |payload| payload.len());
    payload.div_ceil(3).saturating_mul(4).saturating_add(rest) <= limit::TOKEN_BYTES
}

impl TokenKey {
    /// A new key, as PKCS #8.
    pub(crate) fn generate() -> Result<Vec<u8>, AccessError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| AccessError::Unreadable { what: "new token key" })?;
        Ok(document.as_ref().to_vec())
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, AccessError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| AccessError::Unreadable { what: "token key" })?;
        let public = pair.public_key().as_ref().to_vec();
        Ok(Self { pair, public })
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<Secret<String>, AccessError> {
        let unsignable = || AccessError::Unreadable { what: "token" };
        let payload = serde_json::to_vec(claims).map_err(|_| unsignable())?;
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| unsignable())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::new(token))
    }

    /// The claims of a token signed by this key. The header must be byte for byte ours: a token
    /// never chooses its own algorithm.
    pub(crate) fn open<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        if token.len() > limit::TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if URL_SAFE_NO_PAD.decode(header).ok()? != HEADER.as_bytes() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scopes_as_clients_send_them() {
        let parse = |text: &str| {
            DockerScope::parse_all(std::iter::once(text))
                .into_iter()
                .map(|scope| {
                    format!("{}|{}|{}", scope.access.kind, scope.access.name, scope.access.actions.join("+"))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(parse("repository:a/b:pull,push"), ["repository|a/b|pull+push"]);
        assert_eq!(parse("repository:a:pull repository:b:*"), ["repository|a|pull", "repository|b|*"]);
        assert_eq!(parse("registry:catalog:*"), ["registry|catalog|*"]);
        assert!(parse("repository(plugin):a:pull nonsense :: ").is_empty());
        let many = "repository:a:pull ".repeat(limit::TOKEN_SCOPES + 1);
        assert_eq!(parse(&many).len(), limit::TOKEN_SCOPES);
    }

    fn key() -> TokenKey {
        TokenKey::from_pkcs8(&TokenKey::generate().expect("key")).expect("key")
    }

    fn claims() -> Claims {
        Claims {
            iss: "seaworthy".into(),
            aud: "registry".into(),
            sub: PrincipalId::from_u128(7),
            exp: 2_000,
            nbf: 1_000,
            iat: 1_000,
            jti: "x".into(),
            epoch: 1,
            access: vec![],
            secret_ends: None,
        }
    }

    #[test]
    fn tokens_of_other_keys_algorithms_and_headers_are_refused() {
        let (ours, theirs) = (key(), key());
        let token = ours.sign(&claims()).expect("signed");
        assert!(ours.open::<Claims>(token.expose()).is_some());
        assert!(theirs.open::<Claims>(token.expose()).is_none());
        let payload = token.expose().split('.').nth(1).expect("payload").to_owned();
        let none = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert!(ours.open::<Claims>(&none).is_none());
        assert!(ours.open::<Claims>(&"a".repeat(limit::TOKEN_BYTES + 1)).is_none());
    }

    proptest! {
        #[test]
        fn a_changed_character_is_refused(at: prop::sample::Index) {
            let key = key();
            let token = key.sign(&claims()).expect("signed");
            let mut bytes = token.expose().clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ascii");
            prop_assert!(key.open::<Claims>(&changed).is_none());
        }

        #[test]
        fn hostile_tokens_do_not_panic(text: String) {
            prop_assert!(key().open::<Claims>(&text).is_none());
        }
    }
}
