//! JSON Web Tokens: JWS in compact form, ES256 and nothing else.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::{PublicKey, Signature, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

use crate::{keys::OwnKey, users::User};

/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;

/// What a token says: its user, and for whom and how long it is.
#[derive(Serialize)]
pub(crate) struct Claims<'a> {
    #[serde(flatten)]
    pub(crate) user: &'a User,
    pub(crate) sub: &'a str,
    pub(crate) iss: &'a str,
    pub(crate) aud: &'a str,
    /// In seconds since 1970.
    pub(crate) iat: i64,
    pub(crate) exp: i64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    /// It is no ES256 token.
    #[error("the JWT is malformed")]
    Malformed,
    /// Its key is not one of ours, or no more.
    #[error("the JWT's key is not live")]
    Key,
    /// Its signature is not by that key.
    #[error("the JWT's signature does not verify")]
    Signature,
    /// It is for somebody else, or by somebody else.
    #[error("the JWT is not ours")]
    Audience,
    /// It has expired, or begins in the future.
    #[error("the JWT is not valid now")]
    Time,
}

/// A token that was taken apart, unverified.
pub(crate) struct Unverified<'a> {
    pub(crate) kid: PublicKey,
    signed: &'a str,
    signature: Signature,
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Extensions that must be understood; none is.
    crit: Option<Value>,
}

/// Signs a token.
pub(crate) fn sign(key: &OwnKey, claims: &Claims<'_>) -> Result<String, serde_json::Error> {
    let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key.kid());
    let claims = serde_json::to_vec(claims)?;
    let mut token = Base64UrlUnpadded::encode_string(header.as_bytes());
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&signature));
    Ok(token)
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, BadToken> {
        Self::parts(token).ok_or(BadToken::Malformed)
    }

    fn parts(token: &'a str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| Base64UrlUnpadded::decode_vec(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.alg != "ES256" || header.crit.is_some() {
            return None;
        }
        let signature: [u8; 64] = decode(signature)?.try_into().ok()?;
        Some(Self {
            kid: header.kid.parse().ok()?,
            signed,
            signature: Signature::from_bytes(&signature).ok()?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }

    /// Verifies all but the key, which must be live, and returns the claims.
    pub(crate) fn verify(
        self,
        issuer: &str,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Map<String, Value>, BadToken> {
        self.kid
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| BadToken::Signature)?;
        let text = |name: &str| self.claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(issuer) || text("aud") != Some(issuer) {
            return Err(BadToken::Audience);
        }
        let seconds = |name: &str| self.claims.get(name).and_then(Value::as_i64);
        let ahead = now.saturating_add(skew).unix_millis() / 1000;
        let (now, times) = (now.unix_millis() / 1000, (seconds("iat"), seconds("exp")));
        match times {
            (Some(begin), Some(end)) if begin <= ahead && now < end => Ok(self.claims),
            _ => Err(BadToken::Time),
        }
    }
}
