//! Failed TLS handshakes in the log: the first of a minute in full, of the others how many. Any peer can cause
//! them, and they must not fill a journal.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a count covers.
const PERIOD: Duration = Duration::from_secs(60);

/// So many are logged in full in a period.
const IN_FULL: u64 = 10;

/// Those of one listener.
#[derive(Debug, Default)]
pub struct FailedHandshakes(Mutex<Option<Period>>);

#[derive(Debug)]
struct Period {
    since: Instant,
    count: u64,
}

impl FailedHandshakes {
    /// Counts one; whether it is to be logged in full.
    pub fn count(&self, now: Instant) -> bool {
        let mut period = self.0.lock();
        let period = period.get_or_insert(Period { since: now, count: 0 });
        period.count += 1;
        period.count <= IN_FULL
    }

    /// How many of a period that is over were not logged in full, if there were any.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let is_over = |period: &mut Period| now.saturating_duration_since(period.since) >= PERIOD;
        let count = self.0.lock().take_if(is_over)?.count;
        count.checked_sub(IN_FULL).filter(|more| *more > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_logged_in_full_and_the_rest_is_a_count_a_minute() {
        let failed = FailedHandshakes::default();
        let now = Instant::now();
        assert_eq!((0..1000).filter(|_| failed.count(now)).count(), 10);
        assert_eq!(failed.due(now + PERIOD / 2), None, "the minute is not over");
        assert!(!failed.count(now + PERIOD / 2));
        assert_eq!(failed.due(now + PERIOD), Some(991));
        assert!(failed.count(now + PERIOD), "a new minute");
        assert_eq!(failed.due(now + 2 * PERIOD), None, "all of it was logged");
    }
}
