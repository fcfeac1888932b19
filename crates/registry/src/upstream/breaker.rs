//! Whether an upstream is asked at all: after failures in a row it is left alone for a while, then one request
//! looks whether it is back.

use std::sync::{Mutex, PoisonError};

use seaworthy_model::Timestamp;

use crate::limit;

/// The state of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Not asked before then; afterwards by one request at a time.
    open_until: Option<Timestamp>,
    probing: bool,
}

/// The right to ask once. Dropped without an outcome it says nothing about the upstream.
#[derive(Debug)]
pub(crate) struct Pass<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
}

impl Breaker {
    /// The right to ask now, or in how many seconds there may be one.
    pub(crate) fn enter(&self, now: Timestamp) -> Result<Pass<'_>, u32> {
        let mut state = self.lock();
        let Some(until) = state.open_until else { return Ok(Pass { breaker: self, is_probe: false }) };
        if now < until {
            let seconds = until.as_micros().saturating_sub(now.as_micros()).div_euclid(1_000_000) + 1;
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        if state.probing {
            return Err(1);
        }
        state.probing = true;
        Ok(Pass { breaker: self, is_probe: true })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// It answered. True when it was away before.
    pub(crate) fn answered(self) -> bool {
        let mut state = self.breaker.lock();
        let was_open = state.open_until.is_some();
        state.failures = 0;
        state.open_until = None;
        was_open
    }

    /// It did not, or asks to be left alone for `retry_after` seconds. Says for how many seconds it is not asked now.
    pub(crate) fn failed(self, now: Timestamp, retry_after: Option<u32>) -> Option<u32> {
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        let beyond = state.failures.checked_sub(limit::UPSTREAM_FAILURES);
        let grown = beyond.map(|more| {
            limit::UPSTREAM_REST_SECONDS
                .saturating_mul(1 << more.min(16))
                .min(limit::UPSTREAM_REST_SECONDS_MAX)
        });
        let asked = retry_after.map(|seconds| seconds.clamp(1, limit::RETRY_AFTER_SECONDS_MAX));
        let seconds = grown.into_iter().chain(asked).max()?;
        state.open_until = Some(now.plus_seconds(i64::from(seconds)));
        Some(seconds)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = Breaker::default();
        let fail = |now: Timestamp| breaker.enter(now).expect("a pass").failed(now, None);
        for _ in 1..limit::UPSTREAM_FAILURES {
            assert_eq!(fail(NOW), None);
        }
        assert_eq!(fail(NOW), Some(limit::UPSTREAM_REST_SECONDS));
        let rest = i64::from(limit::UPSTREAM_REST_SECONDS);
        assert_eq!(breaker.enter(NOW.plus_seconds(rest - 1)).err(), Some(2));
        let probe = breaker.enter(NOW.plus_seconds(rest)).expect("a probe");
        assert_eq!(breaker.enter(NOW.plus_seconds(rest)).err(), Some(1), "one at a time");
        drop(probe);
        assert_eq!(fail(NOW.plus_seconds(rest)), Some(limit::UPSTREAM_REST_SECONDS * 2), "it grows");
        assert!(breaker.enter(NOW.plus_seconds(rest)).is_err());
        let late = NOW.plus_seconds(100_000);
        assert!(breaker.enter(late).expect("a probe").answered());
        assert!(!breaker.enter(NOW).expect("closed").answered());
        assert_eq!(fail(NOW), None, "it counts from the beginning");
    }

    #[test]
    fn it_rests_no_longer_than_it_may() {
        let breaker = Breaker::default();
        let mut now = NOW;
        let mut longest = 0;
        for _ in 0..100 {
            if let Some(seconds) = breaker.enter(now).expect("a pass").failed(now, None) {
                longest = longest.max(seconds);
                now = now.plus_seconds(i64::from(seconds));
            }
        }
        assert_eq!(longest, limit::UPSTREAM_REST_SECONDS_MAX);
        for (asked, rested) in [
            (limit::RETRY_AFTER_SECONDS_MAX, limit::RETRY_AFTER_SECONDS_MAX),
            (limit::RETRY_AFTER_SECONDS_MAX + 1, limit::RETRY_AFTER_SECONDS_MAX),
            (0, 1),
        ] {
            let breaker = Breaker::default();
            let failed = breaker.enter(now).expect("a pass").failed(now, Some(asked));
            assert_eq!(failed, Some(rested), "{asked}");
        }
    }
}
