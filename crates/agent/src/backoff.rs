use std::time::Duration;

/// How long to wait before another try: doubled each time up to a most, with up to a quarter taken
/// off so that many agents do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    /// State of the jitter (xorshift), never 0.
    seed: u64,
}

impl Backoff {
    /// Waits from `first` to `most`; `seed` is the host's own.
    pub(crate) fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first, most, next: first, seed: seed | 1 }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        let part = u32::try_from(self.seed % 256).unwrap_or_default();
        wait.saturating_sub(wait * part / 1_024)
    }

    /// It worked: the next wait is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 5, 42);
        for expected in [1, 2, 4, 5, 5] {
            let wait = backoff.wait();
            assert!(wait <= second * expected && wait > second * expected * 3 / 4, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= second);
        let waits = |seed| {
            let mut backoff = Backoff::new(second, second, seed);
            [backoff.wait(), backoff.wait()]
        };
        assert_ne!(waits(42), waits(4_711));
    }
}
