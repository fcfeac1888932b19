//! The workers: events become facts and verdicts; what time or a policy made pending is
//! decided again.

use std::time::Duration;

use seaworthy_model::{Actor, ContentId, Event, FeedsChanged, Presence, consumer};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::InventoryFacts;
use seaworthy_store::{DbError, Delivery, Tx, WorkerConfig, chain};
use tokio_util::sync::CancellationToken;

use crate::{
    Clearance, ClearanceError,
    db::{self, Subject, workloads},
    judge::{self, Round, Subjects},
    limit,
};

impl Clearance {
    /// Handles events and due verdicts until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let config = WorkerConfig { consumer: consumer::CLEARANCE, concurrency: limit::CONCURRENCY };
        let room = self.clone();
        let events = seaworthy_store::work(self.db().clone(), config, cancel.clone(), move |delivery| {
            let room = room.clone();
            async move { room.handle(delivery).await }
        });
        tokio::join!(events, self.clone().decide_due(cancel));
    }

    async fn handle(&self, delivery: Delivery) -> Result<(), ClearanceError> {
        match &delivery.event {
            Event::FeedsChanged(feeds) => self.feeds_changed(feeds, delivery.clone()).await,
            Event::ContainerSeen(seen) => self.container_seen(seen, delivery.clone()).await,
            Event::ManifestPushed(_)
            | Event::InventoryReady(_)
            | Event::FindingsChanged(_)
            | Event::BlobStored(_)
            | Event::ClearanceChanged(_) => match self.learn(delivery.clone()).await? {
                Some(subjects) => self.judge_in_batches(subjects, delivery).await,
                None => Ok(()),
            },
        }
    }

    /// Stores what an event says, judges what that may change, and settles it, in one transaction. What is too
    /// much for one is returned, and nothing is settled yet.
    async fn learn(&self, delivery: Delivery) -> Result<Option<Subjects>, ClearanceError> {
        if delivery.attempts > 1 {
            return self.learn_apart(delivery).await.map(Some);
        }
        let context = (delivery, self.compiled(), self.db().now());
        let actor = Actor::system();
        let (subjects, is_judged) =
            seaworthy_ledger::write(self.db(), &actor, context, |(delivery, compiled, now), tx| {
                Box::pin(async move {
                    let subjects = store(tx, delivery).await?;
                    if subjects.len() > batch() {
                        return Ok(((subjects, false), Vec::new()));
                    }
                    let acts = judge::judge_in(tx, &subjects, compiled, *now).await?;
                    tx.settle(delivery).await?;
                    Ok::<_, ClearanceError>(((subjects, true), acts))
                })
            })
            .await?;
        self.forget(&subjects.images);
        Ok((!is_judged).then_some(subjects))
    }

    /// Stores what an event says, and makes pending what that may change, whatever becomes of judging it: news
    /// that could not be judged must not be lost while the answer stays what it was before them.
    async fn learn_apart(&self, delivery: Delivery) -> Result<Subjects, ClearanceError> {
        let subjects = self
            .db()
            .upkeep(delivery, |delivery, tx| {
                Box::pin(async move {
                    let subjects = store(tx, delivery).await?;
                    match &delivery.event {
                        Event::InventoryReady(ready) => db::doubt(tx, ready.content_id()).await?,
                        Event::FindingsChanged(findings) => {
                            for content in &findings.content_ids {
                                db::doubt(tx, content).await?;
                            }
                        }
                        _ => {}
                    }
                    Ok(subjects)
                })
            })
            .await
            .map_err(|error: DbError| ClearanceError::Db(error))?;
        self.forget(&subjects.images);
        Ok(subjects)
    }

    /// Judges in rounds; the delivery is settled with the last one. A crash in between repeats
    /// rounds, which changes nothing that is already so.
    async fn judge_in_batches(
        &self,
        mut subjects: Subjects,
        delivery: Delivery,
    ) -> Result<(), ClearanceError> {
        loop {
            let round = subjects.take(batch());
            if subjects.is_empty() {
                return self.judge(Round { subjects: round, delivery: Some(delivery) }).await;
            }
            self.judge(Round { subjects: round, delivery: None }).await?;
        }
    }

    /// A feed that was loaded, or an import that ended, can settle what was not allowed.
    async fn feeds_changed(&self, feeds: &FeedsChanged, delivery: Delivery) -> Result<(), ClearanceError> {
        let newer = self
            .db()
            .upkeep(feeds.clone(), |feeds, tx| Box::pin(async move { db::set_feeds(tx, feeds).await }))
            .await
            .map_err(|error: DbError| ClearanceError::Db(error))?;
        // The attempt before may have stored it and not judged all.
        if newer || delivery.attempts > 1 {
            self.containers_unsettled().await?;
            for verdict in ["pending", "blocked"] {
                let mut after = (String::new(), String::new());
                loop {
                    let subjects = db::unsettled(self.db(), verdict, &after, limit::BATCH).await?;
                    let Some((repository, digest)) = subjects.last() else { break };
                    after = (repository.to_string(), digest.to_string());
                    self.judge(Round { subjects: Subjects::images(subjects), delivery: None }).await?;
                }
            }
        }
        self.judge(Round { subjects: Subjects::default(), delivery: Some(delivery) }).await
    }

    /// The same for containers: running ones first.
    async fn containers_unsettled(&self) -> Result<(), ClearanceError> {
        for presence in [Presence::Live, Presence::Stopped] {
            for verdict in ["pending", "blocked"] {
                let mut after = None;
                loop {
                    let which = (presence, verdict);
                    let keys =
                        workloads::with_verdict(self.db(), which, after.as_ref(), limit::BATCH).await?;
                    after = keys.last().cloned();
                    if after.is_none() {
                        break;
                    }
                    self.judge(Round { subjects: Subjects::workloads(keys), delivery: None }).await?;
                }
            }
        }
        Ok(())
    }

    /// Decides again what time, a policy change or news made pending: what somebody waits for first.
    async fn decide_due(self, cancel: CancellationToken) {
        let Some(mut wanted) = self.take_wanted() else { return };
        let mut failed = false;
        loop {
            let mut subjects = Vec::new();
            tokio::select! {
                first = wanted.recv() => subjects.extend(first),
                () = tokio::time::sleep(Duration::from_millis(limit::DUE_MS)) => {}
                () = cancel.cancelled() => return,
            }
            while subjects.len() < batch()
                && let Ok(key) = wanted.try_recv()
            {
                subjects.push(key);
            }
            let outcome = self.decide_some(subjects, failed).await;
            failed = outcome.is_err();
            if let Err(error) = outcome {
                tracing::error!(error = %chain(&error), "deciding due verdicts failed, will try again");
            }
        }
    }

    /// Decides what is wanted, else what is due. After a failure each by itself, and images although containers are
    /// due: one that cannot be judged must not keep others pending.
    async fn decide_some(
        &self,
        mut images: Vec<(RepoName, Digest)>,
        failed: bool,
    ) -> Result<(), ClearanceError> {
        let mut workloads = Vec::new();
        if images.is_empty() {
            let (revision, now) = (self.revision().await?, self.db().now());
            workloads = workloads::due(self.db(), revision, now, limit::BATCH).await?;
            if workloads.is_empty() || failed {
                images = db::due(self.db(), revision, now, limit::BATCH).await?;
            }
        }
        images.sort();
        images.dedup();
        workloads.sort();
        workloads.dedup();
        let mut subjects = Subjects { workloads, images };
        let together = if failed { 1 } else { subjects.len() };
        let mut outcome = Ok(());
        while !subjects.is_empty() {
            let round = Round { subjects: subjects.take(together), delivery: None };
            if let Err(error) = self.judge(round).await {
                outcome = Err(error);
            }
        }
        outcome
    }
}

fn batch() -> usize {
    usize::try_from(limit::BATCH).unwrap_or(1)
}

/// Stores what an event says; returns whose answer it may change. What is handled again may have been stored before,
/// and judged in part: then it counts as new.
async fn store(tx: &mut Tx<'_>, delivery: &Delivery) -> Result<Subjects, DbError> {
    let is_again = delivery.attempts > 1;
    match &delivery.event {
        Event::ManifestPushed(pushed) => {
            let subject = if pushed.is_image {
                Subject::Image(None)
            } else if pushed.config.is_none() {
                Subject::Index(pushed.children.iter().map(|child| child.digest).collect())
            } else {
                Subject::Artifact(pushed.subject)
            };
            db::insert_subject(tx, &pushed.repository, &pushed.digest, &subject).await?;
            Ok(Subjects::images(vec![(pushed.repository.clone(), pushed.digest)]))
        }
        Event::InventoryReady(ready) => {
            let facts = InventoryFacts::from_event(ready);
            let is_new = db::upsert_content(tx, &facts).await? || is_again;
            for (repository, digest) in &ready.manifests {
                db::set_content(tx, repository, digest, &facts).await?;
            }
            // A reader that reads more may change what other images of this content get.
            if is_new {
                affected(tx, &facts.content_id).await
            } else {
                Ok(Subjects::images(ready.manifests.clone()))
            }
        }
        Event::FindingsChanged(findings) => {
            let mut subjects = Subjects::default();
            for content in &findings.content_ids {
                if db::set_findings(tx, content, findings).await? || is_again {
                    let more = affected(tx, content).await?;
                    subjects.workloads.extend(more.workloads);
                    subjects.images.extend(more.images);
                }
            }
            Ok(subjects)
        }
        Event::FeedsChanged(_)
        | Event::ContainerSeen(_)
        | Event::BlobStored(_)
        | Event::ClearanceChanged(_) => Ok(Subjects::default()),
    }
}

/// Everything of one content.
async fn affected(tx: &mut Tx<'_>, content: &ContentId) -> Result<Subjects, DbError> {
    Ok(Subjects {
        workloads: workloads::of_content(tx, content).await?,
        images: db::subjects_of(tx, content).await?,
    })
}
