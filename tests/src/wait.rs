//! Waiting for conditions, and the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hsmd_chain::Timestamp;

/// How long anything may take before a test fails: long, since a loaded machine is no fault.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a look at a condition gives: nothing yet, or what was waited for.
pub trait Look {
    /// What was waited for.
    type Seen;

    /// That, if it is there.
    fn seen(self) -> Option<Self::Seen>;
}

impl<T> Look for Option<T> {
    type Seen = T;

    fn seen(self) -> Option<T> {
        self
    }
}

impl Look for bool {
    type Seen = ();

    fn seen(self) -> Option<()> {
        self.then_some(())
    }
}

/// Looks until a condition is true or there is something to be seen; fails the test after [`TEST_TIMEOUT`].
pub async fn until<L: Look>(what: &str, look: impl AsyncFnMut() -> L) -> L::Seen {
    within(TEST_TIMEOUT, what, look).await
}

/// As [`until`], with a time that is itself what is tested.
pub async fn within<L: Look>(
    time: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> L,
) -> L::Seen {
    let end = Instant::now() + time;
    loop {
        if let Some(seen) = look().await.seen() {
            return seen;
        }
        assert!(Instant::now() < end, "not seen within {time:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`until`], in a thread that may wait.
#[track_caller]
pub fn wait_for<L: Look>(what: &str, mut look: impl FnMut() -> L) -> L::Seen {
    let end = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(seen) = look().seen() {
            return seen;
        }
        assert!(Instant::now() < end, "not seen within {TEST_TIMEOUT:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits for something that comes by itself; fails the test after [`TEST_TIMEOUT`].
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, what).await.expect("comes in time")
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
