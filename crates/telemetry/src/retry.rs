use seaworthy_model::AlertMessageId;
use seaworthy_oci::Digest;

use crate::limit;

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, without secrets: never a whole address, never a word of the answer's body.
    pub reason: String,
    /// What to do about it.
    pub retry: Retry,
}

/// Whether an attempt that failed is worth another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Later, each time later.
    Later,
    /// Not before this many seconds: the receiver said so.
    After(i64),
    /// Never: the receiver said so, or it cannot succeed.
    Never,
}

/// How long to wait after `attempts` failed attempts, in seconds: four times longer each time, up to
/// [`limit::BACKOFF_SECONDS_MAX`], and by up to half shorter, differently for each message, so that
/// what failed together is not tried together again.
pub fn delay_seconds(id: AlertMessageId, attempts: i64) -> i64 {
    let steps = u32::try_from((attempts - 1).clamp(0, 20)).unwrap_or(0);
    let longest =
        limit::BACKOFF_SECONDS.saturating_mul(4_i64.saturating_pow(steps)).min(limit::BACKOFF_SECONDS_MAX);
    let hash = Digest::sha256(format!("{id} {attempts}").as_bytes());
    let luck = hash.hash().first().copied().map_or(0, i64::from);
    longest - longest * luck / 510
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_differ() {
        let id = AlertMessageId::from_u128;
        for attempts in 1..40 {
            let steps = u32::try_from(attempts - 1).expect("small").min(10);
            let longest = (limit::BACKOFF_SECONDS * 4_i64.pow(steps)).min(limit::BACKOFF_SECONDS_MAX);
            let waits: Vec<i64> = (0..200).map(|n| delay_seconds(id(n), attempts)).collect();
            assert!(waits.iter().all(|wait| *wait <= longest && *wait >= longest / 2), "{attempts}");
            let (first, last) = (waits.iter().min(), waits.iter().max());
            assert!(attempts == 1 || last > first, "{attempts}: all wait {last:?}");
        }
        assert_eq!(delay_seconds(id(1), 3), delay_seconds(id(1), 3), "the same for the same attempt");
        assert!(delay_seconds(id(1), i64::MAX) <= limit::BACKOFF_SECONDS_MAX);
        assert!(delay_seconds(id(1), 0) >= 2);
    }
}
