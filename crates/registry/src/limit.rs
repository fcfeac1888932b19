//! Named limits of this room.

/// Tags or repositories on one page; a larger `n` is clamped.
pub const PAGE: u32 = 1_000;
/// Largest single blob, in bytes (64 GiB).
pub const BLOB_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// How long an upload session lives without a request, in seconds (24 hours).
pub const UPLOAD_SECONDS: i64 = 24 * 3600;
/// How long an upload must be left alone, in seconds, until a new one of a principal that has as many as it may
/// takes its place.
pub const UPLOAD_IDLE_SECONDS: i64 = 60;
/// How long who asks where an upload stands waits for the request that writes to it, in milliseconds.
pub const HELD_MILLIS: u64 = 500;
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
/// Tags that one push of a manifest may set with `?tag=` (the distribution spec asks for at least 10). Each is a
/// header of the answer, and some clients read 100 at most.
pub const TAGS_PER_PUSH: usize = 80;
/// Manifests and tags that go with one deleted repository.
pub const DELETED_NAMES: i64 = 10_000;
/// Repositories on one page that says what each holds.
pub const REPOSITORIES_PAGE: u32 = 100;
/// Tags, manifests and blobs of a repository that are counted for such a page, of each.
pub const COUNTED: i64 = 100_000;
/// Manifests on one page of their attributes: each costs a look at its config.
pub const MANIFESTS_PAGE: u32 = 100;
/// What is left of a refused request's body is read up to this length, in bytes (16 MiB: a chunk of Azure's clients has
/// 4, and a manifest that is too long some more than it may).
pub const DRAINED_BYTES: usize = 16 * 1024 * 1024;
/// For how long, in seconds.
pub const DRAIN_SECONDS: u64 = 5;
/// Longest body of a change of attributes, in bytes.
pub const ATTRIBUTES_BYTES: usize = 16 * 1024;
/// Referrers on one page.
pub const REFERRERS: i64 = 100;
/// Annotations of one referrer that are read with it, in bytes of JSON; longer ones are read for themselves.
pub const REFERRER_INLINE_BYTES: u64 = 16 * 1024;
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
/// Names of manifests that are kept in memory with what they stand for; as many blobs, and who opens them.
pub const CACHED_NAMES: usize = 16_384;
/// A blob that more manifests of a repository open is looked up each time.
pub const CACHED_REACH: usize = 8;
/// Bytes of manifests that are kept in memory, all together.
pub const CACHED_BYTES: u64 = 32 * 1024 * 1024;
/// Longer manifests are read each time, in bytes.
pub const CACHED_MANIFEST_BYTES: usize = 256 * 1024;
/// Prefixes that have rules.
pub const RULES: u64 = 1_000;
/// Manifests that one promotion copies.
pub const PROMOTED_MANIFESTS: usize = 1_000;
/// Bytes of manifests that one promotion copies (32 MiB).
pub const PROMOTED_BYTES: usize = 32 * 1024 * 1024;
/// Layers, configs and children that those name: each is a row.
pub const PROMOTED_REFERENCES: usize = 50_000;
/// How long a blob is kept for whoever was told that it is here, in seconds (24 hours); prolonged when
/// less than half of it is left.
pub const LEASE_SECONDS: i64 = 24 * 3600;
/// How long a condemned blob can be taken back by naming it, in seconds (15 minutes).
pub const CONDEMNED_SECONDS: i64 = 15 * 60;
/// Reviews claimed in one statement when they are late; the rest in the next.
pub const REVIEW_BATCH: i64 = 256;
/// Reviews claimed in one statement, and looked at together, when there is time.
pub const REVIEW_BATCH_GENTLE: i64 = 16;
/// Reviews that are due for longer are late, in seconds: they are looked at without a rest.
pub const COLLECT_LATE_SECONDS: i64 = 3600;
/// The rest behind them, in milliseconds.
pub const COLLECT_REST_MS: u64 = 500;
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
/// Longest name of a type that a manifest says of itself, in bytes (RFC 6838 section 4.2: 127 for each part).
pub const TYPE_BYTES: usize = 255;
/// Tags and references after which a page of manifests ends in ACR's lists.
pub const ATTRIBUTES_NAMES: usize = 10_000;
/// How often who waits for a manifest of an upstream looks whether it is here, in seconds.
pub const LOOK_AGAIN_SECONDS: u64 = 1;
/// Manifests that one restoration brings back with the one that was asked for.
pub const RESTORED_MANIFESTS: usize = 1_000;
/// Tags that are judged, and removed by a rule, before those behind them are.
pub const EXPIRED_AT_ONCE: u32 = 1_000;
/// Patterns of tags in one set of rules.
pub const PATTERNS: usize = 100;
/// Longest pattern of tags, in bytes: as long as a tag.
pub const PATTERN_BYTES: usize = 128;
/// Longest details of a quarantine, in bytes.
pub const QUARANTINE_BYTES: usize = 4 * 1024;
/// Tags of a manifest that a record names when it leaves quarantine.
pub const TOLD_TAGS: i64 = 100;
/// Longest URL of an upstream and of where it leads, in bytes: signed ones are long.
pub const UPSTREAM_URL_BYTES: usize = 8 * 1024;
/// Longest name of a host, with its port, in bytes.
pub const HOST_BYTES: usize = 255;
/// Longest challenge of an upstream, in bytes.
pub const CHALLENGE_BYTES: usize = 4 * 1024;
/// Failures in a row after which an upstream is left alone.
pub const UPSTREAM_FAILURES: u32 = 3;
/// For how long at first, in seconds; doubled with each further failure.
pub const UPSTREAM_REST_SECONDS: u32 = 5;
/// And at most, in seconds.
pub const UPSTREAM_REST_SECONDS_MAX: u32 = 300;
/// Longest time that an upstream can ask to be left alone, in seconds (one hour).
pub const RETRY_AFTER_SECONDS_MAX: u32 = 3600;
/// When a client is told to try again after an upstream's failure, in seconds.
pub const UPSTREAM_RETRY_SECONDS: u32 = 30;
/// Indexes between the name of an image elsewhere that is looked at and the image.
pub const FOREIGN_DEPTH: usize = 4;
/// How often one of its blobs is asked for.
pub const FOREIGN_ATTEMPTS: u32 = 5;
/// How long the head of an upstream's answer may take, with redirects and tokens, and how long a body may stand
/// still, in seconds.
pub const UPSTREAM_SECONDS: u64 = 20;
/// Addresses of an upstream's name that are tried.
pub const UPSTREAM_ADDRESSES: usize = 8;
/// Headers of an upstream's answer.
pub const UPSTREAM_HEADERS: usize = 100;
/// Redirects that are followed for one request.
pub const REDIRECTS: usize = 5;
/// Longest answer of a token service, in bytes.
pub const TOKEN_ANSWER_BYTES: usize = 64 * 1024;
/// Tokens kept for one upstream.
pub const UPSTREAM_TOKENS: usize = 1_000;
/// Longest time that a token is used, in seconds (one hour).
pub const TOKEN_SECONDS_MAX: i64 = 3600;
/// How long before its end a token is not used any more, in seconds.
pub const TOKEN_MARGIN_SECONDS: i64 = 10;
/// Prefixes that are caches.
pub const CACHES: u64 = 1_000;
/// Hosts, realms or networks in one cache's settings, of each.
pub const CACHE_NAMES: usize = 32;
/// Longest user name or password for an upstream, in bytes: tokens are long.
pub const LOGIN_BYTES: usize = 16 * 1024;
/// Longest time that an upstream's answer about a tag holds, in seconds (one day).
pub const CHECK_SECONDS_MAX: u32 = 86_400;
/// How long it holds when nothing is said, in seconds.
pub const CHECK_SECONDS: u32 = 60;
/// How long a server on PostgreSQL goes by the caches that it read, in milliseconds: others may change them.
pub const CACHES_MS: u64 = 1_000;
/// Tags whose last check is remembered.
pub const CHECKS: usize = 65_536;
/// How long it holds that an upstream does not have a manifest, in seconds: a client in a loop asks it no more often.
/// Never longer than its answers about tags hold.
pub const ABSENT_SECONDS: u32 = 10;
/// Manifests of which that is remembered.
pub const ABSENT: usize = 16_384;
/// Manifests that are fetched at once because an index names them, to find which names a blob.
pub const CHILDREN: usize = 64;
/// Indexes whose manifests those are: the ones that came last.
pub const INDEXES: i64 = 16;
/// Blobs that come from upstreams at once, and one more of each cache; others wait. So a cache that has none under way
/// begins with one, however slow the upstreams of others are.
pub const FETCHES: usize = 64;
/// Blobs of one cache that come at once: one slow upstream leaves turns for others.
pub const CACHE_FETCHES: usize = 16;
/// Slowest pace that a blob comes at, in bytes a second (4 KiB): an upstream that sends more slowly for a minute is given
/// up.
pub const FETCH_BYTES_PER_SECOND: u64 = 4 * 1024;
/// Manifests that are asked for at once, and one more of each cache; others wait.
pub const ERRANDS: usize = 128;
/// Manifests of one cache that are asked for at once.
pub const CACHE_ERRANDS: usize = 32;
/// Blobs at once for which images are fetched that may name them, and one more of each cache; others wait.
pub const SEARCHES: usize = 32;
/// Such blobs of one cache.
pub const CACHE_SEARCHES: usize = 8;
/// How long a request waits for its turn to ask an upstream, in seconds.
pub const TURN_SECONDS: u64 = 60;
/// Blobs of one image that are fetched at once without anybody waiting for them.
pub const FILLS_PER_IMAGE: usize = 3;
/// Images that are fetched at once without anybody waiting for them, and one more of each cache.
pub const FILLS: usize = 16;
/// Such images of one cache.
pub const CACHE_FILLS: usize = 4;
/// Images that are due to be fetched so and looked at in one look, for those whose cache has a turn.
pub const FILLS_LOOKED_AT: usize = 1_000;
/// Longest wait between two attempts of one, in seconds (one hour).
pub const FILL_SECONDS_MAX: i64 = 3600;
/// Attempts of one fetch that get nowhere; one that brought bytes begins to count anew.
pub const FETCH_ATTEMPTS: u32 = 4;
/// Attempts of one fetch in all.
pub const FETCH_ATTEMPTS_MAX: u32 = 32;
/// Attempts of one fetch for which the upstream began anew, because it knows no ranges: each costs all bytes once more.
pub const FETCHES_ANEW: u32 = 3;
/// First bytes of a blob that is being fetched, which its readers share in memory (64 KiB).
pub const HEAD_BYTES: usize = 64 * 1024;
/// Bytes at the end of a blob that nobody is given before all of it is verified and stored (16 KiB).
pub const WITHHELD_BYTES: u64 = 16 * 1024;
/// How long a manifest may take to come from an upstream, with all that is asked before it, in seconds.
pub const ERRAND_SECONDS: u64 = 90;
/// Prefixes that are copied to other registries.
pub const REPLICATIONS: u64 = 100;
/// Longest name of a replication, in bytes.
pub const REPLICATION_NAME_BYTES: usize = 64;
/// Names that are sent to one registry at once.
pub const SENDS_PER_REPLICATION: usize = 2;
/// Names of one replication that are looked at for some to send: those of one repository go one after the other, so
/// that what they have in common goes once.
pub const SENDS_LOOKED_AT: u64 = 64;
/// Names that are sent at once in all.
pub const SENDS: usize = 8;
/// Blobs of one manifest that are sent at once.
pub const SENDS_PER_MANIFEST: usize = 2;
/// How long what is being sent is left to who sends it, in seconds: if that server is killed, it is sent anew.
pub const SEND_SECONDS: i64 = 600;
/// How often what is being sent is held for longer, and looked at whether it is wanted still, in seconds.
pub const SEND_LOOK_SECONDS: u64 = 10;
/// Slowest pace that a blob is sent at, in bytes a second: a registry that reads more slowly is given up.
pub const SEND_BYTES_PER_SECOND: u64 = 64 * 1024;
/// How fast a registry is taken to store what it was sent, in bytes a second: for so long its answer may take.
pub const SEND_STORE_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
/// The first wait between two attempts to send, in seconds; doubled each time.
pub const SEND_AGAIN_SECONDS: i64 = 5;
/// And the longest, in seconds (one hour).
pub const SEND_AGAIN_SECONDS_MAX: i64 = 3600;
/// Attempts to send what refers to a manifest that is not there.
pub const SENDS_WITHOUT_SUBJECT: i64 = 10;
/// Longest reason of a failure that is kept, in bytes.
pub const SEND_ERROR_BYTES: usize = 500;
/// Tags that are looked at in one transaction when all of a prefix are.
pub const SEED_TAGS: u64 = 500;
/// Repositories that one cache mirrors.
pub const MIRRORS: usize = 100;
/// How often what is mirrored is looked at when nothing is said, in seconds (one hour).
pub const MIRROR_SECONDS: u32 = 3600;
/// And how often at most, in seconds.
pub const MIRROR_SECONDS_MIN: u32 = 60;
/// And at least, in seconds (one week).
pub const MIRROR_SECONDS_MAX: u32 = 7 * 86_400;
/// Tags of a repository that are mirrored; with more that fit, none is.
pub const MIRROR_TAGS: usize = 10_000;
/// Pages of an upstream's list, of tags or of referrers, that are read; a longer list is refused.
pub const LIST_PAGES: usize = 200;
/// Longest page of such a list, in bytes (4 MiB).
pub const LIST_BYTES: usize = 4 * 1024 * 1024;
/// Longest page that is read where it came, in bytes: a longer one holds nothing else up.
pub const LIST_BYTES_AT_HAND: usize = 64 * 1024;
/// All pages of one list together, in bytes (16 MiB).
pub const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Tags in an upstream's list that a cache answers from; a longer list is refused.
pub const LISTED_TAGS: usize = 100_000;
/// Referrers in an upstream's list; a longer list is refused.
pub const LISTED_REFERRERS: usize = 10_000;
/// What is kept in memory of upstreams' lists of tags, and as much of referrers, in bytes (32 MiB).
pub const LISTS_BYTES: u64 = 32 * 1024 * 1024;
/// Lists that are read from upstreams at once, of each kind, and one more of each cache; others wait.
pub const LISTS_AT_ONCE: usize = 16;
/// Lists of one cache, of both kinds together: one slow upstream leaves turns for others.
pub const CACHE_LISTS_AT_ONCE: usize = 4;
/// How long a mirror that is looked at is left to who looks, in seconds: if that server is killed, another looks.
pub const MIRROR_CLAIM_SECONDS: i64 = 600;
/// Mirrors that are looked at once.
pub const MIRRORS_AT_ONCE: usize = 4;
