//! The list of keys as verifiers get it: a JWKS, with each key's endorsement.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::{PublicKey, SignedPayload, VerifiedEndorsement};
use hsmd_client::VerifiedLog;
use hsmd_service::jwks::{self, JwtKey};
use sha2::{Digest as _, Sha256};

use super::{PURPOSE, rows::Row};
use crate::config::TokensConfig;

/// A key of the table.
#[derive(Clone)]
pub(super) struct Listed {
    key: JwtKey,
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

impl Listed {
    /// Takes a row and verifies its endorsement, unless `known` is the same that was verified before.
    pub(super) fn new(
        row: &Row,
        known: Option<&Self>,
        log: &VerifiedLog,
        config: &TokensConfig,
    ) -> Option<Self> {
        if let Some(known) = known
            && known.key.endorsement() == row.endorsement
            && known.endorsement.is_some()
        {
            return Some(Self { lives: row.lives, ..known.clone() });
        }
        let kid: PublicKey = row.kid.parse().ok()?;
        let key = JwtKey::new(kid, &row.endorsement)?;
        let signed = SignedPayload::parse(&row.endorsement).ok()?;
        let checked = log.check_endorsement(&signed, PURPOSE, &kid, config.endorsement);
        if let Err(error) = &checked {
            tracing::debug!(%kid, error = %hsmd_support::chain(error), "key not listed");
        }
        Some(Self { key, endorsement: checked.ok(), lives: row.lives })
    }

    pub(super) fn kid(&self) -> &PublicKey {
        self.key.kid()
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
        let body = jwks::document(listed.iter().map(|listed| &listed.key));
        let etag =
            format!("\"{}\"", Base64UrlUnpadded::encode_string(&Sha256::digest(&body)[..16]));
        Self { body, etag }
    }
}
