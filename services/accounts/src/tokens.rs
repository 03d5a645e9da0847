//! The tokens that are issued, and those that are remembered for sessions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hsmd_chain::{Digest, PublicKey, Timestamp};

use crate::{
    config::TokensConfig,
    error::ApiError,
    jwt::{self, BadToken, Claims, Unverified},
    keys::{Keys, NotReady, Signer},
    users::User,
};

/// How many sessions' tokens are remembered.
const REMEMBERED: usize = 1 << 14;

/// Issues tokens, and verifies them.
pub(crate) struct Tokens {
    config: TokensConfig,
    /// `iss` and `aud`.
    issuer: String,
    /// By session. A plain mutex: held for a moment and never across an await.
    remembered: Mutex<HashMap<String, Remembered>>,
}

/// A session's token, and what it depends on.
struct Remembered {
    token: Arc<str>,
    user: User,
    kid: PublicKey,
    generation: Digest,
    renew_at: Timestamp,
}

impl Tokens {
    pub(crate) fn new(config: TokensConfig, issuer: String) -> Self {
        Self { config, issuer, remembered: Mutex::default() }
    }

    /// A new token of a user.
    pub(crate) fn sign(
        &self,
        user: &User,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Arc<str>, ApiError> {
        Ok(self.sign_with(&keys.signer()?, user, now)?.0)
    }

    /// The session's token, which is signed anew after half its lifetime and when anything that it
    /// depends on has changed.
    pub(crate) fn remembered(
        &self,
        session: &str,
        user: &User,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Arc<str>, ApiError> {
        let signer = keys.signer()?;
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = remembered.get(session)
            && known.kid == *signer.key.kid()
            && known.generation == signer.generation
            && known.user == *user
            && now < known.renew_at
        {
            return Ok(Arc::clone(&known.token));
        }
        // Not while others wait: a signature takes a while.
        drop(remembered);
        let (token, end) = self.sign_with(&signer, user, now)?;
        remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, known| now < known.renew_at);
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
        }
        let (kid, generation) = (*signer.key.kid(), signer.generation);
        let renew_at = now.saturating_add(end.saturating_since(now) / 2);
        let known =
            Remembered { token: Arc::clone(&token), user: user.clone(), kid, generation, renew_at };
        remembered.insert(session.to_owned(), known);
        Ok(token)
    }

    /// The claims of a token of ours that is good now.
    pub(crate) fn verify(
        &self,
        token: &str,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Result<serde_json::Map<String, serde_json::Value>, BadToken>, NotReady> {
        let unverified = match Unverified::parse(token) {
            Ok(unverified) => unverified,
            Err(error) => return Ok(Err(error)),
        };
        if !keys.is_live(&unverified.kid)? {
            return Ok(Err(BadToken::Key));
        }
        Ok(unverified.verify(&self.issuer, now, self.config.skew))
    }

    fn sign_with(
        &self,
        signer: &Signer,
        user: &User,
        now: Timestamp,
    ) -> Result<(Arc<str>, Timestamp), ApiError> {
        let until = lifetime_end(now, signer.end, self.config.lifetime, self.config.skew)
            .ok_or(NotReady::Unendorsed)?;
        let (issuer, sub) = (self.issuer.as_str(), user.id.as_str());
        let (iat, exp) = (now.unix_millis() / 1000, until.unix_millis() / 1000);
        let claims = Claims { user, sub, iss: issuer, aud: issuer, iat, exp };
        let token =
            jwt::sign(&signer.key, &claims).map_err(|error| ApiError::Internal(error.into()))?;
        Ok((token.into(), until))
    }
}

/// No token outlives its key's endorsement less the skew of verifiers' clocks.
fn lifetime_end(
    now: Timestamp,
    endorsed_until: Timestamp,
    lifetime: Duration,
    skew: Duration,
) -> Option<Timestamp> {
    let end = now.saturating_add(lifetime).min(endorsed_until.checked_sub(skew)?);
    (end.unix_millis() / 1000 > now.unix_millis() / 1000).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_outlives_its_keys_endorsement() {
        let at =
            |seconds: i64| Timestamp::from_unix_millis(1_800_000_000_000 + seconds * 1000).unwrap();
        let end = |endorsed| {
            lifetime_end(at(0), at(endorsed), Duration::from_secs(900), Duration::from_secs(30))
        };
        assert_eq!(end(3600), Some(at(900)));
        assert_eq!(end(930), Some(at(900)));
        assert_eq!(end(929), Some(at(899)));
        assert_eq!(end(31), Some(at(1)));
        assert_eq!([end(30), end(0), end(-5)], [None; 3]);
    }
}
