/// Beyond any of these an import ends with an error and changes nothing, unless said otherwise.
///
/// Largest file that is read into memory whole: a JSON document, a CSV file, a zip archive; in bytes.
pub const MEMBER_BYTES: u64 = 256 * 1024 * 1024;
/// Most unpacked bytes of one archive or compressed file.
pub const UNPACKED_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Most unpacked bytes for each packed byte, checked beyond [`RATIO_FREE_BYTES`].
pub const RATIO: u64 = 500;
/// Unpacked bytes below which the ratio does not matter.
pub const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;
/// Most files in one archive or folder.
pub const MEMBERS: usize = 1_000_000;
/// Longest file name inside an archive, in bytes.
pub const PATH_BYTES: usize = 4096;
/// How deep compressed files may be wrapped in each other: a `.json.gz` in a `.tar.zst` in a folder is 3.
pub const NESTING: usize = 4;
/// Most rows (vulnerability × source package × release) in one feed.
pub const ROWS: usize = 4_000_000;
/// Most distinct texts in one feed.
pub const TEXTS: usize = 8_000_000;
/// Longest advisory id, package name or ecosystem, in bytes.
pub const NAME_BYTES: usize = 256;
/// Longest version in a feed, in bytes.
pub const VERSION_BYTES: usize = 512;
/// Longest summary that is kept, in characters; the rest is cut.
pub const SUMMARY_CHARS: usize = 300;
/// Most ids that one advisory may name as aliases.
pub const ALIASES: usize = 5_000;
/// Most ranges, and most enumerated versions, of one affected package in one advisory. Beyond it every
/// version counts as affected, with a warning.
pub const SPANS: usize = 50_000;
/// Most CVEs in one catalogue of exploited or scored vulnerabilities.
pub const SCORES: usize = 2_000_000;
/// Longest line of a CSV file, in bytes.
pub const CSV_RECORD_BYTES: usize = 64 * 1024;
/// Most warnings, and most skipped files, that an import names; the rest is counted.
pub const LISTED: usize = 1_000;
/// Largest segment, in bytes (offsets are 32 bits).
pub const SEGMENT_BYTES: usize = 1024 * 1024 * 1024;
/// Most segments of one import.
pub const SEGMENTS: usize = 64;
/// Largest header of a serialised import, in bytes.
pub const IMPORT_HEADER_BYTES: usize = 16 * 1024 * 1024;
/// Records for one release that a feed of mixed ecosystems must have to count as covering it: a
/// handful of samples is no coverage.
pub const MIXED_FEED_RECORDS: u64 = 100;
