use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{
    merkle::Hash,
    note::{NoteError, Signer, Verifier},
};

/// A signed tree head (C2SP `tlog-checkpoint`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of records.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// Why a checkpoint is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CheckpointError {
    /// The note around it.
    #[error("checkpoint is not signed as it should be")]
    Note(#[from] NoteError),
    /// Not origin, size, root.
    #[error("checkpoint is malformed")]
    Malformed,
    /// Another log's.
    #[error("checkpoint is of `{found}`")]
    Origin {
        /// The origin it names.
        found: String,
    },
}

impl Checkpoint {
    /// The signed text.
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.0)))
    }

    /// Reads a signed text, believing it only with the signature of `verifier`, whose name is the origin.
    pub fn open(text: &str, verifier: &Verifier) -> Result<Self, CheckpointError> {
        let body = verifier.open(text)?;
        let mut lines = body.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        if origin != verifier.name() {
            return Err(CheckpointError::Origin { found: origin.to_owned() });
        }
        let size = size.parse().map_err(|_| CheckpointError::Malformed)?;
        let root = BASE64
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(CheckpointError::Malformed)?;
        Ok(Self { origin: origin.to_owned(), size, root: Hash(root) })
    }
}
