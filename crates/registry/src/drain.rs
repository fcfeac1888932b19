//! Reading what nobody wants. A client that sends a body learns of a refusal only after it was sent,
//! when the connection is still there: clients of Azure's registry send every chunk once without a
//! token. So what is left of a small body is read and dropped before the refusal is told.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header;
use hyper::body::{Frame, SizeHint};

use crate::limit;

/// What is left of a body when its reader is done.
pub(crate) struct Rest {
    slot: Arc<Mutex<Option<Body>>>,
    is_wanted: bool,
}

/// Reads a request that nobody handles.
pub async fn drain(request: Request) {
    let (request, rest) = lend(request);
    drop(request);
    rest.drain().await;
}

/// Lends the request's body to whoever handles it.
pub(crate) fn lend(request: Request) -> (Request, Rest) {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    // Who expects to be told before sending is told before.
    let is_wanted = !headers.contains_key(header::EXPECT)
        && length.is_none_or(|length| length <= limit::DRAINED_BYTES as u64);
    let slot = Arc::new(Mutex::new(None));
    let request = request.map(|body| Body::new(Lent { body: Some(body), slot: slot.clone() }));
    (request, Rest { slot, is_wanted })
}

impl Rest {
    /// Reads the rest, up to a size and for a while: what is longer is cut off by the connection's end.
    pub(crate) async fn drain(self) {
        let body = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = body.filter(|_| self.is_wanted) else { return };
        let mut chunks = body.into_data_stream();
        let drained = async {
            let mut read = 0;
            while let Some(Ok(chunk)) = chunks.next().await {
                read += chunk.len();
                if read > limit::DRAINED_BYTES {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(limit::DRAIN_SECONDS), drained).await);
    }
}

/// A body that comes back when it is dropped.
struct Lent {
    body: Option<Body>,
    slot: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            // Ended: there is no rest, and nothing may be asked of it any more.
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    /// What the request says of its length: who asks learns whether it fits before it comes.
    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_lent_body_says_how_long_it_is() {
        let (request, _rest) = lend(Request::new(Body::from("three")));
        let mut body = request.into_body();
        assert_eq!(body.size_hint().exact(), Some(5));
        body.frame().await.expect("a frame").expect("read");
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        let untold = Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>());
        let (request, _rest) = lend(Request::new(untold));
        assert_eq!(request.body().size_hint().exact(), None);
    }
}
