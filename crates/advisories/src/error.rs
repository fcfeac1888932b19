use std::io;

use crate::segment::SegmentError;

/// Why an import failed. Nothing of a failed import is kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input could not be read, or its compression is broken or cut off.
    #[error("failed to read `{path}`")]
    Read {
        /// The file; members of archives follow a `!`.
        path: String,
        /// What the reader or decompressor said.
        source: io::Error,
    },
    /// A document is cut off, or a field has the wrong type.
    #[error("failed to read `{path}` as {format}, line {line}, column {column}")]
    Json {
        /// The file.
        path: String,
        /// What it was recognised as.
        format: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// A line of a CSV file is not what its header promises.
    #[error("failed to read `{path}` as {format}, line {line}: {reason}")]
    Csv {
        /// The file.
        path: String,
        /// What it was recognised as.
        format: &'static str,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// An archive is damaged.
    #[error("failed to unpack `{path}`: {reason}")]
    Archive {
        /// The archive.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A named limit is passed.
    #[error("`{path}` has more than {limit} {what}")]
    TooLarge {
        /// The file or feed.
        path: String,
        /// The limit.
        limit: u64,
        /// What is limited, with its unit.
        what: &'static str,
    },
    /// A segment made by another import is damaged.
    #[error("failed to open the segment of feed `{feed}`")]
    Segment {
        /// The feed.
        feed: String,
        /// What is wrong.
        source: SegmentError,
    },
    /// A serialised import is cut off or of another version.
    #[error("the result of an import is not readable: {reason}")]
    Result {
        /// What is wrong.
        reason: &'static str,
    },
    /// A request to [`crate::feed_reader`] is not its JSON.
    #[error("the request to the feed reader is not readable")]
    Request {
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl ImportError {
    pub(crate) fn json(path: &str, format: &'static str, source: serde_json::Error) -> Self {
        Self::Json { path: path.to_owned(), format, line: source.line(), column: source.column(), source }
    }

    pub(crate) fn too_large(path: &str, limit: u64, what: &'static str) -> Self {
        Self::TooLarge { path: path.to_owned(), limit, what }
    }
}
