//! Instants as other systems write them (RFC 3339): up to nine fraction digits, of which three are kept, and
//! an offset in place of `Z`.

use hsmd_chain::Timestamp;

/// Reads `2026-11-22T11:22:33Z` with 0 to 9 fraction digits, also with `+01:00` in place of `Z`. What is finer
/// than a millisecond is cut off, so the result is never later.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (local, offset) = split_offset(text)?;
    let (seconds, fraction) = match local.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (local, ""),
    };
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let local: Timestamp = format!("{seconds}.{digits}Z").parse().ok()?;
    Timestamp::from_unix_millis(local.unix_millis() - offset).ok()
}

/// The local time, and by how many milliseconds it is ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix('Z') {
        return Some((local, 0));
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, rest) = offset.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let number = |text: &str, limit| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| digits && *number < limit)
    };
    Some((local, sign * (number(hours, 24)? * 60 + number(minutes, 60)?) * 60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_any_length_are_cut_to_milliseconds() {
        for (text, expected) in [
            ("2026-11-22T11:22:33Z", "2026-11-22T11:22:33.000Z"),
            ("2026-11-22T11:22:33.5Z", "2026-11-22T11:22:33.500Z"),
            ("2026-11-22T11:22:33.044Z", "2026-11-22T11:22:33.044Z"),
            ("2026-11-22T11:22:33.044999999Z", "2026-11-22T11:22:33.044Z"),
            ("2026-11-22T11:22:33.044999+00:00", "2026-11-22T11:22:33.044Z"),
            ("2026-11-22T00:22:33.5+01:30", "2026-11-21T22:52:33.500Z"),
            ("2026-12-31T23:22:33-01:00", "2027-01-01T00:22:33.000Z"),
        ] {
            assert_eq!(parse(text).map(|instant| instant.to_string()).as_deref(), Some(expected));
        }
        for text in [
            "2026-11-22T11:22:33.Z",
            "2026-11-22T11:22:33.0000000000Z",
            "2026-11-22T11:22:33.04+1Z",
            "2026-11-22T11:22:33",
            "2026-02-30T11:22:33Z",
            "2026-11-22T11:22:33+0000",
            "2026-11-22T11:22:33+24:00",
            "2026-11-22T11:22:33+00:60",
            "2026-11-22T11:22:33+-1:00",
            "2026-11-22T11:22:33Z+00:00",
            "0001-01-01T00:00:00+00:01",
            "ü00:00",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
