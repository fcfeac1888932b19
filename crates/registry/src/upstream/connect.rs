//! Connections to upstreams, and one request over each.
//!
//! A name is resolved once, and what was looked at is what is connected to. Proxies of the environment are not
//! asked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
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

/// What we send behind a head.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// Sends one request to `origin`, if it is where `networks` or the internet are.
pub(super) async fn exchange(
    origin: &Origin,
    networks: &[Network],
    tls: &TlsConnector,
    request: Request<Outgoing>,
    patience: Duration,
) -> Result<Response<Flow>, UpstreamError> {
    let host = origin.host.clone();
    let stream = connect(origin, networks, patience).await?;
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
        .handshake::<_, Outgoing>(TokioIo::new(wire))
        .await
        .map_err(ended)?;
    // It ends with the answer's body, or when that is dropped.
    let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(ended)?;
    Ok(response.map(|body| Flow { host, body, patience, _connection: connection }))
}

async fn connect(
    origin: &Origin,
    networks: &[Network],
    patience: Duration,
) -> Result<TcpStream, UpstreamError> {
    let host = || origin.host.clone();
    let failed = |source| UpstreamError::Connect { host: host(), source };
    let found = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await.map_err(failed)?;
    let chosen = chosen(found, origin.is_plain, networks);
    let chosen = chosen.map_err(|address| UpstreamError::Forbidden { host: host(), address })?;
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    // One that does not answer leaves time for the next.
    let each = patience / 4;
    for address in chosen {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => failure = source,
            Err(_) => failure = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(failed(failure))
}

/// The addresses of a name that may be connected to: the first ones. When there are some, and none of them may
/// be, one of those.
fn chosen(
    found: impl Iterator<Item = SocketAddr>,
    is_plain: bool,
    networks: &[Network],
) -> Result<Vec<SocketAddr>, IpAddr> {
    let found: Vec<SocketAddr> = found.take(limit::UPSTREAM_ADDRESSES).collect();
    let is_allowed = |address: &&SocketAddr| {
        let ip = meant(address.ip());
        // Whoever listens on the way reads and changes plain HTTP: only in networks that were named.
        is_permitted(ip, networks) && (!is_plain || networks.iter().any(|network| network.contains(ip)))
    };
    let allowed: Vec<SocketAddr> = found.iter().filter(is_allowed).copied().collect();
    match found.first() {
        Some(first) if allowed.is_empty() => Err(meant(first.ip())),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_chosen_before_they_are_connected_to() {
        let inner: Vec<Network> = vec!["10.0.0.0/8".parse().expect("a network")];
        let of = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 443)).collect()
        };
        let choose = |texts: &[&str], is_plain: bool, networks: &[Network]| {
            chosen(of(texts).into_iter(), is_plain, networks).map(|chosen| chosen.len())
        };
        let refused = |text: &str| Err(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(choose(&["8.8.8.8", "127.0.0.1", "10.0.0.1"], false, &[]), Ok(1));
        assert_eq!(choose(&["8.8.8.8", "10.0.0.1"], false, &inner), Ok(2));
        assert_eq!(choose(&["8.8.8.8", "10.0.0.1"], true, &inner), Ok(1), "no plain HTTP to the internet");
        assert_eq!(choose(&["8.8.8.8"], true, &inner), refused("8.8.8.8"));
        assert_eq!(choose(&["::ffff:127.0.0.1"], false, &inner), refused("127.0.0.1"));
        assert_eq!(choose(&["169.254.169.254"], false, &[]), refused("169.254.169.254"));
        assert_eq!(choose(&[], false, &[]), Ok(0));
        let many = ["8.8.8.8"; limit::UPSTREAM_ADDRESSES + 1];
        assert_eq!(choose(&many[1..], false, &[]), Ok(limit::UPSTREAM_ADDRESSES));
        assert_eq!(choose(&many, false, &[]), Ok(limit::UPSTREAM_ADDRESSES));
    }
}
