use std::{io::Write, path::PathBuf};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Versions of the Engine API this client speaks; the engine's own is taken within them.
const OLDEST_API: (u32, u32) = (1, 40);
/// Longest answer that is not a stream, in bytes.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST` names something this client does not speak.
    #[error("`DOCKER_HOST={value}` is not a `unix://` socket")]
    Host {
        /// Its value.
        value: String,
    },
    /// No engine listens.
    #[error("failed to reach the engine at `{socket}`")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("the engine's answer to `{request}` broke off")]
    Http {
        /// What was asked.
        request: String,
        /// Where it broke.
        source: hyper::Error,
    },
    /// The request could not be made.
    #[error("`{request}` is not a valid request")]
    Request {
        /// What was asked.
        request: String,
    },
    /// The engine refused.
    #[error("the engine answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The engine's words, shortened.
        message: String,
    },
    /// The engine's API is older than this client speaks.
    #[error("the engine speaks API {version}, older than 1.40")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// What was received could not be stored.
    #[error("failed to store what the engine sent")]
    Store(#[source] std::io::Error),
}

/// A connection to one engine, each request on a connection of its own.
#[derive(Clone, Debug)]
pub struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, else the default socket.
    pub fn from_env() -> Result<Self, EngineError> {
        match std::env::var("DOCKER_HOST") {
            Ok(value) if !value.is_empty() => match value.strip_prefix("unix://") {
                Some(path) => Ok(Self { socket: path.into() }),
                None => Err(EngineError::Host { value }),
            },
            _ => Ok(Self { socket: "/var/run/docker.sock".into() }),
        }
    }

    /// Writes the archive of one image (`docker save`) to `out`; returns its bytes.
    pub async fn export(&self, image: &str, out: &mut impl Write) -> Result<u64, EngineError> {
        let version = self.version().await?;
        let mut response = self.get(&format!("/v{version}/images/{}/get", encode(image))).await?;
        let mut written = 0;
        while let Some(frame) = response.frame().await {
            let request = || "GET image".to_owned();
            let frame = frame.map_err(|source| EngineError::Http { request: request(), source })?;
            if let Some(data) = frame.data_ref() {
                out.write_all(data).map_err(EngineError::Store)?;
                written += data.len() as u64;
            }
        }
        Ok(written)
    }

    /// The API version to speak: the engine's newest, which is at least 1.40.
    async fn version(&self) -> Result<String, EngineError> {
        let response = self.get("/version").await?;
        let body = collect("GET /version", response).await?;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let version = json.get("ApiVersion").and_then(serde_json::Value::as_str).unwrap_or_default();
        let number = version
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match number {
            Some(number) if number >= OLDEST_API => Ok(version.to_owned()),
            _ => Err(EngineError::TooOld { version: version.chars().take(20).collect() }),
        }
    }

    async fn get(&self, path: &str) -> Result<Incoming, EngineError> {
        let request_text = format!("GET {path}");
        let failed = |source| EngineError::Http { request: request_text.clone(), source };
        let connect = |source| EngineError::Connect { socket: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends by itself when the response body is read or dropped.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(http::header::HOST, "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|_| EngineError::Request { request: request_text.clone() })?;
        let response: Response<Incoming> = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = collect(&request_text, response.into_body()).await?;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = json.get("message").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
        Err(EngineError::Refused { status, message: message.chars().take(300).collect() })
    }
}

async fn collect(request: &str, body: Incoming) -> Result<Bytes, EngineError> {
    let mut limited = http_body_util::Limited::new(body, ANSWER_BYTES);
    let mut out = Vec::new();
    while let Some(frame) = limited.frame().await {
        match frame {
            Ok(frame) => out.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref())),
            Err(_) => return Err(EngineError::Request { request: request.to_owned() }),
        }
    }
    Ok(out.into())
}

/// An image name as one or more path segments of the Engine API.
fn encode(image: &str) -> String {
    image
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b':' | b'@' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
