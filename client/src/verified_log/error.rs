//! What can go wrong with a followed key log, sorted by what has to happen next: nothing (a passing
//! problem), somebody must look (a terminal error), or the question can't be answered now.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::endorsement::EndorsementError;
use hsmd_chain::{Digest, ExtendError, HeadError, HeadFormError, LogError};

use crate::CallError;

/// Why a question about a signature is not answered with yes.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There has been no authenticated contact for `max_staleness`, or none ever: a taint may have
    /// gone unnoticed. It heals with the next contact.
    #[error("the key log is stale: {}", last_contact(*.since))]
    Stale {
        /// How long ago the last contact was; `None` if there was none since the start.
        since: Option<Duration>,
    },
    /// As `Stale`, and it won't heal: the following has ended.
    #[error("the key log is stale and no longer followed")]
    Terminal(#[source] Arc<TerminalError>),
    /// The endorsement is refused.
    #[error("the endorsement is refused")]
    Endorsement(#[source] EndorsementError),
}

fn last_contact(since: Option<Duration>) -> String {
    match since {
        Some(since) => format!("the last contact was {} s ago", since.as_secs()),
        None => "no contact since the start".to_owned(),
    }
}

/// Why the following of a log has ended for good. What was verified before stands; what the source
/// says now contradicts it, and only a person can find out why.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// The source knows less than we do: a restored backup or a wrong daemon.
    #[error(
        "rollback: the source's log ends before event {head_sequence}, which was verified earlier"
    )]
    RolledBack {
        /// The number of our head.
        head_sequence: u32,
    },
    /// The source has another event than we have at some number, signed by the committed key: the
    /// identity has two histories.
    #[error("fork: the source has {theirs} as event {sequence_number}, we verified {ours} earlier")]
    Forked {
        /// The number at which the histories differ.
        sequence_number: u32,
        /// The id of our event.
        ours: Digest,
        /// The id of the source's.
        theirs: Digest,
    },
    /// The source's log is not the one that the anchor names.
    #[error("the source's log is not that of the anchor")]
    Anchor(#[source] LogError),
}

/// Why the source can't be reached or believed just now. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A call to the daemon failed.
    #[error("can't read the daemon's key log")]
    Call(#[source] CallError),
    /// The feed ended without an error.
    #[error("the daemon ended the feed")]
    Ended,
    /// The feed stayed silent for longer than two heartbeats.
    #[error("the feed is silent")]
    Silent,
    /// The feed's heartbeat names a head that its events don't bear out.
    #[error("the heartbeat names another head than the events")]
    Heartbeat,
    /// The keys service can't be reached.
    #[error("can't reach {url}")]
    Http {
        /// What was asked for.
        url: String,
        /// What the connection reported.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The keys service answered with an error.
    #[error("{url} answers {status}")]
    HttpStatus {
        /// What was asked for.
        url: String,
        /// The answer's status code.
        status: u16,
    },
    /// What the keys service gives as head statement is none.
    #[error("{url} answers with something that is no head statement")]
    HeadForm {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<HeadFormError>,
    },
    /// The source's head statement does not show that its log is fresh.
    #[error("the source does not show that its log is fresh")]
    Head(#[source] HeadError),
    /// The source's log does not verify.
    #[error("the source's log does not verify")]
    Log(#[source] LogError),
    /// The source's next event does not verify.
    #[error("the source's next event is refused")]
    Event(#[source] ExtendError),
    /// The source is behind what we know, as a lagging replica is for a moment. It becomes
    /// [`TerminalError::RolledBack`] if it lasts for `rollback_grace`.
    #[error("the source is behind: its log ends before event {head_sequence}, verified earlier")]
    Behind {
        /// The number of our head.
        head_sequence: u32,
    },
    /// The verified log can't be written to its file; it is followed all the same.
    #[error("can't keep the log in {path}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// Why the file of an earlier run can't be used. Following without it would forget the head, so
/// that is for a person to decide: remove the file, then the anchor alone counts.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file can't be read.
    #[error("can't read the kept log {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The file is not a log of the anchor's identity, or lacks the anchor's event.
    #[error("the kept log {path} does not verify: remove it to start from the anchor")]
    Verify {
        /// The file.
        path: PathBuf,
        /// The fault of the log.
        #[source]
        source: Box<LogError>,
    },
}

/// How an attempt to follow ended.
#[derive(Debug)]
pub(super) enum Fault {
    Terminal(TerminalError),
    Passing(Problem),
}

impl Fault {
    /// Sorts what a first contact can be refused for.
    pub(super) fn of_first_contact(error: LogError) -> Self {
        match error {
            LogError::Identity { .. } | LogError::Rollback { .. } | LogError::Forked { .. } => {
                TerminalError::Anchor(error).into()
            }
            _ => Problem::Log(error).into(),
        }
    }

    /// Sorts what a later event can be refused for.
    pub(super) fn of_event(error: ExtendError) -> Self {
        match error {
            ExtendError::Forked { ours, theirs } => TerminalError::Forked {
                sequence_number: ours.event().sequence_number(),
                ours: ours.event().id(),
                theirs: theirs.event().id(),
            }
            .into(),
            _ => Problem::Event(error).into(),
        }
    }

    /// Whether an event was refused for nothing but our clock.
    pub(super) fn is_of_the_future(&self) -> bool {
        matches!(self, Self::Passing(Problem::Event(ExtendError::Future { .. })))
    }
}

impl From<TerminalError> for Fault {
    fn from(error: TerminalError) -> Self {
        Self::Terminal(error)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Passing(problem)
    }
}
