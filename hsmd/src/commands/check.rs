//! `hsmd check`: configuration, database, log, token, and how they fit. Changes nothing but
//! that it makes the state folder, without which no PIN may be used, unless it is asked to try the token.

pub(super) mod owner;
mod second;
mod situation;
mod trial;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::KeyLog;
use hsmd_support::{Report, chain};
use nix::sys::resource::{Resource, getrlimit};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use self::second::look;
use self::situation::{LogFound, Situation};
use super::{CommandError, inventories, prepare_state_dir, signer, stop_signer, when_it_answers};
use crate::authz::validity;
use crate::clock::Clock;
use crate::config::{Config, TlsListenConfig};
use crate::daemon::core::append_pending::pending;
use crate::daemon::core::{CoreError, verify_rows};
use crate::daemon::known::Known;
use crate::daemon::start::read_journal;
use crate::grpc;
use crate::journal::Journal;
use crate::keylog::{KeylogError, Reader};
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::print;
use crate::signer::Signer;
use crate::startup::{self, Plan, Verdict, decide};
use crate::token::{Inventory, Modules};

/// Says what is to be said of a configuration by itself: [`Config::load`] has found it valid.
///
/// # Errors
/// [`CommandError::Output`].
pub fn check_config(config: &Config) -> Result<(), CommandError> {
    let mut report = Report::default();
    report.good("configuration", "is valid");
    check_callers(config, &mut report);
    print(report.text()).map_err(CommandError::Output)
}

/// Prints a line for each thing looked at and one for the situation that they make, and fails if
/// anything is wrong.
///
/// With `try_with`, the configuration's path, it then tries the tokens with keys of a scratch label. With
/// `before_serve` it fails only for what `serve` would refuse. Waits so long for the database.
///
/// # Errors
/// [`CommandError::Refused`] if something is wrong: the lines say what. [`CommandError::Output`] if they
/// have no reader.
pub async fn check(
    config: &Config,
    try_with: Option<&Path>,
    before_serve: bool,
    wait: Duration,
) -> Result<(), CommandError> {
    let mut report = Report::default();
    report.good("configuration", "is valid");
    check_callers(config, &mut report);
    match prepare_state_dir(config) {
        Ok(()) => report.good("state folder", "can be written"),
        Err(error) => report.fatal("state folder", chain(&error)),
    }
    let clock = Clock::start();
    check_tls(config, &clock, &mut report);
    check_descriptors(config, &mut report);
    let rows = check_log(config, &clock, wait, &mut report).await;
    let modules = Arc::new(Modules::default());
    let signer = signer(config, None, &clock, &modules, &Metrics::default())?;
    let tokens = check_tokens(&signer, &mut report).await;
    let own = match &rows {
        Rows::Log(log) => Known::of(config, Some(log.clone())),
        Rows::Empty => Known::of(config, None),
        Rows::Unreadable | Rows::Broken(_) => Ok(None),
    };
    let copies = tokens.as_ref().map(|_| &signer);
    let journal = match own {
        Ok(Some(known)) => Some(check_journal(config, known, copies, &mut report).await),
        Ok(None) => None,
        Err(error) => {
            report.bad("log in state_dir", chain(&error));
            Some(Err(error))
        }
    };
    let verdict = match &tokens {
        Some(found) => {
            let is_trial = try_with.is_some();
            check_keys(config, found, &rows, &journal, is_trial, &mut report)
        }
        None => None,
    };
    check_copies(&signer, &mut report);
    let is_owned = match (&tokens, &rows) {
        (None, _) | (_, Rows::Unreadable) => false,
        _ => owner::report_owner(config, &signer, &mut report).await,
    };
    stop_signer(&signer, &modules);
    if let Some(path) = try_with {
        trial::trial(config, path, &mut report).await?;
    }
    let found = match (&rows, &journal) {
        (Rows::Unreadable, _) => LogFound::Unreadable,
        (Rows::Broken(error), _) => LogFound::Broken(error),
        (Rows::Log(_), Some(journal)) => {
            LogFound::Log(journal.as_ref().map(|journal| journal.pending))
        }
        (Rows::Empty, Some(Ok(journal))) if matches!(verdict, Some(Verdict::Serve(_))) => {
            LogFound::Log(Ok(journal.pending))
        }
        _ => LogFound::Empty { identity_known: config.identity.is_some() },
    };
    report.conclusion("situation", Situation::of(&found, verdict.as_ref(), is_owned).text());
    print(report.text()).map_err(CommandError::Output)?;
    match if before_serve { report.fatal_count() } else { report.bad_count() } {
        0 => Ok(()),
        bad => Err(CommandError::Refused(format!("{bad} of these are wrong"))),
    }
}

/// What the database holds.
enum Rows {
    Unreadable,
    Broken(CoreError),
    Empty,
    Log(KeyLog),
}

/// A journal that fits the log.
struct JournalFound {
    journal: Journal,
    /// How many events the table lacks that it or the log in `state_dir` has.
    pending: usize,
    /// The log with these.
    log: KeyLog,
}

fn check_callers(config: &Config, report: &mut Report) {
    if config.caller.is_empty() {
        report.note("callers", "none are configured: nothing is signed for any peer");
    }
    if config.admin.is_empty() {
        report.note("admins", "none are configured: rotate and taint are refused to all");
    }
    if config.identity.is_none() {
        report
            .note("identity", "is not configured: any valid log is accepted; set it after `init`");
    }
}

/// Whether the connections that are configured fit into this process's file descriptors.
fn check_descriptors(config: &Config, report: &mut Report) {
    let allowed = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, most)) => usize::try_from(most).unwrap_or(usize::MAX),
        Err(error) => {
            return report.bad("descriptors", format!("RLIMIT_NOFILE is unknown: {error}"));
        }
    };
    let wanted = config.limits.connections;
    match config.limits.connections_within(&config.listen, allowed) {
        Ok(fit) if fit == wanted => {
            report.good("descriptors", format!("{allowed}: enough for limits.connections"));
        }
        Ok(fit) => report.bad(
            "descriptors",
            format!(
                "RLIMIT_NOFILE is {allowed}: {fit} connections of each listener fit, not {wanted}: raise \
                 LimitNOFILE= or lower limits.connections"
            ),
        ),
        Err(needed) => report
            .fatal("descriptors", format!("RLIMIT_NOFILE is {allowed}: at least {needed} are needed")),
    }
}

fn check_tls(config: &Config, clock: &Clock, report: &mut Report) {
    for files in config.listen.tls.iter().chain(&config.listen.admin_tls) {
        check_tls_files(files, clock, report);
    }
}

fn check_tls_files(files: &TlsListenConfig, clock: &Clock, report: &mut Report) {
    match grpc::check_tls(files) {
        Ok(expiry) if clock.now().is_ok_and(|now| now > expiry) => {
            report.bad("TLS", format!("the certificate has ended at {expiry}: renew it"));
        }
        Ok(expiry) => report.good("TLS", format!("the certificate is valid until {expiry}")),
        Err(error) => report.fatal("TLS", chain(&error)),
    }
    let authorities =
        CertificateDer::pem_file_iter(&files.client_ca).into_iter().flatten().flatten();
    let validities = authorities.filter_map(|authority| validity(&authority).ok());
    for expiry in validities.map(|validity| validity.end) {
        if clock.now().is_ok_and(|now| now > expiry) {
            report
                .bad("TLS", format!("an authority in client_ca has ended at {expiry}: replace it"));
        }
    }
}

async fn check_log(config: &Config, clock: &Clock, wait: Duration, report: &mut Report) -> Rows {
    let mut reader =
        match when_it_answers(wait, async || Reader::connect(&config.database).await).await {
            Ok(reader) => reader,
            Err(error) => return unreadable(&error, report),
        };
    let rows = match reader.read(0).await {
        Ok(rows) => rows,
        Err(error) => return unreadable(&error, report),
    };
    report.good("database", format!("reached, schema {}", config.database.schema));
    match reader.excess_privileges().await {
        Ok(excess) if excess.is_empty() => {}
        Ok(excess) => report.bad(
            "privileges",
            format!("the writer role may do more than SELECT and INSERT: {}", excess.join(", ")),
        ),
        Err(error) => report.bad("privileges", chain(&error)),
    }
    check_access(&mut reader, config, report).await;
    match verify_rows(&rows, config.identity.as_ref(), clock, config.clock_skew) {
        Ok(Some(log)) => {
            report.good(
                "key log",
                format!("{} events verified, the head is {}", rows.len(), log.position()),
            );
            Rows::Log(log)
        }
        Ok(None) => {
            report.note("key log", "is empty");
            Rows::Empty
        }
        Err(error) => {
            report.fatal("key log", chain(&error));
            Rows::Broken(error)
        }
    }
}

fn unreadable(error: &KeylogError, report: &mut Report) -> Rows {
    match error.is_transient() {
        // `serve` waits for it.
        true => report.bad("database", chain(error)),
        false => report.fatal("database", chain(error)),
    }
    Rows::Unreadable
}

/// Whether something stands between us and the database that must not, and who else may connect.
async fn check_access(reader: &mut Reader, config: &Config, report: &mut Report) {
    match reader.is_pooled(&config.database).await {
        Ok(false) => {}
        Ok(true) => report.bad("database", chain(&KeylogError::TransactionPooler)),
        Err(error) => report.bad("database", chain(&error)),
    }
    match reader.others_who_may_connect().await {
        Ok(others) if others.is_empty() => {}
        Ok(others) => report.bad(
            "access",
            format!(
                "other roles may connect to the database, and could take the writer lock: {}; \
                 `hsmd migrate` revokes CONNECT from PUBLIC where the owner of the schema owns the \
                 database",
                others.join(", ")
            ),
        ),
        Err(error) => report.bad("access", chain(&error)),
    }
}

/// The journal: with the tokens' copies, as the start has it, where the tokens are open.
async fn check_journal(
    config: &Config,
    Known { mut log, stored, .. }: Known,
    tokens: Option<&Signer>,
    report: &mut Report,
) -> Result<JournalFound, CoreError> {
    let journal = match tokens {
        Some(signer) => read_journal(config, signer, &log).await,
        None => Journal::open(&config.state_dir, &log.identity()).map_err(CoreError::from),
    };
    let compared = journal.and_then(|journal| {
        pending(journal.entries(), &mut log)?;
        let pending = log.events().len() - stored;
        Ok(JournalFound { journal, pending, log })
    });
    match &compared {
        Ok(JournalFound { pending: 0, .. }) => {
            report.good("journal", "holds nothing that the log lacks");
        }
        Ok(JournalFound { pending, log, .. }) => {
            let head = log.head().event().sequence_number();
            let finding = format!(
                "{pending} events up to {head} are known here that the log lacks: the next start appends \
                 them, if the token goes on from there"
            );
            report.note("journal", &finding);
        }
        Err(error) => report.fatal("journal", chain(error)),
    }
    compared
}

/// Opens every token and lists our keys.
async fn check_tokens(signer: &Signer, report: &mut Report) -> Option<Vec<Inventory>> {
    match inventories(signer).await {
        Ok(found) => {
            let pairs: usize = found.iter().map(|inventory| inventory.pairs.len()).sum();
            report.good("token", format!("opened, {pairs} key pairs of ours"));
            Some(found)
        }
        Err(error) => {
            report.bad("token", chain(&error));
            None
        }
    }
}

/// Says where the journal's file alone counts.
fn check_copies(signer: &Signer, report: &mut Report) {
    for worker in signer.workers() {
        if let Some(reason) = worker.report().no_journal_copy {
            report.note("journal copy", format!("the token gets none: {reason}"));
        }
    }
}

fn check_keys(
    config: &Config,
    found: &[Inventory],
    rows: &Rows,
    journal: &Option<Result<JournalFound, CoreError>>,
    is_trial: bool,
    report: &mut Report,
) -> Option<Verdict> {
    let without_a_log = || match Journal::intent(&config.state_dir) {
        Ok(intent) => {
            Ok(startup::Known { init_intent: intent.is_some(), ..startup::Known::default() })
        }
        Err(error) => Err(chain(&error)),
    };
    let (known, log) = match (rows, journal) {
        // Without a log that verifies there is nothing to compare the keys with.
        (Rows::Unreadable | Rows::Broken(_), _) => return None,
        (_, Some(Ok(JournalFound { journal, log, .. }))) => {
            let begun = journal.entries().begun;
            (startup::Known { init_intent: false, begun }, Some(log))
        }
        (Rows::Log(log), _) => (startup::Known::default(), Some(log)),
        (Rows::Empty, _) => match without_a_log() {
            Ok(known) => (known, None),
            Err(error) => {
                report.bad("journal", &error);
                return None;
            }
        },
    };
    let mut verdict = decide(log.map(|log| log.head().event()), found, known);
    // An empty table is filled again only if the token holds the head's pairs.
    let fills = matches!(&verdict, Verdict::Serve(plan) if plan.next.is_some());
    if matches!(rows, Rows::Empty) && log.is_some() && !fills {
        match without_a_log() {
            Ok(known) => verdict = decide(None, found, known),
            Err(error) => {
                report.bad("journal", &error);
                return None;
            }
        }
    }
    match &verdict {
        Verdict::Serve(Plan { next: Some(_), .. }) => report.good("log and token", "agree"),
        // The trial comes before the first ceremony.
        verdict @ Verdict::Blank if is_trial => report.note("log and token", verdict.advice()),
        // It signs, and can't rotate.
        verdict @ Verdict::Serve(_) => report.bad("log and token", verdict.advice()),
        verdict => report.fatal("log and token", verdict.advice()),
    }
    if let Verdict::Serve(Plan { leftovers, .. }) = &verdict {
        for (_, number) in leftovers {
            let finding = format!(
                "that of generation {number} is still on the token: a start destroys it if it is to \
                 go, and Status says when the token refuses"
            );
            report.note("old key", &finding);
        }
    }
    Some(verdict)
}
