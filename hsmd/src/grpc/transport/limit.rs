//! The limits of one listener: its callers' connections, in all and of one origin, with the memory budget
//! that the connections of one origin have in common; and the pools that all unknown peers share.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::origin::Origin;
use super::pool::{Place, Pool};
use crate::authz::Peer;
use crate::config::LimitsConfig;
use crate::grpc::budget::{Budget, MemoryBudget};
use crate::observe::metrics::LimitCounters;

/// How long calls on a connection at its age limit may go on: as long again, a minute at the most.
const AGE_GRACE: Duration = Duration::from_secs(60);

/// How long the closing of a connection that made room may take.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// Done when a connection must close.
pub type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether a peer is a caller of this listener.
pub type IsKnown = Arc<dyn Fn(&Peer) -> bool + Send + Sync>;

/// The limits of one listener.
#[derive(Clone)]
pub struct Limit {
    limits: LimitsConfig,
    is_known: IsKnown,
    open: Arc<Mutex<Open>>,
    /// What all callers of all listeners share.
    bytes: Arc<Budget>,
    unknown: Pool,
    unknown_bytes: Arc<Budget>,
    handshakes: Pool,
    counters: LimitCounters,
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
pub struct ConnectionGuard {
    pub known: bool,
    /// What calls on this connection reserve from.
    pub budget: MemoryBudget,
    /// How old the connection may be.
    pub age: Duration,
    /// After which time it is closed, whatever goes on on it.
    pub lifetime: Duration,
    /// Done when an unknown peer's connection has to make room.
    pub evicted: Option<Closing>,
    _count: Count,
}

/// What ends with a connection.
enum Count {
    Caller { _counted: Counted },
    Unknown { _place: Place },
}

/// One of the callers' connections.
struct Counted {
    origin: Origin,
    open: Arc<Mutex<Open>>,
}

impl Limit {
    /// A listener's own limits; `bytes` is what the callers of all listeners share.
    pub fn new(
        limits: LimitsConfig,
        bytes: Arc<Budget>,
        counters: LimitCounters,
        is_known: IsKnown,
    ) -> Self {
        Self {
            unknown: Pool::new(limits.unknown_connections),
            unknown_bytes: Arc::new(Budget::new(
                limits.unknown_bytes_in_flight,
                counters.unknown_bytes.clone(),
            )),
            handshakes: Pool::new(limits.unfinished_handshakes),
            limits,
            is_known,
            open: Arc::default(),
            bytes,
            counters,
        }
    }

    /// A place for a handshake, and what resolves when it has to make room. It waits for those that are being
    /// closed: a burst of silent connections, accepted all at once, turns no caller away.
    pub async fn begin_handshake(
        &self,
        origin: Origin,
    ) -> Option<(Place, impl Future<Output = ()> + Send + use<>)> {
        let admitted = async {
            loop {
                if let Some(admitted) = self.handshakes.admit(origin) {
                    return admitted;
                }
                self.handshakes.freed().await;
            }
        };
        let admitted = tokio::time::timeout(CLOSING_TIMEOUT, admitted).await.ok();
        if admitted.is_none() {
            self.counters.unfinished_handshakes.refuse();
        }
        admitted
    }

    /// Counts one more connection, if there may be one.
    pub fn admit(&self, peer: &Peer, origin: Origin) -> Option<ConnectionGuard> {
        if (self.is_known)(peer) { self.admit_caller(origin) } else { self.admit_unknown(origin) }
    }

    fn admit_caller(&self, origin: Origin) -> Option<ConnectionGuard> {
        let mut open = self.open.lock();
        if open.all >= self.limits.connections {
            self.counters.connections.refuse();
            return None;
        }
        let count = open.of.entry(origin).or_insert_with(|| OriginCount {
            connections: 0,
            bytes: Arc::new(Budget::uncounted(self.limits.bytes_in_flight_per_caller)),
        });
        if count.connections >= self.limits.connections_per_caller {
            return None;
        }
        count.connections += 1;
        let budget = MemoryBudget::new(Arc::clone(&self.bytes), Arc::clone(&count.bytes));
        open.all += 1;
        let counted = Counted { origin, open: Arc::clone(&self.open) };
        Some(self.guard(true, budget, None, Count::Caller { _counted: counted }))
    }

    fn admit_unknown(&self, origin: Origin) -> Option<ConnectionGuard> {
        let Some((place, evicted)) = self.unknown.admit(origin) else {
            self.counters.unknown_connections.refuse();
            return None;
        };
        let all = Arc::clone(&self.unknown_bytes);
        let own = Arc::new(Budget::uncounted(usize::MAX));
        let budget = MemoryBudget::new(all, own);
        let evicted: Closing = Box::pin(evicted);
        Some(self.guard(false, budget, Some(evicted), Count::Unknown { _place: place }))
    }

    fn guard(
        &self,
        known: bool,
        budget: MemoryBudget,
        evicted: Option<Closing>,
        count: Count,
    ) -> ConnectionGuard {
        let age = self.limits.connection_age;
        let lifetime = age + age.min(AGE_GRACE);
        ConnectionGuard { known, budget, age, lifetime, evicted, _count: count }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Drop for Counted {
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
    use crate::authz::UnixPeer;
    use crate::observe::metrics::LimitCounter;

    const UNKNOWN: u32 = 9;

    fn limit() -> Limit {
        let limits = LimitsConfig {
            connections: 3,
            connections_per_caller: 2,
            bytes_in_flight_per_caller: 100_000,
            unknown_connections: 4,
            unknown_bytes_in_flight: 32 * 1024,
            ..Default::default()
        };
        let bytes = Arc::new(Budget::new(150_000, LimitCounter::default()));
        let known = |peer: &Peer| matches!(peer, Peer::Unix(peer) if peer.uid != UNKNOWN);
        Limit::new(limits, bytes, LimitCounters::default(), Arc::new(known))
    }

    fn admit(limit: &Limit, uid: u32) -> Option<ConnectionGuard> {
        let peer = Peer::Unix(UnixPeer { uid, gids: Vec::new(), pid: None });
        limit.admit(&peer, Origin::Uid(uid))
    }

    #[test]
    fn connections_are_counted_in_all_and_of_each() {
        let limit = limit();
        let first = admit(&limit, 1).unwrap();
        let _second = admit(&limit, 1).unwrap();
        assert!(admit(&limit, 1).is_none(), "1 has its two");
        let _third = admit(&limit, 2).unwrap();
        assert!(admit(&limit, 2).is_none(), "three in all");
        drop(first);
        assert!(admit(&limit, 2).is_some());
        assert_eq!(limit.open.lock().all, 2);
    }

    #[test]
    fn connections_of_one_origin_have_one_budget() {
        let limit = limit();
        let (one, other) = (admit(&limit, 1).unwrap(), admit(&limit, 1).unwrap());
        let mut call = one.budget.reserve().unwrap();
        call.add(60_000).unwrap();
        let mut more = other.budget.reserve().unwrap();
        assert!(more.add(60_000).is_err(), "more than the origin may have");
        let other_user = admit(&limit, 2).unwrap();
        let mut theirs = other_user.budget.reserve().unwrap();
        assert!(theirs.add(60_000).is_err(), "more than there is in all");
        drop(call);
        more.add(60_000).unwrap();
        drop((one, more));
        theirs.add(60_000).unwrap();
    }

    #[tokio::test]
    async fn a_handshake_waits_for_those_that_make_room_for_it() {
        let limits = LimitsConfig { unfinished_handshakes: 4, ..Default::default() };
        let bytes = Arc::new(Budget::new(0, LimitCounter::default()));
        let limit = Limit::new(limits, bytes, LimitCounters::default(), Arc::new(|_: &Peer| true));
        let (silent, caller) = (Origin::Uid(UNKNOWN), Origin::Uid(1));
        let mut handshakes = tokio::task::JoinSet::new();
        for _ in 0..100 {
            // Accepted one after the other, as quickly as they come; each ends when it has to make room.
            let (place, evicted) = limit.begin_handshake(silent).await.expect("a place");
            handshakes.spawn(async move {
                evicted.await;
                drop(place);
            });
        }
        assert!(limit.begin_handshake(caller).await.is_some());
        assert!(!limit.counters.unfinished_handshakes.refused_within(Duration::from_secs(3600)));
    }

    #[test]
    fn unknown_peers_use_up_nothing_of_the_callers() {
        let limit = limit();
        let unknown: Vec<_> = (0..20).filter_map(|_| admit(&limit, UNKNOWN)).collect();
        assert_eq!(unknown.len(), 4, "the pool");
        let calls: Vec<_> = unknown.iter().filter_map(|one| one.budget.reserve().ok()).collect();
        assert_eq!(calls.len(), 2, "the pool's bytes");
        let caller = admit(&limit, 1).unwrap();
        caller.budget.reserve().unwrap().add(60_000).unwrap();
        assert_eq!(limit.open.lock().all, 1);
    }
}
