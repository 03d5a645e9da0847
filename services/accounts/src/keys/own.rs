//! This replica's key: made at the start, kept in memory, endorsed by hsmd.

use std::{sync::Arc, time::Duration};

use hsmd_chain::PublicKey;
use hsmd_client::{Endorsement, Endorser};
use hsmd_service::Hsm;
use p256::ecdsa::{SigningKey, signature::Signer as _};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::PURPOSE;
use crate::random;

/// A P-256 key whose public half hsmd keeps endorsed until this is dropped. The private half is
/// overwritten then, and never leaves.
pub(crate) struct OwnKey {
    secret: SigningKey,
    kid: PublicKey,
    endorser: Endorser,
}

impl OwnKey {
    /// A fresh key; must be called within a tokio runtime.
    pub(super) fn new(hsm: &Hsm, ttl: Duration) -> Self {
        let (secret, kid) = generate();
        let endorser = Endorser::start(&hsm.client, hsm.log.clone(), PURPOSE, kid, ttl);
        Self { secret, kid, endorser }
    }

    /// The public key, whose text is the `kid` of its tokens.
    pub(crate) fn kid(&self) -> &PublicKey {
        &self.kid
    }

    /// ECDSA over SHA-256: r and s, 32 bytes each.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self.secret.sign(message);
        signature.to_bytes().into()
    }

    pub(super) fn endorsement(&self) -> Option<Arc<Endorsement>> {
        self.endorser.current()
    }

    pub(super) fn endorsements(&self) -> watch::Receiver<Option<Arc<Endorsement>>> {
        self.endorser.subscribe()
    }

    /// Why there is no endorsement.
    pub(super) fn problem(&self) -> Option<String> {
        match self.endorser.current() {
            Some(_) => None,
            None => self.endorser.problem().map(|problem| problem.to_string()),
        }
    }
}

fn generate() -> (SigningKey, PublicKey) {
    loop {
        let bytes = Zeroizing::new(random::secret());
        // One candidate in 2^32 is not below the curve's order.
        if let Ok(secret) = SigningKey::from_slice(&*bytes) {
            let point = secret.verifying_key().to_sec1_point(true);
            if let Ok(kid) = PublicKey::from_sec1(point.as_bytes()) {
                return (secret, kid);
            }
        }
    }
}
