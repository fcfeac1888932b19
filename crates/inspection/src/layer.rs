//! Layers: each is read once, as soon as its blob is stored or, at the latest, for the first
//! image that needs it.

use bytes::Bytes;
use seaworthy_inventory::READER_VERSION;
use seaworthy_model::{InventoryProblem, ProblemCode};
use seaworthy_oci::Digest;
use seaworthy_store::{BlobReader, Delivery, SmallBlob, Stored};

use crate::{
    Inspection, InspectionError, ROOM,
    answer::{Reading, input, problem},
    db, limit,
};

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LayerState {
    /// It was read; its facts are in the blob `answer` of `bytes` bytes.
    Read { diff_id: Digest, answer: Digest, bytes: u64 },
    /// It has no facts, for this reason.
    Problem(InventoryProblem),
}

/// A layer's row that is not stored yet. The bytes it names are.
#[derive(Clone, Debug)]
pub(crate) struct NewLayer {
    pub(crate) digest: Digest,
    pub(crate) state: LayerState,
    /// Facts that go into SQL, with the row.
    pub(crate) small: Option<SmallBlob>,
}

/// The end of looking at a layer.
enum Looked {
    /// A result for every image that has the layer.
    Result(Box<NewLayer>),
    /// Only true now: the blob is away, or no reader can be started.
    Passing(InventoryProblem),
}

impl Inspection {
    /// Reads a blob that may be a layer. That a config or an artifact is none is a result too:
    /// it costs little and matters only if a manifest names the blob as a layer.
    pub(crate) async fn blob_stored(
        &self,
        delivery: &Delivery,
        digest: &Digest,
    ) -> Result<(), InspectionError> {
        let _flight = self.inner.flights.enter(digest).await;
        let new = match db::layer(self.db(), digest, READER_VERSION).await? {
            Some(_) => None,
            None => match self.look(digest, delivery.attempts).await? {
                Looked::Result(new) => Some(new),
                Looked::Passing(_) => None,
            },
        };
        self.db()
            .upkeep((new, delivery.clone()), |(new, delivery), tx| {
                Box::pin(async move {
                    if let Some(new) = new {
                        db::put_layer(tx, new, delivery.created_at).await?;
                    }
                    tx.settle(delivery).await.map_err(InspectionError::from)
                })
            })
            .await
    }

    /// What is known of a layer that an image needs; read now if it was not. Does not wait for
    /// its `BlobStored`, which may be queued behind others.
    pub(crate) async fn layer(&self, digest: Digest, attempts: i64) -> Result<LayerState, InspectionError> {
        if let Some(state) = db::layer(self.db(), &digest, READER_VERSION).await? {
            return Ok(state);
        }
        let _flight = self.inner.flights.enter(&digest).await;
        if let Some(state) = db::layer(self.db(), &digest, READER_VERSION).await? {
            return Ok(state);
        }
        let new = match self.look(&digest, attempts).await? {
            Looked::Result(new) => new,
            Looked::Passing(problem) => return Ok(LayerState::Problem(problem)),
        };
        let state = new.state.clone();
        let now = self.db().now();
        self.db()
            .upkeep(new, move |new, tx| {
                Box::pin(async move { db::put_layer(tx, new, now).await.map_err(InspectionError::from) })
            })
            .await?;
        Ok(state)
    }

    /// Forgets layers whose stored facts turned out to be damaged, so that they are read again;
    /// gives the error for the delivery that found out.
    pub(crate) async fn forget(&self, answer: Digest) -> Result<InspectionError, InspectionError> {
        tracing::error!(%answer, "stored layer facts are damaged, the layer is read again");
        self.db()
            .upkeep(answer, |answer, tx| {
                Box::pin(async move {
                    db::forget_answer(tx, answer).await?;
                    Ok(InspectionError::FactsDamaged { answer: *answer })
                })
            })
            .await
    }

    /// Opens a blob at its source.
    pub(crate) async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, InspectionError> {
        self.inner
            .config
            .source
            .open(digest)
            .await
            .map_err(|problem| InspectionError::Source { digest: *digest, problem: Box::new(problem) })
    }

    /// Reads a layer and makes its facts durable.
    ///
    /// A reader that dies may have died of something passing (the machine ran out of memory),
    /// so its death is an error at first and the layer's result from
    /// [`limit::READER_ATTEMPTS`] on. A reader that cannot be started says nothing about the
    /// layer: after [`limit::START_ATTEMPTS`] it is a problem of the image that asked.
    async fn look(&self, digest: &Digest, attempts: i64) -> Result<Looked, InspectionError> {
        let Some(blob) = self.open(digest).await? else {
            return Ok(Looked::Passing(problem(
                ProblemCode::LayerMissing,
                "the layer is not in this registry",
            )));
        };
        let result = |state, small| Looked::Result(Box::new(NewLayer { digest: *digest, state, small }));
        match self.read(blob).await {
            Reading::Facts { facts, answer } => {
                let stored = self.blobs().put(ROOM, Bytes::from(answer)).await?;
                let state = LayerState::Read {
                    diff_id: facts.digest.diff_id,
                    answer: *stored.digest(),
                    bytes: stored.size(),
                };
                let small = match stored {
                    Stored::Small(small) => Some(small),
                    Stored::File { .. } => None,
                };
                Ok(result(state, small))
            }
            Reading::Problem(problem) => Ok(result(LayerState::Problem(problem), None)),
            Reading::Died(problem) if attempts >= limit::READER_ATTEMPTS => {
                tracing::warn!(%digest, reason = problem.message, "reader died over a layer");
                Ok(result(LayerState::Problem(problem), None))
            }
            Reading::Died(problem) => {
                Err(InspectionError::ReaderFailed { digest: *digest, message: problem.message })
            }
            Reading::NotStarted(problem) if attempts >= limit::START_ATTEMPTS => Ok(Looked::Passing(problem)),
            Reading::NotStarted(problem) => {
                Err(InspectionError::ReaderNotStarted { digest: *digest, message: problem.message })
            }
        }
    }

    /// One reading on a blocking thread, which keeps its permit to the end even when nobody
    /// waits for the result any more.
    async fn read(&self, blob: BlobReader) -> Reading {
        let failed = |message: &str| problem(ProblemCode::ReaderFailed, message);
        let Ok(permit) = self.inner.readers.clone().acquire_owned().await else {
            return Reading::NotStarted(failed("the server is shutting down"));
        };
        let reader = self.inner.config.reader.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let reading = reader.read(input(blob));
            drop(permit);
            reading
        });
        reading.await.unwrap_or_else(|_| Reading::Died(failed("the layer reader panicked")))
    }
}
