//! `/api/v1/live`: server-sent events (WHATWG HTML §9.2) that say what to ask for again.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use http::{HeaderValue, header};
use seaworthy_access::{Access, Identity};
use seaworthy_model::{ErrorCode, Problem};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{ApiError, Rooms};
use crate::{
    limit,
    live::{Moment, Revisions, Seat},
    route::Routes,
};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/live", live)
}

/// Revisions of kinds of things, for whoever is signed in: they tell that something changed, and
/// nothing of it.
async fn live(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, ApiError> {
    // The token that everybody gets is no sign-in.
    if identity.is_nobody() {
        let problem = Problem::new(ErrorCode::Unauthorized, "authentication is required");
        return Err(problem.hint("sign in first").into());
    }
    let (seat, moments) = rooms.live.listen(&identity.actor.name)?;
    let listener = Listener {
        told: Revisions::read(&rooms).await?,
        access: rooms.access,
        identity,
        moments,
        pace: Pace::from(Instant::now()),
        _seat: seat,
    };
    let opening = Bytes::from(format!("retry: 1000\n\n{}", event(&listener.told)));
    let events = stream::unfold((listener, Some(opening)), async |(mut listener, opening)| {
        let event = match opening {
            Some(opening) => opening,
            None => listener.next().await?,
        };
        Some((Ok::<_, Infallible>(event), (listener, None)))
    });
    let mut response = Body::from_stream(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Listener {
    access: Access,
    identity: Identity,
    moments: watch::Receiver<Moment>,
    told: Revisions,
    pace: Pace,
    _seat: Seat,
}

/// When a stream beats next, and when it is over.
struct Pace {
    beat_at: Instant,
    ends_at: Instant,
}

impl From<Instant> for Pace {
    fn from(opened_at: Instant) -> Self {
        Self {
            beat_at: opened_at + Duration::from_secs(limit::BEAT_SECONDS),
            ends_at: opened_at + Duration::from_secs(limit::LIVE_SECONDS),
        }
    }
}

impl Pace {
    fn wakes_at(&self) -> Instant {
        self.beat_at.min(self.ends_at)
    }

    /// True when it beats at `now`; false when it is over.
    fn beat(&mut self, now: Instant) -> bool {
        self.beat_at = now + Duration::from_secs(limit::BEAT_SECONDS);
        now < self.ends_at
    }
}

impl Listener {
    /// What is sent next; `None` when the stream is over: its time, that of the proof, or the server's.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                changed = self.moments.changed() => {
                    changed.ok()?;
                    let moment = *self.moments.borrow_and_update();
                    match moment {
                        Moment::Stopped => return None,
                        Moment::Changed(now) if now != self.told => {
                            self.told = now;
                            return self.still(event(&now).into()).await;
                        }
                        Moment::Changed(_) | Moment::Unknown => {}
                    }
                }
                () = sleep_until(self.pace.wakes_at()) => {
                    if !self.pace.beat(Instant::now()) {
                        return None;
                    }
                    return self.still(Bytes::from_static(b": beat\n\n")).await;
                }
            }
        }
    }

    /// Nothing is told to a session or a token that ended.
    async fn still(&self, event: Bytes) -> Option<Bytes> {
        match self.access.still_holds(&self.identity).await {
            Ok(true) => Some(event),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(error = %seaworthy_store::chain(&error), "a live stream ends: access cannot be read");
                None
            }
        }
    }
}

fn event(revisions: &Revisions) -> String {
    let data = serde_json::to_string(revisions).unwrap_or_default();
    format!("event: state\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_beats_until_its_time_is_over() {
        let opened = Instant::now();
        let at = |seconds: u64| opened + Duration::from_secs(seconds);
        let mut pace = Pace::from(opened);
        assert_eq!(pace.wakes_at(), at(limit::BEAT_SECONDS));
        assert!(pace.beat(at(limit::BEAT_SECONDS)));
        assert_eq!(pace.wakes_at(), at(2 * limit::BEAT_SECONDS));
        assert!(pace.beat(at(limit::LIVE_SECONDS - 1)));
        assert_eq!(pace.wakes_at(), at(limit::LIVE_SECONDS), "not after its end");
        assert!(!pace.beat(at(limit::LIVE_SECONDS)));
    }
}
