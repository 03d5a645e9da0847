//! Waiting for conditions, and the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hsmd_chain::Timestamp;

/// How long anything may take before a test fails: long, since a loaded machine is no fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until there is something to be seen; fails the test after [`PATIENCE`].
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look).await
}

/// As [`until`], with a time that is itself what is tested.
pub async fn within<T>(time: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "not seen within {time:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The time by the machine's clock, which is the daemon's.
#[expect(clippy::disallowed_methods, reason = "the harness's clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_unix_millis(millis).ok())
        .expect("a clock between the years 1 and 9999")
}
