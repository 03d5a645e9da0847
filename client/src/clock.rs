//! The clock of this crate: wall time in whole milliseconds, given as an argument.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hsmd_chain::Timestamp;

/// Tells the wall time: the one by which events, endorsements and windows are judged. What lasts
/// (staleness, backoff) is measured by a monotonic clock instead and not through this.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            #[expect(clippy::disallowed_methods, reason = "this is the clock")]
            let now = SystemTime::now();
            let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since_epoch.as_millis())
                .ok()
                .and_then(|millis| Timestamp::from_unix_millis(millis).ok())
                .unwrap_or(Timestamp::MAX)
        })
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
