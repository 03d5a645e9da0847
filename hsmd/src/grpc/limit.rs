//! How many connections there may be, in all and of one caller.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::LimitsConfig;

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A user of this machine.
    Uid(u32),
    /// An address.
    Address(IpAddr),
}

/// The count of connections.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    limits: LimitsConfig,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<Origin, usize>,
}

/// A counted connection, until dropped.
#[derive(Debug)]
pub(super) struct Slot {
    origin: Origin,
    open: Arc<Mutex<Open>>,
}

impl Limit {
    pub(super) fn new(limits: LimitsConfig) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// Counts one more connection, if there may be one.
    pub(super) fn admit(&self, origin: Origin) -> Option<Slot> {
        let mut open = self.open.lock();
        if open.all >= self.limits.connections {
            return None;
        }
        let of = open.of.entry(origin).or_default();
        if *of >= self.limits.connections_per_caller {
            return None;
        }
        *of += 1;
        open.all += 1;
        Some(Slot { origin, open: Arc::clone(&self.open) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.all -= 1;
        if let Some(of) = open.of.get_mut(&self.origin) {
            *of -= 1;
            if *of == 0 {
                open.of.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_of_each() {
        let limits =
            LimitsConfig { connections: 3, connections_per_caller: 2, ..Default::default() };
        let limit = Limit::new(limits);
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
}
