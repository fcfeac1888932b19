use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use seaworthy_findings::{FeedReader, Findings, FindingsConfig, FindingsError, ImportReport};
use seaworthy_model::{
    Actor, ContentId, Coverage, Event, FeedsChanged, FindingSet, FindingsChanged, ImageFacts, Inventory,
    InventoryReady, OsRelease, PackageRow, consumer,
};
use seaworthy_oci::{Digest, Platform};
use seaworthy_package::{Ecosystem, InstalledPackage, SourcePackage};
use seaworthy_store::{Blobs, Db, DbError, args, schema::RoomSchema};
use seaworthy_testkit::TestDb;
use tokio_util::sync::CancellationToken;

pub(crate) const ROOMS: &[RoomSchema] = &[seaworthy_ledger::SCHEMA, seaworthy_findings::SCHEMA];

pub(crate) struct World {
    pub(crate) test: TestDb,
    pub(crate) db: Db,
    pub(crate) findings: Findings,
}

pub(crate) fn debian() -> OsRelease {
    OsRelease { id: "debian".into(), version: Some("12".into()), codename: None, name: String::new() }
}

pub(crate) fn installed(source: &str, version: &str) -> InstalledPackage {
    InstalledPackage {
        ecosystem: Ecosystem::Deb,
        distribution: "debian".into(),
        name: format!("lib{source}"),
        version: version.into(),
        architecture: "amd64".into(),
        source: SourcePackage { name: source.into(), version: version.into() },
    }
}

pub(crate) fn content(number: u64) -> ContentId {
    ContentId::of(&Platform::linux_amd64(), &[Digest::sha256(&number.to_le_bytes())])
}

/// Debian's tracker: (source, CVE, version that fixes it in Debian 12; empty for none).
pub(crate) fn tracker(rows: &[(&str, &str, &str)]) -> String {
    let mut json = serde_json::json!({});
    for (source, cve, fixed) in rows {
        let release = match *fixed {
            "" => serde_json::json!({"status": "open", "urgency": "low"}),
            fixed => serde_json::json!({"status": "resolved", "fixed_version": fixed, "urgency": "low"}),
        };
        json[*source][*cve] = serde_json::json!({"description": "a flaw", "releases": {"bookworm": release}});
    }
    json.to_string()
}

/// One OSV record for `source`.
pub(crate) fn record(id: &str, source: &str, fixed: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","modified":"2026-01-01T00:00:00Z"{more},"affected":[{{"package":{{"ecosystem":"Debian:12","name":"{source}"}},
            "ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
    )
}

pub(crate) fn ready(content_id: ContentId, packages: &[InstalledPackage]) -> InventoryReady {
    let row = |package: &InstalledPackage| PackageRow { package: package.clone(), layer: 0, paths: vec![] };
    InventoryReady {
        manifests: Vec::new(),
        config: Digest::sha256(b"config"),
        image: ImageFacts::default(),
        support: None,
        inventory: Inventory {
            content_id,
            platform: Platform::linux_amd64(),
            layers: Vec::new(),
            os: Some(debian()),
            packages: packages.iter().map(row).collect(),
            secrets: Vec::new(),
            coverage: Coverage::default(),
            problems: Vec::new(),
            reader_version: 1,
        },
    }
}

/// (id, source, fixed version) of each row.
pub(crate) fn rows(set: &FindingSet) -> Vec<(String, String, String)> {
    let row = |row: &seaworthy_model::Finding| {
        (row.id.clone(), row.source.clone(), row.fixed_version.clone().unwrap_or_default())
    };
    set.rows.iter().map(row).collect()
}

pub(crate) fn row(id: &str, source: &str, fixed: &str) -> (String, String, String) {
    (id.into(), source.into(), fixed.into())
}

pub(crate) async fn open(db: &Db, directory: &Path) -> Findings {
    let blobs = Blobs::new(directory.to_owned(), db.clone(), 0);
    let config = FindingsConfig { db: db.clone(), blobs, reader: FeedReader::InProcess };
    Findings::open(config).await.expect("findings open")
}

/// Handles all deliveries that wait for findings.
pub(crate) async fn drain(findings: &Findings, db: &Db) {
    let cancel = CancellationToken::new();
    let wait = async {
        while db.waiting_deliveries(consumer::FINDINGS).await.expect("count") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(findings.clone().run(cancel.clone()), wait) };
    tokio::time::timeout(Duration::from_mins(2), both).await.expect("deliveries are handled");
}

impl World {
    pub(crate) async fn new(test: TestDb) -> Self {
        let db = test.db.clone();
        let findings = open(&db, test.path()).await;
        Self { test, db, findings }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.test.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) async fn import(&self, name: &str, text: &str) -> Result<ImportReport, FindingsError> {
        let path = self.write(&format!("feeds/{name}"), text);
        self.findings.import(&Actor::operator(0), &[path]).await
    }

    pub(crate) async fn deliver(&self, events: Vec<InventoryReady>) {
        let now = self.db.now();
        self.db
            .upkeep(events, move |events, tx| {
                Box::pin(async move {
                    for event in events {
                        let event = Event::InventoryReady(Box::new(event.clone()));
                        tx.deliver(consumer::FINDINGS, &event, now).await?;
                    }
                    Ok::<_, DbError>(())
                })
            })
            .await
            .expect("delivered");
    }

    /// An inventory, matched.
    pub(crate) async fn inventory(&self, number: u64, packages: &[InstalledPackage]) {
        self.deliver(vec![ready(content(number), packages)]).await;
        drain(&self.findings, &self.db).await;
    }

    pub(crate) async fn found(&self, number: u64) -> Vec<(String, String, String)> {
        rows(&self.findings.of_content(&content(number)).await.expect("query").expect("stored"))
    }

    /// What clearance was told since the last call, in order.
    pub(crate) async fn told(&self) -> Vec<Event> {
        let events = self.peek().await;
        self.db
            .upkeep((), |(), tx| {
                Box::pin(async move {
                    tx.execute("DELETE FROM store_deliveries WHERE consumer = 'clearance'", args![]).await
                })
            })
            .await
            .map_err(|error: DbError| error)
            .expect("deleted");
        events
    }

    pub(crate) async fn peek(&self) -> Vec<Event> {
        let sql = "SELECT payload FROM store_deliveries WHERE consumer = 'clearance' ORDER BY id";
        let rows = self.db.fetch_all(sql, args![]).await.expect("events");
        rows.iter().map(|row| row.json(0).expect("event")).collect()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        self.db.fetch_optional(sql, args![]).await.expect("query").expect("row").int(0).expect("number")
    }

    /// Gives `numbers` the package set that content 0 has, as earlier deliveries would have.
    pub(crate) async fn copies(&self, numbers: std::ops::Range<u64>) {
        self.db
            .upkeep(numbers, |numbers, tx| {
                Box::pin(async move {
                    for number in numbers.clone() {
                        tx.execute(
                            "INSERT INTO findings_contents (content, package_set, reader_version, stored_at)
                             SELECT $1, package_set, 1, 0 FROM findings_contents WHERE content = $2",
                            args![content(number).as_bytes(), content(0).as_bytes()],
                        )
                        .await?;
                    }
                    Ok::<_, DbError>(())
                })
            })
            .await
            .expect("copied");
    }
}

pub(crate) fn findings_changed(events: &[Event]) -> Vec<FindingsChanged> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::FindingsChanged(changed) => Some(changed.clone()),
            _ => None,
        })
        .collect()
}

pub(crate) fn feeds_changed(events: &[Event]) -> Vec<FeedsChanged> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::FeedsChanged(changed) => Some(changed.clone()),
            _ => None,
        })
        .collect()
}
