//! How often a sign-in may fail: by name, and by address. A fixed table of slots, so that nobody
//! makes it grow; each holds one time, as the generic cell rate algorithm does (GCRA, ITU-T I.371).

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use seaworthy_model::Timestamp;

use crate::limit;

pub(crate) struct Throttle {
    /// Keyed anew by each start: nobody can choose names or addresses that share a slot.
    key: RandomState,
    /// When each slot is as if nothing had failed, in microseconds.
    clear_at: Mutex<Vec<i64>>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Counted<'k> {
    /// A name, known or not.
    Name(&'k str),
    /// A client address; of IPv6 the network of 64 bits. No address is an address too.
    Address(Option<IpAddr>),
}

impl Counted<'_> {
    /// The address a request came from.
    pub(crate) fn source(source: Option<&str>) -> Self {
        let address = source.and_then(|it| it.parse().ok()).map(|it: IpAddr| match it.to_canonical() {
            IpAddr::V6(it) => IpAddr::V6((it.to_bits() >> 64 << 64).into()),
            it @ IpAddr::V4(_) => it,
        });
        Self::Address(address)
    }

    /// How many may fail at once, and the microseconds after which one more may.
    const fn rate(self) -> (i64, i64) {
        match self {
            Self::Name(_) => (limit::NAME_FAILURES, limit::NAME_RECOVERY_SECONDS * 1_000_000),
            Self::Address(_) => (limit::ADDRESS_FAILURES, limit::ADDRESS_RECOVERY_SECONDS * 1_000_000),
        }
    }
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { key: RandomState::new(), clear_at: Mutex::new(vec![0; limit::THROTTLE_SLOTS]) }
    }

    /// Counts an attempt as failed before it is made, so that many at once do not pass together;
    /// all of `counted` or none. `Err` is after how many seconds to try again.
    pub(crate) fn take(&self, counted: &[Counted<'_>], now: Timestamp) -> Result<(), u32> {
        let now = now.as_micros();
        let mut clear_at = self.clear_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::with_capacity(counted.len());
        for it in counted {
            let (burst, every) = it.rate();
            let slot = self.slot(*it);
            let clear = clear_at.get(slot).copied().unwrap_or_default().max(now) + every;
            let early = clear - now - burst * every;
            if early > 0 {
                return Err(u32::try_from(early.div_euclid(1_000_000) + 1).unwrap_or(u32::MAX));
            }
            next.push((slot, clear));
        }
        for (slot, clear) in next {
            if let Some(place) = clear_at.get_mut(slot) {
                *place = clear;
            }
        }
        Ok(())
    }

    /// It did not fail after all.
    pub(crate) fn give_back(&self, counted: &[Counted<'_>]) {
        let mut clear_at = self.clear_at.lock().unwrap_or_else(PoisonError::into_inner);
        for it in counted {
            if let Some(place) = clear_at.get_mut(self.slot(*it)) {
                *place -= it.rate().1;
            }
        }
    }

    fn slot(&self, it: Counted<'_>) -> usize {
        let slots = limit::THROTTLE_SLOTS as u64;
        usize::try_from(self.key.hash_one(it) % slots).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    #[test]
    fn a_burst_passes_then_one_by_one() {
        for (it, burst, every) in [
            (Counted::Name("ann"), limit::NAME_FAILURES, limit::NAME_RECOVERY_SECONDS),
            (Counted::source(Some("192.0.2.1")), limit::ADDRESS_FAILURES, limit::ADDRESS_RECOVERY_SECONDS),
        ] {
            let throttle = Throttle::new();
            for _ in 0..burst {
                assert_eq!(throttle.take(&[it], at(0)), Ok(()), "{it:?}");
            }
            assert_eq!(throttle.take(&[it], at(0)), Err(u32::try_from(every).expect("small") + 1), "{it:?}");
            assert!(throttle.take(&[it], at(every - 1)).is_err());
            assert_eq!(throttle.take(&[it], at(every)), Ok(()), "one more");
            assert!(throttle.take(&[it], at(every)).is_err());
            // What did not fail does not count.
            throttle.give_back(&[it]);
            assert_eq!(throttle.take(&[it], at(every)), Ok(()));
            // A clock set back does not open it.
            assert!(throttle.take(&[it], at(-86_400)).is_err());
        }
    }

    #[test]
    fn all_or_none_is_counted() {
        let throttle = Throttle::new();
        let (name, address) = (Counted::Name("ann"), Counted::source(Some("192.0.2.1")));
        for _ in 0..limit::NAME_FAILURES {
            assert_eq!(throttle.take(&[name], at(0)), Ok(()));
        }
        for _ in 0..limit::ADDRESS_FAILURES * 2 {
            assert!(throttle.take(&[address, name], at(0)).is_err());
        }
        assert_eq!(throttle.take(&[address], at(0)), Ok(()), "the address paid nothing");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| Counted::source(Some(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("not an address"), Counted::source(None));
        assert_ne!(Counted::Name("192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn the_table_never_grows() {
        let throttle = Throttle::new();
        for number in 0..=limit::THROTTLE_SLOTS {
            let _ = throttle.take(&[Counted::Name(&format!("n{number}"))], at(0));
        }
        assert_eq!(throttle.clear_at.lock().expect("lock").len(), limit::THROTTLE_SLOTS);
    }
}
