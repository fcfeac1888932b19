//! Requests that HTTP refuses before anybody has read them: a line, a path or a head that is none, or too long. Its
//! answer to them has no body; clients of a registry look for one (distribution spec, "Error Codes").

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Pace;
use crate::japanese;

/// A stream whose refusals by HTTP itself get a body, in the server's language: nobody has read which one is wanted.
/// They come between requests alone: what an answer says, a blob's bytes too, is never taken for one.
pub(super) struct Worded<S> {
    stream: S,
    pace: Arc<Pace>,
    language: Language,
    /// What is left of a refusal that is sent in the place of another.
    left: Bytes,
}

impl<S> Worded<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>, language: Language) -> Self {
        Self { stream, pace, language, left: Bytes::new() }
    }
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
    let body = seaworthy_registry::body_of(&japanese::problem(Problem::new(code, message), language));
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nx-content-type-options: nosniff\r\n{date}\r\n\r\n"
    );
    Some((head + &body).into())
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    /// Sends what stands in the place of `bytes`; `None` when nothing does.
    fn poll_worded(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if self.left.is_empty() {
            if !self.pace.is_between() {
                return Poll::Ready(None);
            }
            match worded(bytes, self.language) {
                Some(answer) => self.left = answer,
                None => return Poll::Ready(None),
            }
        }
        // Asked again when it is not done, with the same bytes.
        while !self.left.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.left)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(written) => self.left.advance(written),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(Some(Ok(bytes.len())))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(done) = ready!(self.poll_worded(context, bytes)) {
            return Poll::Ready(done);
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = pieces
            && let Some(done) = ready!(self.poll_worded(context, only))
        {
            return Poll::Ready(done);
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
