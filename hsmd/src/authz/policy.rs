//! The policy: from a peer and an action to a permit or a refusal.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, InsufficientCapacity, Quota};
use hsmd_chain::Timestamp;

use super::unix::{OVERFLOW_UID, find_unix, person};
use super::{AdminPermit, Caller, CertificatePeer, Denied, Peer, ReadPermit, SignPermit};
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
    /// The position of the first that it may not have signed, and why not.
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
    /// [`Denied::Unknown`] or [`Denied::OverflowUid`].
    pub fn admin_caller(&self, peer: &Peer) -> Result<Caller, Denied> {
        self.admin_config(peer).map(|admin| Caller::new(&admin.name))
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

    /// Whether a peer may do an admin action.
    ///
    /// # Errors
    /// The [`Denied`] that says why not.
    pub fn admin(&self, peer: &Peer, action: AdminAction) -> Result<AdminPermit, Denied> {
        let admin = self.admin_config(peer)?;
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

    fn admin_config(&self, peer: &Peer) -> Result<&AdminConfig, Denied> {
        let unknown = || unknown(peer, "admin");
        let Peer::Unix(unix) = peer else { return Err(unknown()) };
        let (_, admin) = find_unix(&self.admins, unix, |(who, _)| who).ok_or_else(unknown)?;
        Ok(admin)
    }

    fn entry(&self, peer: &Peer, now: Timestamp) -> Result<&Entry, Denied> {
        let unknown = || unknown(peer, "caller");
        match peer {
            Peer::Unix(unix) => {
                find_unix(&self.callers, unix, |entry| &entry.who).ok_or_else(unknown)
            }
            Peer::Certificate(CertificatePeer { names, not_after }) => {
                if now > *not_after {
                    return Err(Denied::CertificateExpired(peer.to_string()));
                }
                let mut matching = self.callers.iter().filter(
                    |entry| matches!(&entry.who, Who::San(san) if names.iter().any(|n| n == san)),
                );
                match (matching.next(), matching.next()) {
                    (Some(entry), None) => Ok(entry),
                    (None, _) => Err(unknown()),
                    (Some(_), Some(_)) => Err(Denied::Ambiguous(peer.to_string())),
                }
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
mod tests {
    use std::path::Path;

    use super::super::UnixPeer;
    use super::*;

    fn policy() -> Policy {
        let example = include_str!("../../hsmd.example.toml");
        Policy::new(&Config::parse(example, Path::new("hsmd.toml")).unwrap())
    }

    fn unix(uid: u32, gids: &[u32]) -> Peer {
        Peer::Unix(UnixPeer { uid, gids: gids.to_vec(), pid: None })
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis).unwrap()
    }

    fn certificate(names: &[&str]) -> Peer {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Peer::Certificate(CertificatePeer { names, not_after: at(1000) })
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const KEYS: &str = "spiffe://example.org/keys";

    #[test]
    fn callers_get_what_the_example_says_and_nothing_else() {
        let policy = policy();
        let table: [(Peer, [bool; 4]); 10] = [
            // endorse access, endorse response, sign document, read
            (unix(1001, &[1]), [true, true, false, true]),
            (unix(1002, &[1]), [false, true, false, true]),
            (unix(7, &[9, 1003]), [false, false, true, true]),
            (certificate(&["unrelated", KEYS]), [false, false, false, true]),
            (unix(0, &[0]), [false; 4]),
            (unix(OVERFLOW_UID, &[1003]), [false; 4]),
            (unix(4711, &[1001, 1002]), [false; 4]),
            (certificate(&[]), [false; 4]),
            (certificate(&["spiffe://example.org/keys/"]), [false; 4]),
            (Peer::Plaintext, [false; 4]),
        ];
        for (peer, expected) in table {
            let found = [
                policy.endorse(&peer, at(0), "access", HOUR).is_ok(),
                policy.endorse(&peer, at(0), "response", HOUR).is_ok(),
                policy.sign(&peer, at(0), ["document"]).is_ok(),
                policy.read(&peer, at(0)).is_ok(),
            ];
            assert_eq!(found, expected, "{peer:?}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let policy = policy();
        let auth = unix(1001, &[1]);
        let endorse = |purpose: &str, ttl| policy.endorse(&auth, at(0), purpose, ttl).unwrap_err();
        assert!(matches!(endorse("access", 25 * HOUR), Denied::Ttl { .. }));
        assert!(matches!(endorse("health", HOUR), Denied::Reserved(_)));
        assert!(matches!(endorse("key-authorization", HOUR), Denied::Reserved(_)));
        assert!(matches!(endorse("document", HOUR), Denied::WrongKind(..)));
        assert!(matches!(endorse("Access", HOUR), Denied::MalformedPurpose));
        assert!(matches!(endorse("else", HOUR), Denied::Purpose { .. }));
        let sign = |purpose: &str| policy.sign(&auth, at(0), [purpose]).unwrap_err().1;
        assert!(matches!(sign("access"), Denied::WrongKind(..)));
        assert!(matches!(sign("document"), Denied::Purpose { .. }));
        let expired = policy.read(&certificate(&[KEYS]), at(1001)).unwrap_err();
        assert!(matches!(expired, Denied::CertificateExpired(_)));
        assert!(policy.read(&certificate(&[KEYS]), at(1000)).is_ok());
    }

    #[test]
    fn a_rate_is_a_bucket_that_fills_again() {
        let policy = policy();
        let documents = unix(7, &[1003]);
        let batch = |count| policy.sign(&documents, at(0), vec!["document"; count]);
        assert!(batch(200).is_ok(), "the burst");
        let Err((_, Denied::Rate { retry_after, .. })) = batch(200) else {
            panic!("the bucket is empty");
        };
        assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(3));
        assert!(matches!(batch(201), Err((_, Denied::Burst { burst: 200, .. }))), "never fits");
    }

    #[test]
    fn a_caller_without_a_rate_has_the_default_one_and_a_reload_does_not_change_it() {
        let example = include_str!("../../hsmd.example.toml");
        let parse = |text: &str| Config::parse(text, Path::new("hsmd.toml")).unwrap();
        let few = example.replace("burst = 20000", "burst = 3");
        let policy = Policy::new(&parse(&few));
        let auth = unix(1001, &[1]);
        let endorse = |policy: &Policy| policy.endorse(&auth, at(0), "access", HOUR);
        let refused = std::iter::from_fn(|| Some(endorse(&policy))).take(100).find_map(Result::err);
        assert!(matches!(refused, Some(Denied::Rate { .. })), "{refused:?}");
        let documents = unix(7, &[1003]);
        assert!(policy.sign(&documents, at(0), vec!["document"; 200]).is_ok(), "its own rate");
        assert!(endorse(&Policy::new(&parse(example))).is_ok());
        let renamed = parse(&example.replace("name = \"auth\"", "name = \"login\""));
        let renewed = policy.renewed(&renamed);
        assert!((0..100).any(|_| endorse(&renewed).is_err()), "as before the reload");
    }

    #[test]
    fn a_reload_fills_no_bucket_whose_rate_is_the_same() {
        let example = include_str!("../../hsmd.example.toml");
        let parse = |text: &str| Config::parse(text, Path::new("hsmd.toml")).unwrap();
        let documents = unix(7, &[1003]);
        let empties = |policy: &Policy| policy.sign(&documents, at(0), vec!["document"; 200]);
        let before = policy();
        empties(&before).unwrap();
        let moved = example.replace("read_log = true\nrate", "read_log = false\nrate");
        assert_ne!(moved, example);
        let same_rate = before.renewed(&parse(&moved));
        assert!(matches!(empties(&same_rate), Err((_, Denied::Rate { .. }))));
        let slower = example.replace("per_second = 100", "per_second = 99");
        empties(&same_rate.renewed(&parse(&slower))).unwrap();
        let renamed = example.replace("name = \"documents\"", "name = \"papers\"");
        empties(&same_rate.renewed(&parse(&renamed))).unwrap();
    }

    #[test]
    fn admins_do_what_they_are_allowed() {
        use AdminAction::{Rotate, Status, Taint};
        let policy = policy();
        let of_a_group = policy.admin(&unix(8, &[1004]), Status).unwrap();
        assert!(of_a_group.caller().name().contains(" (uid 8"), "{of_a_group:?}");
        let by_uid = policy.admin(&unix(0, &[0]), Status).unwrap();
        assert!(!by_uid.caller().name().contains("uid"), "{by_uid:?}");
        for (peer, expected) in [
            (unix(0, &[0]), [true, true, true]),
            (unix(8, &[1004]), [true, false, false]),
            (unix(1001, &[1]), [false, false, false]),
            (unix(OVERFLOW_UID, &[1004]), [false, false, false]),
            (certificate(&[KEYS]), [false, false, false]),
            (Peer::Plaintext, [false, false, false]),
        ] {
            let found = [Status, Rotate, Taint].map(|a| policy.admin(&peer, a).is_ok());
            assert_eq!(found, expected, "{peer:?}");
        }
    }
}
