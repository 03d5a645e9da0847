//! The life of a serving daemon: proves its lock, comes back when the database does, finishes what was
//! interrupted, and reports truthfully.

pub mod activation;
pub mod core;
pub mod head_statement;
pub mod health;
pub mod known;
pub mod own;
pub mod start;
pub mod state;
pub mod taints;
pub mod watchdog;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::SignedEvent;
use hsmd_support::chain;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::daemon::core::append_pending::pending;
use crate::daemon::core::{Core, CoreError, Found, parse_rows};
use crate::daemon::own::{claim_anew_if_lost, note_claims, was_superseded_here};
use crate::daemon::start::{
    Confirmed, StartError, connect_writer, read_journal, start, wait_out_grace,
};
use crate::daemon::state::{DatabaseReport, Phase, Shared};
use crate::keylog::{KeylogError, Writer};
use crate::ownership::take::withdraw;

/// How often the lock is proved and unfinished work looked for.
const PERIOD: Duration = Duration::from_millis(500);

/// How long another process may hold the lock before this daemon ends: as long as an import takes, which
/// needs the lock beside a daemon that has lost its log.
const LOCKED_OUT_LIMIT: Duration = Duration::from_secs(5);

/// How often all rows are compared with the log that we verified.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// Starts up and maintains the daemon until it is dropped.
///
/// # Errors
/// [`StartError`], as far as only a person or a fresh start can change it: what is
/// [transient](StartError::is_transient) is waited for.
pub async fn run(
    config: &Config,
    shared: &Arc<Shared>,
    confirmed: Confirmed,
) -> Result<(), StartError> {
    let mut claimed = Vec::new();
    let core = loop {
        match start(config, shared, confirmed, &mut claimed).await {
            Ok(core) => break core,
            // What went away in the middle of the start comes back: begin again.
            Err(error) if error.is_transient() => {
                let problem = chain(&error);
                shared.set_phase(Phase::Starting("waiting for the database".into()));
                shared.set_database(DatabaseReport { problem, ..Default::default() });
                tokio::time::sleep(PERIOD).await;
            }
            Err(error) => {
                // The owner of before goes on.
                withdraw(&shared.signer, &claimed).await;
                return Err(error);
            }
        }
    };
    *shared.core.lock().await = Some(core);
    shared.set_phase(Phase::Serving);
    let mut compared = Instant::now();
    let mut locked_out = None;
    loop {
        tokio::time::sleep(PERIOD).await;
        let mut guard = shared.core.lock().await;
        let Some(core) = guard.as_mut() else { continue };
        claim_anew_if_lost(core, config).await;
        let maintained = shared.taints.unless_late(async {
            if compared.elapsed() >= COMPARE_EVERY {
                compare(core, shared).await;
                compared = Instant::now();
            }
            maintain(core, config, shared, &mut locked_out).await
        });
        match maintained.await {
            Some(done) => done?,
            // Nothing of it is split by that but an answer of the database.
            None => core.disconnect(),
        }
    }
}

/// Compares the table with the log that we verified. If they differ, the connection is closed: none is
/// used again before the rows are those that we know, and an import can have the lock meanwhile.
async fn compare(core: &mut Core, shared: &Shared) {
    if let Err(error) = compare_rows(core).await {
        tracing::error!(error = chain(&error), "key log in the database changed");
        shared.set_database(DatabaseReport { problem: chain(&error), ..Default::default() });
        core.disconnect();
    }
}

async fn compare_rows(core: &mut Core) -> Result<(), CoreError> {
    let Some(writer) = &mut core.writer else { return Ok(()) };
    if writer.digest().await? == digest(&core.log.events()[..core.stored]) {
        return Ok(());
    }
    let rows = parse_rows(&writer.read(0).await?)?;
    core.find(&core.log, rows)?;
    // They continue our log, and not by us on this connection: the way back decides about it.
    Err(CoreError::Disconnected)
}

/// As [`Writer::digest`], of what the rows should be.
fn digest(events: &[Arc<SignedEvent>]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for event in events {
        digest.update(format!("{}\n{}\n", event.text(), event.signature()));
    }
    digest.finalize().to_vec()
}

/// `locked_out`: since when another process holds the lock.
async fn maintain(
    core: &mut Core,
    config: &Config,
    shared: &Shared,
    locked_out: &mut Option<Instant>,
) -> Result<(), StartError> {
    if let Err(error) = core.prove_lock().await {
        shared.set_database(DatabaseReport { problem: chain(&error), ..Default::default() });
    }
    if !core.has_unfinished_work() {
        shared.set_problem(None);
    }
    if core.writer.is_none() {
        finish_keys(core, shared).await;
        match reconnect(core, config).await {
            Ok(true) => {}
            // From here on nothing is signed. If it is another daemon, the log that we publish may not be
            // the newest any more, and a frozen feed would hide a taint: only a fresh start follows it,
            // or refuses.
            Ok(false) => {
                core.signer.release_check().set_revoked(true);
                if locked_out.get_or_insert_with(Instant::now).elapsed() >= LOCKED_OUT_LIMIT {
                    return Err(StartError::AnotherWriter);
                }
                let problem = "another process holds the writer lock".into();
                shared.set_database(DatabaseReport { problem, ..Default::default() });
                return Ok(());
            }
            // The other daemon has rotated and is gone.
            Err(Reconnect::Rotated) => return Err(StartError::AnotherWriter),
            Err(Reconnect::Failed(error)) => {
                // The lock could be taken, only the rows are not ours: that does not stop signing.
                if matches!(
                    error,
                    CoreError::Diverged(_)
                        | CoreError::Row { .. }
                        | CoreError::Keylog(KeylogError::AwaitingReplication)
                ) {
                    *locked_out = None;
                    core.signer.release_check().set_revoked(false);
                }
                shared
                    .set_database(DatabaseReport { problem: chain(&error), ..Default::default() });
                return Ok(());
            }
        }
    }
    *locked_out = None;
    core.signer.release_check().set_revoked(false);
    shared.set_database(DatabaseReport { connected: true, lock_held: true, ..Default::default() });

    if let Err(error) = note_claims(core).await {
        tracing::debug!(error = chain(&error), "a claim was not noted in the database");
    }
    match was_superseded_here(core).await {
        Ok(true) => return Err(StartError::AnotherWriter),
        Ok(false) => {}
        Err(error) => tracing::debug!(error = chain(&error), "the claims were not read"),
    }
    if core.has_unfinished_work() {
        let appended = core.append_pending().await;
        let finished = core.activate_head().await.and(appended);
        shared.set_problem(finished.err().map(|error| unfinished(&error)));
    }
    if config.standby {
        core.notify_standbys().await;
    }
    Ok(())
}

/// What the log has and the token lacks waits for no database. Where a taint made the head, it waits for no
/// lock either, as the taint itself did not.
async fn finish_keys(core: &mut Core, shared: &Shared) {
    if !core.has_unfinished_keys() {
        return;
    }
    let release_check = Arc::clone(core.signer.release_check());
    release_check.set_tainting(core.log.head().event().taint_previous());
    let finished = core.activate_head().await;
    release_check.set_tainting(false);
    shared.set_problem(finished.err().map(|error| unfinished(&error)));
}

fn unfinished(error: &CoreError) -> String {
    format!("an interrupted rotation is not finished yet: {}", chain(error))
}

enum Reconnect {
    Rotated,
    Failed(CoreError),
}

/// Connects again: ends our lost server process, takes the lock and reads the head again before
/// anything else. False when another daemon has the lock.
async fn reconnect(core: &mut Core, config: &Config) -> Result<bool, Reconnect> {
    let failed = |error: CoreError| Reconnect::Failed(error);
    let mut writer = connect_writer(config).await.map_err(|e| failed(e.into()))?;
    if let Some(lost) = &core.lost {
        let asked = Instant::now();
        let ended = writer.terminate(lost).await;
        // It holds the lock for us until the replicas are back.
        if matches!(ended, Err(KeylogError::AwaitingReplication))
            && writer.is_locked_by(lost).await.map_err(|e| failed(e.into()))?
        {
            core.signer.release_check().renew_lease(asked);
        }
        ended.map_err(|e| failed(e.into()))?;
    }
    let asked = Instant::now();
    if !retry_lock(&mut writer).await.map_err(|e| failed(e.into()))? {
        return Ok(false);
    }
    // While our lease was valid, no daemon that held the lock in between has used it, since it waits for
    // the end of our lease first. If our lease has expired, we wait for the end of theirs.
    let mut proved = asked;
    if config.standby && !core.signer.release_check().holds_lock() {
        proved =
            wait_out_grace(&mut writer, config.lock_grace).await.map_err(|e| failed(e.into()))?;
    }
    let rows = writer.read(0).await.map_err(|e| failed(e.into()))?;
    let events = parse_rows(&rows).map_err(failed)?;
    // What our journal holds is ours, whether its COMMIT arrived or not.
    let mut log = core.log.clone();
    pending(core.journal.entries(), &mut log).map_err(failed)?;
    let stored = match core.find(&log, events).map_err(failed)? {
        Found::Stored(stored) => stored,
        Found::Longer => return Err(Reconnect::Rotated),
    };
    // Another daemon may have begun or signed something that is not in the log yet.
    let journal = read_journal(config, &core.signer, &log).await.map_err(failed)?;
    let head = log.head().event().sequence_number();
    if journal.entries().are_ahead_of(core.journal.entries(), head) {
        return Err(Reconnect::Rotated);
    }
    core.signer.release_check().renew_lease(proved);
    if stored < core.stored {
        let (known, log) = (core.stored, log.events().len());
        tracing::warn!(known, stored, log, "the database has lost events: appending them again");
        core.stored = stored;
    }
    if stored > core.stored {
        // That the row is there does not say that the replicas have it.
        writer.confirm().await.map_err(|e| failed(e.into()))?;
        core.committed(&log, stored).map_err(failed)?;
    }
    core.writer = Some(writer);
    core.lost = None;
    Ok(true)
}

/// A server process that was asked to end holds its lock a little longer.
pub async fn retry_lock(writer: &mut Writer) -> Result<bool, KeylogError> {
    for _ in 0..10 {
        if writer.try_lock().await? {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(false)
}
