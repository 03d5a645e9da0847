//! The clock of this crate: wall time in whole milliseconds, given as an argument.

use std::fmt;
use std::sync::Arc;

use hsmd_chain::Timestamp;
use hsmd_support::unix_millis;

/// Tells the wall time: the one by which events, endorsements and windows are judged. What lasts
/// (staleness, backoff) is measured by a monotonic clock instead and not through this.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| Timestamp::from_unix_millis(unix_millis()).unwrap_or(Timestamp::MAX))
    }

    /// Any other source of time.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
