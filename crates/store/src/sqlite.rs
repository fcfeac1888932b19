//! SQLite, called where the work is: a statement is a function call and not a message to another thread.
//!
//! One connection writes, on a thread of its own ([`crate::writer`]); a few read, each on a thread that may
//! block ([`Readers`]).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use rusqlite::{CachedStatement, OpenFlags, config::DbConfig, types::ValueRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Whether SQLite finds a directory for temporary files (sqlite.org/tempfiles.html, §5).
fn has_temporary_files() -> bool {
    let named = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let known = ["/var/tmp", "/usr/tmp", "/tmp", "."].map(PathBuf::from);
    named.chain(known).any(|path| {
        path.is_dir()
            && rustix::fs::access(&path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
    })
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
            // A migration sorts whole tables: not in memory, where there is a place for it.
            if has_temporary_files() {
                it.execute_batch("PRAGMA temp_store = FILE;")?;
            }
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

    /// False when SQLite has ended the transaction by itself.
    pub(crate) fn is_in_transaction(&self) -> bool {
        !self.0.is_autocommit()
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
    /// Queries that wait for a connection: who asks the same is answered with it.
    waiting: Waiting,
}

/// Weak: a query that nobody waits for any more gives its place in the queue up.
type Waiting = Arc<Mutex<HashMap<Query, WeakShared<Asking>>>>;
type Asking = BoxFuture<'static, Result<Arc<Vec<Row>>, DbError>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Query {
    sql: &'static str,
    args: Vec<OwnedArg>,
}

impl Readers {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let free = (0..limit::SQLITE_READERS).map(|_| Connection::open(path, Purpose::Read));
        let free = Arc::new(Mutex::new(free.collect::<Result<Vec<_>, _>>()?));
        let permits = Arc::new(Semaphore::new(limit::SQLITE_READERS));
        Ok(Self { free, permits, waiting: Waiting::default() })
    }

    /// All rows of a query. It begins after it was asked for; many who ask the same while all connections are busy
    /// have it run once.
    pub(crate) async fn fetch_all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let query = Query { sql, args: OwnedArg::all(args) };
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return run(self.free.clone(), permit, query).await;
        }
        self.asking(query).await.map(Arc::unwrap_or_clone)
    }

    /// A query that waits for a connection, perhaps another's.
    fn asking(&self, query: Query) -> Shared<Asking> {
        let mut waiting = lock(&self.waiting);
        if let Some(asking) = waiting.get(&query).and_then(WeakShared::upgrade) {
            return asking;
        }
        let (free, permits) = (self.free.clone(), self.permits.clone());
        let listed = Listed { waiting: self.waiting.clone(), query: query.clone() };
        let asking = async move {
            let permit = permits.acquire_owned().await.map_err(|_| DbError::Closed)?;
            // Who asks from now on may know of a commit that this one does not see.
            let query = listed.query.clone();
            drop(listed);
            run(free, permit, query).await.map(Arc::new)
        };
        let asking = asking.boxed().shared();
        waiting.extend(asking.downgrade().map(|weak| (query, weak)));
        asking
    }

    /// Waits for what is running, and closes all.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(limit::SQLITE_READERS).unwrap_or(u32::MAX);
        let running = self.permits.acquire_many(all).await;
        self.permits.close();
        drop(running);
        lock(&self.free).clear();
    }
}

async fn run(
    free: Arc<Mutex<Vec<Connection>>>,
    permit: OwnedSemaphorePermit,
    query: Query,
) -> Result<Vec<Row>, DbError> {
    let ran = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let lent = Lent::take(&free)?;
        lent.connection()?.fetch_all(query.sql, &OwnedArg::lend_all(&query.args))
    });
    ran.await.unwrap_or(Err(DbError::Closed))
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A query in the list of those that wait, until this is dropped.
struct Listed {
    waiting: Waiting,
    query: Query,
}

impl Drop for Listed {
    /// Another one may have its place by now: then that is not shared further, and nothing else.
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.query);
    }
}

/// A connection that goes back when this is dropped, also by a panic.
struct Lent {
    connection: Option<Connection>,
    free: Arc<Mutex<Vec<Connection>>>,
}

impl Lent {
    fn take(free: &Arc<Mutex<Vec<Connection>>>) -> Result<Self, DbError> {
        let connection = lock(free).pop();
        Ok(Self { connection: Some(connection.ok_or(DbError::Closed)?), free: free.clone() })
    }

    fn connection(&self) -> Result<&Connection, DbError> {
        self.connection.as_ref().ok_or(DbError::Closed)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        lock(&self.free).extend(self.connection.take());
    }
}

/// An argument on its way to another thread.
#[derive(Clone, PartialEq, Eq, Hash)]
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
    /// A file with one row, and its readers.
    fn counter(folder: &Path) -> (Connection, Readers) {
        let path = folder.join("db");
        let writer = Connection::open(&path, Purpose::Write).expect("made");
        writer.run("CREATE TABLE t (n INTEGER) STRICT; INSERT INTO t VALUES (0)").expect("made");
        (writer, Readers::open(&path).expect("opened"))
    }

    const READ: &str = "SELECT n + $1 FROM t";

    #[tokio::test]
    async fn who_waits_for_the_same_is_answered_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, readers) = counter(folder.path());
        let readers = Arc::new(readers);
        let all = u32::try_from(limit::SQLITE_READERS).expect("few");
        let busy = readers.permits.clone().acquire_many_owned(all).await.expect("free");
        let ask = |plus: i64| {
            let readers = readers.clone();
            tokio::spawn(async move {
                let rows = readers.fetch_all(READ, crate::args![plus]).await?;
                rows.first().expect("a row").int(0)
            })
        };
        let gone = ask(1);
        let mut asked: Vec<_> = (0..300).map(|number| (number % 3, ask(number % 3))).collect();
        asked.push((
            -1,
            tokio::spawn({
                let readers = readers.clone();
                async move { readers.fetch_all("SELECT 0.5", &[]).await.map(|_| 0) }
            }),
        ));
        while lock(&readers.waiting).len() < 4 {
            tokio::task::yield_now().await;
        }
        // The first of those who ask for one goes away; the others do not wait for it.
        gone.abort();
        assert!(gone.await.is_err());
        writer.run("UPDATE t SET n = 10").expect("written");
        drop(busy);
        for (plus, answer) in asked {
            let answer = answer.await.expect("answered");
            if plus < 0 {
                assert!(answer.is_err(), "its error, to each");
            } else {
                assert_eq!(answer.expect("a row"), 10 + plus, "what was committed before it began");
            }
        }
        assert!(lock(&readers.waiting).is_empty());
        assert_eq!(readers.permits.available_permits(), limit::SQLITE_READERS);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_up_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_writer, readers) = counter(folder.path());
        let all = u32::try_from(limit::SQLITE_READERS).expect("few");
        let busy = readers.permits.clone().acquire_many_owned(all).await.expect("free");
        for plus in 0..100_i64 {
            let asking = readers.asking(Query { sql: READ, args: OwnedArg::all(crate::args![plus]) });
            assert!(asking.clone().now_or_never().is_none(), "it is in the queue");
            assert_eq!(lock(&readers.waiting).len(), 1);
            drop(asking);
            assert!(lock(&readers.waiting).is_empty());
        }
        drop(busy);
        let rows = readers.fetch_all(READ, crate::args![5_i64]).await.expect("a row");
        assert_eq!(rows.first().expect("a row").int(0).expect("a number"), 5);
        readers.close().await;
        assert!(matches!(readers.fetch_all(READ, crate::args![5_i64]).await, Err(DbError::Closed)));
    }

    /// A query that has begun does not see what is committed then, so nobody who asks later is answered with it.
    #[tokio::test]
    async fn who_asks_for_what_has_begun_asks_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, readers) = counter(folder.path());
        let readers = Arc::new(readers);
        let others = u32::try_from(limit::SQLITE_READERS - 1).expect("few");
        let _others = readers.permits.clone().acquire_many_owned(others).await.expect("free");
        let last = readers.permits.clone().acquire_owned().await.expect("free");
        let slow =
            "SELECT n, (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000000)
                               SELECT COUNT(*) FROM c) FROM t";
        let ask = || {
            let readers = readers.clone();
            tokio::spawn(async move {
                let rows = readers.fetch_all(slow, &[]).await.expect("a row");
                rows.first().expect("a row").int(0).expect("a number")
            })
        };
        let first = ask();
        while lock(&readers.waiting).is_empty() {
            tokio::task::yield_now().await;
        }
        drop(last);
        while lock(&readers.free).len() == limit::SQLITE_READERS {
            tokio::task::yield_now().await;
        }
        writer.run("UPDATE t SET n = 1").expect("written");
        let second = ask();
        assert_eq!(second.await.expect("answered"), 1);
        first.await.expect("answered");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_was_committed_is_read_by_all_who_ask_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, readers) = counter(folder.path());
        let (writer, readers) = (Arc::new(Mutex::new(writer)), Arc::new(readers));
        let committed = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let mut asking = Vec::new();
        for _ in 0..32 {
            let (writer, readers, committed) = (writer.clone(), readers.clone(), committed.clone());
            asking.push(tokio::spawn(async move {
                for _ in 0..50 {
                    {
                        let writer = lock(&writer);
                        writer.run("UPDATE t SET n = n + 1").expect("written");
                        committed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    let least = committed.load(std::sync::atomic::Ordering::SeqCst);
                    let rows = readers.fetch_all(READ, crate::args![0_i64]).await.expect("a row");
                    let read = rows.first().expect("a row").int(0).expect("a number");
                    assert!(read >= least, "{read} is older than {least}");
                }
            }));
        }
        for task in asking {
            task.await.expect("no older one");
        }
    }
}
