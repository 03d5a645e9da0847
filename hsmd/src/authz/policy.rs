//! The policy: from a peer and an action to a permit or a refusal.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, InsufficientCapacity, Quota};
use hsmd_chain::Timestamp;

use super::certificate::find_certificate;
use super::unix::{OVERFLOW_UID, find_unix, person};
use super::{AdminPermit, Caller, Denied, Peer, ReadPermit, SignPermit};
use crate::config::{
    AdminAction, AdminConfig, CallerConfig, Config, Purposes, RateConfig, Who, is_reserved,
    well_formed,
};

/// Who may do what.
#[derive(Debug)]
pub struct Policy {
    purposes: Purposes,
    callers: Vec<Entry>,
    admins: Vec<(Who, AdminConfig)>,
    /// Of callers who have no rate of their own.
    default_rate: RateConfig,
}

#[derive(Debug)]
struct Entry {
    who: Who,
    caller: Caller,
    config: CallerConfig,
    /// Shared with the policy before this one where nothing has changed about it.
    limiter: Arc<DefaultDirectRateLimiter>,
}

impl Policy {
    /// The policy of a configuration.
    pub fn new(config: &Config) -> Self {
        let rate = config.limits.rate;
        Self::with_limiters(config, rate, |caller| limiter(caller.rate.unwrap_or(rate)))
    }

    /// The policy of a new configuration, with the limits of the old one. A caller who keeps its name and its
    /// rate keeps its bucket as it is: a reload is no way to more signatures.
    pub fn renewed(&self, config: &Config) -> Self {
        Self::with_limiters(config, self.default_rate, |caller| {
            let before = self
                .callers
                .iter()
                .find(|entry| entry.config.name == caller.name && entry.config.rate == caller.rate);
            match before {
                Some(entry) => Arc::clone(&entry.limiter),
                None => limiter(caller.rate.unwrap_or(self.default_rate)),
            }
        })
    }

    fn with_limiters(
        config: &Config,
        default_rate: RateConfig,
        limiter: impl Fn(&CallerConfig) -> Arc<DefaultDirectRateLimiter>,
    ) -> Self {
        let callers = config.caller.iter().map(|caller| Entry {
            who: caller.who(),
            caller: Caller::new(&caller.name),
            config: caller.clone(),
            limiter: limiter(caller),
        });
        Self {
            purposes: config.purposes.clone(),
            callers: callers.collect(),
            admins: config.admin.iter().map(|admin| (admin.who(), admin.clone())).collect(),
            default_rate,
        }
    }

    /// Whether a peer may have a key endorsed at `now`.
    ///
    /// # Errors
    /// The [`Denied`] that says why not.
    pub fn endorse(
        &self,
        peer: &Peer,
        now: Timestamp,
        purpose: &str,
        ttl: Duration,
    ) -> Result<SignPermit, Denied> {
        let entry = self.entry(peer, now)?;
        let caller = &entry.config;
        self.check_kind(purpose, &self.purposes.sign, "for documents, not for keys: call Sign")?;
        if !caller.endorse.iter().any(|p| p == purpose) {
            return Err(Denied::Purpose {
                caller: caller.name.clone(),
                verb: "endorse keys",
                purpose: purpose.into(),
            });
        }
        if ttl > caller.max_ttl {
            return Err(Denied::Ttl {
                caller: caller.name.clone(),
                max: caller.max_ttl,
                asked: ttl,
            });
        }
        entry.permit(NonZeroU32::MIN)
    }

    /// Whether a peer may have documents of these purposes signed at `now`, one for each document.
    ///
    /// # Errors
    /// The position of the first that it may not have signed, with [`Denied::WrongKind`] or
    /// [`Denied::Purpose`]; position 0 with what keeps the peer from being a caller, or goes beyond its
    /// rate.
    pub fn sign<'a>(
        &self,
        peer: &Peer,
        now: Timestamp,
        purposes: impl IntoIterator<Item = &'a str>,
    ) -> Result<SignPermit, (usize, Denied)> {
        let entry = self.entry(peer, now).map_err(|denied| (0, denied))?;
        let mut count = 0;
        for (position, purpose) in purposes.into_iter().enumerate() {
            self.check_sign(&entry.config, purpose).map_err(|denied| (position, denied))?;
            count += 1;
        }
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        entry.permit(count).map_err(|denied| (0, denied))
    }

    /// Whether a peer may have documents of any purpose signed at `now`; if not, why.
    pub fn signs_at_all(&self, peer: &Peer, now: Timestamp) -> Result<(), Denied> {
        let caller = &self.entry(peer, now)?.config;
        if caller.sign.is_empty() {
            return Err(Denied::NoPurpose { caller: caller.name.clone() });
        }
        Ok(())
    }

    fn check_sign(&self, caller: &CallerConfig, purpose: &str) -> Result<(), Denied> {
        let correction = "for keys, not for documents: call Endorse";
        self.check_kind(purpose, &self.purposes.endorse, correction)?;
        if caller.sign.iter().any(|p| p == purpose) {
            return Ok(());
        }
        Err(Denied::Purpose {
            caller: caller.name.clone(),
            verb: "sign documents",
            purpose: purpose.into(),
        })
    }

    /// The caller that a peer is at `now`.
    ///
    /// # Errors
    /// [`Denied::Unknown`] and what else keeps a peer from being a caller.
    pub fn caller(&self, peer: &Peer, now: Timestamp) -> Result<Caller, Denied> {
        self.entry(peer, now).map(|entry| entry.caller.clone())
    }

    /// The admin that a peer is.
    ///
    /// # Errors
    /// [`Denied::Unknown`] and what else keeps a peer from being an admin.
    pub fn admin_caller(&self, peer: &Peer, now: Timestamp) -> Result<Caller, Denied> {
        self.admin_config(peer, now).map(|admin| Caller::new(&admin.name))
    }

    /// Whether a peer may read the key log at `now`.
    ///
    /// # Errors
    /// The [`Denied`] that says why not.
    pub fn read(&self, peer: &Peer, now: Timestamp) -> Result<ReadPermit, Denied> {
        let entry = self.entry(peer, now)?;
        if entry.config.read_log {
            Ok(ReadPermit(()))
        } else {
            Err(Denied::Read(entry.config.name.clone()))
        }
    }

    /// Whether a peer may do an admin action at `now`.
    ///
    /// # Errors
    /// The [`Denied`] that says why not.
    pub fn admin(
        &self,
        peer: &Peer,
        now: Timestamp,
        action: AdminAction,
    ) -> Result<AdminPermit, Denied> {
        let admin = self.admin_config(peer, now)?;
        if admin.allow.contains(&action) {
            let caller = match (admin.who(), peer) {
                // Of a group, the record names the person.
                (Who::Gid(_), Peer::Unix(unix)) => {
                    Caller::new(&format!("{} ({})", admin.name, person(unix.uid)))
                }
                _ => Caller::new(&admin.name),
            };
            Ok(AdminPermit { caller, action })
        } else {
            Err(Denied::Action { caller: admin.name.clone(), action })
        }
    }

    fn admin_config(&self, peer: &Peer, now: Timestamp) -> Result<&AdminConfig, Denied> {
        let unknown = || unknown(peer, "admin");
        let found = match peer {
            Peer::Unix(unix) => find_unix(&self.admins, unix, |(who, _)| who),
            Peer::Certificate(of) => find_certificate(&self.admins, of, now, |(who, _)| who)?,
            Peer::Plaintext => None,
        };
        found.map(|(_, admin)| admin).ok_or_else(unknown)
    }

    fn entry(&self, peer: &Peer, now: Timestamp) -> Result<&Entry, Denied> {
        let unknown = || unknown(peer, "caller");
        match peer {
            Peer::Unix(unix) => {
                find_unix(&self.callers, unix, |entry| &entry.who).ok_or_else(unknown)
            }
            Peer::Certificate(of) => {
                find_certificate(&self.callers, of, now, |entry| &entry.who)?.ok_or_else(unknown)
            }
            Peer::Plaintext => {
                self.callers.iter().find(|e| e.who == Who::Plaintext).ok_or_else(unknown)
            }
        }
    }

    fn check_kind(
        &self,
        purpose: &str,
        other_kind: &[String],
        correction: &'static str,
    ) -> Result<(), Denied> {
        if !well_formed(purpose) {
            return Err(Denied::MalformedPurpose);
        }
        if is_reserved(purpose) {
            return Err(Denied::Reserved(purpose.into()));
        }
        if other_kind.iter().any(|p| p == purpose) {
            return Err(Denied::WrongKind(purpose.into(), correction));
        }
        Ok(())
    }
}

impl Entry {
    /// A permit for this many signatures, if the rate has room for them.
    fn permit(&self, signatures: NonZeroU32) -> Result<SignPermit, Denied> {
        let name = &self.config.name;
        let checked = self.limiter.check_n(signatures).map_err(|InsufficientCapacity(burst)| {
            Denied::Burst { caller: name.clone(), burst, asked: signatures.get() }
        })?;
        checked.map_err(|early| Denied::Rate {
            caller: name.clone(),
            retry_after: early.wait_time_from(DefaultClock::default().now()),
        })?;
        Ok(SignPermit { caller: self.caller.clone() })
    }
}

fn limiter(rate: RateConfig) -> Arc<DefaultDirectRateLimiter> {
    let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
    Arc::new(DefaultDirectRateLimiter::direct(quota))
}

fn unknown(peer: &Peer, role: &'static str) -> Denied {
    match peer {
        Peer::Unix(unix) if unix.uid == OVERFLOW_UID => Denied::OverflowUid,
        _ => Denied::Unknown { peer: peer.to_string(), role },
    }
}

#[cfg(test)]
mod tests;
