//! The journal's copy on the token: optional, and never tried twice against the token's will.
//!
//! It is part of the folder's record (`records`), or, where there is none, an object of its own, as older
//! versions made it. Many tokens hold no data objects, and one module (yubihsm_pkcs11 2.4 to 2.8) refuses
//! some and keeps its lock, so that the next call never returns: see `first_tries`.

use super::TokenState;
use super::first_tries::Kind;
use crate::config::JournalCopy;
use crate::ownership::Record;
use crate::token::TokenError;

impl TokenState {
    /// The journal's copies on the token: those in the records of all folders, and older ones.
    ///
    /// # Errors
    /// [`TokenError`]: as the token answered.
    pub fn read_journal(&mut self) -> Result<Vec<Vec<u8>>, TokenError> {
        let mut copies = self.read_old_journal_copies()?;
        let journals = self.records()?.into_iter().filter_map(|record| record.journal);
        copies.extend(journals.filter_map(|journal| serde_json::to_vec(&journal).ok()));
        Ok(copies)
    }

    /// The copies that are objects of their own.
    pub(super) fn read_old_journal_copies(&mut self) -> Result<Vec<Vec<u8>>, TokenError> {
        let label = self.old_journal_label();
        let copies = self.with_session(|session| session.read_data(&label));
        self.report_copy();
        copies
    }

    /// Replaces the journal's copy on the token.
    ///
    /// # Errors
    /// [`TokenError::NoCopy`] with a reason that Status and `check` say, or as the token answered.
    pub fn write_journal(&mut self, value: &[u8]) -> Result<(), TokenError> {
        if let Some(claim) = &self.claim {
            // A record that is a key pair holds no journal.
            self.takes_objects()?;
            let journal = journal_value(value)?;
            if claim.record.journal.as_ref() == Some(&journal) {
                return Ok(());
            }
            let record = Record { journal: Some(journal), ..claim.record.clone() };
            return self.replace_own_record(record);
        }
        let label = self.old_journal_label();
        self.put_object(|token_state| {
            token_state.with_session_if_ours(|session| session.write_data(&label, value))
        })
    }

    /// Makes a data object, unless the token is known to take none.
    pub(super) fn put_object(
        &mut self,
        put: impl FnOnce(&mut Self) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        self.with_session(|_| Ok(()))?;
        self.takes_objects()?;
        self.renumber()?;
        let written = self.try_making(Kind::Data, put);
        self.report_copy();
        written
    }

    /// Replaces the journal's copies by this one where the token holds any, whichever folder made them.
    pub fn replace_journals(&mut self, value: &[u8]) -> Result<(), TokenError> {
        if !self.read_old_journal_copies()?.is_empty() {
            let label = self.old_journal_label();
            self.put_object(|token_state| {
                token_state.with_session(|session| session.write_data(&label, value))
            })?;
        }
        let journal = journal_value(value)?;
        let records = self.records()?.into_iter().filter(|record| record.journal.is_some());
        for record in records {
            let change = record.change + 1;
            self.write_record(&Record { change, journal: Some(journal.clone()), ..record })?;
        }
        Ok(())
    }

    /// Refuses where the token is known to take no data object.
    ///
    /// # Errors
    /// [`TokenError::NoCopy`] with the reason, [`TokenError::CopyNote`].
    pub fn takes_objects(&self) -> Result<(), TokenError> {
        self.without_copy()?.map_or(Ok(()), |reason| Err(TokenError::NoCopy(reason)))
    }

    /// Why the token gets no copy; none when it does.
    fn without_copy(&self) -> Result<Option<String>, TokenError> {
        if self.config.journal_copy == JournalCopy::Never {
            return Ok(Some("journal_copy = false".into()));
        }
        self.refusal(Kind::Data)
    }

    /// Tells Status and `check`; of a token that holds no record of its owner, that, too.
    pub(super) fn report_copy(&self) {
        let reason = match self.takes_records() {
            Err(TokenError::NoRecord(reason)) => {
                Ok(Some(format!("{reason}; no record of its owner")))
            }
            _ => self.without_copy(),
        };
        let reason = reason.unwrap_or_else(|error| Some(error.to_string()));
        self.report.lock().no_journal_copy = reason;
    }

    pub(super) fn old_journal_label(&self) -> String {
        format!("hsmd-journal:{}", self.config.key_label)
    }
}

fn journal_value(bytes: &[u8]) -> Result<serde_json::Value, TokenError> {
    serde_json::from_slice(bytes)
        .map_err(|_| TokenError::Nonsense("a journal that can't be written"))
}
