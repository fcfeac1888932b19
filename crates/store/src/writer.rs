//! The one SQLite writer: transactions that wait together share one commit, one fsync.
//!
//! Each transaction runs inside a savepoint of the batch's transaction, so one that fails
//! takes nothing else with it. Its caller hears of success only after the commit.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    Arg, Row,
    db::TxFuture,
    error::DbError,
    limit,
    sql::{Conn, Tx},
};

pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// A transaction on its way through the writer.
trait Job: Send {
    /// Runs the work; false when it must be rolled back.
    fn run<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, bool>;
    /// Tells the caller, after the batch committed or did not.
    fn finish(self: Box<Self>, committed: Result<(), DbError>);
    /// True when nothing is taken in after it.
    fn is_last(&self) -> bool {
        false
    }
}

type Answer<T, E> = (Result<T, E>, Vec<&'static str>);

struct Pending<C, T, E, F> {
    context: C,
    closure: F,
    result: Option<Answer<T, E>>,
    reply: oneshot::Sender<Answer<T, E>>,
}

impl<C, T, E, F> Job for Pending<C, T, E, F>
where
    C: Send + Sync,
    T: Send,
    E: From<DbError> + Send,
    F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E> + Send + Sync,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let outcome = (self.closure)(&self.context, tx).await;
            let keep = outcome.is_ok();
            self.result = Some((outcome, tx.take_wakes()));
            keep
        })
    }

    fn finish(self: Box<Self>, committed: Result<(), DbError>) {
        let answer = match (self.result, committed) {
            (Some((Err(error), _)), _) => (Err(error), Vec::new()),
            (Some(answer), Ok(())) => answer,
            (_, Err(error)) => (Err(error.into()), Vec::new()),
            (None, Ok(())) => (Err(DbError::WriterGone.into()), Vec::new()),
        };
        // A caller that went away does not need the answer; the transaction stands.
        drop(self.reply.send(answer));
    }
}

impl Writer {
    pub(crate) fn start(connection: SqliteConnection) -> Self {
        let (jobs, queue) = mpsc::channel(limit::WRITER_QUEUE);
        Self { jobs, task: Mutex::new(Some(tokio::spawn(serve(connection, queue)))) }
    }

    pub(crate) async fn run<C, T, E, F>(&self, context: C, work: F) -> Answer<T, E>
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let gone = || (Err(DbError::WriterGone.into()), Vec::new());
        if self.jobs.send(Box::new(Pending { context, closure: work, result: None, reply })).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    pub(crate) async fn claim(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let owned: Vec<OwnedArg> = args.iter().map(OwnedArg::from).collect();
        let (result, _) = self
            .run(owned, move |owned, tx| {
                Box::pin(async move {
                    let args: Vec<Arg<'_>> = owned.iter().map(OwnedArg::lend).collect();
                    tx.fetch_all(sql, &args).await
                })
            })
            .await;
        result
    }

    /// Lets queued transactions finish, then closes the connection (which checkpoints the WAL).
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Box::new(Stop { reply })).await.is_ok() {
            drop(answer.await);
        }
        if let Some(task) = self.task.lock().await.take() {
            drop(task.await);
        }
    }
}

enum OwnedArg {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<&Arg<'_>> for OwnedArg {
    fn from(arg: &Arg<'_>) -> Self {
        match *arg {
            Arg::Int(value) => Self::Int(value),
            Arg::Text(value) => Self::Text(value.map(str::to_owned)),
            Arg::Bytes(value) => Self::Bytes(value.map(<[u8]>::to_vec)),
        }
    }
}

impl OwnedArg {
    fn lend(&self) -> Arg<'_> {
        match self {
            Self::Int(value) => Arg::Int(*value),
            Self::Text(value) => Arg::Text(value.as_deref()),
            Self::Bytes(value) => Arg::Bytes(value.as_deref()),
        }
    }
}

/// The last job: its reply channel is how `close` knows the queue was drained.
struct Stop {
    reply: oneshot::Sender<()>,
}

impl Job for Stop {
    fn run<'a>(&'a mut self, _: &'a mut Tx<'_>) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }

    fn finish(self: Box<Self>, _: Result<(), DbError>) {
        let _ = self.reply.send(());
    }

    fn is_last(&self) -> bool {
        true
    }
}

async fn serve(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(limit::GROUP_COMMIT);
    while queue.recv_many(&mut batch, limit::GROUP_COMMIT).await > 0 {
        let committed = run_batch(&mut connection, &mut batch).await;
        if let Err(error) = &committed {
            tracing::error!(error = %crate::error::chain(error), transactions = batch.len(), "batch did not commit");
        }
        if batch.iter().any(|job| job.is_last()) {
            // Who sends now is told that the writer is gone; what is queued already still runs.
            queue.close();
        }
        for job in batch.drain(..) {
            job.finish(committed.clone());
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "database did not close cleanly");
    }
}

async fn run_batch(connection: &mut SqliteConnection, batch: &mut [Box<dyn Job>]) -> Result<(), DbError> {
    control(connection, "BEGIN IMMEDIATE").await?;
    for job in batch.iter_mut() {
        if let Err(error) = run_one(connection, job.as_mut()).await {
            // The savepoint itself failed (a full disk ends the whole transaction): nothing of
            // this batch may be acknowledged.
            drop(control(connection, "ROLLBACK").await);
            return Err(error);
        }
    }
    let committed = control(connection, "COMMIT").await;
    if committed.is_err() {
        drop(control(connection, "ROLLBACK").await);
    }
    committed
}

async fn run_one(connection: &mut SqliteConnection, job: &mut dyn Job) -> Result<(), DbError> {
    control(connection, "SAVEPOINT work").await?;
    let keep = {
        let mut tx = Tx::new(Conn::Sqlite(connection));
        AssertUnwindSafe(job.run(&mut tx)).catch_unwind().await.unwrap_or(false)
    };
    if !keep {
        control(connection, "ROLLBACK TO work").await?;
    }
    control(connection, "RELEASE work").await
}

async fn control(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), DbError> {
    sqlx::query(sql)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|source| DbError::Commit { source: Arc::new(source) })
}
