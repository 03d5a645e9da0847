//! What can be typed: commands, flags, environment variables. What it means is said elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hsmd_client::chain::{Anchor, Digest, PublicKey, Timestamp};

const AFTER_HELP: &str = "\
Exit codes:
  0   good
  1   failed or refused (status: the daemon answered but neither serves nor stands by)
  2   verification failed: what was read proves nothing, do not rely on it
  64  bad usage or configuration
  69  the daemon can't be reached, is not ready or did not answer in time

Endpoints are unix:///path or https://host:port (mutual TLS: --ca-file, --cert-file, --key-file).";

/// Command line of hsmd: look at the daemon, read and verify its key log, sign, rotate, taint.
#[derive(Debug, Parser)]
#[command(name = "hsmctl", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Global {
    /// The daemon's service listener
    #[arg(long, global = true, env = "HSMD_ENDPOINT", value_name = "URL")]
    #[arg(default_value = "unix:///run/hsmd/service.sock")]
    pub(crate) endpoint: String,

    /// The daemon's admin listener
    #[arg(long, global = true, env = "HSMD_ADMIN_ENDPOINT", value_name = "URL")]
    #[arg(default_value = "unix:///run/hsmd/admin.sock")]
    pub(crate) admin_endpoint: String,

    /// The identity that the key log must have: E…, or E…@<sequence>:<event id> to refuse a log
    /// that lacks that event
    #[arg(long, global = true, env = "HSMD_IDENTITY", value_name = "ANCHOR")]
    pub(crate) identity: Option<Anchor>,

    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,

    /// How long a call may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,

    /// How far ahead of this machine's clock an event may lie
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) clock_skew: Duration,

    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// The PEM files of mutual TLS, for https endpoints.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mutual TLS")]
pub(crate) struct Tls {
    /// The authority that issued the daemon's certificate
    #[arg(long, global = true, env = "HSMD_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Our certificate chain
    #[arg(long, global = true, env = "HSMD_CERT_FILE", value_name = "FILE")]
    pub(crate) cert_file: Option<PathBuf>,

    /// Our private key
    #[arg(long, global = true, env = "HSMD_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// The name in the daemon's certificate, if not the endpoint's host
    #[arg(long, global = true, env = "HSMD_SERVER_NAME", value_name = "NAME")]
    pub(crate) server_name: Option<String>,
}

/// How results are printed on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: compact JSON
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what the daemon is, does and lacks
    Status,
    /// Print the identity of the verified key log
    Identity,
    /// Print the verified key log
    Log(Log),
    /// Have a service's public key endorsed: prints {"body":…,"signature":…}
    Endorse(Endorse),
    /// Have a JSON document signed byte for byte: prints {"body":…,"signature":…}
    Sign(Sign),
    /// Make the committed next key the active one
    Rotate(Change),
    /// Declare the active key compromised and replace it; asks nothing
    Taint(Taint),
    /// Print the record of what administrators did
    Audit(Audit),
    /// Verify a key log and what was signed under it, without a daemon
    Verify(Verify),
    /// Decide between several logs of one identity, or say that nothing in them decides
    Reconcile(Reconcile),
    /// Print a script of shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// The first record wanted; without it, the newest are printed
    #[arg(long, value_name = "NUMBER")]
    pub(crate) from: Option<u64>,

    /// How many records at the most
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) count: u32,

    /// List the signatures that these audit files record, oldest first: which document which key signed
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["from", "count"])]
    pub(crate) signatures: Vec<PathBuf>,

    /// With --signatures: only those of this generation, like a tainted one
    #[arg(long, value_name = "ID", requires = "signatures")]
    pub(crate) generation: Option<Digest>,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Print the published JSON array (with --follow: one compact JSON object a line)
    #[arg(long)]
    pub(crate) json: bool,

    /// Print each new event as it comes, until interrupted
    #[arg(long)]
    pub(crate) follow: bool,

    /// Print the newest statement of the newest key that it is the newest: how fresh the log is
    #[arg(long, conflicts_with = "follow")]
    pub(crate) head: bool,

    /// The look-back window by which older generations are called live
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) window: Duration,

    /// With --follow: say so on standard error when the daemon has been out of contact for this long;
    /// with --head: how old the statement may be
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) max_staleness: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Endorse {
    /// An endorsement purpose that the caller may use, for example "access"
    #[arg(long)]
    pub(crate) purpose: String,

    /// The key to endorse: 1AAI…, 48 characters
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: PublicKey,

    /// How long the endorsement is valid from now
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// One compact JSON object whose "purpose" names a signing purpose; "-" is standard input. One
    /// newline at the end is left out, everything else is signed byte for byte
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Why, for the record: 1 to 500 characters
    #[arg(long)]
    pub(crate) reason: String,

    /// The id of the generation to be replaced; default: the head that the daemon names first. Give
    /// it when repeating a command whose answer was lost: then nothing is done twice
    #[arg(long, value_name = "EVENT_ID")]
    pub(crate) expected: Option<Digest>,
}

#[derive(Debug, Args)]
pub(crate) struct Taint {
    #[command(flatten)]
    pub(crate) change: Change,

    /// Where to write the event, for `hsmd import`, when the daemon's database does not have it yet;
    /// default: hsmd-taint-<number>.json in the current folder
    #[arg(long, value_name = "FILE")]
    pub(crate) event_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// The published logs, as `hsmd export` writes them: of each database, and of readers
    #[arg(value_name = "LOG", num_args = 2.., required = true)]
    pub(crate) logs: Vec<PathBuf>,

    /// Where to write the log to follow, for `hsmd import` and `hsmd clear-branch`
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The published key log; "-" is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) log: PathBuf,

    /// A signed document or an endorsement, {"body":…,"signature":…} or {"payload":…,"proof":…,"batch":…}; may be repeated
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) signed: Vec<PathBuf>,

    /// A JWT of the accounts service or of any other, verified with --jwks; "-" is standard input. A token is as good as
    /// a password, so it is never an argument
    #[arg(long, value_name = "FILE", requires = "jwks")]
    pub(crate) jwt: Option<PathBuf>,

    /// The JWKS that the accounts or the keys service published, with each key's endorsement
    #[arg(long, value_name = "FILE", requires = "jwt")]
    pub(crate) jwks: Option<PathBuf>,

    /// The look-back window: how long an older generation stays live
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) window: Duration,

    /// Verify as of this time (2026-11-22T11:22:33.044Z) instead of now
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_taint_takes_a_reason_and_nothing_else() {
        let cli = Cli::try_parse_from(["hsmctl", "taint", "--reason", "stolen"]).expect("parses");
        let Command::Taint(Taint { change, .. }) = cli.command else { panic!("not a taint") };
        assert_eq!((change.reason.as_str(), change.expected), ("stolen", None));
        assert!(Cli::try_parse_from(["hsmctl", "taint"]).is_err());
    }

    #[test]
    fn help_names_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for line in ["0   good", "2   verification failed", "64  bad usage", "69  the daemon"] {
            assert!(help.contains(line), "{line}");
        }
    }
}
