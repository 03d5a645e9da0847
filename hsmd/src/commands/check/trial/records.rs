//! What may hold the record of the token's owner, and whether it is quick enough for a claim.

use std::time::Instant;

use hsmd_support::chain;

use super::{AFTER_DATA, DATA, Trial};
use crate::config::JournalCopy;
use crate::token::{OpenToken, TokenError};

/// As long as a record.
const TRIED_RECORD: &[u8] = b"1:00000000000000000000000000000000:3000:1000:0:1";

impl Trial {
    /// The journal's copy is a data object; the call after it shows whether the module kept a lock. Without one,
    /// the record of the token's owner is a key pair.
    pub(super) fn data(&self, token: OpenToken) -> Result<OpenToken, TokenError> {
        if self.config.journal_copy == JournalCopy::Never {
            return self.record_pair(token);
        }
        self.begins(DATA);
        let label = self.data_label();
        let written = token.write_data(&label, b"1").and_then(|()| token.write_data(&label, b"2"));
        self.begins(AFTER_DATA);
        token.inventory()?;
        match written {
            Ok(()) => {
                self.good("try: data", "a data object is written and replaced");
                self.claim_wait(&token, || token.write_data(&label, b"3"))?;
                Ok(token)
            }
            Err(error) => {
                self.note(
                    "try: data",
                    &format!(
                        "{}: the journal's file alone counts; set journal_copy = false",
                        chain(&error)
                    ),
                );
                self.record_pair(token)
            }
        }
    }

    fn record_pair(&self, token: OpenToken) -> Result<OpenToken, TokenError> {
        if self.config.lock_file.is_some() {
            return Ok(token);
        }
        let token = if token.handles_are_stale() { self.fresh(Some(token))? } else { token };
        self.begins("making a key pair that is a record");
        let label = self.data_label();
        let write = |value: &[u8]| token.replace_record_pair(&label, value, |_| true);
        match write(TRIED_RECORD).and_then(|()| write(b"2")) {
            Ok(()) => {
                self.good("try: record", "a key pair that is a record is made and replaced");
                self.claim_wait(&token, || write(b"3"))?;
            }
            Err(error) => self.note(
                "try: record",
                &format!("{}: the token holds no record of its owner", chain(&error)),
            ),
        }
        Ok(token)
    }

    /// Whether a job that another daemon has begun ends before a claim's wait is half over: a look at what
    /// is there, and a change.
    fn claim_wait(
        &self,
        token: &OpenToken,
        change: impl FnOnce() -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        if self.config.lock_file.is_some() {
            return Ok(());
        }
        self.begins("a look and a change");
        let (began, label) = (Instant::now(), self.data_label());
        token.read_data(&label)?;
        token.read_record_pairs(&label)?;
        token.inventory()?;
        change()?;
        let took = began.elapsed();
        let (took, wait) = (took.as_millis(), self.claim_wait.as_millis());
        if took * 2 <= wait {
            let finding = format!("a look and a change take {took} ms: claim_wait is long enough");
            self.good("try: claim", &finding);
        } else {
            let finding = format!(
                "a look and a change take {took} ms: claim_wait is {wait} ms and has to be twice as long \
                 at least, on all daemons"
            );
            self.bad("try: claim", finding);
        }
        Ok(())
    }
}
