//! The payloads that may be signed: JSON under the rules of docs/formats.md §3, kept byte for byte.
//!
//! The rules leave no room for two readers to see different things in one text, so a payload is
//! checked once, on the way in, and then copied but never printed again.

mod names;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

pub use names::NameError;

/// The deepest nesting allowed, the outermost object being level 1.
pub const MAX_LEVELS: usize = 32;

/// One JSON object that keeps the rules of docs/formats.md §3: no blanks outside strings, at most
/// [`MAX_LEVELS`] levels, no name twice in an object after unescaping, no lone surrogates. It keeps
/// the exact bytes and puts no bound on their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    text: String,
    members: Vec<Member>,
    /// Whether a name at any depth holds U+0000.
    nul_in_name: bool,
}

/// The purposes of what the daemon signs for itself: no caller's payload and no leaf has one.
pub const RESERVED_PURPOSES: [&str; 4] =
    [crate::batch::PURPOSE, crate::head::PURPOSE, "health", crate::event::PURPOSE];

/// Whether a purpose is one of [`RESERVED_PURPOSES`].
pub fn is_reserved(purpose: &str) -> bool {
    RESERVED_PURPOSES.contains(&purpose)
}

/// Where a top-level member stands in the text; both ranges of strings include the quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

/// The first rule of docs/formats.md §3 that a payload breaks. Offsets are in bytes from the start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// The text begins with a byte order mark.
    #[error("begins with a byte order mark")]
    ByteOrderMark,
    /// The text is not an object.
    #[error("not a JSON object")]
    NotObject,
    /// A space, tab or line break outside a string.
    #[error("blank outside a string at byte {at}")]
    Blank {
        /// Where it stands.
        at: usize,
    },
    /// Not JSON.
    #[error("malformed JSON at byte {at}")]
    Syntax {
        /// The first byte that no JSON text could have there.
        at: usize,
    },
    /// More than [`MAX_LEVELS`] levels.
    #[error("more than 32 levels deep at byte {at}")]
    TooDeep {
        /// Where the level too many opens.
        at: usize,
    },
    /// An object has two members of one name.
    #[error("an object that ends at byte {at} has a name twice")]
    DuplicateName {
        /// Where the object closes.
        at: usize,
    },
    /// An escape that is half of a surrogate pair.
    #[error("lone surrogate at byte {at}")]
    LoneSurrogate {
        /// Where the escape begins.
        at: usize,
    },
}

impl Payload {
    /// Checks `bytes` against the rules and keeps them; a `Vec<u8>` or `String` is not copied.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, PayloadError> {
        let text = String::from_utf8(bytes.into())
            .map_err(|error| PayloadError::NotUtf8(error.utf8_error()))?;
        let scan::Object { members, nul_in_name } = scan::object(&text)?;
        Ok(Self { text, members, nul_in_name })
    }

    /// The exact text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives the text away, without a copy.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Whether the object has a top-level member of this name, however the name is escaped.
    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The exact JSON text of a top-level member's value.
    pub fn member(&self, name: &str) -> Option<&str> {
        let member = self.members.iter().find(|member| self.names(member, name))?;
        Some(&self.text[member.value.clone()])
    }

    /// The value of a top-level member that is a string, unescaped; `None` for other values.
    pub fn string(&self, name: &str) -> Option<String> {
        self.member(name).filter(|value| value.starts_with('"')).map(scan::unescape)
    }

    fn names(&self, member: &Member, name: &str) -> bool {
        self.unescaped(&member.name) == name
    }

    /// A scanned string, without its quotes and escapes.
    fn unescaped(&self, string: &Range<usize>) -> Cow<'_, str> {
        scan::unescaped(&self.text[string.clone()])
    }
}

/// Checks a payload that stands inside a larger text, without keeping it.
pub(crate) fn check(text: &str) -> Result<(), PayloadError> {
    scan::object(text).map(drop)
}
