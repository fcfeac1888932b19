use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, CredentialId, PrincipalId, Secret, Timestamp};
use seaworthy_oci::Digest;
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::{Access, AccessError, Principal, db, limit};

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

impl Access {
    /// A moment so many days ahead.
    pub(crate) fn in_days(&self, days: u32) -> Result<Timestamp, AccessError> {
        if !(1..=limit::SECRET_DAYS).contains(&days) {
            return Err(AccessError::SecretDays { limit: limit::SECRET_DAYS });
        }
        Ok(self.inner.clock.now().plus_seconds(i64::from(days) * 24 * 3600))
    }

    /// Adds a client secret; a principal has at most [`limit::CLIENT_SECRETS`].
    pub async fn add_secret(
        &self,
        actor: &Actor,
        principal: &Principal,
        label: &str,
    ) -> Result<NewCredential, AccessError> {
        self.add_secret_for(actor, principal, label, None).await
    }

    /// [`Access::add_secret`], for so many days.
    pub async fn add_secret_for(
        &self,
        actor: &Actor,
        principal: &Principal,
        label: &str,
        days: Option<u32>,
    ) -> Result<NewCredential, AccessError> {
        if principal.name.is_anonymous() {
            return Err(AccessError::BadName { name: principal.name.to_string() });
        }
        let mut new = self.new_credential(principal.id, CredentialKind::ClientSecret, label)?;
        new.credential.expires_at = days.map(|days| self.in_days(days)).transpose()?;
        self.store_credential(actor, principal, &new).await?;
        Ok(new)
    }

    /// Adds a login of 12 hours; beyond [`limit::LOGINS`] the oldest gives way.
    pub async fn add_login(
        &self,
        actor: &Actor,
        principal: &Principal,
        label: &str,
    ) -> Result<NewCredential, AccessError> {
        let new = self.new_credential(principal.id, CredentialKind::Login, label)?;
        self.store_credential(actor, principal, &new).await?;
        Ok(new)
    }

    pub(crate) fn new_credential(
        &self,
        principal: PrincipalId,
        kind: CredentialKind,
        label: &str,
    ) -> Result<NewCredential, AccessError> {
        let secret = generate_secret("sws_")?;
        let created_at = self.inner.clock.now();
        let expires_at =
            (kind == CredentialKind::Login).then(|| created_at.plus_seconds(limit::LOGIN_SECONDS));
        let credential = Credential {
            id: CredentialId::generate(),
            principal,
            kind,
            label: label.chars().take(limit::NAME_BYTES).collect(),
            created_at,
            expires_at,
            hash: hash_of(secret.expose()),
        };
        Ok(NewCredential { credential, secret })
    }

    async fn store_credential(
        &self,
        actor: &Actor,
        principal: &Principal,
        new: &NewCredential,
    ) -> Result<(), AccessError> {
        let context = (principal.name.to_string(), new.credential.clone());
        seaworthy_ledger::write(&self.inner.db, actor, context, |(name, credential), tx| {
            Box::pin(async move {
                let kind = credential.kind;
                let live = db::live_credentials(tx, credential.principal, kind.word(), credential.created_at)
                    .await?;
                match kind {
                    CredentialKind::ClientSecret if live.len() >= limit::CLIENT_SECRETS => {
                        let limit = limit::CLIENT_SECRETS;
                        return Err(AccessError::TooMany {
                            name: name.clone(),
                            kind: "client secrets",
                            limit,
                        });
                    }
                    CredentialKind::Login if live.len() >= limit::LOGINS => {
                        if let Some(oldest) = live.first() {
                            db::delete_credential(tx, credential.principal, *oldest).await?;
                            db::bump(tx, None).await?;
                        }
                    }
                    _ => {}
                }
                db::insert_credential(tx, credential).await?;
                let act = Act::new(Action::CredentialAdd, format!("principals/{name}")).details(
                    json!({"credential": credential.id, "kind": kind, "expires_at": credential.expires_at}),
                );
                Ok::<_, AccessError>(((), vec![act]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }

    /// Removes a credential. Tokens issued with it end at their next request.
    pub async fn remove_credential(
        &self,
        actor: &Actor,
        principal: &Principal,
        id: CredentialId,
    ) -> Result<(), AccessError> {
        let context = (principal.clone(), id);
        seaworthy_ledger::write(&self.inner.db, actor, context, |(principal, id), tx| {
            Box::pin(async move {
                if !db::delete_credential(tx, principal.id, *id).await? {
                    return Err(AccessError::Unknown { kind: "credential", name: id.to_string() });
                }
                db::bump(tx, Some(principal.id)).await?;
                let act = Act::new(Action::CredentialRemove, format!("principals/{}", principal.name))
                    .details(json!({"credential": id}));
                Ok(((), vec![act]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }
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
