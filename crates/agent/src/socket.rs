//! One HTTP exchange over a unix socket, each on a connection of its own.

use std::{io, path::Path};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Where an exchange broke.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Nobody listens.
    Connect(io::Error),
    /// The connection broke, or the answer is not HTTP.
    Http(hyper::Error),
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is longer than allowed.
    TooLong,
    /// The connection broke.
    Http(hyper::Error),
}

/// Sends a request; the answer's body is still to be read.
pub(crate) async fn exchange(
    socket: &Path,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Broken> {
    let stream = UnixStream::connect(socket).await.map_err(Broken::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Broken::Http)?;
    // Ends by itself when the response body is read or dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(Broken::Http)
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> Result<Vec<u8>, Unread> {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Unread::Http)?;
        let data = frame.data_ref().map_or(&[][..], |data| data.as_ref());
        if out.len() + data.len() > limit {
            return Err(Unread::TooLong);
        }
        out.extend_from_slice(data);
    }
    Ok(out)
}
