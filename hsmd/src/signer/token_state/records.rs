//! The records of the token's owners, as this token's thread reads and writes them.

use super::TokenState;
use crate::config::TokenConfig;
use crate::ownership::Record;
use crate::ownership::rules::Snapshot;
use crate::token::{OpenToken, TokenError};

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
        self.with_session(|session| decode_all(&session.read_data(&label)?))
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

    /// Makes this the one record of its folder; the new one is there before the old one goes.
    ///
    /// # Errors
    /// [`TokenError::NoCopy`] if it gets no data object, for a reason that Status and `check` say; else
    /// what keeps it from being written.
    pub fn write_record(&mut self, record: &Record) -> Result<(), TokenError> {
        let (label, value) = (owner_label(&self.config), encode(record)?);
        self.put_object(|token_state| {
            token_state.with_session(|session| replace(session, &label, &value, &record.folder))
        })
    }

    /// Replaces the record of the claim that this daemon holds, after a look in the same job.
    ///
    /// # Errors
    /// As [`write_record`](Self::write_record), or the token is not ours.
    pub(super) fn replace_own_record(&mut self, record: Record) -> Result<(), TokenError> {
        let record = Record { change: record.change + 1, ..record };
        let (label, value) = (owner_label(&self.config), encode(&record)?);
        self.put_object(|token_state| {
            token_state
                .with_session_if_ours(|session| replace(session, &label, &value, &record.folder))
        })?;
        if let Some(claim) = &mut self.claim {
            claim.record = record;
        }
        Ok(())
    }

    /// Takes a claim back. What the record held of the journal stays, for the next owner of the token.
    pub fn withdraw(&mut self, record: &Record) -> Result<(), TokenError> {
        if record.journal.is_none() {
            let (label, folder) = (owner_label(&self.config), &record.folder);
            let own = |value: &[u8]| decode(value).is_ok_and(|own| own.folder == *folder);
            return self.in_session(|session| session.destroy_data(&label, own));
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
        self.write_journal(journal)?;
        let old = self.old_journal_label();
        if !self.read_old_journal_copies()?.is_empty() {
            self.in_session_if_ours(|session| session.destroy_data(&old, |_| true))?;
        }
        if self.records()?.iter().any(|record| record.folder != folder) {
            self.destroy_records(|record| record.folder != folder)?;
        }
        Ok(())
    }

    fn destroy_records(&mut self, which: impl Fn(&Record) -> bool) -> Result<(), TokenError> {
        let label = owner_label(&self.config);
        let which = |value: &[u8]| decode(value).is_ok_and(|record| which(&record));
        self.in_session_if_ours(|session| session.destroy_data(&label, which))
    }
}

pub(super) fn owner_label(config: &TokenConfig) -> String {
    format!("{}:owner", config.key_label)
}

fn replace(session: &OpenToken, label: &str, value: &[u8], folder: &str) -> Result<(), TokenError> {
    let replaces = |old: &[u8]| decode(old).is_ok_and(|old| old.folder == folder);
    session.replace_data(label, value, replaces)
}

fn encode(record: &Record) -> Result<Vec<u8>, TokenError> {
    serde_json::to_vec(record).map_err(|_| TokenError::Nonsense("a record that can't be written"))
}

pub(super) fn decode_all(values: &[Vec<u8>]) -> Result<Vec<Record>, TokenError> {
    values.iter().map(|value| decode(value)).collect()
}

fn decode(value: &[u8]) -> Result<Record, TokenError> {
    serde_json::from_slice(value).map_err(|_| TokenError::UnknownRecord)
}
