use seaworthy_ledger::LedgerError;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_store::DbError;

use crate::AccessError;

/// Why a person is not signed in, or is asked for more.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown name, wrong password, disabled: deliberately one answer.
    #[error("the name or the password is not right")]
    BadPassword,
    /// Used, too old, replaced, or never issued: deliberately one answer.
    #[error("the link does not hold: it was used, is too old, or a newer one was issued")]
    BadLink,
    /// The link is there to set a password.
    #[error("the link of `{name}` sets a password, and none was given")]
    PasswordRequired {
        /// Whose link.
        name: String,
    },
    /// The link of an operator signs in without a password.
    #[error("the link of `{name}` takes no password")]
    PasswordNotTaken {
        /// Whose link.
        name: String,
    },
    /// Too easy to guess.
    #[error("the password is too easy to guess: {reason}")]
    WeakPassword {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Failed too often, or too many at the same time.
    #[error("too many sign-ins were tried")]
    TooMany {
        /// When to try again.
        retry_after_seconds: u32,
    },
    /// The session's password or link was given too long ago.
    #[error("this needs a password that was given within the last 5 minutes")]
    StepUp,
    /// A program, an operator, or disabled.
    #[error("`{name}` gets no link: {reason}")]
    NoLink {
        /// Who.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// Something else failed.
    #[error("failed to sign in")]
    Access(#[from] AccessError),
}

impl From<DbError> for SignInError {
    fn from(error: DbError) -> Self {
        Self::Access(error.into())
    }
}

impl From<LedgerError> for SignInError {
    fn from(error: LedgerError) -> Self {
        Self::Access(error.into())
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let message = error.to_string();
        match error {
            SignInError::BadPassword => Self::new(ErrorCode::Unauthorized, message)
                .hint("who forgot a password asks an owner for `seaworthy principal link NAME`"),
            SignInError::BadLink => Self::new(ErrorCode::Unauthorized, message).hint(
                "operators get another with `seaworthy console`; others ask an owner for `seaworthy principal link NAME`",
            ),
            SignInError::PasswordRequired { .. } => Self::new(ErrorCode::PasswordRequired, message)
                .hint("choose one of at least 12 characters, and send it with the link"),
            SignInError::PasswordNotTaken { .. } => {
                Self::new(ErrorCode::Invalid, message).hint("send the link alone")
            }
            SignInError::WeakPassword { .. } => Self::new(ErrorCode::Invalid, message)
                .hint("use at least 12 characters that are not your name: a few unrelated words do well"),
            SignInError::TooMany { retry_after_seconds } => {
                Self::new(ErrorCode::TooManyRequests, message).retry_after(retry_after_seconds)
            }
            SignInError::StepUp => Self::new(ErrorCode::StepUp, message)
                .hint("sign in again with your password; operators open a new link of `seaworthy console`"),
            SignInError::NoLink { .. } => Self::new(ErrorCode::Conflict, message),
            SignInError::Access(error) => error.into(),
        }
    }
}
