use std::{io, net::IpAddr};

use http::StatusCode;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_store::chain;

use crate::limit;

/// Why an upstream did not give what was asked for. Nothing in it was written by the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// It has no such thing; said by a registry, or by what may stand in front of one.
    #[error("upstream `{host}` does not have it")]
    NotFound { host: String, is_told: bool },
    /// It wants other credentials, or none of ours.
    #[error("upstream `{host}` refuses: it answered {status}")]
    Refused { host: String, status: StatusCode },
    /// Too many requests, an error of its own, or an answer that is none.
    #[error("upstream `{host}` answered {status}")]
    Answered { host: String, status: StatusCode, retry_after: Option<u32> },
    /// Its name leads where we do not go.
    #[error("`{host}` is {address}, which is not of the internet and not in a network that the cache allows")]
    Forbidden { host: String, address: IpAddr },
    /// No connection, or one that is not believed.
    #[error("failed to connect to `{host}`")]
    Connect { host: String, source: io::Error },
    /// The connection ended.
    #[error("the connection to `{host}` ended early")]
    Ended { host: String, source: hyper::Error },
    /// Too slow.
    #[error("upstream `{host}` gave no answer in time")]
    Late { host: String },
    /// It leads elsewhere, in a way that is not followed.
    #[error("upstream `{host}` leads astray: {why}")]
    Astray { host: String, why: &'static str },
    /// What it sent is not what it should be.
    #[error("upstream `{host}` sent something wrong: {why}")]
    Wrong { host: String, why: String },
    /// It is left alone for a while.
    #[error("upstream `{host}` failed lately and is not asked for {seconds} s")]
    Resting { host: String, seconds: u32 },
}

impl UpstreamError {
    /// Whether it says that the upstream is in trouble.
    pub(crate) const fn is_trouble(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Ended { .. } | Self::Late { .. } => true,
            Self::Answered { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS) || status.as_u16() >= 500
            }
            _ => false,
        }
    }

    /// When it asks to be asked again.
    pub(crate) const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What a client is told who asked for something that is not here.
    pub(crate) fn problem(&self) -> Problem {
        let message = chain(self);
        match self {
            Self::Answered { status, retry_after, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                Problem::new(ErrorCode::TooManyRequests, message)
                    .retry_after(bounded(retry_after.unwrap_or(limit::UPSTREAM_RETRY_SECONDS)))
                    .hint("give the cache a user name and password of the upstream, or wait")
            }
            // No outage: public registries refuse what they do not have, too.
            Self::Refused { .. } => Problem::new(ErrorCode::Denied, message).hint(
                "see whether it exists there, and whether the cache has the user name and password that the upstream wants",
            ),
            Self::Resting { seconds, .. } | Self::Answered { retry_after: Some(seconds), .. } => {
                Problem::new(ErrorCode::Unavailable, message).retry_after(bounded(*seconds))
            }
            Self::Forbidden { .. } => Problem::new(ErrorCode::Unavailable, message)
                .retry_after(limit::UPSTREAM_RETRY_SECONDS)
                .hint("allow its network with `--allow-network`, if it is meant"),
            _ if message.contains("UnknownIssuer") => Problem::new(ErrorCode::Unavailable, message)
                .retry_after(limit::UPSTREAM_RETRY_SECONDS)
                .hint("name its authority with `trusted_ca` in `seaworthy.toml`"),
            _ => Problem::new(ErrorCode::Unavailable, message).retry_after(limit::UPSTREAM_RETRY_SECONDS),
        }
    }
}

fn bounded(seconds: u32) -> u32 {
    seconds.clamp(1, limit::RETRY_AFTER_SECONDS_MAX)
}
