//! The looks at the records of the token's owners: from time to time, and in one job with each change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::TokenState;
use super::records::{owner_label, read_all};
use crate::ownership::rules::superseded;
use crate::ownership::{Record, refusal};
use crate::signer::ReleaseCheck;
use crate::signer::token_lease::Against;
use crate::token::{Handles, OpenToken, TokenError};

/// Three looks in a lease, and a look costs a twentieth of the time between two.
const LOOKS_A_LEASE: u32 = 60;

/// So many looks in a row have to be dear before the lease is made longer: one may be the machine's fault.
const DEAR_LOOKS: usize = 4;

/// The claim under which this daemon uses the token.
#[derive(Debug)]
pub(super) struct Claim {
    /// As it stands on the token.
    pub(super) record: Record,
    /// What the last look found, in this session.
    seen: Option<Handles>,
    look_at: Instant,
    /// What the last looks cost.
    costs: VecDeque<Duration>,
}

/// What is needed to look in the middle of other work.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    epoch: u64,
    folder: String,
    label: String,
    token: String,
    index: usize,
}

impl Guard {
    /// Reads the records: a good look renews the lease, and a foreign epoch that is not older shuts the
    /// release check for as long as it stands.
    ///
    /// # Errors
    /// [`TokenError::LeaseExpired`] if the token is not ours; [`TokenError::Nonsense`] if it shows
    /// nothing of ours any more; else what keeps it from being read.
    pub(super) fn look(
        &self,
        session: &OpenToken,
        release_check: &ReleaseCheck,
    ) -> Result<(), TokenError> {
        let asked = Instant::now();
        let records = read_all(session, &self.label)?;
        let lease = release_check.token(self.index);
        if let Some(owner) = superseded(&records, &self.folder, self.epoch) {
            lease.set_against(Some(Against::Superseded(refusal(&self.token, owner))));
            return Err(TokenError::LeaseExpired);
        }
        let ours = |record: &Record| record.folder == self.folder && record.epoch == self.epoch;
        if !records.iter().any(ours) {
            if session.inventory()?.pairs.is_empty() {
                // SoftHSM shows no object at all when its folder is gone.
                return Err(TokenError::Nonsense("nothing of ours any more"));
            }
            let reason = format!(
                "this daemon's record on the token {} is gone: it claims the token again",
                self.token
            );
            lease.set_against(Some(Against::RecordGone(reason)));
            return Err(TokenError::LeaseExpired);
        }
        lease.looked(asked);
        Ok(())
    }
}

/// How long a lease is when a look costs so much.
pub fn lease_for(cost: Duration, lock_grace: Duration) -> Duration {
    lock_grace.max(cost * LOOKS_A_LEASE)
}

impl TokenState {
    /// Uses the token under the claim of this record from now on; `looked` is when a look showed it as the
    /// newest. None where the token holds no records.
    pub fn hold(&mut self, held: Option<(Record, Instant)>) {
        self.claim = held.map(|(record, looked)| {
            self.release_check.token(self.index).own(record.lease(), looked);
            let costs = VecDeque::with_capacity(DEAR_LOOKS);
            Claim { record, seen: None, look_at: Instant::now(), costs }
        });
    }

    /// What looks in the middle of other work.
    pub(super) fn guard(&self) -> Option<Guard> {
        let Record { epoch, folder, .. } = &self.claim.as_ref()?.record;
        Some(Guard {
            epoch: *epoch,
            folder: folder.clone(),
            label: owner_label(&self.config),
            token: self.config.name().to_owned(),
            index: self.index,
        })
    }

    /// Looks at the records, if this daemon holds a claim.
    ///
    /// # Errors
    /// [`TokenError::LeaseExpired`] if the token is not ours; else what keeps it from being read.
    pub fn look(&mut self) -> Result<(), TokenError> {
        let Some(guard) = self.guard() else { return Ok(()) };
        let release_check = Arc::clone(&self.release_check);
        self.in_session(|session| guard.look(session, &release_check))
    }

    /// Looks when it is time: three times a lease. As long as the objects are the same, nothing is read of
    /// them. The thread does this between any two jobs, and before a signature is handed out that took long.
    pub fn look_if_due(&mut self) {
        if self.claim.as_ref().is_none_or(|claim| Instant::now() < claim.look_at) {
            return;
        }
        self.liveness.begin_work();
        if let Err(error) = self.cheap_look() {
            tracing::debug!(%error, "cannot read the token's owner records");
        }
        self.liveness.end_work();
    }

    fn cheap_look(&mut self) -> Result<(), TokenError> {
        let (Some(guard), Some(claim)) = (self.guard(), &mut self.claim) else { return Ok(()) };
        let asked = Instant::now();
        claim.look_at = asked + claim.record.lease() / 3;
        let seen = claim.seen.take();
        let release_check = Arc::clone(&self.release_check);
        let found = self.in_session(|session| {
            let found = session.handles(&guard.label)?;
            let lease = release_check.token(guard.index);
            if seen.as_ref() == Some(&found) && !lease.is_shut() {
                lease.looked(asked);
            } else {
                guard.look(session, &release_check)?;
            }
            Ok(found)
        })?;
        self.note_look(found, asked.elapsed())
    }

    /// Keeps what a look found and cost. When looks have become so dear that the lease could run out
    /// between two, it is made longer, in the record first: others wait for what stands there.
    fn note_look(&mut self, found: Handles, cost: Duration) -> Result<(), TokenError> {
        let Some(claim) = &mut self.claim else { return Ok(()) };
        claim.seen = Some(found);
        if claim.costs.len() == DEAR_LOOKS {
            claim.costs.pop_front();
        }
        claim.costs.push_back(cost);
        let least = claim.costs.iter().min().copied().unwrap_or_default();
        let lease = claim.record.lease();
        if claim.costs.len() < DEAR_LOOKS || lease_for(least, lease) == lease {
            return Ok(());
        }
        claim.costs.clear();
        let longer = lease_for(least * 2, lease);
        tracing::warn!(
            ?lease,
            ?longer,
            "reading the token's owner records is slow: the lease is made longer"
        );
        let lease_ms = u64::try_from(longer.as_millis()).unwrap_or(u64::MAX);
        let record = Record { lease_ms, ..claim.record.clone() };
        self.replace_own_record(record)?;
        self.release_check.token(self.index).set_length(longer);
        Ok(())
    }

    /// Forgets handles of a session that has ended, and looks in the new one.
    pub(super) fn look_in_new_session(&mut self) {
        let Some(claim) = &mut self.claim else { return };
        claim.seen = None;
        if let Err(error) = self.cheap_look() {
            tracing::debug!(%error, "cannot read the token's owner records");
        }
    }

    /// Gives the token up: another daemon may claim it at once. Nothing that this one signed leaves any
    /// more.
    ///
    /// # Errors
    /// [`TokenError::LeaseExpired`] if the token is not ours; else what keeps it from being written.
    pub fn release_ownership(&mut self) -> Result<(), TokenError> {
        let Some(claim) = &self.claim else { return Ok(()) };
        let record = Record { released: true, ..claim.record.clone() };
        self.replace_own_record(record)?;
        self.release_check.token(self.index).set_against(Some(Against::Released));
        self.claim = None;
        Ok(())
    }

    /// Takes back the claim that this daemon holds and has done nothing under: the owner of before, if its
    /// record stands there still, is the owner again.
    ///
    /// # Errors
    /// The token.
    pub fn withdraw_claim(&mut self) -> Result<(), TokenError> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        self.release_check.token(self.index).set_against(Some(Against::Released));
        self.withdraw(&claim.record)
    }
}
