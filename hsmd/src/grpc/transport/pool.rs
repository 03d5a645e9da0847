//! A pool of places for peers that are not known, or not yet: connections of unknown peers, unfinished
//! handshakes. When it is nearly full, a new one takes the place of the oldest of the origin that has most,
//! so that idle connections keep no probe and no caller out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::origin::Origin;

/// The places.
#[derive(Clone, Debug)]
pub struct Pool {
    capacity: usize,
    entries: Arc<Mutex<Entries>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    /// In the order of their arrival.
    held: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    origin: Origin,
    /// Dropped to evict; none for one that has been evicted and is not closed yet.
    evict: Option<oneshot::Sender<()>>,
}

/// A place, until dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    entries: Arc<Mutex<Entries>>,
    freed: Arc<Notify>,
}

impl Pool {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: Arc::default(), freed: Arc::default() }
    }

    /// Waits until a place was given back.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// A place, and what resolves when it is taken away. None when even the evicted ones are not closed yet.
    pub fn admit(
        &self,
        origin: Origin,
    ) -> Option<(Place, impl Future<Output = ()> + Send + use<>)> {
        let mut guard = self.entries.lock();
        let entries = &mut *guard;
        if entries.held.len() >= self.capacity {
            return None;
        }
        // A quarter of the places is for those that are being closed: there are never more than all.
        if entries.live() >= self.capacity - self.capacity / 4 {
            entries.evict();
        }
        let (evict, evicted) = oneshot::channel();
        let number = entries.next;
        entries.next += 1;
        entries.held.push(Entry { number, origin, evict: Some(evict) });
        let (entries, freed) = (Arc::clone(&self.entries), Arc::clone(&self.freed));
        let place = Place { number, entries, freed };
        Some((place, async move { drop(evicted.await) }))
    }
}

impl Entries {
    fn live(&self) -> usize {
        self.held.iter().filter(|entry| entry.evict.is_some()).count()
    }

    /// Evicts the oldest of the origin that has most.
    fn evict(&mut self) {
        let mut counts: HashMap<Origin, usize> = HashMap::new();
        for entry in self.held.iter().filter(|entry| entry.evict.is_some()) {
            *counts.entry(entry.origin).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let oldest = self
            .held
            .iter_mut()
            .find(|entry| entry.evict.is_some() && counts.get(&entry.origin).copied() == most);
        if let Some(oldest) = oldest {
            oldest.evict = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entries.lock().held.retain(|entry| entry.number != self.number);
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_evicted(evicted: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) -> bool {
        evicted.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn the_oldest_of_the_greediest_makes_room_and_there_are_never_more_than_all() {
        let pool = Pool::new(8);
        let (greedy, modest) = (Origin::Uid(1), Origin::Uid(2));
        let admit = |origin| pool.admit(origin).map(|(place, evicted)| (place, Box::pin(evicted)));
        let mut first = admit(modest).unwrap();
        let mut held: Vec<_> = (0..5).map(|_| admit(greedy).unwrap()).collect();
        assert!(held.iter_mut().all(|(_, evicted)| !is_evicted(evicted)), "six of eight");
        held.push(admit(greedy).unwrap());
        assert!(is_evicted(&mut held[0].1) && !is_evicted(&mut held[1].1));
        assert!(!is_evicted(&mut first.1), "the other origin's only one stays");
        held.push(admit(modest).unwrap());
        assert!(is_evicted(&mut held[1].1), "of the one that has most");
        assert!(admit(modest).is_none(), "eight, two of which are being closed");
        drop(held.remove(0));
        assert!(admit(modest).is_some());
    }
}
