//! Images that a cache has before anybody asks for them: looked for by the clock, with what refers to them.

use std::{fmt, future::Future, str::FromStr, sync::Arc, time::Duration};

use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Problem, Timestamp};
use seaworthy_oci::{Digest, RepoName, Tag};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Cache;
use crate::{
    Registry, RegistryError, TagPattern,
    db::{self, MirrorKey},
    limit,
    path::ManifestName,
};

/// Rings when a cache was set.
pub(crate) const BELL: &str = "mirrors";

/// A repository as the upstream calls it, and which of its tags: `library/alpine`, `library/alpine:3.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mirror {
    pub(crate) repository: RepoName,
    /// None: all.
    pub(crate) tags: Option<TagPattern>,
}

impl Mirror {
    fn fits(&self, tag: &str) -> bool {
        self.tags.as_ref().is_none_or(|pattern| pattern.fits(tag))
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tags {
            None => write!(f, "{}", self.repository),
            Some(tags) => write!(f, "{}:{tags}", self.repository),
        }
    }
}

impl FromStr for Mirror {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (repository, tags) = match text.split_once(':') {
            Some((repository, tags)) => (repository, Some(tags.parse()?)),
            None => (text, None),
        };
        let repository = repository.parse().map_err(|error: seaworthy_oci::ReferenceError| {
            Problem::new(ErrorCode::Invalid, error.to_string())
                .hint("write the upstream's repository and a pattern of tags, such as `library/alpine:3.*`")
        })?;
        Ok(Self { repository, tags })
    }
}

impl TryFrom<String> for Mirror {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<Mirror> for String {
    fn from(mirror: Mirror) -> Self {
        mirror.to_string()
    }
}

/// How a mirror stands.
#[derive(Clone, Debug, Serialize)]
pub struct MirrorShown {
    /// The repository there, and which tags.
    pub mirror: String,
    /// When it is looked at next.
    pub due: Timestamp,
    /// When it was looked at last.
    pub looked_at: Option<Timestamp>,
    /// How many tags fitted then.
    pub tags: Option<u64>,
    /// Why not all of them are here, or what the upstream lacks of them itself.
    pub error: Option<String>,
}

impl Registry {
    /// Looks at what caches mirror when it is time, until cancelled.
    pub async fn mirroring(self, cancel: CancellationToken) {
        let bell = self.db().bell(BELL);
        let mut looking = JoinSet::new();
        loop {
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable();
            if let Err(error) = self.look_at_due(&mut looking).await {
                tracing::warn!(error = %seaworthy_store::chain(&error), "looking for images to mirror failed");
            }
            tokio::select! {
                () = &mut rung => {}
                Some(_) = looking.join_next(), if !looking.is_empty() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = cancel.cancelled() => break,
            }
        }
        looking.shutdown().await;
    }

    async fn look_at_due(&self, looking: &mut JoinSet<()>) -> Result<(), RegistryError> {
        while looking.len() < limit::MIRRORS_AT_ONCE {
            let now = self.inner.clock.now();
            let context = (now, now.plus_seconds(limit::MIRROR_CLAIM_SECONDS));
            let claimed = self
                .in_upkeep(context, |(now, until), tx| Box::pin(db::claim_mirror(tx, *now, *until)))
                .await?;
            let Some((key, tries)) = claimed else { return Ok(()) };
            let registry = self.clone();
            looking.spawn(async move {
                if let Err(error) = registry.look_through_mirror(&key, tries).await {
                    let reason = seaworthy_store::chain(&error);
                    tracing::warn!(?key, reason, "what came of a mirror could not be noted");
                }
            });
        }
        Ok(())
    }

    async fn look_through_mirror(&self, key: &MirrorKey, tries: i64) -> Result<(), RegistryError> {
        let caches = self.inner.caches.all().await?;
        let cache = caches.iter().find(|cache| cache.settings.prefix.to_string() == key.prefix);
        let mirror =
            cache.and_then(|it| it.settings.mirrors.iter().find(|mirror| mirror.to_string() == key.mirror));
        let (Some(cache), Some(mirror)) = (cache, mirror) else {
            // Another server set it a moment ago: this one knows of it soon.
            let soon = self.inner.clock.now().plus_seconds(5);
            let context = (key.clone(), soon);
            return self
                .in_upkeep(context, |(key, soon), tx| Box::pin(db::hold_mirror(tx, key, *soon)))
                .await;
        };
        let looked = self.held_while(key, self.bring_all(cache, mirror)).await;
        let Looked { tags, failure, note } = looked.unwrap_or_else(Looked::failed);
        if let Some(reason) = &failure {
            tracing::warn!(prefix = key.prefix, mirror = key.mirror, reason, "not all of a mirror is here");
        }
        let now = self.inner.clock.now();
        let every = i64::from(cache.settings.mirror_seconds);
        let (tries, wait) = match &failure {
            Some(_) => (tries + 1, super::fill::again(tries).min(every)),
            None => (0, every),
        };
        let context = (key.clone(), tags, failure.or(note), tries, (now, now.plus_seconds(wait)));
        self.in_upkeep(context, |(key, tags, error, tries, times), tx| {
            Box::pin(db::settle_mirror(tx, key, (*tags, error.as_deref()), *tries, *times))
        })
        .await
    }

    /// Keeps others from looking while `work` goes on.
    async fn held_while<T>(&self, key: &MirrorKey, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let often = Duration::from_secs(limit::MIRROR_CLAIM_SECONDS.unsigned_abs() / 3);
        loop {
            if let Ok(done) = tokio::time::timeout(often, &mut work).await {
                return done;
            }
            let until = self.inner.clock.now().plus_seconds(limit::MIRROR_CLAIM_SECONDS);
            let held = self.in_upkeep((key.clone(), until), |(key, until), tx| {
                Box::pin(db::hold_mirror(tx, key, *until))
            });
            if let Err(error) = held.await {
                tracing::warn!(error = %seaworthy_store::chain(&error), "a mirror is not held any more");
            }
        }
    }

    /// Fetches all tags that fit.
    async fn bring_all(&self, cache: &Arc<Cache>, mirror: &Mirror) -> Result<Looked, String> {
        let mut looked = Looked { tags: Some(0), ..Looked::default() };
        let Some(local) = cache.settings.local(&mirror.repository) else { return Ok(looked) };
        let wanted = mirror.clone();
        let fits = move |tag: &Tag| wanted.fits(tag.as_str());
        let told = cache.upstream.tags(&mirror.repository, limit::MIRROR_TAGS, fits).await;
        let told = told.map_err(|error| seaworthy_store::chain(&error))?;
        looked.tags = Some(told.len() as u64);
        for tag in &told {
            match self.mirror_tag(cache, &local, tag).await {
                Ok(None) => {}
                Ok(Some(absent)) => {
                    let note =
                        || format!("{tag}: the upstream does not have `{absent}`, which an index names");
                    looked.note.get_or_insert_with(note);
                }
                Err(error) => {
                    looked.failure.get_or_insert_with(|| format!("{tag}: {}", told_as(error)));
                    if cache.upstream.rests() {
                        return Ok(looked);
                    }
                }
            }
        }
        // What is here and was not told of may be gone there: it is asked about as when somebody pulls it.
        let mut after = String::new();
        loop {
            let page = db::tags(self.db(), &local, &after, limit::PAGE.into())
                .await
                .map_err(|error| seaworthy_store::chain(&error))?;
            for tag in page.iter().filter_map(|tag| tag.parse::<Tag>().ok()) {
                if mirror.fits(tag.as_str()) && !told.contains(&tag) {
                    let name = ManifestName::Tag(tag);
                    self.bring(&Identity::system(), &local, &name).await.map_err(told_as)?;
                }
            }
            match page.last() {
                Some(last) if page.len() >= limit::PAGE as usize => after.clone_from(last),
                _ => return Ok(looked),
            }
        }
    }

    /// Fetches one tag as a whole, and what refers to it; returns something of it that the upstream does not have.
    async fn mirror_tag(
        &self,
        cache: &Arc<Cache>,
        local: &RepoName,
        tag: &Tag,
    ) -> Result<Option<Digest>, RegistryError> {
        let identity = Identity::system();
        let name = ManifestName::Tag(tag.clone());
        self.ask_again(local, &name);
        let served = self.bring(&identity, local, &name).await?;
        if let Some(super::Served::Stale(why)) = served {
            return Err(Problem::new(ErrorCode::Unavailable, why).into());
        }
        let Some(digest) = self.digest_of(local, tag).await? else { return Ok(None) };
        Ok(self.fetch_all_of(&identity, (cache, local), digest).await?.first().copied())
    }
}

/// What came of looking at a mirror.
#[derive(Default)]
struct Looked {
    /// How many tags fit.
    tags: Option<u64>,
    /// Why one of them is not here.
    failure: Option<String>,
    /// What one of them lacks at its upstream as well: it is here as it is there.
    note: Option<String>,
}

impl Looked {
    fn failed(why: String) -> Self {
        Self { failure: Some(why), ..Self::default() }
    }
}

fn told_as(error: RegistryError) -> String {
    let problem: Problem = error.into();
    problem.message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read() {
        for (text, tag, fits) in [
            ("library/alpine", "3.20", true),
            ("library/alpine:3.*", "3.20", true),
            ("library/alpine:3.*", "4.0", false),
            ("a:latest", "latest", true),
        ] {
            let mirror: Mirror = text.parse().expect("a mirror");
            assert_eq!((mirror.to_string().as_str(), mirror.fits(tag)), (text, fits));
        }
        for wrong in ["", ":1", "A", "a:", "a:b:c", "docker.io/library/a b", "a@sha256:00"] {
            assert!(wrong.parse::<Mirror>().is_err(), "{wrong}");
        }
    }
}
