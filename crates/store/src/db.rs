use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use seaworthy_model::{Clock, Timestamp};
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::{Notify, RwLock};

use crate::{
    Arg, Row,
    error::{DbError, DriverError},
    limit,
    schema::{self, Dialect, RoomSchema},
    sql::{self, Conn, Tx},
    sqlite::{Connection, Purpose, Readers},
    watch::{Watch, Watches},
    writer::Writer,
};

/// The metadata database: SQLite with one group-committing writer, or PostgreSQL with short
/// serialisable transactions. Cheap to clone.
///
/// Deliberately a struct over an enum and not a trait: queries are one text for both engines,
/// and every test runs on both.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    clock: Arc<dyn Clock>,
    wakes: Mutex<HashMap<&'static str, Arc<Notify>>>,
}

enum Engine {
    Sqlite { writer: Writer, readers: Readers, watches: Arc<Watches> },
    Postgres(Arc<Postgres>),
}

struct Postgres {
    pool: PgPool,
    /// Held by each transaction beside others, and alone by one that lost too often: whoever is
    /// slow would otherwise lose to those who are quick for ever.
    turns: RwLock<()>,
}

/// What a transaction's closure returns.
pub type TxFuture<'t, T, E> = BoxFuture<'t, Result<T, E>>;

impl Db {
    /// Opens (or creates) the SQLite file `path`: WAL, `synchronous=FULL`, one writer.
    pub async fn open_sqlite(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, DbError> {
        Self::open_sqlite_for(path, Purpose::Write, clock).await
    }

    /// Opens the SQLite file `path` to read it: nothing can be written, and a log that was left is not copied.
    pub async fn open_sqlite_to_read(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, DbError> {
        Self::open_sqlite_for(path, Purpose::Read, clock).await
    }

    async fn open_sqlite_for(path: &Path, purpose: Purpose, clock: Arc<dyn Clock>) -> Result<Self, DbError> {
        let path = path.to_owned();
        let failed = {
            let place = path.display().to_string();
            move |error: rusqlite::Error| DbError::Open { place, source: Arc::new(error.into()) }
        };
        let opened = tokio::task::spawn_blocking(move || {
            let writer = Connection::open(&path, purpose)?;
            Ok((writer, Readers::open(&path)?))
        });
        let (writer, readers) = opened.await.map_err(|_| DbError::WriterGone)?.map_err(failed)?;
        let watches = Arc::new(Watches::default());
        let writer = Writer::start(writer, watches.clone()).map_err(|_| DbError::WriterGone)?;
        Ok(Self::new(Engine::Sqlite { writer, readers, watches }, clock))
    }

    /// Connects to PostgreSQL; `url` is `postgres://user@host/database`.
    pub async fn open_postgres(url: &str, clock: Arc<dyn Clock>) -> Result<Self, DbError> {
        let place = |options: &PgConnectOptions| {
            let database = options.get_database().unwrap_or_default();
            format!("postgres://{}:{}/{database}", options.get_host(), options.get_port())
        };
        let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| DbError::Open {
            place: "postgres".into(),
            source: Arc::new(error.into()),
        })?;
        // A pool tries again, and says at last that it had no connection: the first one says why.
        let failed =
            |error: sqlx::Error| DbError::Open { place: place(&options), source: Arc::new(error.into()) };
        let wait = Duration::from_secs(limit::POSTGRES_WAIT_SECONDS);
        let began = Instant::now();
        loop {
            let first = tokio::time::timeout(wait, PgConnection::connect_with(&options)).await;
            match first.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(failed) {
                Ok(first) => {
                    drop(first.close().await);
                    break;
                }
                // It may start just now, as this server does.
                Err(error) if error.is_away() && began.elapsed() < wait => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
        // A server that hangs in a transaction must not hold its locks for ever. Said when connected: poolers take no options.
        let bound = "SET idle_in_transaction_session_timeout = '60s'";
        let pool = PgPoolOptions::new()
            .after_connect(move |connection, _| {
                Box::pin(async move { sqlx::query(bound).execute(connection).await.map(|_| ()) })
            })
            .max_connections(limit::POSTGRES_CONNECTIONS)
            .acquire_timeout(wait)
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        let postgres = Postgres { pool, turns: RwLock::default() };
        Ok(Self::new(Engine::Postgres(Arc::new(postgres)), clock))
    }

    fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { engine, clock, wakes: Mutex::default() }) }
    }

    /// Brings the schema up to this version; see [`schema::migrate`].
    pub async fn migrate(&self, rooms: &[RoomSchema]) -> Result<(), DbError> {
        schema::migrate(self, rooms).await
    }

    /// The injected clock's now.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The injected clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock.clone()
    }

    /// Which dialect this engine speaks.
    pub fn dialect(&self) -> Dialect {
        match self.inner.engine {
            Engine::Sqlite { .. } => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A count of the commits that may have changed one of `tables`; `None` where others commit too.
    pub fn watch(&self, tables: &'static [&'static str]) -> Option<Watch> {
        match &self.inner.engine {
            Engine::Sqlite { watches, .. } => Some(watches.add(tables)),
            Engine::Postgres(_) => None,
        }
    }

    /// All rows of one query, outside any transaction.
    pub async fn fetch_all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        tracing::trace!(sql, "a query");
        match &self.inner.engine {
            Engine::Sqlite { readers, .. } => readers.fetch_all(sql, args).await,
            Engine::Postgres(postgres) => sql::postgres_query(sql, args)
                .fetch_all(&postgres.pool)
                .await
                .map_err(|error| DbError::statement(sql, error))?
                .iter()
                .map(|row| sql::postgres_row(sql, row))
                .collect(),
        }
    }

    /// The first row of one query, outside any transaction.
    pub async fn fetch_optional(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>, DbError> {
        Ok(self.fetch_all(sql, args).await?.into_iter().next())
    }

    /// A transaction for upkeep: leases, deliveries, upload state and derived rows, *not* for
    /// acts of an actor, which go through `ledger::write`.
    pub async fn upkeep<C, T, E, F>(&self, context: C, work: F) -> Result<T, E>
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        self.transact(context, work).await
    }

    /// The transaction under [`Db::upkeep`] and `ledger::write`; nobody else calls it.
    ///
    /// `work` runs at least once and may run again, when it lost a race or another one failed beside it, so its
    /// only effect is what it does to the transaction; `context` is what it needs, lent to each run. Dropping
    /// the returned future does not stop a transaction that has begun.
    pub async fn transact<C, T, E, F>(&self, context: C, work: F) -> Result<T, E>
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        let (result, wakes) = match &self.inner.engine {
            Engine::Sqlite { writer, .. } => writer.run(context, work).await,
            Engine::Postgres(postgres) => {
                let postgres = postgres.clone();
                // A task of its own: a caller that goes away must not leave a transaction half run.
                tokio::spawn(async move { postgres.transact(&context, &work).await })
                    .await
                    .unwrap_or_else(|_| (Err(DbError::WriterGone.into()), Vec::new()))
            }
        };
        for consumer in wakes {
            self.bell(consumer).notify_waiters();
        }
        result
    }

    /// The bell that rings when this process committed something for `consumer`.
    pub fn bell(&self, consumer: &'static str) -> Arc<Notify> {
        let mut wakes = self.inner.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        wakes.entry(consumer).or_default().clone()
    }

    pub(crate) async fn run_ddl(&self, statements: Vec<String>) -> Result<(), DbError> {
        self.transact(statements, |statements, tx| {
            Box::pin(async move {
                for sql in statements {
                    tx.execute_ddl(sql.clone()).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// A claim on rows: PostgreSQL at READ COMMITTED, where an `UPDATE` that waited for a row
    /// looks at it again, so two claimers never take the same one and none must start over.
    pub(crate) async fn claim(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        match &self.inner.engine {
            Engine::Postgres(_) => self.fetch_all(sql, args).await,
            Engine::Sqlite { writer, .. } => writer.claim(sql, args).await,
        }
    }

    /// Closes all connections after what is running has finished.
    pub async fn close(&self) {
        match &self.inner.engine {
            Engine::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres(postgres) => postgres.pool.close().await,
        }
    }
}

impl Postgres {
    async fn transact<C, T, E, F>(&self, context: &C, work: &F) -> (Result<T, E>, Vec<&'static str>)
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E>,
    {
        for _ in 0..limit::TX_ATTEMPTS_SHARED {
            let _beside_others = self.turns.read().await;
            if let Some(answer) = self.attempt(context, work).await {
                return answer;
            }
        }
        // Now only other replicas are in the way.
        for attempt in limit::TX_ATTEMPTS_SHARED..limit::TX_ATTEMPTS {
            let alone = self.turns.write().await;
            if let Some(answer) = self.attempt(context, work).await {
                return answer;
            }
            drop(alone);
            let step = u64::from(attempt.min(8));
            tokio::time::sleep(Duration::from_millis(step * step)).await;
        }
        (Err(DbError::Contended { attempts: limit::TX_ATTEMPTS }.into()), Vec::new())
    }

    /// `None` when it lost a race.
    async fn attempt<C, T, E, F>(&self, context: &C, work: &F) -> Option<(Result<T, E>, Vec<&'static str>)>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E>,
    {
        let mut transaction = match self.pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await {
            Ok(transaction) => transaction,
            Err(error) => return Some((Err(uncommitted(error).into()), Vec::new())),
        };
        let mut tx = Tx::new(Conn::Postgres(&mut transaction));
        let outcome = work(context, &mut tx).await;
        let (wakes, lost_race) = (tx.take_wakes(), tx.lost_race());
        match outcome {
            Err(_) if lost_race => None,
            Err(error) => {
                // A failed rollback closes the connection, which rolls back as well.
                drop(transaction.rollback().await);
                Some((Err(error), Vec::new()))
            }
            Ok(value) => match transaction.commit().await {
                Ok(()) => Some((Ok(value), wakes)),
                Err(error) => {
                    let source = DriverError::from(error);
                    let lost = source.is_lost_race();
                    (!lost).then(|| (Err(uncommitted(source).into()), Vec::new()))
                }
            },
        }
    }
}

fn uncommitted(error: impl Into<DriverError>) -> DbError {
    DbError::Commit { source: Arc::new(error.into()) }
}
