use std::io;

/// Why a layer is not read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The bytes could not be fetched: says nothing about the layer.
    #[error("failed to read the layer's bytes")]
    Input {
        /// What the reader met.
        source: io::Error,
    },
    /// The compressed stream is damaged.
    #[error("layer is not valid {format}")]
    Corrupt {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What the decoder met.
        source: io::Error,
    },
    /// The stream ends too early.
    #[error("layer ends inside {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes other than zeros follow the compressed stream.
    #[error("layer has other bytes after its gzip stream")]
    TrailingGarbage,
    /// An entry's header is malformed.
    #[error("entry {entry} of the layer {problem}")]
    BadEntry {
        /// Number of the entry, first is 0.
        entry: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry's path leads out of the root.
    #[error("entry {entry} of the layer leads out of the root: `{path}`")]
    HostilePath {
        /// Number of the entry, first is 0.
        entry: u32,
        /// The path, shortened.
        path: String,
    },
    /// A limit is passed.
    #[error("layer has more than {at_most} {what}")]
    TooLarge {
        /// The unit of the limit.
        what: &'static str,
        /// The limit.
        at_most: u64,
    },
}

impl LayerError {
    /// True when a limit was passed, as opposed to a malformed layer.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}
