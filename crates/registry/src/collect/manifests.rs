//! Manifests that nothing leads to, and what was deleted for good.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, Timestamp};
use seaworthy_oci::{Digest, ImageConfig, ImageManifest, Manifest, RepoName, media};
use seaworthy_store::Tx;
use serde_json::json;

use crate::{
    Collection, Registry, RegistryError, Untagged,
    db::{self, Removal, Review},
    fate::{self, Fate},
    limit,
    push::{self, Blobs},
    refusal::object,
};

/// A look at one manifest.
struct Look {
    review: Review,
    repository: RepoName,
    digest: Digest,
    untagged: Untagged,
    collection: Collection,
    now: Timestamp,
}

impl Registry {
    /// Ends what was deleted, and collects what nothing leads to.
    pub(super) async fn review_manifest(
        &self,
        review: &Review,
        repository: &RepoName,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        // A pull that this server knows of counts, wherever it is written.
        self.flush_pulls().await?;
        let collection = self.inner.config.collection;
        let look = Look {
            review: review.clone(),
            repository: repository.clone(),
            digest,
            untagged: self.untagged(repository).await?,
            collection,
            now: self.inner.clock.now(),
        };
        seaworthy_ledger::write(self.db(), &Actor::system(), look, |look, tx| {
            Box::pin(async move { Ok(((), look.judge(tx).await?)) })
        })
        .await
    }
}

impl Registry {
    /// Tells of an image that was taken for an artifact before it was known that engines start it, and of one whose config
    /// was read and is not any more.
    pub(super) async fn reread_manifest(
        &self,
        review: &Review,
        repository: &RepoName,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let stored = self.manifest_bytes(repository, &digest).await?;
        let manifest = stored.and_then(|(bytes, media_type)| Manifest::parse(&bytes, Some(&media_type)).ok());
        let pushed = match &manifest {
            Some(it @ Manifest::Image(image))
                if image.is_image()
                    && (is_doubtful(image) || self.is_refused_config(&image.config.digest).await?) =>
            {
                Some(push::describe(repository, digest, it, self.inner.clock.now()))
            }
            _ => None,
        };
        let is_whole = db::filled(self.db(), repository, &digest).await? != Some(false);
        let blobs = if is_whole { Blobs::Here } else { Blobs::Come };
        let context = (review.clone(), pushed, self.inner.config.manifest_consumers);
        self.in_upkeep(context, move |(review, pushed, consumers), tx| {
            Box::pin(async move {
                if let Some(pushed) = pushed {
                    push::tell(tx, pushed.clone(), consumers, blobs).await?;
                }
                db::settle(tx, review).await
            })
        })
        .await
    }
}

impl Registry {
    async fn is_refused_config(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let reader = self.open_for_inspection(digest).await?;
        let Some(reader) = reader.filter(|it| it.size <= seaworthy_oci::limit::CONFIG_BYTES as u64) else {
            return Ok(false);
        };
        Ok(ImageConfig::parse(&reader.read_all().await?).is_err())
    }
}

/// True of an image that calls itself something else.
fn is_doubtful(image: &ImageManifest) -> bool {
    image.artifact_type.is_some() || !media::is_image_config(&image.config.media_type)
}

impl Look {
    async fn judge(&self, tx: &mut Tx<'_>) -> Result<Vec<Act>, RegistryError> {
        let (repository, digest, now) = (&self.repository, &self.digest, self.now);
        // What is decided on holds until it is done.
        db::held_locks(tx, repository).await?;
        db::purge_tags(tx, repository, digest, now).await?;
        if let Some(deleted) = db::deleted_manifest(tx, repository, digest).await? {
            return self.end(tx, deleted.until).await;
        }
        if self.review.reason == "upgrade" {
            // Nobody knew that it would go, nor what ran.
            db::touch(tx, repository, digest, now).await?;
        }
        let Some(facts) = db::manifest_facts(tx, repository, digest).await? else {
            db::settle(tx, &self.review).await?;
            return Ok(vec![]);
        };
        match fate::decide(&facts, self.untagged, now) {
            // Its deleted tags end all the same.
            Fate::Kept(_) => match facts.tag_until {
                Some(until) => db::postpone(tx, &self.review, until).await?,
                None => db::settle(tx, &self.review).await?,
            },
            // The rule may be another by then.
            Fate::KeptUntil(_, due) => {
                let again = now.plus_seconds(limit::RECHECK_SECONDS);
                db::postpone(tx, &self.review, due.min(again)).await?;
            }
            Fate::Goes => {
                let until = self.collection.until(now);
                let by = Actor::system().name;
                let removal = Removal { by, reason: db::Reason::Untagged, at: now, until };
                db::settle(tx, &self.review).await?;
                db::delete_manifest(tx, repository, digest, &removal).await?;
                let act = Act::new(Action::ManifestCollect, object(repository, digest))
                    .details(json!({"reason": removal.reason.word(), "restorable_until": until.to_string()}));
                return Ok(vec![act]);
            }
        }
        Ok(vec![])
    }

    /// Ends a deleted manifest when its time is over and nothing runs it.
    async fn end(&self, tx: &mut Tx<'_>, until: Timestamp) -> Result<Vec<Act>, RegistryError> {
        if until > self.now {
            db::postpone(tx, &self.review, until).await?;
        } else if db::runs(tx, &self.repository, &self.digest).await? {
            db::postpone(tx, &self.review, self.now.plus_seconds(limit::RECHECK_SECONDS)).await?;
        } else {
            db::purge_manifest(tx, &self.repository, &self.digest, self.now).await?;
            db::settle(tx, &self.review).await?;
        }
        Ok(vec![])
    }
}
