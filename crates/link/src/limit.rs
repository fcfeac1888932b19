//! Named limits of the link. Both ends hold them: the agent cuts and says so, the control plane
//! refuses.

/// Longest batch, in bytes of JSON.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Items of one batch.
pub const BATCH_ITEMS: usize = 1_000;
/// Containers of one host.
pub const CONTAINERS: usize = 50_000;
/// Longest name, reference, user, path or state, in bytes.
pub const TEXT_BYTES: usize = 4 * 1024;
/// Labels, environment names, mounts, capabilities, devices and repository digests of one thing.
pub const ENTRIES: usize = 500;
/// Layers of one image.
pub const LAYERS: usize = 1_000;
/// Containers of one report of what they use: of more, the first by id are told.
pub const USAGES: usize = 2_000;
/// Longest report of what containers use, in bytes of JSON.
pub const USAGE_BYTES: usize = 4 * 1024 * 1024;
/// Characters of a join token after its prefix.
pub const JOIN_TOKEN_CHARS: usize = 86;
/// Longest request to join, in bytes.
pub const JOIN_BYTES: usize = 16 * 1024;
/// Images of one answer that a host may read itself.
pub const UNREAD: usize = 500;
