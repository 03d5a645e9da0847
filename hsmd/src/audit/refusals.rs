//! Refused calls, summarised: the first of a kind in full, then a count a minute. So a peer that is
//! refused can neither wash other records out of a file nor fill a journal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Record;

/// How long a summary covers.
const PERIOD: Duration = Duration::from_secs(60);

/// So many refusals of a kind are recorded in full in a period: of all unknown peers, and of one caller.
const IN_FULL: [u64; 2] = [1, 60];

/// Refusals of one kind are of the same caller, or of unknown peers; of one method and one outcome.
type Kind = (Option<String>, &'static str, String);

/// The kinds of this period. Callers, methods and outcomes are few, so these are.
#[derive(Debug, Default)]
pub struct Refusals {
    kinds: HashMap<Kind, Counted>,
}

#[derive(Debug)]
struct Counted {
    since: Instant,
    count: u64,
    /// Those that are not recorded in full; the newest of them stands for all.
    more: u64,
    newest: Record,
}

impl Refusals {
    /// Counts one; whether it is to be recorded in full.
    pub fn count(&mut self, record: &Record, now: Instant) -> bool {
        let kind = (record.caller.clone(), record.method, record.outcome.clone());
        let in_full = IN_FULL[usize::from(record.caller.is_some())];
        let counted = self.kinds.entry(kind).or_insert_with(|| Counted {
            since: now,
            count: 0,
            more: 0,
            newest: record.clone(),
        });
        counted.count += 1;
        if counted.count <= in_full {
            return true;
        }
        counted.more += 1;
        false
    }

    /// The summaries of the periods that are over, or of all.
    pub fn due(&mut self, now: Instant, all: bool) -> Vec<Record> {
        let mut due = Vec::new();
        self.kinds.retain(|_, counted| {
            if !all && now.saturating_duration_since(counted.since) < PERIOD {
                return true;
            }
            if counted.more > 0 {
                let mut summary = counted.newest.clone();
                summary.request_id = "".into();
                summary.count = Some(counted.more);
                if summary.caller.is_none() {
                    summary.peer = "unknown peers".into();
                }
                due.push(summary);
            }
            false
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn the_first_is_whole_and_the_rest_is_a_count_a_minute() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let of = |caller: Option<&str>| Record { caller: caller.map(str::to_owned), ..record(1) };
        let whole = |refusals: &mut Refusals, caller, times: usize| {
            (0..times).filter(|_| refusals.count(&of(caller), now)).count()
        };
        assert_eq!(whole(&mut refusals, None, 1000), 1);
        assert_eq!(whole(&mut refusals, Some("auth"), 1000), 60);
        assert!(refusals.due(now + Duration::from_secs(59), false).is_empty());
        let mut due: Vec<_> = refusals
            .due(now + PERIOD, false)
            .into_iter()
            .map(|summary| (summary.peer, summary.caller, summary.count))
            .collect();
        due.sort();
        assert_eq!(
            due,
            [
                ("uid 1".into(), Some("auth".into()), Some(940)),
                ("unknown peers".into(), None, Some(999))
            ]
        );
        assert_eq!(whole(&mut refusals, None, 1), 1, "a new period");
    }
}
