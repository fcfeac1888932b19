use seaworthy_ledger::LedgerError;
use seaworthy_model::{AlertMessageId, ErrorCode, Problem};
use seaworthy_store::DbError;

/// Why the telemetry room did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A name that is no name.
    #[error(
        "an alert target's name has 1 to {} lower-case letters, digits and `-`, and begins with a letter",
        crate::limit::NAME_BYTES
    )]
    TargetName,
    /// The name is taken.
    #[error("an alert target `{name}` is there already")]
    TargetTaken {
        /// The name.
        name: String,
    },
    /// No such target.
    #[error("alert target `{name}` does not exist")]
    UnknownTarget {
        /// The name.
        name: String,
    },
    /// One more than its limit.
    #[error("there are {limit} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// A mail about acts.
    #[error("a mail target is told of alerts alone: what happens in the registry goes to webhooks")]
    MailOfActs,
    /// Repositories for a target of alerts.
    #[error("repositories are named for a target that is told of nothing in them")]
    NothingOfRepositories,
    /// The format has no word for the event.
    #[error("the format `{format}` has no word for `{event}`")]
    Untold {
        /// What was asked for.
        event: &'static str,
        /// In which format.
        format: &'static str,
    },
    /// No message with this id was given up.
    #[error("message `{id}` is not among those that were given up")]
    NotDead {
        /// Its id.
        id: AlertMessageId,
    },
    /// The rows.
    #[error("failed to reach alert rows")]
    Db(#[from] DbError),
    /// The record.
    #[error("failed to record the change")]
    Ledger(#[from] LedgerError),
}

impl From<TelemetryError> for Problem {
    fn from(error: TelemetryError) -> Self {
        let message = error.to_string();
        match error {
            TelemetryError::TargetName | TelemetryError::MailOfActs => Self::new(ErrorCode::Invalid, message),
            TelemetryError::TargetTaken { .. } => Self::new(ErrorCode::Conflict, message)
                .hint("choose another name, or run `seaworthy alert target delete NAME` first"),
            TelemetryError::NothingOfRepositories => Self::new(ErrorCode::Invalid, message)
                .hint("name what it is told of as well, such as `--event manifest.push`"),
            TelemetryError::Untold { .. } => Self::new(ErrorCode::Invalid, message).hint(
                "it knows `manifest.push`, `.quarantine`, `.release`, `.delete`, `.collect` and `repository.delete`",
            ),
            TelemetryError::TooMany { .. } => Self::new(ErrorCode::Conflict, message),
            TelemetryError::UnknownTarget { .. } => {
                Self::new(ErrorCode::NotFound, message).hint("`seaworthy alert target list` lists them")
            }
            TelemetryError::NotDead { .. } => {
                Self::new(ErrorCode::NotFound, message).hint("`seaworthy alert dead list` lists them")
            }
            TelemetryError::Db(error) => error.into(),
            TelemetryError::Ledger(error) => error.into(),
        }
    }
}
