//! A scanner that accepts exactly the JSON texts of docs/formats.md §3.
//!
//! Written out rather than layered on a general parser, because the general ones hide what must be
//! refused: blanks, names that differ only in escapes, halves of surrogate pairs in skipped values.

use std::borrow::Cow;
use std::ops::Range;

use super::{MAX_LEVELS, Member, PayloadError};

/// What a scan says of an object.
pub(super) struct Object {
    /// Where its members stand.
    pub(super) members: Vec<Member>,
    /// Whether a name at any depth holds U+0000.
    pub(super) nul_in_name: bool,
}

/// Scans `text` as one object.
pub(super) fn object(text: &str) -> Result<Object, PayloadError> {
    if text.starts_with('\u{feff}') {
        return Err(PayloadError::ByteOrderMark);
    }
    let mut scanner =
        Scanner { text, bytes: text.as_bytes(), at: 0, names: Vec::new(), nul_in_name: false };
    match scanner.peek() {
        Some(b'{') => {}
        Some(b' ' | b'\t' | b'\n' | b'\r') => return Err(PayloadError::Blank { at: 0 }),
        _ => return Err(PayloadError::NotObject),
    }
    let mut members = Vec::with_capacity(8);
    scanner.object(1, Some(&mut members))?;
    if scanner.at < scanner.bytes.len() {
        return Err(scanner.unexpected());
    }
    Ok(Object { members, nul_in_name: scanner.nul_in_name })
}

/// The value of a scanned string, given with its quotes.
pub(super) fn unescape(quoted: &str) -> String {
    #[expect(clippy::expect_used, reason = "the scanner accepts JSON strings only")]
    serde_json::from_str(quoted).expect("a scanned string is a JSON string")
}

/// As [`unescape`], borrowed where there is no escape.
pub(super) fn unescaped(quoted: &str) -> Cow<'_, str> {
    if quoted.contains('\\') {
        Cow::Owned(unescape(quoted))
    } else {
        Cow::Borrowed(&quoted[1..quoted.len() - 1])
    }
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The names of all open objects, innermost last: one allocation for any depth.
    names: Vec<Cow<'a, str>>,
    nul_in_name: bool,
}

impl<'a> Scanner<'a> {
    fn value(&mut self, level: usize) -> Result<(), PayloadError> {
        match self.peek() {
            Some(b'{') => self.object(level, None),
            Some(b'[') => self.array(level),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected()),
        }
    }

    /// Scans an object as `level`; tells the members of the outermost one.
    fn object(
        &mut self,
        level: usize,
        mut members: Option<&mut Vec<Member>>,
    ) -> Result<(), PayloadError> {
        self.enter(level)?;
        let first_name = self.names.len();
        if !self.skip(b'}') {
            loop {
                let name = self.string()?;
                let unescaped = self.name(&name);
                self.nul_in_name |= unescaped.contains('\0');
                self.names.push(unescaped);
                self.expect(b':')?;
                let start = self.at;
                self.value(level + 1)?;
                if let Some(members) = members.as_deref_mut() {
                    members.push(Member { name, value: start..self.at });
                }
                if !self.skip(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        let names = &mut self.names[first_name..];
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(PayloadError::DuplicateName { at: self.at - 1 });
        }
        self.names.truncate(first_name);
        Ok(())
    }

    fn array(&mut self, level: usize) -> Result<(), PayloadError> {
        self.enter(level)?;
        if self.skip(b']') {
            return Ok(());
        }
        loop {
            self.value(level + 1)?;
            if !self.skip(b',') {
                return self.expect(b']');
            }
        }
    }

    /// Steps over an opening bracket.
    fn enter(&mut self, level: usize) -> Result<(), PayloadError> {
        if level > MAX_LEVELS {
            return Err(PayloadError::TooDeep { at: self.at });
        }
        self.at += 1;
        Ok(())
    }

    /// Scans a string and returns where it stands, quotes included.
    fn string(&mut self) -> Result<Range<usize>, PayloadError> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return Err(PayloadError::Syntax { at: self.at }),
            }
        }
    }

    fn escape(&mut self) -> Result<(), PayloadError> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xd800..=0xdbff => {
                    let paired = self.skip(b'\\')
                        && self.peek() == Some(b'u')
                        && matches!(self.unit()?, 0xdc00..=0xdfff);
                    if paired { Ok(()) } else { Err(PayloadError::LoneSurrogate { at: start }) }
                }
                0xdc00..=0xdfff => Err(PayloadError::LoneSurrogate { at: start }),
                _ => Ok(()),
            },
            _ => Err(PayloadError::Syntax { at: self.at }),
        }
    }

    /// Scans `u` with its four hexadecimal digits and returns the UTF-16 code unit.
    fn unit(&mut self) -> Result<u32, PayloadError> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or(PayloadError::Syntax { at: self.at })?;
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), PayloadError> {
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _signed = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), PayloadError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected()) } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<(), PayloadError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(PayloadError::Syntax { at: self.at })
    }

    fn name(&self, name: &Range<usize>) -> Cow<'a, str> {
        unescaped(&self.text[name.clone()])
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), PayloadError> {
        if self.skip(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> PayloadError {
        match self.peek() {
            Some(b' ' | b'\t' | b'\n' | b'\r') => PayloadError::Blank { at: self.at },
            _ => PayloadError::Syntax { at: self.at },
        }
    }
}
