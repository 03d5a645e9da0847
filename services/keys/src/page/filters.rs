//! How the templates write instants and lengths of time.
#![expect(unreachable_pub, reason = "askama's macro makes filters public")]

use std::{borrow::Borrow, fmt::Display, time::Duration};

use askama::{Result, Values, filter_fn};
use hsmd_chain::Timestamp;

/// The day of an instant: `2026-11-22`.
#[filter_fn]
pub(super) fn day(time: impl Display, _: &dyn Values) -> Result<String> {
    Ok(time.to_string()[..10].to_owned())
}

/// `2026-11-22 11:22 UTC`.
#[filter_fn]
pub(super) fn minute(time: impl Display, _: &dyn Values) -> Result<String> {
    let exact = time.to_string();
    Ok(format!("{} {} UTC", &exact[..10], &exact[11..16]))
}

/// How long ago an instant was, in its largest unit: `3 hours ago`, or `now`.
#[filter_fn]
pub(super) fn ago(time: impl Borrow<Timestamp>, _: &dyn Values, now: &Timestamp) -> Result<String> {
    let duration = now.saturating_since(*time.borrow());
    let is_now = duration < Duration::from_secs(1);
    Ok(if is_now { "now".to_owned() } else { format!("{} ago", length(duration)) })
}

/// A length of time in its largest unit: `3 hours`.
pub(super) fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_for_people() {
        for (seconds, text) in [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (3599, "59 minutes"),
            (7200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }
}
