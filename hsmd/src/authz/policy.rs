//! The policy: from a peer and an action to a permit or a clear no.

use std::sync::Arc;
use std::time::Duration;

use super::PeerCredentials;
use crate::config::{
    AdminAction, AdminConfig, CallerConfig, Config, Peer, Purposes, is_reserved, well_formed,
};

/// The user that a file system or a user namespace shows for users it can't name. Whoever arrives as
/// this one could be anybody.
const OVERFLOW_UID: u32 = 65534;

/// Who may do what.
#[derive(Debug)]
pub struct Policy {
    purposes: Purposes,
    callers: Vec<CallerConfig>,
    admins: Vec<AdminConfig>,
}

/// Whom a permit was given to, for logs and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
}

/// May have one document of one purpose signed. Only the policy makes one.
#[derive(Debug)]
pub struct SignPermit {
    caller: Caller,
}

/// May read the key log. Only the policy makes one.
#[derive(Debug)]
pub struct ReadPermit {
    _private: (),
}

/// May do one admin action. Only the policy makes one.
#[derive(Debug)]
pub struct AdminPermit {
    caller: Caller,
    action: AdminAction,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody configured this peer.
    #[error("uid {uid} is not a configured {role}: add it to the daemon's configuration")]
    Unknown {
        /// Who called.
        uid: u32,
        /// "caller" or "admin".
        role: &'static str,
    },
    /// The purpose is not of the form that purposes have.
    #[error("a purpose is 1 to 64 lower-case letters, digits and hyphens")]
    MalformedPurpose,
    /// The purpose is the daemon's own.
    #[error("the purpose {0} is reserved")]
    Reserved(String),
    /// The purpose is of the other kind.
    #[error("{0} is {1}")]
    WrongKind(String, &'static str),
    /// The caller may not use this purpose.
    #[error("caller {caller} may not {verb} for the purpose {purpose}")]
    Purpose {
        /// Who called.
        caller: String,
        /// "endorse keys" or "sign documents".
        verb: &'static str,
        /// The purpose.
        purpose: String,
    },
    /// The caller wants a longer endorsement than it may have.
    #[error("caller {caller} may endorse for at most {}, not {}", humantime::format_duration(*.max), humantime::format_duration(*.asked))]
    Ttl {
        /// Who called.
        caller: String,
        /// What it may have.
        max: Duration,
        /// What it asked for.
        asked: Duration,
    },
    /// The caller may not read the log.
    #[error("caller {0} may not read the key log (read_log)")]
    Read(String),
    /// The admin may not do this.
    #[error("admin {caller} may not {action:?}", action = .action)]
    Action {
        /// Who called.
        caller: String,
        /// What it wanted.
        action: AdminAction,
    },
}

impl Caller {
    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl SignPermit {
    /// Whom it was given to.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl AdminPermit {
    /// Whom it was given to.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What it permits.
    pub fn action(&self) -> AdminAction {
        self.action
    }
}

impl Policy {
    /// The policy of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            purposes: config.purposes.clone(),
            callers: config.caller.clone(),
            admins: config.admin.clone(),
        }
    }

    /// Whether a peer may have a key endorsed.
    ///
    /// # Errors
    /// Why not.
    pub fn endorse(
        &self,
        peer: &PeerCredentials,
        purpose: &str,
        ttl: Duration,
    ) -> Result<SignPermit, Denied> {
        let caller = self.caller(peer)?;
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
        Ok(SignPermit { caller: Caller::new(&caller.name) })
    }

    /// Whether a peer may have a document signed.
    ///
    /// # Errors
    /// Why not.
    pub fn sign(&self, peer: &PeerCredentials, purpose: &str) -> Result<SignPermit, Denied> {
        let caller = self.caller(peer)?;
        self.check_kind(
            purpose,
            &self.purposes.endorse,
            "for keys, not for documents: call Endorse",
        )?;
        if !caller.sign.iter().any(|p| p == purpose) {
            return Err(Denied::Purpose {
                caller: caller.name.clone(),
                verb: "sign documents",
                purpose: purpose.into(),
            });
        }
        Ok(SignPermit { caller: Caller::new(&caller.name) })
    }

    /// Whether a peer is a caller at all; asked before anything of its request is looked at.
    ///
    /// # Errors
    /// It isn't.
    pub fn known(&self, peer: &PeerCredentials) -> Result<Caller, Denied> {
        self.caller(peer).map(|caller| Caller::new(&caller.name))
    }

    /// Whether a peer may read the key log.
    ///
    /// # Errors
    /// Why not.
    pub fn read(&self, peer: &PeerCredentials) -> Result<ReadPermit, Denied> {
        let caller = self.caller(peer)?;
        if caller.read_log {
            Ok(ReadPermit { _private: () })
        } else {
            Err(Denied::Read(caller.name.clone()))
        }
    }

    /// Whether a peer may do an admin action.
    ///
    /// # Errors
    /// Why not.
    pub fn admin(
        &self,
        peer: &PeerCredentials,
        action: AdminAction,
    ) -> Result<AdminPermit, Denied> {
        let admin = find(&self.admins, peer, AdminConfig::peer)
            .ok_or(Denied::Unknown { uid: peer.uid, role: "admin" })?;
        if admin.allow.contains(&action) {
            Ok(AdminPermit { caller: Caller::new(&admin.name), action })
        } else {
            Err(Denied::Action { caller: admin.name.clone(), action })
        }
    }

    fn caller(&self, peer: &PeerCredentials) -> Result<&CallerConfig, Denied> {
        find(&self.callers, peer, CallerConfig::peer)
            .ok_or(Denied::Unknown { uid: peer.uid, role: "caller" })
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

impl Caller {
    fn new(name: &str) -> Self {
        Self { name: name.into() }
    }
}

/// The entry of a peer: the one with its uid, else the first with one of its groups.
fn find<'a, T>(
    entries: &'a [T],
    peer: &PeerCredentials,
    who: impl Fn(&T) -> Option<Peer>,
) -> Option<&'a T> {
    if peer.uid == OVERFLOW_UID {
        return None;
    }
    let by_uid = entries.iter().find(|entry| who(entry) == Some(Peer::Uid(peer.uid)));
    by_uid.or_else(|| {
        entries.iter().find(|entry| match who(entry) {
            Some(Peer::Gid(gid)) => peer.gids.contains(&gid),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn policy() -> Policy {
        let example = include_str!("../../hsmd.example.toml");
        Policy::new(&Config::parse(example, Path::new("hsmd.toml")).unwrap())
    }

    fn peer(uid: u32, gids: &[u32]) -> PeerCredentials {
        PeerCredentials { uid, gids: gids.to_vec(), pid: None }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn callers_get_what_the_example_says_and_nothing_else() {
        let policy = policy();
        let (auth, app, documents) = (peer(1001, &[1]), peer(1002, &[1]), peer(7, &[9, 1003]));
        let table: [(&PeerCredentials, [bool; 4]); 6] = [
            // endorse access, endorse response, sign document, read
            (&auth, [true, true, false, true]),
            (&app, [false, true, false, true]),
            (&documents, [false, false, true, true]),
            (&peer(0, &[0]), [false; 4]),
            (&peer(OVERFLOW_UID, &[1003]), [false; 4]),
            (&peer(4711, &[1001, 1002]), [false; 4]),
        ];
        for (peer, expected) in table {
            let found = [
                policy.endorse(peer, "access", HOUR).is_ok(),
                policy.endorse(peer, "response", HOUR).is_ok(),
                policy.sign(peer, "document").is_ok(),
                policy.read(peer).is_ok(),
            ];
            assert_eq!(found, expected, "{peer:?}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let policy = policy();
        let auth = peer(1001, &[1]);
        let endorse = |purpose: &str, ttl| policy.endorse(&auth, purpose, ttl).unwrap_err();
        assert!(matches!(endorse("access", 13 * HOUR), Denied::Ttl { .. }));
        assert!(matches!(endorse("health", HOUR), Denied::Reserved(_)));
        assert!(matches!(endorse("key-authorization", HOUR), Denied::Reserved(_)));
        assert!(matches!(endorse("document", HOUR), Denied::WrongKind(..)));
        assert!(matches!(endorse("Access", HOUR), Denied::MalformedPurpose));
        assert!(matches!(endorse("else", HOUR), Denied::Purpose { .. }));
        assert!(matches!(policy.sign(&auth, "access").unwrap_err(), Denied::WrongKind(..)));
        assert!(matches!(policy.sign(&auth, "document").unwrap_err(), Denied::Purpose { .. }));
    }

    #[test]
    fn admins_do_what_they_are_allowed() {
        use AdminAction::{Rotate, Status, Taint};
        let policy = policy();
        for (peer, expected) in [
            (peer(0, &[0]), [true, true, true]),
            (peer(8, &[1004]), [true, false, false]),
            (peer(1001, &[1]), [false, false, false]),
            (peer(OVERFLOW_UID, &[1004]), [false, false, false]),
        ] {
            let found = [Status, Rotate, Taint].map(|a| policy.admin(&peer, a).is_ok());
            assert_eq!(found, expected, "{peer:?}");
        }
    }
}
