//! Probes on a listener of their own: clients who use up the service's connections keep no supervisor and no
//! balancer from its answer.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::net::TcpListener;

use crate::{ServeOptions, Shutdown, StartError, WhenFull, http::listen, serve};

/// Connections at once: scrapers, probes, a few people.
const CONNECTIONS: usize = 64;

/// How long a connection has for its request and the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request that is being answered may go on after the stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The listener for probes, if one is configured.
#[derive(Debug)]
pub struct Probes(Option<TcpListener>);

impl Probes {
    /// Listens where the setting `probes` says and says so in the log.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn bind(address: Option<SocketAddr>) -> Result<Self, StartError> {
        let Some(address) = address else { return Ok(Self(None)) };
        let listener = listen(address, "listening for probes").await?;
        Ok(Self(Some(listener)))
    }

    /// Answers these routes until the shutdown; without a listener only waits for that.
    pub async fn serve(self, routes: Router, mut shutdown: Shutdown) {
        match self.0 {
            Some(listener) => serve(listener, routes, ServeOptions::probes(), shutdown).await,
            None => shutdown.asked().await,
        }
    }
}

impl ServeOptions {
    /// For probes: a connection is for one request and has a few seconds for it; at the limit the oldest ends,
    /// so that idle connections keep no probe out.
    pub fn probes() -> Self {
        Self {
            max_connections: CONNECTIONS,
            // One address too many makes room by its own oldest.
            max_connections_per_address: usize::MAX,
            when_full: WhenFull::CloseOldest,
            request_timeout: REQUEST_TIMEOUT,
            connection_timeout: Some(REQUEST_TIMEOUT),
            stop_grace: STOP_GRACE,
        }
    }
}
