//! A cache of another registry, whose upstream is the bench's own and gives so many bytes a second.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, channel::Channel};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use seaworthy_oci::{Algorithm, Digest, Hasher, media};
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle, time::sleep_until};

use super::{
    peer::{Body, OCTETS, Peer, Run, empty},
    work::Load,
    workloads::{manifest, noise},
};
use crate::{
    failure::{Failure, unable},
    flags::BenchRegistryFlags,
    verbs::bench::{Figure, elapsed_ms},
};

const CLIENTS: u32 = 200;
/// Bytes a second of the upstream, to all together.
const PACE: u64 = 100_000_000;
/// Bytes that it sends at a time.
const PIECE: usize = 1 << 20;
const CONFIG: &[u8] =
    br#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;

/// An upstream that listens until this is dropped.
pub(super) struct Upstream {
    serves: Arc<Serves>,
    accepting: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Serves {
    address: SocketAddr,
    layer: Layer,
    manifest: Bytes,
    sent: AtomicU64,
    /// When the next piece may go.
    next: Mutex<tokio::time::Instant>,
}

/// One piece over and over.
struct Layer {
    piece: Bytes,
    pieces: u32,
    digest: String,
}

impl Layer {
    fn new(pieces: u32) -> Self {
        let piece = noise(11, PIECE);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        (0..pieces).for_each(|_| hasher.update(&piece));
        Self { digest: hasher.finish().to_string(), piece, pieces }
    }

    fn bytes(&self) -> u64 {
        u64::from(self.pieces) * PIECE as u64
    }
}

impl Upstream {
    pub(super) async fn start(listen: &str, flags: &BenchRegistryFlags) -> Result<Self, Failure> {
        let broke = |error: std::io::Error| unable(format!("no upstream: {error}"));
        let listener = TcpListener::bind(listen).await.map_err(broke)?;
        let layer = Layer::new(flags.blob_mib * 8);
        let config = Digest::sha256(CONFIG).to_string();
        let size = usize::try_from(layer.bytes()).unwrap_or(usize::MAX);
        let serves = Arc::new(Serves {
            address: listener.local_addr().map_err(broke)?,
            manifest: manifest((&config, CONFIG.len()), &[(&layer.digest, size)], "through"),
            layer,
            sent: AtomicU64::new(0),
            next: Mutex::new(tokio::time::Instant::now()),
        });
        let serving = serves.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = serving.clone();
                let answer = service_fn(move |request| {
                    let upstream = upstream.clone();
                    async move { Ok::<_, Infallible>(upstream.answer(&request)) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(Self { serves, accepting })
    }

    /// Returns when nobody listens there any more.
    pub(super) async fn stop(mut self) {
        self.accepting.abort();
        drop((&mut self.accepting).await);
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.serves.address)
    }
}

impl Serves {
    fn answer(self: Arc<Self>, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let (kind, length, body) = if path.contains("/manifests/") {
            (media::OCI_MANIFEST, self.manifest.len() as u64, Full::new(self.manifest.clone()).boxed())
        } else if path.ends_with(&self.layer.digest) {
            (OCTETS, self.layer.bytes(), self.clone().paced())
        } else if path.contains("/blobs/") {
            (OCTETS, CONFIG.len() as u64, Full::new(Bytes::from_static(CONFIG)).boxed())
        } else {
            ("application/json", 2, Full::new(Bytes::from_static(b"{}")).boxed())
        };
        let body = if request.method() == Method::HEAD { empty() } else { body };
        let mut response = Response::new(body);
        for (name, value) in [(header::CONTENT_TYPE, kind), (header::CONTENT_LENGTH, &length.to_string())] {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn paced(self: Arc<Self>) -> Body {
        let (mut sender, body) = Channel::new(1);
        tokio::spawn(async move {
            for _ in 0..self.layer.pieces {
                let at = {
                    let mut next = self.next.lock().await;
                    let at = (*next).max(tokio::time::Instant::now());
                    *next = at + Duration::from_nanos(PIECE as u64 * 1_000_000_000 / PACE);
                    at
                };
                sleep_until(at).await;
                if sender.send_data(self.layer.piece.clone()).await.is_err() {
                    return;
                }
                self.sent.fetch_add(PIECE as u64, Ordering::Relaxed);
            }
        });
        body.boxed()
    }
}

/// Many clients want one image that is not here, but at the upstream, whose repositories begin with a prefix here.
pub(super) async fn pulls(
    peer: &Peer,
    (upstream, prefix): (&Upstream, &str),
) -> Result<Vec<Figure>, Failure> {
    let (url, upstream) = (upstream.url(), &upstream.serves);
    let direct = Peer::new(&url, None, (None, None), (&Run::default(), None))?;
    let blob = format!("blobs/{}", upstream.layer.digest);
    let mut first = Figure::new("first byte, from the upstream itself".to_owned(), "ms");
    for _ in 0..5 {
        let mut connection = direct.connect().await?;
        let begun = Instant::now();
        let reply = connection.send(Method::GET, &format!("/v2/app/{blob}"), (OCTETS, empty())).await?;
        drop(reply.into_body().frame().await);
        first.samples.push(elapsed_ms(begun));
    }
    upstream.sent.store(0, Ordering::Relaxed);
    let firsts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let name = "200 clients pull what is not here";
    let size = upstream.layer.bytes();
    let load = Load { name, connections: CLIENTS, jobs: CLIENTS, job_bytes: size };
    let app = if prefix.is_empty() { "/v2/app".to_owned() } else { format!("/v2/{prefix}/app") };
    let (path, told, from) = (format!("{app}/{blob}"), firsts.clone(), peer.clone());
    let mut figures = load
        .run(peer, move |mut connection, _| {
            let (app, path, told, from) = (app.clone(), path.clone(), told.clone(), from.clone());
            async move {
                connection.get(Method::GET, &format!("{app}/manifests/1")).await?;
                let first = |begun| {
                    told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(elapsed_ms(begun));
                };
                from.discard(&path, size, first).await?;
                Ok(connection)
            }
        })
        .await?;
    let mut through = Figure::new(format!("{name}: first byte"), "ms");
    through.samples = std::mem::take(&mut firsts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    #[allow(clippy::cast_precision_loss, reason = "sizes of a bench are far below 2^53")]
    let times = upstream.sent.load(Ordering::Relaxed) as f64 / size as f64;
    figures.extend([
        first,
        through,
        Figure::of(format!("{name}: sent by the upstream"), "x its bytes", times),
    ]);
    Ok(figures)
}
