//! Asking: from memory, else one primary-key read; what is pending is waited for, not computed.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::Verdict;
use seaworthy_store::{args, schema::Dialect};

use crate::{
    Clearance, ClearanceError, Purpose, StoredVerdict,
    db::{self, Subject},
    limit,
};

/// The answer to "may this be pulled from there?".
#[derive(Clone, Debug)]
pub struct Answer {
    /// The verdict now.
    pub verdict: Verdict,
    /// The recorded verdict behind it. Of an index: of one of its images; of an artifact: of its
    /// subject. `None` when nothing is recorded yet, or nothing needs judging.
    pub stored: Option<Arc<StoredVerdict>>,
    /// True of an image itself: its own verdict.
    pub is_image: bool,
}

impl Answer {
    /// What it says of something that is no image.
    fn of_another(self) -> Self {
        Self { is_image: false, ..self }
    }

    const fn nothing(verdict: Verdict) -> Self {
        Self { verdict, stored: None, is_image: false }
    }
}

/// A cache entry: what was read, and when.
#[derive(Clone)]
pub(crate) struct Entry {
    subject: Option<Arc<Subject>>,
    verdict: Option<Arc<StoredVerdict>>,
    read_at: Timestamp,
    /// Memory that it takes, about.
    pub(crate) bytes: u64,
}

/// What an entry takes besides texts: its key, the rows' fixed parts, the cache's own.
const ENTRY_BYTES: u64 = 1_024;
/// What a child of an index takes.
const CHILD_BYTES: u64 = size_of::<Digest>() as u64;
/// How often the texts of a row fit into what is read of it, strings and their owners.
const EXPANSION: u64 = 3;

impl Clearance {
    /// The answer now; pending when it is not decided, or no longer holds.
    pub async fn ask(&self, repository: &RepoName, digest: &Digest) -> Result<Answer, ClearanceError> {
        self.ask_inner(repository, digest, 0).await
    }

    /// The answer, waiting for a pending one up to `wait`.
    pub async fn ask_waiting(
        &self,
        repository: &RepoName,
        digest: &Digest,
        wait: Duration,
    ) -> Result<Answer, ClearanceError> {
        let answer = self.ask(repository, digest).await?;
        if answer.verdict != Verdict::Pending {
            return Ok(answer);
        }
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changes().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let answer = self.ask(repository, digest).await?;
            if answer.verdict != Verdict::Pending {
                return Ok(answer);
            }
            // Another replica may decide it, so look again even when nothing changed here.
            let again = tokio::time::Instant::now() + Duration::from_millis(100);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(again.min(deadline)) => {
                    if tokio::time::Instant::now() >= deadline {
                        return Ok(answer);
                    }
                    self.forget(&[(repository.clone(), *digest)]);
                }
            }
        }
    }

    fn ask_inner<'a>(
        &'a self,
        repository: &'a RepoName,
        digest: &'a Digest,
        depth: u8,
    ) -> BoxFuture<'a, Result<Answer, ClearanceError>> {
        Box::pin(async move {
            let entry = self.entry(repository, digest).await?;
            match entry.subject.as_deref() {
                // Announced a moment ago, or never: nothing is known, and unknown is not fine.
                None => Ok(Answer::nothing(Verdict::Pending)),
                Some(Subject::Image(_)) => self.of_image(repository, digest, entry).await,
                Some(_) if depth >= 4 => Ok(Answer::nothing(Verdict::Blocked)),
                Some(Subject::Artifact(None)) => Ok(Answer::nothing(Verdict::Allowed)),
                Some(Subject::Artifact(Some(subject))) => {
                    // An artifact may arrive before its subject; there is nothing to protect then.
                    match self.entry(repository, subject).await?.subject {
                        None => Ok(Answer::nothing(Verdict::Allowed)),
                        Some(_) => {
                            self.ask_inner(repository, subject, depth + 1).await.map(Answer::of_another)
                        }
                    }
                }
                Some(Subject::Index(children)) => {
                    self.of_index(repository, children, depth).await.map(Answer::of_another)
                }
            }
        })
    }

    async fn of_image(
        &self,
        repository: &RepoName,
        digest: &Digest,
        entry: Entry,
    ) -> Result<Answer, ClearanceError> {
        let Some(stored) = entry.verdict else {
            return Ok(Answer { is_image: true, ..Answer::nothing(Verdict::Pending) });
        };
        if stored.holds(self.revision().await?, self.db().now()) {
            return Ok(Answer { verdict: stored.verdict, stored: Some(stored), is_image: true });
        }
        self.want(repository, digest);
        Ok(Answer { verdict: Verdict::Pending, stored: Some(stored), is_image: true })
    }

    /// Blocked only if all its images are; what is not here cannot be pulled and does not count, nor does an index
    /// in it that has none.
    /// With none of them here nothing is known, and where a policy enforces that is not fine.
    /// Of an index with more than [`limit::CHILDREN`] nobody knows what the rest are: it is blocked
    /// unless one of the first is allowed or may become so.
    async fn of_index(
        &self,
        repository: &RepoName,
        children: &[Digest],
        depth: u8,
    ) -> Result<Answer, ClearanceError> {
        let (mut pending, mut blocked, mut absent) = (None, None, false);
        for child in children.iter().take(limit::CHILDREN) {
            let Some(subject) = self.entry(repository, child).await?.subject else {
                absent = true;
                continue;
            };
            if matches!(*subject, Subject::Artifact(_)) {
                continue;
            }
            let answer = self.ask_inner(repository, child, depth + 1).await?;
            match answer.verdict {
                Verdict::Allowed if answer.stored.is_some() => return Ok(answer),
                Verdict::Allowed => {}
                Verdict::Pending => pending = Some(answer),
                Verdict::Blocked => blocked = Some(answer),
            }
        }
        if let Some(answer) = pending.or(blocked) {
            return Ok(answer);
        }
        if children.len() > limit::CHILDREN {
            return Ok(Answer::nothing(Verdict::Blocked));
        }
        let unknown = absent && self.enforces(repository).await?;
        Ok(Answer::nothing(if unknown { Verdict::Pending } else { Verdict::Allowed }))
    }

    async fn entry(&self, repository: &RepoName, digest: &Digest) -> Result<Entry, ClearanceError> {
        let key = (repository.clone(), *digest);
        let now = self.db().now();
        if let Some(entry) = self.cache().get(&key) {
            let age = now.as_micros() - entry.read_at.as_micros();
            if self.db().dialect() == Dialect::Sqlite || age < limit::CACHE_MS * 1_000 {
                return Ok(entry);
            }
        }
        let epoch = self.cache_epoch(&key);
        let row =
            self.db().fetch_optional(db::SUBJECT, args![repository.as_str(), &digest.to_string()]).await?;
        let subject = row.map(|row| db::read_subject(&row)).transpose()?.map(Arc::new);
        let read = db::verdict_row(self.db(), repository, digest, Purpose::Pull.word()).await?;
        let texts = read.as_ref().map_or(Ok(0), db::verdict_texts)?;
        let children = match subject.as_deref() {
            Some(Subject::Index(children)) => children.len() as u64,
            _ => 0,
        };
        let verdict = read.map(|row| db::read_verdict(&row)).transpose()?.map(Arc::new);
        let bytes = ENTRY_BYTES + children * CHILD_BYTES + texts * EXPANSION;
        let entry = Entry { subject, verdict, read_at: now, bytes };
        // What was read before a change must not be remembered after it.
        if entry.subject.is_some() && epoch == self.cache_epoch(&key) {
            self.cache().insert(key, entry.clone());
        }
        Ok(entry)
    }

    /// The recorded verdict itself, for pages and `check`.
    pub async fn stored(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<StoredVerdict>, ClearanceError> {
        Ok(db::verdict(self.db(), repository, digest, Purpose::Pull.word()).await?)
    }
}
