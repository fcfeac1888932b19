use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use seaworthy_access::{Access, Identity, Permission};
use seaworthy_model::{Clock, ErrorCode, Problem, Scope, UploadId};
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_seal::Seal;
use seaworthy_store::{Blobs, Db, DbError, Hold, Tx, TxFuture, UploadLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Collection, NameRange, PullGate, RegistryError,
    cache::{CacheId, Caches, Fetches, Flights, Lists, Outcome, Referrer, Said, Tasks, Turns},
    db, limit,
    path::ManifestName,
    pulls::Pulls,
    reads::Reads,
    refusal::Refusals,
    replication::Sending,
    rules::Known,
};

/// Whether an index may name manifests that its repository does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SparseIndexes {
    /// It may; the pusher is warned.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
}

/// What a registry is made of.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Metadata.
    pub db: Db,
    /// Bytes.
    pub blobs: Blobs,
    /// Rights.
    pub access: Access,
    /// Verdicts.
    pub gate: Arc<dyn PullGate>,
    /// Indexes with absent children.
    pub sparse_indexes: SparseIndexes,
    /// Who hears of every new blob.
    pub blob_consumers: &'static [&'static str],
    /// Who hears of every pushed manifest.
    pub manifest_consumers: &'static [&'static str],
    /// What goes by itself, and how long what went can come back.
    pub collection: Collection,
    /// How upstreams of caches are reached.
    pub upstreams: UpstreamAccess,
    /// What this registry is called, with ports, however a request names it.
    pub hosts: Vec<String>,
}

/// How upstreams of caches are reached.
#[derive(Clone)]
pub struct UpstreamAccess {
    /// Opens their passwords.
    pub seal: Arc<Seal>,
    /// Whom we believe to be them.
    pub tls: Arc<rustls::ClientConfig>,
    /// How long the head of an answer may take, and how long a body may stand still.
    pub patience: Duration,
    /// How long a request waits for its turn.
    pub turn_patience: Duration,
}

impl UpstreamAccess {
    /// Upstreams that `roots` vouch for.
    pub fn new(seal: Arc<Seal>, roots: rustls::RootCertStore) -> Result<Self, rustls::Error> {
        let tls = client_tls(roots)?;
        let patience = Duration::from_secs(limit::UPSTREAM_SECONDS);
        let turn_patience = Duration::from_secs(limit::TURN_SECONDS);
        Ok(Self { seal, tls, patience, turn_patience })
    }
}

/// TLS to other registries that `roots` vouch for.
pub(crate) fn client_tls(roots: rustls::RootCertStore) -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(tls))
}

/// The registry room. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: RegistryConfig,
    pub(crate) clock: Arc<dyn Clock>,
    /// Uploads that a request of this process is working on: one at a time each.
    busy: Mutex<HashSet<UploadId>>,
    /// One of them was let go.
    released: Notify,
    pub(crate) refusals: Refusals,
    pub(crate) reads: Reads,
    pub(crate) rules: Known,
    pub(crate) pulls: Pulls,
    pub(crate) caches: Caches,
    /// When the upstream was asked about a tag last.
    pub(crate) checks: Cache<(RepoName, Tag), Said>,
    /// When an upstream said last that it has no such manifest.
    pub(crate) absent: Cache<(RepoName, ManifestName), Said>,
    pub(crate) turns: Turns,
    pub(crate) tag_lists: Lists<RepoName, Tag>,
    pub(crate) referrer_lists: Lists<(RepoName, Digest), Referrer>,
    pub(crate) errands: Flights<(CacheId, RepoName, ManifestName), Option<Outcome>>,
    pub(crate) fills: Flights<(RepoName, Digest), Option<()>>,
    pub(crate) fetches: Fetches,
    /// For manifests that name a blob.
    pub(crate) searches: Flights<(CacheId, RepoName, Digest), Option<Result<bool, Problem>>>,
    pub(crate) sending: Sending,
    pub(crate) tasks: Tasks,
    #[cfg(test)]
    pub(crate) pauses: crate::pauses::Pauses,
}

impl Registry {
    /// A registry over `config`.
    pub fn new(config: RegistryConfig) -> Self {
        let clock = config.db.clock();
        let refusals = Refusals::new(config.db.clone());
        let reads = Reads::new(config.db.clone());
        let rules = Known::new(config.db.clone());
        let caches = Caches::new(config.db.clone(), config.upstreams.clone());
        Self {
            inner: Arc::new(Inner {
                config,
                clock,
                busy: Mutex::default(),
                released: Notify::new(),
                refusals,
                reads,
                rules,
                pulls: Pulls::default(),
                caches,
                checks: crate::cache::checks(),
                absent: crate::cache::absent(),
                turns: Turns::of_all(),
                tag_lists: Lists::default(),
                referrer_lists: Lists::default(),
                errands: Flights::default(),
                fills: Flights::default(),
                fetches: Fetches::default(),
                searches: Flights::default(),
                sending: Sending::default(),
                tasks: Tasks::default(),
                #[cfg(test)]
                pauses: crate::pauses::Pauses::default(),
            }),
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.config.db
    }

    /// A transaction that no actor asked for; see [`Db::upkeep`].
    pub(crate) async fn in_upkeep<C, T, F>(&self, context: C, work: F) -> Result<T, RegistryError>
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, DbError> + Send + Sync + 'static,
    {
        self.db().upkeep(context, work).await.map_err(RegistryError::Db)
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.config.blobs
    }

    /// Rights, for routes and the token challenge.
    pub fn access(&self) -> &Access {
        &self.inner.config.access
    }

    /// Refuses unless `identity` has `permission` on `repository`. Who may do nothing there is told that it is not
    /// there; nobody, to sign in; a token that was issued for too little, to fetch another.
    pub(crate) async fn require(
        &self,
        identity: &Identity,
        permission: Permission,
        repository: &RepoName,
    ) -> Result<(), RegistryError> {
        let scope = Scope::repository(repository);
        let access = self.access();
        if access.allows(identity, permission, &scope).await? {
            return Ok(());
        }
        if identity.is_nobody() {
            return Err(unauthorized().into());
        }
        if access.allows_with_wider_token(identity, permission, &scope).await? {
            return Err(too_narrow(permission, repository).into());
        }
        // A pusher named it, so saying no tells nothing. To others who push there, what they may not read is not what
        // is not there: clients would write it anew.
        if permission != Permission::Push && !access.knows(identity, repository).await? {
            let message = format!("repository `{repository}` is not known");
            return Err(Problem::new(ErrorCode::NameUnknown, message).into());
        }
        let verb = permission.word();
        let problem = if permission == Permission::Pull {
            Problem::new(ErrorCode::Denied, format!("pull from `{repository}` is not permitted"))
        } else {
            Problem::new(ErrorCode::Denied, format!("{verb} to `{repository}` is not permitted"))
        };
        let hint = format!("run `seaworthy access explain {} {verb} {scope}`", identity.actor.name);
        Err(RegistryError::NotPermitted(Box::new(problem.hint(hint))))
    }

    /// Marks an upload as being worked on, here and for every server that shares its directory; a
    /// second request on it meanwhile is refused. What is known of it is to be read afterwards.
    pub(crate) async fn hold(&self, id: UploadId) -> Result<Held<'_>, RegistryError> {
        Ok(self.try_hold(id).await?.ok_or_else(busy)?)
    }

    /// The same, once whoever has it lets go: a request that was cut does in a moment. `None` when it does not.
    pub(crate) async fn hold_soon(&self, id: UploadId) -> Result<Option<Held<'_>>, RegistryError> {
        let soon = async {
            loop {
                let mut released = std::pin::pin!(self.inner.released.notified());
                // What is let go between the two is heard of.
                released.as_mut().enable();
                if let Some(held) = self.try_hold(id).await? {
                    return Ok(held);
                }
                self.pause(crate::pauses::Point::Busy).await;
                released.await;
            }
        };
        tokio::time::timeout(Duration::from_millis(limit::HELD_MILLIS), soon).await.ok().transpose()
    }

    /// The same at once; `None` when another has it.
    pub(crate) async fn try_hold(&self, id: UploadId) -> Result<Option<Held<'_>>, RegistryError> {
        if !self.inner.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(None);
        }
        let mut held = Held { registry: self, id, file: None };
        match self.blobs().hold(crate::ROOM, id).await? {
            Hold::Taken(lock) => held.file = Some(lock),
            Hold::Busy => return Ok(None),
            // Then nothing of the upload was received, or it is lost or has ended.
            Hold::NoFile => {}
        }
        Ok(Some(held))
    }

    /// The repositories that there are in a range of names, in name order after `last`.
    pub async fn repositories(
        &self,
        range: &NameRange,
        last: &str,
        most: u32,
    ) -> Result<Vec<String>, RegistryError> {
        Ok(db::repositories(self.db(), range, last, most.into()).await?)
    }

    /// Removes expired upload sessions and upload files that no session remembers.
    pub async fn sweep(&self) -> Result<usize, RegistryError> {
        let mut removed = 0;
        for (id, expired) in db::expired_uploads(self.db()).await? {
            // A request that began in time may still write; it prolongs the session when it ends.
            match self.end_left_alone(id, expired).await {
                Ok(is_ended) => removed += usize::from(is_ended),
                Err(error) => {
                    let error = seaworthy_store::chain(&error);
                    tracing::warn!(%id, %error, "an upload that is over could not be ended");
                }
            }
        }
        let age = u64::try_from(limit::UPLOAD_SECONDS).unwrap_or_default();
        for id in self.blobs().stale_uploads(crate::ROOM, age).await? {
            if !db::upload_exists(self.db(), id).await? {
                self.blobs().discard(crate::ROOM, id).await?;
                removed += 1;
            }
        }
        // Other rooms have no sessions: what they did not end in a day, they never will.
        for room in self.blobs().uploading_rooms().await?.iter().filter(|room| *room != crate::ROOM) {
            for id in self.blobs().stale_uploads(room, age).await? {
                self.blobs().discard(room, id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Sweeps uploads and closes refusal counts until cancelled; then closes what is open.
    pub async fn upkeep(self, cancel: CancellationToken) {
        let mut ticks = 0u64;
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = cancel.cancelled() => {
                    self.inner.refusals.close(crate::refusal::Which::All).await;
                    self.store_pulls().await;
                    return;
                }
            }
            self.inner.refusals.close(crate::refusal::Which::Old).await;
            ticks += 5;
            if ticks.is_multiple_of(limit::PULLS_SECONDS) {
                self.store_pulls().await;
            }
            if ticks.is_multiple_of(limit::SWEEP_SECONDS)
                && let Err(error) = self.sweep().await
            {
                tracing::warn!(error = %seaworthy_store::chain(&error), "sweeping uploads failed");
            }
        }
    }
}

impl Registry {
    async fn store_pulls(&self) {
        if let Err(error) = self.flush_pulls().await {
            tracing::warn!(error = %seaworthy_store::chain(&error), "storing pulls failed");
        }
    }
}

/// An upload held by this request.
pub(crate) struct Held<'r> {
    registry: &'r Registry,
    id: UploadId,
    file: Option<UploadLock>,
}

impl Held<'_> {
    /// True when there is a file, and nobody else writes to it.
    pub(crate) const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Has the file that there is now, or makes it.
    pub(crate) async fn make_file(&mut self) -> Result<(), RegistryError> {
        match self.registry.blobs().hold_or_make(crate::ROOM, self.id).await? {
            Hold::Taken(lock) => self.file = Some(lock),
            Hold::Busy | Hold::NoFile => return Err(busy().into()),
        }
        Ok(())
    }

    /// For whoever writes to it.
    pub(crate) fn lock(&self) -> Option<UploadLock> {
        self.file.clone()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Whoever waits for it takes the file at once.
        drop(self.file.take());
        self.registry.inner.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.registry.inner.released.notify_waiters();
    }
}

fn busy() -> Problem {
    let message = "another request is writing to this upload";
    Problem::new(ErrorCode::RangeInvalid, message).retry_after(limit::RETRY_SECONDS)
}

/// A token of somebody who may, with another.
pub(crate) fn too_narrow(permission: Permission, repository: &RepoName) -> Problem {
    let message = format!("the token was not issued for `{}` at `{repository}`", permission.word());
    Problem::new(ErrorCode::Unauthorized, message).hint("ask for one with the scope of the challenge")
}

pub(crate) fn unauthorized() -> Problem {
    Problem::new(ErrorCode::Unauthorized, "authentication is required")
        .hint("run `seaworthy login --docker`, or `docker login`")
}
