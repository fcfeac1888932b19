//! Collection against everything that wants to keep what it takes. Time is moved, and servers are held
//! where a test wants them: nothing here waits for luck.

mod blobs;
#[path = "../../tests/client.rs"]
#[allow(dead_code, reason = "the integration tests use the rest of it")]
pub(crate) mod client;
mod deleted;
mod manifests;
mod quota;
mod repair;
mod retention;
mod storage;
mod uploads;

use std::sync::Arc;

use http::StatusCode;
use seaworthy_model::{FixedClock, Timestamp};
use seaworthy_oci::Digest;
use seaworthy_store::args;
use seaworthy_testkit::TestDb;

use self::client::{Client, World};
use crate::{Collection, Registry, limit};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A registry at a time that stands still.
struct Still {
    world: World,
    clock: Arc<FixedClock>,
    client: Client,
}

impl Still {
    /// What is deleted is gone at once, and what nothing leads to after seven days.
    async fn new(test: TestDb) -> Self {
        Self::with(test, Collection { soft_delete_days: 0, ..Collection::default() }).await
    }

    async fn with(mut test: TestDb, collection: Collection) -> Self {
        let begin: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a time");
        let clock = Arc::new(FixedClock::at(begin));
        test.db = test.reopen(clock.clone()).await;
        let world = World::set_up(test, |config| config.collection = collection).await;
        let client = world.operator();
        Self { world, clock, client }
    }

    fn registry(&self) -> &Registry {
        &self.world.registry
    }

    /// Another server over the same database and files.
    fn replica(&self) -> Registry {
        Registry::new(self.registry().inner.config.clone())
    }

    /// Looks at everything that is due.
    async fn collect(&self) {
        while self.registry().collect().await.expect("collected") > 0 {}
    }

    /// Lets time pass, and looks at what becomes due.
    async fn pass(&self, seconds: i64) {
        self.clock.advance(seconds);
        self.collect().await;
    }

    /// The state of a blob's row; empty when there is none.
    async fn state(&self, digest: &Digest) -> String {
        let row = self.query("SELECT state FROM registry_blobs WHERE digest = $1", digest).await;
        row.map_or_else(String::new, |row| row.text(0).expect("state").to_owned())
    }

    async fn query(&self, sql: &'static str, digest: &Digest) -> Option<seaworthy_store::Row> {
        self.world.test.db.fetch_optional(sql, args![&digest.to_string()]).await.expect("query")
    }

    /// An index of what is here, or is not: then its length is anybody's guess.
    async fn index_of(&self, children: &[Digest]) -> String {
        let mut listed = Vec::new();
        for digest in children {
            let manifest =
                self.query("SELECT LENGTH(bytes) FROM registry_manifest_bytes WHERE digest = $1", digest);
            let blob = self.query("SELECT size FROM registry_blobs WHERE digest = $1", digest);
            let row = manifest.await.or(blob.await);
            let size = row.map_or(500, |row| row.int(0).expect("a length"));
            listed.push(format!(r#"{{"mediaType":"{}","digest":"{digest}","size":{size}}}"#, client::IMAGE));
        }
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#, client::INDEX, listed.join(","))
    }

    /// Files of a blob.
    fn copies(&self, digest: &Digest) -> usize {
        let folder = self.world.test.path().join("blobs/registry/sha256").join(&digest.hex()[..2]);
        let Ok(files) = std::fs::read_dir(folder) else { return 0 };
        files
            .filter(|file| {
                file.as_ref().expect("entry").file_name().to_string_lossy().starts_with(&digest.hex())
            })
            .count()
    }

    async fn get(&self, path: &str) -> StatusCode {
        self.client.get(&format!("/v2/{path}")).await.status
    }

    /// Pushes a manifest by its digest alone.
    async fn push(&self, repository: &str, media_type: &str, manifest: &str) -> Digest {
        let digest = Digest::sha256(manifest.as_bytes());
        let path = format!("/v2/{repository}/manifests/{digest}");
        let answer = self.client.put_as(&path, media_type, manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        digest
    }

    /// An image without a tag.
    async fn untagged(&self, repository: &str, layer: &[u8]) -> Digest {
        self.client.put_blob(repository, CONFIG).await;
        self.client.put_blob(repository, layer).await;
        self.push(repository, client::IMAGE, &manifest_of(layer)).await
    }

    async fn head(&self, repository: &str, digest: &Digest) -> StatusCode {
        self.client.send("HEAD", &format!("/v2/{repository}/blobs/{digest}"), &[], "").await.status
    }

    async fn delete(&self, path: &str) {
        let answer = self.client.send("DELETE", &format!("/v2/{path}"), &[], "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{path}: {}", answer.text());
    }

    async fn reads(&self, repository: &str, bytes: &[u8]) {
        let answer = self.client.get(&format!("/v2/{repository}/blobs/{}", Digest::sha256(bytes))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(answer.body == bytes, "the bytes are those that were pushed");
    }
}

/// Bytes that are kept in a file, different for each `seed`.
fn file(seed: u8) -> Vec<u8> {
    (0..20_000u32).map(|at| seed ^ u8::try_from(at % 251).expect("small")).collect()
}

/// The config that [`Client::put_image`] pushes.
const CONFIG: &[u8] = br#"{"os":"linux","architecture":"amd64"}"#;

/// A manifest of [`CONFIG`] and one layer.
fn manifest_of(layer: &[u8]) -> String {
    let config = CONFIG;
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        client::IMAGE,
        Digest::sha256(config),
        config.len(),
        Digest::sha256(layer),
        layer.len()
    )
}

/// A push fits: a pin is prolonged at half of it, so half is what everybody can count on.
const _: () = {
    assert!(limit::LEASE_SECONDS / 2 > limit::CONDEMNED_SECONDS);
    assert!(limit::COLLECT_SECONDS.cast_signed() < limit::REVIEW_SECONDS);
    // They are looked at together.
    assert!(limit::REVIEW_BATCH_GENTLE.cast_unsigned() <= limit::REVIEWS_AT_ONCE as u64);
    assert!(limit::COLLECT_REST_MS > 0);
    assert!(limit::UPLOAD_SECONDS <= limit::LEASE_SECONDS);
};
