/// Largest package database, in bytes (a full desktop's is 8 MiB). A larger one is unreadable: a problem.
pub const STATUS_BYTES: usize = 32 * 1024 * 1024;
/// Largest list of a package's files, in bytes. A larger one owns no file, and its package is never
/// taken for gone.
pub const LIST_BYTES: usize = 4 * 1024 * 1024;
/// Largest `os-release`, in bytes. A larger one is named among the unreadable files.
pub const OS_RELEASE_BYTES: usize = 64 * 1024;
/// Metadata kept of one layer, in bytes. What comes later counts as too large by itself.
pub const KEPT_BYTES: usize = 128 * 1024 * 1024;
/// Secrets reported of one layer, and of one image. That there are more is a problem.
pub const SECRETS: usize = 10_000;
/// Longest text between the first and the last line of a key, in bytes (a 16,384 bit RSA key
/// takes 13 KiB).
pub const KEY_BYTES: usize = 64 * 1024;
/// Longest package name, version or architecture, in bytes. A longer one makes its database unreadable
/// in part: a problem.
pub const FIELD_BYTES: usize = 512;
/// Package database bytes parsed for one image, over all its layers. One package costs at
/// least [`PACKAGE_COST`] of them each time the database changes. What comes later is not followed:
/// a problem.
pub const DATABASE_BYTES: u64 = 1024 * 1024 * 1024;
/// See [`DATABASE_BYTES`]. About what a package takes in memory, besides its text, and half of what its
/// paragraph takes in a database: so two million are followed at most, in less than 1 GiB.
pub const PACKAGE_COST: u64 = 512;
/// Encoded facts of one layer, compressed or not, in bytes. Longer ones are an error: the layer counts
/// as not read.
pub const FACTS_BYTES: u64 = 512 * 1024 * 1024;
/// Examples of unowned executables; all are counted.
pub const EXAMPLES: usize = 100;
/// Longest message of a problem, in characters; the rest is cut.
pub const MESSAGE_CHARACTERS: usize = 300;
/// Problems of package databases that are told one by one; the rest is counted in one more.
pub const PROBLEMS: usize = 1_000;
