//! A JWT of the accounts service, back to the HSM: its signature is by a key of a JWKS, that key is
//! endorsed for `jwt`, and the endorsement is by a live generation of the log.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_client::chain::{
    Digest, KeyLog, PublicKey, Signature, SignedPayload, Timestamp, VerifiedEndorsement,
};
use serde_json::{Map, Value, value::RawValue};

use hsmd_support::chain;

use crate::args::Verify;

/// The purpose of the accounts' endorsements.
const PURPOSE: &str = "jwt";

/// A verified token.
pub(super) struct Token {
    endorsement: VerifiedEndorsement,
    claims: Map<String, Value>,
    expires: Timestamp,
}

#[derive(serde::Deserialize)]
struct Jwks {
    keys: Vec<Box<RawValue>>,
}

#[derive(serde::Deserialize)]
struct Jwk<'a> {
    kid: &'a str,
    /// Byte for byte as the HSM signed it.
    #[serde(borrow)]
    hsmd: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

impl Token {
    /// Verifies a token with a JWKS and a verified log, or says why not.
    pub(super) fn verify(
        token: &[u8],
        jwks: &[u8],
        log: &KeyLog,
        at: Timestamp,
        args: &Verify,
    ) -> Result<Self, String> {
        let token = str::from_utf8(token).map_err(|_| "the token is no text")?.trim();
        let parts = Parts::of(token).ok_or("it is no JWT in compact form with ES256")?;
        let endorsement = endorsement(jwks, &parts.kid)?;
        let endorsement = endorsement
            .verify_endorsement(log, PURPOSE, &parts.kid, at, args.window)
            .map_err(|error| format!("its key's endorsement does not verify: {}", chain(&error)))?;
        parts
            .kid
            .verify(parts.signed.as_bytes(), &parts.signature)
            .map_err(|error| chain(&error))?;
        let seconds = |name: &str| parts.claims.get(name).and_then(Value::as_i64);
        let expires = seconds("exp")
            .and_then(|seconds| Timestamp::from_unix_millis(seconds.checked_mul(1000)?).ok())
            .ok_or("it has no expiration")?;
        if expires <= at {
            return Err(format!("it expired at {expires}"));
        }
        Ok(Self { endorsement, claims: parts.claims, expires })
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "token of {} until {}, by {}, endorsed by generation {}",
            self.claims.get("sub").and_then(Value::as_str).unwrap_or("no subject"),
            self.expires,
            self.endorsement.public_key(),
            self.endorsement.body().sequence_number(),
        )
    }

    pub(super) fn generation_id(&self) -> Digest {
        self.endorsement.generation_id()
    }

    pub(super) fn sequence_number(&self) -> u32 {
        self.endorsement.body().sequence_number()
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// A token, taken apart.
struct Parts<'a> {
    kid: PublicKey,
    signed: &'a str,
    signature: Signature,
    claims: Map<String, Value>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| Base64UrlUnpadded::decode_vec(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let signature: [u8; 64] = decode(signature)?.try_into().ok()?;
        (header.alg == "ES256").then_some(())?;
        Some(Self {
            kid: header.kid.parse().ok()?,
            signed,
            signature: Signature::from_bytes(&signature).ok()?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }
}

/// The endorsement that a JWKS has of a key.
fn endorsement(jwks: &[u8], kid: &PublicKey) -> Result<SignedPayload, String> {
    let jwks: Jwks = serde_json::from_slice(jwks).map_err(|error| format!("the JWKS: {error}"))?;
    for key in &jwks.keys {
        let Ok(key) = serde_json::from_str::<Jwk<'_>>(key.get()) else { continue };
        if key.kid == kid.as_str() {
            let text = key.hsmd.ok_or("the JWKS has no endorsement of its key")?;
            return SignedPayload::parse(text.get()).map_err(|error| chain(&error));
        }
    }
    Err("its key is not in the JWKS".to_owned())
}
