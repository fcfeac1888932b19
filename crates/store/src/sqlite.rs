//! SQLite, called where the work is: a statement is a function call and not a message to another thread.
//!
//! One connection writes, on a thread of its own ([`crate::writer`]); a few read, each on a thread that may
//! block ([`Readers`]).

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{CachedStatement, OpenFlags, config::DbConfig, types::ValueRef};
use tokio::sync::Semaphore;

use crate::{
    Arg, Row,
    error::{DbError, DriverError},
    limit,
    sql::{Value, head},
};

/// Statements that each connection keeps prepared; the ones used least go first.
const STATEMENTS: usize = 512;

/// A connection, with the statements that it has prepared.
pub(crate) struct Connection(rusqlite::Connection);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything; the file is made when it is not there.
    Write,
    /// Queries alone.
    Read,
}

impl Connection {
    pub(crate) fn open(path: &Path, purpose: Purpose) -> rusqlite::Result<Self> {
        let access = match purpose {
            Purpose::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Purpose::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        // One thread at a time has it, so SQLite need not lock it.
        let it = rusqlite::Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        it.busy_timeout(Duration::from_secs(limit::SQLITE_BUSY_SECONDS))?;
        // Without it SQLite plans anew when arguments differ much from the last ones.
        it.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        it.set_prepared_statement_cache_capacity(STATEMENTS);
        it.execute_batch(
            "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;",
        )?;
        if purpose == Purpose::Write {
            it.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
            it.pragma_update(None, "wal_autocheckpoint", limit::SQLITE_CHECKPOINT_PAGES)?;
        }
        Ok(Self(it))
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, args: &[Arg<'_>]) -> rusqlite::Result<u64> {
        let mut statement = self.prepare(sql, args)?;
        statement.raw_execute().map(|changed| changed as u64)
    }

    /// All rows of a query.
    pub(crate) fn fetch_all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let failed = |error| DbError::statement(sql, error);
        let mut statement = self.prepare(sql, args).map_err(failed)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut read = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let mut values = Vec::with_capacity(columns);
            for at in 0..columns {
                let value = value(row.get_ref(at).map_err(failed)?);
                values.push(value.ok_or_else(|| DbError::Column {
                    statement: head(sql),
                    column: at,
                    expected: "an integer, text or bytes",
                })?);
            }
            read.push(Row::new(values, sql));
        }
        Ok(read)
    }

    /// Runs statements that take no arguments.
    pub(crate) fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.0.execute_batch(sql)
    }

    /// Runs one that is run again and again.
    pub(crate) fn control(&self, sql: &'static str) -> Result<(), DbError> {
        let done = self.0.prepare_cached(sql).and_then(|mut statement| statement.raw_execute());
        done.map(|_| ()).map_err(|error| DbError::Commit { source: Arc::new(error.into()) })
    }

    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.0.close().map_err(|(_, error)| error)
    }

    /// SQLite numbers `$2` and `$1` as they come in the text, so each is looked up by its name.
    fn prepare(&self, sql: &str, args: &[Arg<'_>]) -> rusqlite::Result<CachedStatement<'_>> {
        let mut statement = self.0.prepare_cached(sql)?;
        for at in 1..=statement.parameter_count() {
            let number = statement.parameter_name(at).and_then(|name| name.get(1..)?.parse::<usize>().ok());
            let arg = number.and_then(|number| args.get(number.checked_sub(1)?));
            match arg.ok_or(rusqlite::Error::InvalidParameterCount(args.len(), at))? {
                Arg::Int(value) => statement.raw_bind_parameter(at, value)?,
                Arg::Text(value) => statement.raw_bind_parameter(at, value)?,
                Arg::Bytes(value) => statement.raw_bind_parameter(at, value)?,
            }
        }
        Ok(statement)
    }
}

/// `None` for a type that no table here has.
fn value(read: ValueRef<'_>) -> Option<Value> {
    Some(match read {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).ok()?),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return None,
    })
}

/// Connections that read, lent to one query at a time each.
pub(crate) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let free = (0..limit::SQLITE_READERS).map(|_| Connection::open(path, Purpose::Read));
        let free = Arc::new(Mutex::new(free.collect::<Result<Vec<_>, _>>()?));
        Ok(Self { free, permits: Arc::new(Semaphore::new(limit::SQLITE_READERS)) })
    }

    pub(crate) async fn fetch_all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| DbError::Closed)?;
        let (free, args) = (self.free.clone(), OwnedArg::all(args));
        let query = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let lent = Lent::take(&free)?;
            lent.connection()?.fetch_all(sql, &OwnedArg::lend_all(&args))
        });
        query.await.unwrap_or(Err(DbError::Closed))
    }

    /// Waits for what is running, and closes all.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(limit::SQLITE_READERS).unwrap_or(u32::MAX);
        let running = self.permits.acquire_many(all).await;
        self.permits.close();
        drop(running);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection that goes back when this is dropped, also by a panic.
struct Lent {
    connection: Option<Connection>,
    free: Arc<Mutex<Vec<Connection>>>,
}

impl Lent {
    fn take(free: &Arc<Mutex<Vec<Connection>>>) -> Result<Self, DbError> {
        let connection = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self { connection: Some(connection.ok_or(DbError::Closed)?), free: free.clone() })
    }

    fn connection(&self) -> Result<&Connection, DbError> {
        self.connection.as_ref().ok_or(DbError::Closed)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

/// An argument on its way to another thread.
pub(crate) enum OwnedArg {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl OwnedArg {
    pub(crate) fn all(args: &[Arg<'_>]) -> Vec<Self> {
        args.iter()
            .map(|arg| match *arg {
                Arg::Int(value) => Self::Int(value),
                Arg::Text(value) => Self::Text(value.map(str::to_owned)),
                Arg::Bytes(value) => Self::Bytes(value.map(<[u8]>::to_vec)),
            })
            .collect()
    }

    pub(crate) fn lend_all(owned: &[Self]) -> Vec<Arg<'_>> {
        owned
            .iter()
            .map(|arg| match arg {
                Self::Int(value) => Arg::Int(*value),
                Self::Text(value) => Arg::Text(value.as_deref()),
                Self::Bytes(value) => Arg::Bytes(value.as_deref()),
            })
            .collect()
    }
}

impl From<rusqlite::Error> for DriverError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_durable_and_patient() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let writer = Connection::open(&path, Purpose::Write).expect("made");
        let read = |it: &Connection, sql| {
            let rows = it.fetch_all(sql, &[]).expect("a query");
            rows.first().expect("a row").clone()
        };
        assert_eq!(read(&writer, "PRAGMA journal_mode").text(0).expect("text"), "wal");
        assert_eq!(read(&writer, "PRAGMA synchronous").int(0).expect("a number"), 2, "FULL");
        let pages = read(&writer, "PRAGMA wal_autocheckpoint").int(0).expect("a number");
        assert_eq!(pages, i64::from(limit::SQLITE_CHECKPOINT_PAGES));
        let busy = read(&writer, "PRAGMA busy_timeout").int(0).expect("a number");
        assert_eq!(busy, i64::try_from(limit::SQLITE_BUSY_SECONDS * 1_000).expect("small"));
        writer.run("CREATE TABLE t (a INTEGER, b TEXT) STRICT").expect("made");
        let reader = Connection::open(&path, Purpose::Read).expect("there");
        assert!(reader.execute("DELETE FROM t", &[]).is_err(), "it reads alone");
    }

    #[test]
    fn arguments_go_by_their_numbers() {
        let folder = tempfile::tempdir().expect("a folder");
        let it = Connection::open(&folder.path().join("db"), Purpose::Write).expect("made");
        let sql = "SELECT $2, $1, $2, $3";
        let rows = it.fetch_all(sql, crate::args![1_i64, "two", &[3_u8][..]]).expect("a row");
        let row = rows.first().expect("a row");
        assert_eq!(row.text(0).expect("text"), "two");
        assert_eq!(row.int(1).expect("a number"), 1);
        assert_eq!(row.bytes(3).expect("bytes"), [3]);
        assert!(it.fetch_all(sql, crate::args![1_i64, "two"]).is_err(), "one is missing");
        assert!(it.fetch_all("SELECT 0.5", &[]).is_err(), "no table has such a type");
    }
}
