use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use seaworthy_model::{HostId, Secret};
use serde::{Deserialize, Serialize};

use crate::limit;

/// The name in the certificate that the control plane shows to agents, whatever its address is. It is
/// asked for by SNI (RFC 6066 section 3) and issued by the local CA alone, which an agent pins when it joins.
pub const CONTROL_PLANE: &str = "control-plane.seaworthy.internal";

/// What brings a host into the fleet, once: whom to believe, and a secret.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// SHA-256 of the certificate of the control plane's CA, in DER.
    pub ca: [u8; 32],
    /// 32 random bytes.
    pub secret: Secret<[u8; 32]>,
}

/// A text that is no join token. It is not repeated: it may be most of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a join token")]
pub struct BadJoinToken;

impl JoinToken {
    /// `swj_` and 86 characters of base64url (RFC 4648 section 5).
    pub fn text(&self) -> Secret<String> {
        let bytes = [self.ca.as_slice(), self.secret.expose()].concat();
        Secret::new(format!("swj_{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl FromStr for JoinToken {
    type Err = BadJoinToken;

    fn from_str(text: &str) -> Result<Self, BadJoinToken> {
        let text = text.strip_prefix("swj_").filter(|text| text.len() <= limit::JOIN_TOKEN_CHARS);
        let bytes = URL_SAFE_NO_PAD.decode(text.ok_or(BadJoinToken)?).map_err(|_| BadJoinToken)?;
        let (ca, secret) = bytes.split_first_chunk::<32>().ok_or(BadJoinToken)?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| BadJoinToken)?;
        Ok(Self { ca: *ca, secret: Secret::new(secret) })
    }
}

/// What a host asks for with its token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The token.
    pub token: String,
    /// What the host calls itself; a name given with the token counts instead.
    pub name: String,
    /// PEM of a certificate signing request (PKCS #10, RFC 2986) with the host's key. Only its key and
    /// the proof that the host has it are used.
    pub request: String,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a host gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Its id.
    pub host: HostId,
    /// Its name in the fleet.
    pub name: String,
    /// PEM of its certificate.
    pub certificate: String,
    /// PEM of the CA's certificate.
    pub ca: String,
}

/// Images of a host that nobody knows, and that it may read itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unread {
    /// Ids, as its engine calls them.
    pub images: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest name that is allowed, in its longest writing, beside any signing request.
    #[test]
    fn a_request_to_join_fits_its_limit() {
        let token = format!("swj_{}", "x".repeat(limit::JOIN_TOKEN_CHARS));
        let join = Join { token, name: "\u{1}".repeat(255), request: "x".repeat(4_096) };
        assert!(serde_json::to_vec(&join).expect("JSON").len() < limit::JOIN_BYTES);
        const { assert!(limit::UNREAD * 128 <= 64 * 1_024, "an agent reads no longer answer") };
    }

    #[test]
    fn a_token_is_read_as_written_and_nothing_else_is_one() {
        let token = JoinToken { ca: [7; 32], secret: Secret::new([9; 32]) };
        let text = token.text().expose().clone();
        assert_eq!(text.len(), 4 + limit::JOIN_TOKEN_CHARS);
        let read: JoinToken = text.parse().expect("a token");
        assert_eq!((read.ca, read.secret.expose()), ([7; 32], &[9; 32]));
        assert!(!format!("{read:?}").contains("9, 9"), "{read:?}");
        for bad in ["", "swj_", "swj_AAAA", &text[4..], &text[..text.len() - 1], &format!("{text}A"), "swj_é"]
        {
            assert_eq!(bad.parse::<JoinToken>().err(), Some(BadJoinToken), "{bad}");
        }
    }
}
