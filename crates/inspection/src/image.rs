//! Images: the facts of their layers, folded; or the stored inventory of the same image.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_inventory::{LayerResult, READER_VERSION, sandboxed_reader};
use seaworthy_model::{
    Event, InventoryProblem, InventoryReady, LayerRef, ManifestPushed, ProblemCode, consumer,
};
use seaworthy_oci::{Digest, ImageConfig};
use seaworthy_store::{BlobError, Delivery, chain};

use crate::{
    Inspection, InspectionError, ROOM,
    answer::{FOLD_TOO_LARGE, FactsMemory, problem},
    compose::{self, compose},
    db::{self, StoredInventory},
    layer::LayerState,
    limit,
};

/// A config, or why there is none.
type ConfigResult = Result<ImageConfig, InventoryProblem>;

impl Inspection {
    /// Inspects an image and tells the next rooms. Every push is answered, also when the
    /// inventory is one that was stored before.
    pub(crate) async fn manifest_pushed(
        &self,
        delivery: &Delivery,
        pushed: &ManifestPushed,
    ) -> Result<(), InspectionError> {
        let Some(config) = pushed.config.filter(|_| pushed.is_image) else {
            return self.settle(delivery).await;
        };
        if self.is_given_up(delivery, &pushed.digest).await? {
            tracing::error!(manifest = %pushed.digest, "inspecting an image failed too often");
            return self.publish(delivery, pushed, unread(config, pushed.layers.len())).await;
        }
        let layers = self.layers(&pushed.layers, delivery.attempts).await?;
        let ready = match self.known(&config, &layers).await? {
            Some(ready) => ready,
            None => self.fold(config, &layers, delivery.attempts).await?,
        };
        self.publish(delivery, pushed, ready).await
    }

    /// True when trying once more is the last that could be done for this image. One that was inspected before
    /// keeps the result that it has: its delivery is set aside.
    async fn is_given_up(&self, delivery: &Delivery, digest: &Digest) -> Result<bool, InspectionError> {
        Ok(delivery.attempts >= limit::ANSWER_ATTEMPTS
            && db::newest_of_manifest(self.db(), digest).await?.is_none())
    }

    /// What is known of each layer, bottom first. A foreign layer is never opened, even if some
    /// repository holds it: the pusher did not have to prove that he may read it.
    async fn layers(&self, refs: &[LayerRef], attempts: i64) -> Result<Vec<LayerState>, InspectionError> {
        let ours: HashSet<Digest> = refs.iter().filter(|it| !it.foreign).map(|it| it.digest).collect();
        let known: HashMap<Digest, LayerState> =
            stream::iter(ours)
                .map(|digest| async move {
                    Ok::<_, InspectionError>((digest, self.layer(digest, attempts).await?))
                })
                .buffer_unordered(self.inner.config.concurrency)
                .try_collect()
                .await?;
        let missing = |message| LayerState::Problem(problem(ProblemCode::LayerMissing, message));
        Ok(refs
            .iter()
            .map(|layer| match known.get(&layer.digest) {
                _ if layer.foreign => missing("the manifest says that this layer is kept elsewhere"),
                Some(state) => state.clone(),
                None => missing("the layer is not in this registry"),
            })
            .collect())
    }

    /// The stored inventory of the same config and the same measured layers, made by these
    /// readers. An image that was not read completely is folded again: what was missing may
    /// have come.
    async fn known(
        &self,
        config: &Digest,
        layers: &[LayerState],
    ) -> Result<Option<InventoryReady>, InspectionError> {
        let measured: Option<Vec<Digest>> = layers
            .iter()
            .map(|layer| match layer {
                LayerState::Read { diff_id, .. } => Some(*diff_id),
                LayerState::Problem(_) => None,
            })
            .collect();
        let Some(measured) = measured else { return Ok(None) };
        for (content_id, stored) in db::inventories_of_config(self.db(), config, READER_VERSION).await? {
            let ready = compose::unpack(&stored, &content_id)?;
            let same = ready.inventory.layers.iter().map(|row| &row.diff_id).eq(&measured);
            let passing = |it: &InventoryProblem| {
                matches!(it.code, ProblemCode::ConfigUnreadable | ProblemCode::ReaderFailed)
            };
            if same && !ready.inventory.problems.iter().any(passing) {
                // Its config may have been read less strictly then.
                return Ok(if self.reads(config).await? { Some(ready) } else { None });
            }
        }
        Ok(None)
    }

    /// Loads the layers' facts and folds them, on a blocking thread. Folding is pure and meets
    /// hostile facts, so a panic there is an error once and then a result.
    async fn fold(
        &self,
        config: Digest,
        layers: &[LayerState],
        attempts: i64,
    ) -> Result<InventoryReady, InspectionError> {
        let parsed = Arc::new(self.config(&config).await?);
        let failed = InspectionError::Fold { config };
        let Ok(permit) = self.inner.folds.clone().acquire_owned().await else { return Err(failed) };
        let answers = self.answers(layers).await?;
        let input = parsed.clone();
        let folded = tokio::task::spawn_blocking(move || {
            let layers = decode(answers, limit::IMAGE_MEMORY_BYTES)?;
            let ready = compose(config, input.as_ref().as_ref(), &layers);
            drop(permit);
            Ok(ready)
        });
        match folded.await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(damaged)) => Err(self.forget(damaged).await?),
            Err(_) if attempts < limit::READER_ATTEMPTS => Err(failed),
            Err(_) => {
                tracing::error!(%config, "folding an image panicked");
                let gone = problem(ProblemCode::ReaderFailed, "folding the image's layers failed");
                let layers = vec![LayerResult::Err(gone); layers.len()];
                Ok(compose(config, parsed.as_ref().as_ref(), &layers))
            }
        }
    }

    /// False of a config that is not read today. One that is away for now is not looked at.
    async fn reads(&self, config: &Digest) -> Result<bool, InspectionError> {
        if self.inner.configs.get(config).is_some() || self.open(config).await?.is_none() {
            return Ok(true);
        }
        Ok(self.config(config).await?.is_ok())
    }

    async fn config(&self, digest: &Digest) -> Result<ConfigResult, InspectionError> {
        let unreadable = |message: &str| Ok(Err(problem(ProblemCode::ConfigUnreadable, message)));
        let Some(blob) = self.open(digest).await? else {
            return unreadable("the config is not in this registry");
        };
        if blob.size > seaworthy_oci::limit::CONFIG_BYTES as u64 {
            return unreadable(&seaworthy_oci::ConfigError::TooLong.to_string());
        }
        let bytes = blob.read_all().await?;
        let read = ImageConfig::parse(&bytes);
        if read.is_ok() {
            self.inner.configs.insert(*digest, ());
        }
        Ok(read.map_err(|error| problem(ProblemCode::ConfigUnreadable, &chain(&error))))
    }

    /// The stored answers of the layers' readers, opened and bounded together.
    async fn answers(&self, layers: &[LayerState]) -> Result<Vec<Answer>, InspectionError> {
        let mut left = limit::IMAGE_FACTS_BYTES;
        let mut answers = Vec::with_capacity(layers.len());
        for layer in layers {
            answers.push(match layer {
                LayerState::Problem(problem) => Answer::Problem(problem.clone()),
                LayerState::Read { bytes, .. } if *bytes > left => {
                    Answer::Problem(problem(ProblemCode::LayerTooLarge, FOLD_TOO_LARGE))
                }
                LayerState::Read { answer, bytes, .. } => {
                    left -= bytes;
                    match self.blobs().open(ROOM, answer, *bytes).await {
                        Ok(Some(blob)) => Answer::Facts { answer: *answer, bytes: blob.read_all().await? },
                        Ok(None) | Err(BlobError::Truncated { .. }) => {
                            return Err(self.forget(*answer).await?);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            });
        }
        Ok(answers)
    }

    /// Stores the result, tells the next rooms and ends the delivery, in one transaction.
    async fn publish(
        &self,
        delivery: &Delivery,
        pushed: &ManifestPushed,
        mut ready: InventoryReady,
    ) -> Result<(), InspectionError> {
        let stored = StoredInventory::new(&ready);
        ready.manifests = vec![(pushed.repository.clone(), pushed.digest)];
        let context = (delivery.clone(), stored, Event::InventoryReady(Box::new(ready)), self.db().now());
        self.db()
            .upkeep(context, |(delivery, stored, event, now), tx| {
                Box::pin(async move {
                    if let Event::InventoryReady(ready) = event {
                        db::put_inventory(tx, ready, stored, *now).await?;
                    }
                    for consumer in [consumer::FINDINGS, consumer::CLEARANCE, consumer::FLEET] {
                        tx.deliver(consumer, event, *now).await?;
                    }
                    tx.settle(delivery).await.map_err(InspectionError::from)
                })
            })
            .await
    }
}

/// The result of an image that could not be inspected at all.
fn unread(config: Digest, layers: usize) -> InventoryReady {
    let message = format!("inspecting the image failed {} times", limit::ANSWER_ATTEMPTS - 1);
    let failed = problem(ProblemCode::ReaderFailed, &message);
    compose(config, Err(&failed), &vec![LayerResult::Err(failed.clone()); layers])
}

/// A layer's stored answer, or why there is none.
enum Answer {
    Facts { answer: Digest, bytes: Bytes },
    Problem(InventoryProblem),
}

/// Decodes what was stored; the error is the digest of a damaged answer.
fn decode(answers: Vec<Answer>, memory_bytes: usize) -> Result<Vec<LayerResult>, Digest> {
    let memory = FactsMemory::new(memory_bytes);
    let mut seen: HashMap<Digest, LayerResult> = HashMap::new();
    let mut layers = Vec::with_capacity(answers.len());
    for answer in answers {
        layers.push(match answer {
            Answer::Problem(problem) => Err(problem),
            Answer::Facts { answer, bytes } => {
                if let Some(layer) = seen.get(&answer) {
                    layer.clone()
                } else {
                    let facts = sandboxed_reader::read_answer(&bytes, 0).map_err(|_| answer)?;
                    let layer = memory.admit(facts);
                    seen.insert(answer, layer.clone());
                    layer
                }
            }
        });
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored answer about a layer of one file.
    fn answer(name: &str) -> Answer {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, name, &[][..]).expect("appended");
        let layer = archive.into_inner().expect("archive");
        let mut bytes = Vec::new();
        sandboxed_reader::layer_reader(&[], &mut layer.as_slice(), &mut bytes).expect("read");
        Answer::Facts { answer: Digest::sha256(&bytes), bytes: bytes.into() }
    }

    #[test]
    fn decoded_facts_are_bounded_together() {
        let needed = |layer: LayerResult| layer.map_or(0, |facts| facts.memory_bytes());
        let layers = || vec![answer("a"), answer("b"), answer("a")];
        let all = decode(layers(), limit::IMAGE_MEMORY_BYTES).expect("decoded");
        let [a, b, _] = <[LayerResult; 3]>::try_from(all).expect("three").map(needed);
        let read =
            |bytes| decode(layers(), bytes).expect("decoded").iter().map(Result::is_ok).collect::<Vec<_>>();
        // One layer twice is held once.
        assert_eq!(read(a + b), [true, true, true]);
        assert_eq!(read(a + b - 1), [true, false, true]);
        assert_eq!(read(0), [false, false, false]);
    }
}
