//! Places for HTTP connections: in all, and of one address.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use hsmd_support::proxy::subscriber;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};

use crate::{ServeOptions, WhenFull};

/// Who may be served beside each other.
pub(crate) struct Places {
    most: usize,
    /// For those who wait; none where the oldest is closed.
    free: Option<Arc<Semaphore>>,
    /// The open connections, oldest first; empty where the next one waits.
    open: VecDeque<AbortHandle>,
}

impl Places {
    pub(crate) fn new(options: &ServeOptions) -> Self {
        let most = options.max_connections;
        let free = match options.when_full {
            WhenFull::Wait => Some(Arc::new(Semaphore::new(most))),
            WhenFull::CloseOldest => None,
        };
        Self { most, free, open: VecDeque::new() }
    }

    /// Waits for a place, where that is the rule. The semaphore is never closed.
    pub(crate) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.free.as_ref()?).acquire_owned().await.ok()
    }

    /// Counts a new connection and closes the oldest if that is one too many.
    pub(crate) fn taken(&mut self, connection: AbortHandle) {
        if self.free.is_some() {
            return;
        }
        self.open.retain(|connection| !connection.is_finished());
        self.open.push_back(connection);
        if self.open.len() > self.most
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.abort();
        }
    }
}

/// The connections of each address; of IPv6, of each /64, which one host can have.
pub(crate) struct Addresses {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of an address' connections, until dropped.
pub(crate) struct OfAddress {
    address: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Addresses {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Counts one more connection, if its address may have it.
    pub(crate) fn admit(&self, peer: IpAddr) -> Option<OfAddress> {
        let address = subscriber(peer.to_canonical());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(OfAddress { address, open: Arc::clone(&self.open) })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_gives_them_back() {
        let addresses = Addresses::new(2);
        let admit = |text: &str| addresses.admit(text.parse().unwrap());
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert!(admit("2001:db8::3").is_none(), "the same /64");
        let _other = admit("2001:db8:0:1::1").unwrap();
        let _v4 = [admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap()];
        assert!(admit("192.0.2.1").is_none());
        drop(first);
        drop(admit("2001:db8::3").unwrap());
        assert_eq!(addresses.open.lock().unwrap().len(), 3);
    }
}
