//! The startup table, asked twice: before the tokens are claimed, so that a start that it refuses has changed
//! nothing on them and stopped no other owner, and after, when nothing changes any more.

use hsmd_chain::{Anchor, KeyLog, LogError};

use super::{StartError, read_journal};
use crate::config::Config;
use crate::daemon::core::CoreError;
use crate::daemon::core::append_pending::pending;
use crate::daemon::own::own_tokens;
use crate::daemon::start::Confirmed;
use crate::daemon::state::Shared;
use crate::journal::{Entries, Journal};
use crate::keylog::Writer;
use crate::ownership::claim_log::ClaimLog;
use crate::ownership::folder::Folder;
use crate::ownership::take::{Means, is_needed};
use crate::signer::Signer;
use crate::startup::{self, Plan, Verdict, decide};
use crate::token::Inventory;

/// What a start knows before it looks at the tokens.
pub struct Table<'a> {
    pub config: &'a Config,
    pub shared: &'a Shared,
    /// The rows, and what the log in `state_dir` has beyond them.
    pub known: &'a KeyLog,
    /// The table has no rows.
    pub was_empty: bool,
    pub confirmed: Confirmed,
}

/// What log, tokens and journal say together, where they may serve.
pub struct Examined {
    pub journal: Journal,
    /// With the events that only the journal has.
    pub log: KeyLog,
    pub plan: Plan,
}

/// What was read of the tokens and the journal.
#[derive(PartialEq)]
struct Found {
    entries: Entries,
    inventories: Vec<Inventory>,
}

impl Table<'_> {
    /// Owns the tokens, by claims where these are needed and the table does not refuse. The places of the tokens
    /// that were claimed are added to `claimed`.
    ///
    /// # Errors
    /// The table, or the tokens are another daemon's, or the folder, the database or a token.
    pub async fn own_tokens(
        &self,
        writer: &mut Writer,
        folder: &mut Folder,
        claimed: &mut Vec<usize>,
    ) -> Result<(), StartError> {
        let Self { config, shared, .. } = *self;
        let take_over = self.confirmed.take_over_token;
        let database = ClaimLog::at_start(&mut *writer);
        let mut means = Means { config, database, folder: &mut *folder, take_over };
        if is_needed(&mut means, &shared.signer).await? {
            self.refuse_before_a_claim(&mut means.database).await?;
        }
        own_tokens(config, shared, writer, folder, take_over, claimed).await
    }

    /// Refuses what the table refuses. The owner may be in the middle of a rotation: only what is the same
    /// after the time of a claim's wait is refused.
    async fn refuse_before_a_claim(&self, database: &mut ClaimLog<'_>) -> Result<(), StartError> {
        let mut before = None;
        loop {
            let (journal, found) = self.look().await?;
            let error = match self.judge(journal, &found) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if before.as_ref() == Some(&found) {
                return Err(error);
            }
            before = Some(found);
            tokio::time::sleep(self.config.claim_wait).await;
            database.prove_lock().await?;
        }
    }

    /// What is decided on tokens that are ours.
    ///
    /// # Errors
    /// What the table refuses, the journal or a token.
    pub async fn decided(&self) -> Result<Examined, StartError> {
        let (journal, found) = self.look().await?;
        let (mut examined, assumed) = self.judge(journal, &found)?;
        if assumed {
            tracing::warn!("serving although the log may be one event old: --assume-crashed");
            self.prove_destruction(examined.plan.active.token).await?;
            let begun = Some(examined.log.head().event().sequence_number() + 1);
            let entries = Entries { begun, ..examined.journal.entries().clone() };
            examined.journal.replace(entries).map_err(CoreError::from)?;
        }
        Ok(examined)
    }

    async fn look(&self) -> Result<(Journal, Found), CoreError> {
        let journal = read_journal(self.config, &self.shared.signer, self.known).await?;
        let inventories = inventories(&self.shared.signer).await?;
        let entries = journal.entries().clone();
        Ok((journal, Found { entries, inventories }))
    }

    /// Also whether a person had to confirm it.
    fn judge(&self, journal: Journal, found: &Found) -> Result<(Examined, bool), StartError> {
        let mut log = self.known.clone();
        pending(&found.entries, &mut log)?;
        if let Some(anchor) = &self.config.identity {
            check_remembered(&log, anchor).map_err(CoreError::from)?;
        }
        let known = startup::Known { init_intent: false, begun: found.entries.begun };
        // What is appended to the database is what the token goes on from.
        match decide(Some(log.head().event()), &found.inventories, known) {
            // Nothing but the configuration says that an empty table is this identity's.
            Verdict::Serve(plan) if !self.was_empty || plan.next.is_some() => {
                Ok((Examined { journal, log, plan }, false))
            }
            Verdict::OneEventOld(plan) if self.confirmed.assume_crashed && !self.was_empty => {
                Ok((Examined { journal, log, plan }, true))
            }
            _ if self.was_empty => {
                let known = startup::Known { init_intent: has_intent(self.config)?, begun: None };
                Err(StartError::Refused(decide(None, &found.inventories, known)))
            }
            refused => Err(StartError::Refused(refused)),
        }
    }

    /// Where keys stay, the head's key says nothing of a taint whose event is lost: it would be there all the
    /// same.
    async fn prove_destruction(&self, token: usize) -> Result<(), StartError> {
        let worker = &self.shared.signer.workers()[token];
        let shown = worker.run(|token_state| token_state.prove_destruction()).await;
        match shown.map_err(CoreError::from)? {
            Err(error) if error.is_refused_destruction() => Err(StartError::KeysStay(error)),
            shown => Ok(shown.map_err(CoreError::from)?),
        }
    }
}

/// Whether the log has the event that the configuration remembers.
pub(super) fn check_remembered(log: &KeyLog, anchor: &Anchor) -> Result<(), LogError> {
    let Some(remembered) = anchor.head() else { return Ok(()) };
    match log.event(remembered.sequence_number).map(|event| event.event().id()) {
        Some(found) if found == remembered.id => Ok(()),
        Some(found) => Err(LogError::Forked { remembered, found }),
        None => Err(LogError::Rollback { remembered, offered: log.position() }),
    }
}

/// What the token says where there is no log.
pub(super) async fn without_a_log(config: &Config, shared: &Shared) -> Result<Verdict, CoreError> {
    let known = startup::Known { init_intent: has_intent(config)?, begun: None };
    Ok(decide(None, &inventories(&shared.signer).await?, known))
}

pub(super) async fn inventories(signer: &Signer) -> Result<Vec<Inventory>, CoreError> {
    let mut inventories = Vec::new();
    for worker in signer.workers() {
        inventories.push(worker.run(|token_state| token_state.inventory()).await??);
    }
    Ok(inventories)
}

fn has_intent(config: &Config) -> Result<bool, CoreError> {
    Ok(Journal::intent(&config.state_dir)?.is_some())
}
