//! The count of a listener's connections, in all and of one origin, and the memory budget that the
//! connections of one origin share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::LimitsConfig;
use crate::grpc::budget::{Budget, MemoryBudget};

/// How long calls on a connection at its age limit may go on: as long again, a minute at the most.
const AGE_GRACE: Duration = Duration::from_secs(60);

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A user of this machine.
    Uid(u32),
    /// An address.
    Address(IpAddr),
}

/// The count of one listener's connections.
#[derive(Clone, Debug)]
pub struct Limit {
    limits: LimitsConfig,
    open: Arc<Mutex<Open>>,
    bytes: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<Origin, OriginCount>,
}

/// What one origin has.
#[derive(Debug)]
struct OriginCount {
    connections: usize,
    bytes: Arc<Budget>,
}

/// A counted connection, until dropped.
#[derive(Debug)]
pub struct ConnectionGuard {
    origin: Origin,
    budget: MemoryBudget,
    lifetime: Duration,
    open: Arc<Mutex<Open>>,
}

impl Limit {
    /// A listener's own count of connections; `bytes` is what all listeners share.
    pub fn new(limits: LimitsConfig, bytes: Arc<Budget>) -> Self {
        Self { limits, open: Arc::default(), bytes }
    }

    /// Counts one more connection, if there may be one.
    pub fn admit(&self, origin: Origin) -> Option<ConnectionGuard> {
        let mut open = self.open.lock();
        if open.all >= self.limits.connections {
            return None;
        }
        let count = open.of.entry(origin).or_insert_with(|| OriginCount {
            connections: 0,
            bytes: Arc::new(Budget::new(self.limits.bytes_in_flight_per_caller)),
        });
        if count.connections >= self.limits.connections_per_caller {
            return None;
        }
        count.connections += 1;
        let budget = MemoryBudget::new(Arc::clone(&self.bytes), Arc::clone(&count.bytes));
        open.all += 1;
        let age = self.limits.connection_age;
        Some(ConnectionGuard {
            origin,
            budget,
            lifetime: age + age.min(AGE_GRACE),
            open: Arc::clone(&self.open),
        })
    }
}

impl ConnectionGuard {
    /// What calls on this connection reserve from.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// After which time the connection is closed, whatever goes on on it.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.all -= 1;
        if let Some(count) = open.of.get_mut(&self.origin) {
            count.connections -= 1;
            if count.connections == 0 {
                open.of.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        let limits = LimitsConfig {
            connections: 3,
            connections_per_caller: 2,
            bytes_in_flight_per_caller: 100_000,
            ..Default::default()
        };
        Limit::new(limits, Arc::new(Budget::new(150_000)))
    }

    #[test]
    fn connections_are_counted_in_all_and_of_each() {
        let limit = limit();
        let (a, b) = (Origin::Uid(1), Origin::Uid(2));
        let first = limit.admit(a).unwrap();
        let _second = limit.admit(a).unwrap();
        assert!(limit.admit(a).is_none(), "a has its two");
        let _third = limit.admit(b).unwrap();
        assert!(limit.admit(b).is_none(), "three in all");
        drop(first);
        assert!(limit.admit(b).is_some());
        assert_eq!(limit.open.lock().all, 2);
    }

    #[test]
    fn connections_of_one_origin_have_one_budget() {
        let limit = limit();
        let (a, b) = (Origin::Uid(1), Origin::Uid(2));
        let (one, other) = (limit.admit(a).unwrap(), limit.admit(a).unwrap());
        let mut call = one.budget().reserve().unwrap();
        call.add(60_000).unwrap();
        let mut more = other.budget().reserve().unwrap();
        assert!(more.add(60_000).is_err(), "more than the origin may have");
        let other_user = limit.admit(b).unwrap();
        let mut theirs = other_user.budget().reserve().unwrap();
        assert!(theirs.add(60_000).is_err(), "more than there is in all");
        drop(call);
        more.add(60_000).unwrap();
        drop((one, more));
        theirs.add(60_000).unwrap();
    }
}
