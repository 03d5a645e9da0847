//! What a client's calls are made over.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::tls::Connector;

/// How often calls look whether the TLS files have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where calls go. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    /// One channel, which connects with the first call and again whenever it has lost its connection.
    Lasting(Channel),
    /// Mutual TLS.
    Renewed(Arc<Renewed>),
}

/// A channel that another one replaces when the TLS files have changed. A daemon refuses calls over a
/// connection whose certificate has ended, so it is not enough that the next connection has a new one.
pub(crate) struct Renewed {
    endpoint: Endpoint,
    connector: Arc<Connector>,
    /// A plain mutex: never held across an await.
    newest: Mutex<Newest>,
}

struct Newest {
    channel: Channel,
    looked_at: Instant,
}

impl Connection {
    /// Over TLS. Must be called within a tokio runtime.
    pub(crate) fn renewed(endpoint: Endpoint, connector: Connector) -> Self {
        let connector = Arc::new(connector);
        let channel = lazy(&endpoint, &connector);
        let newest = Mutex::new(Newest { channel, looked_at: Instant::now() });
        Self::Renewed(Arc::new(Renewed { endpoint, connector, newest }))
    }

    /// The channel for a call that begins now. Earlier calls go on over theirs, to their end.
    pub(crate) fn channel(&self) -> Channel {
        match self {
            Self::Lasting(channel) => channel.clone(),
            Self::Renewed(renewed) => renewed.channel(),
        }
    }
}

impl Renewed {
    fn channel(&self) -> Channel {
        let mut newest = self.newest.lock();
        if newest.looked_at.elapsed() >= LOOK_INTERVAL {
            newest.looked_at = Instant::now();
            if self.connector.has_changed() {
                newest.channel = lazy(&self.endpoint, &self.connector);
            }
        }
        newest.channel.clone()
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A channel that connects when it is first used. TLS is our own, so that its files can change.
fn lazy(endpoint: &Endpoint, connector: &Arc<Connector>) -> Channel {
    let connector = Arc::clone(connector);
    endpoint.connect_with_connector_lazy(service_fn(move |_| Arc::clone(&connector).connect()))
}
