//! Settings with a unit, for serde's `deserialize_with`.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// A duration in the syntax of humantime, like `"12h"` or `"500ms"`. A number without a unit is refused.
///
/// # Errors
/// The text is no duration.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(D::Error::custom)
}

/// A number of bytes: `65536`, or a text like `"64KiB"`, `"8 MiB"`, `"1GiB"`, `"512B"`.
///
/// # Errors
/// The text is no size, or the number is negative or too large.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    deserializer.deserialize_any(Size)
}

struct Size;

impl Visitor<'_> for Size {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a text like \"64KiB\"")
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<usize, E> {
        usize::try_from(bytes).map_err(|_| E::custom("a size is not negative"))
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<usize, E> {
        usize::try_from(bytes).map_err(|_| E::custom("the size is too large"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        bytes(text).ok_or_else(|| {
            E::custom(format!("{text:?} is no size: use B, KiB, MiB or GiB, like \"64KiB\""))
        })
    }
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        #[serde(default, deserialize_with = "size")]
        size: usize,
        #[serde(default, deserialize_with = "duration")]
        time: Duration,
    }

    fn parse(json: &str) -> Result<Settings, String> {
        serde_json::from_str(json).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (json, expected) in [
            ("7", 7),
            ("\"7B\"", 7),
            ("\"64KiB\"", 65536),
            ("\"8 MiB\"", 8 << 20),
            ("\"1GiB\"", 1 << 30),
        ] {
            assert_eq!(parse(&format!("{{\"size\":{json}}}")).unwrap().size, expected, "{json}");
        }
        for json in
            ["-1", "\"\"", "\"7\"", "\"KiB\"", "\"7kb\"", "\"1.5MiB\"", "\"99999999999GiB\""]
        {
            assert!(parse(&format!("{{\"size\":{json}}}")).is_err(), "{json}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse(r#"{"time":"2m"}"#).unwrap().time, Duration::from_secs(120));
        assert!(parse(r#"{"time":"60"}"#).unwrap_err().contains("time unit"));
        assert!(parse(r#"{"time":60}"#).is_err());
    }
}
