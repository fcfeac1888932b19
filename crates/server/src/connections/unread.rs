//! Requests that HTTP refuses before anybody has read them: a line, a path or a head that is none, or too long. Its
//! answer to them has no body; clients of a registry look for one (distribution spec, "Error Codes").

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Request, StatusCode, Version, header, uri::Authority};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::parting::Parting;
use crate::japanese;

/// Gives refusals by HTTP itself a body, in the server's language: nobody has read which one is wanted.
pub(super) struct Refusals {
    language: Language,
    /// What is left of a refusal that is sent in the place of another.
    left: Bytes,
}

/// The same answer with a body, if this is one of HTTP itself, with a head of these three fields and no more.
fn worded(bytes: &[u8], language: Language) -> Option<Bytes> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let is_own = lines.next()? == "connection: close" && lines.next()? == "content-length: 0";
    let date = lines.next().filter(|line| is_own && line.starts_with("date: "))?;
    let (code, message) = match (lines.next(), status.get(..3)?) {
        (None, "400") => (ErrorCode::Invalid, "the request cannot be read: it is not HTTP/1.1"),
        (None, "414") => (ErrorCode::UriTooLong, "the request's path is longer than a server reads"),
        (None, "431") => (ErrorCode::Invalid, "the request's head is longer than a server reads"),
        _ => return None,
    };
    Some(written(&format!("{status}\r\n{date}"), Problem::new(code, message), language))
}

/// An answer that HTTP does not write, behind a status line and what else its head begins with.
fn written(head: &str, problem: Problem, language: Language) -> Bytes {
    let body = said(problem, language);
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nx-content-type-options: nosniff\r\n\r\n{body}"
    );
    answer.into()
}

fn said(problem: Problem, language: Language) -> String {
    seaworthy_registry::body_of(&japanese::problem(problem, language))
}

/// What a request is refused with that HTTP lets pass.
pub(super) fn refused<B>(request: &Request<B>, language: Language) -> Option<Response> {
    let (status, problem) = if let Some(message) = hostless(request) {
        (StatusCode::BAD_REQUEST, Problem::new(ErrorCode::Invalid, message))
    } else if is_coded(request) {
        let message = "the request's body has another transfer coding than `chunked`";
        (StatusCode::NOT_IMPLEMENTED, Problem::new(ErrorCode::Unsupported, message))
    } else {
        return None;
    };
    let mut answer = Response::new(Body::from(said(problem, language)));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONNECTION, "close"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(answer)
}

/// What is wrong when a request does not say whom it asks, says it twice, or says what is no host (RFC 9112 section 3.2).
fn hostless<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let may_be_none = request.uri().authority().is_some() || request.version() < Version::HTTP_11;
    match (hosts.next(), hosts.next()) {
        (None, _) if may_be_none => None,
        (None, _) => Some("the request has no `Host` header"),
        (Some(host), None) if is_host(host) => None,
        (Some(_), None) => Some("`Host` header is malformed"),
        (Some(_), Some(_)) => Some("the request has several `Host` headers"),
    }
}

fn is_host(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| !text.contains('@') && text.parse::<Authority>().is_ok())
}

/// True for a body in another coding than `chunked`, which would be taken for what it is not (RFC 9112 section 6.1).
fn is_coded<B>(request: &Request<B>) -> bool {
    let values = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let codings = values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim);
    let codings: Vec<&str> = codings.filter(|coding| !coding.is_empty()).collect();
    !matches!(codings.as_slice(), [] | [_]) || codings.iter().any(|it| !it.eq_ignore_ascii_case("chunked"))
}

/// Tells who speaks plain HTTP at the HTTPS door, and closes.
pub(super) async fn refuse_plain<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    language: Language,
    stop: CancellationToken,
) {
    let problem = Problem::new(ErrorCode::Invalid, "this is plain HTTP, and this door speaks HTTPS")
        .hint("begin the address with `https://`");
    if stream.write_all(&written("400 Bad Request", problem, language)).await.is_ok() {
        let mut parting = Parting::new(stop);
        let _ = poll_fn(|context| parting.poll(&mut stream, context)).await;
    }
}

impl Refusals {
    pub(super) fn new(language: Language) -> Self {
        Self { language, left: Bytes::new() }
    }

    /// Sends what stands in the place of `bytes`, which are written between two requests; `None` when nothing does.
    pub(super) fn poll_instead<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Option<io::Result<usize>>> {
        if self.left.is_empty() {
            match worded(bytes, self.language) {
                Some(answer) => self.left = answer,
                None => return Poll::Ready(None),
            }
        }
        // Asked again when it is not done, with the same bytes.
        while !self.left.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(context, &self.left)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(written) => self.left.advance(written),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(Some(Ok(bytes.len())))
    }
}
