use seaworthy_access::AccessError;
use seaworthy_ledger::LedgerError;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, ManifestError, RepoName};
use seaworthy_seal::SealError;
use seaworthy_store::{BlobError, DbError};

/// Why the registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The request itself is wrong; the problem says how.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The caller has no right to it; the problem says which.
    #[error("{0}")]
    NotPermitted(Box<Problem>),
    /// The manifest is not one.
    #[error("failed to read the manifest")]
    Manifest(#[from] ManifestError),
    /// The manifest names a blob that this repository does not have.
    #[error("manifest names {digest}, which `{repository}` does not have")]
    BlobMissing {
        /// Where.
        repository: RepoName,
        /// Which.
        digest: Digest,
    },
    /// The bytes of a blob.
    #[error("failed to store or read a blob")]
    Blob(#[from] BlobError),
    /// The rows.
    #[error("failed to reach registry rows")]
    Db(#[from] DbError),
    /// Rights.
    #[error("failed to decide access")]
    Access(#[from] AccessError),
    /// What is sealed.
    #[error("failed to seal the password of a cache")]
    Seal(#[from] SealError),
    /// The record.
    #[error("failed to record the change")]
    Ledger(#[from] LedgerError),
}

impl From<Problem> for RegistryError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Refused(problem) | RegistryError::NotPermitted(problem) => *problem,
            RegistryError::Manifest(error) => {
                let code = match error {
                    ManifestError::TooLong => ErrorCode::TooLarge,
                    _ => ErrorCode::ManifestInvalid,
                };
                Self::new(code, seaworthy_store::chain(&error))
            }
            RegistryError::BlobMissing { .. } => Self::new(ErrorCode::ManifestBlobUnknown, error.to_string()),
            RegistryError::Blob(error) => error.into(),
            RegistryError::Db(error) => error.into(),
            RegistryError::Access(error) => error.into(),
            RegistryError::Seal(error) => error.into(),
            RegistryError::Ledger(error) => error.into(),
        }
    }
}
