//! The start: from an empty process to a core that may serve, waiting for what is down and refusing
//! to guess. The order: database, lock, log, tokens, journal and table, ownership, both again, keys.

mod alone;
mod error;
mod publish;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::{Anchor, KeyLog};
use hsmd_support::chain;

use crate::config::Config;
use crate::daemon::core::append_pending::{keep, next_append};
use crate::daemon::core::{Core, CoreError, parse_rows, verify_rows};
use crate::daemon::known::Known;
use crate::daemon::own::{holds_others, keep_merged, open_folder};
use crate::daemon::state::{DatabaseReport, Phase, Shared};
use crate::journal::{Journal, LogFile, decode};
use crate::keylog::{KeylogError, Writer};
use crate::signer::Signer;
use crate::token::TokenError;
use table::{Examined, Table};

pub use error::StartError;

/// How long to wait before the next attempt to reach what was down.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// How long the session of a standby pair may be idle; it proves its lock far more often.
const IDLE_AT_MOST: Duration = Duration::from_secs(6);

/// How long a daemon that does not stand by waits for the lock of one that has just died.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(6);

/// What a person has confirmed on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confirmed {
    /// A rotation crashed and its journal is lost.
    pub assume_crashed: bool,
    /// The token's owner is stopped, or lost for good.
    pub take_over_token: bool,
}

/// Starts up. Cancel it by dropping: nothing it does is split by that. `claimed` has the places of the tokens
/// that this start or an earlier attempt has claimed, as long as the claims can be taken back.
///
/// # Errors
/// [`StartError`]: what only a person can change; everything else is waited for.
pub async fn start(
    config: &Config,
    shared: &Shared,
    confirmed: Confirmed,
    claimed: &mut Vec<usize>,
) -> Result<Core, StartError> {
    let mut writer = locked_writer(config, shared).await?;
    let rows = writer.read(0).await?;
    // A remembered head may be among the events that the database has lost.
    let own = config.identity.as_ref().map(|anchor| Anchor::new(anchor.identity()));
    let rows = verify_rows(&rows, own.as_ref(), &shared.clock, config.clock_skew)?;
    let was_empty = rows.is_none();
    let known = Known::of(config, rows)?;
    if let Some(known) = &known
        && !was_empty
    {
        publish::before_the_token(config, shared, &mut writer, &known.log).await?;
    }

    shared.set_phase(Phase::Starting("opening the token".into()));
    open_tokens(shared, &mut writer).await?;
    let Some(Known { log, stored, file: mut log_file }) = known else {
        return Err(StartError::Refused(table::without_a_log(config, shared).await?));
    };

    let mut folder = open_folder(config, shared).await?;
    let table = Table { config, shared, known: &log, was_empty, confirmed };
    table.own_tokens(&mut writer, &mut folder, claimed).await?;
    let examined = table.decided().await?;
    crate::crash_point!("start::opened");
    append_lacking(&mut writer, &examined, stored, shared).await?;
    let Examined { mut journal, log, plan } = examined;
    if !claimed.is_empty() || holds_others(&shared.signer).await? {
        // The record of the owner of before goes: nothing can be taken back any more.
        claimed.clear();
        keep_merged(&mut journal, &shared.signer).await?;
    }
    if let Err(error) = folder.note_merged() {
        tracing::warn!(
            error = chain(&error),
            "the next start shows no log before it has the token"
        );
    }
    keep(&mut log_file, &log);
    shared.log.send_replace(Some(log.clone()));
    let stored = log.events().len();
    let mut core = Core::new(
        config,
        Some(writer),
        journal,
        log_file,
        log,
        stored,
        plan,
        Arc::clone(&shared.signer),
        shared.log.clone(),
        shared.lasting.clone(),
        shared.clock.clone(),
        shared.taints.clone(),
        folder,
    );
    // The token may have kept us waiting.
    core.prove_lock().await?;
    crate::crash_point!("start::decided");
    while let Err(error) = core.activate_head().await {
        wait_for_token(shared, &chain(&error)).await;
        core.prove_lock().await?;
    }
    Ok(core)
}

/// Appends what the journal and the log in `state_dir` have and the database lacks.
async fn append_lacking(
    writer: &mut Writer,
    Examined { journal, log, .. }: &Examined,
    mut stored: usize,
    shared: &Shared,
) -> Result<(), StartError> {
    while stored < log.events().len() {
        let (events, record) = next_append(log, stored, journal.entries(), &shared.clock);
        let (first, count) = (stored, events.len());
        tracing::warn!(
            first,
            count,
            "appending events of the journal or the log in state_dir, which the database lacks"
        );
        writer.append(&events, &record).await.map_err(CoreError::from)?;
        writer.confirm().await?;
        stored += count;
        crate::crash_point!("start::appended");
    }
    Ok(())
}

/// A connection that holds the lock. In standby it waits for it, serving reads meanwhile.
async fn locked_writer(config: &Config, shared: &Shared) -> Result<Writer, StartError> {
    let began = Instant::now();
    let mut writer = connect(config, shared).await?;
    loop {
        let asked = Instant::now();
        let locked = writer.try_lock().await;
        if locked.as_ref().is_ok_and(|locked| *locked || config.standby) {
            alone::end(shared).await;
        }
        match locked {
            Ok(true) => {
                shared.signer.release_check().renew_lease(asked);
                report(shared, true, String::new());
                if config.standby {
                    // The token may know more.
                    publish::hide(shared);
                }
                crate::crash_point!("start::locked");
                break;
            }
            Ok(false) if config.standby => {
                report(shared, false, String::new());
                shared.set_phase(Phase::Standby);
                // What is down or damaged here is the serving daemon's to report; we go on waiting.
                let shown = match writer.is_complete().await {
                    Ok(true) => follow(&mut writer, config, shared).await,
                    Ok(false) => {
                        publish::hide(shared);
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = shown {
                    publish::hide(shared);
                    report(shared, false, chain(&error));
                }
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Ok(false) if began.elapsed() > LOCK_TIMEOUT => {
                alone::end(shared).await;
                return Err(StartError::AnotherWriter);
            }
            Ok(false) => {
                // A thief may have taken it to keep us from a taint.
                alone::offer(config, shared).await;
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Err(error) if error.is_transient() => {
                // No holder of the lock is seen, so another may be ahead of what we know.
                publish::hide(shared);
                report(shared, false, chain(&error));
                alone::offer(config, shared).await;
                tokio::time::sleep(RETRY_DELAY).await;
                writer = connect(config, shared).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(writer)
}

/// Holds the lock until the daemon that had it before us has stopped: its newest proof is older than our
/// lock, and its lease expires `grace` later; a second more is for what it had begun. Returns when the
/// lock was proved last.
///
/// # Errors
/// [`KeylogError::LockLost`], or what else [`Writer::prove_lock`] meets.
pub async fn wait_out_grace(writer: &mut Writer, grace: Duration) -> Result<Instant, KeylogError> {
    let until = Instant::now() + grace + Duration::from_secs(1);
    loop {
        let asked = Instant::now();
        writer.prove_lock().await?;
        if asked >= until {
            return Ok(asked);
        }
        tokio::time::sleep(RETRY_DELAY.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

/// A connection of the writer. In a standby pair its session ends soon when it is idle: the server behind
/// a proxy may not see that we are gone, and the lock must not wait for the proxy.
pub async fn connect_writer(config: &Config) -> Result<Writer, KeylogError> {
    let mut writer = Writer::connect(&config.database).await?;
    if config.standby {
        writer.end_when_idle(IDLE_AT_MOST.max(config.lock_grace * 2)).await?;
    }
    Ok(writer)
}

async fn connect(config: &Config, shared: &Shared) -> Result<Writer, StartError> {
    loop {
        let mut connecting = std::pin::pin!(connect_writer(config));
        let connected = loop {
            match tokio::time::timeout(RETRY_DELAY, connecting.as_mut()).await {
                Ok(connected) => break connected,
                // It may hang: neither readers nor a taint wait for the end of that.
                Err(_) => go_on_without_database(config, shared).await,
            }
        };
        match connected {
            Ok(writer) => return Ok(writer),
            Err(error) if error.is_transient() => {
                let problem = chain(&error);
                shared.set_database(DatabaseReport { problem, ..DatabaseReport::default() });
                go_on_without_database(config, shared).await;
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn go_on_without_database(config: &Config, shared: &Shared) {
    shared.set_phase(Phase::Starting("waiting for the database".into()));
    publish::without_database(config, shared).await;
    alone::offer(config, shared).await;
}

/// In standby: what the serving daemon has appended since we last looked.
async fn follow(writer: &mut Writer, config: &Config, shared: &Shared) -> Result<(), StartError> {
    let known = shared.snapshot();
    let from = known.as_ref().map_or(0, |log| log.head().event().sequence_number() + 1);
    let rows = writer.read(from).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let log: Option<KeyLog> = match known {
        None => {
            let rows =
                verify_rows(&rows, config.identity.as_ref(), &shared.clock, config.clock_skew)?;
            match Known::of(config, rows)? {
                Some(Known { log, .. }) => {
                    let journal = Journal::open(&config.state_dir, &log.identity());
                    Some(publish::with_taints(&log, &journal.map_err(CoreError::from)?)?)
                }
                None => None,
            }
        }
        Some(mut log) => {
            for event in parse_rows(&rows)? {
                let number = event.event().sequence_number();
                let now = shared.clock.now().map_err(CoreError::from)?;
                log.extend(event, now, config.clock_skew)
                    .map_err(|source| CoreError::JournalEvent { number, source })?;
            }
            Some(log)
        }
    };
    if let Some(log) = &log {
        // This host's own copy: with it a database that loses events heals.
        let (mut file, _) =
            LogFile::open(&config.state_dir, &log.identity()).map_err(CoreError::from)?;
        keep(&mut file, log);
    }
    shared.log.send_replace(log);
    Ok(())
}

/// Opens every token, waiting for those that are down, while proving the lock.
async fn open_tokens(shared: &Shared, writer: &mut Writer) -> Result<(), StartError> {
    for worker in shared.signer.workers() {
        loop {
            match worker.run(|token_state| token_state.open()).await.map_err(CoreError::from)? {
                Ok(()) => break,
                Err(error) => wait_for_token(shared, &chain(&error)).await,
            }
            let asked = Instant::now();
            writer.prove_lock().await?;
            shared.signer.release_check().renew_lease(asked);
        }
    }
    Ok(())
}

async fn wait_for_token(shared: &Shared, problem: &str) {
    shared.set_phase(Phase::Starting(format!("waiting for the token: {problem}")));
    tokio::time::sleep(RETRY_DELAY).await;
}

/// The journal's file and the copies on the tokens, as one.
pub async fn read_journal(
    config: &Config,
    signer: &Signer,
    log: &KeyLog,
) -> Result<Journal, CoreError> {
    let mut journal = Journal::open(&config.state_dir, &log.identity())?;
    for worker in signer.workers() {
        let copies = worker.run(|token_state| token_state.read_journal()).await?;
        let copies = match copies {
            Ok(copies) => copies,
            Err(error @ TokenError::Closed { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(error = chain(&error), "the token holds no copy of the journal");
                continue;
            }
        };
        for copy in copies {
            match decode(&copy) {
                Ok(entries) => journal.merge(entries).map_err(CoreError::Contested)?,
                Err(message) => {
                    tracing::warn!(message, "the token's copy of the journal is damaged")
                }
            }
        }
    }
    Ok(journal)
}

fn report(shared: &Shared, lock_held: bool, problem: String) {
    shared.set_database(DatabaseReport { connected: true, lock_held, problem });
}
