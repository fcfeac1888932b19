//! Named limits of this room.

/// Tags or repositories on one page; a larger `n` is clamped.
pub const PAGE: u32 = 1_000;
/// Largest single blob, in bytes (64 GiB).
pub const BLOB_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// How long an upload session lives without a request, in seconds (24 hours).
pub const UPLOAD_SECONDS: i64 = 24 * 3600;
/// Uploads under way per principal.
pub const UPLOADS_PER_PRINCIPAL: i64 = 1_000;
/// How often expired uploads are looked for, in seconds.
pub const SWEEP_SECONDS: u64 = 300;
/// Manifests that reach a blob looked at per query.
pub const REACH_PAGE: i64 = 100;
/// Repeats of one refused pull are counted this long, in seconds, then closed by one record.
pub const REFUSAL_SECONDS: i64 = 60;
/// Refusals being counted at once; beyond it each is recorded by itself.
pub const REFUSALS: usize = 10_000;
/// Longest path below `/v2/`, in bytes.
pub const PATH_BYTES: usize = 1_024;
