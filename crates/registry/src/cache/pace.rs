//! How slowly an upstream may send.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::limit;

/// What comes of taking in what `received` counts; `None` when it comes more slowly than
/// [`limit::FETCH_BYTES_PER_SECOND`].
pub(super) async fn in_pace<T>(
    work: impl Future<Output = T>,
    received: &AtomicU64,
    patience: Duration,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    // There is time in it for a body that stands still, and for the head of the next answer.
    let window = 3 * patience;
    let least = u128::from(limit::FETCH_BYTES_PER_SECOND) * window.as_millis() / 1_000;
    let mut seen = 0;
    loop {
        if let Ok(done) = tokio::time::timeout(window, &mut work).await {
            return Some(done);
        }
        let now = received.load(Ordering::Relaxed);
        if u128::from(now - seen) < least {
            return None;
        }
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes in `pace` bytes a second for `seconds`.
    async fn taken(pace: u64, seconds: u64) -> Option<()> {
        let received = AtomicU64::new(0);
        let work = async {
            for _ in 0..seconds {
                received.fetch_add(pace, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        in_pace(work, &received, Duration::from_secs(limit::UPSTREAM_SECONDS)).await
    }

    #[tokio::test(start_paused = true)]
    async fn slow_is_not_too_slow() {
        assert!(taken(limit::FETCH_BYTES_PER_SECOND, 10_000).await.is_some());
        assert!(taken(limit::FETCH_BYTES_PER_SECOND - 1, 10_000).await.is_none());
        assert!(taken(1, 2 * limit::UPSTREAM_SECONDS).await.is_some(), "it is small");
        assert!(taken(0, 10_000).await.is_none());
    }
}
