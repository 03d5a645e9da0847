//! Contested histories: two valid logs of one identity that differ (docs/formats.md §2).
//!
//! Logs that differ only in length are no contest. Where events of one number differ but commit to
//! the same next key, that key decides by what its event names as `previous`; where they commit to
//! different keys, nothing in the logs can decide, and only a remembered head can.

use std::sync::Arc;

use crate::anchor::{Anchor, Head};
use crate::cesr::Digest;
use crate::event::SignedEvent;
use crate::log::KeyLog;

/// The outcome of [`reconcile`]: the log to follow, and every contest that had to be decided on the
/// way to it, for a person to hear of.
#[derive(Debug, Clone)]
pub struct Reconciled {
    /// The longest log on the branch to follow.
    pub log: KeyLog,
    /// The contests, one for each log on another branch; empty when the sources agree.
    pub contests: Vec<Contest>,
}

/// Two events of one number, and what decided between them.
#[derive(Debug, Clone)]
pub struct Contest {
    /// The event on the branch followed.
    pub kept: Arc<SignedEvent>,
    /// The event on the other branch.
    pub refused: Arc<SignedEvent>,
    /// What decided.
    pub decided_by: Decision,
}

/// What decides a contest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// All contested events commit to the same next key, and the event of the next number, which
    /// only that key can sign, names one of them as `previous`.
    Commitment {
        /// The id of the event that decides.
        successor: Digest,
    },
    /// The reader remembers an event of this branch.
    RememberedHead,
}

/// Why logs cannot be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// There are no logs.
    #[error("no logs to reconcile")]
    NoLogs,
    /// A log is another identity's.
    #[error("a log is that of {found}, not of {expected}")]
    Identity {
        /// The identity to reconcile.
        expected: Digest,
        /// The identity of the log.
        found: Digest,
    },
    /// The contested events commit to different keys: a holder of the signing key may have forked
    /// the identity, and nothing in the logs can decide.
    #[error(
        "forked: events {} and {} of number {} commit to different keys",
        left.event().id(), right.event().id(), left.event().sequence_number()
    )]
    Forked {
        /// One of the events.
        left: Arc<SignedEvent>,
        /// The other.
        right: Arc<SignedEvent>,
    },
    /// The contested events commit to the same key, which has not signed an event yet.
    #[error(
        "contested: events {} and {} of number {}, and no event follows that decides",
        left.event().id(), right.event().id(), left.event().sequence_number()
    )]
    Undecided {
        /// One of the events.
        left: Arc<SignedEvent>,
        /// The other.
        right: Arc<SignedEvent>,
    },
    /// No log has the remembered event, and this one has another in its place.
    #[error(
        "fork: {} contests the remembered {remembered}, which no log has",
        found.event().id()
    )]
    HeadForked {
        /// What the reader remembers.
        remembered: Head,
        /// The event in its place.
        found: Arc<SignedEvent>,
    },
    /// All logs end before the remembered event.
    #[error("rollback: the longest log ends at {offered}, before the remembered {remembered}")]
    Rollback {
        /// What the reader remembers.
        remembered: Head,
        /// The head of the longest log.
        offered: Head,
    },
}

/// Decides which of several verified logs of one identity to follow. A reader that remembers a head
/// (in `anchor`) stays on its branch and is told of every fork; one without follows what the logs
/// themselves decide and refuses otherwise. The order of `logs` does not matter to the decision.
pub fn reconcile(anchor: &Anchor, logs: &[KeyLog]) -> Result<Reconciled, ReconcileError> {
    let expected = anchor.identity();
    if let Some(other) = logs.iter().find(|log| log.identity() != expected) {
        return Err(ReconcileError::Identity { expected, found: other.identity() });
    }
    let on_branch = |log: &&KeyLog| anchor.head().is_none_or(|head| log.contains(&head));
    let (ours, others): (Vec<_>, Vec<_>) = logs.iter().partition(on_branch);
    let Some(longest) = ours.iter().max_by_key(|log| log.events().len()) else {
        return Err(not_on_branch(anchor, &others));
    };
    let mut contests = Vec::new();
    for log in ours.iter().copied() {
        if let Some((kept, refused)) = first_difference(longest, log) {
            let decided_by = decide(longest, log, kept, refused)?;
            contests.push(Contest {
                kept: Arc::clone(kept),
                refused: Arc::clone(refused),
                decided_by,
            });
        }
    }
    for log in others {
        if let Some((kept, refused)) = first_difference(longest, log) {
            contests.push(Contest {
                kept: Arc::clone(kept),
                refused: Arc::clone(refused),
                decided_by: Decision::RememberedHead,
            });
        }
    }
    let mut log = (*longest).clone();
    logs.iter().for_each(|other| log.share_early_taints(other));
    Ok(Reconciled { log, contests })
}

type Pair<'a> = (&'a Arc<SignedEvent>, &'a Arc<SignedEvent>);

/// The first number at which both logs have an event, but not the same one.
fn first_difference<'a>(left: &'a KeyLog, right: &'a KeyLog) -> Option<Pair<'a>> {
    let mut pairs = left.events().iter().zip(right.events());
    pairs.find(|(left, right)| left.text() != right.text())
}

/// Decides between `longer` and `shorter`, which differ first in `kept` and `refused`. From there
/// on every number that both have is contested, and each contest is decided by the next number, so
/// in the end by the first event that only the longer log has.
fn decide(
    longer: &KeyLog,
    shorter: &KeyLog,
    kept: &Arc<SignedEvent>,
    refused: &Arc<SignedEvent>,
) -> Result<Decision, ReconcileError> {
    let contested = kept.event().sequence_number() as usize..;
    let pairs = longer.events()[contested.clone()].iter().zip(&shorter.events()[contested]);
    for (left, right) in pairs {
        if left.event().rotation_hash() != right.event().rotation_hash() {
            return Err(ReconcileError::Forked {
                left: Arc::clone(left),
                right: Arc::clone(right),
            });
        }
    }
    match longer.event(kept.event().sequence_number() + 1) {
        Some(successor) if longer.events().len() > shorter.events().len() => {
            Ok(Decision::Commitment { successor: successor.event().id() })
        }
        _ => Err(ReconcileError::Undecided { left: Arc::clone(kept), right: Arc::clone(refused) }),
    }
}

/// What to say when no log has the remembered event.
fn not_on_branch(anchor: &Anchor, logs: &[&KeyLog]) -> ReconcileError {
    let longest = logs.iter().max_by_key(|log| log.events().len());
    match (anchor.head(), longest) {
        (Some(remembered), Some(longest)) => match longest.event(remembered.sequence_number) {
            Some(found) => ReconcileError::HeadForked { remembered, found: Arc::clone(found) },
            None => ReconcileError::Rollback { remembered, offered: longest.position() },
        },
        _ => ReconcileError::NoLogs,
    }
}
