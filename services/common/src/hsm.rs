//! The HSM as a service sees it: a client of the daemon and the key log, followed and verified.

use hsmd_client::{Client, LogOptions, LogSource, VerifiedLog};

use crate::{StartError, config::HsmConfig};

/// The connection to hsmd and the verified key log. Clones share both.
#[derive(Clone, Debug)]
pub struct Hsm {
    /// Asks for endorsements.
    pub client: Client,
    /// Answers whether endorsements hold.
    pub log: VerifiedLog,
}

impl Hsm {
    /// Connects as configured and begins to follow the log. Neither waits: a service starts while hsmd
    /// is down, is not ready, and heals.
    ///
    /// # Errors
    /// The endpoint, its TLS files or the file of the last head can't be used.
    pub fn connect(config: &HsmConfig) -> Result<Self, StartError> {
        let client = Client::connect(&config.connect_options()).map_err(StartError::failed)?;
        let options = LogOptions {
            max_staleness: config.max_staleness,
            clock_skew: config.clock_skew,
            path: config.log_file.clone(),
            ..LogOptions::default()
        };
        let source = LogSource::Grpc(client.clone());
        let log =
            VerifiedLog::follow(source, config.identity, options).map_err(StartError::failed)?;
        Ok(Self { client, log })
    }
}

/// Why a key log can't be relied on now, as a public sentence; nothing while it can.
#[must_use]
pub fn log_problem(log: &VerifiedLog) -> Option<String> {
    let error = log.fresh().err()?;
    Some(match log.halted() {
        Some(_) => "the key log contradicts what was verified before".to_owned(),
        None => error.to_string(),
    })
}
