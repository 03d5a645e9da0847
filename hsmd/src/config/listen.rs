//! `[listen.*]` and `[limits]`: where the daemon listens and how much of it one caller may take.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{RateConfig, duration, size};

/// The listeners.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Signer, KeyLog, health, reflection on a Unix socket.
    pub service: UnixListenConfig,
    /// Admin, health, reflection on a Unix socket.
    pub admin: UnixListenConfig,
    /// The admin listener's calls over TCP with mutual TLS.
    pub admin_tls: Option<TlsListenConfig>,
    /// The service listener's calls over TCP with mutual TLS.
    pub tls: Option<TlsListenConfig>,
    /// The service listener's calls over TCP without any authentication.
    pub plaintext: Option<PlaintextListenConfig>,
}

/// A Unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixListenConfig {
    /// The socket's path; its folder must exist.
    pub path: PathBuf,
    /// The socket's mode, in octal.
    #[serde(deserialize_with = "mode")]
    pub mode: u32,
}

/// TCP with mutual TLS. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsListenConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// The server's certificate chain, PEM.
    pub certificate: PathBuf,
    /// The server's private key, PEM.
    pub key: PathBuf,
    /// The authorities that callers' certificates must come from, PEM.
    pub client_ca: PathBuf,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2, for callers that can do no better.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// TCP without TLS, on loopback only: everybody on the machine is the named caller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaintextListenConfig {
    /// Where to listen: an address of the loopback interface.
    pub address: SocketAddr,
    /// The name of the configured caller that everybody on the machine is here.
    pub caller: String,
    /// Must be true: says in so many words what this is.
    pub anybody_on_this_machine_may_call: bool,
}

/// The largest message and what a call takes beside it.
const LARGEST_CALL: usize = 8 * 1024 * 1024;

/// Room for a few calls of unknown peers, to health and reflection.
const UNKNOWN_CALLS: usize = 64 * 1024;

/// How many documents a tree may have: all of one SignBatch, and no more than readers take.
const BATCH: RangeInclusive<usize> = 256..=hsmd_chain::batch::MAX_SIZE as usize;

/// How much of the daemon one caller may take, and all unknown peers together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections of one listener in all.
    pub connections: usize,
    /// Connections of one user, or from one address, to one listener.
    pub connections_per_caller: usize,
    /// Calls at once on one connection.
    pub streams_per_connection: u32,
    /// How long a connection lives: then its caller has to show its certificate again.
    #[serde(deserialize_with = "duration")]
    pub connection_age: Duration,
    /// Bytes of service calls in flight, requests and replies, over all service listeners.
    #[serde(deserialize_with = "size")]
    pub bytes_in_flight: usize,
    /// Those of one user, or from one address.
    #[serde(deserialize_with = "size")]
    pub bytes_in_flight_per_caller: usize,
    /// Connections of all unknown peers of one listener together.
    pub unknown_connections: usize,
    /// Bytes of their calls in flight.
    pub unknown_bytes_in_flight: usize,
    /// TLS handshakes that have begun and not ended.
    pub unfinished_handshakes: usize,
    /// The most documents under one signature, for callers who accept batches; 0 makes none.
    pub batch: usize,
    /// How many signatures a caller may have who has no rate of its own.
    pub rate: RateConfig,
}

/// Several times what a token in software signs, and little next to what trees could have.
const DEFAULT_RATE: RateConfig = RateConfig {
    per_second: NonZeroU32::new(10_000).unwrap(),
    burst: NonZeroU32::new(20_000).unwrap(),
};

/// Connections of admins: they are few, and their descriptors are reserved.
pub const ADMIN_CONNECTIONS: usize = 32;

/// Descriptors for the token's module, the journal, the database, logs and all else but connections.
const RESERVED_DESCRIPTORS: usize = 96;

/// Descriptors for metrics and health over HTTP.
const HTTP_DESCRIPTORS: usize = 72;

/// The fewest connections of a service listener that a daemon starts with.
const FEWEST_CONNECTIONS: usize = 16;

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_caller: 512,
            streams_per_connection: 256,
            connection_age: Duration::from_secs(3600),
            bytes_in_flight: 32 * 1024 * 1024,
            bytes_in_flight_per_caller: 16 * 1024 * 1024,
            unknown_connections: 32,
            unknown_bytes_in_flight: 1024 * 1024,
            unfinished_handshakes: 64,
            batch: hsmd_chain::batch::MAX_SIZE as usize,
            rate: DEFAULT_RATE,
        }
    }
}

impl ListenConfig {
    pub(super) fn check(&self, caller_is_known: impl Fn(&str) -> bool) -> Result<(), String> {
        if self.service.path == self.admin.path {
            return Err("listen.service and listen.admin share a path".into());
        }
        if self.admin.mode & 0o002 != 0 {
            return Err("listen.admin.mode lets every user of the machine connect".into());
        }
        for (name, socket) in [("service", &self.service), ("admin", &self.admin)] {
            if socket.path.to_string_lossy().starts_with('@') {
                return Err(format!(
                    "listen.{name}.path: a socket without a file has no mode that keeps others out"
                ));
            }
            if !socket.path.is_absolute() {
                return Err(format!("listen.{name}.path is not an absolute path"));
            }
        }
        if let (Some(tls), Some(admin)) = (&self.tls, &self.admin_tls)
            && tls.address == admin.address
        {
            return Err("listen.tls and listen.admin_tls share an address".into());
        }
        let Some(plaintext) = &self.plaintext else { return Ok(()) };
        if !plaintext.address.ip().is_loopback() {
            return Err("listen.plaintext.address is not a loopback address".into());
        }
        if !plaintext.anybody_on_this_machine_may_call {
            return Err(
                "listen.plaintext needs anybody_on_this_machine_may_call = true: there is no \
                 authentication"
                    .into(),
            );
        }
        if !caller_is_known(&plaintext.caller) {
            return Err(format!(
                "listen.plaintext.caller {:?} is not the name of a [[caller]] with \
                 plaintext = true",
                plaintext.caller
            ));
        }
        Ok(())
    }
}

impl LimitsConfig {
    /// How many connections of each service listener fit into this many file descriptors, beside what the
    /// token, the journal, the database, the admin listener and unknown peers need; no more than configured.
    ///
    /// # Errors
    /// The number of descriptors that are needed at least.
    pub fn connections_within(
        &self,
        listen: &ListenConfig,
        descriptors: usize,
    ) -> Result<usize, usize> {
        let tls = usize::from(listen.tls.is_some());
        let admin_tls = usize::from(listen.admin_tls.is_some());
        let listeners = 1 + tls + usize::from(listen.plaintext.is_some());
        let fixed = RESERVED_DESCRIPTORS
            + HTTP_DESCRIPTORS
            + ADMIN_CONNECTIONS
            + self.unknown_connections
            + listeners * self.unknown_connections
            + tls * self.unfinished_handshakes
            + admin_tls
                * (ADMIN_CONNECTIONS + self.unknown_connections + self.unfinished_handshakes);
        let fit = descriptors.saturating_sub(fixed) / listeners;
        if fit < FEWEST_CONNECTIONS.min(self.connections) {
            return Err(fixed + listeners * FEWEST_CONNECTIONS);
        }
        Ok(fit.min(self.connections))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.connections == 0 || self.connections_per_caller == 0 {
            return Err("limits: connections and connections_per_caller are at least 1".into());
        }
        if self.unknown_connections < 4 || self.unfinished_handshakes < 4 {
            return Err(
                "limits: unknown_connections and unfinished_handshakes are at least 4".into()
            );
        }
        if self.unknown_bytes_in_flight < UNKNOWN_CALLS {
            return Err(format!("limits: unknown_bytes_in_flight is at least {UNKNOWN_CALLS}"));
        }
        if self.streams_per_connection == 0 {
            return Err("limits: streams_per_connection is 0".into());
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.connection_age) {
            return Err("limits: connection_age is 1s to 1h".into());
        }
        if self.bytes_in_flight_per_caller < LARGEST_CALL
            || self.bytes_in_flight < self.bytes_in_flight_per_caller
        {
            return Err(format!(
                "limits: bytes_in_flight_per_caller is at least {LARGEST_CALL}, which one call may \
                 need, and bytes_in_flight no less than that"
            ));
        }
        if self.batch != 0 && !BATCH.contains(&self.batch) {
            return Err(format!("limits: batch is 0 or {} to {}", BATCH.start(), BATCH.end()));
        }
        Ok(())
    }
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(serde::de::Error::custom("a mode is up to three octal digits, like \"0660\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let listen: ListenConfig = toml::from_str(
            "service = { path = '/s', mode = '0660' }\nadmin = { path = '/a', mode = '0600' }\n\
             [tls]\naddress = '[::]:1'\ncertificate = '/c'\nkey = '/k'\nclient_ca = '/ca'\n",
        )
        .unwrap();
        let limits = LimitsConfig::default();
        assert_eq!(limits.connections_within(&listen, 524_288), Ok(4096));
        assert_eq!(limits.connections_within(&listen, 1024), Ok(332));
        assert_eq!(limits.connections_within(&listen, 256), Err(392));
    }
}
