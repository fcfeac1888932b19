//! Why a name is not there as it is here.

use crate::{
    RegistryError, limit,
    upstream::{Trouble, UpstreamError},
};

impl Trouble {
    /// In words, at most [`limit::SEND_ERROR_BYTES`].
    pub(crate) fn reason(&self) -> String {
        let mut text = match self {
            Self::Far(error) => seaworthy_store::chain(error),
            Self::Here(RegistryError::Refused(problem)) => problem.message.clone(),
            Self::Here(error) => seaworthy_store::chain(error),
        };
        let end = text.floor_char_boundary(limit::SEND_ERROR_BYTES);
        text.truncate(end);
        text
    }

    /// For how many seconds the other registry asks to be left alone.
    pub(crate) fn rest(&self) -> i64 {
        match self {
            Self::Far(UpstreamError::Resting { seconds, .. }) => i64::from(*seconds),
            Self::Far(error) => {
                error.retry_after().map_or(0, |asked| asked.min(limit::RETRY_AFTER_SECONDS_MAX).into())
            }
            Self::Here(_) => 0,
        }
    }

    /// True of what is about one manifest alone: it may not leave, or the other registry does not take it.
    pub(crate) const fn is_refusal(&self) -> bool {
        match self {
            Self::Here(error) => matches!(error, RegistryError::Refused(_)),
            Self::Far(UpstreamError::Resting { .. } | UpstreamError::Forbidden { .. }) => false,
            Self::Far(error) => !error.is_trouble(),
        }
    }
}
