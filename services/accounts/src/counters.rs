//! What is counted for `/metrics`.

use hsmd_runtime::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use crate::{mail::Mailer, passwords::Hasher, sessions::NoSession};

/// Counters of this replica. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Counters {
    sessions: Family<Reason, Counter>,
    limited: Counter,
    ready: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Counters {
    pub(crate) fn register(&self, metrics: &Metrics, hasher: &Hasher, mailer: Option<&Mailer>) {
        let hashes = hasher.counts();
        metrics.register(|registry| {
            let sessions = self.sessions.clone();
            registry.register("sessions_refused", "Sessions that were refused", sessions);
            let limited = self.limited.clone();
            registry.register("requests_limited", "Requests beyond a limit in memory", limited);
            registry.register("ready", "Whether this replica is ready", self.ready.clone());
            registry.register("argon2id_hashes", "Argon2id hashes computed", hashes.argon2);
            registry.register("scrypt_hashes", "scrypt hashes computed", hashes.scrypt);
            let help = "Passwords refused because too many were waiting";
            registry.register("passwords_refused", help, hashes.refused);
            if let Some(mails) = mailer.map(Mailer::counts) {
                registry.register("mails_sent", "Mails that were sent", mails.sent);
                registry.register("mails_lost", "Mails that were not sent", mails.lost);
            }
            registry.register("passwords_waiting", "Passwords that wait", hashes.waiting);
        });
    }

    pub(crate) fn refused_session(&self, reason: NoSession) {
        self.sessions.get_or_create(&Reason { reason: reason.reason() }).inc();
    }

    pub(crate) fn refused_origin(&self) {
        self.sessions.get_or_create(&Reason { reason: "origin" }).inc();
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }
}
