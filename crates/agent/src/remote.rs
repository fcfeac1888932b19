//! The control plane on another machine: one connection, kept while it lasts.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use seaworthy_link::{CONTROL_PLANE, Join, Joined};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::TlsConnector;

use crate::{
    door::{DoorError, exchange, refused},
    socket::Broken,
};

type Sender = SendRequest<Full<Bytes>>;

/// The way to it.
#[derive(Debug)]
pub struct Remote {
    host: String,
    port: u16,
    config: Arc<ClientConfig>,
    /// The connection that the last exchange left.
    idle: Mutex<Option<Sender>>,
}

impl Remote {
    pub(crate) fn new(host: &str, port: u16, config: ClientConfig) -> Self {
        Self { host: host.to_owned(), port, config: Arc::new(config), idle: Mutex::default() }
    }

    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Asks to be let in.
    pub(crate) async fn join(&self, join: &Join) -> Result<Joined, DoorError> {
        let what = "the request to join";
        let json = serde_json::to_vec(join).map_err(|error| bad(what, &error))?;
        let request = Request::post("/api/v1/agent/join")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| bad(what, &error))?;
        let body = exchange(what, self.send(request), &self.place()).await?;
        serde_json::from_slice(&body).map_err(|error| bad(what, &error))
    }

    /// Sends a request, on the connection that is there or on a new one. A connection that was closed
    /// meanwhile is no failure: what agents send may be sent twice.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Broken> {
        let mut request = request;
        request
            .headers_mut()
            .insert(header::HOST, header::HeaderValue::try_from(self.place()).map_err(|_| no_host())?);
        let mut idle = self.idle.lock().await;
        if let Some(mut sender) = idle.take()
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(request.clone()).await
        {
            *idle = Some(sender);
            return Ok(response);
        }
        let mut sender = self.connect().await.map_err(Broken::Connect)?;
        let response = sender.send_request(request).await.map_err(Broken::Http)?;
        *idle = Some(sender);
        Ok(response)
    }

    async fn connect(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        drop(stream.set_nodelay(true));
        let name = ServerName::try_from(CONTROL_PLANE).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Ends by itself when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn no_host() -> Broken {
    Broken::Connect(io::Error::from(io::ErrorKind::InvalidInput))
}

fn bad(what: &str, error: &dyn std::fmt::Display) -> DoorError {
    refused(what, StatusCode::BAD_REQUEST, &error.to_string())
}
