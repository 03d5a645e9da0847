//! Verification: whole logs and a single extension, without a daemon.

use std::time::{Duration, Instant};

use hsmd_chain::testing::LogBuilder;
use hsmd_chain::{Anchor, KeyLog, SignedEvent, Timestamp};

use crate::raw::Sample;

/// A log of so many events, to be verified again and again.
pub(crate) struct Log {
    events: Vec<SignedEvent>,
    json: String,
    anchor: Anchor,
    now: Timestamp,
}

const SKEW: Duration = Duration::from_secs(5);

impl Log {
    /// Signs the log in software.
    pub(crate) fn of_length(length: usize) -> Self {
        let builder = LogBuilder::of_length("bench", length);
        let events = builder.events().to_vec();
        let now = events.last().expect("an event").event().created_at();
        let mut log =
            Self { anchor: Anchor::new(builder.identity()), events, json: String::new(), now };
        log.json = log.verified(length).to_json();
        log
    }

    fn verified(&self, length: usize) -> KeyLog {
        KeyLog::verify(self.events[..length].to_vec(), &self.anchor, self.now, SKEW)
            .expect("a log that verifies")
    }

    /// Verifies the whole published log, at least once and for so long.
    pub(crate) fn measure(&self, millis: u64) -> Sample {
        self.repeat(millis, || {
            KeyLog::verify_json(self.json.as_bytes(), &self.anchor, self.now, SKEW)
                .expect("a log that verifies");
        })
    }

    /// Extends the log by its last event.
    pub(crate) fn measure_extension(&self, millis: u64) -> Sample {
        let all_but_one = self.verified(self.events.len() - 1);
        let last = self.events.last().expect("an event");
        self.repeat(millis, || {
            let mut log = all_but_one.clone();
            log.extend(last.clone(), self.now, SKEW).expect("an extension");
        })
    }

    fn repeat(&self, millis: u64, work: impl Fn()) -> Sample {
        let (began, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || began.elapsed() < Duration::from_millis(millis) {
            let one = Instant::now();
            work();
            times.push(one.elapsed());
        }
        Sample::of(times, began.elapsed())
    }
}
