//! Taints wait for the database for a moment only, and so does whatever is in their way: a taint must not
//! hang on a database that hangs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// For how long the database may keep a taint from its end, from the taint's arrival on.
const DATABASE_TIMEOUT: Duration = Duration::from_millis(700);

/// And at least from the moment at which the taint can begin.
const DATABASE_TIMEOUT_FROM_BEGINNING: Duration = Duration::from_millis(250);

/// The taints that have arrived and are not answered yet.
#[derive(Clone, Debug, Default)]
pub struct Taints(watch::Sender<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Until when each waits for the database.
    until: BTreeMap<u64, Instant>,
}

/// A taint that has arrived; dropped when it has been answered.
#[derive(Debug)]
pub struct TaintGuard {
    taints: Taints,
    number: u64,
}

impl Taints {
    /// Notes that a taint has arrived.
    pub fn arrive(&self) -> TaintGuard {
        let mut number = 0;
        self.0.send_modify(|waiting| {
            number = waiting.next;
            waiting.next += 1;
            waiting.until.insert(number, Instant::now() + DATABASE_TIMEOUT);
        });
        TaintGuard { taints: self.clone(), number }
    }

    /// Waits for work that waits for the database, but no longer than a taint does; none then.
    pub async fn unless_late<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut changes = self.0.subscribe();
        loop {
            let until = changes.borrow_and_update().until.values().min().copied();
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = passes(until) => return None,
                // The sender is ours.
                _ = changes.changed() => {}
            }
        }
    }
}

impl TaintGuard {
    /// Nothing is in the taint's way any more.
    pub fn begin(&self) {
        let least = Instant::now() + DATABASE_TIMEOUT_FROM_BEGINNING;
        self.taints.0.send_modify(|waiting| {
            if let Some(until) = waiting.until.get_mut(&self.number) {
                *until = least.max(*until);
            }
        });
    }
}

impl Drop for TaintGuard {
    fn drop(&mut self) {
        self.taints.0.send_modify(|waiting| {
            waiting.until.remove(&self.number);
        });
    }
}

async fn passes(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_for_the_database_gives_way_to_a_taint() {
        let taints = Taints::default();
        assert_eq!(taints.unless_late(async { 1 }).await, Some(1));
        let hangs = taints.unless_late(std::future::pending::<()>());
        let arrives = async {
            tokio::task::yield_now().await;
            taints.arrive()
        };
        let (given_up, taint) = tokio::join!(hangs, arrives);
        assert_eq!(given_up, None);

        // It has waited long enough, and is given a little more once it begins.
        assert_eq!(taints.unless_late(std::future::pending::<()>()).await, None);
        taint.begin();
        let late = taints.0.borrow().until.values().all(|until| *until > Instant::now());
        assert!(late, "a taint that begins late may still ask the database");
        drop(taint);
        assert!(taints.0.borrow().until.is_empty());
    }
}
