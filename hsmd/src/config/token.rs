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
    /// A string for the module itself, in the reserved field of C_Initialize: NSS and yubihsm_pkcs11
    /// want one.
    pub initialize_args: Option<String>,
    /// A file with the user PIN.
    pub pin_file: Option<PathBuf>,
    /// The empty PIN, for a token that has one; every other PIN stands in a file.
    #[serde(default, deserialize_with = "empty_pin")]
    pub pin: Option<EmptyPin>,
    /// CKA_LABEL of our keys.
    #[serde(default = "key_label")]
    pub key_label: String,
    /// Whether the token gets a copy of the journal.
    #[serde(default, deserialize_with = "journal_copy")]
    pub journal_copy: JournalCopy,
    /// A file to lock, for a token that shows what other processes have made only after `C_Initialize`: the
    /// same for all daemons that use the token, on one machine.
    pub lock_file: Option<PathBuf>,
    /// Whether to use a module that reports all its keys as ones that could leave the device.
    #[serde(default)]
    pub accept_extractable: bool,
    /// How many documents may wait to be signed, of all callers; one request of each finds room beyond that.
    #[serde(default = "queue_length")]
    pub queue_length: usize,
    /// How long the daemon may go without a good signature before it makes one for itself.
    #[serde(default = "health_interval", deserialize_with = "duration")]
    pub health_interval: Duration,
    /// How long a call to the token may take before the process ends itself.
    #[serde(default = "hang_limit", deserialize_with = "duration")]
    pub hang_limit: Duration,
}

/// Whether the token gets a copy of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalCopy {
    /// As long as the token has not refused one.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// `pin = ""`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyPin;

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
        match (&token.pin_file, &token.pin) {
            (Some(_), None) | (None, Some(EmptyPin)) => {}
            (None, None) => {
                return Err(format!(
                    "token {}: pin_file is missing (a token with an empty PIN: pin = \"\")",
                    token.name()
                ));
            }
            (Some(_), Some(EmptyPin)) => {
                return Err(format!("token {}: give pin_file or pin, not both", token.name()));
            }
        }
        if token.initialize_args.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(format!("token {}: initialize_args has a zero byte", token.name()));
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
    for (at, token) in tokens.iter().enumerate() {
        let same = tokens[..at].iter().filter(|other| other.module == token.module);
        if same.into_iter().any(|other| other.initialize_args != token.initialize_args) {
            return Err(format!(
                "token {}: a module is initialised once, so initialize_args is the same for all its \
                 tokens",
                token.name()
            ));
        }
    }
    let mut names: Vec<_> = tokens.iter().map(TokenConfig::name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("token {} is configured twice", pair[0]));
    }
    Ok(())
}

/// A PIN other than the empty one is never echoed: not even in the error.
fn empty_pin<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<EmptyPin>, D::Error> {
    let pin = zeroize::Zeroizing::new(String::deserialize(input)?);
    if pin.is_empty() {
        return Ok(Some(EmptyPin));
    }
    Err(serde::de::Error::custom("only the empty PIN can stand here: put the PIN in pin_file"))
}

fn journal_copy<'de, D: serde::Deserializer<'de>>(input: D) -> Result<JournalCopy, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Setting {
        Word(String),
        Switch(bool),
    }
    match Setting::deserialize(input)? {
        Setting::Word(word) if word == "auto" => Ok(JournalCopy::Auto),
        Setting::Switch(false) => Ok(JournalCopy::Never),
        _ => Err(serde::de::Error::custom("journal_copy is \"auto\" or false")),
    }
}

fn key_label() -> String {
    "authorization-key".into()
}

fn queue_length() -> usize {
    16384
}

fn health_interval() -> Duration {
    Duration::from_secs(1)
}

fn hang_limit() -> Duration {
    Duration::from_secs(60)
}
