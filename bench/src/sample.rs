//! What one stretch of measuring gave.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Operations a second.
    pub(crate) rate: f64,
    /// Microseconds at the median.
    pub(crate) p50: f64,
    /// Microseconds at the 99th percentile.
    pub(crate) p99: f64,
    /// Microseconds of processor time each: of the thread that holds the session, and of all others,
    /// callers included.
    pub(crate) cpu: Option<(f64, f64)>,
}

impl Sample {
    /// From the times of single operations, in a stretch of wall time.
    pub(crate) fn of(mut times: Vec<Duration>, wall: Duration) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        let rate = times.len() as f64 / wall.as_secs_f64();
        Self { rate, p50: at(0.5), p99: at(0.99), cpu: None }
    }

    /// From the times of operations that were made one after the other.
    pub(crate) fn in_turn(times: Vec<Duration>) -> Self {
        let wall = times.iter().sum();
        Self::of(times, wall)
    }
}

/// The median of some numbers; not a number when there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
