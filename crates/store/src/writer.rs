//! The one SQLite writer, a thread of its own: transactions that wait together share one commit, one fsync.
//!
//! One that fails takes nothing else with it: its batch runs again, each of several inside a savepoint of the
//! batch's transaction. Savepoints keep a copy of each page that is changed after them, so the first try and most
//! batches do without. A caller hears of success only after the commit.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc, oneshot},
};

use crate::{
    Arg, Row,
    db::TxFuture,
    error::DbError,
    limit,
    sql::{Conn, Tx},
    sqlite::{Connection, OwnedArg},
    watch::{Touched, Watches},
};

pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// Ends when the connection is closed.
    closed: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A transaction on its way through the writer.
trait Job: Send {
    /// Runs the work; false when it must be rolled back.
    fn run<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, bool>;
    /// Tells the caller, after the batch committed or did not.
    fn finish(self: Box<Self>, committed: Result<(), DbError>);
    /// Tables that its commit may have changed.
    fn touched(&self) -> Option<&Touched> {
        None
    }
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
    touched: Touched,
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
            // Of a run before this one nothing stays, even when this one panics.
            self.result = None;
            self.touched = Touched::default();
            let outcome = (self.closure)(&self.context, tx).await;
            let keep = outcome.is_ok();
            self.result = Some((outcome, tx.take_wakes()));
            self.touched = tx.take_touched();
            keep
        })
    }

    fn touched(&self) -> Option<&Touched> {
        Some(&self.touched)
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
    /// Of the runtime that this is called in: what a transaction awaits is polled by the writer's thread.
    pub(crate) fn start(connection: Connection, watches: Arc<Watches>) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(limit::WRITER_QUEUE);
        let (closing, closed) = oneshot::channel();
        let runtime = Handle::current();
        std::thread::Builder::new().name("database writer".to_owned()).spawn(move || {
            serve(connection, queue, (&runtime, &watches));
            drop(closing);
        })?;
        Ok(Self { jobs, closed: Mutex::new(Some(closed)) })
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
        let touched = Touched::default();
        let job = Pending { context, closure: work, result: None, touched, reply };
        if self.jobs.send(Box::new(job)).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    pub(crate) async fn claim(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let (result, _) = self
            .run(OwnedArg::all(args), move |owned, tx| {
                Box::pin(async move { tx.fetch_all(sql, &OwnedArg::lend_all(owned)).await })
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
        if let Some(closed) = self.closed.lock().await.take() {
            drop(closed.await);
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

fn serve(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    (runtime, watches): (&Handle, &Watches),
) {
    let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(limit::GROUP_COMMIT);
    let mut careful = 0;
    while queue.blocking_recv_many(&mut batch, limit::GROUP_COMMIT) > 0 {
        let committed = run_batch(&mut connection, &mut batch, runtime, &mut careful);
        if let Err(error) = &committed {
            tracing::error!(error = %crate::error::chain(error), transactions = batch.len(), "batch did not commit");
        }
        if batch.iter().any(|job| job.is_last()) {
            // Who sends now is told that the writer is gone; what is queued already still runs.
            queue.close();
        }
        // Of all of them before anybody hears of one. One that failed touched nothing that stays.
        batch.iter().filter_map(|job| job.touched()).for_each(|touched| watches.tell(touched));
        for job in batch.drain(..) {
            job.finish(committed.clone());
        }
    }
    if let Err(error) = connection.close() {
        tracing::warn!(%error, "database did not close cleanly");
    }
}

fn run_batch(
    connection: &mut Connection,
    batch: &mut [Box<dyn Job>],
    runtime: &Handle,
    careful: &mut u32,
) -> Result<(), DbError> {
    connection.control("BEGIN IMMEDIATE")?;
    if batch.len() == 1 || *careful == 0 {
        if batch.iter_mut().all(|job| perform(connection, job.as_mut(), runtime)) {
            return commit(connection);
        }
        // Whatever ended the transaction already has done the same.
        drop(connection.control("ROLLBACK"));
        if batch.len() == 1 {
            // Its error is its own.
            return Ok(());
        }
        *careful = limit::CAREFUL_BATCHES;
        connection.control("BEGIN IMMEDIATE")?;
    }
    *careful -= 1;
    for job in batch.iter_mut() {
        if let Err(error) = run_one(connection, job.as_mut(), runtime) {
            // The savepoint itself failed (a full disk ends the whole transaction): nothing of
            // this batch may be acknowledged.
            drop(connection.control("ROLLBACK"));
            return Err(error);
        }
    }
    commit(connection)
}

fn commit(connection: &Connection) -> Result<(), DbError> {
    let committed = connection.control("COMMIT");
    if committed.is_err() {
        drop(connection.control("ROLLBACK"));
    }
    committed
}

fn run_one(connection: &mut Connection, job: &mut dyn Job, runtime: &Handle) -> Result<(), DbError> {
    connection.control("SAVEPOINT work")?;
    if !perform(connection, job, runtime) {
        connection.control("ROLLBACK TO work")?;
    }
    connection.control("RELEASE work")
}

/// Runs a transaction's work; false when it must be rolled back.
fn perform(connection: &mut Connection, job: &mut dyn Job, runtime: &Handle) -> bool {
    let mut tx = Tx::new(Conn::Sqlite(connection));
    let work = AssertUnwindSafe(job.run(&mut tx)).catch_unwind();
    let keep = runtime.block_on(work).unwrap_or(false);
    // A full disk ends a transaction; what came next would be kept for itself.
    keep && connection.is_in_transaction()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{args, sqlite::Purpose};

    /// Writes its number, counts that it ran, and fails where it is to.
    struct Numbered {
        number: i64,
        fails: bool,
        ran: Arc<AtomicU32>,
    }

    impl Job for Numbered {
        fn run<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, bool> {
            Box::pin(async move {
                self.ran.fetch_add(1, Ordering::Relaxed);
                tx.execute("INSERT INTO numbers (n) VALUES ($1)", args![self.number]).await.is_ok()
                    && !self.fails
            })
        }

        fn finish(self: Box<Self>, _: Result<(), DbError>) {}
    }

    fn pending<C, T, E, F>(context: C, closure: F) -> (Box<dyn Job>, oneshot::Receiver<Answer<T, E>>)
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        let (reply, told) = oneshot::channel();
        (Box::new(Pending { context, closure, result: None, touched: Touched::default(), reply }), told)
    }

    /// Runs a batch over an empty table; how many rows there are after it, and whether it committed.
    async fn run_alone(mut batch: Vec<Box<dyn Job>>) -> (usize, bool) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("test.sqlite");
        let mut connection = Connection::open(&path, Purpose::Write).expect("opens");
        connection.run("CREATE TABLE numbers (n INTEGER NOT NULL)").expect("made");
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let committed = run_batch(&mut connection, &mut batch, &runtime, &mut 0);
            batch.into_iter().for_each(|job| job.finish(committed.clone()));
            (connection.fetch_all("SELECT n FROM numbers", &[]).expect("rows").len(), committed.is_ok())
        })
        .await
        .expect("it ran")
    }

    const INSERT: &str = "INSERT INTO numbers (n) VALUES (1)";

    /// What ran well at first and panics when its batch runs again is not told that it is stored.
    #[tokio::test]
    async fn a_second_run_that_panics_is_an_error() {
        let (first, told) = pending(AtomicU32::new(0), |ran, tx| {
            Box::pin(async move {
                assert_eq!(ran.fetch_add(1, Ordering::Relaxed), 0, "it runs again");
                tx.execute(INSERT, args![]).await
            })
        });
        let (other, _) = pending((), |(), tx| {
            Box::pin(async move { tx.execute("INSERT INTO numbers (n) VALUES (NULL)", args![]).await })
        });
        assert_eq!(run_alone(vec![first, other]).await, (0, true));
        let (outcome, wakes) = told.await.expect("told");
        assert!(matches!(outcome, Err(DbError::WriterGone)) && wakes.is_empty(), "{outcome:?}");
    }

    /// SQLite ends a transaction by itself when a disk is full: what came next would be kept one by one.
    #[tokio::test]
    async fn nothing_is_kept_after_a_transaction_that_ended() {
        let (ends, _) = pending((), |(), tx| {
            Box::pin(async move {
                tx.execute(INSERT, args![]).await?;
                tx.execute("ROLLBACK", args![]).await
            })
        });
        let (next, told) = pending((), |(), tx| Box::pin(async move { tx.execute(INSERT, args![]).await }));
        assert_eq!(run_alone(vec![ends, next]).await, (0, false));
        let (outcome, _) = told.await.expect("told");
        assert!(outcome.is_err(), "{outcome:?}");
    }

    #[tokio::test]
    async fn savepoints_are_for_a_while_after_a_failure() {
        let folder = tempfile::tempdir().expect("folder");
        let mut connection =
            Connection::open(&folder.path().join("test.sqlite"), Purpose::Write).expect("opens");
        connection.run("CREATE TABLE numbers (n INTEGER NOT NULL)").expect("made");
        let runtime = Handle::current();
        let (ran, (found, kept)) = tokio::task::spawn_blocking(move || {
            let (mut next, mut careful, mut kept) = (0, 0, Vec::new());
            let mut ran = Vec::new();
            // Which of three fails, batch by batch; 9 is none.
            let calm = std::iter::repeat_n(9, limit::CAREFUL_BATCHES as usize - 2);
            for fails in [9, 1, 2].into_iter().chain(calm).chain([0, 9, 0]) {
                let counter = Arc::new(AtomicU32::new(0));
                let mut batch: Vec<Box<dyn Job>> = Vec::new();
                for at in 0..3 {
                    if at != fails {
                        kept.push(next);
                    }
                    batch.push(Box::new(Numbered { number: next, fails: at == fails, ran: counter.clone() }));
                    next += 1;
                }
                run_batch(&mut connection, &mut batch, &runtime, &mut careful).expect("it commits");
                ran.push(counter.load(Ordering::Relaxed));
            }
            let rows = connection.fetch_all("SELECT n FROM numbers ORDER BY n", &[]).expect("rows");
            let found: Vec<i64> = rows.iter().map(|row| row.int(0).expect("a number")).collect();
            (ran, (found, kept))
        })
        .await
        .expect("it ran");
        assert_eq!(found, kept, "what failed left nothing, the others all");
        assert_eq!(
            ran.get(..4),
            Some([3, 2 + 3, 3, 3].as_slice()),
            "again in savepoints, then in them at once"
        );
        assert_eq!(ran.last_chunk(), Some(&[3, 1 + 3, 3, 3]), "without them after a while");
    }
}
