use std::{io, net::SocketAddr, path::PathBuf};

use seaworthy_access::AccessError;
use seaworthy_clearance::ClearanceError;
use seaworthy_findings::FindingsError;
use seaworthy_ledger::LedgerError;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_sandbox::SandboxError;
use seaworthy_seal::SealError;
use seaworthy_store::{ClaimError, DataDirError, DbError};
use seaworthy_telemetry::TelemetryError;
use seaworthy_trust::NoteError;

use crate::{ConfigError, local_ca::CaError};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error("the configuration is refused")]
    Config(#[from] ConfigError),
    /// The data directory.
    #[error("the data directory cannot be used")]
    DataDir(#[from] DataDirError),
    /// The database.
    #[error("the database cannot be used")]
    Db(#[from] DbError),
    /// The directory of the blobs.
    #[error("the blobs cannot be used")]
    Blobs(#[from] ClaimError),
    /// The seal key.
    #[error("the seal key cannot be used")]
    Seal(#[from] SealError),
    /// The ledger.
    #[error("the ledger cannot be continued")]
    Ledger(#[from] LedgerError),
    /// The ledger's signing key.
    #[error("the ledger's signing key is unusable")]
    Signer(#[from] NoteError),
    /// Principals.
    #[error("access cannot be opened")]
    Access(#[from] AccessError),
    /// The sandbox.
    #[error("layers cannot be inspected safely on this machine")]
    Sandbox(#[from] SandboxError),
    /// The local CA.
    #[error("the local CA cannot be used")]
    Ca(#[from] CaError),
    /// A certificate or key that was given.
    #[error("failed to read `{path}`: {message}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// TLS.
    #[error("TLS cannot be used")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
    /// Findings or clearance.
    #[error("a room cannot be opened: {problem}")]
    Room {
        /// Which and why.
        problem: Problem,
    },
    /// An address.
    #[error("failed to listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The directory that replicas share.
    #[error("failed to create `{path}` in the shared directory")]
    Shared {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The operator group.
    #[error("failed to find the operator group `{name}`")]
    Group {
        /// As configured.
        name: String,
    },
    /// The operator socket.
    #[error("failed to open the operator socket `{path}`")]
    Socket {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl From<FindingsError> for StartError {
    fn from(error: FindingsError) -> Self {
        Self::Room { problem: error.into() }
    }
}

impl From<ClearanceError> for StartError {
    fn from(error: ClearanceError) -> Self {
        Self::Room { problem: error.into() }
    }
}

impl From<TelemetryError> for StartError {
    fn from(error: TelemetryError) -> Self {
        Self::Room { problem: error.into() }
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let message = seaworthy_store::chain(&error);
        match error {
            StartError::Config(error) => error.into(),
            StartError::DataDir(error) => error.into(),
            StartError::Seal(error) => error.into(),
            StartError::Ledger(error) if !error.is_evidence() => error.into(),
            StartError::Ledger(_) => Self::new(ErrorCode::Unavailable, message)
                .hint("run `seaworthy ledger verify` with the same `--data` and `--config`: a record was changed or lost"),
            StartError::Sandbox(_) => Self::new(ErrorCode::Unavailable, message)
                .hint("use a kernel with Landlock, or set `sandbox = \"seccomp-only\"`"),
            StartError::Listen { .. } => Self::new(ErrorCode::Unavailable, message)
                .hint("another process may listen there: use `--listen localhost:PORT`"),
            StartError::Group { .. } => {
                Self::new(ErrorCode::Invalid, message).hint("create the group, or correct `operator_group`")
            }
            StartError::Room { problem } => problem,
            StartError::Certificate { .. } => Self::new(ErrorCode::Invalid, message)
                .hint("give both `tls_certificate` and `tls_key` as PEM files"),
            StartError::Blobs(_) => Self::new(ErrorCode::Unavailable, message)
                .hint("`data`, `shared` and `database` name one installation: see docs/guide/keeping.md"),
            StartError::Db(_)
            | StartError::Ca(_)
            | StartError::Signer(_)
            | StartError::Access(_)
            | StartError::Tls { .. }
            | StartError::Shared { .. }
            | StartError::Socket { .. } => Self::new(ErrorCode::Unavailable, message),
        }
    }
}
