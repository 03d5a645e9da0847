//! What any peer can cause, in the log: the first of a minute in full, of the others how many. They must not fill
//! a journal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a count covers.
const PERIOD: Duration = Duration::from_secs(60);

/// So many are logged in full in a period.
const IN_FULL: u64 = 10;

/// A limit on the lines of one kind, of one listener.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Option<Period>>);

#[derive(Debug)]
struct Period {
    since: Instant,
    count: u64,
}

impl LogLimit {
    /// Counts one; whether it is to be logged in full.
    pub fn count(&self, now: Instant) -> bool {
        let mut period = self.period();
        let period = period.get_or_insert(Period { since: now, count: 0 });
        period.count += 1;
        period.count <= IN_FULL
    }

    /// How many of a period that is over were not logged in full, if there were any.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let is_over = |period: &mut Period| now.saturating_duration_since(period.since) >= PERIOD;
        let count = self.period().take_if(is_over)?.count;
        count.checked_sub(IN_FULL).filter(|more| *more > 0)
    }

    /// A panic elsewhere leaves a count that is good enough.
    fn period(&self) -> MutexGuard<'_, Option<Period>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_logged_in_full_and_the_rest_is_a_count_a_minute() {
        let failed = LogLimit::default();
        let now = Instant::now();
        assert_eq!((0..1000).filter(|_| failed.count(now)).count(), 10);
        assert_eq!(failed.due(now + PERIOD / 2), None, "the minute is not over");
        assert!(!failed.count(now + PERIOD / 2));
        assert_eq!(failed.due(now + PERIOD), Some(991));
        assert!(failed.count(now + PERIOD), "a new minute");
        assert_eq!(failed.due(now + 2 * PERIOD), None, "all of it was logged");
    }
}
