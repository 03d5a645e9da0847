//! What can be typed. Secrets never are: they live in files.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use hsmd_chain::{Anchor, cesr::Digest};

/// Plays a user's device: accounts, linked devices, sessions and access requests. Its keys are on
/// disk before any request that commits to them is sent: after a lost reply run the command again.
#[derive(Debug, Parser)]
#[command(name = "hsmd-device", version)]
pub(crate) struct Arguments {
    /// The device's state with its private keys, made with mode 0600.
    #[arg(long, value_name = "FILE", env = "HSMD_DEVICE_STATE")]
    pub(crate) state: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an account with this as its first device.
    Create {
        /// The recovery key's file; made if it does not exist. Keep it somewhere else.
        #[arg(long, value_name = "FILE")]
        recovery: PathBuf,
        #[command(flatten)]
        servers: Servers,
    },
    /// Make this a new device of an account and print what a linked device needs for `link`.
    LinkContainer {
        /// The account.
        #[arg(long)]
        identity: Digest,
    },
    /// Link a new device to this device's account.
    Link {
        /// What `link-container` printed on the new device.
        container: String,
        #[command(flatten)]
        servers: Servers,
    },
    /// Revoke a device of this device's account.
    Unlink {
        /// The device; this one if none is named.
        device: Option<Digest>,
        #[command(flatten)]
        servers: Servers,
    },
    /// Replace the authentication key by the one that was committed to.
    Rotate {
        #[command(flatten)]
        servers: Servers,
    },
    /// Begin a session: get a challenge, answer it, keep the access token.
    Session {
        #[command(flatten)]
        servers: Servers,
    },
    /// Continue the session with the next access key.
    Refresh {
        #[command(flatten)]
        servers: Servers,
    },
    /// Send a request to an application and print the verified response.
    Access {
        /// The application's base URL.
        #[arg(long, value_name = "URL", env = "HSMD_APP_URL")]
        app: String,
        /// The path to post to.
        #[arg(long, default_value = "/foo/bar")]
        path: String,
        /// The request, JSON.
        #[arg(default_value = r#"{"foo":"bar","bar":"foo"}"#)]
        request: String,
        #[command(flatten)]
        trusted: Trusted,
    },
    /// Replace all devices of an account by this new one, with the recovery key.
    Recover {
        /// The account.
        #[arg(long)]
        identity: Digest,
        /// The recovery key's file.
        #[arg(long, value_name = "FILE")]
        recovery: PathBuf,
        /// The file of the recovery key that shall count from now on; made if it does not exist.
        #[arg(long, value_name = "FILE")]
        new_recovery: PathBuf,
        #[command(flatten)]
        servers: Servers,
    },
    /// Replace the recovery key.
    ChangeRecovery {
        /// The file of the recovery key that shall count from now on; made if it does not exist.
        #[arg(long, value_name = "FILE")]
        new_recovery: PathBuf,
        #[command(flatten)]
        servers: Servers,
    },
    /// Delete the account for ever.
    Delete {
        #[command(flatten)]
        servers: Servers,
    },
    /// Print who this device is and what its session says. Asks no server.
    Show,
}

/// The auth service, and whom to trust.
#[derive(Debug, Args)]
pub(crate) struct Servers {
    /// The auth service's base URL.
    #[arg(long, value_name = "URL", env = "HSMD_AUTH_URL")]
    pub(crate) auth: String,

    #[command(flatten)]
    pub(crate) trusted: Trusted,
}

/// Whom to trust.
#[derive(Debug, Args)]
pub(crate) struct Trusted {
    /// The keys service's base URL.
    #[arg(long, value_name = "URL", env = "HSMD_KEYS_URL")]
    pub(crate) keys: String,

    /// The HSM's identity, perhaps with a recent head: `E…` or `E…@<sequence>:<event id>`.
    #[arg(long, value_name = "IDENTITY", env = "HSMD_HSM_IDENTITY")]
    pub(crate) hsm_identity: Anchor,

    /// How long to wait for an answer.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}
