//! Rotation and taint, step by step (docs/proof.md maps the steps to the model). Kill the process after
//! any of them and the next start continues with the same single history.
//!
//! Key n signs, key n+1 is on the token and committed by event n. The token's thread is asked in steps
//! 2, 4, 7 and 8 only, so that a slow database never stops signing.
//!
//! A taint needs nothing but the token. It waits for the database for a moment ([`Taints`]) and goes on
//! without it: once journal and token hold the event, readers have it, and its row follows.
//!
//! [`Taints`]: crate::daemon::taints::Taints

use std::sync::Arc;

use hsmd_chain::{Digest, Event, KeyLog, PublicKey, SignedEvent, Timestamp};
use hsmd_support::chain;

use crate::authz::AdminPermit;
use crate::clock::{ClockSuspect, DatabaseClock, after};
use crate::daemon::core::append_pending::pending;
use crate::daemon::core::{Core, CoreError};
use crate::journal::{Entries, JournaledEvent};
use crate::keylog::{AdminAction, AdminRecord};
use crate::startup::Place;

/// What an administrator asks for.
#[derive(Debug)]
pub struct Request {
    /// Taint the replaced generation, or not.
    pub taint: bool,
    /// The generation that the administrator means to replace.
    pub expected: Digest,
    pub reason: String,
    /// The request's id in the logs.
    pub request_id: String,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// The event that replaced the expected generation.
    pub event: SignedEvent,
    /// False when an earlier call had done it.
    pub performed: bool,
    /// Whether the replaced generation's private key is gone from the token.
    pub key_destroyed: bool,
    /// Whether the event is not in the database yet.
    pub pending: bool,
}

/// Why it was not done, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The log has no such generation.
    #[error("the key log has no generation {0}")]
    UnknownGeneration(Digest),
    /// The generation has been replaced already, without a taint.
    #[error(
        "generation {generation} is not the head: it was replaced at {replaced_at} without a taint, \
         which can't be added; it stops being live when the verifier's window after that instant ends"
    )]
    NotHead {
        /// The generation.
        generation: Digest,
        /// The head's id.
        head: Digest,
        /// When its successor was made: it is live for a window after that.
        replaced_at: Timestamp,
    },
    /// The committed next key is not on the token.
    #[error(
        "the committed next key is missing on the token or differs: restore the token's backup"
    )]
    NextKeyMissing,
    /// The clocks disagree.
    #[error("nothing was stamped: {0}")]
    ClockSuspect(#[from] ClockSuspect),
    /// The new key could not be put on record; nothing has changed.
    #[error("nothing has changed")]
    NotDone(#[source] CoreError),
    /// The new event is signed and in the journal, but not known to be in the log.
    #[error(
        "event {number} is signed but not known to be in the log; it will be appended as soon as the \
         database is back: ask again with the same expected generation"
    )]
    NotAppended {
        number: u32,
        #[source]
        source: CoreError,
    },
    /// The new event is in the log, but its key does not sign yet.
    #[error(
        "event {number} is in the log, but its key does not sign yet; the daemon goes on trying: ask \
         again with the same expected generation"
    )]
    NotActivated {
        number: u32,
        #[source]
        source: CoreError,
    },
}

impl Core {
    /// Rotates or taints. Must run in a task of its own: it is not to be split by a caller who leaves.
    ///
    /// # Errors
    /// [`RotationError`]: why it was not done; [`RotationError::NotActivated`] if the event is on record
    /// and signing with its key is still to begin.
    pub async fn advance(
        &mut self,
        permit: &AdminPermit,
        request: Request,
    ) -> Result<Outcome, RotationError> {
        let release_check = Arc::clone(self.signer.release_check());
        release_check.set_tainting(request.taint);
        let outcome = self.steps(permit, request).await;
        release_check.set_tainting(false);
        // Rotations that follow each other at once must not keep callers from signing.
        for worker in self.signer.workers() {
            worker.release();
        }
        if let Err(error) = &outcome {
            tracing::warn!(error = chain(error), "rotation failed");
        }
        outcome
    }

    async fn steps(
        &mut self,
        permit: &AdminPermit,
        request: Request,
    ) -> Result<Outcome, RotationError> {
        if request.taint {
            self.take_journaled().await?;
        } else {
            self.finish_earlier().await?;
        }
        // Step 1: a retry after a lost reply must not rotate twice.
        if let Some(event) = self.replaced_already(&request)? {
            return Ok(self.outcome(event, false));
        }
        let head = self.log.head().event().sequence_number();
        if request.taint {
            // From here on nothing that generation n signed leaves, and nothing is signed with it.
            self.signer.release_check().close_below(head + 1);
            self.signer.active().hold(true);
        }
        let (event, log) = match self.make_event(permit, &request).await {
            Ok(made) => made,
            Err(error) => {
                if matches!(error, RotationError::NextKeyMissing) {
                    self.note_next_key_missing();
                }
                // What is on the token may yet be appended, by any daemon that finds it there.
                if request.taint && !matches!(error, RotationError::NotAppended { .. }) {
                    self.signer.release_check().reopen_from(head);
                    self.signer.active().hold(false);
                }
                return Err(error);
            }
        };
        let number = event.event().sequence_number();
        if request.taint {
            self.take(log);
            // Before the row: a COMMIT that waits for replicas would keep the standbys from hearing it.
            self.notify_standbys().await;
        }
        // Step 6.
        match self.append_pending().await {
            Ok(()) => {}
            Err(error) if request.taint => {
                tracing::warn!(number, error = chain(&error), "taint goes on without the database");
                self.publish_lasting();
            }
            Err(source) => return Err(RotationError::NotAppended { number, source }),
        }
        // Steps 7 and 8.
        self.activate_new_head().await?;
        if request.taint {
            self.notify_standbys().await;
        }
        let outcome = self.outcome(event, true);
        let (id, pending) = (outcome.event.event().id(), outcome.pending);
        if request.taint {
            tracing::warn!(number, %id, pending, "key tainted");
        } else {
            tracing::info!(number, %id, "key rotated");
        }
        Ok(outcome)
    }

    fn outcome(&self, event: SignedEvent, performed: bool) -> Outcome {
        let number = event.event().sequence_number();
        let key_destroyed = self.is_destroyed(number - 1);
        Outcome { event, performed, key_destroyed, pending: self.stored <= number as usize }
    }

    /// A taint does not wait for the database: what the journal holds of an earlier call is the history.
    async fn take_journaled(&mut self) -> Result<(), RotationError> {
        let mut log = self.log.clone();
        pending(self.journal.entries(), &mut log).map_err(RotationError::NotDone)?;
        if log.events().len() > self.log.events().len() {
            self.take(log);
        }
        self.activate_new_head().await
    }

    /// Completes what an earlier call had to leave.
    async fn finish_earlier(&mut self) -> Result<(), RotationError> {
        if let Some(number) = self.first_pending() {
            self.append_pending()
                .await
                .map_err(|source| RotationError::NotAppended { number, source })?;
        }
        self.activate_new_head().await
    }

    async fn activate_new_head(&mut self) -> Result<(), RotationError> {
        let number = self.log.head().event().sequence_number();
        self.activate_head().await.map_err(|source| RotationError::NotActivated { number, source })
    }

    /// The event that replaced the expected generation, if that has been done as wanted.
    fn replaced_already(&self, request: &Request) -> Result<Option<SignedEvent>, RotationError> {
        let expected = self
            .log
            .generation(&request.expected)
            .ok_or(RotationError::UnknownGeneration(request.expected))?;
        let number = expected.event().sequence_number();
        let Some(successor) = self.log.event(number + 1) else { return Ok(None) };
        if request.taint && !successor.event().taint_previous() {
            return Err(RotationError::NotHead {
                generation: request.expected,
                head: self.log.head().event().id(),
                replaced_at: successor.event().created_at(),
            });
        }
        Ok(Some(SignedEvent::clone(successor)))
    }

    /// Steps 2 to 5: from the intent to the signed event in the journal.
    async fn make_event(
        &mut self,
        permit: &AdminPermit,
        request: &Request,
    ) -> Result<(SignedEvent, KeyLog), RotationError> {
        let not_done = |error: CoreError| RotationError::NotDone(error);
        let database_clock = match self.database_clock().await {
            Err(error) if !request.taint => return Err(not_done(error)),
            read => read.inspect_err(|error| {
                tracing::warn!(error = chain(error), "the database's clock is not known");
            }),
        };
        let Some(next) = self.keys.next.clone() else { return Err(RotationError::NextKeyMissing) };
        let head = self.log.head().event().clone();
        let number = head.sequence_number() + 1;

        // Step 2: note it, then make key n+2. What an earlier attempt left of it is made anew.
        // Another owner's key may be there, and then it is the owner that is to be named.
        self.look_at_tokens().await.map_err(not_done)?;
        self.refuse_foreign_key(number + 1).await.map_err(not_done)?;
        self.check_lease().map_err(not_done)?;
        self.note_begun(number, request.taint).await.map_err(not_done)?;
        let made_on = self.signer.workers().len() - 1;
        let committed = self
            .on_token(made_on, move |token_state| token_state.generate_anew(number + 1))
            .await
            .map_err(not_done)?;
        self.refuse_known_key(number + 1, &committed).map_err(not_done)?;
        crate::crash_point!("rotation::key-made");

        // Step 3: the event, stamped only if all clocks agree; a taint without them, right after the head.
        let stamp = |clock| self.clock.stamp(head.created_at(), clock);
        let created_at = match database_clock.map(stamp) {
            Ok(Ok(stamp)) => stamp,
            Ok(Err(suspect)) if !request.taint => return Err(suspect.into()),
            _ => after(head.created_at())?,
        };
        let revealed = self.revealed_key(&next, head.rotation_hash()).await?;
        let event =
            Event::successor(&head, revealed, committed.digest(), created_at, request.taint)
                .map_err(|_| RotationError::NextKeyMissing)?;

        // Step 4: signed by key n+1; the token state verifies what the token returned.
        let Place { token, id } = next;
        let event = self
            .on_token(token, move |token_state| token_state.sign_event(event, &id))
            .await
            .map_err(not_done)?;
        crate::crash_point!("rotation::signed");
        let mut log = self.log.clone();
        log.extend(event.clone(), created_at, self.skew)
            .map_err(|source| not_done(CoreError::JournalEvent { number, source }))?;

        // Step 5: from here on this text is event n+1, whatever happens. The token first: what is only
        // in our file, a second daemon with a folder of its own does not find, and makes another.
        let record = AdminRecord {
            at: created_at,
            action: if request.taint { AdminAction::Taint } else { AdminAction::Rotate },
            caller: permit.caller().name().to_owned(),
            reason: request.reason.clone(),
            request_id: request.request_id.clone(),
            file_digest: None,
        };
        let journaled = JournaledEvent::new(&event, Some(record));
        let entries = self.journal.entries().with(journaled, number, self.stored as u32);
        let copied = self.copy_to_token(&entries).await;
        if copied {
            self.journal.remember(entries.clone());
        }
        crate::crash_point!("rotation::copied");
        let written =
            self.check_lease().and_then(|()| self.journal.replace(entries).map_err(Into::into));
        match written {
            Ok(()) => {}
            // The token has it: that is enough for a taint.
            Err(error) if copied && request.taint => {
                tracing::error!(error = chain(&error), "the taint is on the token alone");
            }
            Err(source) if copied => return Err(RotationError::NotAppended { number, source }),
            Err(source) => return Err(not_done(source)),
        }
        crate::crash_point!("rotation::journaled");
        Ok((event, log))
    }

    /// Notes in journal and record that a rotation to this event has begun. A taint does not need the file: the
    /// record shows the next start, too, whose key n+2 is.
    async fn note_begun(&mut self, number: u32, taint: bool) -> Result<(), CoreError> {
        let begun = Entries { begun: Some(number), ..self.journal.entries().clone() };
        let written = self.journal.replace(begun.clone());
        crate::crash_point!("rotation::begun");
        if !taint {
            written?;
            self.copy_to_token(&begun).await;
        } else if !self.copy_to_token(&begun).await {
            written?;
        } else if let Err(error) = written {
            tracing::error!(error = chain(&error), "the taint is begun on the token alone");
            self.journal.remember(begun);
        }
        crate::crash_point!("rotation::begun-copied");
        Ok(())
    }

    /// Key n+2 may be there if a journal of ours knows that its rotation was begun, and no event names it.
    async fn refuse_foreign_key(&self, number: u32) -> Result<(), CoreError> {
        let begun = self.journal.entries().begun == number.checked_sub(1);
        let id = crate::token::keys::id(number);
        for worker in self.signer.workers() {
            if !begun {
                worker.run(move |token_state| token_state.refuse_key_in_the_way(number)).await??;
                continue;
            }
            for key in worker.run(move |token_state| token_state.public_keys(&id)).await?? {
                self.refuse_known_key(number, &key)?;
            }
        }
        Ok(())
    }

    /// A token that mixes up its keys must not make two events of one key.
    fn refuse_known_key(&self, number: u32, key: &PublicKey) -> Result<(), CoreError> {
        let known = self.log.events().iter().any(|event| {
            let event = event.event();
            event.public_key() == key || event.rotation_hash() == key.digest()
        });
        if known { Err(CoreError::KnownKey(number)) } else { Ok(()) }
    }

    /// The public key of the committed next pair, which must be the one that the head committed to.
    async fn revealed_key(
        &self,
        next: &Place,
        rotation_hash: Digest,
    ) -> Result<PublicKey, RotationError> {
        let Place { token, id } = next.clone();
        let inventory = self.signer.workers()[token]
            .run(move |token_state| token_state.public_keys(&id))
            .await
            .map_err(|e| RotationError::NotDone(e.into()))?
            .map_err(|e| RotationError::NotDone(e.into()))?;
        inventory
            .into_iter()
            .find(|key| key.digest() == rotation_hash)
            .ok_or(RotationError::NextKeyMissing)
    }

    async fn database_clock(&mut self) -> Result<DatabaseClock, CoreError> {
        self.prove_lock().await?.ok_or(CoreError::Disconnected)
    }
}
