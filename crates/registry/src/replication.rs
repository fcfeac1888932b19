//! Replications: what is at and below a prefix is pushed to another registry, and kept as it is here.
//!
//! A tag that moves leaves a row in the transaction that moves it; whoever works on it looks at what the tag is
//! then, not at what it was. Nothing is sent that the gate does not let a client pull.

mod send;
mod trouble;
mod work;

use std::{fmt, str::FromStr};

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Network, Problem, Secret, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::Tx;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use self::work::Sending;
use crate::{
    HostName, Origin, Prefix, Registry, RegistryError, TagPattern,
    db::{self, ReplicationRow},
    limit,
    path::ManifestName,
    remote::{self, Far},
};

/// Rings when something is to be sent.
pub(crate) const BELL: &str = "replication";

/// What a replication is called: letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplicationName(String);

impl ReplicationName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReplicationName {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > limit::REPLICATION_NAME_BYTES || !text.bytes().all(known) {
            let shown: String = text.chars().take(100).collect();
            let message = format!("`{}` is no name of a replication", shown.escape_debug());
            return Err(
                Problem::new(ErrorCode::Invalid, message).hint("write letters and digits, such as `edge`")
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ReplicationName {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<ReplicationName> for String {
    fn from(name: ReplicationName) -> Self {
        name.0
    }
}

/// What is known of a replication, but for its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicationSettings {
    /// What it is called.
    pub name: ReplicationName,
    /// Which repositories.
    pub prefix: Prefix,
    /// Where they are copied to.
    pub to: Origin,
    /// What their names begin with there, instead of `prefix`.
    pub remote_prefix: Option<RepoName>,
    /// Which tags; none: all.
    pub tags: Vec<TagPattern>,
    /// Whether a tag that is deleted here is deleted there.
    pub deletions: bool,
    /// Hosts of token services, besides the registry itself.
    pub realms: Vec<HostName>,
    /// Who we are there.
    pub username: Option<String>,
    /// Networks that the registry may be in, besides the internet.
    pub networks: Vec<Network>,
}

/// A replication as somebody wants it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReplication {
    /// What it is called.
    pub name: ReplicationName,
    /// Which repositories.
    pub prefix: Prefix,
    /// `https://registry.example.com`, or the name of one that is known, such as `ghcr.io`.
    pub to: String,
    /// What their names begin with there, instead of `prefix`; empty: they keep their names.
    #[serde(default)]
    pub remote_prefix: String,
    /// Which tags; none: all.
    #[serde(default)]
    pub tags: Vec<TagPattern>,
    /// Whether a tag that is deleted here is deleted there.
    #[serde(default)]
    pub deletions: bool,
    /// Hosts of token services, besides what is known.
    #[serde(default)]
    pub realms: Vec<HostName>,
    /// Who we are there.
    pub username: Option<String>,
    /// And how we show it.
    #[serde(default, deserialize_with = "remote::secret")]
    pub password: Option<Secret<String>>,
    /// Networks that the registry may be in.
    #[serde(default)]
    pub networks: Vec<Network>,
}

impl fmt::Debug for NewReplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewReplication").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A replication, and how far it is behind.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicationShown {
    /// What it does.
    #[serde(flatten)]
    pub settings: ReplicationSettings,
    /// Names that are not there as they are here.
    pub waiting: u64,
    /// Those of them that failed at least once.
    pub failed: u64,
    /// Whether its tags are still being looked through.
    #[serde(rename = "seeding")]
    pub is_seeding: bool,
}

/// Something that is to be there as it is here.
#[derive(Clone, Debug, Serialize)]
pub struct Outgoing {
    /// The repository.
    pub repository: RepoName,
    /// A tag, or the digest of what refers to another manifest.
    pub name: String,
    /// When it is looked at next; nothing: it is there.
    pub due: Option<Timestamp>,
    /// Attempts since it changed.
    pub tries: u64,
    /// Why it is not there.
    pub error: Option<String>,
    /// What is there.
    pub digest: Option<Digest>,
    /// Since when.
    pub done_at: Option<Timestamp>,
}

impl NewReplication {
    fn settings(&self) -> Result<ReplicationSettings, Problem> {
        let far = Far::named(&self.to, &self.realms, &self.networks)?;
        let remote_prefix = remote::prefix(&self.remote_prefix)?;
        remote::check_names(&[far.realms.len(), self.networks.len()])?;
        remote::check_login(self.username.as_deref(), self.password.as_ref())?;
        if self.tags.len() > limit::PATTERNS {
            let message = format!("more than {} patterns of tags", limit::PATTERNS);
            return Err(Problem::new(ErrorCode::TooLarge, message));
        }
        Ok(ReplicationSettings {
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            to: far.origin,
            remote_prefix,
            tags: self.tags.clone(),
            deletions: self.deletions,
            realms: far.realms,
            username: self.username.clone(),
            networks: self.networks.clone(),
        })
    }
}

impl ReplicationSettings {
    /// What a repository of ours is called there.
    pub(crate) fn remote(&self, repository: &RepoName) -> Option<RepoName> {
        let Some(remote) = &self.remote_prefix else { return Some(repository.clone()) };
        let rest = repository.as_str().strip_prefix(self.prefix.name())?;
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let name = if rest.is_empty() { remote.to_string() } else { format!("{remote}/{rest}") };
        name.parse().ok()
    }

    /// True of what is to be there.
    pub(crate) fn wants(&self, repository: &RepoName, name: &ManifestName) -> bool {
        let fits = match name {
            ManifestName::Tag(tag) => {
                self.tags.is_empty() || self.tags.iter().any(|pattern| pattern.fits(tag.as_str()))
            }
            // It goes where its subject is.
            ManifestName::Digest(_) => true,
        };
        fits && self.prefix.covers(repository)
    }

    /// True when everything has the same place there.
    pub(crate) fn is_to_same_place(&self, other: &Self) -> bool {
        let is_moved = self.remote_prefix.is_some() && self.prefix != other.prefix;
        self.to == other.to && self.remote_prefix == other.remote_prefix && !is_moved
    }

    /// What its user name and password are sealed for: nobody who writes rows can have them sent elsewhere.
    fn sealed_for(&self) -> String {
        let realms: Vec<&str> = self.realms.iter().map(HostName::as_str).collect();
        format!("registry replication {} to {} by {}", self.name, self.to, realms.join(" "))
    }
}

impl Registry {
    /// The replications of the prefixes that `identity` may read the policies of.
    pub async fn replications(&self, identity: &Identity) -> Result<Vec<ReplicationShown>, RegistryError> {
        let rows = db::replications(self.db()).await?;
        // Afterwards: what was looked through by then is counted.
        let behind = db::behind(self.db()).await?;
        let mut shown = Vec::new();
        for row in rows {
            if !self.may_see_rules(identity, &row.settings.prefix).await? {
                continue;
            }
            let name = row.settings.name.as_str();
            let (waiting, failed) = behind
                .iter()
                .find(|(of, ..)| of == name)
                .map_or((0, 0), |(_, waiting, failed)| (*waiting, *failed));
            shown.push(ReplicationShown {
                settings: row.settings,
                waiting,
                failed,
                is_seeding: row.seed.is_some(),
            });
        }
        Ok(shown)
    }

    /// A page of what a replication sends, in order after (`repository`, `name`): all, or what is not there yet.
    pub async fn outgoing(
        &self,
        identity: &Identity,
        name: &ReplicationName,
        after: (&str, &str),
        is_waiting: bool,
    ) -> Result<Vec<Outgoing>, RegistryError> {
        self.replication_to_see(identity, name).await?;
        Ok(db::outgoing_page(self.db(), name.as_str(), after, is_waiting).await?)
    }

    /// A replication; for who may not see the rules of its prefix there is none.
    async fn replication_to_see(
        &self,
        identity: &Identity,
        name: &ReplicationName,
    ) -> Result<ReplicationRow, RegistryError> {
        let all = db::replications(self.db()).await?;
        match all.into_iter().find(|row| row.settings.name == *name) {
            Some(row) if self.may_see_rules(identity, &row.settings.prefix).await? => Ok(row),
            _ => Err(no_such(name).into()),
        }
    }

    async fn replication_to_rule(
        &self,
        identity: &Identity,
        name: &ReplicationName,
    ) -> Result<ReplicationRow, RegistryError> {
        let row = self.replication_to_see(identity, name).await?;
        self.may_rule(identity, &row.settings.prefix).await?;
        Ok(row)
    }

    async fn may_see_rules(&self, identity: &Identity, prefix: &Prefix) -> Result<bool, RegistryError> {
        Ok(self.access().allows(identity, Permission::PolicyRead, &prefix.scope()?).await?)
    }

    /// Sets a replication, instead of the one that had its name; all tags are then looked at. There are at most
    /// [`limit::REPLICATIONS`]. Who sets it may pull what it sends.
    pub async fn set_replication(
        &self,
        identity: &Identity,
        new: &NewReplication,
    ) -> Result<ReplicationSettings, RegistryError> {
        let settings = new.settings()?;
        self.may_replicate(identity, &settings.prefix).await?;
        // What it sends would be sent again, and so on.
        if let Some(remote) = &settings.remote_prefix
            && self.is_called(&settings.to.authority())
            && remote.as_str() != settings.prefix.name()
            && settings.prefix.covers(remote)
        {
            let message =
                format!("`{remote}` is here, below `{}`: its copies would be copied", settings.prefix);
            return Err(Problem::new(ErrorCode::Invalid, message)
                .hint("name a remote prefix that is not below the prefix, or another registry")
                .into());
        }
        self.may_reach(identity, &settings.networks).await?;
        let all = db::replications(self.db()).await?;
        let before = all.into_iter().find(|row| row.settings.name == settings.name);
        let before = before.map(|row| row.settings.prefix);
        if let Some(prefix) = &before
            && !self.may_see_rules(identity, prefix).await?
        {
            let message = format!("the name `{}` is taken", settings.name);
            return Err(Problem::new(ErrorCode::Conflict, message).hint("choose another one").into());
        }
        if let Some(prefix) = &before {
            self.may_rule(identity, prefix).await?;
        }
        let sealed =
            self.seal_login(&settings.sealed_for(), settings.username.as_deref(), new.password.as_ref())?;
        let changed_at = self.inner.clock.now();
        let row = ReplicationRow { settings: settings.clone(), sealed, changed_at, seed: None };
        seaworthy_ledger::write(self.db(), &identity.actor, (row, before), |(row, before), tx| {
            Box::pin(async move {
                check_same(tx, &row.settings.name, before.as_ref()).await?;
                db::put_replication(tx, row).await?;
                if db::count_replications(tx).await? > limit::REPLICATIONS {
                    let message = format!("there are {} replications already", limit::REPLICATIONS);
                    return Err(RegistryError::from(Problem::new(ErrorCode::TooLarge, message)));
                }
                let act = Act::new(Action::ReplicationSet, object(&row.settings.name));
                Ok(((), vec![act.details(json!(row.settings))]))
            })
        })
        .await?;
        Ok(settings)
    }

    /// Ends a replication. What is there stays.
    pub async fn remove_replication(
        &self,
        identity: &Identity,
        name: &ReplicationName,
    ) -> Result<(), RegistryError> {
        let prefix = self.replication_to_rule(identity, name).await?.settings.prefix;
        seaworthy_ledger::write(self.db(), &identity.actor, (name.clone(), prefix), |(name, prefix), tx| {
            Box::pin(async move {
                check_same(tx, name, Some(prefix)).await?;
                if !db::remove_replication(tx, name.as_str()).await? {
                    return Err(RegistryError::from(no_such(name)));
                }
                Ok(((), vec![Act::new(Action::ReplicationRemove, object(name))]))
            })
        })
        .await
    }

    /// Has everything of a replication looked at again.
    pub async fn run_replication(
        &self,
        identity: &Identity,
        name: &ReplicationName,
    ) -> Result<(), RegistryError> {
        let prefix = self.replication_to_rule(identity, name).await?.settings.prefix;
        let context = (name.clone(), prefix, self.inner.clock.now());
        seaworthy_ledger::write(self.db(), &identity.actor, context, |(name, prefix, now), tx| {
            Box::pin(async move {
                check_same(tx, name, Some(prefix)).await?;
                if !db::seed_again(tx, name.as_str(), *now).await? {
                    return Err(RegistryError::from(no_such(name)));
                }
                Ok(((), vec![Act::new(Action::ReplicationRun, object(name))]))
            })
        })
        .await
    }

    async fn may_replicate(&self, identity: &Identity, prefix: &Prefix) -> Result<(), RegistryError> {
        self.may_rule(identity, prefix).await?;
        let (permission, scope) = (Permission::Pull, prefix.scope()?);
        if self.access().allows_within(identity, permission, &scope).await? {
            return Ok(());
        }
        let message = format!("`{permission}` at `{scope}` is not permitted to `{}`", identity.actor.name);
        let hint = format!("run `seaworthy access explain {} {permission} {scope}`", identity.actor.name);
        Err(Problem::new(ErrorCode::Denied, message).hint(hint).into())
    }
}

/// Rights were asked for the prefix that a replication had: it must have it still.
async fn check_same(
    tx: &mut Tx<'_>,
    name: &ReplicationName,
    prefix: Option<&Prefix>,
) -> Result<(), RegistryError> {
    if db::prefix_of(tx, name.as_str()).await?.as_ref() == prefix {
        return Ok(());
    }
    let message = format!("replication `{name}` was changed meanwhile");
    Err(Problem::new(ErrorCode::Conflict, message).hint("look at it, and try again").into())
}

fn no_such(name: &ReplicationName) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no replication `{name}`"))
        .hint("`seaworthy registry replication list` shows them")
}

fn object(name: &ReplicationName) -> String {
    format!("replications/{name}")
}
