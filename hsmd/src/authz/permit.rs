//! Permits, and the refusals in their place.

use std::sync::Arc;
use std::time::Duration;

use crate::config::AdminAction;

/// A configured caller or admin, by its name in logs and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
}

/// May have documents of one purpose signed. Only the policy makes one.
#[derive(Debug)]
pub struct SignPermit {
    pub(super) caller: Caller,
}

/// May read the key log. Only the policy makes one.
#[derive(Debug)]
pub struct ReadPermit(pub(super) ());

/// May do one admin action. Only the policy makes one.
#[derive(Debug)]
pub struct AdminPermit {
    pub(super) caller: Caller,
    pub(super) action: AdminAction,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The peer is not configured.
    #[error("{peer} is not a configured {role}: add it to the daemon's configuration")]
    Unknown {
        peer: String,
        /// "caller" or "admin".
        role: &'static str,
    },
    /// The peer's user is one that the system can't name: it could be any user.
    #[error(
        "uid 65534 stands for users that the system can't name and is always refused: run the caller \
         as a user of its own, outside of a user namespace that hides it"
    )]
    OverflowUid,
    /// The certificate matches several callers.
    #[error("{0} matches several callers: give each caller a certificate of its own")]
    Ambiguous(String),
    /// The certificate was valid when the connection was made, and is no more.
    #[error("{0} has expired: connect again with a new one")]
    CertificateExpired(String),
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
        caller: String,
        /// "endorse keys" or "sign documents".
        verb: &'static str,
        purpose: String,
    },
    /// The caller may not sign at all.
    #[error("caller {caller} may not sign documents: it has no purpose in `sign`")]
    NoPurpose { caller: String },
    /// The caller wants a longer endorsement than it may have.
    #[error(
        "caller {caller} may endorse for at most {}, not {}",
        humantime::format_duration(*.max),
        humantime::format_duration(*.asked)
    )]
    Ttl {
        caller: String,
        /// What it may have.
        max: Duration,
        /// What it asked for.
        asked: Duration,
    },
    /// The caller has used up its rate.
    #[error("caller {caller} has used up its rate; try again in {} ms", .retry_after.as_millis())]
    Rate {
        caller: String,
        /// When there will be room again.
        retry_after: Duration,
    },
    /// The batch is larger than the caller's bucket: it would never fit.
    #[error("caller {caller} may have at most {burst} signatures at once, not {asked}")]
    Burst {
        caller: String,
        /// What its bucket holds.
        burst: u32,
        /// What it asked for.
        asked: u32,
    },
    /// The caller may not read the log.
    #[error("caller {0} may not read the key log (read_log)")]
    Read(String),
    /// The admin may not do this.
    #[error("admin {caller} may not {action}")]
    Action {
        caller: String,
        /// What it wanted.
        action: AdminAction,
    },
}

impl SignPermit {
    /// Whose documents they are.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Caller {
    pub fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
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
