use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use seaworthy_link::{Ack, Batch};
use tokio::time::timeout;

use crate::{
    limit,
    socket::{self, Broken, Unread},
};

const PATH: &str = "/api/v1/agent/batches";

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
    #[error("the control plane's answer to batch {number} broke off")]
    Http {
        /// The batch.
        number: u64,
        /// Where it broke.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("the control plane did not answer batch {number} within {} s", limit::DELIVERY.as_secs())]
    Silent {
        /// The batch.
        number: u64,
    },
    /// It answered something else than an acknowledgement.
    #[error("the control plane answered batch {number} with {status}: {message}")]
    Refused {
        /// The batch.
        number: u64,
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
        let number = batch.number;
        let Self::Socket(path) = self;
        let refused = |status: StatusCode, message: &str| DoorError::Refused {
            number,
            status,
            message: message.chars().take(300).collect(),
        };
        let json = serde_json::to_vec(batch)
            .map_err(|error| refused(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let request = Request::post(PATH)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| refused(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let whole = async {
            let response = socket::exchange(path, request).await.map_err(|broken| match broken {
                Broken::Connect(source) => DoorError::Connect { socket: path.clone(), source },
                Broken::Http(source) => DoorError::Http { number, source },
            })?;
            let status = response.status();
            let body = socket::read(response.into_body(), limit::ACK_BYTES).await;
            let body = body.map_err(|unread| match unread {
                Unread::TooLong => refused(status, "an answer that is too long"),
                Unread::Http(source) => DoorError::Http { number, source },
            })?;
            if !status.is_success() {
                return Err(refused(status, &String::from_utf8_lossy(&body)));
            }
            serde_json::from_slice(&body).map_err(|error| refused(status, &error.to_string()))
        };
        timeout(limit::DELIVERY, whole).await.map_err(|_| DoorError::Silent { number })?
    }
}
