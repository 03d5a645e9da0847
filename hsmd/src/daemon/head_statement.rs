//! Head statements: what the active generation says of itself, so that readers know how fresh a log is
//! (docs/formats.md, section 5). An idle daemon makes one whenever a signature is due to show that the token
//! still signs; under load callers' signatures show that, and a statement is made now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock::ClockSuspect;
use crate::daemon::state::{Phase, Shared};

/// How often one is made under load, when callers' signatures already show that the token signs.
const INTERVAL_UNDER_LOAD: Duration = Duration::from_secs(5);

/// Asks the token for statements, one at a time.
#[derive(Debug)]
pub struct HeadStatements {
    shared: Arc<Shared>,
    asking: Arc<AtomicBool>,
    suspect: Arc<AtomicBool>,
    asked: Instant,
}

impl HeadStatements {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, asking: Arc::default(), suspect: Arc::default(), asked: Instant::now() }
    }

    /// Asks for one if it is due, in the next `period` at the latest.
    pub fn ask_if_due(&mut self, period: Duration) {
        let worker = self.shared.signer.active();
        let interval = worker.config().health_interval;
        let last_good = worker.liveness().last_good();
        let since_asked = self.asked.elapsed();
        let may_ask = self.shared.phase() == Phase::Serving && !worker.is_held();
        if may_ask
            && is_due(last_good, since_asked, interval.saturating_sub(period))
            && !self.asking.swap(true, Ordering::AcqRel)
        {
            self.asked = Instant::now();
            let (shared, asking) = (Arc::clone(&self.shared), Arc::clone(&self.asking));
            let suspect = Arc::clone(&self.suspect);
            tokio::spawn(async move {
                make(&shared, &suspect).await;
                asking.store(false, Ordering::Release);
            });
        }
    }
}

/// Whether a statement is due: the token's last good signature is too old, or the last statement is.
fn is_due(last_good: Option<Duration>, since_asked: Duration, interval: Duration) -> bool {
    last_good.is_none_or(|age| age >= interval) || since_asked >= interval.max(INTERVAL_UNDER_LOAD)
}

async fn make(shared: &Shared, suspect: &AtomicBool) {
    let stamp = stamp(shared);
    let is_suspect = stamp.is_err();
    if suspect.swap(is_suspect, Ordering::AcqRel) != is_suspect {
        match &stamp {
            Err(error) => tracing::warn!(%error, "no head statements: clock suspect"),
            Ok(_) => tracing::info!("head statements again: clocks agree"),
        }
    }
    let signer = &shared.signer;
    let stamp = stamp.ok();
    let made = signer.active().run_once(move |token_state| token_state.sign_head(stamp)).await;
    let statement = match made {
        Ok(Ok(statement)) => statement,
        // The cause is in the liveness and in the token's report.
        Ok(Err(error)) => {
            tracing::debug!(%error, "no head statement");
            None
        }
        Err(_) => None,
    };
    shared.set_head_statement(statement);
}

/// The time to put into a statement. One from the future could be kept and shown later, when the log has
/// moved on: so none is made while clocks are suspect.
fn stamp(shared: &Shared) -> Result<hsmd_chain::Timestamp, ClockSuspect> {
    let log = shared.log.borrow();
    match log.as_ref() {
        Some(log) => shared.clock.check(log.head().event().created_at()),
        None => shared.clock.now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_due_when_the_token_is_idle_or_none_was_made_for_a_while() {
        let seconds = Duration::from_secs;
        for (last_good, since_asked, interval, due) in [
            (None, 0, 1, true),
            (Some(0), 4, 1, false),
            (Some(0), 5, 1, true),
            (Some(1), 1, 1, true),
            (Some(29), 29, 30, false),
            (Some(0), 30, 30, true),
        ] {
            let found = is_due(last_good.map(seconds), seconds(since_asked), seconds(interval));
            assert_eq!(found, due, "{last_good:?} {since_asked} {interval}");
        }
    }
}
