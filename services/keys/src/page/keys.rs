//! The endorsed keys of the servers, each verified against the log at the chosen look-back.

use std::{collections::BTreeMap, time::Duration};

use hsmd_chain::{KeyLog, PublicKey, SignedPayload, Timestamp, VerifiedEndorsement};
use hsmd_store::{Access, Purpose, Response};

use super::{View, filters::length};
use crate::Keys;

/// What Redis holds.
pub(super) struct Found {
    /// What holds now.
    pub(super) live: Vec<VerifiedEndorsement>,
    /// How many do not.
    pub(super) refused: usize,
}

impl Found {
    /// Nothing when Redis does not answer.
    pub(super) async fn read(
        keys: &Keys,
        log: &KeyLog,
        now: Timestamp,
        window: Duration,
    ) -> Option<Self> {
        let response = keys.store.response_endorsements.list().await;
        let access = keys.store.access_endorsements.list().await;
        let mut found = Self { live: Vec::new(), refused: 0 };
        for (purpose, stored) in [(Response::NAME, response), (Access::NAME, access)] {
            match stored {
                Ok(stored) => found.take(&stored, |key, signed| {
                    signed.verify_endorsement(log, purpose, key, now, window).ok()
                }),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "cannot read endorsed keys");
                    return None;
                }
            }
        }
        Some(found)
    }

    fn take(
        &mut self,
        stored: &BTreeMap<String, Vec<u8>>,
        verify: impl Fn(&PublicKey, &SignedPayload) -> Option<VerifiedEndorsement>,
    ) {
        for (name, value) in stored {
            let parsed = name.parse().ok().zip(SignedPayload::parse(value).ok());
            match parsed.and_then(|(key, signed)| verify(&key, &signed)) {
                Some(endorsement) => self.live.push(endorsement),
                None => self.refused += 1,
            }
        }
    }
}

impl View<'_> {
    /// The number of the generation that endorsed a key.
    pub(super) fn number_of(&self, key: &VerifiedEndorsement) -> String {
        let event = self.log.generation(&key.generation_id());
        event.map_or_else(String::new, |event| event.event().sequence_number().to_string())
    }

    /// How much longer an endorsement holds.
    pub(super) fn rest_of(&self, key: &VerifiedEndorsement) -> String {
        length(key.expiration().saturating_since(self.now))
    }
}
