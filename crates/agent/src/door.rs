use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use seaworthy_link::{Ack, Batch, Unread as UnreadImages, UsageReport};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    limit,
    membership::Membership,
    remote::Remote,
    socket::{self, Broken, Unread},
};

const BATCHES: &str = "/api/v1/agent/batches";
const UNREAD: &str = "/api/v1/agent/unread";
const USAGE: &str = "/api/v1/agent/usage";

/// The way to the control plane.
#[derive(Clone, Debug)]
pub enum Door {
    /// Its operator socket, on the same machine: being allowed to open it is the credential.
    Socket(PathBuf),
    /// Its HTTPS door on another machine, as a member of its fleet.
    Remote(Arc<Remote>),
}

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Nobody listens.
    #[error("failed to reach the control plane at `{place}`")]
    Connect {
        /// The socket, or host and port.
        place: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the control plane's answer to {what} broke off")]
    Http {
        /// `batch 3`.
        what: String,
        /// Where it broke.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("the control plane did not answer {what} within {} s", limit::DELIVERY.as_secs())]
    Silent {
        /// `batch 3`.
        what: String,
    },
    /// It answered something else than an acknowledgement.
    #[error("the control plane answered {what} with {status}: {message}")]
    Refused {
        /// `batch 3`.
        what: String,
        /// HTTP status.
        status: StatusCode,
        /// Its words, shortened.
        message: String,
    },
}

impl DoorError {
    /// True when the same bytes will be refused again.
    pub(crate) fn is_final(&self) -> bool {
        let finals =
            [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
        matches!(self, Self::Refused { status, .. } if finals.contains(status))
    }

    /// True when the control plane expects another number, or has seen a newer spool: its rows were
    /// lost, or are older than this agent's.
    pub(crate) fn is_about_numbers(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::CONFLICT, .. })
    }
}

impl Door {
    /// The door of the fleet that this host is a member of.
    pub fn of(member: &Membership) -> Result<Self, rustls::Error> {
        Ok(Self::Remote(Arc::new(Remote::new(&member.server, member.port, member.config()?))))
    }

    /// Delivers a batch and reads its acknowledgement.
    pub async fn deliver(&self, batch: &Batch) -> Result<Ack, DoorError> {
        let what = format!("batch {}", batch.number);
        let body = self.post(BATCHES, batch, &what).await?;
        serde_json::from_slice(&body).map_err(|error| refused(&what, StatusCode::OK, &error.to_string()))
    }

    /// Tells what containers use.
    pub async fn tell(&self, report: &UsageReport) -> Result<(), DoorError> {
        self.post(USAGE, report, "a report of usage").await.map(drop)
    }

    /// Images of this host that nobody knows, as its engine calls them.
    pub async fn unread(&self) -> Result<Vec<String>, DoorError> {
        let what = "the question for unknown images";
        let body = self.send(what, Request::get(UNREAD), Bytes::new()).await?;
        let unread: UnreadImages = serde_json::from_slice(&body)
            .map_err(|error| refused(what, StatusCode::OK, &error.to_string()))?;
        Ok(unread.images)
    }

    async fn post(&self, to: &str, it: &impl Serialize, what: &str) -> Result<Vec<u8>, DoorError> {
        let json = serde_json::to_vec(it)
            .map_err(|error| refused(what, StatusCode::BAD_REQUEST, &error.to_string()))?;
        self.send(what, Request::post(to), Bytes::from(json)).await
    }

    async fn send(
        &self,
        what: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Vec<u8>, DoorError> {
        let request = request
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| refused(what, StatusCode::BAD_REQUEST, &error.to_string()))?;
        match self {
            Self::Socket(path) => {
                let place = path.display().to_string();
                exchange(what, socket::exchange(path, request), &place).await
            }
            Self::Remote(remote) => exchange(what, remote.send(request), &remote.place()).await,
        }
    }
}

/// Waits for an answer, and reads it when it is one of success.
pub(crate) async fn exchange(
    what: &str,
    answer: impl Future<Output = Result<Response<Incoming>, Broken>>,
    place: &str,
) -> Result<Vec<u8>, DoorError> {
    let whole = async {
        let broken = |source| DoorError::Http { what: what.to_owned(), source };
        let response = answer.await.map_err(|it| match it {
            Broken::Connect(source) => DoorError::Connect { place: place.to_owned(), source },
            Broken::Http(source) => broken(source),
        })?;
        let status = response.status();
        let body = socket::read(response.into_body(), limit::ACK_BYTES).await;
        let body = body.map_err(|unread| match unread {
            Unread::TooLong => refused(what, status, "an answer that is too long"),
            Unread::Http(source) => broken(source),
        })?;
        if !status.is_success() {
            return Err(refused(what, status, &said(&body)));
        }
        Ok(body)
    };
    timeout(limit::DELIVERY, whole).await.map_err(|_| DoorError::Silent { what: what.to_owned() })?
}

/// The message of a problem, or the text as it is.
fn said(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<serde_json::Value>(body).ok();
    let message = problem.as_ref().and_then(|it| it.pointer("/error/message")?.as_str().map(str::to_owned));
    message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

pub(crate) fn refused(what: &str, status: StatusCode, message: &str) -> DoorError {
    DoorError::Refused { what: what.to_owned(), status, message: message.chars().take(300).collect() }
}
