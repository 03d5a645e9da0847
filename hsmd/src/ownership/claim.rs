//! A claim of the token, before a daemon serves. The order, and why it has so many looks: a process that
//! has just changed something on the token may not see what another changed a moment before, until that
//! one changes something again.

use std::time::{Duration, Instant};

use hsmd_support::chain;

use super::rules::{Decision, Facts, Snapshot, decide, foreign, own, superseded, until_shut};
use super::take::Means;
use super::{OwnershipError, Record};
use crate::daemon::core::CoreError;
use crate::keylog::{Claim, KeylogError};
use crate::signer::token_state::lease_for;
use crate::signer::{Signer, TokenState, TokenWorker};
use crate::token::TokenError;

/// How often the writer lock is proved while a claim waits.
const PROVE_EVERY: Duration = Duration::from_millis(500);

/// How many looks are timed: the quickest tells what one costs.
const TIMED_LOOKS: usize = 3;

/// One token, and what its claim needs.
pub(super) struct Claimant<'a, 'b> {
    pub(super) means: &'a mut Means<'b>,
    pub(super) worker: &'a TokenWorker,
    pub(super) signer: &'a Signer,
}

/// What is to be done about a token.
pub(super) enum Plan {
    /// It is not used by records.
    Unrecorded,
    /// On at once, under this record, which a look begun at that moment showed. The claim, if the database
    /// does not know it: it was away when that was made, or is another one since.
    Resume(Record, Instant, Option<Claim>),
    /// Claim it with this epoch. These are the records.
    Claim(u64, Vec<Record>),
}

/// How a token is owned.
pub(super) enum Owned {
    /// Without a record.
    Without,
    /// By its record.
    As { claimed: bool },
}

/// What became of a claim.
enum Claimed {
    /// The token is ours, under this record, which a look begun at that moment showed.
    Ours(Record, Instant),
    /// Another claim was not older: both are taken back.
    Withdrawn,
    /// The token takes no record, for this reason.
    Unrecorded(TokenError),
}

impl Claimant<'_, '_> {
    pub(super) async fn plan(&mut self) -> Result<Plan, OwnershipError> {
        if self.worker.config().lock_file.is_some() {
            return Ok(Plan::Unrecorded);
        }
        let asked = Instant::now();
        let key = token_key(self.worker).await?;
        let records = run(self.worker, TokenState::records).await?;
        let named = self.means.database.claims().await?;
        let folder = &self.means.folder;
        let facts = Facts {
            folder: folder.id(),
            epoch: folder.epoch(&key),
            highest: folder.highest_epoch(),
            records: &records,
            named: &named,
            take_over: self.means.take_over,
        };
        match decide(facts) {
            Decision::Resume => {
                let own = own(&records, folder.id()).cloned();
                let own = own.ok_or(TokenError::UnknownRecord)?;
                let claim = Claim { epoch: own.epoch, folder: own.folder.clone() };
                let unnoted = (!named.contains(&claim)).then_some(claim);
                Ok(Plan::Resume(own, asked, unnoted))
            }
            Decision::Refuse(owner) => {
                Err(OwnershipError::Owned { token: self.name(), owner: Box::new(owner) })
            }
            Decision::Claim { epoch } => Ok(Plan::Claim(epoch, records)),
        }
    }

    pub(super) async fn take(
        &mut self,
        phase: &(dyn Fn(String) + Sync),
    ) -> Result<Owned, OwnershipError> {
        loop {
            let (epoch, records) = match self.plan().await? {
                Plan::Unrecorded => return Ok(Owned::Without),
                Plan::Resume(record, looked, unnoted) => {
                    if let Some(claim) = unnoted {
                        self.means.database.note(claim).await?;
                    }
                    hold(self.worker, record, looked).await?;
                    return Ok(Owned::As { claimed: false });
                }
                Plan::Claim(epoch, records) => (epoch, records),
            };
            phase(format!("claiming the token {}", self.name()));
            match self.claim(epoch, &records).await? {
                Claimed::Ours(record, looked) => {
                    let key = token_key(self.worker).await?;
                    self.means.folder.keep(&key, epoch)?;
                    crate::crash_point!("owner::taken");
                    tracing::info!(epoch, folder = record.folder, "token claimed");
                    hold(self.worker, record, looked).await?;
                    return Ok(Owned::As { claimed: true });
                }
                Claimed::Withdrawn => {
                    tracing::warn!(epoch, "another daemon claims the token: claim withdrawn");
                    let wait = self.means.config.claim_wait;
                    let pause = wait + wait * random_byte()? / 64;
                    self.pause(pause).await?;
                }
                Claimed::Unrecorded(error) => {
                    let id = self.means.folder.id();
                    let owner = foreign(&records, id).find(|record| record.stands());
                    if let Some(owner) = owner {
                        return Err(OwnershipError::NoRecord {
                            token: self.name(),
                            reason: chain(&error),
                            owner: owner.folder.clone(),
                        });
                    }
                    tracing::warn!(error = chain(&error), "the token holds no record of its owner");
                    run(self.worker, |token_state| {
                        token_state.hold(None);
                        Ok(())
                    })
                    .await?;
                    return Ok(Owned::Without);
                }
            }
        }
    }

    /// Rules 4 and 5 of docs/proof.md, "The token's one owner".
    async fn claim(&mut self, epoch: u64, records: &[Record]) -> Result<Claimed, OwnershipError> {
        let id = self.means.folder.id().to_owned();
        let key = token_key(self.worker).await?;
        let before_us = own(records, &id);
        // Without a claim since the machine was started, the record may be that of a clone of this folder.
        let clone = before_us.filter(|_| self.means.folder.epoch(&key) == 0);
        let wait = records.iter().map(Record::wait).max().unwrap_or_default();
        let wait = wait.max(self.means.config.claim_wait);
        let lease = lease_for(self.cost_of_a_look().await?, self.means.config.lock_grace);
        let mut record = Record {
            epoch,
            folder: id.clone(),
            lease_ms: millis(lease),
            wait_ms: millis(wait),
            released: false,
            change: before_us.map_or(0, |own| own.change + 1),
            journal: before_us.and_then(|own| own.journal.clone()),
        };

        match run(self.worker, TokenState::try_record_pair).await {
            Err(OwnershipError::Core(CoreError::Token(error @ TokenError::NoRecord(_)))) => {
                return Ok(Claimed::Unrecorded(error));
            }
            known => known?,
        }
        self.means.database.note(Claim { epoch, folder: id.clone() }).await?;
        match self.change(&record).await {
            Ok(seen) if superseded(&seen.records, &id, epoch).is_some() => {
                return self.withdraw(record).await;
            }
            Ok(_) => {}
            Err(OwnershipError::Core(CoreError::Token(error)))
                if matches!(error, TokenError::NoRecord(_)) || error.refuses_object() =>
            {
                return Ok(Claimed::Unrecorded(error));
            }
            Err(error) => {
                self.take_back(record).await;
                return Err(error);
            }
        }
        crate::crash_point!("owner::claimed");
        let confirmed = self.confirm(&mut record, wait, clone).await;
        if confirmed.is_err() {
            self.take_back(record).await;
        }
        confirmed
    }

    /// After a claim that failed midway: where an older one of ours stands, the newer would look like another
    /// process's.
    async fn take_back(&self, record: Record) {
        if let Err(error) = run(self.worker, move |state| state.withdraw(&record)).await {
            tracing::warn!(error = chain(&error), "a claim was not taken back");
        }
    }

    /// Rule 5: until nothing foreign has changed. `clone` is a record of our own folder that another process may
    /// have made.
    async fn confirm(
        &mut self,
        record: &mut Record,
        wait: Duration,
        clone: Option<&Record>,
    ) -> Result<Claimed, OwnershipError> {
        let (id, epoch) = (record.folder.clone(), record.epoch);
        self.pause(wait).await?;
        let seen = run(self.worker, TokenState::records).await?;
        if superseded(&seen, &id, epoch).is_some() {
            return self.withdraw(record.clone()).await;
        }
        loop {
            record.change += 1;
            let before = self.change(record).await?;
            crate::crash_point!("owner::changed");
            let others = foreign(&before.records, &id).chain(clone);
            self.pause(until_shut(others, wait)).await?;
            let asked = Instant::now();
            let after = run(self.worker, |token_state| {
                token_state.reinitialise()?;
                token_state.snapshot()
            })
            .await?;
            if superseded(&after.records, &id, epoch).is_some() {
                return self.withdraw(record.clone()).await;
            }
            if after.without(&id) == before.without(&id) {
                return Ok(Claimed::Ours(record.clone(), asked));
            }
            tracing::warn!("another daemon has changed something on the token: looking again");
        }
    }

    /// A look and the change that follows it, in one job; what the look saw.
    async fn change(&self, record: &Record) -> Result<Snapshot, OwnershipError> {
        let record = record.clone();
        run(self.worker, move |token_state| {
            let before = token_state.snapshot()?;
            token_state.write_record(&record).map(|()| before)
        })
        .await
    }

    async fn withdraw(&self, record: Record) -> Result<Claimed, OwnershipError> {
        run(self.worker, move |token_state| token_state.withdraw(&record)).await?;
        Ok(Claimed::Withdrawn)
    }

    /// Without the queue before it.
    async fn cost_of_a_look(&self) -> Result<Duration, OwnershipError> {
        let timed = |token_state: &mut TokenState| {
            let asked = Instant::now();
            token_state.records()?;
            Ok(asked.elapsed())
        };
        let mut least = run(self.worker, timed).await?;
        for _ in 1..TIMED_LOOKS {
            least = least.min(run(self.worker, timed).await?);
        }
        Ok(least)
    }

    /// Lets time pass and keeps the proof of the writer lock young.
    async fn pause(&mut self, time: Duration) -> Result<(), KeylogError> {
        let until = Instant::now() + time;
        loop {
            let asked = Instant::now();
            if self.means.database.prove_lock().await? {
                self.signer.release_check().renew_lease(asked);
            }
            if asked >= until {
                return Ok(());
            }
            tokio::time::sleep(PROVE_EVERY.min(until.saturating_duration_since(Instant::now())))
                .await;
        }
    }

    fn name(&self) -> String {
        self.worker.config().name().to_owned()
    }
}

pub(super) async fn hold(
    worker: &TokenWorker,
    record: Record,
    looked: Instant,
) -> Result<(), OwnershipError> {
    run(worker, move |token_state| {
        token_state.hold(Some((record, looked)));
        Ok(())
    })
    .await
}

pub(super) async fn token_key(worker: &TokenWorker) -> Result<String, OwnershipError> {
    run(worker, |token_state| {
        token_state.token_key().map(str::to_owned).ok_or_else(|| token_state.closed())
    })
    .await
}

pub(super) async fn run<T: Send + 'static>(
    worker: &TokenWorker,
    work: impl FnOnce(&mut TokenState) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, OwnershipError> {
    Ok(worker.run_once(work).await.map_err(CoreError::from)??)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn random_byte() -> Result<u32, OwnershipError> {
    let mut byte = [0];
    getrandom::fill(&mut byte).map_err(|_| TokenError::Nonsense("no random bytes"))?;
    Ok(byte[0].into())
}
