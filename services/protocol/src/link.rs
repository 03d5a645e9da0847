//! What a new device hands to one that is already linked: its keys, signed by itself.

use hsmd_chain::cesr::Signature;
use serde::{Deserialize, Serialize};

use crate::{Error, PrivateKey, error::Malformed, operation::Authentication, ordered::compact};

/// `{"payload":{"authentication":{…}},"signature":"0I…"}`. It is not verified: see
/// [`LinkContainer::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkContainer {
    // Read only from the one text that `compact` writes for it, so that text is what was signed.
    #[serde(with = "crate::ordered")]
    payload: Payload,
    signature: Signature,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    authentication: Authentication,
}

impl LinkContainer {
    /// Signs a new device's keys with the key that they reveal.
    #[must_use]
    pub fn sign(authentication: Authentication, key: &PrivateKey) -> Self {
        let payload = Payload { authentication };
        let signature = key.sign(&compact(&payload));
        Self { payload, signature }
    }

    /// Parses a container as it was handed over.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not in the wire form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(serde_json::from_str(text).map_err(Malformed::Json)?)
    }

    /// Its text, to be handed over.
    #[must_use]
    pub fn to_json(&self) -> String {
        compact(self)
    }

    /// The new device's keys.
    #[must_use]
    pub fn authentication(&self) -> &Authentication {
        &self.payload.authentication
    }

    /// Verifies that the new device signed it with the key that it reveals.
    ///
    /// # Errors
    /// [`Error::Signature`].
    pub fn verify(&self) -> Result<(), Error> {
        let key = &self.payload.authentication.public_key;
        key.verify(compact(&self.payload).as_bytes(), &self.signature).map_err(|_| Error::Signature)
    }
}
