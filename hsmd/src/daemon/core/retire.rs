//! Keys of earlier generations: destroyed, or kept on a list when the token does not destroy them.
//! Nothing else waits for that: neither a rotation, nor a taint, nor a start.

use std::time::{Duration, Instant};

use hsmd_support::chain;

use super::{Core, CoreError};
use crate::startup::Place;
use crate::token::TokenError;

/// How soon the next try is made after a refusal; twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(600);

/// A key of an earlier generation that the token did not destroy.
#[derive(Clone, Debug)]
pub struct Refused {
    place: Place,
    number: u32,
    problem: String,
    retry_at: Instant,
    delay: Duration,
}

/// What is wrong for longer than a call, for Status and the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// Taints are not in the database yet.
    pub pending: Option<String>,
    /// The committed next key can't be used.
    pub next_key: Option<String>,
    /// A sentence for each key that the token does not destroy.
    pub undestroyed: Vec<String>,
}

impl Core {
    /// Whether a key of an earlier generation is to be destroyed now.
    pub fn has_keys_to_destroy(&self) -> bool {
        let due = || self.refused.iter().any(|refused| refused.retry_at <= Instant::now());
        self.next_key_trouble.is_none() && (!self.keys.leftovers.is_empty() || due())
    }

    /// Whether the private key of a generation is known to be gone.
    pub fn is_destroyed(&self, number: u32) -> bool {
        let left = |leftover: &(Place, u32)| leftover.1 == number;
        !self.keys.leftovers.iter().any(left)
            && !self.refused.iter().any(|refused| refused.number == number)
    }

    /// Destroys an earlier generation's key, or puts it on the list.
    ///
    /// # Errors
    /// [`CoreError::Token`]: the token is lost.
    pub(super) async fn destroy_old_key(
        &mut self,
        place: Place,
        number: u32,
    ) -> Result<(), CoreError> {
        let before = self.refused.iter().position(|refused| refused.number == number);
        let Place { token, id } = place.clone();
        match self.on_token(token, move |token_state| token_state.destroy(&id)).await {
            Ok(()) => {
                tracing::info!(number, "private key of an earlier generation destroyed");
                crate::crash_point!("rotation::retired");
                if let Some(at) = before {
                    self.refused.remove(at);
                }
                Ok(())
            }
            Err(CoreError::Token(error)) if error.is_refused_destruction() => {
                let problem = chain(&error);
                let delay = before
                    .and_then(|at| self.refused.get(at))
                    .map_or(RETRY_FIRST, |refused| (refused.delay * 2).min(RETRY_AT_MOST));
                tracing::error!(number, problem, ?delay, "the token does not destroy an old key");
                let retry_at = Instant::now() + delay;
                let refused = Refused { place, number, problem, retry_at, delay };
                match before.and_then(|at| self.refused.get_mut(at)) {
                    Some(known) => *known = refused,
                    None => self.refused.push(refused),
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tries again what is due.
    pub(super) async fn retry_refused(&mut self) -> Result<(), CoreError> {
        if self.next_key_trouble.is_some() {
            return Ok(());
        }
        let now = Instant::now();
        let due: Vec<_> =
            self.refused.iter().filter(|refused| refused.retry_at <= now).cloned().collect();
        for Refused { place, number, .. } in due {
            self.destroy_old_key(place, number).await?;
        }
        Ok(())
    }

    /// Looks once after each rotation and start whether the committed next pair is there and signs.
    ///
    /// # Errors
    /// [`CoreError::Token`]: the token is lost; then it can be called again.
    pub(super) async fn look_at_next(&mut self) -> Result<(), CoreError> {
        let head = self.log.head().event().clone();
        let number = head.sequence_number();
        if self.next_looked_at == Some(number) {
            return Ok(());
        }
        let Some(Place { token, id }) = self.keys.next.clone() else {
            self.next_key_trouble = Some(MISSING.to_owned());
            self.next_looked_at = Some(number);
            return Ok(());
        };
        let committed = head.rotation_hash();
        match self.signer.workers()[token]
            .run(move |state| state.prove_next(&id, committed))
            .await?
        {
            Ok(()) => self.next_key_trouble = None,
            Err(error @ (TokenError::KeyMissing { .. } | TokenError::Unproven { .. })) => {
                tracing::error!(error = chain(&error), "the committed next key is not usable");
                self.next_key_trouble = Some(MISSING.to_owned());
                self.keys.next = None;
            }
            Err(error) => return Err(error.into()),
        }
        self.next_looked_at = Some(number);
        Ok(())
    }

    /// Notes that a rotation found the committed next key missing.
    pub fn note_next_key_missing(&mut self) {
        self.next_key_trouble = Some(MISSING.to_owned());
        self.publish_lasting();
    }

    /// Tells Status and the metrics what is wrong for longer.
    pub fn publish_lasting(&self) {
        let undestroyed = self.refused.iter().map(|Refused { number, problem, .. }| {
            format!(
                "the private key of generation {number} is still on the token, which does not \
                 destroy it ({problem}); this daemon refuses to sign with it and goes on trying: \
                 destroy it with the vendor's tool"
            )
        });
        let pending = self.log.events().get(self.stored).map(|event| {
            format!(
                "event {} is not in the database yet: readers have it, the journal keeps it, and its \
                 row follows when the database is right again; until then rotate refuses",
                event.event().sequence_number()
            )
        });
        let next_key = self.next_key_trouble.clone();
        let lasting = Lasting { pending, next_key, undestroyed: undestroyed.collect() };
        self.lasting.send_if_modified(|known| {
            let changes = *known != lasting;
            *known = lasting;
            changes
        });
    }
}

const MISSING: &str = "the committed next key is missing on the token or differs: signing works, rotate \
                       and taint do not, and no old key is destroyed; restore the token's backup";
