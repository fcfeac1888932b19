//! Where a webhook is sent, and its key: sealed where it is kept.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use seaworthy_model::Secret;
use serde::{Deserialize, Serialize};

use crate::limit;

/// Bytes of a key: as many as the output of SHA-256.
const KEY_BYTES: usize = 32;

/// `https`, or `http` for this machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// An address that webhooks can be sent to. Its path and query may be somebody's secret, and are
/// never shown.
#[derive(Clone)]
pub struct Address {
    uri: Uri,
    pub(super) scheme: Scheme,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a text is no address that webhooks can be sent to.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Too long.
    #[error("the address is longer than {} bytes", crate::limit::URL_BYTES)]
    TooLong,
    /// Not a URL with a host.
    #[error("the address is not a URL like `https://hooks.example.com/seaworthy`")]
    Form,
    /// Neither `https` nor `http`.
    #[error("the address begins neither with `https://` nor, for this machine itself, with `http://`")]
    Scheme,
    /// It has a user and a password in it.
    #[error("the address has a user name in it: receivers know us by the signature")]
    User,
}

impl Address {
    /// Reads `https://host[:port]/path?query`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > limit::URL_BYTES {
            return Err(AddressError::TooLong);
        }
        // `Uri` would leave the fragment out, and a receiver would not get what was typed.
        if text.contains('#') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AddressError::Form);
        }
        let uri: Uri = text.parse().map_err(|_| AddressError::Form)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) => return Err(AddressError::Scheme),
            None => return Err(AddressError::Form),
        };
        let authority = uri.authority().ok_or(AddressError::Form)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::User);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // `Uri` takes a port that is none for no port at all.
        let behind = authority.as_str().strip_prefix(authority.host()).ok_or(AddressError::Form)?;
        let port = match (behind.strip_prefix(':'), scheme) {
            (Some(port), _) => port.parse().map_err(|_| AddressError::Form)?,
            (None, _) if !behind.is_empty() => return Err(AddressError::Form),
            (None, Scheme::Https) => 443,
            (None, Scheme::Http) => 80,
        };
        if host.is_empty() || port == 0 {
            return Err(AddressError::Form);
        }
        Ok(Self { uri, scheme, host, port })
    }

    /// What people see of it: scheme and host.
    pub fn shown(&self) -> String {
        format!("{}://{}", self.uri.scheme_str().unwrap_or_default(), self.authority())
    }

    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |it| it.as_str())
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |it| it.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The key that messages to one target are signed with.
#[derive(Clone, Debug)]
pub struct Key(Secret<Vec<u8>>);

impl Key {
    /// A new key.
    pub fn generate() -> Result<Self, seaworthy_seal::SealError> {
        Ok(Self(Secret::new(seaworthy_seal::random::<KEY_BYTES>()?.to_vec())))
    }

    /// As receivers are given it (Standard Webhooks 1.0.0, "Signature scheme").
    pub fn told(&self) -> Secret<String> {
        Secret::new(format!("whsec_{}", STANDARD.encode(self.0.expose())))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose()
    }
}

/// An address and the key for it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// Signed with.
    pub key: Key,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    key: String,
}

impl Endpoint {
    /// What is to be sealed.
    pub fn keep(&self) -> Secret<Vec<u8>> {
        let kept = Kept { url: self.address.uri.to_string(), key: STANDARD.encode(self.key.bytes()) };
        Secret::new(serde_json::to_vec(&kept).unwrap_or_default())
    }

    /// What was sealed; `None` when it is something else.
    pub fn of(kept: &Secret<Vec<u8>>) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(kept.expose()).ok()?;
        let key = Key(Secret::new(STANDARD.decode(kept.key).ok()?));
        Some(Self { address: Address::parse(&kept.url).ok()?, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_without_surprises() {
        for (text, shown, host, port, path) in [
            (
                "https://hooks.example.com/a?b=c",
                "https://hooks.example.com",
                "hooks.example.com",
                443,
                "/a?b=c",
            ),
            ("https://h.example:8443", "https://h.example:8443", "h.example", 8443, "/"),
            ("http://127.0.0.1:99/x", "http://127.0.0.1:99", "127.0.0.1", 99, "/x"),
            ("https://[::1]:7/x", "https://[::1]:7", "::1", 7, "/x"),
            ("HTTPS://h.example/x", "https://h.example", "h.example", 443, "/x"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!((address.shown().as_str(), address.host.as_str()), (shown, host), "{text}");
            assert_eq!((address.port, address.path()), (port, path), "{text}");
            assert_eq!(format!("{address:?}"), shown, "nothing behind the host is shown");
        }
        for bad in [
            "",
            "hooks.example.com",
            "/x",
            "https://",
            "https:///x",
            "https://h/#part",
            "https://h/ x",
            "https://h/\n",
            "https://例え/x",
            "https://h:0/",
            "https://h:/",
            "https://h:99999/",
            "https://h\\@i/",
        ] {
            assert_eq!(Address::parse(bad).err(), Some(AddressError::Form), "{bad}");
        }
        assert_eq!(Address::parse("ftp://h/x").err(), Some(AddressError::Scheme));
        assert_eq!(Address::parse("https://u:p@h/x").err(), Some(AddressError::User));
        let long = |bytes: usize| format!("https://h/{}", "a".repeat(bytes - 10));
        assert!(Address::parse(&long(limit::URL_BYTES)).is_ok());
        assert_eq!(Address::parse(&long(limit::URL_BYTES + 1)).err(), Some(AddressError::TooLong));
    }

    #[test]
    fn what_is_kept_is_read_again_and_never_printed() {
        let address = Address::parse("https://h.example/secret-path").expect("an address");
        let endpoint = Endpoint { address, key: Key::generate().expect("random") };
        let again = Endpoint::of(&endpoint.keep()).expect("the same");
        assert_eq!((again.address.path(), again.key.bytes()), ("/secret-path", endpoint.key.bytes()));
        let told = endpoint.key.told();
        assert!(told.expose().starts_with("whsec_") && told.expose().len() == 6 + 44, "{}", told.expose());
        assert_ne!(Key::generate().expect("random").bytes(), endpoint.key.bytes());
        assert!(!format!("{endpoint:?}").contains("secret-path"));
        assert!(Endpoint::of(&Secret::new(b"{}".to_vec())).is_none());
    }
}
