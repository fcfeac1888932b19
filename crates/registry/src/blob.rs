//! Blobs: who may see one, and bringing one in.

use std::sync::Arc;

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{BlobStored, ErrorCode, Event, Problem, Scope, Timestamp, UploadId};
use seaworthy_oci::{Digest, Manifest, RepoName};
use seaworthy_store::{BlobCopy, BlobError, BlobReader, Stored, Tx, limit::SMALL_BLOB_BYTES};

use crate::{
    Door, ROOM, Refusal, Registry, RegistryError,
    cache::Cache,
    conditional::Precondition,
    db::{self, BlobRow, Entered, Reaching},
    limit, lock,
    path::ManifestName,
    pauses::Point,
    push::named_blobs,
    quarantine::hidden,
    quota,
    registry::too_narrow,
    rules::Way,
    upload,
};

impl Registry {
    /// Length of a blob for a caller who may push to or pull from `repository`; existence checks
    /// by a pusher are never gated, because pushing needs them.
    pub(crate) async fn blob_size(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<u64, RegistryError> {
        let scope = Scope::repository(repository);
        // Nobody pushes to a cache: who may push elsewhere reads it like others.
        if self.inner.caches.of(repository).await?.is_some() {
            return match self.seen_blob(identity, repository, digest).await {
                Ok(row) => Ok(row.size),
                Err(error) => Ok(self.absent(identity, repository, digest, error).await?.blob.1),
            };
        }
        // Clients look what is there with a token to pull, before they ask for one to push.
        if !self.access().allows_with_wider_token(identity, Permission::Push, &scope).await? {
            return Ok(self.seen_blob(identity, repository, digest).await?.size);
        }
        if !self.access().allows(identity, Permission::Push, &scope).await? {
            self.require(identity, Permission::Pull, repository).await?;
        }
        // What is not seen here is not looked for elsewhere: see `is_readable_in`.
        if !self.is_nameable(identity, repository, digest).await? {
            return Err(unknown(digest).into());
        }
        let row = self.readable(digest).await?;
        if self.pin(&row).await? && self.see(&row).await? {
            Ok(row.size)
        } else {
            Err(unknown(digest).into())
        }
    }

    /// Whether a pusher need not send the blob, because a manifest of theirs may name it: [`db::name_blob`], as it looks
    /// now. What only manifests name that are locked against reading is as if it were not here: it is sent.
    pub(crate) async fn is_nameable(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        Ok(self.known(identity, repository, digest).await? != Known::No)
    }

    /// How a pusher may name a blob.
    async fn known(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Known, RegistryError> {
        if self.is_linked(identity, repository, digest).await? {
            return Ok(Known::Brought);
        }
        let reached = self.inner.reads.opening(repository, digest).await?;
        let is_named = reached.iter().any(|(_, locks)| lock::check_read(*locks, "").is_ok());
        Ok(if is_named { Known::Named } else { Known::No })
    }

    /// Whether a pusher has the bytes of a blob, or may read it now.
    pub(crate) async fn is_readable(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        Ok(match self.known(identity, repository, digest).await? {
            Known::Brought => true,
            Known::Named => {
                let reach = self.reach(identity, repository, digest, Reaching::Opens).await?;
                matches!(reach, Reach::Open(_))
            }
            Known::No => false,
        })
    }

    /// Whether an artifact or index of a pusher may name a blob: it has the bytes, may read it now, or names what another
    /// such names too, which opens it to nobody else. `None` of what they do not have here; what nothing reaches yet, a
    /// manifest may by the time that the transaction looks.
    pub(crate) async fn may_name(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<bool>, RegistryError> {
        Ok(match self.known(identity, repository, digest).await? {
            Known::Brought => Some(true),
            Known::Named => {
                let reach = self.reach(identity, repository, digest, Reaching::Opens).await?;
                Some(matches!(reach, Reach::Open(_) | Reach::Closed(..)))
            }
            Known::No => None,
        })
    }

    /// The row of a blob that can be read.
    async fn readable(&self, digest: &Digest) -> Result<BlobRow, RegistryError> {
        let row = self.inner.reads.blob(digest).await?.filter(BlobRow::is_readable);
        Ok(row.ok_or_else(|| unknown(digest))?)
    }

    /// Keeps a blob for a pusher who is told that it is here: they will not send it. False when it went
    /// since it was looked at.
    pub(crate) async fn pin(&self, row: &BlobRow) -> Result<bool, RegistryError> {
        let now = self.inner.clock.now();
        // While it is pinned nobody condemns it.
        if !db::is_worn(row.pinned_until, now) {
            return Ok(true);
        }
        self.in_upkeep((row.copy.digest, now), |(digest, now), tx| {
            Box::pin(async move { db::pin(tx, digest, *now).await })
        })
        .await
    }

    /// Opens a blob that the caller may read: reached by a manifest that the gate lets through,
    /// or brought into the repository by the caller and reached by none. Below a cache it may be absent still.
    pub(crate) async fn open_blob(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Opened, RegistryError> {
        match self.open_stored(identity, repository, digest).await {
            Ok(reader) => Ok(Opened::Stored(reader)),
            Err(error) => Ok(Opened::Absent(self.absent(identity, repository, digest, error).await?)),
        }
    }

    /// A blob that is not here, or not open here, if the caller may have it fetched: a manifest from the upstream
    /// names it that the gate lets through. Else `why` it could not be read.
    async fn absent(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
        why: RegistryError,
    ) -> Result<Absent, RegistryError> {
        let is_unknown =
            matches!(&why, RegistryError::Refused(problem) if problem.code == ErrorCode::BlobUnknown);
        if !is_unknown {
            return Err(why);
        }
        let Some(cache) = self.inner.caches.of(repository).await? else { return Err(why) };
        let mut reach = self.reach_in_time(identity, repository, digest, Reaching::Names).await?;
        if matches!(reach, Reach::None) {
            // Whatever this one found: others look for manifests as well.
            self.bring_naming(identity, &cache, (repository, digest)).await?;
            reach = self.reach_in_time(identity, repository, digest, Reaching::Names).await?;
        }
        let Some(manifest) = self.opened_by(identity, repository, reach).await? else { return Err(why) };
        let Some((bytes, media_type)) = self.manifest_bytes(repository, &manifest).await? else {
            return Err(why);
        };
        let named = named_blobs(&Manifest::parse(&bytes, Some(&media_type))?);
        let blob = named.into_iter().find(|(named, _)| named == digest).ok_or(why)?;
        Ok(Absent { cache, repository: repository.clone(), blob })
    }

    /// The manifest that opens a blob; `None` when nothing does.
    async fn opened_by(
        &self,
        identity: &Identity,
        repository: &RepoName,
        reach: Reach,
    ) -> Result<Option<Digest>, RegistryError> {
        match reach {
            Reach::Open(manifest) => Ok(manifest),
            Reach::Refused(manifest, refusal) | Reach::Closed(manifest, refusal) => {
                self.inner.refusals.record(&identity.actor, repository, &manifest, &refusal).await?;
                Err(refusal.problem.into())
            }
            Reach::Locked(problem) => Err((*problem).into()),
            Reach::None => Ok(None),
        }
    }

    async fn open_stored(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<BlobReader, RegistryError> {
        let row = self.readable_blob(identity, repository, digest).await?;
        match self.blobs().open(ROOM, row.copy, row.size).await {
            Ok(Some(reader)) => Ok(reader),
            Ok(None) if self.is_away(&row, "missing") => Err(BlobError::Away.into()),
            Ok(None) => {
                self.damaged(&row, "missing").await?;
                Err(unknown(digest).into())
            }
            Err(error @ BlobError::Truncated { .. }) => {
                self.damaged(&row, "length").await?;
                Err(error.into())
            }
            Err(error @ BlobError::Unreadable { .. }) => {
                tracing::error!(error = %seaworthy_store::chain(&error), "a blob is not to be read");
                self.damaged(&row, "unreadable").await?;
                Err(unknown(digest).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a blob without asking for rights or verdicts: for other rooms' workers, never for a caller.
    pub async fn open_for_inspection(&self, digest: &Digest) -> Result<Option<BlobReader>, RegistryError> {
        let row = db::blob(self.db(), digest).await?.filter(BlobRow::is_present);
        match row {
            Some(row) => Ok(self.blobs().open(ROOM, row.copy, row.size).await?),
            None => Ok(None),
        }
    }

    /// [`Registry::readable_blob`], whose file is there.
    async fn seen_blob(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<BlobRow, RegistryError> {
        let row = self.readable_blob(identity, repository, digest).await?;
        if self.see(&row).await? { Ok(row) } else { Err(unknown(digest).into()) }
    }

    async fn readable_blob(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<BlobRow, RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let reach = self.reach_in_time(identity, repository, digest, Reaching::Opens).await?;
        if matches!(reach, Reach::Open(_)) {
            return self.readable(digest).await;
        }
        self.opened_by(identity, repository, reach).await?;
        Err(unknown(digest).into())
    }

    /// Whether the caller brought the blob here, or mounted it.
    async fn is_linked(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let principal = db::bearer(identity.principal());
        Ok(db::has_link(self.db(), repository, digest, &principal).await?)
    }

    /// A blob that the caller brought here and that is there.
    pub(crate) async fn brought(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<BlobRow>, RegistryError> {
        if !self.is_linked(identity, repository, digest).await? {
            return Ok(None);
        }
        Ok(db::blob(self.db(), digest).await?.filter(BlobRow::is_present))
    }

    /// [`Registry::reach`], waiting a short time for what is pending: a changed policy judges what is being pulled anew.
    async fn reach_in_time(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
        how: Reaching,
    ) -> Result<Reach, RegistryError> {
        let reach = self.reach(identity, repository, digest, how).await?;
        let (Reach::Refused(manifest, refusal) | Reach::Closed(manifest, refusal)) = reach else {
            return Ok(reach);
        };
        if !refusal.is_pending() {
            return Ok(Reach::Refused(manifest, refusal));
        }
        Ok(match self.inner.config.gate.check(repository, &manifest, Door::Manifest).await?.refusal {
            None => Reach::Open(Some(manifest)),
            Some(refusal) => Reach::Refused(manifest, refusal),
        })
    }

    /// Whether the caller, who may pull from `repository`, may read the blob there: by an image that may be pulled, or by
    /// something else where no image that names it is refused. Of what refuses it, something pending is told.
    async fn reach(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
        how: Reaching,
    ) -> Result<Reach, RegistryError> {
        let scope = Scope::repository(repository);
        let quarantine = self.access().allows(identity, Permission::Quarantine, &scope).await?;
        let hides = !quarantine && self.is_quarantined(repository).await?;
        let mut after = String::new();
        let (mut refused, mut images, mut unjudged) = (None, None, None);
        loop {
            let manifests = if how == Reaching::Opens && after.is_empty() {
                self.inner.reads.opening(repository, digest).await?
            } else {
                db::reaching(self.db(), (repository, digest), how, &after, limit::REACH_PAGE).await?
            };
            for (manifest, locks) in &manifests {
                if let Err(problem) = lock::check_read(*locks, &format!("{repository}@{manifest}")) {
                    refused.get_or_insert(Reach::Locked(Box::new(problem)));
                    continue;
                }
                // What is not served opens nothing.
                if !self.inner.reads.is_sound(manifest).await? {
                    continue;
                }
                if quarantine {
                    return Ok(Reach::Open(Some(*manifest)));
                }
                if hides && !locks.has_passed() {
                    let problem = hidden(repository, &ManifestName::Digest(*manifest));
                    refused.get_or_insert(Reach::Locked(Box::new(problem)));
                    continue;
                }
                let passage = self.inner.config.gate.check(repository, manifest, Door::Blob).await?;
                let told = if passage.is_image { &mut images } else { &mut refused };
                match passage.refusal {
                    None if passage.is_image => return Ok(Reach::Open(Some(*manifest))),
                    None => unjudged = unjudged.or(Some(*manifest)),
                    Some(_) if matches!(told, Some(Reach::Refused(_, told)) if told.is_pending()) => {}
                    Some(refusal) => *told = Some(Reach::Refused(*manifest, refusal)),
                }
            }
            // An image is not looked for behind so many that are none.
            if images.is_none() && unjudged.is_some() {
                return Ok(Reach::Open(unjudged));
            }
            match manifests.last() {
                Some((last, _)) if i64::try_from(manifests.len()).unwrap_or(0) == limit::REACH_PAGE => {
                    after = last.to_string();
                }
                _ => break,
            }
        }
        if let Some(refused) = images.or(refused) {
            return Ok(match (refused, unjudged) {
                // Whoever brought it has it: a build reads its own cache.
                (_, Some(_)) if self.is_linked(identity, repository, digest).await? => Reach::Open(unjudged),
                (Reach::Refused(manifest, refusal), Some(_)) => Reach::Closed(manifest, refusal),
                (refused, _) => refused,
            });
        }
        let locks = db::repository_locks(self.db(), repository).await?.unwrap_or_default();
        if let Err(problem) = lock::check_read(locks, repository.as_str()) {
            return Ok(Reach::Locked(Box::new(problem)));
        }
        let brought = self.is_linked(identity, repository, digest).await?;
        Ok(if brought { Reach::Open(None) } else { Reach::None })
    }

    /// Makes a finished upload a blob of `repository`: the row, the link and the events, after
    /// the bytes are durable; the session, if there was one, ends in the same transaction.
    pub(crate) async fn keep_blob(
        &self,
        identity: &Identity,
        repository: &RepoName,
        stored: Stored,
        session: Option<(UploadId, i64)>,
    ) -> Result<(), RegistryError> {
        let principal = db::bearer(identity.principal());
        self.keep(Way::Push, repository, stored, (principal, session)).await
    }

    /// The same for what came from the upstream of a cache: `bearer` is who had its bytes.
    pub(crate) async fn keep_fetched(
        &self,
        repository: &RepoName,
        stored: Stored,
        bearer: String,
    ) -> Result<(), RegistryError> {
        self.keep(Way::Cache, repository, stored, (bearer, None)).await
    }

    async fn keep(
        &self,
        way: Way,
        repository: &RepoName,
        stored: Stored,
        (principal, session): (String, Option<(UploadId, i64)>),
    ) -> Result<(), RegistryError> {
        let placed = match &stored {
            Stored::File { copy, .. } => Some(*copy),
            Stored::Small(_) => None,
        };
        self.pause(Point::Placed).await;
        let keep = Keep {
            way,
            repository: repository.clone(),
            principal,
            stored,
            session,
            consumers: self.inner.config.blob_consumers,
            now: self.inner.clock.now(),
        };
        let mut entered = self.enter(keep.clone()).await;
        if matches!(entered, Ok(Entered::Present))
            && let Some(copy) = placed
            && let Some(row) = db::blob(self.db(), &copy.digest).await?
            && !self.see(&row).await?
        {
            // What was there is not: this one takes its place.
            entered = self.enter(keep).await;
        }
        let idle = match &entered {
            Ok(Entered::Replaces(old)) => Some(*old),
            Ok(Entered::Present) | Err(RegistryError::Refused(_)) => placed,
            // Of other errors it is not known whether the row was stored: that copy is left to a sweep.
            Ok(Entered::New) | Err(_) => None,
        };
        if let Some(copy) = idle {
            self.blobs().remove(ROOM, &copy).await?;
        }
        entered.map(|_| ())
    }

    async fn enter(&self, keep: Keep) -> Result<Entered, RegistryError> {
        self.db().upkeep(keep, |keep, tx| Box::pin(async move { keep.enter(tx).await })).await
    }

    /// Mounts a blob from another repository; false when the caller may not see it there, which
    /// looks the same as its not being there. Who may, and not with this token, is asked for another.
    pub(crate) async fn mount(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
        from: &RepoName,
    ) -> Result<bool, RegistryError> {
        let scope = Scope::repository(from);
        if !self.access().allows(identity, Permission::Pull, &scope).await? {
            return if self.access().allows_with_wider_token(identity, Permission::Pull, &scope).await? {
                Err(too_narrow(Permission::Pull, from).into())
            } else {
                Ok(false)
            };
        }
        if !self.is_readable_in(identity, digest, from).await? {
            return Ok(false);
        }
        self.link(identity, repository, digest).await
    }

    /// Mounts a blob from wherever the caller may read it; false when that is nowhere. The first
    /// [`limit::MOUNT_SOURCES`] are looked at.
    pub(crate) async fn mount_from_anywhere(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let principal = db::bearer(identity.principal());
        let sources = db::sources(self.db(), digest, &principal, limit::MOUNT_SOURCES).await?;
        for from in self.access().allowed_among(identity, Permission::Pull, sources).await? {
            if self.is_readable_in(identity, digest, &from).await? {
                return self.link(identity, repository, digest).await;
            }
        }
        Ok(false)
    }

    /// Whether a mount from `from`, where the caller may pull, gives them the blob: if they brought it there, or may read it
    /// there now. Otherwise they send its bytes, which shows that they have them: where it is mounted, other policies hold.
    async fn is_readable_in(
        &self,
        identity: &Identity,
        digest: &Digest,
        from: &RepoName,
    ) -> Result<bool, RegistryError> {
        // What is not seen there is not looked for: the answer takes as long whether it is anywhere else or not.
        if !self.is_readable(identity, from, digest).await? {
            return Ok(false);
        }
        match db::blob(self.db(), digest).await?.filter(BlobRow::is_present) {
            Some(row) => self.see(&row).await,
            None => Ok(false),
        }
    }

    /// Links and pins a blob; false when it went since it was looked at.
    async fn link(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let principal = db::bearer(identity.principal());
        let context = (repository.clone(), *digest, principal, self.inner.clock.now());
        self.db()
            .upkeep(context, |(repository, digest, principal, now), tx| {
                Box::pin(async move {
                    check_writable(tx, repository).await?;
                    if !db::pin(tx, digest, *now).await? {
                        return Ok(false);
                    }
                    db::insert_link(tx, repository, digest, principal, *now).await?;
                    let size = db::blob_in(tx, digest).await?.map_or(0, |row| row.size);
                    quota::hold(tx, repository, (digest, size, false), *now).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Takes a blob out of a repository that no manifest there names.
    pub(crate) async fn delete_blob(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
        condition: Precondition,
    ) -> Result<(), RegistryError> {
        self.require(identity, Permission::Delete, repository).await?;
        let context = (repository.clone(), *digest, condition, self.inner.clock.now());
        seaworthy_ledger::write(self.db(), &identity.actor, context, |context, tx| {
            Box::pin(async move {
                let (repository, digest, condition, now) = context;
                let locks = db::held_locks(tx, repository).await?.unwrap_or_default();
                lock::check_delete(locks, repository.as_str())?;
                match db::unlink_blob(tx, repository, digest, *now).await? {
                    None => {
                        Err(Problem::new(ErrorCode::Conflict, format!("a manifest still names {digest}"))
                            .hint("delete the manifest first")
                            .into())
                    }
                    Some(false) => Err(unknown(digest).into()),
                    Some(true) => {
                        condition.check(Some(digest))?;
                        let act = Act::new(Action::BlobDelete, crate::refusal::object(repository, digest));
                        Ok::<_, RegistryError>(((), vec![act]))
                    }
                }
            })
        })
        .await
    }
}

/// Refuses bytes for a repository that is locked against writing.
pub(crate) async fn check_writable(tx: &mut Tx<'_>, repository: &RepoName) -> Result<(), RegistryError> {
    let locks = db::held_locks(tx, repository).await?.unwrap_or_default();
    Ok(lock::check_write(locks, repository.as_str())?)
}

/// How a pusher may name a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// They brought or mounted it.
    Brought,
    /// A manifest names it that is not locked against reading; whether it may be pulled is another question.
    Named,
    /// In no way.
    No,
}

/// How a blob is reached.
enum Reach {
    /// By a manifest that may be pulled; by none, through the caller's own link.
    Open(Option<Digest>),
    /// Only by manifests that may not be pulled; one of them.
    Refused(Digest, Refusal),
    /// By something that nobody judges, beside an image that may not be pulled: it may be named, and not read.
    Closed(Digest, Refusal),
    /// Only by what is locked against reading.
    Locked(Box<Problem>),
    /// By nothing the caller has.
    None,
}

/// A blob that the caller may read.
pub(crate) enum Opened {
    /// It is here.
    Stored(BlobReader),
    /// It comes from an upstream.
    Absent(Absent),
}

/// A blob that is to be fetched.
pub(crate) struct Absent {
    pub(crate) cache: Arc<Cache>,
    pub(crate) repository: RepoName,
    /// With the length that its manifest says.
    pub(crate) blob: (Digest, u64),
}

#[derive(Clone)]
struct Keep {
    way: Way,
    repository: RepoName,
    principal: String,
    stored: Stored,
    /// As it was read.
    session: Option<(UploadId, i64)>,
    consumers: &'static [&'static str],
    now: Timestamp,
}

impl Keep {
    async fn enter(&self, tx: &mut Tx<'_>) -> Result<Entered, RegistryError> {
        let size = self.stored.size();
        let copy = match &self.stored {
            Stored::File { copy, .. } => *copy,
            Stored::Small(small) => BlobCopy::from(&small.digest),
        };
        if let Some((id, version)) = self.session {
            match db::upload_version(tx, id).await? {
                Some(now) if now == version => db::delete_upload(tx, id).await?,
                Some(_) => return Err(upload::moved().into()),
                // Another server ended it: with this blob, or with another.
                None if db::has_link_in(tx, &self.repository, &copy.digest, &self.principal).await? => false,
                None => return Err(upload::unknown(id).into()),
            };
        }
        // What a cache's manifest names is here as it were: no lock keeps it from coming.
        if self.way != Way::Cache {
            check_writable(tx, &self.repository).await?;
        }
        let entered = db::enter_blob(tx, (&copy, size), self.now).await?;
        if let Stored::Small(small) = &self.stored
            && entered != Entered::Present
        {
            if entered != Entered::New {
                tx.remove_small_blob(ROOM, &copy.digest).await?;
            }
            tx.put_small_blob(ROOM, small).await?;
        }
        db::insert_link(tx, &self.repository, &copy.digest, &self.principal, self.now).await?;
        let is_new = entered == Entered::New;
        quota::hold(tx, &self.repository, (&copy.digest, size, is_new), self.now).await?;
        // Small ones are configs or quickly read when their manifest comes.
        if entered != Entered::Present && size > SMALL_BLOB_BYTES as u64 {
            let event = Event::BlobStored(BlobStored { digest: copy.digest, size });
            for consumer in self.consumers {
                tx.deliver(consumer, &event, self.now).await?;
            }
        }
        Ok(entered)
    }
}

pub(crate) fn unknown(digest: &Digest) -> Problem {
    Problem::new(ErrorCode::BlobUnknown, format!("blob {digest} is not known to this repository"))
}
