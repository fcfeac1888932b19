//! What goes wrong on the command line, and which exit code it is (interface: "exit").

use seaworthy_model::{ErrorCode, Problem};

/// Ends a verb: a problem, or an answer that is "no".
#[derive(Debug)]
pub(crate) enum Failure {
    /// Done, and the answer is no: exit 1. What there is to say was said.
    No,
    /// Could not, or wrong use: exit by the problem's code.
    Problem(Problem),
}

pub(crate) type Outcome = Result<(), Failure>;

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

/// Wrong use: exit 2.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::Problem(Problem::new(ErrorCode::Invalid, message))
}

/// Could not do it: exit 3.
pub(crate) fn unable(message: impl Into<String>) -> Failure {
    Failure::Problem(Problem::new(ErrorCode::Unavailable, message))
}
