//! The key of a generation, bound to its public key by a signature that was verified.

use super::Generation;
use crate::clock::Clock;
use crate::token::{KeyHandle, OpenToken, TokenError};

/// Finds the key that signs for a generation and has this CKA_ID, and shows by a health body that it
/// does. The handle dies with its session.
pub fn bind(
    session: &OpenToken,
    generation: &Generation,
    id: &[u8],
    clock: &Clock,
) -> Result<KeyHandle, TokenError> {
    let now = clock.now().map_err(|_| TokenError::Nonsense("no usable clock"))?;
    let body = generation.health_body(now);
    let public_key = generation.public_key();
    session.sign_as(id, public_key, &body.signing_input(), body.text()).map(|(key, _)| key)
}
