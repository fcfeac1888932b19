use super::UpstreamError;
use crate::RegistryError;

/// Why something did not come from another registry, or did not go there.
pub(crate) enum Trouble {
    /// The other one said so, or nothing.
    Far(UpstreamError),
    /// We do not take or give it, or failed ourselves.
    Here(RegistryError),
}

impl From<UpstreamError> for Trouble {
    fn from(error: UpstreamError) -> Self {
        Self::Far(error)
    }
}

impl<E: Into<RegistryError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}
