use std::{io, path::PathBuf, sync::Arc};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::Digest;

use crate::sql::head;

/// What a database's driver said.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// SQLite's.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    /// PostgreSQL's.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
}

impl DriverError {
    /// SQLite's extended result code, or an SQLSTATE.
    fn code(&self) -> Option<String> {
        match self {
            Self::Sqlite(error) => Some(error.sqlite_error()?.extended_code.to_string()),
            Self::Postgres(error) => Some(error.as_database_error()?.code()?.into_owned()),
        }
    }

    /// True when the database server is not reached, or does not serve: it may in a moment.
    fn is_away(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => true,
            // Classes `connection_exception` and `operator_intervention`; `too_many_connections`.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                code.starts_with("08") || (code.starts_with("57P") && code != "57P04") || code == "53300"
            }),
            _ => false,
        }
    }

    /// PostgreSQL: serialisation failure and deadlock; a unique violation may be the same race seen
    /// earlier, but it is left to the caller, whose `ON CONFLICT` decides.
    pub(crate) fn is_lost_race(&self) -> bool {
        // Serialisation, deadlock, and a lock that did not come in time.
        matches!(self.code().as_deref(), Some("40001" | "40P01" | "55P03"))
    }
}

/// Why the database did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// The database cannot be opened.
    #[error("failed to open database `{place}`")]
    Open {
        /// File name, or PostgreSQL host and database; never a password.
        place: String,
        /// The driver's word.
        source: Arc<DriverError>,
    },
    /// A statement failed.
    #[error("failed to run `{statement}`")]
    Statement {
        /// The first words of the SQL text.
        statement: String,
        /// The driver's word.
        source: Arc<DriverError>,
    },
    /// The transaction did not commit: nothing of it is stored.
    #[error("failed to commit")]
    Commit {
        /// The driver's word.
        source: Arc<DriverError>,
    },
    /// The transaction lost every race it was allowed.
    #[error("transaction lost {attempts} serialisation races")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// A column holds what this version does not understand.
    #[error("column {column} of `{statement}` is not {expected}")]
    Column {
        /// The first words of the SQL text.
        statement: String,
        /// Position, from 0.
        column: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// The writer is gone: shutting down, or the transaction's code panicked.
    #[error("the database writer is gone")]
    WriterGone,
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
    /// The schema was written by a newer version.
    #[error("database has migration {found} of `{room}`, this version knows {known}")]
    Newer {
        /// The room.
        room: String,
        /// Newest migration found.
        found: i64,
        /// Newest migration known.
        known: i64,
    },
    /// A migration that already ran reads differently now.
    #[error("migration {id} of `{room}` differs from the one that ran")]
    Changed {
        /// The room.
        room: String,
        /// The migration.
        id: i64,
    },
    /// An event is too long to store.
    #[error("event is {bytes} bytes, more than {limit}")]
    EventTooLong {
        /// Its length.
        bytes: usize,
        /// [`crate::limit::EVENT_BYTES`].
        limit: usize,
    },
    /// The delivery is no longer ours: another worker took it over.
    #[error("delivery is no longer leased to this worker")]
    LeaseLost,
}

impl DbError {
    /// True when the disk is full.
    pub fn is_no_space(&self) -> bool {
        // SQLITE_FULL; PostgreSQL `disk_full`.
        matches!(self.code().as_deref(), Some("13" | "53100"))
    }

    /// True when it is certain that nothing was stored: the server said so, or was not asked to commit. A connection that
    /// breaks while it commits, and a server that is stopped then, say nothing of that.
    pub fn is_rolled_back(&self) -> bool {
        match self {
            Self::Statement { .. } | Self::Contended { .. } => true,
            Self::Commit { .. } => self.code().is_some_and(|code| match code.parse::<u32>() {
                // A number of SQLite's. Frames whose sync failed (SQLITE_IOERR) are in the log, and may be recovered.
                Ok(number) if code.len() < 5 => number & 0xFF != 10,
                // SQLSTATE classes `integrity_constraint_violation` and `transaction_rollback`, without
                // `statement_completion_unknown`.
                _ => code.len() == 5 && (code.starts_with("23") || code.starts_with("40")) && code != "40003",
            }),
            _ => false,
        }
    }

    /// True when the disk does not take or give bytes: read-only, or broken.
    pub fn is_disk_away(&self) -> bool {
        let Some(code) = self.code() else { return false };
        // PostgreSQL `read_only_sql_transaction`, `io_error`.
        if matches!(code.as_str(), "25006" | "58030") {
            return true;
        }
        // SQLITE_READONLY, SQLITE_IOERR: the low byte of what may be an extended code. Five
        // characters are an SQLSTATE.
        code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xFF, 8 | 10))
    }

    /// True when the database server is away, as while it starts anew.
    pub(crate) fn is_away(&self) -> bool {
        let (Self::Statement { source, .. } | Self::Commit { source } | Self::Open { source, .. }) = self
        else {
            return false;
        };
        source.is_away()
    }

    /// True when PostgreSQL has what was to be made, which another server made meanwhile: `unique_violation`, also of its own
    /// catalogue, `duplicate_table`, `duplicate_object`, `duplicate_column`.
    pub(crate) fn is_made_already(&self) -> bool {
        matches!(self.code().as_deref(), Some("23505" | "42P07" | "42710" | "42701"))
    }

    /// True when a text has what PostgreSQL does not store: U+0000.
    fn is_unstorable(&self) -> bool {
        // `character_not_in_repertoire`.
        self.code().as_deref() == Some("22021")
    }

    fn code(&self) -> Option<String> {
        let (Self::Statement { source, .. } | Self::Commit { source }) = self else { return None };
        source.code()
    }

    pub(crate) fn statement(sql: &str, error: impl Into<DriverError>) -> Self {
        Self::Statement { statement: head(sql), source: Arc::new(error.into()) }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        if error.is_no_space() {
            return Self::new(ErrorCode::NoSpace, "the metadata disk is full").retry_after(60);
        }
        if error.is_disk_away() {
            tracing::error!(error = %chain(&error), "disk refused the database");
            return disk_away("the metadata disk is read-only or broken");
        }
        if error.is_away() {
            tracing::error!(error = %chain(&error), "the database is away");
            return Self::new(ErrorCode::Unavailable, "the database is away").retry_after(5);
        }
        if error.is_unstorable() {
            return Self::new(ErrorCode::Invalid, "a text has U+0000");
        }
        match error {
            DbError::Contended { .. } => {
                Self::new(ErrorCode::Unavailable, "the database is busy").retry_after(1)
            }
            DbError::WriterGone | DbError::Closed => {
                Self::new(ErrorCode::Unavailable, "the server is shutting down").retry_after(5)
            }
            other => {
                tracing::error!(error = %chain(&other), "database operation failed");
                Self::new(ErrorCode::Internal, "the database failed").hint("the server's log has the cause")
            }
        }
    }
}

/// An error with all its causes, for a log line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Why a blob was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes do not hash to the name they were to have.
    #[error("content is {actual}, not {expected}")]
    DigestMismatch {
        /// The name claimed.
        expected: Digest,
        /// The name the bytes have.
        actual: Digest,
    },
    /// Too little free space.
    #[error("free disk space is below the floor of {floor_bytes} bytes")]
    DiskFloor {
        /// The floor.
        floor_bytes: u64,
    },
    /// The directory is not the one that was there at the start: its disk is not mounted, or broken.
    #[error("the files of the blobs are not there")]
    Away,
    /// The file system said no.
    #[error("failed to {operation} `{path}`")]
    File {
        /// Read, write, rename, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file of an upload is shorter than its session says: the session is lost.
    #[error("upload has {found} bytes on disk, its session says {expected}")]
    UploadLost {
        /// Bytes found.
        found: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// Stored bytes are shorter than their row says.
    #[error("blob {digest} has {found} bytes on disk, its row says {expected}")]
    Truncated {
        /// The blob.
        digest: Digest,
        /// Bytes found.
        found: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// The file of a blob is there and not to be read, unlike others.
    #[error("failed to read blob {digest}")]
    Unreadable {
        /// The blob.
        digest: Digest,
        /// The system's word.
        source: io::Error,
    },
    /// The row could not be read or written.
    #[error("failed to reach the blob's row")]
    Db(#[from] DbError),
}

/// True of what is wrong with one file, and not with the system, or with the rights to all of them.
pub(crate) fn is_of_file(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_file =
        [Errno::IO, Errno::LOOP, Errno::ISDIR, Errno::NOTDIR, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN];
    error.raw_os_error().is_some_and(|code| of_file.contains(&Errno::from_raw_os_error(code)))
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::DigestMismatch { .. } => Self::new(ErrorCode::DigestInvalid, error.to_string()),
            BlobError::DiskFloor { .. } => no_space(),
            BlobError::Away => {
                tracing::error!("the files of the blobs are not there: is their disk mounted?");
                Self::new(ErrorCode::Unavailable, error.to_string())
                    .hint("see whether the disk of the data directory is mounted")
                    .retry_after(60)
            }
            BlobError::File { ref source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                tracing::error!(error = %chain(&error), "disk refused a blob");
                no_space()
            }
            BlobError::File { ref source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                tracing::error!(error = %chain(&error), "disk refused a blob");
                disk_away("the registry's disk is read-only")
            }
            BlobError::UploadLost { .. } => Self::new(ErrorCode::BlobUploadUnknown, error.to_string()),
            BlobError::Db(error) => error.into(),
            BlobError::File { .. } | BlobError::Truncated { .. } | BlobError::Unreadable { .. } => {
                tracing::error!(error = %chain(&error), "blob operation failed");
                Self::new(ErrorCode::Internal, "blob storage failed").hint("the server's log has the cause")
            }
        }
    }
}

fn disk_away(message: &str) -> Problem {
    Problem::new(ErrorCode::Unavailable, message)
        .hint("look at the kernel's log for the disk, and how it is mounted; the server's log has the file")
        .retry_after(60)
}

fn no_space() -> Problem {
    Problem::new(ErrorCode::NoSpace, "the registry's disk is full")
        .hint("free space on the registry's disk, or lower `disk_floor_bytes`")
        .retry_after(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sync that failed leaves what recovery may find.
    #[test]
    fn a_commit_is_undone_when_that_is_told() {
        let of = |code: i32| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            DbError::Commit { source: Arc::new(error.into()) }.is_rolled_back()
        };
        for (code, is_told) in
            [(5, true), (13, true), (19, true), (10, false), (266, false), (778, false), (1034, false)]
        {
            assert_eq!(of(code), is_told, "{code}");
        }
        assert!(DbError::Contended { attempts: 1 }.is_rolled_back());
        assert!(!DbError::WriterGone.is_rolled_back() && !DbError::Closed.is_rolled_back());
    }

    /// Who asks while the database starts anew asks again.
    #[test]
    fn a_database_that_is_away_is_unavailable() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, code) in [
            (sqlx::Error::PoolTimedOut, ErrorCode::Unavailable),
            (sqlx::Error::Io(refused()), ErrorCode::Unavailable),
            (sqlx::Error::Tls("no".into()), ErrorCode::Unavailable),
            (sqlx::Error::RowNotFound, ErrorCode::Internal),
        ] {
            let source = Arc::new(DriverError::from(error));
            let problem = Problem::from(DbError::Commit { source });
            let again = problem.retry_after_seconds.is_some();
            assert_eq!((problem.code, again), (code, code == ErrorCode::Unavailable), "{problem:?}");
        }
    }

    /// A pool would try for a while, and say that it had no connection.
    #[tokio::test]
    async fn a_database_that_is_not_there_says_why() {
        let url = "postgres://nobody@127.0.0.1:1/none";
        let clock = Arc::new(seaworthy_model::SystemClock);
        let error = crate::Db::open_postgres(url, clock).await.err().expect("nobody listens there");
        let text = chain(&error);
        let limit = std::time::Duration::from_secs(crate::limit::POSTGRES_WAIT_SECONDS);
        assert!(text.contains("127.0.0.1:1/none") && text.contains("refused") && !limit.is_zero(), "{text}");
    }
}
