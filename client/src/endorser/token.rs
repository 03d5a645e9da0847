//! JSON Web Tokens by an endorsed key, for verifiers that know JOSE and not the key log.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::cesr::Signature;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Endorsement, Endorser};
use crate::CheckError;

/// How far back a generation may have ended, as verifiers of endorsements have it. A tainted one is dead.
const LOOK_BACK: Duration = Duration::from_secs(12 * 3600);

/// Why no token was signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no endorsement now; [`Endorser::problem`] says why.
    #[error("the key is not endorsed")]
    NotEndorsed,
    /// The endorsement does not hold now, or the key log can't say.
    #[error("the key's endorsement does not hold now")]
    Check(#[source] CheckError),
    /// The claims are no JSON object.
    #[error("the claims are no JSON object")]
    Claims(#[source] serde_json::Error),
}

impl Endorser {
    /// A JWT (ES256) whose `kid` is the key's text, for a key that is endorsed for `jwt` and published where
    /// verifiers fetch their JWKS. It lives for `lifetime`, and never longer than the endorsement. `sign` has
    /// the private key: it makes an ECDSA signature over the SHA-256 of the text.
    ///
    /// # Errors
    /// The key has no endorsement that holds now, or the claims are no object.
    pub fn sign_token(
        &self,
        claims: &impl Serialize,
        lifetime: Duration,
        sign: impl FnOnce(&str) -> Signature,
    ) -> Result<String, TokenError> {
        let endorsement = self.current().ok_or(TokenError::NotEndorsed)?;
        let verified = endorsement.verified();
        self.log.recheck_endorsement(verified, LOOK_BACK).map_err(TokenError::Check)?;
        let claims = serde_json::to_value(claims).and_then(serde_json::from_value);
        let claims = self.timed(claims.map_err(TokenError::Claims)?, lifetime, &endorsement);
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{}"}}"#, verified.public_key());
        let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let signed = format!("{}.{}", part(&header), part(&Value::from(claims).to_string()));
        let signature = Base64UrlUnpadded::encode_string(&sign(&signed).to_bytes());
        Ok(format!("{signed}.{signature}"))
    }

    /// The claims with their times, in seconds.
    fn timed(
        &self,
        mut claims: Map<String, Value>,
        lifetime: Duration,
        endorsement: &Endorsement,
    ) -> Map<String, Value> {
        let now = self.log.clock().now();
        let end = now.saturating_add(lifetime).min(endorsement.expiration());
        claims.insert("iat".to_owned(), (now.unix_millis() / 1000).into());
        claims.insert("exp".to_owned(), (end.unix_millis() / 1000).into());
        claims
    }
}
