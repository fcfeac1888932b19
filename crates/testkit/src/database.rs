use std::{future::Future, path::Path, sync::Arc};

use seaworthy_model::{Clock, SystemClock};
use seaworthy_store::{Db, schema::RoomSchema};

use crate::{missing, postgres};

/// Which engine a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// An SQLite file.
    Sqlite,
    /// A database of its own in a private cluster.
    Postgres,
}

/// A fresh, migrated database and an empty directory, both gone after the test.
pub struct TestDb {
    /// The database.
    pub db: Db,
    /// Which engine it is.
    pub engine: Engine,
    place: String,
    directory: tempfile::TempDir,
}

impl TestDb {
    /// An empty directory for blobs and the like.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Another handle, as another replica (PostgreSQL) or the next start (SQLite) would have.
    pub async fn reopen(&self, clock: Arc<dyn Clock>) -> Db {
        open(self.engine, &self.place, clock).await
    }
}

async fn open(engine: Engine, place: &str, clock: Arc<dyn Clock>) -> Db {
    match engine {
        Engine::Sqlite => Db::open_sqlite(Path::new(place), clock).await,
        Engine::Postgres => Db::open_postgres(place, clock).await,
    }
    .expect("database opens")
}

/// Runs one test on one engine, on a runtime with four workers.
pub fn run<F, R>(engine: Engine, name: &str, rooms: &[RoomSchema], test: F)
where
    F: FnOnce(TestDb) -> R,
    R: Future<Output = ()>,
{
    let directory = tempfile::tempdir().expect("temporary directory");
    let place = match engine {
        Engine::Sqlite => directory.path().join("test.sqlite").display().to_string(),
        Engine::Postgres => match postgres::fresh_database() {
            Some(url) => url,
            None => return missing(name, "PostgreSQL 15 (Debian's `postgresql`)"),
        },
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let db = open(engine, &place, Arc::new(SystemClock)).await;
        db.migrate(rooms).await.expect("migrations run");
        test(TestDb { db, engine, place, directory }).await;
    });
}
