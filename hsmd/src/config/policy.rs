//! `[purposes]`, `[[caller]]` and `[[admin]]`: who may do what. What is not said here is denied.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// Purposes that no caller may ever use: `health` bodies are the daemon's own, and events carry
/// `key-authorization`.
const RESERVED: [&str; 2] = ["health", "key-authorization"];

/// The purposes known here, each of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Purposes {
    /// Purposes of endorsed keys.
    pub endorse: Vec<String>,
    /// Purposes of signed documents.
    pub sign: Vec<String>,
}

/// Whom a Unix socket's peer credentials must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This user.
    Uid(u32),
    /// A process with this group, primary or supplementary.
    Gid(u32),
}

/// Who may call the service listener, and what for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// What the caller is called in logs and records.
    pub name: String,
    uid: Option<u32>,
    gid: Option<u32>,
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
}

/// Who may call the admin listener, and what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// What the admin is called in logs and records.
    pub name: String,
    uid: Option<u32>,
    gid: Option<u32>,
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

impl CallerConfig {
    /// The peer that this caller is.
    pub fn peer(&self) -> Option<Peer> {
        peer(self.uid, self.gid)
    }
}

impl AdminConfig {
    /// The peer that this admin is.
    pub fn peer(&self) -> Option<Peer> {
        peer(self.uid, self.gid)
    }
}

impl Purposes {
    pub(super) fn check(&self) -> Result<(), String> {
        for purpose in self.endorse.iter().chain(&self.sign) {
            if RESERVED.contains(&purpose.as_str()) {
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

/// Whether a purpose is one that no caller may use.
pub fn is_reserved(purpose: &str) -> bool {
    RESERVED.contains(&purpose)
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
) -> Result<(), String> {
    for caller in callers {
        let name = &caller.name;
        if caller.peer().is_none() {
            return Err(format!("caller {name} needs one of uid and gid"));
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
    if let Some(admin) = admins.iter().find(|admin| admin.peer().is_none()) {
        return Err(format!("admin {} needs one of uid and gid", admin.name));
    }
    unique("caller", callers.iter().map(|c| (c.name.as_str(), c.peer())))?;
    unique("admin", admins.iter().map(|a| (a.name.as_str(), a.peer())))
}

fn unique<'a>(
    kind: &str,
    entries: impl Iterator<Item = (&'a str, Option<Peer>)>,
) -> Result<(), String> {
    let entries: Vec<_> = entries.collect();
    for (i, (name, peer)) in entries.iter().enumerate() {
        if name.is_empty() || name.len() > 64 {
            return Err(format!("a {kind}'s name is 1 to 64 characters"));
        }
        if entries[..i].iter().any(|(other, _)| other == name) {
            return Err(format!("{kind} {name} is named twice"));
        }
        if entries[..i].iter().any(|(_, other)| other == peer) {
            return Err(format!("{kind} {name} has another {kind}'s uid or gid"));
        }
    }
    Ok(())
}

fn peer(uid: Option<u32>, gid: Option<u32>) -> Option<Peer> {
    match (uid, gid) {
        (Some(uid), None) => Some(Peer::Uid(uid)),
        (None, Some(gid)) => Some(Peer::Gid(gid)),
        _ => None,
    }
}

fn max_ttl() -> Duration {
    Duration::from_secs(12 * 3600)
}
