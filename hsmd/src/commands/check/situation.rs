//! The situation: all that `check` found, as one case of docs/disaster-recovery.md.

use crate::daemon::core::CoreError;
use crate::startup::{Plan, Verdict};
use hsmd_chain::{EventFault, LogError};

/// One of the cases that the document describes, or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// Nothing to recover from.
    Good,
    /// This host knows events that the database lacks; the next start appends them.
    Interrupted,
    /// Nothing was ever made here.
    New,
    /// `init` was interrupted.
    InitInterrupted,
    /// The token has keys, the log is empty.
    DatabaseLost,
    /// The token or the journal knows of events that the log lacks.
    DatabaseOlder,
    /// The token has one key more than log and journal explain.
    OneEventOld,
    /// The head's key is there, the next one is not.
    NextKeyLost,
    /// Neither is there.
    TokenOlder,
    /// Log and token fit each other, but the journal knows of later events.
    BothOlder,
    /// There was an identity; log and token are empty.
    BothLost,
    /// The rows are not a log.
    RowsChanged,
    /// The log lies in the future.
    Clock,
    /// The log is another identity's.
    AnotherIdentity,
    /// Log and journal hold different events of one number.
    TwoHistories,
    /// Another daemon has claimed the token.
    Owned,
    /// Something could not be looked at.
    Unknown,
}

/// What the database holds.
#[derive(Debug)]
pub(super) enum LogFound<'a> {
    /// It could not be read.
    Unreadable,
    /// Rows that do not verify.
    Broken(&'a CoreError),
    /// No rows; whether the configuration or a journal knows an identity.
    Empty { identity_known: bool },
    /// A log; and how many events of the journal it lacks.
    Log(Result<usize, &'a CoreError>),
}

impl Situation {
    /// Decides. `verdict` is about the log with the journal's event, where there is one; none when the
    /// token could not be looked at. What is lost or older comes before another owner (`is_owned`): its
    /// section has the import, and says then what to do about the owner.
    pub(super) fn of(log: &LogFound<'_>, verdict: Option<&Verdict>, is_owned: bool) -> Self {
        match Self::of_history(log, verdict) {
            Self::Good | Self::Interrupted if is_owned => Self::Owned,
            situation => situation,
        }
    }

    fn of_history(log: &LogFound<'_>, verdict: Option<&Verdict>) -> Self {
        let journal = match log {
            LogFound::Unreadable => return Self::Unknown,
            LogFound::Broken(error) => return Self::of_broken(error),
            LogFound::Empty { identity_known } => {
                return verdict.map_or(Self::Unknown, |v| Self::of_empty(v, *identity_known));
            }
            LogFound::Log(journal) => journal,
        };
        let Some(verdict) = verdict else { return Self::Unknown };
        match (journal, verdict) {
            (Err(CoreError::OlderThanJournal { .. }), Verdict::Serve(_)) => Self::BothOlder,
            (Err(CoreError::OlderThanJournal { .. }), _) => Self::DatabaseOlder,
            (Err(CoreError::Contested(_)), _) => Self::TwoHistories,
            (Err(CoreError::JournalEvent { .. }), _) => Self::TwoHistories,
            (Err(_), _) => Self::Unknown,
            (Ok(0), verdict) => Self::of_verdict(verdict),
            (Ok(_), Verdict::Serve(Plan { next: None, .. }) | Verdict::WrongToken) => {
                Self::BothOlder
            }
            (Ok(_), Verdict::Serve(_)) => Self::Interrupted,
            (Ok(_), verdict) => Self::of_verdict(verdict),
        }
    }

    fn of_broken(error: &CoreError) -> Self {
        match error {
            CoreError::Row { .. } => Self::RowsChanged,
            CoreError::Log(LogError::Event { source: EventFault::Future { .. }, .. }) => {
                Self::Clock
            }
            CoreError::Log(LogError::Identity { .. }) => Self::AnotherIdentity,
            CoreError::Log(LogError::Rollback { .. }) => Self::DatabaseOlder,
            CoreError::Log(LogError::Forked { .. }) => Self::TwoHistories,
            CoreError::Log(_) => Self::RowsChanged,
            CoreError::Clock(_) => Self::Clock,
            _ => Self::Unknown,
        }
    }

    fn of_empty(verdict: &Verdict, identity_known: bool) -> Self {
        match verdict {
            Verdict::Blank if identity_known => Self::BothLost,
            Verdict::Blank => Self::New,
            Verdict::InitInterrupted => Self::InitInterrupted,
            _ => Self::DatabaseLost,
        }
    }

    fn of_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Serve(Plan { next: Some(_), .. }) => Self::Good,
            Verdict::Serve(Plan { next: None, .. }) => Self::NextKeyLost,
            Verdict::OneEventOld(_) => Self::OneEventOld,
            Verdict::LogOld => Self::DatabaseOlder,
            Verdict::WrongToken => Self::TokenOlder,
            Verdict::Blank | Verdict::InitInterrupted | Verdict::LogLost => Self::Unknown,
        }
    }

    /// What it is, and the document's section.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Good => "good: log, journal and token agree",
            Self::Interrupted => {
                "the database lacks events that are known here (an interrupted rotation, a taint without \
                 it, a restored backup, a lost schema): the next start appends them"
            }
            Self::New => "nothing was ever made here: run `hsmd init`",
            Self::InitInterrupted => "`hsmd init` was interrupted: run it again, it will finish",
            Self::DatabaseLost => "the database is lost, or this is the wrong one: section 1",
            Self::DatabaseOlder => {
                "the database is older than what is known here (a restored backup?), or a second token \
                 is not configured: section 2"
            }
            Self::OneEventOld => {
                "the journal was lost in the middle of a rotation, or the log is one event old: \
                 section 3"
            }
            Self::NextKeyLost => {
                "the next key is lost, or the token is an older backup, or a second token is not \
                 configured: section 4"
            }
            Self::TokenOlder => "the token is the wrong one, or an older backup of it: section 4",
            Self::BothOlder => "database and token are older backups: sections 2 and 4",
            Self::BothLost => {
                "database and token hold nothing of this identity: both are lost, or both are the \
                 wrong ones: section 5"
            }
            Self::RowsChanged => "somebody has changed rows of the key log: section 6",
            Self::Clock => {
                "the newest event lies in the future: this machine's clock is behind (or was ahead)"
            }
            Self::AnotherIdentity => {
                "the database holds another identity's log: correct `identity` or \
                 database.writer_url_file"
            }
            Self::TwoHistories => {
                "two histories of one identity: do nothing before a person has compared all copies"
            }
            Self::Owned => "the token is owned by another state folder: section 9",
            Self::Unknown => "not known: correct what is said above and check again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::startup::Place;

    #[test]
    fn each_finding_is_one_situation() {
        let place = || Place { token: 0, id: b"00000001".to_vec() };
        let plan = |next| Plan { active: place(), next, leftovers: Vec::new() };
        let (whole, halved) = (plan(Some(place())), plan(None));
        let (serve, no_next) = (Verdict::Serve(whole.clone()), Verdict::Serve(halved));
        let older = CoreError::OlderThanJournal { head: 1, journal: 3 };
        let contested = CoreError::Contested(1);
        let row = CoreError::Row { position: 0, message: String::new() };
        let agrees = || LogFound::Log(Ok(0));
        let empty = |identity_known| LogFound::Empty { identity_known };
        for (log, verdict, expected) in [
            (agrees(), &serve, Situation::Good),
            (agrees(), &no_next, Situation::NextKeyLost),
            (agrees(), &Verdict::OneEventOld(whole.clone()), Situation::OneEventOld),
            (agrees(), &Verdict::LogOld, Situation::DatabaseOlder),
            (agrees(), &Verdict::WrongToken, Situation::TokenOlder),
            (LogFound::Log(Ok(1)), &serve, Situation::Interrupted),
            (LogFound::Log(Ok(1)), &no_next, Situation::BothOlder),
            (LogFound::Log(Ok(1)), &Verdict::WrongToken, Situation::BothOlder),
            (LogFound::Log(Ok(1)), &Verdict::LogOld, Situation::DatabaseOlder),
            (LogFound::Log(Err(&older)), &serve, Situation::BothOlder),
            (LogFound::Log(Err(&older)), &Verdict::LogOld, Situation::DatabaseOlder),
            (LogFound::Log(Err(&older)), &Verdict::WrongToken, Situation::DatabaseOlder),
            (LogFound::Log(Err(&contested)), &serve, Situation::TwoHistories),
            (empty(true), &Verdict::LogLost, Situation::DatabaseLost),
            (empty(true), &Verdict::Blank, Situation::BothLost),
            (empty(false), &Verdict::Blank, Situation::New),
            (empty(false), &Verdict::InitInterrupted, Situation::InitInterrupted),
            (LogFound::Broken(&row), &serve, Situation::RowsChanged),
            (LogFound::Unreadable, &serve, Situation::Unknown),
        ] {
            let found = Situation::of(&log, Some(verdict), false);
            assert_eq!(found, expected, "{log:?} {verdict:?}");
            let owned = match expected {
                Situation::Good | Situation::Interrupted => Situation::Owned,
                other => other,
            };
            let found = Situation::of(&log, Some(verdict), true);
            assert_eq!(found, owned, "{log:?} {verdict:?}");
        }
        assert_eq!(Situation::of(&agrees(), None, true), Situation::Unknown);
    }
}
