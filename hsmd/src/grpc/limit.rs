//! How much of the daemon there is, in all and for one caller: connections, and the bytes of calls in
//! flight ([`Share`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::share::{Purse, Share};
use crate::config::LimitsConfig;

/// How long calls on a connection that has lived long enough may go on: as long again, a minute at the
/// most.
const GRACE: Duration = Duration::from_secs(60);

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A user of this machine.
    Uid(u32),
    /// An address.
    Address(IpAddr),
}

/// The count of one listener's connections.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    limits: LimitsConfig,
    open: Arc<Mutex<Open>>,
    bytes: Arc<Purse>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<Origin, Account>,
}

/// What one origin has.
#[derive(Debug)]
struct Account {
    connections: usize,
    bytes: Arc<Purse>,
}

/// A counted connection, until dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    origin: Origin,
    share: Share,
    lifetime: Duration,
    open: Arc<Mutex<Open>>,
}

impl Limit {
    /// A listener's own count of connections; `bytes` is what all listeners share.
    pub(super) fn new(limits: LimitsConfig, bytes: Arc<Purse>) -> Self {
        Self { limits, open: Arc::default(), bytes }
    }

    /// Counts one more connection, if there may be one.
    pub(super) fn admit(&self, origin: Origin) -> Option<ConnectionGuard> {
        let mut open = self.open.lock();
        if open.all >= self.limits.connections {
            return None;
        }
        let account = open.of.entry(origin).or_insert_with(|| Account {
            connections: 0,
            bytes: Arc::new(Purse::new(self.limits.bytes_in_flight_per_caller)),
        });
        if account.connections >= self.limits.connections_per_caller {
            return None;
        }
        account.connections += 1;
        let share = Share::new(Arc::clone(&self.bytes), Arc::clone(&account.bytes));
        open.all += 1;
        let age = self.limits.connection_age;
        Some(ConnectionGuard {
            origin,
            share,
            lifetime: age + age.min(GRACE),
            open: Arc::clone(&self.open),
        })
    }
}

impl ConnectionGuard {
    /// What calls on this connection take from.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }

    /// After which time the connection is closed, whatever goes on on it.
    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.all -= 1;
        if let Some(account) = open.of.get_mut(&self.origin) {
            account.connections -= 1;
            if account.connections == 0 {
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
        Limit::new(limits, Arc::new(Purse::new(150_000)))
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
    fn connections_of_one_origin_share_their_bytes() {
        let limit = limit();
        let (a, b) = (Origin::Uid(1), Origin::Uid(2));
        let (one, other) = (limit.admit(a).unwrap(), limit.admit(a).unwrap());
        let mut call = one.share().begin().unwrap();
        call.take(60_000).unwrap();
        let mut more = other.share().begin().unwrap();
        assert!(more.take(60_000).is_err(), "more than the origin may have");
        let stranger = limit.admit(b).unwrap();
        let mut theirs = stranger.share().begin().unwrap();
        assert!(theirs.take(60_000).is_err(), "more than there is in all");
        drop(call);
        more.take(60_000).unwrap();
        drop((one, more));
        theirs.take(60_000).unwrap();
    }
}
