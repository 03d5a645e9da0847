//! What the command does besides serving. Each returns what it prints.

use std::{path::Path, time::Duration};

use hsmd_chain::PublicKey;
use hsmd_client::{CallError, Clock};
use hsmd_runtime::StartError;
use hsmd_service::{Hsm, config::HsmConfig, random};
use tokio::time::timeout;

use crate::{Config, Database, DatabaseError, import, internal::Internal, keys, mail, sessions};

/// How long a check waits for hsmd.
const CHECK: Duration = Duration::from_secs(10);

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("the database at {address} can't be used")]
    Database {
        address: String,
        #[source]
        source: DatabaseError,
    },
    #[error("hsmd at {0} has shown no key log within {CHECK:?}")]
    Hsm(String),
    #[error("the key log can't be trusted: {0}")]
    Terminal(String),
    #[error("hsmd endorses no {} key: {advice}", keys::PURPOSE)]
    Endorsement {
        advice: &'static str,
        #[source]
        source: CallError,
    },
    #[error("{0:?} is no key")]
    Kid(String, #[source] hsmd_chain::cesr::CesrError),
    #[error("there is no key {0}, or it was withdrawn before")]
    Unknown(PublicKey),
}

/// Tries everything that serving needs, and prints what two sides can compare.
///
/// # Errors
/// [`StartError::Config`] for a setting, [`StartError::Failed`] for the database or hsmd.
pub async fn check(config: &Config) -> Result<String, StartError> {
    let mut text = format!("configuration: {} is valid\n", config.site.public_url.as_str());
    if let Some(internal) = &config.internal {
        for (header, fingerprint) in Internal::open(internal)?.fingerprints() {
            text.push_str(&format!("{header}: {fingerprint}\n"));
        }
    }
    let database = open(config)?;
    let address = database.address().to_owned();
    database.ping().await.map_err(|error| failed(&database, error))?;
    text.push_str(&format!("database: {address} answers\n"));
    // A running service keeps its own log file.
    let hsm = Hsm::connect(&HsmConfig { log_file: None, ..config.hsm.clone() })?;
    let endpoint = config.hsm.endpoint.as_deref().unwrap_or_default();
    let log = timeout(CHECK, hsm.log.ready())
        .await
        .map_err(|_| StartError::failed(CommandError::Hsm(endpoint.to_owned())))?
        .map_err(|error| StartError::failed(CommandError::Terminal(error.to_string())))?;
    let head = log.position().sequence_number;
    text.push_str(&format!("hsmd: {endpoint} shows the key log up to {head}\n"));
    let tried = random::key();
    let ttl = config.tokens.endorsement;
    let endorsed = hsm.client.endorse(keys::PURPOSE, tried.public_key(), ttl).await;
    endorsed.map_err(|error| {
        StartError::failed(CommandError::Endorsement { advice: error.advice(), source: error })
    })?;
    text.push_str(&format!("hsmd: {endpoint} endorses {} keys\n", keys::PURPOSE));
    if let Some(config) = &config.mail {
        text.push_str(&format!("mail: {}\n", mail::check(config).await?));
    }
    Ok(text)
}

/// Makes the tables or brings them up to date.
///
/// # Errors
/// [`StartError::Config`] for the URL's file, [`StartError::Failed`] for the database.
pub async fn migrate(config: &Config) -> Result<String, StartError> {
    let database = open(config)?;
    database.migrate().await.map_err(|error| failed(&database, error))?;
    Ok(format!("the tables at {} are up to date\n", database.address()))
}

/// Withdraws one signing key, or all.
///
/// # Errors
/// [`StartError::Config`] for the URL's file, [`StartError::Failed`] for the database or if there is no
/// such key.
pub async fn withdraw(config: &Config, kid: Option<&str>) -> Result<String, StartError> {
    let database = open(config)?;
    let withdrawn = match kid {
        Some(kid) => {
            let parsed: PublicKey = kid
                .parse()
                .map_err(|error| StartError::failed(CommandError::Kid(kid.to_owned(), error)))?;
            let known = keys::withdraw(&parsed, database.pool()).await;
            if !known.map_err(|error| failed(&database, error.into()))? {
                return Err(StartError::failed(CommandError::Unknown(parsed)));
            }
            vec![kid.to_owned()]
        }
        None => {
            let all = keys::withdraw_all(database.pool()).await;
            all.map_err(|error| failed(&database, error.into()))?
        }
    };
    Ok(withdrawn.iter().map(|kid| format!("withdrawn {kid}\n")).collect())
}

/// Ends every session of every user.
///
/// # Errors
/// The database can't be used.
pub async fn end_sessions(config: &Config) -> Result<String, StartError> {
    let database = open(config)?;
    let ended = sessions::revoke_everybodys(Clock::system().now(), database.pool()).await;
    let ended = ended.map_err(|error| failed(&database, error.into()))?;
    Ok(format!("{ended} sessions ended\n"))
}

/// Copies users and their passwords from the tables of the library's server; a dry run unless `write`.
///
/// # Errors
/// [`StartError::Config`] for the URL's file, [`StartError::Failed`] if one of the databases can't be
/// used or holds something else.
pub async fn import(config: &Config, from: &Path, write: bool) -> Result<String, StartError> {
    let database = open(config)?;
    database.migrate().await.map_err(|error| failed(&database, error))?;
    // Its transaction waits while the library's tables are read.
    let to = database.of_its_own().await.map_err(|error| failed(&database, error.into()))?;
    let report = import::import(from, write, &to).await?;
    Ok(report.text(write))
}

fn open(config: &Config) -> Result<Database, StartError> {
    Ok(Database::open(&config.database)?)
}

fn failed(database: &Database, source: DatabaseError) -> StartError {
    StartError::failed(CommandError::Database { address: database.address().to_owned(), source })
}
