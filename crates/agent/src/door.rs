use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use seaworthy_link::{Ack, Batch, UsageReport};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    limit,
    socket::{self, Broken, Unread},
};

const BATCHES: &str = "/api/v1/agent/batches";
const USAGE: &str = "/api/v1/agent/usage";

/// The way to the control plane.
#[derive(Clone, Debug)]
pub enum Door {
    /// Its operator socket, on the same machine: being allowed to open it is the credential.
    Socket(PathBuf),
}

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Nobody listens.
    #[error("failed to reach the control plane at `{socket}`")]
    Connect {
        /// The socket.
        socket: PathBuf,
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
    /// Delivers a batch and reads its acknowledgement.
    pub async fn deliver(&self, batch: &Batch) -> Result<Ack, DoorError> {
        let what = format!("batch {}", batch.number);
        let body = self.post(BATCHES, batch, &what).await?;
        serde_json::from_slice(&body).map_err(|error| refused(&what, StatusCode::OK, &error.to_string()))
    }

    /// Tells what containers use.
    pub(crate) async fn tell(&self, report: &UsageReport) -> Result<(), DoorError> {
        self.post(USAGE, report, "a report of usage").await.map(drop)
    }

    async fn post(&self, to: &str, it: &impl Serialize, what: &str) -> Result<Vec<u8>, DoorError> {
        let Self::Socket(path) = self;
        let bad = |error: &dyn std::fmt::Display| refused(what, StatusCode::BAD_REQUEST, &error.to_string());
        let json = serde_json::to_vec(it).map_err(|error| bad(&error))?;
        let request = Request::post(to)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| bad(&error))?;
        let whole = async {
            let broken = |source| DoorError::Http { what: what.to_owned(), source };
            let response = socket::exchange(path, request).await.map_err(|it| match it {
                Broken::Connect(source) => DoorError::Connect { socket: path.clone(), source },
                Broken::Http(source) => broken(source),
            })?;
            let status = response.status();
            let body = socket::read(response.into_body(), limit::ACK_BYTES).await;
            let body = body.map_err(|unread| match unread {
                Unread::TooLong => refused(what, status, "an answer that is too long"),
                Unread::Http(source) => broken(source),
            })?;
            if !status.is_success() {
                return Err(refused(what, status, &String::from_utf8_lossy(&body)));
            }
            Ok(body)
        };
        timeout(limit::DELIVERY, whole).await.map_err(|_| DoorError::Silent { what: what.to_owned() })?
    }
}

fn refused(what: &str, status: StatusCode, message: &str) -> DoorError {
    DoorError::Refused { what: what.to_owned(), status, message: message.chars().take(300).collect() }
}
