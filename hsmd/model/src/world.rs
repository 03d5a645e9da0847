//! What outlives a process: the log and its lock in Postgres, the keys and the journal's copies on the
//! token, the journal's files; and what the outside remembers, to judge by.

use crate::daemon::Daemon;

/// A key pair: its number, and which of the pairs ever made with that number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The sequence number in CKA_ID.
    pub number: u8,
    /// Which of those made with it.
    pub made: u8,
}

/// A signed event. Two events of one number are the same if and only if `text` is the same: every
/// signing stamps a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    /// The sequence number.
    pub number: u8,
    /// Which of the texts ever signed with this number.
    pub text: u8,
    /// The key that it reveals.
    pub key: Key,
    /// The key that it commits to.
    pub next: Key,
    /// Whether it taints its predecessor.
    pub taint: bool,
}

/// What a journal holds, the file as well as its copy on the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Entries {
    /// The rotation that has begun.
    pub begun: Option<u8>,
    /// The newest signed event.
    pub event: Option<Event>,
}

/// A state folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    /// `init.json`.
    pub intent: Option<Entries>,
    /// The identity's journal.
    pub journal: Entries,
}

/// A key pair on the token, perhaps incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Which.
    pub key: Key,
    /// The private part is there.
    pub private: bool,
}

/// The writer lock, and whose server process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// No process has it.
    Free,
    /// A daemon that is connected.
    Held(usize),
    /// A server process whose daemon is gone or cut off; its COMMIT may have arrived.
    Orphan {
        /// Whose it was.
        owner: usize,
        /// What a COMMIT of unknown outcome would add.
        commit: Option<Event>,
    },
}

/// An admin request, which may be sent again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Taint, or rotate.
    pub taint: bool,
    /// The generation to replace.
    pub expected: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The committed events.
    pub log: Vec<Event>,
    /// The writer lock.
    pub lock: Lock,
    /// The token's key pairs.
    pub keys: Vec<Pair>,
    /// The journal's copy on the token. For a moment there are two, old and new, which merge to the new.
    pub copy: Option<Entries>,
    /// State folders: one that is shared, or one a daemon.
    pub disks: Vec<Disk>,
    /// The processes.
    pub daemons: Vec<Daemon>,
    /// What administrators have asked for.
    pub requests: Vec<Request>,
    /// Texts ever signed, by number.
    pub texts: [u8; 6],
    /// Pairs ever made, by number.
    pub made: [u8; 8],
    /// Crashes left.
    pub crashes: u8,
    /// Connections that may still be cut.
    pub cuts: u8,
    /// What should never have happened, if it has.
    pub wrong: Option<&'static str>,
}

impl State {
    /// The head's number, if there is a log.
    pub fn head(&self) -> Option<u8> {
        self.log.last().map(|event| event.number)
    }

    /// The state folder of a daemon.
    pub fn disk(&mut self, daemon: usize) -> &mut Disk {
        let index = daemon.min(self.disks.len() - 1);
        &mut self.disks[index]
    }

    /// Whether the private part of a pair is on the token.
    pub fn has_private(&self, key: Key) -> bool {
        self.keys.iter().any(|pair| pair.key == key && pair.private)
    }

    /// Whether the log taints a generation.
    pub(crate) fn is_tainted(&self, number: u8) -> bool {
        self.log.get(usize::from(number) + 1).is_some_and(|event| event.taint)
    }

    /// Notes the first thing that should not have happened.
    pub(crate) fn blame(&mut self, what: &'static str) {
        self.wrong.get_or_insert(what);
    }
}
