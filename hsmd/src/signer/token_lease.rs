//! The lease on one token: valid for a while after each good look at the records of its owners
//! (`ownership`). Where no record can be kept, none is needed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a look showed that stands against this daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// Another claim, described for the operator.
    Superseded(String),
    /// Our record is gone, and no other claim stands: the token is to be claimed anew.
    RecordGone(String),
    /// This daemon has released the token.
    Released,
}

impl Against {
    /// For the operator.
    pub fn reason(&self) -> String {
        match self {
            Self::Superseded(reason) | Self::RecordGone(reason) => reason.clone(),
            Self::Released => "this daemon has released the token".into(),
        }
    }
}

/// The lease on one token.
#[derive(Debug)]
pub struct TokenLease {
    /// In milliseconds; 0 where none is needed.
    lasts: AtomicU64,
    begun: Instant,
    /// Milliseconds after `begun` at which the newest good look began.
    looked: AtomicU64,
    shut: AtomicBool,
    against: Mutex<Option<Against>>,
}

impl Default for TokenLease {
    fn default() -> Self {
        Self {
            lasts: AtomicU64::new(0),
            begun: Instant::now(),
            looked: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            against: Mutex::default(),
        }
    }
}

impl TokenLease {
    /// Notes that this daemon owns the token, and for how long a look counts.
    pub fn own(&self, lease: Duration, looked: Instant) {
        self.set_length(lease);
        self.looked(looked);
    }

    /// For how long a look counts from now on.
    pub fn set_length(&self, lease: Duration) {
        self.lasts.store(millis(lease), Ordering::Release);
    }

    /// Notes a look, begun at `asked`, that showed this daemon's claim as the newest.
    pub fn looked(&self, asked: Instant) {
        self.set_against(None);
        let at = millis(asked.saturating_duration_since(self.begun));
        self.looked.fetch_max(at, Ordering::AcqRel);
    }

    /// Notes what a look showed.
    pub fn set_against(&self, against: Option<Against>) {
        if against.is_none() && !self.shut.load(Ordering::Acquire) {
            return;
        }
        let mut current = self.against.lock();
        if *current != against {
            match &against {
                Some(Against::Released) => tracing::info!("token released"),
                Some(against) => tracing::error!(reason = against.reason(), "token not ours"),
                None => tracing::info!("token ours again"),
            }
        }
        self.shut.store(against.is_some(), Ordering::Release);
        *current = against;
    }

    /// What stands against this daemon.
    pub fn against(&self) -> Option<Against> {
        self.against.lock().clone()
    }

    /// Whether another daemon owns the token, for all that the looks have shown.
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Whether this daemon holds the token by a record.
    pub fn is_needed(&self) -> bool {
        self.lasts.load(Ordering::Acquire) > 0
    }

    /// Whether a good look is younger than the lease.
    pub fn is_valid(&self) -> bool {
        if self.is_shut() {
            return false;
        }
        let lasts = self.lasts.load(Ordering::Acquire);
        let looked = self.looked.load(Ordering::Acquire);
        lasts == 0 || millis(self.begun.elapsed()).saturating_sub(looked) < lasts
    }

    /// Why it is not valid.
    pub fn problem(&self) -> Option<String> {
        let against = self.against().map(|against| against.reason());
        let late = || "the token has not been looked at for the time of the lease on it".to_owned();
        against.or_else(|| (!self.is_valid()).then(late))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_counts_for_as_long_as_the_lease() {
        let lease = TokenLease::default();
        assert!(lease.is_valid(), "without a claim none is needed");
        lease.own(Duration::from_secs(60), Instant::now());
        assert!(lease.is_valid());
        let late = TokenLease::default();
        late.own(Duration::from_millis(1), Instant::now());
        while late.is_valid() {
            std::thread::yield_now();
        }
        assert!(late.problem().is_some());
        late.set_length(Duration::from_secs(60));
        late.looked(Instant::now());
        assert!(late.is_valid());
        assert_eq!(late.problem(), None);
    }

    #[test]
    fn another_claim_shuts_it_for_as_long_as_it_stands() {
        let lease = TokenLease::default();
        lease.own(Duration::from_secs(60), Instant::now());
        lease.set_against(Some(Against::Superseded("another".into())));
        assert!(!lease.is_valid());
        assert_eq!(lease.problem().as_deref(), Some("another"));
        lease.looked(Instant::now());
        assert!(lease.is_valid());
        assert_eq!(lease.problem(), None);
    }
}
