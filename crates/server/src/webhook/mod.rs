//! The one sender of webhooks for the whole product.
//!
//! A request is signed by the Standard Webhooks specification 1.0.0, goes to an address that was
//! looked at after its name was resolved ([`is_permitted`]), and is over within
//! [`limit::WEBHOOK_SECONDS`]. Redirects are not followed, proxies of the environment not asked, and
//! of the answer nothing is read but its head. Who sends keeps the messages and tries again.

mod endpoint;
mod signature;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use seaworthy_model::{Network, Timestamp, is_permitted, meant};
use seaworthy_store::chain;
use seaworthy_telemetry::{Failure, Retry};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

pub use endpoint::{Address, AddressError, Endpoint, Key};

use crate::limit;
use endpoint::Scheme;

const AGENT: &str = concat!("seaworthy/", env!("CARGO_PKG_VERSION"));

/// One message, as every attempt sends it.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its id, the same through every attempt: no full stop in it.
    pub id: String,
    /// Type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// Why an attempt failed. No variant has the path of the address, or a word of the answer's body.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The name.
    #[error("failed to resolve `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// The system's word.
        source: io::Error,
    },
    /// Where the name leads.
    #[error("`{host}` is {address}, which is not of the internet and not in an allowed network")]
    Forbidden {
        /// The name.
        host: String,
        /// The first of its addresses.
        address: SocketAddr,
    },
    /// Plain HTTP to another machine.
    #[error("plain HTTP is for this machine itself, and `{host}` is {address}")]
    Plain {
        /// The name.
        host: String,
        /// Its address.
        address: SocketAddr,
    },
    /// No connection.
    #[error("failed to connect to `{host}`")]
    Connect {
        /// The name.
        host: String,
        /// The system's word.
        source: io::Error,
    },
    /// No TLS.
    #[error("`{host}` is not believed")]
    Tls {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No answer.
    #[error("`{host}` gave no answer")]
    Exchange {
        /// The name.
        host: String,
        /// Why.
        source: hyper::Error,
    },
    /// Too late.
    #[error("`{host}` gave no answer within {} seconds", patience.as_secs())]
    Late {
        /// The name.
        host: String,
        /// How long was waited.
        patience: Duration,
    },
    /// Another answer than yes.
    #[error("`{host}` answered {status}")]
    Answered {
        /// The name.
        host: String,
        /// The status.
        status: StatusCode,
        /// What the receiver asks for.
        retry: Retry,
    },
    /// An answer from elsewhere is wanted.
    #[error("`{host}` answered {status}: redirects are not followed")]
    Redirected {
        /// The name.
        host: String,
        /// The status.
        status: StatusCode,
    },
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let retry = if let SendError::Answered { retry, .. } = &error { *retry } else { Retry::Later };
        Self { reason: chain(&error), retry }
    }
}

/// The sender. Cheap to clone.
#[derive(Clone)]
pub struct Webhook {
    tls: TlsConnector,
    allowed: Arc<[Network]>,
    patience: Duration,
}

impl Webhook {
    /// A sender that believes `roots`, and may send into `allowed` networks besides the internet.
    pub fn new(roots: RootCertStore, allowed: &[Network]) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let patience = Duration::from_secs(limit::WEBHOOK_SECONDS);
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), allowed: allowed.into(), patience })
    }

    /// The same sender with another limit than [`limit::WEBHOOK_SECONDS`].
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends one parcel, once. `networks` are those that this target may lie in besides.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        networks: &[Network],
        parcel: &Parcel,
        now: Timestamp,
    ) -> Result<(), SendError> {
        let host = &endpoint.address.host;
        let attempt = async {
            let stream = self.connect(&endpoint.address, networks).await?;
            let request = request(endpoint, parcel, now);
            match endpoint.address.scheme {
                Scheme::Http => exchange(stream, host, request).await,
                Scheme::Https => exchange(self.shake_hands(stream, host).await?, host, request).await,
            }
        };
        match timeout(self.patience, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::Late { host: host.clone(), patience: self.patience }),
        }
    }

    /// Resolves once, and connects to one of those very addresses: what was looked at is what is
    /// connected to, whatever the name leads to a moment later.
    async fn connect(&self, address: &Address, networks: &[Network]) -> Result<TcpStream, SendError> {
        let host = address.host.clone();
        let found: Vec<SocketAddr> =
            match tokio::net::lookup_host((address.host.as_str(), address.port)).await {
                Ok(found) => found.take(limit::ADDRESSES).collect(),
                Err(source) => return Err(SendError::Resolve { host, source }),
            };
        let permitted =
            |it: &&SocketAddr| is_permitted(it.ip(), &self.allowed) || is_permitted(it.ip(), networks);
        let Some(first) = found.first().copied() else {
            return Err(SendError::Resolve { host, source: io::Error::from(io::ErrorKind::NotFound) });
        };
        let mut failure = SendError::Forbidden { host: host.clone(), address: first };
        for address_of in found.iter().filter(permitted) {
            if address.scheme == Scheme::Http && !meant(address_of.ip()).is_loopback() {
                failure = SendError::Plain { host: host.clone(), address: *address_of };
                continue;
            }
            let connecting = TcpStream::connect(address_of);
            match timeout(Duration::from_secs(limit::CONNECT_SECONDS), connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => failure = SendError::Connect { host: host.clone(), source },
                Err(_) => {
                    let source = io::Error::from(io::ErrorKind::TimedOut);
                    failure = SendError::Connect { host: host.clone(), source };
                }
            }
        }
        Err(failure)
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, SendError> {
        let failed = |source| SendError::Tls { host: host.to_owned(), source };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        self.tls.connect(name, stream).await.map_err(failed)
    }
}

fn request(endpoint: &Endpoint, parcel: &Parcel, now: Timestamp) -> Request<Full<Bytes>> {
    let at = now.as_seconds();
    let signature = signature::sign(endpoint.key.bytes(), &parcel.id, at, &parcel.body);
    let mut request = Request::new(Full::new(parcel.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.address.path().parse().unwrap_or_default();
    for (name, value) in [
        (header::HOST.as_str(), endpoint.address.authority()),
        (header::USER_AGENT.as_str(), AGENT),
        (header::CONTENT_TYPE.as_str(), parcel.content_type),
        (header::CONNECTION.as_str(), "close"),
        ("webhook-id", &parcel.id),
        ("webhook-timestamp", &at.to_string()),
        ("webhook-signature", &signature),
    ] {
        // All are visible ASCII: an address is checked when it is parsed, the rest is ours.
        if let (Ok(name), Ok(value)) = (header::HeaderName::from_bytes(name.as_bytes()), value.parse()) {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// Sends the request and reads the head of the answer; the connection ends with it.
async fn exchange<S>(stream: S, host: &str, request: Request<Full<Bytes>>) -> Result<(), SendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |source| SendError::Exchange { host: host.to_owned(), source };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limit::ANSWER_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::pin!(connection);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let response = tokio::select! {
        response = &mut answer => response,
        ended = &mut connection => match ended {
            Err(source) => Err(source),
            // It ended after the answer had come.
            Ok(()) => answer.await,
        },
    };
    let response = response.map_err(failed)?;
    judge(host, response.status(), response.headers())
}

/// What a status means (Standard Webhooks 1.0.0, "Delivery success and failure").
fn judge(host: &str, status: StatusCode, headers: &HeaderMap) -> Result<(), SendError> {
    let host = host.to_owned();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(SendError::Redirected { host, status });
    }
    let asked = headers.get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
    let retry = match asked.and_then(|it| it.trim().parse::<u32>().ok()) {
        _ if status == StatusCode::GONE => Retry::Never,
        Some(seconds) => Retry::After(i64::from(seconds)),
        None => Retry::Later,
    };
    Err(SendError::Answered { host, status, retry })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a value"));
            headers
        };
        let none = HeaderMap::new();
        for (status, headers, expected) in [
            (200, &none, None),
            (204, &none, None),
            (299, &none, None),
            (301, &none, Some(Retry::Later)),
            (404, &none, Some(Retry::Later)),
            (410, &none, Some(Retry::Never)),
            (410, &asked("9"), Some(Retry::Never)),
            (429, &asked("120"), Some(Retry::After(120))),
            (503, &asked("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Retry::Later)),
            (503, &asked("-5"), Some(Retry::Later)),
            (500, &none, Some(Retry::Later)),
        ] {
            let outcome = judge("h", StatusCode::from_u16(status).expect("a status"), headers);
            let retry = outcome.err().map(|error| Failure::from(error).retry);
            assert_eq!(retry, expected, "{status} {headers:?}");
        }
    }
}
