use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, as a stable word. The HTTP status and the exit code follow from it,
/// here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The request is malformed.
    Invalid,
    /// No valid credential was given.
    Unauthorized,
    /// The caller is known and may not.
    Denied,
    /// Not there, or not visible to the caller.
    NotFound,
    /// It is there already, or changed meanwhile.
    Conflict,
    /// The one-time link sets a password, and none was given.
    PasswordRequired,
    /// The act needs a password or link that was given a moment ago.
    StepUp,
    /// A precondition or state forbids it.
    Unsupported,
    /// What the request said must hold before it does not.
    PreconditionFailed,
    /// A lock on a repository, a manifest or a tag forbids it.
    Locked,
    /// Larger than a named limit.
    TooLarge,
    /// The URL asks for more than a named limit.
    UriTooLong,
    /// Too many requests.
    TooManyRequests,
    /// A chunk of an upload that does not follow what is there.
    RangeInvalid,
    /// Nothing of the range that is asked for exists.
    RangeUnsatisfiable,
    /// The clearance says no.
    Blocked,
    /// The answer is not decided yet.
    Pending,
    /// The disk is at its floor, or full.
    NoSpace,
    /// Not now: shutting down, sealed, or a part is away.
    Unavailable,
    /// A bug or a broken part; the log has the details.
    Internal,
    /// OCI: blob unknown to the registry.
    BlobUnknown,
    /// OCI: upload broken or out of order.
    BlobUploadInvalid,
    /// OCI: upload unknown.
    BlobUploadUnknown,
    /// OCI: digest does not match the content.
    DigestInvalid,
    /// OCI: manifest names a blob that is not there.
    ManifestBlobUnknown,
    /// OCI: manifest malformed.
    ManifestInvalid,
    /// OCI: manifest unknown.
    ManifestUnknown,
    /// OCI: repository name malformed.
    NameInvalid,
    /// OCI: repository unknown.
    NameUnknown,
    /// OCI: size does not match the content.
    SizeInvalid,
}

impl ErrorCode {
    /// All codes, for the reference.
    pub const ALL: &[Self] = &[
        Self::Invalid,
        Self::Unauthorized,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::PasswordRequired,
        Self::StepUp,
        Self::Unsupported,
        Self::PreconditionFailed,
        Self::Locked,
        Self::TooLarge,
        Self::UriTooLong,
        Self::TooManyRequests,
        Self::RangeInvalid,
        Self::RangeUnsatisfiable,
        Self::Blocked,
        Self::Pending,
        Self::NoSpace,
        Self::Unavailable,
        Self::Internal,
        Self::BlobUnknown,
        Self::BlobUploadInvalid,
        Self::BlobUploadUnknown,
        Self::DigestInvalid,
        Self::ManifestBlobUnknown,
        Self::ManifestInvalid,
        Self::ManifestUnknown,
        Self::NameInvalid,
        Self::NameUnknown,
        Self::SizeInvalid,
    ];

    /// HTTP status (RFC 9110 §15).
    pub const fn status(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            // interface.md §5: a pending image is refused like a blocked one, with `Retry-After`.
            Self::Denied | Self::Blocked | Self::Pending | Self::StepUp => 403,
            Self::NotFound
            | Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => 404,
            Self::Conflict | Self::PasswordRequired => 409,
            // As Azure's registry answers, whose clients know it.
            Self::Unsupported | Self::Locked => 405,
            Self::PreconditionFailed => 412,
            Self::TooLarge => 413,
            Self::UriTooLong => 414,
            Self::RangeInvalid | Self::RangeUnsatisfiable => 416,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::NoSpace => 507,
            Self::Invalid
            | Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => 400,
        }
    }

    /// Exit code of the command line (interface.md §2).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Blocked | Self::Pending => 1,
            Self::Invalid
            | Self::NotFound
            | Self::NameInvalid
            | Self::NameUnknown
            | Self::ManifestUnknown => 2,
            _ => 3,
        }
    }

    /// The word in an OCI error body (distribution spec, "Error Codes").
    pub const fn oci_code(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied | Self::Blocked | Self::Pending | Self::StepUp | Self::Locked => "DENIED",
            Self::NotFound | Self::NameUnknown => "NAME_UNKNOWN",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid | Self::RangeInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::SizeInvalid | Self::TooLarge => "SIZE_INVALID",
            Self::Invalid
            | Self::UriTooLong
            | Self::Conflict
            | Self::PasswordRequired
            | Self::PreconditionFailed
            | Self::Unsupported => "UNSUPPORTED",
            // Not in the spec; what distribution has for a range that is none.
            Self::RangeUnsatisfiable => "RANGE_INVALID",
            // Not in the spec, which has none for a server's trouble; what distribution and its clients say.
            Self::NoSpace | Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "UNKNOWN",
        }
    }
}

/// The one error type that leaves the server: rendered per protocol, mapped to a status
/// and an exit code by its [`ErrorCode`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable word.
    pub code: ErrorCode,
    /// What failed on what; lower case, no final period.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retry_after_seconds: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
