//! What became of the first try to make an object of a kind that many tokens do not hold. It is kept in
//! `state_dir` before and after the try: a token that refused, or in whose first try the process ended, is not
//! asked again.

use std::path::PathBuf;

use hsmd_support::durable;
use serde::{Deserialize, Serialize};

use super::TokenState;
use crate::token::{Class, TokenError};

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Data objects: the record of the token's owner with the journal's copy.
    Data,
    /// Key pairs whose CKA_ID is the record of the token's owner.
    RecordPair,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Data => "journal-copy",
            Self::RecordPair => "owner-pair",
        }
    }

    /// Whether the token itself refuses such an object, rather than being lost. One that has held them is not
    /// taken for another because it fails once.
    fn is_refused_by(self, error: &TokenError, first: bool) -> bool {
        match self {
            Self::Data => error.refuses_object() && (first || error.class() == Class::Caller),
            Self::RecordPair => error.refuses_pair() && (first || error.is_refused_destruction()),
        }
    }
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Known {
    /// The first one is being made, or the process ended while it was.
    Trying,
    /// The token holds them.
    Works,
    /// The token refused one, with this error.
    Refused(String),
}

impl TokenState {
    /// Does what makes an object of this kind, and notes what became of the first one.
    pub(super) fn try_making(
        &mut self,
        kind: Kind,
        make: impl FnOnce(&mut Self) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let first = self.known(kind)?.is_none();
        // No module is known to hang at a key pair, and hsmd makes them anyway.
        if first && kind == Kind::Data {
            self.note(kind, &Known::Trying)?;
        }
        let made = make(self);
        match &made {
            Ok(()) if first => self.note(kind, &Known::Works)?,
            Err(error) if kind.is_refused_by(error, first) => {
                tracing::warn!(%error, ?kind, "the token refuses such an object: not tried again");
                self.note(kind, &Known::Refused(error.to_string()))?;
            }
            // The token was not there: that says nothing of what it holds.
            Err(_) if first => self.forget(kind)?,
            _ => {}
        }
        made
    }

    /// Whether none of this kind was ever tried.
    pub(super) fn is_first(&self, kind: Kind) -> Result<bool, TokenError> {
        Ok(self.known(kind)?.is_none())
    }

    /// Why none of this kind is made; none when they are.
    pub(super) fn refusal(&self, kind: Kind) -> Result<Option<String>, TokenError> {
        let path = self.note_path(kind)?;
        Ok(match self.known(kind)? {
            None | Some(Known::Works) => None,
            Some(Known::Trying) => Some(format!(
                "the process ended while it made the first one; to have it tried again, remove {}",
                path.display()
            )),
            Some(Known::Refused(error)) => Some(format!(
                "the token refused one ({error}); to have it tried again, remove {}",
                path.display()
            )),
        })
    }

    /// Known once the token has been open.
    fn note_path(&self, kind: Kind) -> Result<PathBuf, TokenError> {
        let key = self.token_key.as_ref().ok_or_else(|| self.closed())?;
        Ok(self.state_dir.join(format!("{}-{key}.json", kind.file())))
    }

    fn known(&self, kind: Kind) -> Result<Option<Known>, TokenError> {
        let path = self.note_path(kind)?;
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(known) => Ok(Some(known)),
                Err(error) => Ok(Some(Known::Refused(format!("a damaged note: {error}")))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TokenError::CopyNote { path, source }),
        }
    }

    fn note(&self, kind: Kind, known: &Known) -> Result<(), TokenError> {
        let path = self.note_path(kind)?;
        let written = serde_json::to_vec(known)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&path, &bytes));
        written.map_err(|source| TokenError::CopyNote { path, source })
    }

    fn forget(&self, kind: Kind) -> Result<(), TokenError> {
        let path = self.note_path(kind)?;
        durable::remove(&path).map_err(|source| TokenError::CopyNote { path, source })
    }
}
