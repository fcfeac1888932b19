//! The end of a connection whose other end still sends. To close it then is to reset it, and a reset takes the answer
//! away that is not yet read: so what comes is read and dropped for a while (RFC 9112 section 9.6).

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::limit;

/// Bytes that are dropped at once.
const DROPPED_AT_ONCE: usize = 16 << 10;

/// How far a connection's end is.
pub(super) struct Parting {
    stop: CancellationToken,
    lingering: Option<Lingering>,
}

struct Lingering {
    silence: Pin<Box<Sleep>>,
    until: Instant,
    /// A server that stops waits for nobody who sends what is not read.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Parting {
    pub(super) const fn new(stop: CancellationToken) -> Self {
        Self { stop, lingering: None }
    }

    /// Says that no more is sent, and reads until the other end says so too, is silent, or goes on for too long.
    pub(super) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let silence = Duration::from_secs(limit::PARTING_SILENCE_SECONDS);
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            silence: Box::pin(tokio::time::sleep(silence)),
            until: Instant::now() + Duration::from_secs(limit::PARTING_READ_SECONDS),
            stopped: Box::pin(self.stop.clone().cancelled_owned()),
        });
        let mut space = [MaybeUninit::uninit(); DROPPED_AT_ONCE];
        loop {
            if lingering.silence.as_mut().poll(context).is_ready()
                || lingering.stopped.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let mut dropped = ReadBuf::uninit(&mut space);
            // An error is an end too: all that was to be said is said.
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut dropped));
            if read.is_err() || dropped.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            lingering.silence.as_mut().reset(lingering.until.min(Instant::now() + silence));
        }
    }
}
