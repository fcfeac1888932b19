use std::io;

use seaworthy_advisories::{ImportError, SegmentError};
use seaworthy_ledger::LedgerError;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_sandbox::SandboxError;
use seaworthy_store::{BlobError, DbError, chain};

/// Why findings did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum FindingsError {
    /// A file or folder of an import cannot be read.
    #[error("failed to read `{path}`")]
    Path {
        /// The file or folder.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// A named limit is passed.
    #[error("{what} has more than {limit} {unit}")]
    TooLarge {
        /// A file, a folder, an image.
        what: String,
        /// The limit.
        limit: u64,
        /// What is limited.
        unit: &'static str,
    },
    /// A feed is damaged; the message names file and line.
    #[error("{message}")]
    Feed {
        /// What is wrong, and where.
        message: String,
    },
    /// Feeds do not go together, or the result of reading one is damaged.
    #[error("failed to put the feeds together")]
    Import(#[from] ImportError),
    /// The confined reader of a file died or could not run.
    #[error("failed to read `{path}` in the sandbox")]
    Sandbox {
        /// The file or folder.
        path: String,
        /// Why.
        source: SandboxError,
    },
    /// Another import is running and does not end.
    #[error("another import is running")]
    Busy,
    /// A stored segment of the index cannot be used; `None` is a segment without bytes.
    #[error("failed to open the stored segment of feed `{feed}`")]
    Segment {
        /// The feed.
        feed: String,
        /// Why.
        source: Option<SegmentError>,
    },
    /// A step that blocks ended early: shutting down, or a bug that the log has.
    #[error("{step} was interrupted")]
    Interrupted {
        /// The step.
        step: &'static str,
    },
    /// The bytes of a segment.
    #[error("failed to store or read a segment")]
    Blob(#[from] BlobError),
    /// The rows.
    #[error("failed to reach findings rows")]
    Db(#[from] DbError),
    /// The record.
    #[error("failed to record the import")]
    Ledger(#[from] LedgerError),
}

impl From<FindingsError> for Problem {
    fn from(error: FindingsError) -> Self {
        let message = chain(&error);
        match error {
            FindingsError::Path { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Self::new(ErrorCode::NotFound, message),
                _ => Self::new(ErrorCode::Unavailable, message),
            },
            FindingsError::TooLarge { .. } => Self::new(ErrorCode::TooLarge, message),
            FindingsError::Feed { .. } => {
                Self::new(ErrorCode::Unavailable, message).hint("nothing was imported; fetch the feed again")
            }
            FindingsError::Busy => Self::new(ErrorCode::Conflict, message).retry_after(30),
            FindingsError::Sandbox { .. } => Self::new(ErrorCode::Unavailable, message)
                .hint("nothing was imported; import the file alone to see whether it is the cause"),
            FindingsError::Import(_) => Self::new(ErrorCode::Unavailable, message),
            FindingsError::Interrupted { .. } => Self::new(ErrorCode::Unavailable, message).retry_after(5),
            FindingsError::Segment { .. } => {
                tracing::error!(error = %message, "a segment of the advisory index cannot be used");
                Self::new(ErrorCode::Internal, message).hint("import the feed again")
            }
            FindingsError::Blob(error) => error.into(),
            FindingsError::Db(error) => error.into(),
            FindingsError::Ledger(error) => error.into(),
        }
    }
}
