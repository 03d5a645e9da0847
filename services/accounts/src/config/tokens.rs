//! `[tokens]`.

use std::time::Duration;

use hsmd_support::duration;
use serde::Deserialize;

use super::SettingError;

/// `[tokens]`: JWTs and the keys that sign them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokensConfig {
    /// The one signature algorithm there is.
    pub algorithm: Algorithm,
    /// How long a token is good for.
    #[serde(deserialize_with = "duration")]
    pub lifetime: Duration,
    /// How long each endorsement of a key holds; hsmd must allow it as `max_ttl`.
    #[serde(deserialize_with = "duration")]
    pub endorsement: Duration,
    /// How far verifiers' clocks may be off: no token outlives its key's endorsement less this.
    #[serde(deserialize_with = "duration")]
    pub skew: Duration,
    /// How long a new key is listed before it signs, while older ones can.
    #[serde(deserialize_with = "duration")]
    pub listing_delay: Duration,
}

/// How tokens are signed. The key log knows P-256 only, and a JWKS with keys of several types breaks
/// verifiers, so there is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
}

impl TryFrom<String> for Algorithm {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "ES256" => Ok(Self::Es256),
            other => Err(format!(
                "the algorithm {other:?} is not offered: the HSM endorses P-256 keys, which sign \
                 ES256; set algorithm = \"ES256\" and let verifiers accept it"
            )),
        }
    }
}

impl TokensConfig {
    pub(super) fn check(&self) -> Result<(), SettingError> {
        // A renewal comes after two thirds of an endorsement's time, at the latest.
        let least = self.endorsement / 3;
        if self.lifetime + self.skew > least {
            return Err(SettingError::Lifetime(
                "tokens",
                format!(
                    "lifetime and skew together are {:?}, but an endorsement of {:?} is renewed \
                 when {:?} of it are left: tokens would be shorter than configured; shorten lifetime \
                 or lengthen endorsement",
                    self.lifetime + self.skew,
                    self.endorsement,
                    least
                ),
            ));
        }
        Ok(())
    }
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Es256,
            lifetime: Duration::from_secs(15 * 60),
            endorsement: Duration::from_secs(60 * 60),
            skew: Duration::from_secs(30),
            listing_delay: Duration::from_secs(50),
        }
    }
}
