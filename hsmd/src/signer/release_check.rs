//! The release check: what may still leave. It closes for a generation when its taint is accepted, and, in a
//! standby pair, for everything when the daemon can't prove that it holds the lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// What may leave. Cheap to ask: on the path of every signature.
#[derive(Debug)]
pub struct ReleaseCheck {
    /// Generations below this number are dead to us.
    dead_below: AtomicU32,
    /// Held for reading while a reply is handed over, for writing while the release check closes: so that once
    /// it is closed, nothing is half way through it.
    passage: RwLock<()>,
    /// Another daemon was seen to hold the lock.
    revoked: AtomicBool,
    lease: Option<Lease>,
}

/// Proof of the writer lock, which runs out.
#[derive(Debug)]
struct Lease {
    grace: Duration,
    epoch: Instant,
    /// Milliseconds after the epoch at which the newest proof was asked for, plus one; 0 is none.
    proved: AtomicU64,
}

impl ReleaseCheck {
    /// An open release check; `grace` is how long a proof of the lock lasts, if it has to be proved at all.
    pub fn new(grace: Option<Duration>) -> Self {
        Self {
            dead_below: AtomicU32::new(0),
            passage: RwLock::new(()),
            revoked: AtomicBool::new(false),
            lease: grace.map(|grace| Lease {
                grace,
                epoch: Instant::now(),
                proved: AtomicU64::new(0),
            }),
        }
    }

    /// Lets nothing signed by a generation below this number leave any more.
    pub fn close_below(&self, sequence_number: u32) {
        let _nobody_passes = self.passage.write();
        self.dead_below.store(sequence_number, Ordering::Release);
    }

    /// Takes a closing back: the taint did not happen.
    pub fn reopen_from(&self, sequence_number: u32) {
        self.dead_below.store(sequence_number, Ordering::Release);
    }

    /// Whether what this generation signed may leave.
    pub fn admits(&self, sequence_number: u32) -> bool {
        sequence_number >= self.dead_below.load(Ordering::Acquire)
    }

    /// Hands something over if it may leave; a closing release check waits for it. Without a proof of the lock
    /// nothing leaves: the other daemon may have tainted what signed it.
    pub fn pass<T>(&self, sequence_number: u32, hand_over: impl FnOnce() -> T) -> Option<T> {
        let _passing = self.passage.read();
        (self.admits(sequence_number) && self.lease_is_valid()).then(hand_over)
    }

    /// Notes whether another daemon was seen to hold the lock.
    pub fn set_revoked(&self, revoked: bool) {
        self.revoked.store(revoked, Ordering::Release);
    }

    /// Notes that a proof of the lock, asked for at `asked`, has succeeded.
    pub fn renew_lease(&self, asked: Instant) {
        if let Some(lease) = &self.lease {
            let millis = asked.saturating_duration_since(lease.epoch).as_millis() as u64;
            lease.proved.fetch_max(millis + 1, Ordering::AcqRel);
        }
    }

    /// Whether nobody else was seen to hold the lock and, where it has to be proved, it has been proved
    /// recently enough to sign.
    pub fn lease_is_valid(&self) -> bool {
        if self.revoked.load(Ordering::Acquire) {
            return false;
        }
        let Some(lease) = &self.lease else { return true };
        match lease.proved.load(Ordering::Acquire) {
            0 => false,
            proved => {
                let at = lease.epoch + Duration::from_millis(proved - 1);
                at.elapsed() < lease.grace
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_nothing_older_through() {
        let release_check = ReleaseCheck::new(None);
        assert_eq!(release_check.pass(3, || "sent"), Some("sent"));
        release_check.close_below(4);
        assert_eq!(release_check.pass(3, || "sent"), None);
        assert_eq!(release_check.pass(4, || "sent"), Some("sent"));
        release_check.reopen_from(3);
        assert!(release_check.admits(3));
    }

    #[test]
    fn a_lease_runs_out() {
        let release_check = ReleaseCheck::new(Some(Duration::from_secs(60)));
        assert!(!release_check.lease_is_valid(), "nothing was proved yet");
        release_check.renew_lease(Instant::now());
        assert!(release_check.lease_is_valid());
        assert_eq!(release_check.pass(0, || "sent"), Some("sent"));
        let release_check = ReleaseCheck::new(Some(Duration::ZERO));
        release_check.renew_lease(Instant::now());
        assert!(!release_check.lease_is_valid());
        assert_eq!(release_check.pass(0, || "sent"), None);
    }
}
