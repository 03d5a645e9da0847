//! `[[token]]`: a PKCS#11 token, how to find it and how to log in.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The path of the PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub label: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// A file with the user PIN.
    pub pin_file: PathBuf,
    /// CKA_LABEL of our keys.
    #[serde(default = "key_label")]
    pub key_label: String,
    /// How many signing requests may wait.
    #[serde(default = "queue_length")]
    pub queue_length: usize,
    /// How long the daemon may go without a good signature before it makes one for itself.
    #[serde(default = "health_interval", deserialize_with = "duration")]
    pub health_interval: Duration,
    /// How long a call to the token may take before the process ends itself.
    #[serde(default = "hang_limit", deserialize_with = "duration")]
    pub hang_limit: Duration,
}

impl TokenConfig {
    /// What to call the token in messages: its label, else its serial number.
    pub fn name(&self) -> &str {
        self.label.as_deref().or(self.serial.as_deref()).unwrap_or_default()
    }
}

pub(super) fn check(tokens: &[TokenConfig]) -> Result<(), String> {
    if tokens.is_empty() {
        return Err("no [[token]] is configured".into());
    }
    for token in tokens {
        if token.label.is_none() && token.serial.is_none() {
            return Err("a token needs a label or a serial".into());
        }
        if token.key_label.is_empty() {
            return Err(format!("token {}: key_label is empty", token.name()));
        }
        if !(1..=65536).contains(&token.queue_length) {
            return Err(format!("token {}: queue_length is 1 to 65536", token.name()));
        }
        let interval = Duration::from_millis(100)..=Duration::from_secs(30);
        if !interval.contains(&token.health_interval) {
            return Err(format!(
                "token {}: health_interval is 100ms to 30s: readers take a log for stale that nothing \
                 confirms for 60s",
                token.name()
            ));
        }
        let limit = Duration::from_secs(2)..=Duration::from_secs(3600);
        if !limit.contains(&token.hang_limit) {
            return Err(format!("token {}: hang_limit is 2s to 1h", token.name()));
        }
    }
    let mut names: Vec<_> = tokens.iter().map(TokenConfig::name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("token {} is configured twice", pair[0]));
    }
    Ok(())
}

fn key_label() -> String {
    "authorization-key".into()
}

fn queue_length() -> usize {
    1024
}

fn health_interval() -> Duration {
    Duration::from_secs(1)
}

fn hang_limit() -> Duration {
    Duration::from_secs(60)
}
