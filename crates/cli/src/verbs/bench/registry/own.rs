//! Workloads that need more than a URL: an HTTPS door, a collection, kills, a start, and a cache of another registry; here
//! over a server of the bench's own.

use std::{net::TcpListener, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use seaworthy_model::SystemClock;
use seaworthy_registry::measuring;
use seaworthy_store::Db;
use serde_json::{Value, json};

use super::{
    leak,
    life::{self, Life},
    merged,
    peer::{Peer, Run},
    through::{self, Upstream},
    work::Load,
    workloads::{self, read, small_image},
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::{Figure, server::Server, wire::Wire},
};

/// All of them, in the order in which they run.
pub(super) const ALL: &[&str] = &["pull-tls", "pull-through", "collect", "kill", "cold"];

pub(super) const NOTHING_COLLECTED: &str = "manifest GET, nothing collected";
pub(super) const COLLECTED: &str = "manifest GET while blobs are collected";

/// How often what readers notice of a collection is measured, in turn with when there is none.
const COLLECT_ROUNDS: usize = 5;

/// Where its cache of another registry is.
const CACHE: &str = "hub";

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

    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        self.server.stop().await
    }

    /// The same server in another run.
    pub(super) fn in_run(self, run: &Run) -> Self {
        Self { run: run.clone(), ..self }
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
                let upstream = Upstream::start("127.0.0.1:0", flags).await?;
                self.cache(&upstream).await?;
                through::pulls(&self.peer()?, (&upstream, CACHE)).await
            }
            "collect" => self.collect(flags).await,
            "kill" => {
                let mut figures = life::kills(self, flags).await?;
                figures.extend(leak::after_repair(self).await?);
                Ok(figures)
            }
            _ => life::cold(self, flags).await,
        }
    }

    /// Makes it a cache of the upstream.
    async fn cache(&self, upstream: &Upstream) -> Result<(), Failure> {
        let mut wire = Wire::open(&self.server.socket()).await?;
        let cache = json!({"prefix": CACHE, "upstream": upstream.url(), "networks": ["127.0.0.1"]});
        let path = "/api/v1/registry/caches";
        let reply = wire.send(Method::POST, path, "application/json", cache.to_string()).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&reply.body);
        Err(unable(format!("`{path}` answered {}: {said}", reply.status)))
    }

    /// What readers notice while blobs that nobody needs go: in turn with when none goes, each time behind a start and
    /// what warms up, for machines have better and worse minutes.
    async fn collect(&mut self, flags: &BenchRegistryFlags) -> Result<Vec<Figure>, Failure> {
        push_unneeded(&self.peer()?, flags).await?;
        let mut ratio = Figure::new(format!("{COLLECTED}: p99 beside nothing collected"), "x");
        let mut rate = Figure::new("blobs collected meanwhile: rate", "per s");
        let (mut rounds, mut collected) = (Vec::new(), 0.0);
        for round in 0..COLLECT_ROUNDS {
            let (mut with, mut without) = (f64::NAN, f64::NAN);
            for is_due in [round % 2 == 1, round % 2 == 0] {
                self.server.stop().await?;
                let before = self.unneeded(is_due).await?;
                self.server.go_on().await?;
                let begun = Instant::now();
                let name = if is_due { COLLECTED } else { NOTHING_COLLECTED };
                let peer = self.peer()?;
                drop(read(&peer, flags.requests / 4, "").await?);
                let figures = read(&peer, flags.requests, name).await?;
                *(if is_due { &mut with } else { &mut without }) = latency_p99(&figures);
                rounds.push(figures);
                let seconds = begun.elapsed().as_secs_f64();
                self.server.stop().await?;
                let gone = before - self.count_blobs().await?;
                if is_due {
                    rate.samples.push(gone / seconds);
                    collected += gone;
                } else if gone > 0.0 {
                    return Err(unable("blobs were collected that were not due"));
                }
                self.server.go_on().await?;
            }
            ratio.samples.push(with / without);
        }
        if collected < 1.0 {
            return Err(unable("nothing was collected while it was read: ask for more `--rows`"));
        }
        let mut figures = merged(rounds.into_iter());
        figures.extend([ratio, Figure::of("blobs collected meanwhile", "", collected), rate]);
        Ok(figures)
    }

    /// Lets a day pass for what was pushed: all that no manifest names is condemned, and its time is over, or is not looked
    /// at for another day. Returns how many blobs there are.
    async fn unneeded(&self, is_due: bool) -> Result<f64, Failure> {
        let db = self.database().await?;
        measuring::expire_unnamed(&db, is_due).await.map_err(|error| unable(error.to_string()))?;
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
}

impl Life for Own {
    fn peer(&self) -> Result<Peer, Failure> {
        let place = (self.server.pid(), Some(self.server.data().to_owned()));
        Peer::new(self.server.url(), Some(self.authorization.clone()), place, (&self.run, None))
    }

    async fn kill_and_start(&mut self) -> Result<(), Failure> {
        self.server.restart().await
    }

    fn seed(&self) -> u64 {
        self.run.seed
    }
}

fn latency_p99(figures: &[Figure]) -> f64 {
    figures.iter().find(|it| it.name.ends_with(": latency")).map_or(f64::NAN, |it| it.percentile(99))
}

/// Pushes blobs that no manifest names, beside an image that is read, and waits until that is over.
pub(super) async fn push_unneeded(peer: &Peer, flags: &BenchRegistryFlags) -> Result<(), Failure> {
    small_image(peer, "manifest").await?;
    let blobs = peer.blobs(9, 1_000);
    let fill = Load { name: "", connections: 16, jobs: flags.rows, job_bytes: 0 };
    fill.run(peer, move |mut connection, number| {
        let blobs = blobs.clone();
        async move {
            let (digest, bytes) = blobs.get(number);
            connection.push("unneeded", (&digest, &bytes)).await?;
            Ok(connection)
        }
    })
    .await?;
    peer.quiet().await;
    Ok(())
}
