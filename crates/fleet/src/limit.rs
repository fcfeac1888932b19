//! Named limits of this room. What one batch may hold is `seaworthy_link::limit`.

/// Hosts.
pub const HOSTS: u64 = 10_000;
/// Containers of one host that are there, stopped ones too.
pub const CONTAINERS: u64 = seaworthy_link::limit::CONTAINERS as u64;
/// Containers of one host that are gone and still shown.
pub const GONE: i64 = 10_000;
/// How long a container that is gone is shown, in days.
pub const GONE_DAYS: i64 = 30;
/// Images of one engine that are remembered; the newest stay.
pub const IMAGES: i64 = 10_000;
/// Entries of one host's history; the newest stay.
pub const HISTORY: i64 = 100_000;
/// How long history is kept, in days.
pub const HISTORY_DAYS: i64 = 90;
/// Spools of one host that are remembered, so that their batches are known when they are replayed.
pub const SPOOLS: i64 = 1_000;
/// Difference between an agent's clock and ours that is shown as wrong, in seconds.
pub const SKEW_SECONDS: i64 = 60;
/// Containers that are resolved again in one transaction.
pub const RESOLVE: usize = 500;
/// Children of an index, and indexes of a manifest, that are followed.
pub const CHILDREN: i64 = 1_000;
/// Contents of one name that are looked at: two make it ambiguous.
pub const CONTENTS: i64 = 10;
/// Manifests that are compared to find the one a container stands for.
pub const PLACES: i64 = 100;
/// Containers of one page.
pub const PAGE: usize = 1_000;
/// Entries of a container's history in one answer.
pub const HISTORY_PAGE: i64 = 1_000;
/// Content ids of one question.
pub const CONTENT_IDS: usize = 1_000;
/// Candidates that an ambiguous name lists.
pub const CANDIDATES: usize = 10;
/// Longest name of a host, in bytes; also what names are sorted by.
pub const NAME_BYTES: usize = 255;
/// Longest id of a container or image that is kept as it is for a key; longer ones are hashed.
pub const KEY_BYTES: usize = 128;
/// Deliveries handled at once.
pub const CONCURRENCY: usize = 4;
/// How often what is too old is removed, in seconds.
pub const UPKEEP_SECONDS: u64 = 300;
/// Rows of history removed in one transaction.
pub const UPKEEP_ROWS: i64 = 5_000;
/// Containers whose use is kept in memory, of all hosts together. With [`USAGE_POINTS`] this is at most
/// about 200 MiB, and 2 MiB for a thousand containers.
pub const USAGE_CONTAINERS: usize = 100_000;
/// Reports of one container that are kept: ten minutes.
pub const USAGE_POINTS: usize = 60;
/// How long the last report is shown, in seconds.
pub const USAGE_STALE_SECONDS: i64 = 45;
/// Invitations that nobody has used yet.
pub const INVITATIONS: u64 = 1_000;
/// How long an invitation may last, in seconds: seven days.
pub const INVITATION_SECONDS: i64 = 7 * 24 * 3_600;
/// Digests of one container's image that are told; engines call it by a few.
pub const NAMES: usize = 64;
