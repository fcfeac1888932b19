//! Named limits of the agent. What it sends is bounded by [`seaworthy_link::limit`] too.

use std::time::Duration;

/// Longest answer of an engine that is read whole, in bytes.
pub const ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Longest single object of a list or of the event stream, in bytes.
pub const PIECE_BYTES: usize = 1024 * 1024;
/// Most images of an engine whose names are compared.
pub const IMAGES: usize = 50_000;
/// Longest id of an engine, in bytes: docker's has 64 characters, an image's `sha256:` before.
pub const ID_BYTES: usize = 160;
/// Longest container or image as it is sent, in bytes of JSON.
pub const ITEM_BYTES: usize = 256 * 1024;
/// Inventories of images that wait for a batch.
pub const SCANNED: usize = 4;
/// Longest inventory of an image as it is sent, in bytes of JSON.
pub const SCANNED_BYTES: usize = 3 * 1024 * 1024;
/// Events that were already there when one was handled, and are handled with it.
pub const EVENTS_AT_ONCE: usize = 1_000;
/// Containers and images waiting in memory for a batch.
pub const PENDING: usize = 2_000;
/// Batches on disk.
pub const SPOOL_FILES: usize = 4_096;
/// Bytes of all batches on disk.
pub const SPOOL_BYTES: u64 = 256 * 1024 * 1024;
/// Unreadable or refused batches kept for people; older ones are removed.
pub const ASIDE_FILES: usize = 10;
/// Longest answer of the control plane, in bytes.
pub const ACK_BYTES: usize = 64 * 1024;
/// How long an engine may take for an answer that is not a stream.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long the control plane may take for a batch.
pub const DELIVERY: Duration = Duration::from_secs(30);
/// Longest image that is taken out of an engine to be read, in bytes: its layers unpacked.
pub const EXPORT_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Bytes that an image on its way leaves free on the agent's disk.
pub const SPARE_BYTES: u64 = 1024 * 1024 * 1024;
/// How long an image that was tried is left alone, in seconds.
pub const AGAIN_SECONDS: u64 = 600;
/// Longest cgroup file or `/proc/PID/net/dev`, in bytes; a longer one makes its values unknown.
pub const USAGE_FILE_BYTES: usize = 32 * 1024;
/// Readings for which a cgroup file that was not there is not looked for again.
pub const USAGE_FILE_SKIPS: u32 = 10;
/// Seconds of one report of what containers use.
pub const USAGE_SECONDS: usize = 10;
