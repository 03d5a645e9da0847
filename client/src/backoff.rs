//! How long to wait before the next attempt: doubling with jitter, so that a fleet which lost its
//! daemon at one instant does not come back at one instant.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Doubling delays between two bounds; each is drawn from the upper half of its step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The delay before the next attempt.
    pub(crate) fn delay(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.most);
        step / 2 + jitter(step / 2)
    }

    /// After a success: the next failure starts small again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A random duration below `bound`. Not for secrets: the standard library's per-map hash keys are
/// random enough to spread a fleet, and need no dependency.
pub(crate) fn jitter(bound: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let fraction = (random >> 32) as f64 / f64::from(u32::MAX);
    bound.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_starts_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for (least, most) in [(50, 100), (100, 200), (150, 300), (150, 300)] {
            let delay = backoff.delay();
            assert!(delay >= ms(least) && delay <= ms(most), "{delay:?} not in {least}..{most}");
        }
        backoff.reset();
        assert!(backoff.delay() <= ms(100));
    }

    #[test]
    fn jitter_spreads() {
        let bound = Duration::from_secs(1);
        let draws: std::collections::HashSet<_> = (0..50).map(|_| jitter(bound)).collect();
        assert!(draws.len() > 10);
        assert!(draws.iter().all(|draw| *draw <= bound));
    }
}
