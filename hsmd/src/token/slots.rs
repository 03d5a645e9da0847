//! The slot of the configured token: by label and serial, never by position.

use cryptoki::context::Pkcs11;
use cryptoki::slot::{Slot, TokenInfo};

use super::error::TokenError;
use crate::config::TokenConfig;

/// Finds the token. A slot that can't be described hides no other one: it is noted, and named when the
/// configured token is not found.
pub(super) fn find(
    context: &Pkcs11,
    config: &TokenConfig,
) -> Result<(Slot, TokenInfo), TokenError> {
    let slots = context.get_slots_with_token().map_err(TokenError::call("listing the slots"))?;
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for slot in slots {
        let info = match context.get_token_info(slot) {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%slot, %error, "a slot's token can't be described");
                let error = TokenError::call("describing its token")(error);
                seen.push(format!("slot {slot}: {error}"));
                continue;
            }
        };
        let label = config.label.as_deref().is_none_or(|label| label == info.label());
        let serial = config.serial.as_deref().is_none_or(|serial| serial == info.serial_number());
        if info.token_initialized() && label && serial {
            found.push((slot, info));
        } else if info.token_initialized() {
            seen.push(format!("label {:?} serial {:?}", info.label(), info.serial_number()));
        }
    }
    let name = config.name().to_owned();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let seen = match seen.as_slice() {
                [] => "it has no initialised token".to_owned(),
                seen => format!("it has {}", seen.join(", ")),
            };
            Err(TokenError::Absent { name, path: config.module.clone(), seen })
        }
        count => Err(TokenError::Ambiguous { name, count }),
    }
}
