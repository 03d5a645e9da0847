//! How many requests are accepted: token buckets of constant size, whatever comes.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A rate for each of many names, and bursts up to what the rate gives in one period. Names share
/// buckets by a keyed hash: memory is bounded, and no client can choose a name to exhaust another's.
pub struct RateLimit {
    /// How many in a period; 0 for any number.
    rate: u32,
    period: Duration,
    hash: RandomState,
    /// A plain mutex: held for a moment and never across an await.
    buckets: Mutex<Vec<Bucket>>,
}

/// What is left, and when that was so.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl RateLimit {
    /// `rate` in each `period` for every name; names fall into `buckets` classes.
    pub fn new(rate: u32, period: Duration, buckets: usize, now: Instant) -> Self {
        let full = Bucket { left: f64::from(rate), at: now };
        Self {
            rate,
            period,
            hash: RandomState::new(),
            buckets: Mutex::new(vec![full; buckets.max(1)]),
        }
    }

    /// Whether one more is accepted under this name now.
    pub fn accept(&self, name: impl Hash, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.hash.hash_one(name) % buckets.len() as u64;
        // In range by the remainder.
        let Some(bucket) = usize::try_from(place).ok().and_then(|place| buckets.get_mut(place))
        else {
            return false;
        };
        let rate = f64::from(self.rate);
        let periods =
            now.saturating_duration_since(bucket.at).as_secs_f64() / self.period.as_secs_f64();
        bucket.left = (bucket.left + periods * rate).min(rate);
        bucket.at = now;
        let accepted = bucket.left >= 1.0;
        if accepted {
            bucket.left -= 1.0;
        }
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let limit = RateLimit::new(6, MINUTE, 1, start);
        for _ in 0..6 {
            assert!(limit.accept("a", start));
        }
        assert!(!limit.accept("a", start));
        assert!(!limit.accept("a", start + Duration::from_secs(9)));
        assert!(limit.accept("a", start + Duration::from_secs(11)));
        assert!(!limit.accept("a", start + Duration::from_secs(11)));
    }

    #[test]
    fn an_idle_name_saves_up_no_more_than_a_burst() {
        let start = Instant::now();
        let limit = RateLimit::new(2, MINUTE, 1, start);
        let later = start + 100 * MINUTE;
        assert_eq!((0..5).filter(|_| limit.accept("a", later)).count(), 2);
    }

    #[test]
    fn names_do_not_exhaust_each_other_and_zero_is_no_limit() {
        let start = Instant::now();
        let limit = RateLimit::new(1, MINUTE, 1 << 16, start);
        assert!(limit.accept("a", start) && !limit.accept("a", start));
        // One name in 65 536 shares the bucket; of ten, all would have to.
        assert!((0..10).any(|name| limit.accept(name, start)));
        let unlimited = RateLimit::new(0, MINUTE, 1, start);
        assert!((0..100).all(|_| unlimited.accept("a", start)));
    }
}
