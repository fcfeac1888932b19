use seaworthy_ledger::LedgerError;
use seaworthy_model::{ErrorCode, Problem, ScopeError};
use seaworthy_seal::SealError;
use seaworthy_store::DbError;

/// Why access refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The credential or token is not valid. Deliberately does not say why.
    #[error("the credential is not valid")]
    BadCredential,
    /// Nobody signed in, and nobody may read without.
    #[error("authentication is required")]
    NobodySignedIn,
    /// No such principal, role, credential or assignment.
    #[error("{kind} `{name}` does not exist")]
    Unknown {
        /// Principal, role, …
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// It is there already.
    #[error("{kind} `{name}` exists already")]
    Exists {
        /// Principal, role, …
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A line of a scope map that is none.
    #[error("`{entry}` is no line of a scope map")]
    MapEntry {
        /// What was given, shortened.
        entry: String,
    },
    /// A scope map of nothing, or of too much.
    #[error("a scope map has 1 to {limit} lines, this one has {length}")]
    MapLength {
        /// How many it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Somebody has it.
    #[error("{kind} `{name}` is in use, by `{by}` for one")]
    InUse {
        /// Of what kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Who has it.
        by: String,
    },
    /// A token has no roles.
    #[error("`{name}` is a token: its scope map says what it may do")]
    HasMap {
        /// Its name.
        name: String,
    },
    /// Only a token has a scope map.
    #[error("`{name}` is no token: its roles say what it may do")]
    NoToken {
        /// Its name.
        name: String,
    },
    /// A secret that ends too late, or has ended.
    #[error("a secret lasts 1 to {limit} days")]
    SecretDays {
        /// The most.
        limit: u32,
    },
    /// Not a name.
    #[error(
        "`{name}` is not a name: use 1 to 64 letters, digits, `.`, `_`, `-`, and not `operator-` with a number, \
         which is an operator of this machine"
    )]
    BadName {
        /// What was given, shortened.
        name: String,
    },
    /// One more than its limit.
    #[error("`{name}` has {limit} {kind} already")]
    TooMany {
        /// Whose.
        name: String,
        /// Of what.
        kind: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Not a scope.
    #[error("scope is malformed")]
    Scope(#[from] ScopeError),
    /// The signing key.
    #[error("failed to unlock the token key")]
    Seal(#[from] SealError),
    /// The rows.
    #[error("failed to reach access rows")]
    Db(#[from] DbError),
    /// The record.
    #[error("failed to record the change")]
    Ledger(#[from] LedgerError),
    /// A row or claim of a newer version.
    #[error("{what} cannot be read")]
    Unreadable {
        /// Which.
        what: &'static str,
    },
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let message = error.to_string();
        match error {
            AccessError::BadCredential | AccessError::NobodySignedIn => Self::new(ErrorCode::Unauthorized, message)
                .hint("run `seaworthy login --docker`, or `docker login`"),
            AccessError::Unknown { .. } => Self::new(ErrorCode::NotFound, message),
            AccessError::Exists { .. } | AccessError::InUse { .. } => Self::new(ErrorCode::Conflict, message),
            AccessError::HasMap { .. } => Self::new(ErrorCode::Conflict, message)
                .hint("change that with `seaworthy scope-map set`, or give the token another one"),
            AccessError::NoToken { .. } => {
                Self::new(ErrorCode::Conflict, message).hint("use `seaworthy role assign`")
            }
            AccessError::MapEntry { .. } => Self::new(ErrorCode::Invalid, message).hint(
                "write `repositories/NAME/ACTION`, where NAME may end in `/*` or be `*`, and ACTION is content/read, \
                 content/write, content/delete, metadata/read or metadata/write",
            ),
            AccessError::MapLength { .. } | AccessError::SecretDays { .. } => {
                Self::new(ErrorCode::Invalid, message)
            }
            AccessError::TooMany { kind, .. } => {
                Self::new(ErrorCode::Conflict, message).hint(format!("remove one of the {kind} first"))
            }
            AccessError::BadName { .. } | AccessError::Scope(_) => Self::new(ErrorCode::Invalid, message),
            AccessError::Seal(error) => error.into(),
            AccessError::Db(error) => error.into(),
            AccessError::Ledger(error) => error.into(),
            AccessError::Unreadable { .. } => Self::new(ErrorCode::Internal, message),
        }
    }
}
