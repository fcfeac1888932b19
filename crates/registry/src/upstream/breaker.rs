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
    /// Grows with each change of `open_until`: what began before knows nothing of it.
    generation: u64,
}

impl State {
    fn set_open(&mut self, until: Option<Timestamp>) {
        self.open_until = until;
        self.generation += 1;
    }

    /// For how many seconds it is left alone after one more failure.
    fn rest_after_another(&mut self) -> Option<u32> {
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.checked_sub(limit::UPSTREAM_FAILURES)?;
        let grown = limit::UPSTREAM_REST_SECONDS.saturating_mul(1 << beyond.min(16));
        Some(grown.min(limit::UPSTREAM_REST_SECONDS_MAX))
    }
}

/// The right to ask once. Dropped without an outcome it says nothing about the upstream.
#[derive(Debug)]
pub(crate) struct Pass<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
    generation: u64,
}

impl Breaker {
    /// The right to ask now, or in how many seconds there may be one.
    pub(crate) fn enter(&self, now: Timestamp) -> Result<Pass<'_>, u32> {
        let mut state = self.lock();
        let pass = |is_probe, generation| Pass { breaker: self, is_probe, generation };
        let Some(until) = state.open_until else { return Ok(pass(false, state.generation)) };
        if now < until {
            let seconds = until.as_micros().saturating_sub(now.as_micros()).div_euclid(1_000_000) + 1;
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        if state.probing {
            return Err(1);
        }
        state.probing = true;
        Ok(pass(true, state.generation))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// It answered. True when it was away before, and is back.
    pub(crate) fn answered(self) -> bool {
        let mut state = self.breaker.lock();
        if state.generation != self.generation {
            return false;
        }
        state.failures = 0;
        let was_open = state.open_until.is_some();
        if was_open {
            state.set_open(None);
        }
        was_open
    }

    /// It did not, or asks to be left alone for `retry_after` seconds. Says for how many seconds it is not asked now,
    /// if that is news.
    pub(crate) fn failed(self, now: Timestamp, retry_after: Option<u32>) -> Option<u32> {
        let mut state = self.breaker.lock();
        // Of many that are under way when it goes away, those that end later say nothing new.
        let grown = if state.generation == self.generation { state.rest_after_another() } else { None };
        let asked = retry_after.map(|seconds| seconds.clamp(1, limit::RETRY_AFTER_SECONDS_MAX));
        let seconds = grown.into_iter().chain(asked).max()?;
        let until = now.plus_seconds(i64::from(seconds));
        if state.open_until.is_some_and(|open| until <= open) {
            return None;
        }
        state.set_open(Some(until));
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
    fn what_fails_at_one_moment_counts_once() {
        let breaker = Breaker::default();
        let passes: Vec<_> = (0..12).map(|_| breaker.enter(NOW).expect("closed")).collect();
        let rests: Vec<_> = passes.into_iter().filter_map(|pass| pass.failed(NOW, None)).collect();
        assert_eq!(rests, [limit::UPSTREAM_REST_SECONDS]);
        let rest = i64::from(limit::UPSTREAM_REST_SECONDS);
        assert_eq!(breaker.enter(NOW).err(), Some(limit::UPSTREAM_REST_SECONDS + 1));
        // The next one that fails is another time.
        let probe = breaker.enter(NOW.plus_seconds(rest)).expect("a probe");
        assert_eq!(probe.failed(NOW.plus_seconds(rest), None), Some(2 * limit::UPSTREAM_REST_SECONDS));
    }

    #[test]
    fn what_it_asks_for_is_done_whatever_comes_late() {
        let breaker = Breaker::default();
        let early = || breaker.enter(NOW).expect("closed");
        let [told, answers, fails, shorter, longer] = [early(), early(), early(), early(), early()];
        let until = |now: Timestamp| breaker.enter(now).err();
        assert_eq!(told.failed(NOW, Some(600)), Some(600));
        assert!(!answers.answered(), "it began before that");
        assert_eq!((fails.failed(NOW, None), shorter.failed(NOW, Some(60))), (None, None));
        assert_eq!(until(NOW), Some(601));
        let probe = breaker.enter(NOW.plus_seconds(600)).expect("a probe");
        assert_eq!(longer.failed(NOW.plus_seconds(600), Some(900)), Some(900), "told later");
        assert!(!probe.answered(), "it began before that, too");
        assert_eq!(until(NOW.plus_seconds(1_000)), Some(501));
        assert!(breaker.enter(NOW.plus_seconds(1_500)).expect("a probe").answered());
        assert_eq!(until(NOW.plus_seconds(1_500)), None);
    }

    #[test]
    fn late_failures_of_before_do_not_open_it_again() {
        let breaker = Breaker::default();
        let passes: Vec<_> = (0..12).map(|_| breaker.enter(NOW).expect("closed")).collect();
        let mut passes = passes.into_iter();
        for _ in 0..limit::UPSTREAM_FAILURES {
            passes.next().expect("one").failed(NOW, None);
        }
        let back = NOW.plus_seconds(i64::from(limit::UPSTREAM_REST_SECONDS));
        assert!(breaker.enter(back).expect("a probe").answered());
        assert!(passes.all(|pass| pass.failed(back, None).is_none()));
        assert!(breaker.enter(back).is_ok());
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
