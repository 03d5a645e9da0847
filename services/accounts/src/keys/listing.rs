//! The list of keys as verifiers get it: a JWKS, with each key's endorsement.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::{PublicKey, SignedPayload, VerifiedEndorsement};
use hsmd_client::VerifiedLog;
use p256::ecdsa::VerifyingKey;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{PURPOSE, rows::Row};
use crate::config::TokensConfig;

/// A key of the table.
#[derive(Clone)]
pub(super) struct Listed {
    kid: PublicKey,
    x: String,
    y: String,
    /// As published, byte for byte.
    text: Box<RawValue>,
    /// `None` while it does not verify.
    endorsement: Option<VerifiedEndorsement>,
    lives: bool,
}

/// A published list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jwks {
    pub(crate) body: String,
    /// Changes when the body does.
    pub(crate) etag: String,
}

#[derive(Serialize)]
struct Document<'a> {
    keys: Vec<Jwk<'a>>,
}

/// One member of `keys`.
#[derive(Serialize)]
struct Jwk<'a> {
    kty: &'static str,
    crv: &'static str,
    x: &'a str,
    y: &'a str,
    alg: &'static str,
    r#use: &'static str,
    kid: &'a str,
    /// What takes the key back to the HSM.
    hsmd: &'a RawValue,
}

impl Listed {
    /// Takes a row and verifies its endorsement, unless `known` is the same that was verified before.
    pub(super) fn new(
        row: &Row,
        known: Option<&Self>,
        log: &VerifiedLog,
        config: &TokensConfig,
    ) -> Option<Self> {
        if let Some(known) = known
            && known.text.get() == row.endorsement
            && known.endorsement.is_some()
        {
            return Some(Self { lives: row.lives, ..known.clone() });
        }
        let kid: PublicKey = row.kid.parse().ok()?;
        let (x, y) = coordinates(&kid)?;
        let text = RawValue::from_string(row.endorsement.clone()).ok()?;
        let signed = SignedPayload::parse(&row.endorsement).ok()?;
        let checked = log.check_endorsement(&signed, PURPOSE, &kid, config.endorsement);
        if let Err(error) = &checked {
            tracing::debug!(%kid, error = %hsmd_support::chain(error), "key not listed");
        }
        Some(Self { kid, x, y, text, endorsement: checked.ok(), lives: row.lives })
    }

    pub(super) fn kid(&self) -> &PublicKey {
        &self.kid
    }

    pub(super) fn endorsement(&self) -> Option<&VerifiedEndorsement> {
        self.endorsement.as_ref()
    }

    /// Whether its replica has lately said that it lives.
    pub(super) fn lives(&self) -> bool {
        self.lives
    }
}

impl Jwks {
    pub(super) fn of(listed: &[&Listed]) -> Self {
        let keys = listed.iter().map(|key| Jwk {
            kty: "EC",
            crv: "P-256",
            x: &key.x,
            y: &key.y,
            alg: "ES256",
            r#use: "sig",
            kid: key.kid.as_str(),
            hsmd: &key.text,
        });
        let document = Document { keys: keys.collect() };
        // Texts and raw JSON: nothing of it can't be written.
        let body = serde_json::to_string(&document).unwrap_or_default();
        let etag =
            format!("\"{}\"", Base64UrlUnpadded::encode_string(&Sha256::digest(&body)[..16]));
        Self { body, etag }
    }
}

/// The affine coordinates, in base64url.
fn coordinates(kid: &PublicKey) -> Option<(String, String)> {
    // Behind the code of four characters stand the 33 bytes of the compressed point.
    let point = Base64UrlUnpadded::decode_vec(kid.as_str().get(4..)?).ok()?;
    let point = VerifyingKey::from_sec1_bytes(&point).ok()?.to_sec1_point(false);
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    Some((encode(point.x()?), encode(point.y()?)))
}
