//! Lists through a cache: which tags an upstream says that it has, and what refers to a manifest there. It is asked as
//! seldom as about a tag, once for all who wait, and its answer is kept in memory: what is named there and is not
//! here could not be pulled anyway while the upstream is away, and what is here is known without a list.

use std::{collections::BTreeMap, future::Future, hash::Hash, sync::Arc, time::Duration};

use quick_cache::Weighter;
use seaworthy_model::{Problem, Timestamp};
use seaworthy_oci::{Descriptor, Digest, RepoName, Tag, limit::REPO_NAME_BYTES};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Cache, CacheId, Said, Served,
    flight::{Flights, Part},
    turn::Turns,
};
use crate::{
    Registry, RegistryError, db::ReferrerRow, limit, lock::Locks, path::ManifestName, upstream::UpstreamError,
};

/// What is kept of an entry besides its letters, in bytes, about.
const ENTRY_BYTES: usize = 48;

/// An entry of a list.
pub(crate) trait Entry {
    /// What it takes in memory.
    fn bytes(&self) -> usize;

    /// How it is pulled.
    fn name(&self) -> ManifestName;
}

impl Entry for Tag {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.as_str().len()
    }

    fn name(&self) -> ManifestName {
        ManifestName::Tag(self.clone())
    }
}

/// A manifest that refers to another, as an upstream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Referrer {
    digest: Digest,
    media_type: String,
    artifact_type: String,
    size: u64,
    /// As JSON.
    annotations: String,
}

impl Entry for Referrer {
    fn bytes(&self) -> usize {
        let letters = [&self.media_type, &self.artifact_type, &self.annotations].map(String::len);
        size_of::<Self>() + ENTRY_BYTES + letters.iter().sum::<usize>()
    }

    fn name(&self) -> ManifestName {
        ManifestName::Digest(self.digest)
    }
}

impl From<Descriptor> for Referrer {
    fn from(it: Descriptor) -> Self {
        let annotations = it.annotations.filter(|all| !all.is_empty());
        Self {
            digest: it.digest,
            media_type: it.media_type,
            artifact_type: it.artifact_type.unwrap_or_default(),
            size: it.size,
            // Texts always serialise.
            annotations: annotations.and_then(|all| serde_json::to_string(&all).ok()).unwrap_or_default(),
        }
    }
}

impl Referrer {
    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn artifact_type(&self) -> &str {
        &self.artifact_type
    }

    /// Among those that are here.
    pub(crate) fn row(&self) -> ReferrerRow {
        ReferrerRow {
            digest: self.digest,
            media_type: self.media_type.clone(),
            artifact_type: self.artifact_type.clone(),
            size: self.size,
            annotation_bytes: self.annotations.len() as u64,
            annotations: Some(self.annotations.clone()).filter(|it| !it.is_empty()),
            locks: Locks::default(),
            is_here: false,
        }
    }
}

/// What is known of an upstream's list.
pub(crate) struct Told<T> {
    /// Whose answer it is: a cache that was changed learns anew.
    by: CacheId,
    /// Each once, in order; `None` when it has none, or never said so.
    entries: Option<Arc<[T]>>,
    /// When it said that.
    said_at: Timestamp,
    asked_at: Timestamp,
    /// Why it did not say so when it was asked last.
    trouble: Option<Problem>,
}

impl<T: Entry> Told<T> {
    pub(crate) fn entries(&self) -> Option<&[T]> {
        self.entries.as_deref()
    }

    pub(crate) const fn trouble(&self) -> Option<&Problem> {
        self.trouble.as_ref()
    }

    /// True when it is what the upstream has, and not what was known before.
    pub(crate) const fn is_current(&self) -> bool {
        self.entries.is_some() && self.trouble.is_none()
    }

    /// True when the same upstream said something else since.
    pub(crate) fn is_before(&self, said: Said) -> bool {
        said.by == self.by && self.said_at < said.at
    }

    fn holds(&self, now: Timestamp, seconds: u32) -> bool {
        now < self.asked_at.plus_seconds(i64::from(seconds))
    }

    fn served(&self, otherwise: Served) -> Served {
        match (&self.trouble, &self.entries) {
            (Some(problem), _) => Served::Stale(problem.message.clone()),
            (None, None) => Served::Unsaid,
            (None, Some(_)) => otherwise,
        }
    }
}

/// What is known of upstreams' lists of one kind.
pub(crate) struct Lists<K, T> {
    kept: Arc<Kept<K, T>>,
    open: Flights<K, Option<Arc<Told<T>>>>,
}

type Kept<K, T> = quick_cache::sync::Cache<K, Arc<Told<T>>, Weight>;

/// So few lists are expected that they are kept in one piece, where the longest one has room.
fn kept<K: Eq + Hash, T: Entry>() -> Kept<K, T> {
    Kept::with_weighter(32, limit::LISTS_BYTES, Weight)
}

#[derive(Clone)]
struct Weight;

impl<K, T: Entry> Weighter<K, Arc<Told<T>>> for Weight {
    fn weight(&self, _: &K, told: &Arc<Told<T>>) -> u64 {
        let entries = told.entries.iter().flat_map(|all| all.iter()).map(Entry::bytes).sum::<usize>();
        (entries + size_of::<(K, Told<T>)>() + REPO_NAME_BYTES) as u64
    }
}

impl<K, T> Default for Lists<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Entry + Send + Sync + 'static,
{
    fn default() -> Self {
        Self { kept: Arc::new(kept()), open: Flights::default() }
    }
}

impl<K, T> Lists<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Entry + Send + Sync + 'static,
{
    /// What `ask` says, each entry once and in order, unless that was asked less than `seconds` ago.
    async fn told<F>(
        &self,
        errand: ListErrand<K>,
        seconds: u32,
        ask: F,
    ) -> Result<(Arc<Told<T>>, Served), Problem>
    where
        F: Future<Output = Result<Vec<T>, UpstreamError>> + Send + 'static,
    {
        let known = |kept: &Kept<K, T>, errand: &ListErrand<K>| {
            kept.get(&errand.key).filter(|told| told.by == errand.cache.id)
        };
        let now = errand.registry.inner.clock.now();
        if let Some(told) = known(&self.kept, &errand).filter(|told| told.holds(now, seconds)) {
            let served = told.served(Served::Kept);
            return Ok((told, served));
        }
        let kept = self.kept.clone();
        let (registry, key) = (errand.registry.clone(), errand.key.clone());
        let work = async move {
            let before = known(&kept, &errand);
            // The errand before may have ended since it was looked for.
            if let Some(told) = before.as_ref().filter(|told| told.holds(now, seconds)) {
                return told.clone();
            }
            let turn = errand.registry.turn(&errand.cache, errand.turns).await;
            // However slow it is, others wait for this.
            let asked = match &turn {
                Ok(_) => timeout(Duration::from_secs(limit::ERRAND_SECONDS), ask).await.ok(),
                Err(_) => None,
            };
            let late = || UpstreamError::Late { host: errand.cache.upstream.host().to_owned() };
            let (told, holds) = errand.learnt(before.as_deref(), asked.unwrap_or_else(|| Err(late())));
            let told = Arc::new(told);
            if holds {
                kept.insert(errand.key, told.clone());
            }
            told
        };
        let (told, part) = self.open.join(&registry.inner.tasks, key, work).await?;
        let served = told.served(if part == Part::Joined { Served::Joined } else { Served::Fetched });
        Ok((told, served))
    }
}

/// True when nobody was told of this trouble yet: that an upstream is left alone is said when that begins.
fn is_news<T>(error: &UpstreamError, before: Option<&Told<T>>) -> bool {
    !matches!(error, UpstreamError::Resting { .. }) && before.is_none_or(|before| before.trouble.is_none())
}

/// One list to be asked for.
struct ListErrand<K> {
    registry: Registry,
    cache: Arc<Cache>,
    repository: RepoName,
    key: K,
    turns: fn(&Turns) -> &Arc<Semaphore>,
}

impl<K> ListErrand<K> {
    /// What is known after an answer, and whether that holds for a while: an upstream in trouble is asked again, as far
    /// as its breaker lets it.
    fn learnt<T: Entry>(
        &self,
        before: Option<&Told<T>>,
        answer: Result<Vec<T>, UpstreamError>,
    ) -> (Told<T>, bool) {
        let now = self.registry.inner.clock.now();
        let told =
            |entries, said_at, trouble| Told { by: self.cache.id, entries, said_at, asked_at: now, trouble };
        let known = before.and_then(|before| before.entries.clone());
        match answer {
            Ok(entries) => {
                self.are_there(&entries);
                (told(Some(entries.into()), now, None), true)
            }
            // What stands in front of a registry answers so too, while that is away.
            Err(UpstreamError::NotFound { is_told, .. }) if is_told || known.is_none() => {
                (told(None, now, None), true)
            }
            Err(error) => {
                let (upstream, reason) = (self.cache.upstream.host(), seaworthy_store::chain(&error));
                if is_news(&error, before) {
                    tracing::warn!(upstream, reason, "a list did not come from its upstream");
                } else {
                    tracing::debug!(upstream, reason, "a list does still not come from its upstream");
                }
                let said_at = before.map_or(now, |before| before.said_at);
                let is_over = !error.is_trouble() && !matches!(error, UpstreamError::Resting { .. });
                (told(known, said_at, Some(error.problem())), is_over)
            }
        }
    }

    /// What is listed may be pulled at once, though it was not there a moment ago.
    fn are_there(&self, entries: &[impl Entry]) {
        let absent = &self.registry.inner.absent;
        for entry in entries.iter().take_while(|_| !absent.is_empty()) {
            absent.remove(&(self.repository.clone(), entry.name()));
        }
    }
}

impl Registry {
    /// The tags that the upstream of a cache says that it has.
    pub(crate) async fn told_tags(
        &self,
        cache: &Arc<Cache>,
        repository: &RepoName,
    ) -> Result<(Arc<Told<Tag>>, Served), RegistryError> {
        let remote = cache.settings.remote(repository);
        let remote = remote.ok_or_else(|| crate::manifest::unknown(repository))?;
        let errand = ListErrand {
            registry: self.clone(),
            cache: cache.clone(),
            repository: repository.clone(),
            key: repository.clone(),
            turns: |turns| &turns.tags,
        };
        let asked = cache.clone();
        let ask = Box::pin(async move {
            let mut tags = asked.upstream.tags(&remote, limit::LISTED_TAGS, |_| true).await?;
            tags.sort_unstable();
            tags.dedup();
            Ok(tags)
        });
        let seconds = cache.settings.check_seconds;
        Ok(self.inner.tag_lists.told(errand, seconds, ask).await?)
    }

    /// What the upstream of a cache says that refers to `subject`, unless it said so less than `seconds` ago.
    pub(crate) async fn told_referrers(
        &self,
        cache: &Arc<Cache>,
        (repository, subject): (&RepoName, &Digest),
        seconds: u32,
    ) -> Result<(Arc<Told<Referrer>>, Served), RegistryError> {
        let remote = cache.settings.remote(repository);
        let remote = remote.ok_or_else(|| crate::manifest::unknown(repository))?;
        let errand = ListErrand {
            registry: self.clone(),
            cache: cache.clone(),
            repository: repository.clone(),
            key: (repository.clone(), *subject),
            turns: |turns| &turns.referrers,
        };
        let (asked, subject) = (cache.clone(), *subject);
        let ask = Box::pin(async move {
            let mut listed: Vec<Referrer> =
                asked.upstream.referrers(&remote, &subject).await?.into_iter().map(Referrer::from).collect();
            // One manifest is one referrer, whatever else is said of it.
            listed.sort_by_key(|it| it.digest);
            listed.dedup_by_key(|it| it.digest);
            Ok(listed)
        });
        Ok(self.inner.referrer_lists.told(errand, seconds, ask).await?)
    }
}

/// By its key, what is here of something and what was told of it.
type Abreast<K, H, T> = BTreeMap<K, (Option<H>, Option<T>)>;

/// What is here and what was told side by side, in one order, as far as both were read: behind that the next stretch
/// begins. `None` after the last. Each list was read for `most` entries.
pub(crate) fn abreast<K: Ord + Clone, H, T>(
    held: Vec<(K, H)>,
    told: Vec<(K, T)>,
    most: usize,
) -> (Abreast<K, H, T>, Option<K>) {
    let end = |last: Option<&K>, count: usize| last.filter(|_| count >= most).cloned();
    let until =
        [end(held.last().map(|(key, _)| key), held.len()), end(told.last().map(|(key, _)| key), told.len())];
    let until = until.into_iter().flatten().min();
    let is_in = |key: &K| until.as_ref().is_none_or(|until| key <= until);
    let mut all: Abreast<K, H, T> = BTreeMap::new();
    for (key, held) in held.into_iter().filter(|(key, _)| is_in(key)) {
        all.entry(key).or_insert((None, None)).0 = Some(held);
    }
    for (key, told) in told.into_iter().filter(|(key, _)| is_in(key)) {
        all.entry(key).or_insert((None, None)).1 = Some(told);
    }
    (all, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T>(entries: Vec<T>) -> Arc<Told<T>> {
        let at = Timestamp::from_seconds(0);
        let entries = Some(entries.into());
        Arc::new(Told { by: CacheId::NONE, entries, said_at: at, asked_at: at, trouble: None })
    }

    #[test]
    fn a_trouble_is_told_once() {
        let host = || "a.example".to_owned();
        let resting = UpstreamError::Resting { host: host(), seconds: 1 };
        let wrong = UpstreamError::Wrong { host: host(), why: String::new() };
        let well = told(vec![tag(1)]);
        let problem = Some(wrong.problem());
        let ill = Told { by: CacheId::NONE, entries: None, trouble: problem, ..*well };
        for (before, is_told) in [(None, true), (Some(&*well), true), (Some(&ill), false)] {
            assert_eq!(is_news(&wrong, before), is_told);
            assert!(!is_news(&resting, before), "its breaker says so");
        }
    }

    fn tag(number: usize) -> Tag {
        format!("{number:0>128}").parse().expect("a tag")
    }

    #[test]
    fn the_longest_list_is_kept_and_all_are_bounded() {
        let tags = told((0..limit::LISTED_TAGS).map(tag).collect());
        let lists = kept();
        lists.insert(0, tags.clone());
        assert!(lists.get(&0).is_some());
        for number in 1..8 {
            lists.insert(number, tags.clone());
            assert!(lists.weight() <= limit::LISTS_BYTES, "{}", lists.weight());
        }
        let referrer = |annotations: usize| Referrer {
            digest: Digest::sha256(b"x"),
            media_type: "x".repeat(100),
            artifact_type: "x".repeat(100),
            size: 1,
            annotations: "x".repeat(annotations),
        };
        let each = limit::LIST_BYTES_MAX / limit::LISTED_REFERRERS;
        let lists = kept();
        lists.insert(0, told((0..limit::LISTED_REFERRERS).map(|_| referrer(each)).collect()));
        assert!(lists.get(&0).is_some(), "as much as is read of one list");
        lists.insert(1, told(vec![referrer(usize::try_from(limit::LISTS_BYTES).expect("small"))]));
        assert!(lists.get(&1).is_none() && lists.weight() <= limit::LISTS_BYTES);
    }

    #[test]
    fn two_lists_are_read_side_by_side() {
        let list = |keys: &[u8]| keys.iter().map(|key| (*key, *key)).collect::<Vec<_>>();
        let read = |held: &[u8], told: &[u8]| {
            let (all, until) = abreast(list(held), list(told), 3);
            let all: Vec<_> =
                all.into_iter().map(|(key, (held, told))| (key, held.is_some(), told.is_some())).collect();
            (all, until)
        };
        for (held, told, expected, until) in [
            (&[][..], &[][..], vec![], None),
            (&[1], &[1, 2], vec![(1, true, true), (2, false, true)], None),
            (&[2], &[1], vec![(1, false, true), (2, true, false)], None),
            // Each of them may go on where it was read to its bound.
            (&[1, 2, 3], &[4], vec![(1, true, false), (2, true, false), (3, true, false)], Some(3)),
            (&[9], &[1, 2, 3], vec![(1, false, true), (2, false, true), (3, false, true)], Some(3)),
            (
                &[1, 3, 5],
                &[1, 2, 4],
                vec![(1, true, true), (2, false, true), (3, true, false), (4, false, true)],
                Some(4),
            ),
        ] {
            assert_eq!(read(held, told), (expected, until), "{held:?} {told:?}");
        }
    }
}
