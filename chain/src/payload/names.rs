//! Names that Sign refuses, because some parsers take them for other names.
//!
//! A parser that folds case (Go's encoding/json) reads `PublicKey` as `publicKey`, and one that cuts
//! strings at U+0000 reads `purpose\u0000` as `purpose`: to them a document may be an endorsement.

use super::Payload;

/// The members of an endorsement, case folded.
const FOLDED: [&str; 3] = ["purpose", "publickey", "expiration"];

/// Why a payload may not be signed, though it keeps the rules of docs/formats.md §3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A top-level name is or becomes a member of an endorsement other than `purpose`.
    #[error("the top-level name {0:?} could pass for a member of an endorsement")]
    Endorsement(String),
    /// A name holds U+0000.
    #[error("a name holds U+0000")]
    Nul,
}

impl Payload {
    /// Checks the names as Sign does: a top-level one that becomes `purpose`, `publicKey` or
    /// `expiration` when case is folded must be exactly `purpose`, and none at any depth may hold
    /// U+0000. Readers do not ask this.
    pub fn check_names(&self) -> Result<(), NameError> {
        if self.nul_in_name {
            return Err(NameError::Nul);
        }
        let mut names = self.members.iter().map(|member| self.unescaped(&member.name));
        match names.find(|name| name != "purpose" && FOLDED.contains(&&*fold(name))) {
            Some(name) => Err(NameError::Endorsement(name.into_owned())),
            None => Ok(()),
        }
    }
}

/// Folds case as Go does: ASCII, and the two other characters that fold to ASCII letters.
fn fold(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}
