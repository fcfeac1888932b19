//! Caches: prefixes of repositories that stand in front of another registry. What is asked for below one is
//! fetched from there once, kept, judged like everything else, and served when the upstream is away.
//!
//! Nobody pushes below a cache. The longest prefix that covers a repository is its cache.

mod children;
mod fill;
mod flight;
mod follow;
mod import;
mod known;
mod lists;
mod mirror;
mod pace;
mod served;
mod tasks;
mod through;
mod turn;

use std::{fmt, sync::Arc};

use seaworthy_access::{DockerScope, Identity, Permission, ResourceAccess};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Network, Problem, Secret};
use seaworthy_oci::RepoName;
use seaworthy_store::Tx;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::mirror::{Mirror, MirrorShown};
pub(crate) use self::{
    fill::Fetches,
    flight::{Flights, Part},
    follow::{Begun, Follower},
    known::{Cache, CacheId, Caches, Said},
    lists::{Lists, Referrer, Told, abreast},
    served::Served,
    tasks::Tasks,
    through::{Outcome, absent, checks},
    turn::Turns,
};
use crate::{
    HostName, Origin, Prefix, Registry, RegistryError,
    db::{self, CacheRow},
    limit,
    path::Target,
    remote::{self, Far},
};

/// What is known of a cache, but for its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Which repositories: not all.
    pub prefix: Prefix,
    /// Where they come from.
    pub upstream: Origin,
    /// What their names begin with there.
    pub remote_prefix: Option<RepoName>,
    /// What `ns=` calls the upstream: one cache answers for each.
    pub ns: Vec<HostName>,
    /// Hosts of token services, besides the upstream itself.
    pub realms: Vec<HostName>,
    /// Who we are there.
    pub username: Option<String>,
    /// How long the upstream's answer about a tag holds, in seconds.
    pub check_seconds: u32,
    /// Networks that the upstream may be in, besides the internet.
    pub networks: Vec<Network>,
    /// What is fetched without being asked for.
    #[serde(default)]
    pub mirrors: Vec<Mirror>,
    /// How often that is looked at, in seconds.
    #[serde(default = "mirror_seconds")]
    pub mirror_seconds: u32,
}

const fn mirror_seconds() -> u32 {
    limit::MIRROR_SECONDS
}

/// A cache, and how what it mirrors stands.
#[derive(Clone, Debug, Serialize)]
pub struct CacheShown {
    /// What it is.
    #[serde(flatten)]
    pub settings: CacheSettings,
    /// What is fetched without being asked for.
    pub mirrored: Vec<MirrorShown>,
}

/// A cache as somebody wants it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCache {
    /// Which repositories.
    pub prefix: Prefix,
    /// `https://registry.example.com`, or the name of one that is known, such as `docker.io`.
    pub upstream: String,
    /// What their names begin with there; empty: nothing.
    #[serde(default)]
    pub remote_prefix: String,
    /// What `ns=` calls the upstream, besides what is known.
    #[serde(default)]
    pub ns: Vec<HostName>,
    /// Hosts of token services, besides what is known.
    #[serde(default)]
    pub realms: Vec<HostName>,
    /// Who we are there.
    pub username: Option<String>,
    /// And how we show it.
    #[serde(default, deserialize_with = "remote::secret")]
    pub password: Option<Secret<String>>,
    /// How long the upstream's answer about a tag holds, in seconds.
    pub check_seconds: Option<u32>,
    /// Networks that the upstream may be in.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// What is fetched without being asked for.
    #[serde(default)]
    pub mirrors: Vec<Mirror>,
    /// How often that is looked at, in seconds.
    pub mirror_seconds: Option<u32>,
}

impl fmt::Debug for NewCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCache").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl NewCache {
    /// What it comes to, if it may be.
    fn settings(&self) -> Result<CacheSettings, Problem> {
        let invalid = |message: String| Problem::new(ErrorCode::Invalid, message);
        if self.prefix.name().is_empty() {
            return Err(
                invalid("a cache is not for all repositories".into()).hint("name a prefix, such as `hub`")
            );
        }
        let Far { origin: upstream, realms, name } =
            Far::named(&self.upstream, &self.realms, &self.networks)?;
        let mut ns = self.ns.clone();
        if let Some(name) = name.filter(|name| !ns.contains(name)) {
            ns.push(name);
        }
        let remote_prefix = remote::prefix(&self.remote_prefix)?;
        let check_seconds = self.check_seconds.unwrap_or(limit::CHECK_SECONDS);
        if check_seconds > limit::CHECK_SECONDS_MAX {
            return Err(invalid(format!("a check holds for at most {} s", limit::CHECK_SECONDS_MAX)));
        }
        let mirror_seconds = self.mirror_seconds.unwrap_or(limit::MIRROR_SECONDS);
        if !(limit::MIRROR_SECONDS_MIN..=limit::MIRROR_SECONDS_MAX).contains(&mirror_seconds) {
            let (least, most) = (limit::MIRROR_SECONDS_MIN, limit::MIRROR_SECONDS_MAX);
            return Err(invalid(format!("a mirror is looked at every {least} to {most} s")));
        }
        if self.mirrors.len() > limit::MIRRORS {
            let message = format!("more than {} repositories are mirrored", limit::MIRRORS);
            return Err(Problem::new(ErrorCode::TooLarge, message));
        }
        remote::check_names(&[ns.len(), realms.len(), self.networks.len()])?;
        remote::check_login(self.username.as_deref(), self.password.as_ref())?;
        let settings = CacheSettings {
            prefix: self.prefix.clone(),
            upstream,
            remote_prefix,
            ns,
            realms,
            username: self.username.clone(),
            check_seconds,
            networks: self.networks.clone(),
            mirrors: self.mirrors.clone(),
            mirror_seconds,
        };
        if let Some(mirror) = settings.mirrors.iter().find(|it| settings.local(&it.repository).is_none()) {
            let message = format!("`{}` has no name here", mirror.repository);
            return Err(invalid(message)
                .hint("name it as the upstream does, below `--remote-prefix` if there is one"));
        }
        Ok(settings)
    }
}

impl CacheSettings {
    /// What a repository of ours is called there.
    pub(crate) fn remote(&self, repository: &RepoName) -> Option<RepoName> {
        let rest = repository.as_str().strip_prefix(self.prefix.name())?;
        let rest = rest.strip_prefix('/').or_else(|| rest.is_empty().then_some(""))?;
        let name = match (&self.remote_prefix, rest) {
            (Some(prefix), "") => prefix.to_string(),
            (Some(prefix), rest) => format!("{prefix}/{rest}"),
            (None, rest) => rest.to_owned(),
        };
        name.parse().ok()
    }

    /// What a repository of the upstream is called here.
    pub(crate) fn local(&self, remote: &RepoName) -> Option<RepoName> {
        let rest = match &self.remote_prefix {
            None => remote.as_str(),
            Some(prefix) => remote.as_str().strip_prefix(prefix.as_str())?.strip_prefix('/')?,
        };
        format!("{}/{rest}", self.prefix.name()).parse().ok()
    }

    /// What its user name and password are sealed for: nobody who writes rows can have them sent elsewhere.
    fn sealed_for(&self) -> String {
        let realms: Vec<&str> = self.realms.iter().map(HostName::as_str).collect();
        format!("registry cache {} at {} by {}", self.prefix, self.upstream, realms.join(" "))
    }

    /// Who brought a repository's manifests from there, but for the end of its name: see [`db::came_from_elsewhere`].
    fn upstream_name(&self) -> String {
        match &self.remote_prefix {
            Some(prefix) => format!("{}/{prefix}", self.upstream.host),
            None => self.upstream.host.clone(),
        }
    }

    /// Who brought what came from this upstream, in links.
    pub(crate) fn bearer(&self) -> String {
        format!("cache:{}:{}", self.prefix, self.upstream)
    }
}

impl Registry {
    /// The caches of the prefixes that `identity` may read the policies of.
    pub async fn caches(&self, identity: &Identity) -> Result<Vec<CacheShown>, RegistryError> {
        let mirrors = db::mirrors(self.db()).await?;
        let mut shown = Vec::new();
        for cache in self.inner.caches.all().await?.iter() {
            let scope = cache.settings.prefix.scope()?;
            if self.access().allows(identity, Permission::PolicyRead, &scope).await? {
                let prefix = cache.settings.prefix.to_string();
                let own = mirrors.iter().filter(|(of, _)| *of == prefix);
                let mirrored = own.map(|(_, mirror)| mirror.clone()).collect();
                shown.push(CacheShown { settings: cache.settings.clone(), mirrored });
            }
        }
        Ok(shown)
    }

    /// Sets the cache of a prefix, instead of the one that it was. There are at most [`limit::CACHES`].
    pub async fn set_cache(
        &self,
        identity: &Identity,
        new: &NewCache,
    ) -> Result<CacheSettings, RegistryError> {
        self.may_rule(identity, &new.prefix).await?;
        let settings = new.settings()?;
        self.may_reach(identity, &settings.networks).await?;
        let sealed =
            self.seal_login(&settings.sealed_for(), settings.username.as_deref(), new.password.as_ref())?;
        let row = CacheRow { settings: settings.clone(), sealed, changed_at: self.inner.clock.now() };
        seaworthy_ledger::write(self.db(), &identity.actor, row, |row, tx| {
            Box::pin(async move {
                check_room(tx, &row.settings).await?;
                db::put_cache(tx, row).await?;
                db::put_mirrors(tx, &row.settings, row.changed_at).await?;
                if db::count_caches(tx).await? > limit::CACHES {
                    let message = format!("there are {} caches already", limit::CACHES);
                    return Err(RegistryError::from(Problem::new(ErrorCode::TooLarge, message)));
                }
                tx.wake(mirror::BELL);
                let act = Act::new(Action::CacheSet, object(&row.settings.prefix));
                Ok(((), vec![act.details(json!(row.settings))]))
            })
        })
        .await?;
        self.forget_caches();
        Ok(settings)
    }

    /// Makes a cache a prefix like others. What is in it stays.
    pub async fn remove_cache(&self, identity: &Identity, prefix: &Prefix) -> Result<(), RegistryError> {
        self.may_rule(identity, prefix).await?;
        seaworthy_ledger::write(self.db(), &identity.actor, prefix.clone(), |prefix, tx| {
            Box::pin(async move {
                db::remove_mirrors(tx, &prefix.to_string()).await?;
                if !db::remove_cache(tx, &prefix.to_string()).await? {
                    let message = format!("`{prefix}` is no cache");
                    return Err(RegistryError::from(Problem::new(ErrorCode::NotFound, message)));
                }
                Ok(((), vec![Act::new(Action::CacheRemove, object(prefix))]))
            })
        })
        .await?;
        self.forget_caches();
        Ok(())
    }

    /// Another upstream may have what the one before had not, and something else under the same tags.
    fn forget_caches(&self) {
        self.inner.caches.forget();
        self.inner.absent.clear();
        self.inner.checks.clear();
    }

    /// What a path means with `ns=`, by which containerd tells a mirror whose repository it is: the one in the
    /// cache that answers for that host. All that follows, rights first, is about that one. `None` where it says
    /// nothing, such as what we are called.
    pub(crate) async fn placed(
        &self,
        target: &Target,
        ns: Option<&str>,
        own_host: &str,
    ) -> Result<Option<Target>, RegistryError> {
        let Some(host) = ns.filter(|host| !host.eq_ignore_ascii_case(own_host)) else { return Ok(None) };
        let Some(remote) = target.repository() else { return Ok(None) };
        let cache = self.inner.caches.for_host(host).await?;
        if let Some(cache) = &cache
            && self.is_below(cache, remote).await?
        {
            return Ok(Some(target.clone()));
        }
        if cache.is_none() && self.is_called(host) {
            return Ok(None);
        }
        let local = cache.and_then(|cache| cache.settings.local(remote));
        let local = local.ok_or_else(|| {
            let shown: String = host.chars().take(limit::HOST_BYTES).collect();
            let message = format!("no cache here answers for `{remote}` of `{}`", shown.escape_debug());
            Problem::new(ErrorCode::NameUnknown, message)
        })?;
        Ok(Some(target.clone().moved(local)))
    }

    /// What a token is asked for in the words of the host `ns`, and in ours beside them: who is told to fetch one is not
    /// told what the caches are called. What is then granted is as with any scope.
    pub async fn scopes_here(
        &self,
        ns: &str,
        asked: Vec<DockerScope>,
    ) -> Result<Vec<DockerScope>, RegistryError> {
        let mut scopes = Vec::with_capacity(2 * asked.len());
        for scope in asked {
            let name = scope.access.name.parse().ok().filter(|_| scope.access.kind == "repository");
            let placed = match name.map(Target::Tags) {
                Some(there) => match self.placed(&there, Some(ns), "").await {
                    Ok(placed) => placed,
                    Err(RegistryError::Refused(_)) => None,
                    Err(error) => return Err(error),
                },
                None => None,
            };
            if let Some(here) = placed.as_ref().and_then(Target::repository) {
                let access = ResourceAccess { name: here.to_string(), ..scope.access.clone() };
                scopes.push(DockerScope { access });
            }
            scopes.push(scope);
        }
        Ok(scopes)
    }

    /// What this registry is called by clients, with its port.
    pub fn names(&self) -> &[String] {
        &self.inner.config.hosts
    }

    /// True of our own names, with their port or without: who reaches us by another says by it whom it means.
    pub fn is_called(&self, host: &str) -> bool {
        let hosts = &self.inner.config.hosts;
        let mut names =
            hosts.iter().flat_map(|own| [Some(own.as_str()), own.rsplit_once(':').map(|it| it.0)]);
        names.any(|name| name.is_some_and(|name| name.eq_ignore_ascii_case(host)))
    }

    /// True for a name that begins with the cache's prefix already, as a mirror with a path sends it. What the upstream has
    /// decides nothing: whoever gets a name there would have what is meant by ours.
    async fn is_below(&self, cache: &Arc<Cache>, name: &RepoName) -> Result<bool, RegistryError> {
        let rest = name.as_str().strip_prefix(cache.settings.prefix.name());
        Ok(rest.is_some_and(|rest| rest.starts_with('/'))
            && self.inner.caches.of(name).await?.is_some_and(|it| Arc::ptr_eq(&it, cache)))
    }

    /// True below a cache.
    pub(crate) async fn is_cache(&self, repository: &RepoName) -> Result<bool, RegistryError> {
        Ok(self.inner.caches.of(repository).await?.is_some())
    }

    /// Refuses a push below a cache, before its bytes come.
    pub(crate) async fn check_no_cache(&self, repository: &RepoName) -> Result<(), RegistryError> {
        match self.inner.caches.of(repository).await? {
            Some(cache) => Err(takes_no_pushes(repository, &cache.settings.prefix.to_string()).into()),
            None => Ok(()),
        }
    }
}

/// A host of `ns=` leads to one cache, and what was pushed stays where it is pushed.
async fn check_room(tx: &mut Tx<'_>, settings: &CacheSettings) -> Result<(), RegistryError> {
    let others = if settings.ns.is_empty() { Vec::new() } else { db::ns_of_caches(tx).await? };
    for (prefix, host) in others {
        if prefix != settings.prefix.to_string() && settings.ns.contains(&host) {
            let message = format!("`{prefix}` is the cache that answers for `{host}` already");
            return Err(Problem::new(ErrorCode::Conflict, message).into());
        }
    }
    if let Some(repository) = db::pushed_below(tx, settings.prefix.name()).await? {
        let message = format!("`{repository}` has images that were pushed: a cache takes none");
        return Err(Problem::new(ErrorCode::Conflict, message)
            .hint("choose a prefix that has no repositories")
            .into());
    }
    check_upstream(tx, settings).await
}

/// A cache's names would stand for what another registry has, and be served when its own is away.
pub(crate) async fn check_upstream(tx: &mut Tx<'_>, settings: &CacheSettings) -> Result<(), RegistryError> {
    let upstream = settings.upstream_name();
    let elsewhere = db::came_from_elsewhere(tx, settings.prefix.name(), &upstream).await?;
    if let Some((repository, other)) = elsewhere {
        let message = format!("`{repository}` has images that came from `{other}`");
        return Err(Problem::new(ErrorCode::Conflict, message)
            .hint("choose another prefix for another upstream, or delete what came from there")
            .into());
    }
    Ok(())
}

pub(crate) fn takes_no_pushes(repository: &RepoName, prefix: &str) -> Problem {
    Problem::new(ErrorCode::Denied, format!("nobody pushes to `{repository}`: `{prefix}` is a cache"))
        .hint("it holds what its upstream has: push there, or to another repository")
}

fn object(prefix: &Prefix) -> String {
    format!("caches/{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(json: serde_json::Value) -> Result<CacheSettings, Problem> {
        serde_json::from_value::<NewCache>(json).expect("a wish").settings()
    }

    #[test]
    fn known_registries_need_a_name_alone() {
        let hub = wanted(json!({"prefix": "hub", "upstream": "docker.io"})).expect("settings");
        assert_eq!(hub.upstream.to_string(), "https://registry-1.docker.io");
        assert_eq!((hub.ns[0].as_str(), hub.realms[0].as_str()), ("docker.io", "auth.docker.io"));
        for (name, origin, _) in remote::KNOWN {
            let known = wanted(json!({"prefix": "p", "upstream": name})).expect("settings");
            assert_eq!(&known.upstream.to_string(), origin);
            assert_eq!(known.ns.len(), 1);
        }
        let other = wanted(json!({"prefix": "p", "upstream": "https://r.example"})).expect("settings");
        assert!(
            other.ns.is_empty() && other.realms.is_empty() && other.check_seconds == limit::CHECK_SECONDS
        );
    }

    #[test]
    fn settings_are_bounded_and_make_sense() {
        let many = |count: usize| (0..count).map(|it| format!("h{it}.example")).collect::<Vec<_>>();
        let with = |more: serde_json::Value| {
            let mut wish = json!({"prefix": "p", "upstream": "https://r.example"});
            wish.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            wanted(wish)
        };
        for (more, fits) in [
            (json!({"check_seconds": limit::CHECK_SECONDS_MAX}), true),
            (json!({"check_seconds": limit::CHECK_SECONDS_MAX + 1}), false),
            (json!({"check_seconds": 0}), true),
            (json!({"ns": many(limit::CACHE_NAMES)}), true),
            (json!({"ns": many(limit::CACHE_NAMES + 1)}), false),
            (json!({"realms": many(limit::CACHE_NAMES + 1)}), false),
            (json!({"username": "u", "password": "p"}), true),
            (json!({"username": "u", "password": "p".repeat(limit::LOGIN_BYTES)}), true),
            (json!({"username": "u", "password": "p".repeat(limit::LOGIN_BYTES + 1)}), false),
            (json!({"username": "u"}), false),
            (json!({"username": "u", "password": ""}), false),
            (json!({"password": "p"}), false),
            (json!({"username": "u:v", "password": "p"}), false),
            (json!({"username": "u", "password": "p\nq"}), false),
            (json!({"prefix": "*"}), false),
            (json!({"upstream": "http://127.0.0.1:5000"}), false),
            (json!({"upstream": "http://127.0.0.1:5000", "networks": ["127.0.0.1"]}), true),
            (json!({"upstream": "docker.example"}), false),
            (json!({"remote_prefix": "library"}), true),
            (json!({"remote_prefix": "Library"}), false),
        ] {
            assert_eq!(with(more.clone()).is_ok(), fits, "{more}");
        }
    }

    #[test]
    fn names_are_mapped_both_ways() {
        let name = |text: &str| text.parse::<RepoName>().expect("a name");
        for (remote_prefix, local, remote) in [
            ("", "hub/library/alpine", Some("library/alpine")),
            ("", "hub/a", Some("a")),
            ("", "hub", None),
            ("", "hubs/a", None),
            ("library", "hub/alpine", Some("library/alpine")),
            ("library", "hub", Some("library")),
        ] {
            let settings =
                wanted(json!({"prefix": "hub", "upstream": "docker.io", "remote_prefix": remote_prefix}))
                    .expect("settings");
            let there = settings.remote(&name(local));
            assert_eq!(there.as_ref().map(RepoName::as_str), remote, "{local}");
            if let Some(there) = there.filter(|_| local.contains('/')) {
                assert_eq!(settings.local(&there), Some(name(local)));
            }
        }
        let settings = wanted(json!({"prefix": "hub", "upstream": "docker.io", "remote_prefix": "library"}));
        assert_eq!(settings.expect("settings").local(&name("bitnami/redis")), None);
    }
}
