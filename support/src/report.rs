//! What a `check` command found: a line for each thing that was looked at.

use std::fmt::Display;

use crate::chain;

/// The lines so far, and how many of them say that something is wrong.
#[derive(Clone, Debug, Default)]
pub struct Report {
    text: String,
    bad: usize,
    fatal: usize,
}

impl Report {
    /// Something is as it should be.
    pub fn good(&mut self, what: &str, finding: impl Display) {
        self.line("ok ", what, finding);
    }

    /// Something is wrong: what, and what to do.
    pub fn bad(&mut self, what: &str, finding: impl Display) {
        self.bad += 1;
        self.line("BAD", what, finding);
    }

    /// Something is wrong that lets nothing begin, and is no thing to wait for.
    pub fn fatal(&mut self, what: &str, finding: impl Display) {
        self.fatal += 1;
        self.bad(what, finding);
    }

    /// Something that a person should know.
    pub fn note(&mut self, what: &str, finding: impl Display) {
        self.line("-  ", what, finding);
    }

    /// What all of it comes to.
    pub fn conclusion(&mut self, what: &str, finding: impl Display) {
        self.line("=> ", what, finding);
    }

    /// The outcome of one look: its finding, or the error with its causes.
    pub fn outcome<E: std::error::Error + 'static>(
        &mut self,
        what: &str,
        outcome: Result<impl Display, E>,
    ) {
        match outcome {
            Ok(finding) => self.good(what, finding),
            Err(error) => self.bad(what, chain(&error)),
        }
    }

    /// All lines.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many things are wrong.
    #[must_use]
    pub fn bad_count(&self) -> usize {
        self.bad
    }

    /// How many of them let nothing begin.
    #[must_use]
    pub fn fatal_count(&self) -> usize {
        self.fatal
    }

    fn line(&mut self, mark: &str, what: &str, finding: impl Display) {
        self.text.push_str(&format!("{mark}  {what:<14} {finding}\n"));
    }
}
