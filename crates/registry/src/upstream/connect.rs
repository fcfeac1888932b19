//! Connections to upstreams, and one request over each.
//!
//! A name is resolved once, and what was looked at is what is connected to. Proxies of the environment are not
//! asked.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use seaworthy_model::{Network, is_permitted, meant};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{UpstreamError, address::Origin};
use crate::limit;

/// What an upstream sends after its head. The connection goes with it.
pub(crate) struct Flow {
    host: String,
    body: Incoming,
    /// How long it may stand still.
    patience: Duration,
    _connection: AbortOnDropHandle<()>,
}

impl Flow {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let frame = timeout(self.patience, self.body.frame()).await;
            let late = |_| UpstreamError::Late { host: self.host.clone() };
            match frame.map_err(late)? {
                None => return Ok(None),
                Some(Err(source)) => return Err(UpstreamError::Ended { host: self.host.clone(), source }),
                // Trailers are nothing to us.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                    _ => {}
                },
            }
        }
    }

    /// All of it, at most `most` bytes.
    pub(crate) async fn all(mut self, most: usize) -> Result<Bytes, UpstreamError> {
        let mut bytes = bytes::BytesMut::new();
        while let Some(more) = self.next().await? {
            if bytes.len() + more.len() > most {
                let why = format!("an answer that is longer than {most} bytes");
                return Err(UpstreamError::Wrong { host: self.host, why });
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes.freeze())
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Sends one request to `origin`, if it is where `networks` or the internet are.
pub(super) async fn exchange(
    origin: &Origin,
    networks: &[Network],
    tls: &TlsConnector,
    request: Request<Empty<Bytes>>,
    patience: Duration,
) -> Result<Response<Flow>, UpstreamError> {
    let host = origin.host.clone();
    let stream = connect(origin, networks).await?;
    let wire: Box<dyn Wire> = if origin.is_plain {
        Box::new(stream)
    } else {
        let failed = |source| UpstreamError::Connect { host: host.clone(), source };
        let name = ServerName::try_from(host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        Box::new(tls.connect(name, stream).await.map_err(failed)?)
    };
    let ended = |source| UpstreamError::Ended { host: host.clone(), source };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(limit::UPSTREAM_HEADERS)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(wire))
        .await
        .map_err(ended)?;
    // It ends with the answer's body, or when that is dropped.
    let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(ended)?;
    Ok(response.map(|body| Flow { host, body, patience, _connection: connection }))
}

async fn connect(origin: &Origin, networks: &[Network]) -> Result<TcpStream, UpstreamError> {
    let host = origin.host.clone();
    let found: Vec<SocketAddr> = match tokio::net::lookup_host((origin.host.as_str(), origin.port)).await {
        Ok(found) => found.take(limit::UPSTREAM_ADDRESSES).collect(),
        Err(source) => return Err(UpstreamError::Connect { host, source }),
    };
    let source = io::Error::from(io::ErrorKind::NotFound);
    let mut failure = UpstreamError::Connect { host: host.clone(), source };
    for address in found {
        let ip = meant(address.ip());
        // Whoever listens on the way reads and changes plain HTTP: only networks that were named.
        let is_allowed = is_permitted(ip, networks)
            && (!origin.is_plain || networks.iter().any(|network| network.contains(ip)));
        if !is_allowed {
            if !matches!(failure, UpstreamError::Connect { ref source, .. } if source.kind() != io::ErrorKind::NotFound)
            {
                failure = UpstreamError::Forbidden { host: host.clone(), address: ip };
            }
            continue;
        }
        let connecting = TcpStream::connect(address);
        let source = match timeout(Duration::from_secs(limit::UPSTREAM_CONNECT_SECONDS), connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => source,
            Err(_) => io::Error::from(io::ErrorKind::TimedOut),
        };
        failure = UpstreamError::Connect { host: host.clone(), source };
    }
    Err(failure)
}
