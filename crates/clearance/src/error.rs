use seaworthy_ledger::LedgerError;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::{ExceptionError, PolicyError};
use seaworthy_store::DbError;

/// Why clearance did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClearanceError {
    /// The policy is not one.
    #[error("policy is refused at {source}")]
    Policy {
        /// Where and why.
        source: PolicyError,
    },
    /// The exception is not one.
    #[error("exception is refused: {source}")]
    Exception {
        /// Why.
        source: ExceptionError,
    },
    /// No such policy, exception or verdict.
    #[error("{kind} `{name}` does not exist")]
    Unknown {
        /// Policy, exception, …
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// No active policy has such a rule.
    #[error("no active policy has the rule `{rule}`")]
    UnknownRule {
        /// What was asked for.
        rule: String,
        /// The rules there are.
        known: Vec<String>,
    },
    /// It is not in a state that allows this.
    #[error("{kind} `{name}` is {state}")]
    State {
        /// Exception.
        kind: &'static str,
        /// Which.
        name: String,
        /// Its state.
        state: &'static str,
    },
    /// One more than its limit.
    #[error("there are {limit} {kind} already")]
    TooMany {
        /// Of what.
        kind: &'static str,
        /// How many there may be.
        limit: i64,
    },
    /// The rows.
    #[error("failed to reach clearance rows")]
    Db(#[from] DbError),
    /// The record.
    #[error("failed to record the change")]
    Ledger(#[from] LedgerError),
}

impl From<ClearanceError> for Problem {
    fn from(error: ClearanceError) -> Self {
        let message = error.to_string();
        match error {
            ClearanceError::Policy { source } => {
                let problem = Self::new(ErrorCode::Invalid, message);
                match source.hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
            ClearanceError::Exception { source: ExceptionError::SelfApproval { .. } } => {
                Self::new(ErrorCode::Denied, message).hint("ask somebody else to approve it")
            }
            ClearanceError::Exception { .. } => Self::new(ErrorCode::Invalid, message),
            ClearanceError::UnknownRule { known, .. } => {
                Self::new(ErrorCode::NotFound, message).hint(format!("rules: {}", known.join(", ")))
            }
            ClearanceError::Unknown { .. } => Self::new(ErrorCode::NotFound, message),
            ClearanceError::State { .. } | ClearanceError::TooMany { .. } => {
                Self::new(ErrorCode::Conflict, message)
            }
            ClearanceError::Db(error) => error.into(),
            ClearanceError::Ledger(error) => error.into(),
        }
    }
}
