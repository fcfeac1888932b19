use std::{io, path::PathBuf};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_store::DbError;
use seaworthy_trust::{BundleError, CheckpointError};

use crate::Action;

/// Why the ledger could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The act is too long to be a leaf.
    #[error("record of `{action}` is {bytes} bytes, more than {}", crate::limit::LEAF_BYTES)]
    LeafTooLong {
        /// The act.
        action: Action,
        /// Its length.
        bytes: usize,
    },
    /// The database said no.
    #[error("failed to reach the ledger's rows")]
    Db(#[from] DbError),
    /// A tile, bundle or checkpoint file.
    #[error("failed to {operation} `{path}`")]
    File {
        /// Read, write, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A leaf does not fit a bundle.
    #[error("failed to bundle record {index}")]
    Bundle {
        /// The record.
        index: u64,
        /// Why.
        source: BundleError,
    },
    /// The stored checkpoint is not believed.
    #[error("the last checkpoint is not believed")]
    Checkpoint(#[from] CheckpointError),
    /// What is stored does not add up to what was signed.
    #[error("the ledger's {size} records do not have the root that was signed")]
    RootMismatch {
        /// Size of the signed tree.
        size: u64,
    },
    /// A record that had got its number is not there.
    #[error("a record between {from} and {to} is missing")]
    Missing {
        /// Its number is at least this.
        from: u64,
        /// And less than this.
        to: u64,
    },
    /// The database has less than was signed: it was changed, or is an older one.
    #[error("the database has {size} signed records, `ledger/checkpoint` has {signed}")]
    Behind {
        /// Size of the head in SQL, 0 when there is none.
        size: u64,
        /// Size of the checkpoint file.
        signed: u64,
    },
    /// No such record, or not in the checkpoint yet.
    #[error("the checkpoint has no record {index}, it has {size}")]
    NoRecord {
        /// Asked for.
        index: u64,
        /// Records in the checkpoint.
        size: u64,
    },
    /// A file that the checkpoint needs is missing or has another length.
    #[error("ledger file `{path}` is missing or cut short")]
    Incomplete {
        /// The file, below DATA/ledger.
        path: String,
    },
}

impl LedgerError {
    /// True for what says that the ledger is not what was signed, and no later attempt mends.
    pub const fn is_evidence(&self) -> bool {
        matches!(
            self,
            Self::RootMismatch { .. }
                | Self::Missing { .. }
                | Self::Behind { .. }
                | Self::Checkpoint(_)
                | Self::Bundle { .. }
                | Self::Db(DbError::Column { .. })
        )
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let message = seaworthy_store::chain(&error);
        match error {
            LedgerError::Db(error) => error.into(),
            LedgerError::File { .. } => Self::new(ErrorCode::Unavailable, message)
                .hint("check the directory's owner, mode and mount options"),
            LedgerError::NoRecord { .. } => Self::new(ErrorCode::NotFound, message),
            LedgerError::LeafTooLong { .. } => Self::new(ErrorCode::TooLarge, message),
            _ => Self::new(ErrorCode::Internal, message).hint("run `seaworthy ledger verify`"),
        }
    }
}
