use std::{collections::VecDeque, io::Write, path::PathBuf};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    answer::{ContainerAnswer, Event, ImageAnswer, ImageRow, Row, VersionAnswer},
    limit,
    pieces::Pieces,
    socket::{self, Broken, Unread},
};

/// The oldest Engine API this client speaks.
const OLDEST_API: (u32, u32) = (1, 40);
/// The newest it was tried with: an engine that speaks more is asked in this, as long as it may be.
const NEWEST_API: (u32, u32) = (1, 56);
/// Events that change what a container is.
const ACTIONS: [&str; 8] = ["create", "start", "die", "pause", "unpause", "rename", "update", "destroy"];

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address names something this client does not speak.
    #[error("engine address `{value}` is not a `unix://` socket")]
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
    /// The engine took too long.
    #[error("the engine did not answer `{request}` within {} s", limit::ANSWER.as_secs())]
    Silent {
        /// What was asked.
        request: String,
    },
    /// The answer is longer than a named limit.
    #[error("the engine's answer to `{request}` is longer than {limit}")]
    TooLarge {
        /// What was asked.
        request: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is not what the engine's API promises.
    #[error("the engine's answer to `{request}` is not readable: {reason}")]
    Answer {
        /// What was asked.
        request: String,
        /// What is wrong with it.
        reason: String,
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

/// An engine that has said which API it speaks.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    engine: Engine,
    version: String,
    name: String,
}

/// The engine's events of containers, as they happen.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    pieces: Pieces,
    ready: VecDeque<Result<Event, EngineError>>,
}

impl Engine {
    /// The engine behind a socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The engine at an address as `DOCKER_HOST` has it: `unix:///var/run/docker.sock`.
    pub fn named(address: &str) -> Result<Self, EngineError> {
        match address.strip_prefix("unix://") {
            Some(path) if !path.is_empty() => Ok(Self { socket: path.into() }),
            _ => Err(EngineError::Host { value: address.to_owned() }),
        }
    }

    /// Whose engine it is, told by its socket: podman's is `podman.sock`.
    pub fn runtime(&self) -> seaworthy_link::Runtime {
        match self.socket.file_name().and_then(|name| name.to_str()) {
            Some("podman.sock") => seaworthy_link::Runtime::Podman,
            _ => seaworthy_link::Runtime::Docker,
        }
    }

    /// The engine that `DOCKER_HOST` names, else the default socket.
    pub fn from_env() -> Result<Self, EngineError> {
        match std::env::var("DOCKER_HOST") {
            Ok(value) if !value.is_empty() => Self::named(&value),
            _ => Ok(Self { socket: "/var/run/docker.sock".into() }),
        }
    }

    /// About how many bytes the archive of an image will have, for a progress bar: the engine's
    /// own figure for its layers.
    pub async fn image_bytes(&self, image: &str) -> Result<Option<u64>, EngineError> {
        let version = self.open().await?.version;
        let answer: serde_json::Value =
            self.ask(&format!("/v{version}/images/{}/json", encode(image))).await?;
        Ok(answer.get("Size").and_then(serde_json::Value::as_u64))
    }

    /// Writes the archive of one image (`docker save`) to `out`; returns its bytes.
    pub async fn export(&self, image: &str, out: &mut impl Write) -> Result<u64, EngineError> {
        let version = self.open().await?.version;
        // The engine may prepare the archive for minutes before its first byte.
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

    /// Asks which API the engine speaks, and settles on one.
    pub(crate) async fn open(&self) -> Result<Session, EngineError> {
        let answer: VersionAnswer = self.ask("/version").await?;
        let Some((major, minor)) = settled(&answer) else {
            return Err(EngineError::TooOld { version: answer.api_version.chars().take(20).collect() });
        };
        let version = format!("{major}.{minor}");
        Ok(Session { engine: self.clone(), version, name: answer.engine_name() })
    }

    async fn ask<A: DeserializeOwned>(&self, path: &str) -> Result<A, EngineError> {
        let request = || format!("GET {path}");
        let whole = async {
            let body = self.get(path).await?;
            socket::read(body, limit::ANSWER_BYTES).await.map_err(|unread| unread_error(request(), unread))
        };
        let body =
            timeout(limit::ANSWER, whole).await.map_err(|_| EngineError::Silent { request: request() })??;
        serde_json::from_slice(&body)
            .map_err(|error| EngineError::Answer { request: request(), reason: error.to_string() })
    }

    async fn get(&self, path: &str) -> Result<Incoming, EngineError> {
        let request =
            Request::get(path).header(http::header::HOST, "docker").body(Full::<Bytes>::default()).map_err(
                |error| EngineError::Answer { request: format!("GET {path}"), reason: error.to_string() },
            )?;
        let response = socket::exchange(&self.socket, request).await.map_err(|broken| match broken {
            Broken::Connect(source) => EngineError::Connect { socket: self.socket.clone(), source },
            Broken::Http(source) => EngineError::Http { request: format!("GET {path}"), source },
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = socket::read(response.into_body(), limit::ANSWER_BYTES).await.unwrap_or_default();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = json.get("message").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
        Err(EngineError::Refused { status, message: message.chars().take(300).collect() })
    }
}

impl Session {
    /// The engine's name and version, `Docker Engine 20.10.24`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// All containers, stopped ones too: at most [`seaworthy_link::limit::CONTAINERS`].
    pub(crate) async fn containers(&self) -> Result<Vec<Row>, EngineError> {
        self.list("containers/json?all=1", seaworthy_link::limit::CONTAINERS).await
    }

    /// Names of all images: at most [`limit::IMAGES`].
    pub(crate) async fn images(&self) -> Result<Vec<ImageRow>, EngineError> {
        self.list("images/json", limit::IMAGES).await
    }

    /// One container; `None` when there is none of this id.
    pub(crate) async fn container(&self, id: &str) -> Result<Option<ContainerAnswer>, EngineError> {
        some(self.engine.ask(&format!("/v{}/containers/{}/json", self.version, encode(id))).await)
    }

    /// One image; `None` when there is none of this id.
    pub(crate) async fn image(&self, id: &str) -> Result<Option<ImageAnswer>, EngineError> {
        some(self.engine.ask(&format!("/v{}/images/{}/json", self.version, encode(id))).await)
    }

    /// Events of containers since a time in nanoseconds, inclusive, then as they happen. An engine
    /// keeps few (moby: 256), and none over a restart.
    pub(crate) async fn events(&self, since_nanos: i64) -> Result<Events, EngineError> {
        let filters = if self.name.starts_with("Podman") {
            // Podman refuses filters that name events it does not have.
            serde_json::json!({"type": ["container"]})
        } else {
            serde_json::json!({"type": ["container"], "event": ACTIONS})
        };
        let path = format!(
            "/v{}/events?since={}.{:09}&filters={}",
            self.version,
            since_nanos.div_euclid(1_000_000_000),
            since_nanos.rem_euclid(1_000_000_000),
            encode(&filters.to_string())
        );
        let opened = timeout(limit::ANSWER, self.engine.get(&path)).await;
        let body = opened.map_err(|_| EngineError::Silent { request: "GET events".into() })??;
        Ok(Events { body, pieces: Pieces::of_sequence(), ready: VecDeque::new() })
    }

    async fn list<R: DeserializeOwned>(&self, path: &str, most: usize) -> Result<Vec<R>, EngineError> {
        let request = || format!("GET /{path}");
        let whole = async {
            let mut body = self.engine.get(&format!("/v{}/{path}", self.version)).await?;
            let mut pieces = Pieces::of_list();
            let mut rows = Vec::new();
            let mut wrong = None;
            let answer = |reason: String| EngineError::Answer { request: request(), reason };
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|source| EngineError::Http { request: request(), source })?;
                let Some(data) = frame.data_ref() else { continue };
                let cut = pieces.push(data, |piece| match serde_json::from_slice(piece) {
                    Ok(_) if rows.len() == most => {
                        wrong = Some(EngineError::TooLarge { request: request(), limit: most });
                    }
                    Ok(row) => rows.push(row),
                    Err(error) => wrong = Some(answer(error.to_string())),
                });
                cut.map_err(|error| answer(error.to_string()))?;
                if let Some(wrong) = wrong.take() {
                    return Err(wrong);
                }
            }
            pieces.finish().map_err(|error| answer(error.to_string()))?;
            Ok(rows)
        };
        // Long lists take long; what counts is that they end.
        let limit = limit::ANSWER * 6;
        timeout(limit, whole).await.map_err(|_| EngineError::Silent { request: request() })?
    }
}

impl Events {
    /// The next event. An end of the stream is an error: an engine that lives never ends it.
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Event, EngineError> {
        let request = || "GET events".to_owned();
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            let reason = "the stream ended".to_owned();
            let Some(frame) = self.body.frame().await else {
                return Err(EngineError::Answer { request: request(), reason });
            };
            let frame = frame.map_err(|source| EngineError::Http { request: request(), source })?;
            let Some(data) = frame.data_ref() else { continue };
            let ready = &mut self.ready;
            let cut =
                self.pieces.push(data, |piece| {
                    let event = serde_json::from_slice(piece);
                    ready.push_back(event.map_err(|error| EngineError::Answer {
                        request: request(),
                        reason: error.to_string(),
                    }));
                });
            if let Err(error) = cut {
                self.ready
                    .push_back(Err(EngineError::Answer { request: request(), reason: error.to_string() }));
            }
        }
    }
}

impl Events {
    /// Gives an event back: it is the next one again.
    pub(crate) fn unread(&mut self, event: Event) {
        self.ready.push_front(Ok(event));
    }
}

/// The newest API that both speak. What an engine no longer speaks is not asked for: it is asked in
/// its oldest then, since what is read here was never taken away. `None` of an engine that is too old.
fn settled(answer: &VersionAnswer) -> Option<(u32, u32)> {
    let newest = number(&answer.api_version).filter(|newest| *newest >= OLDEST_API)?;
    let oldest = number(&answer.oldest_api).filter(|oldest| *oldest <= newest);
    Some(newest.min(NEWEST_API).max(oldest.unwrap_or(OLDEST_API)))
}

/// `1.41`.
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn unread_error(request: String, unread: Unread) -> EngineError {
    match unread {
        Unread::TooLong => EngineError::TooLarge { request, limit: limit::ANSWER_BYTES },
        Unread::Http(source) => EngineError::Http { request, source },
    }
}

fn some<A>(answer: Result<A, EngineError>) -> Result<Option<A>, EngineError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(EngineError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_api_that_both_speak_is_taken() {
        for (newest, oldest, taken) in [
            ("1.39", "1.12", None),
            ("1.40", "1.12", Some((1, 40))),
            ("1.41", "1.12", Some((1, 41))),
            ("1.41", "", Some((1, 41))),
            ("1.56", "1.44", Some((1, 56))),
            ("1.57", "1.44", Some((1, 56))),
            ("1.99", "1.60", Some((1, 60))),
            ("2.0", "1.44", Some((1, 56))),
            ("1.41", "1.99", Some((1, 41))),
            ("1.41", "lies", Some((1, 41))),
            ("", "", None),
            ("1.99999999999999999999", "1.40", None),
        ] {
            let answer = VersionAnswer {
                api_version: newest.into(),
                oldest_api: oldest.into(),
                ..VersionAnswer::default()
            };
            assert_eq!(settled(&answer), taken, "{newest} from {oldest}");
        }
    }
}
