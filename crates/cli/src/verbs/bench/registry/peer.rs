//! A registry under test: where it listens, who asks, and what its process used.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, channel::Channel, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::workloads::Blobs;
use crate::failure::{Failure, unable, usage};

/// Bytes of one piece of a streamed body.
const PIECE: usize = 256 << 10;
/// Longest head of an answer, in bytes.
const HEAD_BYTES: usize = 64 << 10;

/// How long a registry may take until it is quiet.
const QUIET: Duration = Duration::from_mins(10);
/// How often it is looked at for that.
const QUIET_LOOK: Duration = Duration::from_millis(500);
/// Processor time between two looks of one that is quiet, in seconds: one percent of a processor and one tick.
const QUIET_SECONDS: f64 = 0.016;

pub(super) type Body = BoxBody<Bytes, Infallible>;

/// A registry. Cheap to clone.
#[derive(Clone)]
pub(super) struct Peer {
    inner: Arc<Inner>,
}

struct Inner {
    host: String,
    /// How `https` is spoken, and to whom.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<String>,
    pid: Option<u32>,
    data: Option<PathBuf>,
    run: Run,
}

/// What sets one run over a registry apart from those before, whose names and bytes it has already.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// Whose names all others begin with.
    folder: String,
    pub(super) seed: u64,
}

impl Run {
    pub(super) fn fresh() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let seed = u64::try_from(seed).unwrap_or_default();
        Self { folder: format!("bench-{seed:x}"), seed }
    }
}

impl Peer {
    pub(super) fn new(
        url: &str,
        authorization: Option<String>,
        (pid, data): (Option<u32>, Option<PathBuf>),
        (run, ca): (&Run, Option<&Path>),
    ) -> Result<Self, Failure> {
        let (rest, is_tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => ("", false),
        };
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(usage(format!(
                "`{url}` is no registry: it is `http://HOST:PORT` or `https://HOST:PORT`"
            )));
        }
        let port = if is_tls { 443 } else { 80 };
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
        let tls = if is_tls { Some(connector(&host, ca)?) } else { None };
        Ok(Self { inner: Arc::new(Inner { host, tls, authorization, pid, data, run: run.clone() }) })
    }

    /// The path of something in a repository of this run.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.inner.run.folder)
    }

    /// The folder that this run's repositories are in.
    pub(super) fn folder(&self) -> &str {
        &self.inner.run.folder
    }

    /// Blobs that no other run has.
    pub(super) fn blobs(&self, kind: u8, length: usize) -> Blobs {
        Blobs::new(self.inner.run.seed << 8 | u64::from(kind), length)
    }

    /// The same registry at its HTTPS door.
    pub(super) fn over_tls(&self, host: &str, ca: &Path) -> Result<Self, Failure> {
        let it = &self.inner;
        let place = (it.pid, it.data.clone());
        Self::new(&format!("https://{host}"), it.authorization.clone(), place, (&it.run, Some(ca)))
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let host = &self.inner.host;
        let broke = |error: &dyn std::fmt::Display| unable(format!("`{host}`: {error}"));
        let stream = TcpStream::connect(host).await.map_err(|error| broke(&error))?;
        stream.set_nodelay(true).map_err(|error| broke(&error))?;
        let sender = match &self.inner.tls {
            None => converse(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                converse(stream.map_err(|error| broke(&error))?).await
            }
        };
        let sender = sender.map_err(|error| broke(&error))?;
        Ok(Connection { peer: self.clone(), sender })
    }

    /// Reads a blob of so many bytes over a connection of its own, which is made before; tells when the first are
    /// there. The kernel throws them away: clients that share a machine with the registry leave it to it.
    pub(super) async fn discard(
        &self,
        path: &str,
        size: u64,
        first: impl FnOnce(Instant) + Send,
    ) -> Result<(), Failure> {
        let broke = |error: io::Error| unable(format!("`{path}` broke off: {error}"));
        let it = &self.inner;
        let mut stream = TcpStream::connect(&it.host).await.map_err(broke)?;
        let authorization =
            it.authorization.as_ref().map(|it| format!("authorization: {it}\r\n")).unwrap_or_default();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{authorization}connection: close\r\n\r\n", it.host);
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await.map_err(broke)?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let end = loop {
            let end = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = end.filter(|end| head.len() > *end) {
                break end;
            }
            if stream.read_buf(&mut head).await.map_err(broke)? == 0 || head.len() > HEAD_BYTES {
                return Err(unable(format!("`{path}`: {}", String::from_utf8_lossy(&head))));
            }
        };
        if !head.starts_with(b"HTTP/1.1 200 ") {
            return Err(unable(format!("`{path}`: {}", String::from_utf8_lossy(&head))));
        }
        first(begun);
        let mut read = (head.len() - end) as u64;
        let mut nowhere = vec![0; PIECE];
        loop {
            let gone = stream.async_io(Interest::READABLE, || {
                let (_, gone) = rustix::net::recv(&stream, &mut nowhere[..], rustix::net::RecvFlags::TRUNC)?;
                Ok(gone)
            });
            match gone.await.map_err(broke)? {
                0 if read == size => return Ok(()),
                0 => return Err(unable(format!("`{path}` broke off: {read} of {size} bytes"))),
                gone => read += gone as u64,
            }
        }
    }

    /// Processor time of the registry's process so far, in seconds; `None` when it is not known.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.inner.pid?)).ok()?;
        // The name in parentheses may hold anything; fields 14 and 15 are counted behind it.
        let fields = stat.rsplit_once(')')?.1.split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        // Linux shows 100 ticks a second on every architecture.
        Some(f64::from(ticks) / 100.0)
    }

    /// Waits until the process has done what follows from what it was asked before, such as judging what was
    /// pushed; at most [`QUIET`].
    pub(super) async fn quiet(&self) {
        let last = tokio::time::Instant::now() + QUIET;
        let mut before = self.cpu_seconds();
        while let Some(seconds) = before
            && tokio::time::Instant::now() < last
        {
            tokio::time::sleep(QUIET_LOOK).await;
            before = self.cpu_seconds().filter(|now| now - seconds > QUIET_SECONDS);
        }
    }

    /// Memory of its own that the process holds now, in MiB.
    pub(super) fn own_memory_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.inner.pid?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: u32 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(f64::from(kib) / 1024.0)
    }

    /// Files and folders below its data directory, and their bytes.
    pub(super) fn disk(&self) -> Option<(f64, f64)> {
        let mut all = (0.0, 0.0);
        walk(self.inner.data.as_deref()?, &mut all);
        Some(all)
    }
}

async fn converse<S>(stream: S) -> hyper::Result<SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// TLS with a registry whose certificate the machine's roots believe, or this authority.
fn connector(host: &str, ca: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), Failure> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = ServerName::try_from(name.to_owned()).map_err(|error| usage(format!("`{host}`: {error}")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unable(error.to_string()))?
        .with_root_certificates(seaworthy_server::trusted::roots(ca)?)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn walk(folder: &Path, all: &mut (f64, f64)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        all.0 += 1.0;
        match entry.metadata() {
            Ok(data) if data.is_dir() => walk(&entry.path(), all),
            // Files are far smaller than what a float counts exactly.
            #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
            Ok(data) => all.1 += data.len() as f64,
            Err(_) => {}
        }
    }
}

/// One connection, kept open.
pub(super) struct Connection {
    peer: Peer,
    sender: SendRequest<Body>,
}

impl Connection {
    pub(super) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sends a request; the answer's body is still to be read.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        (kind, body): (&str, Body),
    ) -> Result<Response<Incoming>, Failure> {
        let broke = |error: &dyn std::fmt::Display| unable(format!("`{path}` broke off: {error}"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.peer.inner.host)
            .header(header::ACCEPT, ACCEPT)
            .header(header::CONTENT_TYPE, kind);
        if let Some(authorization) = &self.peer.inner.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(body).map_err(|error| broke(&error))?;
        self.sender.ready().await.map_err(|error| broke(&error))?;
        self.sender.send_request(request).await.map_err(|error| broke(&error))
    }

    /// True when the API answers, to whomever (distribution spec, "Determining Support").
    pub(super) async fn is_registry(&mut self) -> bool {
        let reply = self.send(Method::GET, "/v2/", (OCTETS, empty())).await;
        reply.is_ok_and(|reply| matches!(reply.status(), StatusCode::OK | StatusCode::UNAUTHORIZED))
    }

    /// A request without a body, whose answer must be `wanted`; returns its head and bytes.
    pub(super) async fn get(&mut self, method: Method, path: &str) -> Result<Response<Bytes>, Failure> {
        let reply = self.send(method, path, (OCTETS, empty())).await?;
        let reply = whole(reply, path).await?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        Err(refused(path, &reply))
    }

    /// Reads a blob of so many bytes as they come, and tells when the first are there.
    pub(super) async fn pull(
        &mut self,
        path: &str,
        size: u64,
        first: impl FnOnce() + Send,
    ) -> Result<(), Failure> {
        let reply = self.send(Method::GET, path, (OCTETS, empty())).await?;
        if reply.status() != StatusCode::OK {
            return Err(refused(path, &whole(reply, path).await?));
        }
        let (mut body, mut read, mut first) = (reply.into_body(), 0, Some(first));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unable(format!("`{path}` broke off: {error}")))?;
            if let Some(first) = first.take() {
                first();
            }
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        if read == size {
            return Ok(());
        }
        Err(unable(format!("`{path}` broke off: {read} of {size} bytes")))
    }

    /// Begins an upload; returns where it goes on.
    async fn begin(&mut self, repository: &str) -> Result<String, Failure> {
        let path = self.peer.path(&format!("{repository}/blobs/uploads/"));
        let reply = whole(self.send(Method::POST, &path, (OCTETS, empty())).await?, &path).await?;
        let location = reply.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| refused(&path, &reply))?;
        // A registry may answer with its whole address.
        let from = location.find("/v2/").unwrap_or(0);
        Ok(location.get(from..).unwrap_or_default().to_owned())
    }

    /// Uploads a blob as docker does: one PATCH without a length, then an empty PUT.
    pub(super) async fn push_streamed(
        &mut self,
        repository: &str,
        (digest, bytes): (&str, &Bytes),
    ) -> Result<(), Failure> {
        let location = self.begin(repository).await?;
        let reply =
            self.send(Method::PATCH, &location, (OCTETS, streamed(bytes.clone(), (PIECE, None)))).await?;
        let reply = whole(reply, &location).await?;
        let next = reply.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = next.filter(|_| reply.status() == StatusCode::ACCEPTED);
        let next = next.ok_or_else(|| refused(&location, &reply))?;
        let next = next.get(next.find("/v2/").unwrap_or(0)..).unwrap_or_default().to_owned();
        self.finish(&next, digest, empty()).await
    }

    /// Uploads a blob in one PUT.
    pub(super) async fn push(
        &mut self,
        repository: &str,
        (digest, bytes): (&str, &Bytes),
    ) -> Result<(), Failure> {
        let location = self.begin(repository).await?;
        self.finish(&location, digest, full(bytes.clone())).await
    }

    /// Sends a body to an upload of its own, and gives the upload up.
    pub(super) async fn upload_slowly(&mut self, body: Body) -> Result<(), Failure> {
        let location = self.begin("slow").await?;
        let reply = whole(self.send(Method::PATCH, &location, (OCTETS, body)).await?, &location).await?;
        if reply.status() != StatusCode::ACCEPTED {
            return Err(refused(&location, &reply));
        }
        self.get(Method::DELETE, &location).await.map(drop)
    }

    async fn finish(&mut self, location: &str, digest: &str, body: Body) -> Result<(), Failure> {
        let mark = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{mark}digest={digest}");
        let reply = whole(self.send(Method::PUT, &path, (OCTETS, body)).await?, &path).await?;
        if reply.status() == StatusCode::CREATED { Ok(()) } else { Err(refused(&path, &reply)) }
    }

    pub(super) async fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        manifest: &Bytes,
    ) -> Result<(), Failure> {
        let path = self.peer.path(&format!("{repository}/manifests/{reference}"));
        let body = (seaworthy_oci::media::OCI_MANIFEST, full(manifest.clone()));
        let reply = whole(self.send(Method::PUT, &path, body).await?, &path).await?;
        if reply.status() == StatusCode::CREATED { Ok(()) } else { Err(refused(&path, &reply)) }
    }
}

/// Some registries give manifests only to who names their type.
const ACCEPT: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

pub(super) const OCTETS: &str = "application/octet-stream";

pub(super) fn empty() -> Body {
    full(Bytes::new())
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed()
}

/// A body without a length: pieces of some bytes, each after a pause where there is one.
pub(super) fn streamed(bytes: Bytes, (piece, pause): (usize, Option<Duration>)) -> Body {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let next = rest.split_to(piece.min(rest.len()));
            // Whoever reads no more has said why, or has gone.
            if sender.send_data(next).await.is_err() {
                return;
            }
        }
    });
    body.boxed()
}

pub(super) async fn whole(reply: Response<Incoming>, path: &str) -> Result<Response<Bytes>, Failure> {
    let (head, body) = reply.into_parts();
    let bytes = body.collect().await.map_err(|error| unable(format!("`{path}` broke off: {error}")))?;
    Ok(Response::from_parts(head, bytes.to_bytes()))
}

pub(super) fn refused(path: &str, reply: &Response<Bytes>) -> Failure {
    let said: String = String::from_utf8_lossy(reply.body()).chars().take(300).collect();
    unable(format!("`{path}` answered {}: {said}", reply.status()))
}
