//! A server's own key, kept endorsed by the HSM and published in Redis.

use std::{sync::Arc, time::Duration};

use hsmd_chain::{PublicKey, Timestamp};
use hsmd_client::{Endorsement, Endorser};
use hsmd_store::{Endorsements, Publication, Publisher, Purpose};

use crate::Hsm;

/// How often Redis is asked whether it still holds our endorsement: how long a flush goes unnoticed.
const CHECK: Duration = Duration::from_secs(1);

/// How long endorsements hold and how long they stay in Redis.
#[derive(Clone, Copy, Debug)]
pub struct KeyLifetime {
    /// For how long each endorsement is valid.
    pub ttl: Duration,
    /// How long Redis keeps it beyond its expiration.
    pub keep: Duration,
}

/// A public key which hsmd keeps endorsed and Redis keeps published, for purpose `P`, until this is
/// dropped. It never sees the private key.
pub struct EndorsedKey<P> {
    endorser: Endorser,
    publisher: Publisher,
    purpose: std::marker::PhantomData<P>,
}

impl<P: Purpose> EndorsedKey<P> {
    /// Begins; see [`problem`](Self::problem) for when the key may be used.
    pub fn start(
        hsm: &Hsm,
        endorsements: Endorsements<P>,
        public_key: PublicKey,
        lifetime: KeyLifetime,
    ) -> Self {
        let endorser =
            Endorser::start(&hsm.client, hsm.log.clone(), P::NAME, public_key, lifetime.ttl);
        let publication = move |endorsement: &Arc<Endorsement>| Publication {
            key: public_key,
            endorsement: endorsement.to_json(),
            expires_at: endorsement.expiration().saturating_add(lifetime.keep),
        };
        let updates = endorser.subscribe();
        let publisher = Publisher::spawn(endorsements, updates, publication, CHECK);
        Self { endorser, publisher, purpose: std::marker::PhantomData }
    }

    /// The endorsement that holds now; a server without one answers nothing.
    #[must_use]
    pub fn endorsement(&self) -> Option<Arc<Endorsement>> {
        self.endorser.current()
    }

    /// Whether a signature of the key can be verified by others now: endorsed, and published.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let endorsement = self.endorser.current();
        endorsement.is_some_and(|it| it.expiration() > now) && self.publisher.is_published()
    }

    /// What keeps the key from being used, as a public sentence; nothing while all is well.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.endorser.current().is_none() {
            return Some(match self.endorser.problem() {
                Some(problem) => format!("no endorsed {} key: {problem}", P::NAME),
                None => format!("no endorsed {} key yet", P::NAME),
            });
        }
        if !self.publisher.is_published() {
            return Some(format!("the endorsed {} key is not published in Redis", P::NAME));
        }
        None
    }
}
