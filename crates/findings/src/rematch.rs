//! Matching again what a new generation touches.
//!
//! `findings_rematch` has one row from the transaction that activates a generation to the one in which
//! its last consequence is stored; its cursor makes the work go on after a crash. A result's
//! `announced` is the finding set that all contents were told: an inventory that comes meanwhile
//! may renew the result, but only this work tells the others. Images that run are told first, in a
//! round of their own, and again with all others: who is told twice notices nothing.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use seaworthy_advisories::{Index, Touched, touched};
use seaworthy_model::{ContentId, Event, FeedState, FindingsChanged, Timestamp, consumer};
use seaworthy_oci::Digest;
use seaworthy_store::{DbError, Lease, Tx};
use serde::{Deserialize, Serialize};

use crate::{
    Findings, FindingsError,
    db::{self, RematchRow, package_sets, running},
    generation::{Generation, load},
    limit,
    package_set::{Matched, PackageSet},
};

/// What an import changed for images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rematched {
    /// Package sets that were matched again.
    pub sets: u64,
    /// Those whose findings are others now.
    pub changed: u64,
    /// Images that have them.
    pub images: u64,
}

/// A set whose findings differ from what its contents were told.
#[derive(Clone)]
struct Differing {
    id: Digest,
    matched: Arc<Matched>,
}

/// One transaction's work.
struct Batch {
    lease: Lease,
    generation: i64,
    sets: VecDeque<Differing>,
    /// Contents of the first set up to this one were told.
    content: Vec<u8>,
    now: Timestamp,
}

/// What one transaction did.
struct Told {
    /// Sets that are done.
    sets: usize,
    /// Contents of the next set up to this one were told.
    content: Vec<u8>,
    images: u64,
}

impl Findings {
    /// Finishes a waiting rematch, if there is one. The caller holds the lease.
    pub(crate) async fn rematch(&self, lease: &Lease) -> Result<Rematched, FindingsError> {
        let Some(row) = db::rematch(self.db()).await? else { return Ok(Rematched::default()) };
        let generation = self.generation().await?;
        let waiting = self.waiting(&row, &generation).await?;
        self.tell_running(lease, &generation, &waiting).await?;
        let mut cursor = (row.package_set, row.content);
        let mut done = Rematched { sets: waiting.len() as u64, ..Rematched::default() };
        for chunk in waiting.chunks(limit::REMATCH_SETS) {
            let mut sets = self.differing(chunk, &generation.index).await?;
            done.changed += sets.len() as u64;
            // The half done set is the first, if it still is.
            if sets.front().is_none_or(|first| first.id.hash() != cursor.0.as_slice()) {
                cursor.1.clear();
            }
            while !sets.is_empty() {
                let batch = Batch {
                    lease: lease.clone(),
                    generation: generation.number,
                    sets: sets.clone(),
                    content: std::mem::take(&mut cursor.1),
                    now: self.db().now(),
                };
                let told: Result<Told, DbError> =
                    self.db().upkeep(batch, |batch, tx| Box::pin(batch.tell(tx))).await;
                let told = told?;
                sets.drain(..told.sets);
                done.images += told.images;
                cursor.1 = told.content;
                cursor.0 = sets.front().map(|set| set.id.hash().to_vec()).unwrap_or_default();
            }
        }
        Ok(done)
    }

    /// Tells images that run, of the sets that wait, and stores their results.
    async fn tell_running(
        &self,
        lease: &Lease,
        generation: &Generation,
        waiting: &[Digest],
    ) -> Result<(), FindingsError> {
        let (mut set, mut content) = (Vec::new(), Vec::new());
        loop {
            let page = running::page(self.db(), (&set, &content), limit::RUNNING_PAGE).await?;
            let Some((last_set, last_content)) = page.last() else { return Ok(()) };
            (set, content) = (last_set.hash().to_vec(), last_content.as_bytes().to_vec());
            for of_set in page.chunk_by(|lhs, rhs| lhs.0 == rhs.0) {
                let Some((set, _)) = of_set.first() else { continue };
                if waiting.binary_search(set).is_ok() {
                    let contents = of_set.iter().map(|(_, content)| *content).collect::<Vec<_>>();
                    self.tell_first(lease, generation, (set, &contents)).await?;
                }
            }
        }
    }

    async fn tell_first(
        &self,
        lease: &Lease,
        generation: &Generation,
        (set, contents): (&Digest, &[ContentId]),
    ) -> Result<(), FindingsError> {
        let differing = self.differing(std::slice::from_ref(set), &generation.index).await?;
        let Some(differing) = differing.into_iter().next() else { return Ok(()) };
        for some in contents.chunks(usize::try_from(limit::EVENT_CONTENTS).unwrap_or(1)) {
            let first = First { lease: lease.clone(), set: differing.clone(), contents: some.to_vec() };
            let context = (first, generation.number, self.db().now());
            let told: Result<(), DbError> = self
                .db()
                .upkeep(context, |(first, number, now), tx| Box::pin(first.tell(tx, (*number, *now))))
                .await;
            told?;
        }
        Ok(())
    }

    /// Ends the rematch and the import it belongs to.
    pub(crate) async fn settle(&self, lease: &Lease) -> Result<(), FindingsError> {
        let context = (lease.clone(), self.db().now());
        let settled: Result<(), DbError> = self
            .db()
            .upkeep(context, |(lease, now), tx| {
                Box::pin(async move {
                    tx.check_lease(lease).await?;
                    let generation = db::state_in(tx).await?.generation;
                    db::delete_rematch(tx, generation).await?;
                    db::mark_interrupted(tx, *now).await?;
                    db::set_state(tx, FeedState::Settled, *now).await.map(|_| ())
                })
            })
            .await;
        Ok(settled?)
    }

    /// Sets that the generation touches and that are not done yet, in order.
    async fn waiting(&self, row: &RematchRow, new: &Generation) -> Result<Vec<Digest>, FindingsError> {
        let old = load(self.db(), self.blobs(), row.previous, new).await?;
        // After activation: every set that was stored with an older generation is seen.
        self.inner.sets.synchronise(self.db()).await?;
        let findings = self.clone();
        let new = new.clone();
        let all = tokio::task::spawn_blocking(move || {
            let differences = differences(&old, &new);
            findings.inner.sets.touched(&new.index, &differences)
        });
        let all: BTreeSet<Digest> =
            all.await.map_err(|_| FindingsError::Interrupted { step: "comparing feeds" })?;
        let half_done = !row.content.is_empty();
        let is_waiting = |set: &Digest| {
            let done = row.package_set.as_slice();
            set.hash() > done || (half_done && set.hash() == done)
        };
        Ok(all.into_iter().filter(is_waiting).collect())
    }

    /// Matches sets again; those remain whose contents must be told.
    async fn differing(
        &self,
        ids: &[Digest],
        index: &Arc<Index>,
    ) -> Result<VecDeque<Differing>, FindingsError> {
        let mut sets = Vec::with_capacity(ids.len());
        for id in ids {
            let packages = package_sets::packages(self.db(), id).await?;
            let stored = package_sets::result(self.db(), id).await?;
            if let (Some(packages), Some(stored)) = (packages, stored) {
                sets.push((*id, packages, stored.announced));
            }
        }
        let index = Arc::clone(index);
        let matched = tokio::task::spawn_blocking(move || {
            let mut differing = VecDeque::new();
            for (id, packages, announced) in sets {
                let matched = PackageSet::from_bytes(id, &packages)?.find(&index);
                if matched.set.id != announced {
                    differing.push_back(Differing { id, matched: Arc::new(matched) });
                }
            }
            Ok::<_, DbError>(differing)
        });
        Ok(matched.await.map_err(|_| FindingsError::Interrupted { step: "matching again" })??)
    }
}

fn differences(old: &Generation, new: &Generation) -> Touched {
    let feeds = old.index.segments().iter().chain(new.index.segments());
    let feeds: BTreeSet<&str> = feeds.map(|segment| segment.feed()).collect();
    let mut all = Touched::default();
    for feed in feeds {
        let one = touched(old.segment(feed).map(AsRef::as_ref), new.segment(feed).map(AsRef::as_ref));
        all.packages.extend(one.packages);
        all.cves.extend(one.cves);
        all.releases.extend(one.releases);
    }
    all
}

/// Images of one set that are told before all others.
struct First {
    lease: Lease,
    set: Differing,
    contents: Vec<ContentId>,
}

impl First {
    async fn tell(&self, tx: &mut Tx<'_>, (generation, now): (i64, Timestamp)) -> Result<(), DbError> {
        tx.check_lease(&self.lease).await?;
        let matched = &self.set.matched;
        package_sets::update_result(tx, &self.set.id, generation, &matched.set.id, &matched.body).await?;
        let content_ids = self.contents.clone();
        let changed = FindingsChanged { set: matched.set.clone(), content_ids, generation };
        tx.deliver(consumer::CLEARANCE, &Event::FindingsChanged(changed), now).await
    }
}

impl Batch {
    /// Stores results and tells contents, as much as one transaction may.
    async fn tell(&self, tx: &mut Tx<'_>) -> Result<Told, DbError> {
        tx.check_lease(&self.lease).await?;
        let mut told = Told { sets: 0, content: self.content.clone(), images: 0 };
        let (mut left, mut bytes) = (limit::EVENT_CONTENTS, 0);
        for set in &self.sets {
            let matched = &set.matched;
            package_sets::update_result(tx, &set.id, self.generation, &matched.set.id, &matched.body).await?;
            let contents = package_sets::contents_in(tx, &set.id, &told.content, left).await?;
            let last = contents.last().map(|content| content.as_bytes().to_vec());
            let count = i64::try_from(contents.len()).unwrap_or(left);
            if count > 0 {
                let changed = FindingsChanged {
                    set: matched.set.clone(),
                    content_ids: contents,
                    generation: self.generation,
                };
                tx.deliver(consumer::CLEARANCE, &Event::FindingsChanged(changed), self.now).await?;
                told.images += count.unsigned_abs();
                bytes += matched.json_bytes;
            }
            if count == left {
                // There may be more: the next transaction goes on behind the last.
                told.content = last.unwrap_or_default();
                db::move_rematch(tx, self.generation, set.id.hash(), &told.content).await?;
                return Ok(told);
            }
            package_sets::announced(tx, &set.id).await?;
            told.content.clear();
            told.sets += 1;
            left -= count;
            db::move_rematch(tx, self.generation, set.id.hash(), &[]).await?;
            if bytes >= limit::EVENT_BATCH_BYTES {
                break;
            }
        }
        Ok(told)
    }
}
