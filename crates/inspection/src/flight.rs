use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use seaworthy_oci::Digest;
use tokio::sync::OwnedMutexGuard;

/// Who is working on which blob, in this process. Another process may read the same layer too;
/// both then store the same facts.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

/// The right to work on one blob, given back when dropped.
pub(crate) struct Flight {
    _guard: OwnedMutexGuard<()>,
}

impl Flights {
    /// Waits until nobody else works on `digest`.
    pub(crate) async fn enter(&self, digest: &Digest) -> Flight {
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(lane) = lanes.get(digest).and_then(Weak::upgrade) {
                lane
            } else {
                lanes.retain(|_, lane| lane.strong_count() > 0);
                let lane = Arc::default();
                lanes.insert(*digest, Arc::downgrade(&lane));
                lane
            }
        };
        Flight { _guard: lane.lock_owned().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_left() {
        let flights = Flights::default();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let first = flights.enter(&a).await;
        let mut second = Box::pin(flights.enter(&a));
        assert!(futures_util::poll!(&mut second).is_pending());
        let other = flights.enter(&b).await;
        drop(first);
        let second = second.await;
        drop((second, other));
        drop(flights.enter(&Digest::sha256(b"c")).await);
        assert_eq!(flights.0.lock().expect("lock").len(), 1);
    }
}
