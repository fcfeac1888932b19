//! Workloads that need a server of the bench's own: its HTTPS door, its collection, its kills, its start, and a cache
//! of another registry.

use std::{net::TcpListener, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use seaworthy_model::SystemClock;
use seaworthy_registry::measuring;
use seaworthy_store::Db;
use serde_json::{Value, json};

use super::{
    peer::{Peer, Run},
    work::Load,
    workloads::{self, small_image},
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::{Figure, elapsed_ms, server::Server, wire::Wire},
};

/// All of them, in the order in which they run.
pub(super) const ALL: &[&str] = &["pull-tls", "pull-through", "collect", "kill", "cold"];

/// A server of the bench's own, and who may do all there.
pub(super) struct Own {
    pub(super) server: Server,
    authorization: String,
    tls_host: String,
    run: Run,
}

impl Own {
    pub(super) async fn start(no_inspection: bool, run: &Run) -> Result<Self, Failure> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| unable(format!("no free port: {error}")))?.port();
        let tls_host = format!("localhost:{port}");
        let inspectors = if no_inspection { "inspectors = 0\n" } else { "" };
        let config = format!("tls_listen = \"{tls_host}\"\n{inspectors}");
        let server = Server::configured(&config, &[], &[]).await?;
        let mut wire = Wire::open(&server.socket()).await?;
        let body = json!({"name": "bench", "role": "Owner", "scope": "/"}).to_string();
        let path = "/api/v1/principals";
        let reply = wire.send(Method::POST, path, "application/json", body).await?;
        let made: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let text = |key: &str| made.get(key).and_then(Value::as_str).unwrap_or_default();
        let (id, secret) = (text("client_id"), text("client_secret"));
        if secret.is_empty() {
            return Err(unable(format!("`{path}` answered {}", reply.status)));
        }
        let authorization = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        Ok(Self { server, authorization, tls_host, run: run.clone() })
    }

    /// The registry that it is now: another process after each start.
    pub(super) fn peer(&self) -> Result<Peer, Failure> {
        let place = (self.server.pid(), Some(self.server.data().to_owned()));
        Peer::new(self.server.url(), Some(self.authorization.clone()), place, (&self.run, None))
    }

    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        self.server.stop().await
    }

    /// The same server in another run.
    pub(super) fn in_run(self, run: &Run) -> Self {
        Self { run: run.clone(), ..self }
    }

    /// That of its run.
    pub(super) const fn seed(&self) -> u64 {
        self.run.seed
    }

    /// The database of a server that does not run.
    pub(super) async fn database(&self) -> Result<Db, Failure> {
        let path = self.server.data().join("seaworthy.sqlite");
        Db::open_sqlite(&path, Arc::new(SystemClock)).await.map_err(|error| unable(error.to_string()))
    }

    pub(super) async fn run(
        &mut self,
        name: &str,
        flags: &BenchRegistryFlags,
    ) -> Result<Vec<Figure>, Failure> {
        match name {
            "pull-tls" => {
                let ca = self.server.data().join("ca.pem");
                let peer = self.peer()?.over_tls(&self.tls_host, &ca)?;
                workloads::pulls(&peer, flags, ("pull over TLS, c=8", "pull-tls")).await
            }
            "pull-through" => {
                let mut wire = Wire::open(&self.server.socket()).await?;
                super::through::pulls(&self.peer()?, &mut wire, flags).await
            }
            "collect" => self.collect(flags).await,
            "kill" => super::kill::kills(self, flags).await,
            _ => self.cold(flags).await,
        }
    }

    /// What readers notice while blobs that nobody needs go, all at once.
    async fn collect(&mut self, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
        let peer = self.peer()?;
        small_image(&peer, "manifest").await?;
        let blobs = peer.blobs(9, 1_000);
        let fill = Load { name: "", connections: 16, jobs: flags.rows, job_bytes: 0 };
        fill.run(&peer, move |mut connection, number| {
            let blobs = blobs.clone();
            async move {
                let (digest, bytes) = blobs.get(number);
                connection.push("unneeded", (&digest, &bytes)).await?;
                Ok(connection)
            }
        })
        .await?;
        peer.quiet().await;
        let mut figures = read(&peer, flags, "manifest GET, nothing collected").await?;
        self.server.stop().await?;
        let before = self.aged().await?;
        self.server.go_on().await?;
        let begun = Instant::now();
        let name = "manifest GET while blobs are collected";
        figures.extend(read(&self.peer()?, flags, name).await?);
        let after = self.count_blobs().await?;
        if before - after < 1.0 {
            return Err(unable("nothing was collected while it was read: ask for more `--rows`"));
        }
        let rate = (before - after) / begun.elapsed().as_secs_f64();
        figures.push(Figure::of("blobs collected meanwhile".to_owned(), "", before - after));
        figures.push(Figure::of("blobs collected meanwhile: rate".to_owned(), "per s", rate));
        Ok(figures)
    }

    /// Lets a day pass for what was pushed: all that no manifest names is condemned, and its time is over. Returns
    /// how many blobs there are.
    async fn aged(&self) -> Result<f64, Failure> {
        let db = self.database().await?;
        measuring::expire_unnamed(&db).await.map_err(|error| unable(error.to_string()))?;
        db.close().await;
        self.count_blobs().await
    }

    async fn count_blobs(&self) -> Result<f64, Failure> {
        let db = self.database().await?;
        let count = measuring::count_blobs(&db).await;
        db.close().await;
        let count = count.map_err(|error| unable(error.to_string()))?;
        Ok(f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// How soon a killed server with many manifests gives one out.
    async fn cold(&mut self, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
        let peer = self.peer()?;
        let (layer, size) = small_image(&peer, "cold").await?;
        let fill = Load { name: "", connections: 64, jobs: flags.rows, job_bytes: 0 };
        fill.run(&peer, move |mut connection, number| {
            let layer = layer.clone();
            async move {
                let tag = format!("t{number:07}");
                let manifest = workloads::manifest((&layer, size), &[(&layer, size)], &tag);
                connection.put_manifest("cold", &tag, &manifest).await?;
                Ok(connection)
            }
        })
        .await?;
        let mut figure =
            Figure::new(format!("killed, started, first pull of {} manifests", flags.rows), "ms");
        for _ in 0..3 {
            let begun = Instant::now();
            self.server.restart().await?;
            let mut connection = self.peer()?.connect().await?;
            connection.get(Method::GET, &peer.path("cold/manifests/1")).await?;
            figure.samples.push(elapsed_ms(begun));
        }
        Ok(vec![figure])
    }
}

async fn read(peer: &Peer, flags: &BenchRegistryFlags, name: &'static str) -> Result<Vec<Figure>, Failure> {
    let load = Load { name, connections: 16, jobs: flags.requests, job_bytes: 0 };
    let path = peer.path("manifest/manifests/1");
    load.run_meanwhile(peer, move |mut connection, _| {
        let path = path.clone();
        async move {
            connection.get(Method::GET, &path).await?;
            Ok(connection)
        }
    })
    .await
}
