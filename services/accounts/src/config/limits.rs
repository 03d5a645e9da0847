//! `[limits]`.

use std::{num::NonZero, time::Duration};

use hsmd_support::{duration, proxy::Network};
use serde::Deserialize;

/// `[limits]`: the library's defaults, which are always on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests of one client network under one path.
    pub path: Rate,
    /// The same for signing in and up and for changing a password or address.
    pub sign_in: Rate,
    /// The same for what sends mail.
    pub mail: Rate,
    /// Requests of all kinds and clients in a second, for this replica; 0 for any number.
    pub requests_per_second: u32,
    /// Passwords that may be tried for one address before each further one has to wait longer.
    pub attempts: u32,
    /// The longest of these waits.
    #[serde(deserialize_with = "duration")]
    pub longest_wait: Duration,
    /// Mails to one address in an hour.
    pub mails_per_hour: u32,
    /// The proxies whose `X-Forwarded-For` says where a request is from.
    pub trusted_proxies: Vec<Network>,
}

/// So many in a window of time, which begins again with each that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub max: NonZero<u32>,
    /// In which time.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let rate = |max: u32, seconds| Rate {
            max: NonZero::<u32>::MIN.saturating_add(max - 1),
            window: Duration::from_secs(seconds),
        };
        Self {
            path: rate(100, 10),
            sign_in: rate(3, 10),
            mail: rate(3, 60),
            requests_per_second: 2000,
            attempts: 20,
            longest_wait: Duration::from_secs(30),
            mails_per_hour: 3,
            trusted_proxies: Vec::new(),
        }
    }
}
