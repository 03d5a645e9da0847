//! What signs for a generation: its key, bound to its public key by a signature that was verified, and
//! the key's copy in the session where there is one.

use hsmd_chain::Body;

use super::{Generation, TokenState};
use crate::clock::Clock;
use crate::token::{Class, KeyHandle, OpenToken, TokenError};

/// The handles of a bound key. They die with their session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    key: KeyHandle,
    copy: Option<KeyHandle>,
}

impl Bound {
    /// What to sign with.
    pub(super) fn handle(&self) -> KeyHandle {
        self.copy.unwrap_or(self.key)
    }
}

/// Finds the key that signs for a generation and has this CKA_ID, shows by a health body that it does,
/// and copies it where that is configured.
pub(super) fn bind(
    session: &OpenToken,
    generation: &Generation,
    id: &[u8],
    clock: &Clock,
) -> Result<Bound, TokenError> {
    let now = clock.now().map_err(|_| TokenError::Nonsense("no usable clock"))?;
    let body = generation.health_body(now);
    let public_key = generation.public_key();
    let (key, _) = session.sign_as(id, public_key, &body.signing_input(), body.text())?;
    let copy = match session.copy(key) {
        Ok(Some(copy)) => shown(session, generation, &body, copy)?,
        Ok(None) => None,
        // A token that does not copy keys, or not this one: the key itself signs as well.
        Err(error) if error.class() == Class::Caller => {
            tracing::info!(%error, "the key signs itself: it can't be copied to the session");
            None
        }
        Err(error) => return Err(error),
    };
    Ok(Bound { key, copy })
}

/// The copy, if it signs as the key does; else it is destroyed, and whatever kept it from signing is no
/// reason for the key not to.
fn shown(
    session: &OpenToken,
    generation: &Generation,
    body: &Body,
    copy: KeyHandle,
) -> Result<Option<KeyHandle>, TokenError> {
    let verified = session.sign(copy, &body.signing_input()).map(|signature| {
        generation.public_key().verify(body.text().as_bytes(), &signature).is_ok()
    });
    if matches!(verified, Ok(true)) {
        return Ok(Some(copy));
    }
    tracing::warn!(?verified, "the key signs itself: its copy in the session does not sign for it");
    session.destroy_copy(copy)?;
    Ok(None)
}

impl TokenState {
    /// Whether a copy of the active key signs in its place.
    pub fn signs_with_a_copy(&self) -> bool {
        let bound = self.active.as_ref().and_then(|active| active.key);
        bound.is_some_and(|bound| bound.copy.is_some())
    }

    /// Destroys the copy of a key that signs no more. One that stays after all goes with the session.
    pub(super) fn release(&mut self, bound: Option<Bound>) {
        let Some(copy) = bound.and_then(|bound| bound.copy) else { return };
        let destroyed = self.in_session(|session| session.destroy_copy(copy));
        if let Err(error) = destroyed
            && self.session.is_some()
        {
            self.drop_session(&error, Class::Session);
        }
    }
}
