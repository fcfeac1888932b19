use seaworthy_ledger::LedgerError;
use seaworthy_link::BatchError;
use seaworthy_model::{ErrorCode, HostId, Problem, SpoolId};
use seaworthy_store::DbError;

/// Why the fleet did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The batch breaks a limit of the link.
    #[error("batch is refused")]
    Batch(#[from] BatchError),
    /// A batch before this one is missing.
    #[error("batch {number} of spool {spool} is out of order: {expected} is expected")]
    Order {
        /// The spool.
        spool: SpoolId,
        /// What came.
        number: u64,
        /// What should have come.
        expected: u64,
    },
    /// The host began a newer spool.
    #[error("spool {spool} was replaced by a newer one")]
    SpoolReplaced {
        /// The old one.
        spool: SpoolId,
    },
    /// No such host.
    #[error("host {host} is not in the fleet")]
    UnknownHost {
        /// The host.
        host: HostId,
    },
    /// A host's name is no name.
    #[error("a host's name has 1 to {} bytes and no control characters", crate::limit::NAME_BYTES)]
    HostName,
    /// The name is taken.
    #[error("a host `{name}` is in the fleet already")]
    HostTaken {
        /// The name.
        name: String,
    },
    /// No open invitation fits.
    #[error("the join token is wrong, used or expired")]
    Invitation,
    /// An invitation lasts too short or too long.
    #[error("an invitation lasts 1 to {} seconds", crate::limit::INVITATION_SECONDS)]
    InvitationSeconds,
    /// One more than its limit.
    #[error("there are {limit} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// The name or the beginning of an id fits several containers.
    #[error("`{name}` is {} containers", .candidates.len())]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Host and id of some of them.
        candidates: Vec<String>,
    },
    /// The rows.
    #[error("failed to reach fleet rows")]
    Db(#[from] DbError),
    /// The record.
    #[error("failed to record the change")]
    Ledger(#[from] LedgerError),
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        let message = error.to_string();
        match error {
            FleetError::Batch(BatchError::TooLarge { .. }) => {
                let cause = seaworthy_store::chain(&error);
                Self::new(ErrorCode::TooLarge, cause)
            }
            FleetError::Batch(_) => Self::new(ErrorCode::Invalid, seaworthy_store::chain(&error)),
            FleetError::Order { .. } | FleetError::TooMany { .. } => Self::new(ErrorCode::Conflict, message),
            FleetError::HostTaken { name } => Self::new(ErrorCode::Conflict, message)
                .hint(format!("remove it with `seaworthy host remove {name}`, or choose another name")),
            FleetError::Invitation => {
                Self::new(ErrorCode::Unauthorized, message).hint("make another with `seaworthy host invite`")
            }
            FleetError::SpoolReplaced { .. } => {
                Self::new(ErrorCode::Conflict, message).hint("begin a new spool")
            }
            FleetError::UnknownHost { .. } => Self::new(ErrorCode::NotFound, message),
            FleetError::HostName | FleetError::InvitationSeconds => Self::new(ErrorCode::Invalid, message),
            FleetError::Ambiguous { candidates, .. } => Self::new(ErrorCode::Conflict, message)
                .hint(format!("name the host, or more of the id: {}", candidates.join(", "))),
            FleetError::Db(error) => error.into(),
            FleetError::Ledger(error) => error.into(),
        }
    }
}
