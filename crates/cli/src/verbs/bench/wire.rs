//! One connection to a server's operator socket, kept open; bytes in and out.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::failure::{Failure, unable};

/// The connection.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
}

/// An answer, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

impl Wire {
    pub(super) async fn open(socket: &Path) -> Result<Self, Failure> {
        let broke = |error: &dyn std::fmt::Display| unable(format!("`{}`: {error}", socket.display()));
        let stream = UnixStream::connect(socket).await.map_err(|error| broke(&error))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broke(&error))?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Failure> {
        let broke = |error: &dyn std::fmt::Display| unable(format!("`{path}` broke off: {error}"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "*/*")
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body.into()))
            .map_err(|error| broke(&error))?;
        self.sender.ready().await.map_err(|error| broke(&error))?;
        let response = self.sender.send_request(request).await.map_err(|error| broke(&error))?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(str::to_owned);
        let body = response.into_body().collect().await.map_err(|error| broke(&error))?.to_bytes();
        Ok(Reply { status, location, body })
    }

    /// A GET that must succeed, as JSON.
    pub(super) async fn json(&mut self, path: &str) -> Result<Value, Failure> {
        let reply = self.send(Method::GET, path, "application/json", Bytes::new()).await?;
        if !reply.status.is_success() {
            let said = String::from_utf8_lossy(&reply.body).chars().take(300).collect::<String>();
            return Err(unable(format!("`{path}` answered {}: {said}", reply.status)));
        }
        serde_json::from_slice(&reply.body).map_err(|error| unable(format!("`{path}`: {error}")))
    }

    /// Uploads a blob in one piece.
    pub(super) async fn push_blob(
        &mut self,
        repository: &str,
        digest: &str,
        bytes: Bytes,
    ) -> Result<(), Failure> {
        let kind = "application/octet-stream";
        let path = format!("/v2/{repository}/blobs/uploads/");
        let started = self.send(Method::POST, &path, kind, Bytes::new()).await?;
        let Some(location) = started.location else {
            return Err(unable(format!("`{path}` answered {}", started.status)));
        };
        let mark = if location.contains('?') { '&' } else { '?' };
        let done = self.send(Method::PUT, &format!("{location}{mark}digest={digest}"), kind, bytes).await?;
        if done.status == StatusCode::CREATED {
            return Ok(());
        }
        Err(unable(format!("the upload of `{digest}` answered {}", done.status)))
    }

    /// Puts a manifest under a tag.
    pub(super) async fn push_manifest(
        &mut self,
        repository: &str,
        kind: &str,
        bytes: Bytes,
    ) -> Result<(), Failure> {
        let path = format!("/v2/{repository}/manifests/1");
        let reply = self.send(Method::PUT, &path, kind, bytes).await?;
        if reply.status == StatusCode::CREATED {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        Err(unable(format!("`{path}` answered {}: {said}", reply.status)))
    }
}
