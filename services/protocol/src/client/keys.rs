//! A chain of keys, each committed to before it is revealed.

use std::collections::VecDeque;

use hsmd_chain::cesr::Digest;
use rand_core::CryptoRng;

use crate::{PrivateKey, key_hash};

/// The keys of a device's rotation chain, oldest first: the one that the server is known to hold, the
/// one that is committed to, and those that were committed to in requests whose outcome is unknown.
///
/// The server's key is always one of [`KeyChain::candidates`]. A key is dropped only when a later one
/// has been confirmed by a verified reply, so neither lost replies nor forged refusals lose the
/// account.
#[derive(Clone, Debug)]
pub struct KeyChain(VecDeque<PrivateKey>);

/// A rotation: reveals one key of a chain and commits to the one after it.
#[derive(Clone, Copy, Debug)]
pub struct Reveal<'a> {
    /// Its place in the chain, for [`KeyChain::confirm`].
    pub place: usize,
    /// The key that is revealed and signs.
    pub key: &'a PrivateKey,
    /// The commitment to the next.
    pub commitment: Digest,
}

impl Reveal<'_> {
    /// The same with a commitment that no key fulfils: for a device that unlinks itself and shall
    /// never rotate again.
    #[must_use]
    pub fn last(self) -> Self {
        Self { commitment: Digest::of(self.commitment.as_bytes()), ..self }
    }
}

impl KeyChain {
    /// A fresh chain: a first key and the next, to which the first message commits.
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        Self([PrivateKey::generate(random), PrivateKey::generate(random)].into())
    }

    /// The chain with these keys, oldest first, as [`KeyChain::keys`] gave them; none if there are
    /// fewer than two.
    #[must_use]
    pub fn from_keys(keys: impl IntoIterator<Item = PrivateKey>) -> Option<Self> {
        let keys: VecDeque<_> = keys.into_iter().collect();
        (keys.len() >= 2).then_some(Self(keys))
    }

    /// All keys, oldest first, to be stored.
    pub fn keys(&self) -> impl Iterator<Item = &PrivateKey> {
        self.0.iter()
    }

    /// The oldest key: the one that the server is known to hold, or the first.
    #[must_use]
    pub fn current(&self) -> &PrivateKey {
        &self.0[0]
    }

    /// The commitment that goes with the first key.
    #[must_use]
    pub fn first_commitment(&self) -> Digest {
        key_hash(self.0[1].public_key())
    }

    /// The keys which the server may hold, most likely first, with their places.
    pub fn candidates(&self) -> impl Iterator<Item = (usize, &PrivateKey)> {
        self.0.iter().enumerate().take(self.0.len() - 1)
    }

    /// The places that a rotation has to try to reveal, most likely first: 1 when the outcome of every
    /// earlier request is known.
    #[must_use]
    pub fn places(&self) -> std::ops::Range<usize> {
        1..self.0.len().max(2)
    }

    /// Makes the key that revealing this place commits to, if it is not there yet. The chain must be
    /// stored before the request is sent.
    pub fn prepare(&mut self, place: usize, random: &mut impl CryptoRng) {
        while self.0.len() < place + 2 {
            self.0.push_back(PrivateKey::generate(random));
        }
    }

    /// The rotation at a prepared place.
    #[must_use]
    pub fn reveal(&self, place: usize) -> Option<Reveal<'_>> {
        let (key, next) = (self.0.get(place)?, self.0.get(place + 1)?);
        Some(Reveal { place, key, commitment: key_hash(next.public_key()) })
    }

    /// Takes a verified reply into account: the server holds the key of this place. Older keys are
    /// dropped and overwritten.
    pub fn confirm(&mut self, place: usize) {
        let keep_two = place.min(self.0.len() - 2);
        self.0.drain(..keep_two);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(secrets: &[u8]) -> KeyChain {
        let keys = secrets.iter().map(|byte| PrivateKey::from_bytes(&[*byte; 32]).expect("a key"));
        KeyChain::from_keys(keys).expect("two keys")
    }

    fn key(secret: u8) -> PrivateKey {
        PrivateKey::from_bytes(&[secret; 32]).expect("a key")
    }

    #[test]
    fn a_known_outcome_leaves_one_place_to_try() {
        let mut chain = chain(&[1, 2]);
        assert_eq!(chain.places(), 1..2);
        assert!(chain.reveal(1).is_none(), "not prepared");
        chain.0.push_back(key(3));
        let reveal = chain.reveal(1).expect("prepared");
        assert_eq!(reveal.key.public_key(), key(2).public_key());
        assert_eq!(reveal.commitment, key_hash(key(3).public_key()));
        chain.confirm(1);
        assert_eq!(chain.current().public_key(), key(2).public_key());
        assert_eq!(chain.keys().count(), 2);
    }

    #[test]
    fn an_unknown_outcome_keeps_every_key_the_server_may_hold() {
        let chain = chain(&[1, 2, 3]);
        assert_eq!(chain.places(), 1..3);
        let candidates: Vec<_> = chain.candidates().map(|(_, key)| *key.public_key()).collect();
        assert_eq!(candidates, [*key(1).public_key(), *key(2).public_key()]);
    }

    #[test]
    fn a_device_that_unlinks_itself_commits_to_nothing() {
        let chain = chain(&[1, 2, 3]);
        let reveal = chain.reveal(1).expect("prepared");
        let twice = Digest::of(key_hash(key(3).public_key()).as_str().as_bytes());
        assert_eq!(reveal.last().commitment, twice);
    }
}
