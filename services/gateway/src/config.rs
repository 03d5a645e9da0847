//! gateway.toml. Every setting is documented in `gateway.example.toml`, which a test parses.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hsmd_runtime::LogConfig;
use hsmd_service::config::HsmConfig;
use hsmd_support::duration;
use serde::Deserialize;

/// Everything in gateway.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen, and for whom.
    pub listen: ListenConfig,
    /// Which hsmd stands behind.
    pub hsm: HsmConfig,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[listen]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Section")]
pub struct ListenConfig {
    /// Where, and for whom.
    pub place: Listen,
    /// Where to listen for probes only: `/live`, `/ready`, `/health` as well as in `place`.
    pub probes: Option<SocketAddr>,
    /// How many connections are served at once; further ones wait.
    pub max_connections: usize,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long accepted requests may take to finish after SIGTERM.
    pub stop_grace: Duration,
}

/// Where to listen, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On a Unix socket, for these users.
    Users {
        /// Where.
        path: PathBuf,
        /// Who.
        uids: Vec<u32>,
    },
    /// On a loopback address, for everything that reaches it.
    Loopback(SocketAddr),
}

/// What is wrong with `[listen]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListenError {
    /// Neither or both.
    #[error("exactly one of `path` and `address` is needed")]
    Place,
    /// There would be no caller.
    #[error("`uids` names no user: none could connect")]
    NoUsers,
    /// The uid of users of other namespaces.
    #[error("the uid 65534 stands for all users of other namespaces and can't be allowed")]
    Overflow,
    /// A word for TCP is missing.
    #[error(
        "TCP makes everything on this machine the service: it takes `allow_loopback_tcp = true`"
    )]
    NotAllowed,
    /// Other machines could connect.
    #[error("{0} is no loopback address")]
    NotLoopback(SocketAddr),
}

/// The uid that the kernel shows for users whom this namespace does not know.
const OVERFLOW: u32 = 65534;

/// `[listen]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    path: Option<PathBuf>,
    #[serde(default)]
    uids: Vec<u32>,
    address: Option<SocketAddr>,
    #[serde(default)]
    allow_loopback_tcp: bool,
    probes: Option<SocketAddr>,
    #[serde(default = "default_connections")]
    max_connections: usize,
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    request_timeout: Duration,
    #[serde(default = "default_grace", deserialize_with = "duration")]
    stop_grace: Duration,
}

impl TryFrom<Section> for ListenConfig {
    type Error = ListenError;

    fn try_from(section: Section) -> Result<Self, ListenError> {
        let Section { path, uids, address, allow_loopback_tcp, .. } = section;
        let place = match (path, address) {
            (Some(_), None) if uids.is_empty() => return Err(ListenError::NoUsers),
            (Some(_), None) if uids.contains(&OVERFLOW) => return Err(ListenError::Overflow),
            (Some(path), None) => Listen::Users { path, uids },
            (None, Some(_)) if !allow_loopback_tcp => return Err(ListenError::NotAllowed),
            (None, Some(address)) if !address.ip().is_loopback() => {
                return Err(ListenError::NotLoopback(address));
            }
            (None, Some(address)) => Listen::Loopback(address),
            _ => return Err(ListenError::Place),
        };
        let Section { probes, max_connections, request_timeout, stop_grace, .. } = section;
        Ok(Self { place, probes, max_connections, request_timeout, stop_grace })
    }
}

fn default_connections() -> usize {
    256
}

fn default_timeout() -> Duration {
    Duration::from_secs(15)
}

fn default_grace() -> Duration {
    Duration::from_secs(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../gateway.example.toml");

    #[test]
    fn the_example_is_valid() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        let path = PathBuf::from("/run/hsmd-gateway/gateway.sock");
        assert_eq!(config.listen.place, Listen::Users { path, uids: vec![65000] });
        assert!(config.listen.probes.is_none() && !config.hsm.batch);
        let typing_error = EXAMPLE.replace("uids = [", "uid = [");
        assert!(toml::from_str::<Config>(&typing_error).is_err());
    }

    #[test]
    fn who_may_connect_is_said_in_full() {
        for (text, expected) in [
            ("", ListenError::Place),
            ("path = '/s'\nuids = [1]\naddress = '127.0.0.1:1'", ListenError::Place),
            ("path = '/s'", ListenError::NoUsers),
            ("path = '/s'\nuids = [1, 65534]", ListenError::Overflow),
            ("address = '127.0.0.1:1'", ListenError::NotAllowed),
            (
                "address = '192.0.2.1:1'\nallow_loopback_tcp = true",
                ListenError::NotLoopback("192.0.2.1:1".parse().unwrap()),
            ),
        ] {
            let error = toml::from_str::<ListenConfig>(text).unwrap_err();
            assert_eq!(error.message(), expected.to_string(), "{text}");
        }
        let text = "address = '[::1]:1'\nallow_loopback_tcp = true";
        let config: ListenConfig = toml::from_str(text).unwrap();
        assert_eq!(config.place, Listen::Loopback("[::1]:1".parse().unwrap()));
    }
}
