//! What `check` looks at in every service: the key log, the endorsements that hsmd must give, Redis.

use std::{path::Path, time::Duration};

use hsmd_client::CallError;
use hsmd_store::StoreError;
use hsmd_support::{Report, chain, durable};
use tokio::time::timeout;

use crate::{
    Hsm,
    config::{HsmConfig, RedisConfig},
    follow_log, log_problem, random,
};

/// How long the key log may take to come.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the key log, and has a key endorsed for each purpose that the service needs: one that is thrown
/// away. Without purposes no endorsement is asked for.
pub async fn hsm(config: &HsmConfig, purposes: &[(&str, Duration)], report: &mut Report) {
    if let Some(file) = &config.log_file {
        report.outcome("log file", writable(file));
    }
    // A running service keeps its own log file.
    let config = HsmConfig { log_file: None, ..config.clone() };
    let connected = match purposes {
        [] => follow_log(&config).map(|log| (log, None)),
        _ => Hsm::connect(&config).map(|hsm| (hsm.log, Some(hsm.client))),
    };
    let (log, client) = match connected {
        Ok(connected) => connected,
        Err(error) => return report.bad("hsmd", chain(&error)),
    };
    match timeout(LOG_TIMEOUT, log.ready()).await {
        Ok(Ok(log)) => report.good("key log", format!("verified, the head is {}", log.position())),
        Ok(Err(error)) => report.bad("key log", chain(&*error)),
        Err(_) => {
            let problem = log_problem(&log).unwrap_or_else(|| "no contact".to_owned());
            report.bad("key log", format!("none within {LOG_TIMEOUT:?}: {problem}"));
        }
    }
    let Some(client) = client else { return };
    for (purpose, ttl) in purposes {
        match client.endorse(purpose, random::key().public_key(), *ttl).await {
            Ok(_) => report.good("endorsement", format!("hsmd endorses {purpose} keys")),
            Err(error) => report.bad("endorsement", refused(purpose, &error)),
        }
    }
}

/// Looks at Redis: whether it can be reached, is of the right kind, keeps what it is given and takes writes.
pub async fn redis(config: &RedisConfig, report: &mut Report) {
    match config.open() {
        Ok(store) => {
            let looked = async {
                store.response_endorsements.find(random::key().public_key()).await?;
                store.revoked_devices.try_write().await?;
                Ok::<_, StoreError>(format!("{} answers and takes writes", config.url))
            };
            report.outcome("redis", looked.await);
        }
        Err(error) => report.bad("redis", chain(&error)),
    }
}

fn refused(purpose: &str, error: &CallError) -> String {
    format!("hsmd endorses no {purpose} key: {}: {}", chain(error), error.advice())
}

fn writable(file: &Path) -> std::io::Result<String> {
    let probe = file.with_extension("check");
    durable::write(&probe, b"")?;
    durable::remove(&probe)?;
    Ok(format!("{} can be written", file.display()))
}
