//! The HSM as a service sees it: a client of the daemon and the key log, followed and verified.

use hsmd_client::{Client, HttpLog, LogOptions, LogSource, VerifiedLog};
use hsmd_runtime::{ConfigError, StartError};

use crate::{Certificate, config::HsmConfig};

/// The connection to hsmd and the verified key log. Clones share both.
#[derive(Clone, Debug)]
pub struct Hsm {
    /// Asks for endorsements.
    pub client: Client,
    /// Answers whether endorsements hold.
    pub log: VerifiedLog,
    /// What we show to hsmd.
    pub certificate: Certificate,
}

impl Hsm {
    /// Connects as configured and begins to follow the log. Neither waits: a service starts while hsmd
    /// is down, is not ready, and heals.
    ///
    /// # Errors
    /// [`StartError::Config`] without an endpoint; [`StartError::Failed`] if it, its TLS files or the
    /// file of the last head can't be used.
    pub fn connect(config: &HsmConfig) -> Result<Self, StartError> {
        let client = client(config)?;
        let log = follow(config, Some(&client))?;
        Ok(Self { client, log, certificate: Certificate::of(config) })
    }
}

/// Begins to follow the log as configured, for a service that has no key to be endorsed: it needs no
/// endpoint where there is a `log_url`.
///
/// # Errors
/// [`StartError::Config`] without either; [`StartError::Failed`] if it, its TLS files or the file of the
/// last head can't be used.
pub fn follow_log(config: &HsmConfig) -> Result<VerifiedLog, StartError> {
    follow(config, None)
}

fn follow(config: &HsmConfig, known: Option<&Client>) -> Result<VerifiedLog, StartError> {
    let source = match (&config.log_url, known) {
        (Some(url), _) => LogSource::Http(HttpLog::new(url).map_err(invalid)?),
        (None, Some(client)) => LogSource::Grpc(client.clone()),
        (None, None) => LogSource::Grpc(client(config)?),
    };
    let options = LogOptions {
        max_staleness: config.max_staleness,
        clock_skew: config.clock_skew,
        path: config.log_file.clone(),
        ..LogOptions::default()
    };
    VerifiedLog::follow(source, config.identity, options).map_err(StartError::failed)
}

fn client(config: &HsmConfig) -> Result<Client, StartError> {
    let options = config.connect_options().ok_or_else(|| invalid("`endpoint` is missing"))?;
    let client = Client::connect(&options).map_err(StartError::failed)?;
    Ok(client.accept_batch(config.batch))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StartError {
    ConfigError::section("hsm", error).into()
}

/// Why a key log can't be relied on now, as a public sentence; nothing while it can.
#[must_use]
pub fn log_problem(log: &VerifiedLog) -> Option<String> {
    let error = log.fresh().err()?;
    Some(match log.terminal_error() {
        Some(_) => "the key log contradicts what was verified before".to_owned(),
        None => error.to_string(),
    })
}
