//! Blobs through a cache: each is fetched once, however many want it, and kept when it is what its digest says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use seaworthy_model::{ErrorCode, Event, ManifestPushed, Problem, UploadId, consumer};
use seaworthy_oci::{Digest, Manifest, RepoName};
use seaworthy_store::Upload;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Cache, Follower, flight::Flights, follow::Progress, pace::in_pace, through::Trouble};
use crate::{
    ROOM, Registry, RegistryError, db, limit,
    push::{claimed_sizes, describe},
    quota,
    upstream::{Arriving, Right, UpstreamError},
};

/// A blob as one upstream has it, with the length that a manifest says.
type Key = (String, Digest, u64);

/// Blobs on their way.
#[derive(Default)]
pub(crate) struct Fetches {
    /// For whom: an upstream gives to each repository for itself.
    open: Flights<(RepoName, Key), Progress>,
    /// Whose bytes come now: once, however many repositories of a cache want them.
    coming: Flights<Key, Progress>,
}

impl Registry {
    /// Follows the fetch of a blob that a manifest of `repository` names, which is begun unless it is under way.
    /// It goes on when its readers go.
    pub(crate) fn follow(
        &self,
        cache: &Arc<Cache>,
        repository: &RepoName,
        (digest, size): (Digest, u64),
    ) -> Result<Follower, RegistryError> {
        let remote = cache.settings.remote(repository);
        let remote = remote.ok_or_else(|| crate::blob::unknown(&digest))?;
        if size > limit::BLOB_BYTES {
            return Err(Problem::new(ErrorCode::TooLarge, "blob is larger than this registry takes").into());
        }
        let key = (repository.clone(), (cache.settings.bearer(), digest, size));
        let fetch = || Fetch {
            registry: self.clone(),
            cache: cache.clone(),
            repository: repository.clone(),
            remote,
            digest,
            size,
            received: AtomicU64::new(0),
        };
        let (progress, part) = self.inner.fetches.open.follow(&self.inner.tasks, key, |flight| {
            let fetch = fetch();
            async move {
                let outcome = fetch.run(flight.told()).await;
                flight.end(|it| it.end = Some(outcome));
            }
        });
        Ok(Follower { progress, size, part })
    }

    /// Waits until a blob is here and `repository` may open it.
    pub(crate) async fn fetched(
        &self,
        cache: &Arc<Cache>,
        repository: &RepoName,
        (digest, size): (Digest, u64),
    ) -> Result<(), RegistryError> {
        if self.is_here(repository, &digest).await? {
            return Ok(());
        }
        self.follow(cache, repository, (digest, size))?.finished().await
    }

    async fn is_here(&self, repository: &RepoName, digest: &Digest) -> Result<bool, RegistryError> {
        let row = db::blob(self.db(), digest).await?;
        Ok(row.is_some_and(|row| row.is_readable())
            && !db::reaching(self.db(), (repository, digest), db::Reaching::Opens, "", 1).await?.is_empty())
    }

    /// Has the config and the layers of a manifest fetched that came from an upstream, unless they are here.
    pub(crate) async fn fill_behind(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        if db::filled(self.db(), repository, digest).await? == Some(false) {
            let key = (repository.clone(), *digest);
            let work = self.clone().fill(repository.clone(), *digest);
            drop(self.inner.fills.begin(&self.inner.tasks, key, work));
        }
        Ok(())
    }

    async fn fill(self, repository: RepoName, digest: Digest) {
        if let Err(error) = self.fill_in_turn(&repository, &digest).await {
            let reason = seaworthy_store::chain(&error);
            tracing::warn!(%repository, %digest, reason, "an image could not be fetched as a whole");
        }
    }

    async fn fill_in_turn(&self, repository: &RepoName, digest: &Digest) -> Result<(), RegistryError> {
        let turn = match self.inner.caches.of(repository).await? {
            Some(cache) => self.turn(&cache, |turns| &turns.fills).await.map(Some),
            None => Ok(None),
        };
        match turn {
            Ok(_turn) => self.fill_now(repository, digest).await,
            Err(_) => self.put_off(repository, digest).await,
        }
    }

    /// Has an image fetched later, behind those that are due by then.
    async fn put_off(&self, repository: &RepoName, digest: &Digest) -> Result<(), RegistryError> {
        let due = self.inner.clock.now().plus_seconds(again(0));
        self.in_upkeep((repository.clone(), *digest, due), |(repository, digest, due), tx| {
            Box::pin(async move { db::put_off_fill(tx, repository, digest, *due).await })
        })
        .await
    }

    /// Fetches all of an image that is not here.
    pub(crate) async fn fill_now(&self, repository: &RepoName, digest: &Digest) -> Result<(), RegistryError> {
        let context = (repository.clone(), *digest, self.inner.clock.now());
        let is_wanted = self
            .in_upkeep(context, |(repository, digest, now), tx| {
                Box::pin(async move {
                    // A server that ends has it done by whoever comes by then.
                    let again = again(db::fill_tries(tx, repository, digest).await?);
                    db::fill_from(tx, repository, digest, now.plus_seconds(again)).await?;
                    Ok(db::filled_in(tx, repository, digest).await? == Some(false))
                })
            })
            .await?;
        let Some(cache) = self.inner.caches.of(repository).await?.filter(|_| is_wanted) else {
            return Ok(());
        };
        let Some((bytes, media_type)) = self.manifest_bytes(repository, digest).await? else {
            return self.forget_fill(repository, digest).await;
        };
        let manifest = Manifest::parse(&bytes, Some(&media_type))?;
        let wanted: BTreeMap<Digest, u64> = claimed_sizes(&manifest).into_iter().collect();
        stream::iter(wanted)
            .map(|blob| self.fetched(&cache, repository, blob))
            .buffer_unordered(limit::FILLS_PER_IMAGE)
            .try_collect::<()>()
            .await?;
        self.filled(repository, digest, &manifest).await
    }

    async fn forget_fill(&self, repository: &RepoName, digest: &Digest) -> Result<(), RegistryError> {
        let context = (repository.clone(), *digest);
        self.in_upkeep(context, |(repository, digest), tx| {
            Box::pin(async move { db::stop_fill(tx, repository, digest).await })
        })
        .await
    }

    /// Notes that all of an image is here, and has it inspected.
    async fn filled(
        &self,
        repository: &RepoName,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let mut pushed: ManifestPushed = describe(repository, *digest, manifest, self.inner.clock.now());
        if let Manifest::Image(image) = manifest
            && !pushed.is_image
        {
            pushed.is_image = self.may_be_run(&image.config.digest).await?;
        }
        let consumers = self.inner.config.manifest_consumers;
        self.in_upkeep((pushed, consumers), |(pushed, consumers), tx| {
            Box::pin(async move {
                let is_new = db::set_filled(tx, &pushed.repository, &pushed.digest).await?;
                if is_new && consumers.contains(&consumer::INSPECTION) {
                    let event = Event::ManifestPushed(pushed.clone());
                    tx.deliver(consumer::INSPECTION, &event, pushed.pushed_at).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Goes on with images that were not fetched as a whole when a server ended or an upstream was away, until
    /// cancelled; then ends what is under way.
    pub async fn caching(self, cancel: CancellationToken) {
        loop {
            if let Err(error) = self.resume_fills().await {
                tracing::warn!(error = %seaworthy_store::chain(&error), "looking for images to fetch failed");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(limit::COLLECT_SECONDS)) => {}
                () = cancel.cancelled() => break,
            }
        }
        self.inner.tasks.end().await;
    }

    pub(crate) async fn resume_fills(&self) -> Result<(), RegistryError> {
        let most = i64::try_from(limit::FILLS).unwrap_or(i64::MAX);
        for (repository, digest) in db::due_fills(self.db(), self.inner.clock.now(), most).await? {
            self.fill_behind(&repository, &digest).await?;
        }
        Ok(())
    }
}

/// In how many seconds an image is fetched again that was tried so often before.
pub(super) fn again(tries: i64) -> i64 {
    (30 << tries.clamp(0, 16)).min(limit::FILL_SECONDS_MAX)
}

/// One blob to be fetched.
struct Fetch {
    registry: Registry,
    cache: Arc<Cache>,
    repository: RepoName,
    /// What the upstream calls it.
    remote: RepoName,
    digest: Digest,
    size: u64,
    /// Bytes that came, whatever came of them.
    received: AtomicU64,
}

impl Fetch {
    async fn run(&self, told: &watch::Sender<Progress>) -> Result<(), Problem> {
        let trouble = match self.bring(told).await {
            Ok(()) => return Ok(()),
            Err(trouble) => trouble,
        };
        let (digest, repository) = (self.digest, &self.repository);
        let upstream = self.cache.upstream.host();
        let (problem, reason) = match trouble {
            Trouble::Upstream(UpstreamError::NotFound { .. }) => {
                return Err(crate::blob::unknown(&self.digest));
            }
            Trouble::Upstream(error) => (error.problem(), seaworthy_store::chain(&error)),
            Trouble::Room(error) => {
                let reason = seaworthy_store::chain(&error);
                (error.into(), reason)
            }
        };
        tracing::warn!(%digest, %repository, upstream, reason, "a blob did not come from its upstream");
        Err(problem)
    }

    async fn bring(&self, told: &watch::Sender<Progress>) -> Result<(), Trouble> {
        let _turn = self.registry.fetch_turn(&self.cache).await;
        let mut is_given = false;
        loop {
            let key = (self.cache.settings.bearer(), self.digest, self.size);
            let _listed = match self.registry.inner.fetches.coming.list(key, told) {
                Ok(listed) => listed,
                Err(other) if is_given => {
                    relay(other, told).await?;
                    continue;
                }
                // Another repository has it fetched: it is for this one, too, if the upstream has it there.
                Err(_) => {
                    is_given = self.is_given().await?;
                    if !is_given {
                        return self.fetch(told).await;
                    }
                    continue;
                }
            };
            if self.was_given().await? && (is_given || self.is_given().await?) && self.link_again().await? {
                return Ok(());
            }
            return self.fetch(told).await;
        }
    }

    /// True when the upstream says that it has the blob for this repository; false when it has to be fetched to
    /// know.
    async fn is_given(&self) -> Result<bool, UpstreamError> {
        match self.cache.upstream.has_blob(&self.remote, &self.digest, Right::Pull).await {
            Ok(true) => Ok(true),
            Ok(false) => {
                Err(UpstreamError::NotFound { host: self.cache.upstream.host().to_owned(), is_told: false })
            }
            Err(error) if error.is_trouble() || matches!(error, UpstreamError::Resting { .. }) => Err(error),
            // Who knows no HEAD, or redirects to who does not, may give it all the same.
            Err(_) => Ok(false),
        }
    }

    async fn fetch(&self, told: &watch::Sender<Progress>) -> Result<(), Trouble> {
        // Not for nothing: what does not fit is not fetched.
        let room = self.registry.room(&self.repository, Some(&self.digest)).await?;
        room.check(self.size).map_err(RegistryError::from)?;
        let id = UploadId::generate();
        let mut upload =
            self.registry.blobs().begin(ROOM, id, self.digest.algorithm()).map_err(RegistryError::Blob)?;
        let patience = self.registry.inner.config.upstreams.patience;
        let received = in_pace(self.receive(&mut upload, told), &self.received, patience).await;
        let late = || UpstreamError::Late { host: self.cache.upstream.host().to_owned() };
        if let Err(trouble) = received.unwrap_or_else(|| Err(late().into())) {
            self.registry.blobs().discard(ROOM, id).await.map_err(RegistryError::Blob)?;
            return Err(trouble);
        }
        let stored = match upload.finish_copy(self.digest).await {
            Ok(stored) => stored,
            Err(seaworthy_store::BlobError::DigestMismatch { .. }) => {
                return Err(self.wrong("a blob with another digest").into());
            }
            Err(error) => return Err(RegistryError::Blob(error).into()),
        };
        self.registry.keep_fetched(&self.repository, stored, self.cache.settings.bearer()).await?;
        Ok(())
    }

    /// True when this upstream gave us the bytes, for whichever repository.
    async fn was_given(&self) -> Result<bool, RegistryError> {
        let bearer = self.cache.settings.bearer();
        Ok(db::was_given(self.registry.db(), &self.digest, &bearer).await?)
    }

    /// What this upstream gave us for another repository, and has for this one, needs not be fetched again.
    async fn link_again(&self) -> Result<bool, RegistryError> {
        let bearer = self.cache.settings.bearer();
        let context = (self.repository.clone(), self.digest, bearer, self.registry.inner.clock.now());
        self.registry
            .db()
            .upkeep(context, |(repository, digest, bearer, now), tx| {
                Box::pin(async move {
                    let is_linked = db::link_again(tx, repository, digest, bearer, *now).await?;
                    if is_linked && let Some(row) = db::blob_in(tx, digest).await? {
                        quota::hold(tx, repository, (digest, row.size, false), *now).await?;
                    }
                    Ok(is_linked)
                })
            })
            .await
    }

    /// Takes all bytes in, going on where a connection broke.
    async fn receive(&self, upload: &mut Upload, told: &watch::Sender<Progress>) -> Result<(), Trouble> {
        let (mut vain, mut anew) = (0, 0);
        for _ in 0..limit::FETCH_ATTEMPTS_MAX {
            let before = upload.offset();
            let mut is_anew = false;
            let error = match self.receive_some(upload, told, &mut is_anew).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Upstream(error)) if error.is_trouble() && error.retry_after().is_none() => error,
                Err(trouble) => return Err(trouble),
            };
            vain = if upload.offset() > before { 0 } else { vain + 1 };
            anew += u32::from(is_anew);
            // Who knows no ranges and broke off before what is here would have to send all of that again.
            let is_lost = is_anew && vain > 0;
            if is_lost || vain >= limit::FETCH_ATTEMPTS || anew >= limit::FETCHES_ANEW {
                return Err(error.into());
            }
            let (digest, offset) = (self.digest, upload.offset());
            tracing::info!(%digest, offset, reason = seaworthy_store::chain(&error), "a fetch goes on");
            let rest = vain.max(anew);
            if rest > 0 {
                tokio::time::sleep(Duration::from_millis(100 << rest)).await;
            }
        }
        Err(self.wrong("a blob in too many pieces").into())
    }

    /// Takes in what comes of one request; notes when it begins before what is here.
    async fn receive_some(
        &self,
        upload: &mut Upload,
        told: &watch::Sender<Progress>,
        is_anew: &mut bool,
    ) -> Result<(), Trouble> {
        let from = upload.offset();
        let Arriving { mut flow, start } = self.cache.upstream.blob(&self.remote, &self.digest, from).await?;
        // Who does not know ranges sends everything once more.
        let mut known = from - start;
        *is_anew = known > 0;
        while let Some(bytes) = flow.next().await? {
            if upload.offset() == 0 && known == 0 {
                told.send_modify(|it| it.begin(&bytes));
            }
            self.take(upload, bytes, &mut known).await?;
            // What is there already is told of together.
            while let Some(more) = flow.next().now_or_never() {
                let Some(bytes) = more? else { break };
                self.take(upload, bytes, &mut known).await?;
            }
            self.tell(upload, told).await?;
        }
        if upload.offset() < self.size {
            return Err(self.wrong("a blob that is shorter than its manifest says").into());
        }
        Ok(())
    }

    async fn take(&self, upload: &mut Upload, mut bytes: Bytes, known: &mut u64) -> Result<(), Trouble> {
        self.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let again = usize::try_from(*known).unwrap_or(usize::MAX).min(bytes.len());
        bytes.advance(again);
        *known -= again as u64;
        if upload.offset() + bytes.len() as u64 > self.size {
            return Err(self.wrong("a blob that is longer than its manifest says").into());
        }
        upload.write(bytes).await.map_err(RegistryError::Blob)?;
        Ok(())
    }

    async fn tell(&self, upload: &mut Upload, told: &watch::Sender<Progress>) -> Result<(), Trouble> {
        upload.write_out().await.map_err(RegistryError::Blob)?;
        let written = upload.offset();
        if told.borrow().file.is_some() {
            told.send_modify(|it| it.written = written);
        } else {
            let file = upload.growing().map_err(RegistryError::Blob)?.map(Arc::new);
            told.send_modify(|it| (it.written, it.file) = (written, file));
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> UpstreamError {
        UpstreamError::Wrong { host: self.cache.upstream.host().to_owned(), why: why.to_owned() }
    }
}

/// Tells how another fetch of the same bytes goes on, but for its end: what comes of it is for who began it. An
/// error when bytes were told of that may be wrong.
async fn relay(
    mut other: watch::Receiver<Progress>,
    told: &watch::Sender<Progress>,
) -> Result<(), RegistryError> {
    loop {
        let now = other.borrow_and_update().clone();
        match now.end {
            None => drop(told.send_replace(now)),
            Some(Err(problem)) if told.borrow().written > 0 => return Err(problem.into()),
            Some(_) => return Ok(()),
        }
        if other.changed().await.is_err() {
            // It ended with the server.
            return Err(super::follow::ended());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_apart() {
        assert_eq!((again(0), again(1), again(2)), (30, 60, 120));
        assert_eq!(again(6), 30 * 64);
        assert_eq!(again(7), limit::FILL_SECONDS_MAX);
        assert_eq!(again(i64::MAX), limit::FILL_SECONDS_MAX);
    }
}
