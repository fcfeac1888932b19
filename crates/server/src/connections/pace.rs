//! Whether a connection goes on: requests that are answered, bytes that are taken.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use seaworthy_policy::Language;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{parting::Parting, unread::Refusals};
use crate::limit;

/// What a connection is at.
pub(super) struct Pace(Mutex<Beat>);

struct Beat {
    /// Requests whose answers are not yet handed over to their end.
    running: usize,
    /// The last request's body, or its head, was not read to its end.
    unread: bool,
    /// All that was answered is written.
    flushed: bool,
    /// Since when the other end takes nothing of what is to be sent.
    stalled: Option<Instant>,
    /// When something was last asked or sent.
    since: Instant,
    patience: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        let patience = Duration::from_secs(limit::HEAD_SECONDS);
        Self(Mutex::new(Beat {
            running: 0,
            unread: false,
            flushed: true,
            stalled: None,
            since: Instant::now(),
            patience,
        }))
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when nothing was asked for too long, or what is to be sent is not taken.
    pub(super) async fn stands_still(&self) {
        loop {
            let until = {
                let beat = self.beat();
                match beat.stalled {
                    Some(since) => since + Duration::from_secs(limit::WRITE_STALL_SECONDS),
                    None if beat.running == 0 => beat.since + beat.patience,
                    None => Instant::now() + beat.patience,
                }
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// True between two requests: what is written now is an answer to none.
    pub(super) fn is_between(&self) -> bool {
        let beat = self.beat();
        beat.running == 0 && beat.flushed
    }

    /// Notes that what was asked is not read to its end.
    pub(super) fn leave_unread(&self) {
        self.beat().unread = true;
    }

    /// Notes how writing went.
    fn wrote<T>(&self, done: Poll<T>) -> Poll<T> {
        let mut beat = self.beat();
        if done.is_pending() {
            beat.stalled.get_or_insert_with(Instant::now);
        } else {
            beat.stalled = None;
            beat.since = Instant::now();
        }
        done
    }
}

/// A stream whose writes are watched. What HTTP has taken of an answer may be long, and its request over. What is
/// written between two requests is a refusal by HTTP itself; what an answer says, a blob's bytes too, is never taken for
/// one.
pub(super) struct Watched<S> {
    stream: S,
    pace: Arc<Pace>,
    refusals: Refusals,
    parting: Parting,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>, language: Language, stop: CancellationToken) -> Self {
        Self { stream, pace, refusals: Refusals::new(language), parting: Parting::new(stop) }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn poll_instead(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if !self.pace.is_between() {
            return Poll::Ready(None);
        }
        let done = self.refusals.poll_instead(&mut self.stream, context, bytes);
        if matches!(done, Poll::Ready(Some(_))) {
            self.pace.leave_unread();
        }
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = match self.poll_instead(context, bytes) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            Poll::Ready(None) => Pin::new(&mut self.stream).poll_write(context, bytes),
            Poll::Pending => Poll::Pending,
        };
        self.pace.wrote(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // HTTP writes a refusal as one piece.
        if let [only] = pieces {
            return self.poll_write(context, only);
        }
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.pace.wrote(done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// TLS keeps what it could not send until then. A flush of nothing is no sign of life.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        let mut beat = self.pace.beat();
        if done.is_pending() {
            beat.stalled.get_or_insert_with(Instant::now);
        } else if beat.stalled.take().is_some() {
            beat.since = Instant::now();
        }
        // HTTP flushes when it has written all it has; of an answer that has not ended, more may come.
        beat.flushed |= done.is_ready() && beat.running == 0;
        drop(beat);
        done
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pace.beat().unread {
            return this.parting.poll(&mut this.stream, context);
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

/// A request whose answer is not yet handed over to its end.
pub(super) struct Running(Arc<Pace>);

impl Running {
    pub(super) fn begin(pace: &Arc<Pace>) -> Self {
        let mut beat = pace.beat();
        beat.running += 1;
        beat.unread = false;
        beat.flushed = false;
        drop(beat);
        Self(pace.clone())
    }
}

impl Running {
    /// True when its body is not read to its end, and nobody will.
    pub(super) fn is_left_unread(&self) -> bool {
        self.0.beat().unread
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut beat = self.0.beat();
        beat.running -= 1;
        beat.since = Instant::now();
        // Who asked once gets the time that clients keep connections for.
        beat.patience = Duration::from_secs(limit::IDLE_SECONDS);
    }
}

pub(super) fn answered(response: Response, running: Running) -> Response {
    response.map(|body| Body::new(Answer { body, _running: running }))
}

/// An answer's body; its request runs until it is sent.
struct Answer {
    body: Body,
    _running: Running,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
