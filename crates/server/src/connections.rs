//! Connections at the network doors and the operator socket: how many there may be, and for how long one may say
//! nothing.
//!
//! A slot is taken before a connection is accepted, and kept until it ends: whoever has no slot waits in
//! the kernel's queue. One network address gets a share of the slots, so that it cannot have them all.
//! What holds a slot must go on: a connection without a request ends after a while, and so does one whose
//! request body or answer stands still. How long the server itself takes for an answer does not count.
//!
//! HTTP/1.1 alone: a connection is one request at a time, so a slot is so many files and no more, and what is not
//! read shows at the socket. With HTTP/2 pings look like life, and a window that never opens looks like patience.

mod pace;
mod parting;
mod unread;

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Debug,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::ConnectInfo,
};
use http::{HeaderValue, header};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
};
use hyper_util::rt::TokioIo;
use seaworthy_policy::Language;
use seaworthy_registry::ConnectionHold;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutBody;

use self::pace::{Pace, Running, Watched, answered};
use crate::{
    auth::Peer,
    limit,
    plain_door::PlainStream,
    tls::{self, Caller},
};

/// After what accepting is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What is behind a network listener.
#[derive(Clone)]
pub(crate) enum Door {
    /// Plain HTTP.
    Plain,
    /// HTTPS.
    Tls(TlsAcceptor),
}

/// What answers at a network listener.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) router: Router,
    /// Of what HTTP refuses before anybody has read which language is wanted.
    pub(crate) language: Language,
}

/// The slots for connections, of all doors together. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Slots {
    most: usize,
    free: Arc<Semaphore>,
    shares: Arc<Shares>,
}

struct Shares {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    /// Connections that were closed because their address had its share.
    closed: AtomicU64,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) open: usize,
    /// There may be.
    pub(crate) most: usize,
    /// Were closed because their address had its share.
    pub(crate) closed: u64,
}

/// A share of a network address that is used. It comes back when this is dropped.
struct Share {
    shares: Arc<Shares>,
    network: IpAddr,
}

/// Both that a connection needs, for as long as it lasts, and what it began.
struct Slot {
    _share: Share,
    _permit: OwnedSemaphorePermit,
}

/// What each request of a connection holds: its slot, and that the server does not end without it.
type Held = (Slot, TaskTrackerToken);

impl Slots {
    /// As many slots as a process has room for that may open `files` files.
    pub(crate) fn for_files(files: u64) -> Self {
        Self::new(limit::connections(files))
    }

    fn new(most: usize) -> Self {
        let share = (most / limit::CONNECTION_SHARES).max(1);
        let shares = Shares { most: share, taken: Mutex::default(), closed: AtomicU64::new(0) };
        Self { most, free: Arc::new(Semaphore::new(most)), shares: Arc::new(shares) }
    }

    /// How many there are now.
    pub(crate) fn count(&self) -> Connections {
        let taken = self.shares.taken();
        let closed = self.shares.closed.load(Ordering::Relaxed);
        Connections { open: taken.values().sum(), most: self.most, closed }
    }

    /// The next connection that gets a slot.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr, Slot)> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(share) = self.shares.take(address.ip()) {
                        return Some((stream, address, Slot { _share: share, _permit: permit }));
                    }
                    tracing::debug!(%address, "an address has too many connections");
                }
                Err(error) => {
                    // No file is left, or the other end was gone already.
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

impl Shares {
    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let network = network(address);
        let mut taken = self.taken();
        let count = taken.entry(network).or_default();
        if *count >= self.most {
            self.closed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        Some(Share { shares: self.clone(), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// Whom a share is for: an IPv4 address, or the 64 bits of an IPv6 network, where each machine has as many
/// addresses as it likes (RFC 4291 section 2.5.4).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Lets this process open as many files as it may, up to [`limit::FILES`], and says how many that is.
pub(crate) fn raise_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let had = getrlimit(Resource::Nofile);
    let current = had.current.unwrap_or(u64::MAX);
    let wanted = had.maximum.map_or(limit::FILES, |most| most.min(limit::FILES));
    if wanted <= current {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: had.maximum }) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, current, "the limit of open files was not raised");
            current
        }
    }
}

/// Serves `app` to whoever connects, until `stop`; then lets requests finish that have begun.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    app: App,
    slots: Slots,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = slots.accept(&listener) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, address, slot)) = accepted else { break };
        // A head that waits for its body would wait for the other end's acknowledgement.
        drop(stream.set_nodelay(true));
        let (door, app, stop) = (door.clone(), app.clone(), stop.clone());
        let held: Held = (slot, connections.token());
        let hold = ConnectionHold::new(held);
        connections.spawn(async move {
            match door {
                Door::Plain => {
                    let caller = Caller { address, is_secure: false, certificate: None };
                    converse(PlainStream::new(stream), (caller, hold), app, stop).await;
                }
                Door::Tls(acceptor) => match knocks(&stream, &stop).await {
                    Some(Knock::Plain) => unread::refuse_plain(stream, app.language, stop).await,
                    Some(Knock::Other) => shake_hands(stream, (address, hold), &acceptor, app, stop).await,
                    None => {}
                },
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves `app` to whoever connects at the operator socket, as [`serve`] does.
pub(crate) async fn serve_socket(listener: UnixListener, app: App, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let peer = Peer::of(&stream);
                let hold = ConnectionHold::new(connections.token());
                connections.spawn(converse(stream, (peer, hold), app.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What somebody begins with at the HTTPS door.
enum Knock {
    /// A method's first letter: plain HTTP, whose client could not read a refusal by TLS.
    Plain,
    /// A handshake, or what will fail to be one.
    Other,
}

/// `None` when nothing comes.
async fn knocks(stream: &TcpStream, stop: &CancellationToken) -> Option<Knock> {
    let deadline = Duration::from_secs(limit::HANDSHAKE_SECONDS);
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = tokio::time::timeout(deadline, stream.peek(&mut first)) => peeked,
        () = stop.cancelled() => return None,
    };
    match (peeked, first) {
        (Ok(Ok(1)), [b'A'..=b'Z']) => Some(Knock::Plain),
        (Ok(Ok(1)), _) => Some(Knock::Other),
        _ => None,
    }
}

/// The handshake, which has a deadline, and what is asked behind it.
async fn shake_hands<S>(
    stream: S,
    (address, hold): (SocketAddr, ConnectionHold),
    acceptor: &TlsAcceptor,
    app: App,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let deadline = Duration::from_secs(limit::HANDSHAKE_SECONDS);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(deadline, acceptor.accept(stream)) => shaken,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let caller = Caller { address, is_secure: true, certificate: tls::certificate(&stream) };
            converse(stream, (caller, hold), app, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
    }
}

/// Answers what is asked on one connection.
async fn converse<S, C>(stream: S, (caller, hold): (C, ConnectionHold), app: App, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: Copy + Debug + Send + Sync + 'static,
{
    let pace = Arc::new(Pace::new());
    let stream = Watched::new(stream, pace.clone(), app.language, stop.clone());
    let asked = pace.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let running = Running::begin(&asked);
        let refused = unread::refused(&request, app.language);
        let mut request = request.map(|body| steady(body, &asked));
        request.extensions_mut().insert(ConnectInfo(caller));
        request.extensions_mut().insert(hold.clone());
        let answer = app.router.clone().oneshot(request);
        async move {
            let mut answer = match refused {
                Some(refusal) => refusal,
                None => answer.await?,
            };
            // Who is refused and still sends need not: nothing of it is read any more (RFC 9112 section 9.6).
            let is_refused = answer.status().is_client_error() || answer.status().is_server_error();
            if is_refused && running.is_left_unread() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answered(answer, running))
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = pace.stands_still() => {
            tracing::debug!(?caller, "a connection stands still");
            connection.as_mut().graceful_shutdown();
            let parting = Duration::from_secs(limit::PARTING_SECONDS);
            tokio::time::timeout(parting, connection).await.unwrap_or(Ok(()))
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?caller, %error, "a connection broke");
    }
}

/// A request's body, which must go on while it is read.
fn steady(body: Incoming, pace: &Arc<Pace>) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    let left = body.size_hint().exact();
    let body = Box::pin(TimeoutBody::new(Duration::from_secs(limit::READ_STALL_SECONDS), body));
    Body::new(Steady { body, left, pace: pace.clone() })
}

/// A body that says how much of it is left, where its head does.
struct Steady {
    body: Pin<Box<TimeoutBody<Incoming>>>,
    left: Option<u64>,
    pace: Arc<Pace>,
}

impl HttpBody for Steady {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = self.body.as_mut().poll_frame(context);
        match (&polled, &mut self.left) {
            (Poll::Ready(Some(Ok(frame))), Some(left)) => {
                *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            }
            (Poll::Ready(None), left) => *left = Some(0),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        if self.left != Some(0) {
            self.pace.leave_unread();
        }
    }
}

#[cfg(test)]
mod tests;
