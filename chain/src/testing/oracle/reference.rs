//! The payload rules of docs/formats.md §3 a second time, on top of serde_json and by other means than the
//! scanner's: what the two disagree on is a bug in one of them.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::payload::MAX_LEVELS;

/// Whether the rules accept `data`; `None` where serde_json cannot say, which is for numbers that
/// overflow its floats.
pub(super) fn accepts(data: &[u8]) -> Option<bool> {
    let Ok(text) = std::str::from_utf8(data) else { return Some(false) };
    if !text.starts_with('{') || has_blanks(text) {
        return Some(false);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    match Level(1).deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => Some(true),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

fn has_blanks(text: &str) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    text.chars().any(|c| {
        if escaped {
            escaped = false;
        } else if c == '"' {
            in_string = !in_string;
        } else if c == '\\' {
            escaped = in_string;
        }
        !in_string && matches!(c, ' ' | '\t' | '\n' | '\r')
    })
}

/// A value that would open a level of this depth if it is an object or array.
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Level {
    fn inner<E: Error>(&self) -> Result<usize, E> {
        if self.0 > MAX_LEVELS { Err(E::custom("too deep")) } else { Ok(self.0 + 1) }
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while elements.next_element_seed(Level(inner))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name twice"));
            }
            members.next_value_seed(Level(inner))?;
        }
        Ok(())
    }
}
