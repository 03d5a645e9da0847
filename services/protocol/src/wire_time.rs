//! Instants as devices and other servers write them.

use std::{fmt, str::FromStr};

use hsmd_chain::time::{Timestamp, TimestampError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Digits that may follow the three of a [`Timestamp`].
const FINER: usize = 6;

/// An instant that is written with three to nine fraction digits: published clients and servers send
/// nine. Rules compare whole milliseconds, what is finer is cut off; the text keeps all digits, since it
/// is compared with what was signed. Our own times have three.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WireTime {
    at: Timestamp,
    finer: [u8; FINER],
    /// How many of these there are.
    count: usize,
}

impl WireTime {
    /// The instant in whole milliseconds.
    #[must_use]
    pub fn at(self) -> Timestamp {
        self.at
    }
}

impl From<Timestamp> for WireTime {
    fn from(at: Timestamp) -> Self {
        Self { at, finer: [b'0'; FINER], count: 0 }
    }
}

impl FromStr for WireTime {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let (millis, rest) =
            text.split_at_checked(Timestamp::LENGTH - 1).ok_or(TimestampError::Form)?;
        let digits = rest.strip_suffix('Z').ok_or(TimestampError::Form)?.as_bytes();
        if digits.len() > FINER || !digits.iter().all(u8::is_ascii_digit) {
            return Err(TimestampError::Form);
        }
        let mut time = Self::from(format!("{millis}Z").parse::<Timestamp>()?);
        time.finer[..digits.len()].copy_from_slice(digits);
        time.count = digits.len();
        Ok(time)
    }
}

impl fmt::Display for WireTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.at.to_text();
        let (millis, z) = text.split_at(Timestamp::LENGTH - 1);
        for part in [millis, &self.finer[..self.count], z] {
            f.write_str(std::str::from_utf8(part).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for WireTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_to_nine_digits_are_read_cut_off_and_written_as_they_came() {
        for digits in ["123", "1239", "123999", "1239999", "123000000", "123999999"] {
            let text = format!("2026-11-22T11:22:33.{digits}Z");
            let time: WireTime = text.parse().unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(time.at().to_string(), "2026-11-22T11:22:33.123Z");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for end in [
            "33Z",
            "33.Z",
            "33.1Z",
            "33.12Z",
            "33.1234567890Z",
            "33.123",
            "33.123456789",
            "33.12345678xZ",
            "33.123456789z",
            "33.123456789+00:00",
            "33,123456789Z",
            "33.123 Z",
            "60.123456789Z",
        ] {
            let text = format!("2026-11-22T11:22:{end}");
            assert!(text.parse::<WireTime>().is_err(), "{text}");
        }
        assert!("2026-02-29T11:22:33.123456789Z".parse::<WireTime>().is_err());
        assert!("2026-11-22T11:22:33.12éZ".parse::<WireTime>().is_err());
    }
}
