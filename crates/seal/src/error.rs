use std::{io, path::PathBuf};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_store::DbError;

/// Why something was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("failed to {operation} seal key `{path}`")]
    KeyFile {
        /// Read, create, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Group or others can read the key.
    #[error("seal key `{path}` has mode {mode:o}, more than its owner can reach it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key file is not 32 bytes.
    #[error("seal key `{path}` is {bytes} bytes, not 32")]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The envelope was made with another key.
    #[error("`{what}` was sealed with key {theirs}, the key file holds {ours}")]
    OtherKey {
        /// What was to be opened.
        what: String,
        /// Key id in the envelope.
        theirs: String,
        /// Key id of the file.
        ours: String,
    },
    /// The envelope is damaged, or belongs to something else.
    #[error("`{what}` is damaged or was sealed for something else")]
    Damaged {
        /// What was to be opened.
        what: String,
    },
    /// No such sealed row.
    #[error("`{what}` is not in the database")]
    Missing {
        /// What was to be opened.
        what: String,
    },
    /// Too long to seal.
    #[error("payload of `{what}` is longer than {} bytes", crate::limit::PAYLOAD_BYTES)]
    TooLong {
        /// What was to be sealed.
        what: String,
    },
    /// The system gave no random bytes.
    #[error("the system's random source failed")]
    Random,
    /// The row could not be reached.
    #[error("failed to reach a sealed row")]
    Db(#[from] DbError),
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        let message = seaworthy_store::chain(&error);
        match error {
            SealError::Exposed { path, .. } => {
                Self::new(ErrorCode::Unavailable, message).hint(format!("run `chmod 600 {}`", path.display()))
            }
            SealError::OtherKey { .. } => Self::new(ErrorCode::Unavailable, message)
                .hint("restore the `keys/seal.key` that belongs to this database"),
            SealError::Db(error) => error.into(),
            _ => Self::new(ErrorCode::Unavailable, message),
        }
    }
}
