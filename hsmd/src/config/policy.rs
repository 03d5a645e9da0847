//! `[purposes]`, `[[caller]]` and `[[admin]]`: who may do what. What is not said here is denied.

use std::num::NonZeroU32;
use std::time::Duration;

pub use hsmd_chain::payload::is_reserved;
use serde::Deserialize;

use super::duration;

/// The group that a file system or a user namespace shows for groups it can't name.
const OVERFLOW_GID: u32 = 65534;

/// The purposes known here, each of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Purposes {
    /// Purposes of endorsed keys.
    pub endorse: Vec<String>,
    /// Purposes of signed documents.
    pub sign: Vec<String>,
}

/// How a caller is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process of this user, by the credentials of the Unix socket.
    Uid(u32),
    /// A process with this group, primary or supplementary.
    Gid(u32),
    /// A certificate with this subject alternative name: a URI or a DNS name.
    San(String),
    /// Everybody on the plaintext listener.
    Plaintext,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Signatures a second, in the long run.
    pub per_second: NonZeroU32,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// Who may call the service listener, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// What the caller is called in logs and records.
    pub name: String,
    uid: Option<u32>,
    gid: Option<u32>,
    san: Option<String>,
    #[serde(default)]
    plaintext: bool,
    /// Purposes it may endorse keys for.
    #[serde(default)]
    pub endorse: Vec<String>,
    /// Purposes it may sign documents for.
    #[serde(default)]
    pub sign: Vec<String>,
    /// The longest an endorsement may be valid.
    #[serde(default = "max_ttl", deserialize_with = "duration")]
    pub max_ttl: Duration,
    /// Whether it may read the key log.
    #[serde(default)]
    pub read_log: bool,
    /// How many signatures it may have.
    pub rate: Option<RateConfig>,
}

/// Who may call the admin listener, and what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// What the admin is called in logs and records.
    pub name: String,
    uid: Option<u32>,
    gid: Option<u32>,
    san: Option<String>,
    /// The admin calls it may make.
    pub allow: Vec<AdminAction>,
}

/// An admin call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminAction {
    /// Read the daemon's state.
    Status,
    /// Rotate the key.
    Rotate,
    /// Taint the key.
    Taint,
}

impl std::fmt::Display for AdminAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Status => "read the status",
            Self::Rotate => "rotate",
            Self::Taint => "taint",
        })
    }
}

impl CallerConfig {
    /// How the caller is known.
    pub fn who(&self) -> Who {
        match (self.uid, self.gid, &self.san) {
            (Some(uid), _, _) => Who::Uid(uid),
            (_, Some(gid), _) => Who::Gid(gid),
            (_, _, Some(san)) => Who::San(san.clone()),
            _ => Who::Plaintext,
        }
    }

    fn ways_to_be_known(&self) -> usize {
        usize::from(self.uid.is_some())
            + usize::from(self.gid.is_some())
            + usize::from(self.san.is_some())
            + usize::from(self.plaintext)
    }
}

impl AdminConfig {
    /// How the admin is known: over the Unix socket, or by a certificate's name over listen.admin_tls.
    pub fn who(&self) -> Who {
        match (self.uid, self.gid, &self.san) {
            (Some(uid), _, _) => Who::Uid(uid),
            (_, _, Some(san)) => Who::San(san.clone()),
            (None, gid, None) => Who::Gid(gid.unwrap_or(u32::MAX)),
        }
    }

    fn ways_to_be_known(&self) -> usize {
        usize::from(self.uid.is_some())
            + usize::from(self.gid.is_some())
            + usize::from(self.san.is_some())
    }
}

impl Purposes {
    pub(super) fn check(&self) -> Result<(), String> {
        for purpose in self.endorse.iter().chain(&self.sign) {
            if is_reserved(purpose) {
                return Err(format!("the purpose {purpose} is reserved"));
            }
            if !well_formed(purpose) {
                return Err(format!("the purpose {purpose:?} is not 1 to 64 of a-z, 0-9 and -"));
            }
        }
        match self.endorse.iter().find(|purpose| self.sign.contains(purpose)) {
            Some(both) => Err(format!("the purpose {both} is both for endorsing and signing")),
            None => Ok(()),
        }
    }
}

/// Whether a text can be a purpose: 1 to 64 lower-case letters, digits and hyphens.
pub fn well_formed(purpose: &str) -> bool {
    (1..=64).contains(&purpose.len())
        && purpose.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(super) fn check(
    purposes: &Purposes,
    callers: &[CallerConfig],
    admins: &[AdminConfig],
    admin_tls: bool,
) -> Result<(), String> {
    for caller in callers {
        let name = &caller.name;
        if caller.ways_to_be_known() != 1 {
            return Err(format!("caller {name} needs one of uid, gid, san and plaintext"));
        }
        if caller.san.as_deref().is_some_and(no_name) {
            return Err(format!("caller {name}: san is a URI or a DNS name in ASCII"));
        }
        if let Some(unknown) = caller.endorse.iter().find(|p| !purposes.endorse.contains(p)) {
            return Err(format!("caller {name}: {unknown} is not in purposes.endorse"));
        }
        if let Some(unknown) = caller.sign.iter().find(|p| !purposes.sign.contains(p)) {
            return Err(format!("caller {name}: {unknown} is not in purposes.sign"));
        }
        if caller.max_ttl < Duration::from_secs(1) {
            return Err(format!("caller {name}: max_ttl is less than 1s"));
        }
    }
    if let Some(admin) = admins.iter().find(|admin| admin.ways_to_be_known() != 1) {
        return Err(format!("admin {} needs one of uid, gid and san", admin.name));
    }
    let named = admins.iter().find(|admin| admin.san.is_some());
    if let Some(admin) = named.filter(|_| !admin_tls) {
        return Err(format!("admin {}: a san needs listen.admin_tls", admin.name));
    }
    if let Some(admin) = admins.iter().find(|admin| admin.san.as_deref().is_some_and(no_name)) {
        return Err(format!("admin {}: san is a URI or a DNS name in ASCII", admin.name));
    }
    let gids =
        callers.iter().map(|c| (&c.name, c.gid)).chain(admins.iter().map(|a| (&a.name, a.gid)));
    if let Some((name, _)) = gids.into_iter().find(|(_, gid)| *gid == Some(OVERFLOW_GID)) {
        return Err(format!(
            "{name}: gid {OVERFLOW_GID} stands for groups that the system can't name"
        ));
    }
    unique("caller", callers.iter().map(|c| (c.name.as_str(), c.who())))?;
    unique("admin", admins.iter().map(|a| (a.name.as_str(), a.who())))
}

fn no_name(san: &str) -> bool {
    san.is_empty() || !san.is_ascii()
}

fn unique<'a>(kind: &str, entries: impl Iterator<Item = (&'a str, Who)>) -> Result<(), String> {
    let entries: Vec<_> = entries.collect();
    for (i, (name, who)) in entries.iter().enumerate() {
        if name.is_empty() || name.len() > 64 {
            return Err(format!("a {kind}'s name is 1 to 64 characters"));
        }
        if entries[..i].iter().any(|(other, _)| other == name) {
            return Err(format!("{kind} {name} is named twice"));
        }
        if entries[..i].iter().any(|(_, other)| other == who) {
            return Err(format!("{kind} {name} is known by the same as another {kind}"));
        }
    }
    Ok(())
}

fn max_ttl() -> Duration {
    Duration::from_secs(12 * 3600)
}
