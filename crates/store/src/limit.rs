//! Named limits of this crate.

/// Most transactions that share one SQLite commit (one fsync).
pub const GROUP_COMMIT: usize = 128;
/// Most transactions waiting for the SQLite writer; more wait in their callers.
pub const WRITER_QUEUE: usize = 1_024;
/// Attempts of one PostgreSQL transaction that lost a serialisation race.
pub const TX_ATTEMPTS: u32 = 30;
/// Attempts of them beside this process's other transactions; the later ones run alone.
pub const TX_ATTEMPTS_SHARED: u32 = 6;
/// Read connections to SQLite.
pub const SQLITE_READERS: usize = 4;
/// How long a connection waits for one that locks the file, such as a checkpoint, in seconds.
pub const SQLITE_BUSY_SECONDS: u64 = 10;
/// Pages of the write-ahead log from which on a commit copies them into the database (64 MiB): those that many
/// commits changed are copied once.
pub const SQLITE_CHECKPOINT_PAGES: u32 = 16_384;
/// After one transaction of a batch failed, each runs in a savepoint for so many batches of several.
pub const CAREFUL_BATCHES: u32 = 64;
/// How long one waits for a connection to PostgreSQL, in seconds.
pub const POSTGRES_WAIT_SECONDS: u64 = 8;
/// How often a server looks for the migrations that are left, while others make them.
pub const MIGRATE_ATTEMPTS: u32 = 200;
/// Connections to PostgreSQL.
pub const POSTGRES_CONNECTIONS: u32 = 16;
/// Blobs up to this many bytes live in SQL, in the transaction that names them.
pub const SMALL_BLOB_BYTES: usize = 16 * 1024;
/// Bytes of an upload that are hashed and written at a time, when there are few.
pub const UPLOAD_CHUNK_BYTES: usize = 256 * 1024;
/// And when there are many.
pub const UPLOAD_CHUNK_BYTES_MIN: usize = 32 * 1024;
/// Bytes of all uploads that wait to be written, as long as none has less than the least chunk (32 MiB).
pub const UPLOADS_BYTES: usize = 32 * 1024 * 1024;
/// Chunks of a stored file that are hashed in one go on a blocking thread (16 MiB).
pub const SLICE_CHUNKS: usize = 64;
/// Pieces of an upload from this length on wait to be written as they came; shorter ones are put
/// together.
pub const UPLOAD_PIECE_BYTES: usize = 4 * 1024;
/// Bytes read from a blob file at a time.
pub const READ_CHUNK_BYTES: usize = 128 * 1024;
/// Longest event, in bytes of JSON. The transaction that sends a longer one fails.
pub const EVENT_BYTES: usize = 16 * 1024 * 1024;
/// Deliveries claimed in one statement; the rest in the next.
pub const CLAIM_BATCH: i64 = 32;
/// How long a claimed delivery belongs to its worker, in seconds; renewed at a third of it while
/// it works. After a kill -9 another replica goes on when it is over.
pub const DELIVERY_LEASE_SECONDS: i64 = 15;
/// Attempts of one delivery before it is set aside as failed.
pub const DELIVERY_ATTEMPTS: i64 = 12;
/// Longest wait between two attempts, in seconds.
pub const BACKOFF_SECONDS_MAX: i64 = 300;
/// How often a replica on PostgreSQL looks for deliveries others inserted, in milliseconds.
pub const POLL_POSTGRES_MS: u64 = 50;
/// How often SQLite is looked through for deliveries that became due, in milliseconds.
pub const POLL_SQLITE_MS: u64 = 500;
/// Free bytes below which uploads are refused, unless configured otherwise.
pub const DISK_FLOOR_BYTES: u64 = 512 * 1024 * 1024;
