//! `hsmd check`: configuration, database, log, token, and how they fit. Changes nothing but
//! that it makes the state folder, without which no PIN may be used.

use std::sync::Arc;

use hsmd_chain::KeyLog;

use super::{CommandError, inventories, prepare_state_dir, signer, stop_signer};
use crate::clock::Clock;
use crate::config::Config;
use crate::core::{CoreError, Pending, pending, verify_rows};
use crate::journal::Journal;
use crate::keylog::{Reader, chain};
use crate::metrics::Metrics;
use crate::startup::{Known, Plan, Verdict, decide};
use crate::telemetry::print;
use crate::token::Modules;

/// Prints a line for each thing looked at, and fails if any is wrong.
///
/// # Errors
/// Something is wrong; the lines say what.
pub async fn check(config: &Config) -> Result<(), CommandError> {
    let mut report = Report::default();
    report.good("configuration", "is valid");
    check_callers(config, &mut report);
    match prepare_state_dir(config) {
        Ok(()) => report.good("state folder", "can be written"),
        Err(error) => report.bad("state folder", &chain(&error)),
    }
    let clock = Clock::start();
    let log = check_log(config, &clock, &mut report).await;
    let journal = log.as_ref().and_then(|log| check_journal(config, log, &clock, &mut report));
    check_token(config, &clock, log, journal, &mut report).await;
    print(&report.text).map_err(CommandError::Output)?;
    if report.bad == 0 {
        Ok(())
    } else {
        Err(CommandError::Refused(format!("{} of these are wrong", report.bad)))
    }
}

#[derive(Default)]
struct Report {
    text: String,
    bad: usize,
}

impl Report {
    fn good(&mut self, what: &str, finding: &str) {
        self.line("ok ", what, finding);
    }

    fn bad(&mut self, what: &str, finding: &str) {
        self.bad += 1;
        self.line("BAD", what, finding);
    }

    fn note(&mut self, what: &str, finding: &str) {
        self.line("-  ", what, finding);
    }

    fn line(&mut self, mark: &str, what: &str, finding: &str) {
        self.text.push_str(&format!("{mark}  {what:<14} {finding}\n"));
    }
}

fn check_callers(config: &Config, report: &mut Report) {
    if config.caller.is_empty() {
        report.note("callers", "none are configured: nobody can have anything signed");
    }
    if config.admin.is_empty() {
        report.note("admins", "none are configured: nobody can rotate or taint");
    }
    if config.identity.is_none() {
        report
            .note("identity", "is not configured: any valid log is accepted; set it after `init`");
    }
}

async fn check_log(config: &Config, clock: &Clock, report: &mut Report) -> Option<KeyLog> {
    let mut reader = match Reader::connect(&config.database).await {
        Ok(reader) => reader,
        Err(error) => {
            report.bad("database", &chain(&error));
            return None;
        }
    };
    let rows = match reader.read(0).await {
        Ok(rows) => rows,
        Err(error) => {
            report.bad("database", &chain(&error));
            return None;
        }
    };
    report.good("database", &format!("reached, schema {}", config.database.schema));
    match reader.excess_privileges().await {
        Ok(excess) if excess.is_empty() => {}
        Ok(excess) => report.bad(
            "privileges",
            &format!("the writer role may do more than SELECT and INSERT: {}", excess.join(", ")),
        ),
        Err(error) => report.bad("privileges", &chain(&error)),
    }
    match verify_rows(&rows, config.identity.as_ref(), clock, config.clock_skew) {
        Ok(Some(log)) => {
            report.good(
                "key log",
                &format!("{} events verified, the head is {}", rows.len(), log.position()),
            );
            Some(log)
        }
        Ok(None) => {
            report.note("key log", "is empty");
            None
        }
        Err(error) => {
            report.bad("key log", &chain(&error));
            None
        }
    }
}

fn check_journal(
    config: &Config,
    log: &KeyLog,
    clock: &Clock,
    report: &mut Report,
) -> Option<(Journal, KeyLog)> {
    let journal = match Journal::open(&config.state_dir, &log.identity()) {
        Ok(journal) => journal,
        Err(error) => {
            report.bad("journal", &chain(&error));
            return None;
        }
    };
    let mut extended = log.clone();
    match pending(&journal, &mut extended, clock, config.clock_skew) {
        Ok(Pending::Nothing) => report.good("journal", "holds nothing that the log lacks"),
        Ok(Pending::Event(event)) => report.note(
            "journal",
            &format!(
                "holds event {}, which the next start appends to the log",
                event.event().sequence_number()
            ),
        ),
        Err(error) => {
            report.bad("journal", &chain(&error));
            return None;
        }
    }
    Some((journal, extended))
}

async fn check_token(
    config: &Config,
    clock: &Clock,
    log: Option<KeyLog>,
    journal: Option<(Journal, KeyLog)>,
    report: &mut Report,
) {
    let modules = Arc::new(Modules::default());
    let signer = match signer(config, clock, &modules, &Metrics::default()) {
        Ok(signer) => signer,
        Err(error) => return report.bad("token", &chain(&error)),
    };
    let found = inventories(&signer).await;
    stop_signer(&signer, &modules);
    let found = match found {
        Ok(found) => found,
        Err(error) => return report.bad("token", &chain(&error)),
    };
    let pairs: usize = found.iter().map(|inventory| inventory.pairs.len()).sum();
    report.good("token", &format!("opened, {pairs} key pairs of ours"));
    let known = match &journal {
        Some((journal, _)) => Known { init_intent: false, begun: journal.entries().begun },
        None => match Journal::intent(&config.state_dir).map_err(CoreError::from) {
            Ok(intent) => Known { init_intent: intent.is_some(), begun: None },
            Err(error) => return report.bad("journal", &chain(&error)),
        },
    };
    let log = journal.map(|(_, log)| log).or(log);
    let verdict = decide(log.as_ref().map(|log| log.head().event()), &found, known);
    match &verdict {
        Verdict::Serve(Plan { next: Some(_), .. }) => report.good("log and token", "agree"),
        verdict => report.bad("log and token", verdict.advice()),
    }
}
