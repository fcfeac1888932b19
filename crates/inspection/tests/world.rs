//! A database, a source of blobs that counts, and the inspection between them.

use std::{
    collections::HashMap,
    io::{Seek as _, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use seaworthy_inspection::{Inspection, InspectionConfig, LayerReader, LayerSource};
use seaworthy_model::{
    BlobStored, Event, Inventory, InventoryReady, LayerRef, ManifestPushed, Problem, consumer,
};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{BlobReader, BlobSource, Blobs, Db, DbError, args, schema::RoomSchema};
use seaworthy_testkit::TestDb;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) const ROOMS: &[RoomSchema] = &[seaworthy_inspection::SCHEMA];

/// Blobs in memory. A blob is opened when the door lets it: one permit per opening.
pub(crate) struct Source {
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    opened: Mutex<Vec<Digest>>,
    pub(crate) door: Semaphore,
}

impl LayerSource for Source {
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Option<BlobReader>, Problem>> {
        Box::pin(async move {
            self.opened.lock().expect("lock").push(*digest);
            self.door.acquire().await.expect("open").forget();
            let Some(bytes) = self.blobs.lock().expect("lock").get(digest).cloned() else { return Ok(None) };
            let size = bytes.len() as u64;
            // As the store does it: small blobs from SQL, others from files.
            let source = if bytes.len() <= 16 * 1024 {
                BlobSource::Bytes(bytes.into())
            } else {
                let mut file = tempfile::tempfile().expect("file");
                file.write_all(&bytes).and_then(|()| file.rewind()).expect("written");
                BlobSource::File(file)
            };
            Ok(Some(BlobReader { size, source }))
        })
    }
}

pub(crate) struct World {
    pub(crate) test: TestDb,
    pub(crate) db: Db,
    pub(crate) source: Arc<Source>,
    pub(crate) inspection: Inspection,
}

impl World {
    pub(crate) fn new(test: TestDb) -> Self {
        Self::with_reader(test, LayerReader::InProcess)
    }

    pub(crate) fn with_reader(test: TestDb, reader: LayerReader) -> Self {
        let source = Arc::new(Source {
            blobs: Mutex::default(),
            opened: Mutex::default(),
            door: Semaphore::new(1_000_000),
        });
        let inspection = inspection(&test, test.db.clone(), source.clone(), reader);
        Self { db: test.db.clone(), test, source, inspection }
    }

    /// The same after a restart, at the time of `db`'s clock.
    pub(crate) fn restarted(&self, db: Db) -> Inspection {
        inspection(&self.test, db, self.source.clone(), LayerReader::InProcess)
    }

    /// Puts a blob into the source.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        self.source.blobs.lock().expect("lock").insert(digest, bytes.to_vec());
        digest
    }

    /// Other bytes under a digest.
    pub(crate) fn set_bytes(&self, digest: Digest, bytes: &[u8]) {
        self.source.blobs.lock().expect("lock").insert(digest, bytes.to_vec());
    }

    /// Takes a blob away.
    pub(crate) fn take(&self, digest: &Digest) {
        self.source.blobs.lock().expect("lock").remove(digest);
    }

    /// How often a blob was opened.
    pub(crate) fn opens(&self, digest: &Digest) -> usize {
        self.source.opened.lock().expect("lock").iter().filter(|it| *it == digest).count()
    }

    pub(crate) async fn send(&self, events: Vec<Event>) {
        let sent: Result<(), DbError> = self
            .db
            .upkeep(events, |events, tx| {
                Box::pin(async move {
                    for event in events {
                        tx.deliver(consumer::INSPECTION, event, seaworthy_model::Timestamp::from_seconds(1))
                            .await?;
                    }
                    Ok(())
                })
            })
            .await;
        sent.expect("sent");
    }

    /// Handles everything that waits; nothing may fail for good.
    pub(crate) async fn drain(&self) {
        drain(&self.inspection, &self.db).await;
    }

    pub(crate) async fn sent_to(&self, consumer: &'static str) -> Vec<InventoryReady> {
        let rows = self
            .db
            .fetch_all(
                "SELECT payload FROM store_deliveries WHERE consumer = $1 ORDER BY id",
                args![consumer],
            )
            .await
            .expect("rows");
        rows.iter()
            .map(|row| match row.json(0).expect("event") {
                Event::InventoryReady(ready) => *ready,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// All events sent on, which all rooms must have got alike.
    pub(crate) async fn outputs(&self) -> Vec<InventoryReady> {
        let findings = self.sent_to(consumer::FINDINGS).await;
        assert_eq!(findings, self.sent_to(consumer::CLEARANCE).await);
        assert_eq!(findings, self.sent_to(consumer::FLEET).await);
        findings
    }
}

fn inspection(test: &TestDb, db: Db, source: Arc<Source>, reader: LayerReader) -> Inspection {
    let blobs = Blobs::new(test.path().to_owned(), db.clone(), 0);
    Inspection::new(InspectionConfig { db, blobs, source, reader, concurrency: 4 })
}

pub(crate) async fn drain(inspection: &Inspection, db: &Db) {
    let cancel = CancellationToken::new();
    let running = tokio::spawn(inspection.clone().run(cancel.clone()));
    let done = async { while db.waiting_deliveries(consumer::INSPECTION).await.expect("count") > 0 {} };
    tokio::time::timeout(Duration::from_mins(2), done).await.expect("everything is handled");
    cancel.cancel();
    running.await.expect("ended");
    let failed = db.failed_deliveries(10).await.expect("failed");
    assert!(failed.is_empty(), "{failed:?}");
}

pub(crate) fn stored(digest: Digest) -> Event {
    Event::BlobStored(BlobStored { digest, size: 1 })
}

pub(crate) fn layer(digest: Digest) -> LayerRef {
    LayerRef { digest, media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(), foreign: false }
}

pub(crate) fn pushed(repository: &str, config: Digest, layers: &[Digest]) -> ManifestPushed {
    let name = format!("{config}{layers:?}");
    ManifestPushed {
        repository: repository.parse::<RepoName>().expect("repository"),
        digest: Digest::sha256(name.as_bytes()),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        is_image: true,
        config: Some(config),
        layers: layers.iter().copied().map(layer).collect(),
        children: Vec::new(),
        subject: None,
        pushed_at: seaworthy_model::Timestamp::from_seconds(1),
    }
}

/// `name version layer` of every package, then `code@layer` of every problem.
pub(crate) fn lines(inventory: &Inventory) -> Vec<String> {
    let packages = inventory
        .packages
        .iter()
        .map(|row| format!("{} {} {}", row.package.name, row.package.version, row.layer));
    let problems = inventory.problems.iter().map(|problem| {
        let layer = problem.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        format!("{}@{layer}", problem.code.name())
    });
    packages.chain(problems).collect()
}
