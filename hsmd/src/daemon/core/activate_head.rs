//! Activate head: the head's key becomes the one that signs, then earlier keys are destroyed.
//!
//! [`next_step`] decides, without any I/O; [`Core::activate_head`] does what it says, and begins where an
//! earlier call stopped.

use std::sync::Arc;

use hsmd_chain::KeyLog;

use super::{Core, CoreError};
use crate::config::Retire;
use crate::signer::Generation;
use crate::startup::Place;

/// What is still to be done until the tokens agree with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The head's generation does not sign yet.
    Activate,
    /// An earlier generation's key is to be destroyed.
    Retire(Place, u32),
    /// An earlier generation's key stays on the token.
    Keep,
    /// They agree.
    Done,
}

/// The next step; `signing` is the active generation, `leftovers` are the keys of earlier ones. The head
/// signs before anything is destroyed.
pub fn next_step(
    log: &KeyLog,
    signing: Option<u32>,
    leftovers: &[(Place, u32)],
    retire: Retire,
) -> Step {
    if signing != Some(log.head().event().sequence_number()) {
        return Step::Activate;
    }
    match leftovers.first() {
        None => Step::Done,
        Some((place, number)) if is_to_be_retired(log, *number, retire) => {
            Step::Retire(place.clone(), *number)
        }
        Some(_) => Step::Keep,
    }
}

/// Whether the private key of an earlier generation has to go: always after a taint, else as configured.
pub fn is_to_be_retired(log: &KeyLog, number: u32, retire: Retire) -> bool {
    let tainted = log.event(number + 1).is_some_and(|event| event.event().taint_previous());
    tainted || retire == Retire::Destroy
}

impl Core {
    /// Makes the head's key the one that signs, then destroys earlier keys, each confirmed by a find, and
    /// looks at the committed next one. Does nothing when that has been done. A key that the token does
    /// not destroy is no error: it is kept on a list.
    ///
    /// # Errors
    /// [`CoreError::Token`]: the token is lost; then it can be called again.
    pub async fn activate_head(&mut self) -> Result<(), CoreError> {
        let done = self.steps_to_head().await;
        self.publish_lasting();
        done
    }

    async fn steps_to_head(&mut self) -> Result<(), CoreError> {
        loop {
            match next_step(&self.log, self.signing, &self.keys.leftovers, self.retire) {
                Step::Activate => self.activate().await?,
                // Where the committed key is not as it should be, nothing more is destroyed.
                Step::Retire(..) if self.next_key_trouble.is_some() => return Ok(()),
                Step::Retire(place, number) => {
                    self.destroy_old_key(place, number).await?;
                    self.keys.leftovers.remove(0);
                }
                Step::Keep => drop(self.keys.leftovers.remove(0)),
                Step::Done => break,
            }
        }
        self.retry_refused().await?;
        self.look_at_next().await
    }

    async fn activate(&mut self) -> Result<(), CoreError> {
        let generation = Arc::new(Generation::of(self.log.head().event()));
        let number = generation.sequence_number();
        let Place { token, id } = self.keys.active.clone();
        let worker = &self.signer.workers()[token];
        worker.run(move |token_state| token_state.activate(generation, id)).await??;
        let before = self.signer.active_index();
        self.signer.set_active(token);
        if before != token {
            self.signer.workers()[before].run(|token_state| token_state.deactivate()).await?;
        }
        self.signing = Some(number);
        for worker in self.signer.workers() {
            worker.hold(false);
        }
        crate::crash_point!("rotation::activated");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hsmd_chain::testing::LogBuilder;

    use super::*;

    fn place(id: u8) -> Place {
        Place { token: 0, id: vec![id] }
    }

    #[test]
    fn the_head_signs_before_anything_is_destroyed() {
        let log = LogBuilder::of_length("activate", 3).log();
        let leftovers = [(place(0), 0), (place(1), 1)];
        for signing in [None, Some(1)] {
            assert_eq!(next_step(&log, signing, &leftovers, Retire::Destroy), Step::Activate);
            assert_eq!(next_step(&log, signing, &[], Retire::Keep), Step::Activate);
        }
        let step = next_step(&log, Some(2), &leftovers, Retire::Destroy);
        assert_eq!(step, Step::Retire(place(0), 0));
        let step = next_step(&log, Some(2), &leftovers[1..], Retire::Destroy);
        assert_eq!(step, Step::Retire(place(1), 1));
        assert_eq!(next_step(&log, Some(2), &[], Retire::Destroy), Step::Done);
    }

    #[test]
    fn a_tainted_generations_key_goes_whatever_is_configured() {
        // Generation 1 is the tainted one of 0, 1 and 2.
        let log = LogBuilder::of_length("retire", 2).taint().log();
        let step = |number| next_step(&log, Some(2), &[(place(7), number)], Retire::Keep);
        assert_eq!(step(0), Step::Keep);
        assert_eq!(step(1), Step::Retire(place(7), 1));
    }
}
