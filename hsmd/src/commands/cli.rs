//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Signs with a key that never leaves its HSM, and keeps that key's history.
///
/// Exit codes: 0 good, 1 failed (the message says what to do), 64 bad usage or configuration, 65 `serve`
/// refuses until a person has changed something.
#[derive(Debug, Parser)]
#[command(name = "hsmd", version, about)]
pub struct Arguments {
    /// The configuration; every key is documented in hsmd.example.toml.
    #[arg(long, value_name = "FILE", default_value = "/etc/hsmd/hsmd.toml", global = true)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM.
    Serve {
        /// Serve although a key beyond the committed one is on the token and the journal knows of no
        /// rotation: for when you know that a rotation crashed and its journal is lost.
        #[arg(long)]
        assume_crashed: bool,
        /// Claim the token although another state folder owns it and the database does not name that
        /// claim: for when you know that its daemon is stopped, or lost for good.
        #[arg(long)]
        take_over_token: bool,
    },
    /// Make a new identity: keys 0 and 1 on the token, event 0 in the log. Prints the identity.
    Init,
    /// Say whether configuration, database, log and token fit, and exactly what does not.
    Check {
        /// Try the token, too: make, use and destroy keys under a scratch label, in two processes. Before
        /// the first ceremony, and never beside a daemon that serves.
        #[arg(long = "try")]
        try_token: bool,
        /// Look at the configuration's file alone: no token, no database, no other file. What a reload
        /// would refuse is refused here.
        #[arg(long, conflicts_with = "try_token")]
        config_only: bool,
        /// Fail only for what `serve` would refuse, not for what it waits for or lives with: for a step
        /// before it.
        #[arg(long, conflicts_with = "try_token")]
        before_serve: bool,
        /// How long to wait for the database, if it is away.
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
        wait: Duration,
    },
    /// The second process of `check --try`.
    #[command(hide = true)]
    Look {
        /// The token's name.
        token: String,
    },
    /// Write the verified log to standard output, as published.
    Export,
    /// Append what a copy of the log has and ours lacks.
    Import {
        /// The copy, a JSON array as `export` writes it.
        file: PathBuf,
        /// Do not compare the copy with the token: you vouch for the copy.
        #[arg(long)]
        without_token: bool,
    },
    /// After two histories of one identity: clear what this host and its token hold of the losing branch.
    ClearBranch {
        /// The log to go on from, as `hsmctl reconcile --write` or `export` writes it.
        log: PathBuf,
        /// The first event of the losing branch, by its id: to show that you mean this one. Without it, the
        /// command says which it is.
        #[arg(long, value_name = "EVENT_ID", default_value = "")]
        discard: String,
        /// Clear although another state folder owns the token and the database does not name that claim:
        /// for when you know that its daemon is stopped, or lost for good.
        #[arg(long)]
        take_over_token: bool,
    },
    /// Create or update the database schema, as its owner.
    Migrate {
        /// How long to wait for the database, if it is away.
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
        wait: Duration,
    },
}
