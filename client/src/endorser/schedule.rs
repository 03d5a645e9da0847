//! When to ask for the next endorsement: in time after a success, soon after a failure.

use std::time::Duration;

use hsmd_chain::Timestamp;

use super::EndorseProblem;
use crate::backoff::{Backoff, jitter};

/// The two paces of retrying, and the time of renewal.
#[derive(Debug)]
pub(super) struct Schedule {
    /// There is no good endorsement: somebody waits for us.
    urgent: Backoff,
    /// There is still one, or a person has to act first.
    patient: Backoff,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            urgent: Backoff::new(Duration::from_millis(20), Duration::from_millis(400)),
            patient: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

impl Schedule {
    /// After a success: when to renew. The last third of the lifetime is a reserve for outages, and
    /// a jitter of a tenth keeps a fleet that started together from renewing together.
    pub(super) fn renewal(&mut self, now: Timestamp, expiration: Timestamp) -> Timestamp {
        *self = Self::default();
        let lifetime = expiration.saturating_since(now);
        now.saturating_add(lifetime * 2 / 3 - jitter(lifetime / 10))
    }

    /// After a failure: how long to wait. `left` is what remains of a good endorsement.
    pub(super) fn retry(&mut self, left: Duration, problem: &EndorseProblem) -> Duration {
        let urgent = left.is_zero() && problem.is_passing();
        let delay = if urgent { self.urgent.delay() } else { self.patient.delay() };
        // An expiration is noticed on time.
        if left.is_zero() { delay } else { delay.min(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallError, Code};

    fn refused(code: Code) -> EndorseProblem {
        let (reason, message) = (None, String::new());
        EndorseProblem::Call(CallError::Refused { method: "Endorse", code, reason, message })
    }

    #[test]
    fn renews_between_half_and_two_thirds_of_the_lifetime() {
        let now = Timestamp::from_unix_millis(0).expect("a time");
        let expiration = now.saturating_add(Duration::from_secs(300));
        for _ in 0..50 {
            let due = Schedule::default().renewal(now, expiration).saturating_since(now);
            assert!(due >= Duration::from_secs(169) && due <= Duration::from_secs(200), "{due:?}");
        }
    }

    #[test]
    fn hurries_only_when_that_helps() {
        let left = Duration::from_secs(3600);
        let cases = [
            (Duration::ZERO, Code::Unavailable, Duration::from_millis(400)),
            (Duration::ZERO, Code::PermissionDenied, Duration::from_secs(30)),
            (left, Code::Unavailable, Duration::from_secs(30)),
        ];
        for (left, code, most) in cases {
            let mut schedule = Schedule::default();
            for _ in 0..10 {
                schedule.retry(left, &refused(code));
            }
            let delay = schedule.retry(left, &refused(code));
            assert!(delay <= most && delay >= most / 2, "{code:?}: {delay:?}");
        }
    }

    #[test]
    fn an_expiration_is_not_slept_through() {
        let left = Duration::from_millis(7);
        let mut schedule = Schedule::default();
        assert_eq!(schedule.retry(left, &refused(Code::Unavailable)), left);
    }
}
