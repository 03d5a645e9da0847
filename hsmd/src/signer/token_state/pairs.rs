//! Key pairs of the token: found, made, shown to sign, destroyed.

use hsmd_chain::PublicKey;

use super::TokenState;
use crate::token::{self, OpenToken, TokenError};

impl TokenState {
    /// For `init`: finds the key pair with this number, or makes it, and shows that it signs: an event
    /// commits to no other. What an interrupted attempt left incomplete or double is destroyed and made anew: no
    /// event commits to it yet.
    ///
    /// # Errors
    /// [`TokenError`]: as the token answered.
    pub fn find_or_generate(&mut self, sequence_number: u32) -> Result<PublicKey, TokenError> {
        match self.try_find_or_generate(sequence_number) {
            // The pair may be there although we were not told: the next look finds it.
            Err(error) if self.reopen_after(&error) => self.try_find_or_generate(sequence_number),
            result => result,
        }
    }

    fn try_find_or_generate(&mut self, sequence_number: u32) -> Result<PublicKey, TokenError> {
        self.renumber()?;
        let id = token::keys::id(sequence_number);
        if let Some(found) = self.with_session(|session| session.complete_pair(&id))? {
            match self.prove(&id, &found) {
                Ok(()) => {
                    tracing::info!(sequence_number, "adopted a key pair that was on the token");
                    return Ok(found);
                }
                Err(TokenError::Unproven { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.destroy(&id)?;
        self.generate_and_prove(sequence_number, &id)
    }

    /// Makes the key pair with this number and shows that it signs. What an interrupted rotation of ours has
    /// left with this number is destroyed: it is not adopted, an event that we do not know could commit to it.
    /// Only on a token that does not destroy keys it is used, for that must not end rotations and taints.
    pub fn generate_anew(&mut self, sequence_number: u32) -> Result<PublicKey, TokenError> {
        match self.try_generate_anew(sequence_number) {
            // The pair may be there although we were not told: it is made once more.
            Err(error) if self.reopen_after(&error) => self.try_generate_anew(sequence_number),
            result => result,
        }
    }

    fn try_generate_anew(&mut self, sequence_number: u32) -> Result<PublicKey, TokenError> {
        self.renumber()?;
        let id = token::keys::id(sequence_number);
        if self.with_session(|session| session.holds_id(&id))? {
            tracing::info!(
                sequence_number,
                "destroying the key of a rotation that was interrupted"
            );
            match self.destroy(&id) {
                Ok(()) => self.renumber()?,
                Err(error) if error.is_refused_destruction() => {
                    return self.use_undestroyable(sequence_number, &id, error);
                }
                Err(error) => return Err(error),
            }
        }
        self.generate_and_prove(sequence_number, &id)
    }

    /// The pair that the token refused to destroy, if it is whole and signs.
    fn use_undestroyable(
        &mut self,
        sequence_number: u32,
        id: &[u8],
        refusal: TokenError,
    ) -> Result<PublicKey, TokenError> {
        let Some(found) = self.with_session(|session| session.complete_pair(id))? else {
            return Err(refusal);
        };
        self.prove(id, &found)?;
        tracing::warn!(sequence_number, "using the key of an interrupted rotation: it stays");
        Ok(found)
    }

    /// Refuses where a key has this number.
    ///
    /// # Errors
    /// [`TokenError::KeyInTheWay`], or what keeps the token from being read.
    pub fn refuse_key_in_the_way(&mut self, sequence_number: u32) -> Result<(), TokenError> {
        let id = token::keys::id(sequence_number);
        match self.with_session(|session| session.holds_id(&id))? {
            true => Err(TokenError::KeyInTheWay(sequence_number)),
            false => Ok(()),
        }
    }

    /// Shows that the token destroys keys, by a pair that nothing names.
    ///
    /// # Errors
    /// It does not, or the token.
    pub fn prove_destruction(&mut self) -> Result<(), TokenError> {
        self.renumber()?;
        let id = token::random_id()?;
        self.in_session_if_ours(|session| session.generate_with_id(&id).map(drop))?;
        self.destroy(&id)
    }

    fn generate_and_prove(
        &mut self,
        sequence_number: u32,
        id: &[u8],
    ) -> Result<PublicKey, TokenError> {
        let made = self.in_session_if_ours(|session| session.generate(sequence_number))?;
        if let Err(error) = self.prove(id, &made) {
            if let TokenError::Unproven { .. } = &error {
                self.destroy(id)?;
            }
            return Err(error);
        }
        Ok(made)
    }

    /// Shows that a pair that no event commits to yet signs for its public key.
    fn prove(&mut self, id: &[u8], key: &PublicKey) -> Result<(), TokenError> {
        let identity = self.active.as_ref().map(|active| active.generation.identity());
        self.timed(false, |token_state| {
            token_state.with_session(|session| session.prove(id, key, identity))
        })
    }

    /// Shows that the committed next pair is there and signs.
    ///
    /// # Errors
    /// [`TokenError::KeyMissing`] or [`TokenError::Unproven`], or what keeps the token from signing.
    pub fn prove_next(
        &mut self,
        id: &[u8],
        committed: hsmd_chain::Digest,
    ) -> Result<(), TokenError> {
        let keys = self.public_keys(id)?;
        match keys.iter().find(|key| key.digest() == committed) {
            Some(key) => self.prove(id, key),
            None => Err(TokenError::KeyMissing { public_key: committed.to_string() }),
        }
    }

    /// The public keys with this CKA_ID.
    ///
    /// # Errors
    /// [`TokenError`]: as the token answered.
    pub fn public_keys(&mut self, id: &[u8]) -> Result<Vec<PublicKey>, TokenError> {
        self.with_session(|session| session.public_keys(id))
    }

    /// Destroys what has this CKA_ID, confirmed by a find.
    ///
    /// # Errors
    /// [`TokenError`]: as the token answered.
    pub fn destroy(&mut self, id: &[u8]) -> Result<(), TokenError> {
        self.with_session_if_ours(|session| session.destroy(id))
    }

    /// Initialises the module anew before an object is made that could get a handle in use.
    pub(super) fn renumber(&mut self) -> Result<(), TokenError> {
        let stale = self.session.as_ref().is_some_and(OpenToken::handles_are_stale);
        if stale && self.modules.renumber(&self.config.module) {
            tracing::debug!(token = self.config.name(), "initialised the module for fresh handles");
            self.session = None;
            if let Some(active) = &mut self.active {
                active.key = None;
            }
            self.open()?;
        }
        Ok(())
    }
}
