//! The memory of verified batches: each further item of one costs hashes only.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::body::SignedBody;
use crate::cesr::{BadSignature, PublicKey};

/// How many batches are remembered; the oldest is forgotten first. About 100 bytes each.
const CAPACITY: usize = 1024;

/// Remembers which batches' signatures verified: this body under this signature and key. Liveness,
/// window and expiry are judged at each use and never remembered.
#[derive(Debug, Default)]
pub(crate) struct VerifiedBatches {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    batches: HashSet<[u8; 32]>,
    /// The same, oldest first.
    order: VecDeque<[u8; 32]>,
}

impl VerifiedBatches {
    /// Verifies the signature of a body by a key, unless that has been done.
    pub(crate) fn verify(&self, signed: &SignedBody, key: &PublicKey) -> Result<(), BadSignature> {
        self.once(name(signed, key), || key.verify(signed.text().as_bytes(), signed.signature()))
    }

    fn once<E>(&self, name: [u8; 32], verify: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.known().batches.contains(&name) {
            return Ok(());
        }
        verify()?;
        let mut known = self.known();
        if known.batches.insert(name) {
            known.order.push_back(name);
        }
        if known.order.len() > CAPACITY
            && let Some(oldest) = known.order.pop_front()
        {
            known.batches.remove(&oldest);
        }
        Ok(())
    }

    /// A panic elsewhere can't leave the two collections in a state that claims too much.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Key and signature have one length each, so that no two inputs give one text.
fn name(signed: &SignedBody, key: &PublicKey) -> [u8; 32] {
    blake3::Hasher::new()
        .update(key.as_bytes())
        .update(signed.signature().as_bytes())
        .update(signed.text().as_bytes())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> [u8; 32] {
        blake3::hash(&number.to_be_bytes()).into()
    }

    #[test]
    fn a_batch_is_verified_once_and_the_memory_is_bounded() {
        let memory = VerifiedBatches::default();
        let mut verified = 0;
        let mut ask = |number: usize| {
            let good = || {
                verified += 1;
                Ok::<(), ()>(())
            };
            assert_eq!(memory.once(numbered(number), good), Ok(()));
            verified
        };
        assert_eq!(ask(0), 1);
        assert_eq!(ask(0), 1, "remembered");
        for number in 1..=CAPACITY {
            assert_eq!(ask(number), number + 1);
        }
        assert_eq!(ask(CAPACITY), CAPACITY + 1, "the newest is remembered");
        assert_eq!(ask(0), CAPACITY + 2, "the oldest is forgotten");
        let known = memory.known();
        assert_eq!((known.batches.len(), known.order.len()), (CAPACITY, CAPACITY));
    }

    #[test]
    fn what_did_not_verify_is_not_remembered() {
        let memory = VerifiedBatches::default();
        for _ in 0..2 {
            assert_eq!(memory.once(numbered(0), || Err("bad")), Err("bad"));
        }
        assert!(memory.known().batches.is_empty());
    }
}
