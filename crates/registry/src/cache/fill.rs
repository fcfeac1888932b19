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

use super::{Cache, Follower, flight::Flights, follow::Progress, pace::in_pace};
use crate::{
    ROOM, Registry, RegistryError,
    db::{self, DueFill},
    limit,
    push::{claimed_sizes, describe},
    quota,
    upstream::{Arriving, Right, Trouble, UpstreamError},
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
        let mut after = None;
        loop {
            after = self.resume_fills(after.as_ref()).await.unwrap_or_else(|error| {
                tracing::warn!(error = %seaworthy_store::chain(&error), "looking for images to fetch failed");
                None
            });
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(limit::COLLECT_SECONDS)) => {}
                () = cancel.cancelled() => break,
            }
        }
        self.inner.tasks.end().await;
    }

    /// Goes on with images that are due behind `after` and whose caches have turns: those of one whose upstream is slow
    /// hold no others up. Returns the last that was looked at, behind which the next look begins; `None` after the last.
    pub(crate) async fn resume_fills(
        &self,
        after: Option<&DueFill>,
    ) -> Result<Option<DueFill>, RegistryError> {
        let most = limit::FILLS_LOOKED_AT;
        let sql_most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut due = db::due_fills(self.db(), self.inner.clock.now(), after, sql_most).await?;
        let mut free = self.free_fills();
        for DueFill { repository, digest, .. } in &due {
            match self.inner.caches.of(repository).await? {
                None => self.forget_fill(repository, digest).await?,
                Some(_) if self.inner.fills.is_under_way(&(repository.clone(), *digest)) => {}
                Some(cache) if free.take(&cache) => self.fill_behind(repository, digest).await?,
                Some(_) => {}
            }
        }
        Ok(due.pop().filter(|_| due.len() + 1 == most))
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
            Ok(()) => {
                let place = (&*self.cache, &self.repository);
                return Ok(self.registry.name_where_listed(place, self.digest).await?);
            }
            Err(trouble) => trouble,
        };
        let (digest, repository) = (self.digest, &self.repository);
        let upstream = self.cache.upstream.host();
        let (problem, reason) = match trouble {
            Trouble::Far(UpstreamError::NotFound { .. }) => {
                return Err(crate::blob::unknown(&self.digest));
            }
            Trouble::Far(error) => (error.problem(), seaworthy_store::chain(&error)),
            Trouble::Here(error) => {
                let reason = seaworthy_store::chain(&error);
                (error.into(), reason)
            }
        };
        tracing::warn!(%digest, %repository, upstream, reason, "a blob did not come from its upstream");
        Err(problem)
    }

    async fn bring(&self, told: &watch::Sender<Progress>) -> Result<(), Trouble> {
        let mut turn = self.registry.fetch_turn(&self.cache).await;
        let mut is_given = false;
        loop {
            let key = (self.cache.settings.bearer(), self.digest, self.size);
            let _listed = match self.registry.inner.fetches.coming.list(key, told) {
                Ok(listed) => listed,
                Err(other) if is_given => {
                    // Nothing is asked meanwhile: the turn is another's.
                    drop(turn.take());
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
            let _turn = match turn {
                Some(turn) => Some(turn),
                None => self.registry.fetch_turn(&self.cache).await,
            };
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
                Err(Trouble::Far(error)) if error.is_trouble() && error.retry_after().is_none() => error,
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
    use seaworthy_access::Identity;
    use seaworthy_model::Timestamp;
    use seaworthy_store::{DbError, args};
    use seaworthy_testkit::{TestDb, db_tests};
    use serde_json::json;

    use super::*;
    use crate::collect::tests::client::{ROOMS, World, until};

    db_tests!(super::ROOMS; an_image_is_put_off_to_later_and_never_sooner, those_of_a_slow_upstream_hold_no_others_up, each_cache_has_one_free_whoever_has_the_others);

    async fn cache(world: &World, prefix: &str) -> Arc<Cache> {
        let new = json!({"prefix": prefix, "upstream": "https://r.example"});
        let new = serde_json::from_value(new).expect("a cache");
        world.registry.set_cache(&Identity::operator(0), &new).await.expect("a cache");
        let repository = format!("{prefix}/a").parse().expect("a name");
        world.registry.inner.caches.of(&repository).await.expect("read").expect("there")
    }

    /// Has so many images of a repository due, one after the other.
    async fn put_due(world: &World, repository: &'static str, due: std::ops::Range<usize>) {
        let put = world.test.db.upkeep(due, move |due, tx| {
            Box::pin(async move {
                for due in due.clone() {
                    let digest = Digest::sha256(format!("{repository} {due}").as_bytes()).to_string();
                    let due = i64::try_from(due).expect("small");
                    let sql = "INSERT INTO registry_cached (repository, digest, filled, due, tries)
                         VALUES ($1, $2, 0, $3, 0)";
                    tx.execute(sql, args![repository, &digest, due]).await?;
                }
                Ok::<_, DbError>(())
            })
        });
        put.await.expect("rows");
    }

    /// How many were begun. None has a manifest, so it ends there.
    async fn begun(world: &World, repository: &str) -> usize {
        let sql = "SELECT 1 FROM registry_cached WHERE repository = $1 AND tries = 1 AND due IS NULL";
        world.test.db.fetch_all(sql, args![repository]).await.expect("rows").len()
    }

    async fn an_image_is_put_off_to_later_and_never_sooner(test: TestDb) {
        let world = World::new(test).await;
        let now = world.test.db.now();
        let (soon, late) = (now.plus_seconds(1), now.plus_seconds(limit::FILL_SECONDS_MAX));
        for (number, was) in [Some(soon), Some(late), None].into_iter().enumerate() {
            let repository: RepoName = format!("hub/a{number}").parse().expect("a name");
            let digest = Digest::sha256(b"image");
            let was = was.map(Timestamp::as_micros);
            let put = world.test.db.upkeep((repository.clone(), digest), move |(repository, digest), tx| {
                Box::pin(async move {
                    let sql = "INSERT INTO registry_cached (repository, digest, filled, due, tries)
                         VALUES ($1, $2, 0, $3, 0)";
                    tx.execute(sql, args![repository.as_str(), &digest.to_string(), was]).await
                })
            });
            put.await.map_err(|error: DbError| error).expect("a row");
            world.registry.put_off(&repository, &digest).await.expect("put off");
            let sql = "SELECT due FROM registry_cached WHERE repository = $1";
            let rows = world.test.db.fetch_all(sql, args![repository.as_str()]).await.expect("rows");
            let due = rows[0].int(0).expect("a time");
            let again = now.plus_seconds(again(0)).as_micros();
            assert_eq!(due == late.as_micros(), was == Some(late.as_micros()), "{number}");
            assert!(due >= again, "{number}");
        }
    }

    async fn those_of_a_slow_upstream_hold_no_others_up(test: TestDb) {
        let world = World::new(test).await;
        let slow = cache(&world, "slow").await;
        cache(&world, "well").await;
        let turns = u32::try_from(limit::CACHE_FILLS).expect("small");
        let _held = slow.turns.fills.clone().try_acquire_many_owned(turns).expect("all of them");
        let most = limit::FILLS_LOOKED_AT;
        put_due(&world, "slow/a", 0..most - 1).await;
        put_due(&world, "well/a", most - 1..most + limit::CACHE_FILLS - 1).await;
        // The first of the others is the last that is looked at once; the rest is behind.
        let mut after = world.registry.resume_fills(None).await.expect("looked");
        let last = after.clone().map(|it| (it.repository.to_string(), it.due.as_micros()));
        assert_eq!(last, Some(("well/a".to_owned(), i64::try_from(most - 1).expect("small"))));
        until(async || begun(&world, "well/a").await == 1).await;
        after = world.registry.resume_fills(after.as_ref()).await.expect("looked");
        assert_eq!(after, None);
        until(async || begun(&world, "well/a").await == limit::CACHE_FILLS).await;
        assert_eq!(begun(&world, "slow/a").await, 0);
        let first = ("slow/a".parse().expect("a name"), Digest::sha256(b"slow/a 0"));
        assert!(!world.registry.inner.fills.is_under_way(&first), "nor does it wait");
        // Nobody fetches what is below no cache any more.
        world
            .registry
            .remove_cache(&Identity::operator(0), &"slow".parse().expect("a prefix"))
            .await
            .expect("removed");
        world.registry.resume_fills(None).await.expect("looked");
        assert_eq!(world.registry.resume_fills(None).await.expect("looked"), None);
        let sql = "SELECT 1 FROM registry_cached WHERE due IS NOT NULL";
        assert!(world.test.db.fetch_all(sql, args![]).await.expect("rows").is_empty());
    }

    async fn each_cache_has_one_free_whoever_has_the_others(test: TestDb) {
        let world = World::new(test).await;
        let (one, two) = (cache(&world, "one").await, cache(&world, "two").await);
        let mut free = world.registry.free_fills();
        for _ in 0..limit::CACHE_FILLS {
            assert!(free.take(&one));
        }
        assert!(!free.take(&one) && free.take(&two));
        let turns = u32::try_from(limit::FILLS).expect("small");
        let all = world.registry.inner.turns.fills.clone();
        let _held = all.try_acquire_many_owned(turns).expect("all of them");
        let mut free = world.registry.free_fills();
        assert!(free.take(&one) && !free.take(&one) && free.take(&two) && !free.take(&two));
        let _first = one.first_turns.fills.clone().try_acquire_owned().expect("its first");
        assert!(!world.registry.free_fills().take(&one));
    }

    #[test]
    fn attempts_grow_apart() {
        assert_eq!((again(0), again(1), again(2)), (30, 60, 120));
        assert_eq!(again(6), 30 * 64);
        assert_eq!(again(7), limit::FILL_SECONDS_MAX);
        assert_eq!(again(i64::MAX), limit::FILL_SECONDS_MAX);
    }
}
