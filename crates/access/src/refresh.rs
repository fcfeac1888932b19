//! Refresh tokens: what Azure's clients trade a proof for once, and then trade for access tokens,
//! one for each thing they do; and the one user name that all of them share.
//!
//! A refresh token stands for its principal at the registry and nowhere else, and only a secret
//! makes one: no token prolongs itself.

use seaworthy_model::{AuthMethod, CredentialId, PrincipalId, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Access, AccessError, Identity, access::actor_of, db, decision::Rights, limit, token::ResourceAccess,
};

/// The user name that comes with a refresh token as the password (`docker login`).
pub const REFRESH_USER: &str = "00000000-0000-0000-0000-000000000000";

/// What a refresh token says. It has no `access`, so that it is never read as an access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefreshClaims {
    iss: String,
    aud: String,
    sub: PrincipalId,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    epoch: i64,
    grant_type: String,
    permissions: Permissions,
}

/// For clients that look: what is really permitted is decided when the token is used.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Permissions {
    actions: Vec<String>,
}

const GRANT: &str = "refresh_token";

impl Access {
    /// Who shows an access token that may be exchanged for a refresh token.
    pub async fn authenticate_exchange(
        &self,
        token: &str,
        source: Option<String>,
    ) -> Result<Identity, AccessError> {
        let mut identity = self.authenticate_token(token, source).await?;
        match identity.rights {
            Rights::Token(id, access) if access.iter().any(ResourceAccess::is_exchange) => {
                identity.rights = Rights::Principal(id);
                // The secret's proof, said by the token that it bought.
                identity.actor.method = AuthMethod::ClientSecret;
                identity.ends = identity.secret_ends;
                Ok(identity)
            }
            _ => Err(AccessError::BadCredential),
        }
    }

    /// Issues a refresh token to who proved a secret. It ends with that, and with the last of its principal, if that is
    /// sooner.
    pub async fn issue_refresh_token(&self, identity: &Identity) -> Result<Secret<String>, AccessError> {
        let sub = identity.principal().filter(|_| identity.has_secret()).ok_or(AccessError::BadCredential)?;
        let snapshot = self.snapshot().await?;
        let principal = snapshot.principals.get(&sub).ok_or(AccessError::BadCredential)?;
        let now = self.inner.clock.now().as_seconds();
        let held = db::credentials(&self.inner.db, sub).await?;
        let ends = held.iter().map(|it| it.expires_at.map_or(i64::MAX, Timestamp::as_seconds)).max();
        let proved = identity.ends.map_or(i64::MAX, Timestamp::as_seconds);
        let ends = ends.filter(|ends| now < (*ends).min(proved)).ok_or(AccessError::BadCredential)?;
        let claims = RefreshClaims {
            iss: self.service().to_owned(),
            aud: self.service().to_owned(),
            sub,
            exp: ends.min(proved).min(now + limit::REFRESH_SECONDS),
            nbf: now - 60,
            iat: now,
            jti: CredentialId::generate().to_string(),
            epoch: principal.epoch,
            grant_type: GRANT.to_owned(),
            permissions: Permissions { actions: ["read", "write", "delete"].map(str::to_owned).to_vec() },
        };
        let token = self.inner.key.sign(&claims)?;
        // Azure's Python client decodes the payload with the standard alphabet of base64.
        let payload = token.expose().split('.').nth(1).unwrap_or_default();
        if payload.contains(['-', '_']) {
            return Err(AccessError::Unreadable { what: "refresh token" });
        }
        Ok(token)
    }

    /// Checks a refresh token: signature, times, audience, and that nothing about its principal
    /// changed since it was issued. It costs no look at the database of one server.
    pub async fn authenticate_refresh(
        &self,
        token: &str,
        source: Option<String>,
    ) -> Result<Identity, AccessError> {
        let claims: RefreshClaims = self.inner.key.open(token).ok_or(AccessError::BadCredential)?;
        let now = self.inner.clock.now().as_seconds();
        let in_time = claims.nbf <= now && now < claims.exp;
        let ours = claims.aud == self.service() && claims.iss == self.service();
        if !in_time || !ours || claims.grant_type != GRANT {
            return Err(AccessError::BadCredential);
        }
        let snapshot = self.snapshot().await?;
        let principal = snapshot
            .principals
            .get(&claims.sub)
            .filter(|principal| !principal.disabled && principal.epoch == claims.epoch)
            .ok_or(AccessError::BadCredential)?;
        let actor = actor_of(principal, AuthMethod::Token, source);
        let ends = Some(Timestamp::from_seconds(claims.exp));
        let identity = Identity::new(actor, Rights::Refresh(principal.id)).at_epoch(principal.epoch);
        Ok(Identity { ends, ..identity })
    }
}
