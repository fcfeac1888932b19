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
/// Ranges of one request that are answered in parts; with more, the whole blob is sent.
pub const RANGES: usize = 64;
/// Tags that one push of a manifest may set with `?tag=` (the distribution spec asks for at least 10).
pub const TAGS_PER_PUSH: usize = 100;
/// Manifests and tags that go with one deleted repository.
pub const DELETED_NAMES: i64 = 10_000;
/// Repositories on one page that says what each holds.
pub const REPOSITORIES_PAGE: u32 = 100;
/// Tags, manifests and blobs of a repository that are counted for such a page, of each.
pub const COUNTED: i64 = 100_000;
/// Manifests on one page of their attributes: each costs a look at its config.
pub const MANIFESTS_PAGE: u32 = 100;
/// What is left of a refused request's body is read up to this length, in bytes (4 MiB: a chunk of
/// Azure's clients).
pub const DRAINED_BYTES: usize = 4 * 1024 * 1024;
/// For how long, in seconds.
pub const DRAIN_SECONDS: u64 = 5;
/// Longest body of a change of attributes, in bytes.
pub const ATTRIBUTES_BYTES: usize = 16 * 1024;
/// Referrers on one page.
pub const REFERRERS: i64 = 100;
/// Annotations on one page of referrers, in bytes of JSON; one referrer is always on it. Clients
/// read an index up to the size of a manifest.
pub const REFERRERS_BYTES: u64 = 2 * 1024 * 1024;
/// Annotations of one referrer that are shown to people.
pub const ANNOTATIONS: usize = 32;
/// Longest name or value of one there, and longest artifact type, in bytes; more is cut off.
pub const ANNOTATION_BYTES: usize = 512;
/// Repositories looked at, of each kind, for a mount that does not say from where.
pub const MOUNT_SOURCES: i64 = 64;
/// When to try again, in seconds, unless the refusal says it.
pub const RETRY_SECONDS: u32 = 1;
/// Names of manifests that are kept in memory with what they stand for.
pub const CACHED_NAMES: usize = 16_384;
/// Bytes of manifests that are kept in memory, all together.
pub const CACHED_BYTES: u64 = 32 * 1024 * 1024;
/// Longer manifests are read each time, in bytes.
pub const CACHED_MANIFEST_BYTES: usize = 256 * 1024;
/// Prefixes that have rules.
pub const RULES: u64 = 1_000;
/// Manifests that one promotion copies.
pub const PROMOTED_MANIFESTS: usize = 1_000;
/// How long a blob is kept for whoever was told that it is here, in seconds (24 hours); prolonged when
/// less than half of it is left.
pub const LEASE_SECONDS: i64 = 24 * 3600;
/// How long a condemned blob can be taken back by naming it, in seconds (15 minutes).
pub const CONDEMNED_SECONDS: i64 = 15 * 60;
/// Reviews claimed in one statement; the rest in the next.
pub const REVIEW_BATCH: i64 = 256;
/// Reviews under way at once: on SQLite they share commits.
pub const REVIEWS_AT_ONCE: usize = 32;
/// How long a claimed review belongs to its worker, in seconds; longer with each try.
pub const REVIEW_SECONDS: i64 = 60;
/// How often a server looks for reviews that are due, in seconds.
pub const COLLECT_SECONDS: u64 = 5;
/// Longest time in which what was deleted can be restored, in days.
pub const SOFT_DELETE_DAYS: u32 = 90;
/// How long a manifest stays at least that nothing leads to, in seconds (one hour): its index may be on
/// the way.
pub const GRACE_SECONDS: i64 = 3600;
/// When to look again at what is locked, runs, or is kept by a rule, in seconds (one day).
pub const RECHECK_SECONDS: i64 = 24 * 3600;
/// Manifests whose pulls are counted between two stores.
pub const PULLS: usize = 100_000;
/// How often counted pulls are stored, in seconds; a multiple of 5.
pub const PULLS_SECONDS: u64 = 10;
/// How long the trace of an ended container is kept, in seconds: late news of it counts for nothing.
pub const ENDED_SECONDS: i64 = 24 * 3600;
/// Characters of a container's name that are kept.
pub const RUNNER_CHARS: usize = 200;
/// Containers told of at once.
pub const RUNNING_AT_ONCE: usize = 4;
/// Manifests, tags, containers and the like that an explanation names, of each.
pub const EXPLAINED: i64 = 100;
/// Bytes read by one part of a verification (256 MiB).
pub const VERIFIED_BYTES: u64 = 256 * 1024 * 1024;
/// A file that no row names is told of at this age, in seconds (48 hours): before, a push may still name it.
pub const ORPHAN_SECONDS: i64 = 48 * 3600;
/// And removed by itself at this age, in seconds (9 days).
pub const ORPHAN_SWEEP_SECONDS: i64 = 9 * 24 * 3600;
/// How often stored bytes are read for a while, in seconds; one of 512 folders is looked through then.
pub const SCRUB_SECONDS: u64 = 60;
/// How many are read then (512 MiB).
pub const SCRUB_BYTES: u64 = 512 * 1024 * 1024;
/// How often each blob is read, in days.
pub const SCRUB_DAYS: i64 = 30;

/// What is damaged is looked at again after so long: its bytes may be back.
pub const DAMAGED_SECONDS: i64 = 24 * 3600;
/// Prefixes of repositories with rules of what they keep.
pub const RETENTION_PREFIXES: i64 = 1_000;
/// Tags of a repository that rules are asked about; with more, no rule applies.
pub const RETENTION_TAGS: usize = 100_000;
/// Patterns of tags in one set of rules.
pub const PATTERNS: usize = 100;
/// Longest pattern of tags, in bytes: as long as a tag.
pub const PATTERN_BYTES: usize = 128;
