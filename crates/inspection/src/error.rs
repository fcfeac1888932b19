use seaworthy_model::{ContentId, ErrorCode, Problem};
use seaworthy_oci::Digest;
use seaworthy_store::{BlobError, DbError};

/// Why an inspection has no result yet. Whatever is wrong with an image itself is in its
/// inventory instead.
#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    /// The source could not say whether it has a blob.
    #[error("failed to open blob {digest} at its source: {}", problem.message)]
    Source {
        /// Which.
        digest: Digest,
        /// What the source said.
        problem: Box<Problem>,
    },
    /// The reader died over a layer, for the first time.
    #[error("reader failed on layer {digest}: {message}")]
    ReaderFailed {
        /// Which.
        digest: Digest,
        /// How.
        message: String,
    },
    /// No reader could be started.
    #[error("failed to start a reader for layer {digest}: {message}")]
    ReaderNotStarted {
        /// Which.
        digest: Digest,
        /// Why.
        message: String,
    },
    /// Stored facts are gone or damaged: their row is forgotten, the layer is read again.
    #[error("stored layer facts {answer} are damaged")]
    FactsDamaged {
        /// The blob of this room that holds them.
        answer: Digest,
    },
    /// Folding an image panicked, for the first time.
    #[error("failed to fold the layers of the image with config {config}")]
    Fold {
        /// The image's config.
        config: Digest,
    },
    /// A stored inventory is damaged.
    #[error("stored inventory {content_id} is damaged")]
    InventoryDamaged {
        /// Which.
        content_id: ContentId,
    },
    /// The bytes of facts.
    #[error("failed to store or read layer facts")]
    Blob(#[from] BlobError),
    /// The rows.
    #[error("failed to reach inspection rows")]
    Db(#[from] DbError),
}

impl From<InspectionError> for Problem {
    fn from(error: InspectionError) -> Self {
        match error {
            InspectionError::Source { problem, .. } => *problem,
            InspectionError::Blob(error) => error.into(),
            InspectionError::Db(error) => error.into(),
            InspectionError::ReaderFailed { .. }
            | InspectionError::ReaderNotStarted { .. }
            | InspectionError::FactsDamaged { .. }
            | InspectionError::Fold { .. } => {
                Self::new(ErrorCode::Unavailable, error.to_string()).retry_after(5)
            }
            InspectionError::InventoryDamaged { .. } => {
                tracing::error!(error = %error, "stored inventory is damaged");
                Self::new(ErrorCode::Internal, error.to_string()).hint("push the image again")
            }
        }
    }
}
