//! `GET /jwks`: the keys that sign JSON Web Tokens, for verifiers that know JOSE and not the key log. Unlike the
//! other routes it judges: what a JOSE library reads, it believes.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use hsmd_chain::{EndorsementPayload, PublicKey, SignedPayload};
use hsmd_client::CheckError;
use hsmd_service::{
    Refused,
    caching::{JSON, REVALIDATE, tagged},
    jwks::{JwtKey, document},
    log_problem,
};
use hsmd_store::{Jwt, Purpose as _};
use hsmd_support::chain;

use crate::{
    Keys,
    routes::{error, redis_failed},
};

/// How far back a generation may have ended, as clients have it.
pub(crate) const LOOK_BACK: Duration = Duration::from_secs(12 * 3600);

/// The keys whose endorsement for `jwt` is in Redis and holds now: none of a tainted generation's. While the
/// log is stale there is no answer, since it may hide a taint; verifiers keep what they have.
pub(crate) async fn jwks(State(keys): State<Keys>, headers: HeaderMap) -> Response {
    if let Err(stale) = keys.log.fresh() {
        return not_now(&keys, &stale);
    }
    let stored = match keys.store.jwt_endorsements.list().await {
        Ok(stored) => stored,
        Err(failure) => return redis_failed(&failure),
    };
    let mut good = Vec::new();
    for (name, text) in stored {
        let Some(key) = jwt_key(&name, &text) else { continue };
        match keys.jwt.check(key.kid(), text).map_err(Refused::of_the_log) {
            Ok(()) => good.push(key),
            Err(Ok(stale)) => return not_now(&keys, &stale),
            Err(Err(refused)) => {
                tracing::debug!(kid = %key.kid(), refused = %chain(&refused), "key not listed");
            }
        }
    }
    tagged(&headers, JSON, REVALIDATE, document(&good).into())
}

/// The key of an entry, if that says that it is for JSON Web Tokens: the database has the keys that sign
/// replies as well.
fn jwt_key(name: &str, stored: &[u8]) -> Option<JwtKey> {
    let kid: PublicKey = name.parse().ok()?;
    let signed = SignedPayload::parse(stored).ok()?;
    let payload = EndorsementPayload::parse(signed.payload()).ok()?;
    let text = std::str::from_utf8(stored).ok()?;
    (payload.purpose() == Jwt::NAME).then(|| JwtKey::new(kid, text)).flatten()
}

fn not_now(keys: &Keys, stale: &CheckError) -> Response {
    let sentence = log_problem(&keys.log).unwrap_or_else(|| stale.to_string());
    error(StatusCode::SERVICE_UNAVAILABLE, &sentence)
}
