//! Other registries, as caches and replications name them, and who we are there.

use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Network, Problem, Scope, Secret};
use seaworthy_oci::RepoName;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{HostName, Origin, Registry, RegistryError, UpstreamAccess, limit, upstream::Login};

/// Registries by the names that images have: host, token services, what `ns=` calls them.
pub(crate) const KNOWN: &[(&str, &str, &[&str])] = &[
    ("docker.io", "https://registry-1.docker.io", &["auth.docker.io"]),
    ("ghcr.io", "https://ghcr.io", &[]),
    ("quay.io", "https://quay.io", &[]),
    ("registry.gitlab.com", "https://registry.gitlab.com", &["gitlab.com"]),
    ("mcr.microsoft.com", "https://mcr.microsoft.com", &[]),
    ("registry.k8s.io", "https://registry.k8s.io", &[]),
    ("public.ecr.aws", "https://public.ecr.aws", &[]),
];

/// The name of a registry that is known, if this is one.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    KNOWN.iter().map(|(known, ..)| *known).find(|known| *known == name)
}

/// A registry by an address or a known name.
pub(crate) struct Far {
    pub(crate) origin: Origin,
    /// Hosts of token services, those that are known of it included.
    pub(crate) realms: Vec<HostName>,
    /// What images call it, if that is known.
    pub(crate) name: Option<HostName>,
}

impl Far {
    /// The registry that `text` names, which may be in `networks`.
    pub(crate) fn named(text: &str, realms: &[HostName], networks: &[Network]) -> Result<Self, Problem> {
        let known = KNOWN.iter().find(|(name, ..)| *name == text);
        let origin: Origin = known.map_or(text, |(_, origin, _)| origin).parse()?;
        if origin.is_plain && networks.is_empty() {
            let message = format!("plain HTTP to `{}` is for a network that is named", origin.host);
            return Err(Problem::new(ErrorCode::Invalid, message)
                .hint("use https, or name the network with `--allow-network`"));
        }
        let mut realms = realms.to_vec();
        for realm in known.into_iter().flat_map(|(.., realms)| realms.iter()) {
            let realm: HostName = realm.parse()?;
            if !realms.contains(&realm) {
                realms.push(realm);
            }
        }
        let name = known.map(|(name, ..)| name.parse()).transpose()?;
        Ok(Self { origin, realms, name })
    }
}

/// What repositories' names begin with there; empty: nothing.
pub(crate) fn prefix(text: &str) -> Result<Option<RepoName>, Problem> {
    let wrong = |error: seaworthy_oci::ReferenceError| Problem::new(ErrorCode::Invalid, error.to_string());
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(wrong) }
}

/// Refuses more hosts or networks of one kind than [`limit::CACHE_NAMES`].
pub(crate) fn check_names(counts: &[usize]) -> Result<(), Problem> {
    if counts.iter().all(|count| *count <= limit::CACHE_NAMES) {
        return Ok(());
    }
    let message = format!("more than {} hosts or networks of one kind", limit::CACHE_NAMES);
    Err(Problem::new(ErrorCode::TooLarge, message))
}

/// Refuses what no header can carry.
pub(crate) fn check_login(username: Option<&str>, password: Option<&Secret<String>>) -> Result<(), Problem> {
    let invalid = |message: &str| Problem::new(ErrorCode::Invalid, message.to_owned());
    match (username, password) {
        (None, None) => Ok(()),
        (Some(name), Some(password)) => {
            if name.len().max(password.expose().len()) > limit::LOGIN_BYTES {
                let message = format!("the user name or password has more than {} bytes", limit::LOGIN_BYTES);
                return Err(Problem::new(ErrorCode::TooLarge, message));
            }
            let is_bad = |letter: char| letter.is_control();
            if name.is_empty()
                || password.expose().is_empty()
                || name.contains(':')
                || name.contains(is_bad)
                || password.expose().contains(is_bad)
            {
                return Err(invalid("the user name or password has letters that none has"));
            }
            Ok(())
        }
        _ => Err(invalid("a user name and a password go together")),
    }
}

/// A secret in a request's body.
pub(crate) fn secret<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::new))
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    username: String,
    password: String,
}

impl UpstreamAccess {
    /// Without what cannot be opened any more the registry is asked as nobody, and says what it lacks.
    pub(crate) fn login(&self, sealed_for: &str, sealed: Option<&[u8]>) -> Option<Login> {
        match self.seal.unwrap(sealed_for, sealed?) {
            Ok(kept) => {
                let kept: Kept = serde_json::from_slice(kept.expose()).ok()?;
                Some(Login { username: kept.username, password: Secret::new(kept.password) })
            }
            Err(error) => {
                let reason = seaworthy_store::chain(&error);
                tracing::error!(of = sealed_for, reason, "a password cannot be opened");
                None
            }
        }
    }
}

impl Registry {
    /// Into networks behind our walls the owner lets the server send, not who rules a prefix.
    pub(crate) async fn may_reach(
        &self,
        identity: &Identity,
        networks: &[Network],
    ) -> Result<(), RegistryError> {
        let (permission, root) = (Permission::AlertNetwork, Scope::root());
        if networks.is_empty() || self.access().allows(identity, permission, &root).await? {
            return Ok(());
        }
        let message = format!("`{permission}` at `{root}` is not permitted to `{}`", identity.actor.name);
        let hint = format!("run `seaworthy access explain {} {permission} {root}`", identity.actor.name);
        Err(Problem::new(ErrorCode::Denied, message).hint(hint).into())
    }

    /// A user name and password, sealed for what they are for alone.
    pub(crate) fn seal_login(
        &self,
        sealed_for: &str,
        username: Option<&str>,
        password: Option<&Secret<String>>,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let (Some(username), Some(password)) = (username, password) else { return Ok(None) };
        let kept = Kept { username: username.to_owned(), password: password.expose().clone() };
        let kept = Secret::new(serde_json::to_vec(&kept).unwrap_or_default());
        Ok(Some(self.inner.config.upstreams.seal.wrap(sealed_for, kept.expose())?))
    }
}
