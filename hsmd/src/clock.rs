//! The one clock: wall time for what is signed, monotonic time for what is waited for.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::Timestamp;
use hsmd_support::unix_millis;
use parking_lot::Mutex;

/// How far two clocks may differ before nothing is stamped.
pub const TOLERANCE: Duration = Duration::from_secs(2);

/// The machine's clock, with what wall and monotonic time were at the start, and what the database's said last.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    started_wall: i64,
    database: Arc<Mutex<Option<DatabaseClock>>>,
}

/// A reading of the database's clock. What passes between the reading and its use, at a slow token for
/// example, is no difference between the clocks; nor is what the answer took.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseClock {
    millis: i64,
    asked: Instant,
    answered: Instant,
}

/// Why no event may be stamped now: one stamped years ahead would kill the identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockSuspect {
    /// The head lies ahead of our clock.
    #[error("the head was made at {head}, our clock says {now}: it is behind")]
    BehindHead {
        /// When the head was made.
        head: Timestamp,
        /// Our time.
        now: Timestamp,
    },
    /// We and Postgres disagree.
    #[error("our clock and the database's differ by {0} ms: correct one of them")]
    DiffersFromDatabase(u64),
    /// The wall clock was set while we ran.
    #[error(
        "the clock was set by {0} ms since the daemon started: see that it is right, then restart"
    )]
    WasSet(u64),
    /// The clock's value is no time that can be written.
    #[error("the clock does not show a time between the years 1 and 9999")]
    OutOfRange,
}

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_wall: unix_millis(), database: Arc::default() }
    }

    /// The wall time, truncated to milliseconds.
    ///
    /// # Errors
    /// [`ClockSuspect::OutOfRange`].
    pub fn now(&self) -> Result<Timestamp, ClockSuspect> {
        Timestamp::from_unix_millis(unix_millis()).map_err(|_| ClockSuspect::OutOfRange)
    }

    /// Monotonic time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Keeps a reading of the database's clock, with which [`check`](Self::check) compares from now on.
    pub fn compare_with(&self, database: DatabaseClock) {
        *self.database.lock() = Some(database);
    }

    /// The time, if our own clock is not suspect: it was not set, the head is not ahead of it, and the
    /// database's, as it was read last, agrees.
    ///
    /// # Errors
    /// [`ClockSuspect`].
    pub fn check(&self, head: Timestamp) -> Result<Timestamp, ClockSuspect> {
        let now = self.now()?;
        check(now, head, self.started_wall + millis_since(self.started))?;
        let database = *self.database.lock();
        database.map_or(Ok(now), |database| agree(now, database.now()).map(|()| now))
    }

    /// The time to stamp an event with, after `head`, if all clocks agree.
    ///
    /// # Errors
    /// [`ClockSuspect::BehindHead`], [`ClockSuspect::DiffersFromDatabase`] or [`ClockSuspect::WasSet`]:
    /// which clocks disagree by more than 2 s.
    pub fn stamp(
        &self,
        head: Timestamp,
        database: DatabaseClock,
    ) -> Result<Timestamp, ClockSuspect> {
        let now = self.now()?;
        stamp(now, head, database.now(), self.started_wall + millis_since(self.started))
    }
}

/// The earliest time for an event after `head`: for a taint that no clock can stamp.
///
/// # Errors
/// [`ClockSuspect::OutOfRange`].
pub fn after(head: Timestamp) -> Result<Timestamp, ClockSuspect> {
    Timestamp::from_unix_millis(head.unix_millis() + 1).map_err(|_| ClockSuspect::OutOfRange)
}

impl DatabaseClock {
    /// The answer in milliseconds since 1970 to a question that was asked at this instant.
    pub fn read(millis: i64, asked: Instant) -> Self {
        Self { millis, asked, answered: Instant::now() }
    }

    /// What it may say now.
    fn now(self) -> RangeInclusive<i64> {
        let at_least = self.millis.saturating_add(millis_since(self.answered));
        at_least..=self.millis.saturating_add(millis_since(self.asked))
    }
}

fn millis_since(instant: Instant) -> i64 {
    i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX)
}

fn stamp(
    now: Timestamp,
    head: Timestamp,
    database: RangeInclusive<i64>,
    expected: i64,
) -> Result<Timestamp, ClockSuspect> {
    check(now, head, expected)?;
    agree(now, database)?;
    let after_head = head.unix_millis() + 1;
    let millis = now.unix_millis().max(after_head);
    Timestamp::from_unix_millis(millis).map_err(|_| ClockSuspect::OutOfRange)
}

/// Whether the database's clock may say the same.
fn agree(now: Timestamp, database: RangeInclusive<i64>) -> Result<(), ClockSuspect> {
    let nearest = now.unix_millis().clamp(*database.start(), *database.end());
    let off = now.unix_millis().abs_diff(nearest);
    let agrees = u128::from(off) <= TOLERANCE.as_millis();
    if agrees { Ok(()) } else { Err(ClockSuspect::DiffersFromDatabase(off)) }
}

/// Whether our own clock is right, as far as it can be told without another.
fn check(now: Timestamp, head: Timestamp, expected: i64) -> Result<(), ClockSuspect> {
    let tolerance = TOLERANCE.as_millis() as i64;
    let was_set = now.unix_millis().abs_diff(expected);
    if was_set > tolerance.unsigned_abs() {
        return Err(ClockSuspect::WasSet(was_set));
    }
    if head.unix_millis() - now.unix_millis() > tolerance {
        return Err(ClockSuspect::BehindHead { head, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn a_reading_of_the_databases_clock_ages() {
        let asked = Instant::now() - Duration::from_secs(30);
        let answered = asked + Duration::from_secs(4);
        let now = DatabaseClock { millis: 0, asked, answered }.now();
        assert!(*now.start() >= 26_000 && *now.end() - *now.start() >= 4000, "{now:?}");
    }

    #[test]
    fn events_are_stamped_only_when_all_clocks_agree() {
        let base = 1_700_000_000_000;
        let stamp = |now, head, database: i64, expected: i64| {
            // The answer took a second.
            let database = base + database - 1000..=base + database;
            stamp(at(now), at(head), database, base + expected)
        };
        assert_eq!(stamp(0, -5000, 1999, -1999), Ok(at(0)));
        assert_eq!(stamp(0, 0, 0, 0), Ok(at(1)), "two events within a millisecond");
        assert_eq!(stamp(0, 1500, 0, 0), Ok(at(1501)), "a head a little ahead");
        assert!(matches!(stamp(0, 2001, 0, 0), Err(ClockSuspect::BehindHead { .. })));
        assert_eq!(stamp(0, -5, 2999, 0), Ok(at(0)));
        assert_eq!(stamp(0, -5, 3001, 0), Err(ClockSuspect::DiffersFromDatabase(2001)));
        assert_eq!(stamp(0, -5, -2000, 0), Ok(at(0)));
        assert_eq!(stamp(0, -5, -2001, 0), Err(ClockSuspect::DiffersFromDatabase(2001)));
        assert_eq!(stamp(0, -5, 0, -2001), Err(ClockSuspect::WasSet(2001)));
    }
}
