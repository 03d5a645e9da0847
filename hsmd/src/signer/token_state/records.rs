//! The records of the token's owners, as this token's thread reads and writes them.

use super::TokenState;
use super::first_tries::Kind;
use crate::config::TokenConfig;
use crate::ownership::Record;
use crate::ownership::rules::Snapshot;
use crate::token::{self, OpenToken, TokenError};

/// The length of a CKA_ID that is no record: see [`TokenState::try_record_pair`].
const TRIED: usize = 8;

impl TokenState {
    /// The token's key among all tokens, once it has been open.
    pub fn token_key(&self) -> Option<&str> {
        self.token_key.as_deref()
    }

    /// Whether the token shows what other processes made only after `C_Initialize`.
    pub fn hides_foreign_objects(&mut self) -> Result<bool, TokenError> {
        self.with_session(|session| Ok(session.hides_foreign_objects()))
    }

    /// The records of all folders.
    ///
    /// # Errors
    /// [`TokenError::UnknownRecord`], or what keeps the token from being read.
    pub fn records(&mut self) -> Result<Vec<Record>, TokenError> {
        let label = owner_label(&self.config);
        self.with_session(|session| read_all(session, &label))
    }

    /// All of ours that is on the token.
    ///
    /// # Errors
    /// [`TokenError::UnknownRecord`], or what keeps the token from being read.
    pub fn snapshot(&mut self) -> Result<Snapshot, TokenError> {
        let records = self.records()?;
        let journals = self.read_old_journal_copies()?;
        let pairs = self.inventory()?.pairs;
        Ok(Snapshot::new(records, journals, pairs))
    }

    /// Refuses where the token is known to take no record.
    ///
    /// # Errors
    /// [`TokenError::NoRecord`] with the reason, [`TokenError::CopyNote`].
    pub fn takes_records(&self) -> Result<(), TokenError> {
        let data = match self.takes_objects() {
            Err(TokenError::NoCopy(data)) => data,
            takes => return takes,
        };
        match self.refusal(Kind::RecordPair)? {
            Some(pair) => {
                Err(TokenError::NoRecord(format!("no data object: {data}; no key pair: {pair}")))
            }
            None => Ok(()),
        }
    }

    /// Where a record would be a key pair: shows once that the token makes and destroys one. Otherwise such a
    /// record could never be replaced by another folder's.
    ///
    /// # Errors
    /// [`TokenError::NoRecord`] if it does not; else what keeps the token from being used.
    pub fn try_record_pair(&mut self) -> Result<(), TokenError> {
        self.takes_records()?;
        if self.takes_objects().is_ok() || !self.is_first(Kind::RecordPair)? {
            return Ok(());
        }
        self.renumber()?;
        let (label, id) = (owner_label(&self.config), token::random_id()?);
        let tried = self.try_making(Kind::RecordPair, |token_state| {
            token_state.with_session(|session| {
                // Also what an earlier try has left.
                let is_tried = |old: &[u8]| old.len() == TRIED;
                session.replace_record_pair(&label, &id, is_tried)?;
                session.destroy_record_pairs(&label, is_tried)
            })
        });
        self.report_copy();
        tried.or_else(|error| self.takes_records().and(Err(error)))
    }

    /// Makes this the one record of its folder; the new one is there before the old one goes. It is a data
    /// object, or, on a token that takes none, a key pair without the journal.
    ///
    /// # Errors
    /// [`TokenError::NoRecord`] if the token takes neither; else what keeps it from being written.
    pub fn write_record(&mut self, record: &Record) -> Result<(), TokenError> {
        self.put_record(record, false)
    }

    /// Replaces the record of the claim that this daemon holds, after a look in the same job.
    ///
    /// # Errors
    /// As [`write_record`](Self::write_record), or the token is not ours.
    pub(super) fn replace_own_record(&mut self, record: Record) -> Result<(), TokenError> {
        let record = Record { change: record.change + 1, ..record };
        self.put_record(&record, true)?;
        if let Some(claim) = &mut self.claim {
            claim.record = record;
        }
        Ok(())
    }

    /// What a claim needs becomes a key pair where the token refuses a data object; a record that stands is not
    /// replaced by one without the journal.
    fn put_record(&mut self, record: &Record, if_ours: bool) -> Result<(), TokenError> {
        match self.takes_objects() {
            Err(TokenError::NoCopy(_)) => return self.put_record_pair(record, if_ours),
            takes => takes?,
        }
        let (label, value) = (owner_label(&self.config), encode(record)?);
        let folder = record.folder.as_str();
        let put = |session: &OpenToken| {
            session.replace_data(&label, &value, |old| is_of(decode(old).ok(), folder))?;
            session.destroy_record_pairs(&label, |old| is_of(Record::from_id(old), folder))
        };
        let written = self.put_object(|token_state| token_state.session_for(if_ours, put));
        match (written, self.takes_objects()) {
            (Err(error), Err(TokenError::NoCopy(_)))
                if !if_ours && !error.is_refused_destruction() =>
            {
                self.put_record_pair(record, if_ours)
            }
            (written, _) => written,
        }
    }

    fn put_record_pair(&mut self, record: &Record, if_ours: bool) -> Result<(), TokenError> {
        self.try_record_pair()?;
        self.renumber()?;
        let (label, value) = (owner_label(&self.config), record.to_id());
        let folder = record.folder.as_str();
        let put = |session: &OpenToken| {
            session.replace_record_pair(&label, value.as_bytes(), |old| {
                is_of(Record::from_id(old), folder)
            })?;
            // What holds a journal goes once that is kept: `keep_own_record_only`.
            session.destroy_data(&label, |old| {
                is_of(decode(old).ok().filter(|old| old.journal.is_none()), folder)
            })
        };
        let written =
            self.try_making(Kind::RecordPair, |token_state| token_state.session_for(if_ours, put));
        match written {
            Err(error) if error.refuses_pair() => self.takes_records().and(Err(error)),
            written => written,
        }
    }

    fn session_for(
        &mut self,
        if_ours: bool,
        put: impl Fn(&OpenToken) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        if if_ours { self.with_session_if_ours(put) } else { self.with_session(put) }
    }

    /// Takes a claim back. What the record held of the journal stays, for the next owner of the token.
    pub fn withdraw(&mut self, record: &Record) -> Result<(), TokenError> {
        if record.journal.is_none() {
            let (label, folder) = (owner_label(&self.config), &record.folder);
            return self
                .in_session(|session| destroy(session, &label, |old| old.folder == *folder));
        }
        let change = record.change + 1;
        self.write_record(&Record { epoch: 0, released: true, change, ..record.clone() })
    }

    /// Keeps the journal in the own record, if it is not there, and destroys what it was merged from: the
    /// records of other folders, and copies that older versions made.
    ///
    /// # Errors
    /// [`TokenError::LeaseExpired`] if the token is not ours; else what keeps it from being written.
    pub fn keep_own_record_only(&mut self, journal: &[u8]) -> Result<(), TokenError> {
        let Some(claim) = &self.claim else { return Ok(()) };
        let folder = claim.record.folder.clone();
        match self.write_journal(journal) {
            // Where the record is a key pair, the file alone counts.
            Ok(()) | Err(TokenError::NoCopy(_)) => {}
            Err(error) => return Err(error),
        }
        let old = self.old_journal_label();
        if !self.read_old_journal_copies()?.is_empty() {
            self.in_session_if_ours(|session| session.destroy_data(&old, |_| true))?;
        }
        // Beside a key pair, what its folder has left in a data object.
        let is_pair = self.takes_objects().is_err();
        let goes = |record: &Record| record.folder != folder || is_pair && record.journal.is_some();
        if self.records()?.iter().any(goes) {
            self.destroy_records(goes)?;
        }
        Ok(())
    }

    /// Whether there is something on the token to be merged, although it is ours: records of other folders, one of
    /// our own beside the key pair that has replaced it, and copies that older versions made.
    ///
    /// # Errors
    /// [`TokenError::UnknownRecord`], or what keeps the token from being read.
    pub fn holds_others(&mut self) -> Result<bool, TokenError> {
        let Some(claim) = &self.claim else { return Ok(false) };
        let folder = claim.record.folder.clone();
        let records = self.records()?;
        let others = records.len() > 1 || records.iter().any(|record| record.folder != folder);
        Ok(others || !self.read_old_journal_copies()?.is_empty())
    }

    fn destroy_records(&mut self, which: impl Fn(&Record) -> bool) -> Result<(), TokenError> {
        let label = owner_label(&self.config);
        self.in_session_if_ours(|session| destroy(session, &label, &which))
    }
}

pub(super) fn owner_label(config: &TokenConfig) -> String {
    format!("{}:owner", config.key_label)
}

/// The records with this label, of either kind.
pub(super) fn read_all(session: &OpenToken, label: &str) -> Result<Vec<Record>, TokenError> {
    let values = session.read_data(label)?;
    let records: Result<Vec<_>, _> = values.iter().map(|value| decode(value)).collect();
    let mut records = records?;
    for id in session.read_record_pairs(label)?.iter().filter(|id| id.len() > TRIED) {
        records.push(Record::from_id(id).ok_or(TokenError::UnknownRecord)?);
    }
    Ok(records)
}

fn destroy(
    session: &OpenToken,
    label: &str,
    which: impl Fn(&Record) -> bool,
) -> Result<(), TokenError> {
    session.destroy_data(label, |old| decode(old).is_ok_and(|old| which(&old)))?;
    session.destroy_record_pairs(label, |old| Record::from_id(old).is_some_and(|old| which(&old)))
}

fn is_of(record: Option<Record>, folder: &str) -> bool {
    record.is_some_and(|record| record.folder == folder)
}

fn encode(record: &Record) -> Result<Vec<u8>, TokenError> {
    serde_json::to_vec(record).map_err(|_| TokenError::Nonsense("a record that can't be written"))
}

fn decode(value: &[u8]) -> Result<Record, TokenError> {
    serde_json::from_slice(value).map_err(|_| TokenError::UnknownRecord)
}
