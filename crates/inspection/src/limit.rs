//! Named limits of this room.

use seaworthy_store::limit::EVENT_BYTES;

/// Most layers read at once, whatever is configured. Each is a child process with the
/// sandbox's own limits of memory and time.
pub const READERS: usize = 64;
/// Images folded at once; also how many deliveries are taken beyond the readers, so that an
/// image whose layers are read need not wait for a reader.
pub const FOLDS: usize = 2;
/// Configs that are known to be readable; others are read once more.
pub const CONFIGS: usize = 10_000;
/// Layers of one inspection outside the server that are read at once.
pub const LOCAL_READERS: usize = 4;
/// Attempts after which a reader that dies over a layer is that layer's result.
pub const READER_ATTEMPTS: i64 = 2;
/// Attempts after which a reader that cannot be started is told in the image's inventory. It
/// is never kept as a result of the layer.
pub const START_ATTEMPTS: i64 = 6;
/// Attempt from which on an image that has no inventory is answered without being read or folded: that nobody
/// managed to, perhaps because the process ended of it, is its result. The last one that a delivery has.
pub const ANSWER_ATTEMPTS: i64 = seaworthy_store::limit::DELIVERY_ATTEMPTS;
/// Stored facts of all layers of one image together, in bytes as stored. A layer beyond it counts as
/// not read: a problem.
pub const IMAGE_FACTS_BYTES: u64 = 512 * 1024 * 1024;
/// Decoded facts of all distinct layers of one image together, in bytes of memory. With
/// [`FOLDS`] this bounds what folding holds; a Debian image with a web server holds 2 MiB.
pub const IMAGE_MEMORY_BYTES: usize = 768 * 1024 * 1024;
/// Packages kept in one inventory. Of this and the lists that follow, what is cut is told in a problem.
pub const PACKAGES: usize = 50_000;
/// Secrets kept in one inventory.
pub const SECRETS: usize = 10_000;
/// Problems kept in one inventory.
pub const PROBLEMS: usize = 2_000;
/// Unreadable files named in one inventory.
pub const UNREADABLE: usize = 2_000;
/// Longest inventory, in bytes of JSON: with its envelope it must fit into one event.
pub const INVENTORY_BYTES: usize = EVENT_BYTES - 1024 * 1024;
/// Stored inventories of one config that are compared with a new image's layers; beyond them the image
/// is folded again.
pub const CANDIDATES: i64 = 4;
/// Repositories named for one manifest, the first by name.
pub const REPOSITORIES: i64 = 1_000;
/// Longest message of a problem, in characters; the rest is cut.
pub const MESSAGE_CHARACTERS: usize = 300;
/// Most members of an archive of `docker save`.
pub const ARCHIVE_MEMBERS: usize = 20_000;
/// How often the layers of such an archive may be as long as all its members.
pub const ARCHIVE_REPEATS: u64 = 4;
