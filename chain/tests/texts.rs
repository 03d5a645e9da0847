//! The CESR texts and timestamps: one text for a value, and every other refused for its reason.

use std::time::Duration;

use hsmd_chain::cesr::CesrError;
use hsmd_chain::testing::{SoftwareKey, at};
use hsmd_chain::time::TimestampError;
use hsmd_chain::{Digest, Nonce, PublicKey, Signature, Timestamp};

/// The base64 characters, in the order of their values.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn lead_bits_must_be_zero() {
    let digest = Digest::of(b"").to_string();
    let nonce = Nonce::from_bytes([0xff; 16]).to_string();
    let signature = SoftwareKey::from_seed("lead").sign(b"").to_string();
    for (value, &character) in ALPHABET.iter().enumerate() {
        let with = |text: &str, at: usize| {
            let mut text = text.to_owned();
            text.replace_range(at..=at, &char::from(character).to_string());
            text
        };
        // The second character of a digest carries two lead bits and four of the value.
        let expected = (value >= 16).then_some(CesrError::LeadBits);
        assert_eq!(with(&digest, 1).parse::<Digest>().err(), expected);
        // The third of a nonce or signature carries four lead bits and two of the value.
        let expected = (value >= 4).then_some(CesrError::LeadBits);
        assert_eq!(with(&nonce, 2).parse::<Nonce>().err(), expected);
        let parsed = with(&signature, 2).parse::<Signature>().err();
        assert_eq!(parsed == Some(CesrError::LeadBits), expected.is_some());
    }
}

#[test]
fn lengths_codes_and_alphabets_are_checked() {
    let digest = Digest::of(b"").to_string();
    for (text, expected) in [
        (String::new(), CesrError::Length { expected: 44, found: 0 }),
        (digest[1..].to_owned(), CesrError::Length { expected: 44, found: 43 }),
        (format!("{digest}="), CesrError::Length { expected: 44, found: 45 }),
        (format!("{digest}\n"), CesrError::Length { expected: 44, found: 45 }),
        (digest.to_lowercase(), CesrError::Code { expected: "E" }),
        (format!("I{}", &digest[1..]), CesrError::Code { expected: "E" }),
        (digest.replacen('-', "+", 1), CesrError::Base64),
        (format!("{}/", &digest[..43]), CesrError::Base64),
        (format!("{}=", &digest[..43]), CesrError::Base64),
        (format!("{} ", &digest[..43]), CesrError::Base64),
        (format!("{}\0", &digest[..43]), CesrError::Base64),
        (format!("E{}é", &digest[1..42]), CesrError::Base64),
    ] {
        assert_eq!(text.parse::<Digest>(), Err(expected), "{text:?}");
    }
    let zeros = "A".repeat(22);
    assert_eq!(format!("0B{zeros}").parse::<Nonce>(), Err(CesrError::Code { expected: "0A" }));
    let zeros = "A".repeat(86);
    assert_eq!(format!("0I{zeros}").parse::<Signature>(), Err(CesrError::Scalar));
    assert_eq!(format!("0A{zeros}").parse::<Signature>(), Err(CesrError::Code { expected: "0I" }));
}

#[test]
fn scalars_lie_between_one_and_the_order() {
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (mut zero, mut one, mut last) = ([0; 32], [0; 32], order);
    one[31] = 1;
    last[31] -= 1;
    let signature = |r: [u8; 32], s: [u8; 32]| {
        let bytes: [u8; 64] = [r, s].concat().try_into().unwrap();
        Signature::from_bytes(&bytes)
    };
    for good in [one, last] {
        assert!(signature(good, one).is_ok() && signature(last, good).is_ok());
        for bad in [zero, order, [0xff; 32]] {
            assert_eq!(signature(good, bad), Err(CesrError::Scalar));
            assert_eq!(signature(bad, good), Err(CesrError::Scalar));
        }
    }
    zero[0] = 1;
    assert!(signature(zero, zero).is_ok());
}

#[test]
fn points_are_taken_compressed_and_uncompressed_and_nothing_else() {
    let key = SoftwareKey::from_bytes(&[7; 32]);
    let text = key.public_key().as_str();
    // The generator, whose coordinates are in SEC 2.
    let x = hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
    let y = hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5");
    let compressed = PublicKey::from_sec1(&[vec![3], x.clone()].concat()).unwrap();
    let uncompressed = PublicKey::from_sec1(&[vec![4], x.clone(), y.clone()].concat()).unwrap();
    assert_eq!(compressed, uncompressed);
    assert_eq!(compressed.as_str(), "1AAIA2sX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKW");
    assert_eq!(text.parse::<PublicKey>().unwrap(), *key.public_key());
    let mut off = y.clone();
    off[31] ^= 1;
    for (bytes, expected) in [
        (vec![], CesrError::PointEncoding),
        (vec![0], CesrError::PointEncoding),
        (vec![0; 33], CesrError::PointEncoding),
        ([vec![5], x.clone()].concat(), CesrError::PointEncoding),
        ([vec![6], x.clone(), y.clone()].concat(), CesrError::PointEncoding),
        ([vec![7], x.clone(), y.clone()].concat(), CesrError::PointEncoding),
        ([vec![2], x.clone(), y.clone()].concat(), CesrError::PointEncoding),
        ([vec![4], x.clone()].concat(), CesrError::PointEncoding),
        ([vec![0x04, 0x41, 4], x.clone(), y.clone()].concat(), CesrError::PointEncoding),
        ([vec![4], x.clone(), off].concat(), CesrError::OffCurve),
        ([vec![2], vec![0xff; 32]].concat(), CesrError::OffCurve),
    ] {
        assert_eq!(PublicKey::from_sec1(&bytes), Err(expected), "{bytes:02x?}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[test]
fn timestamps_are_real_instants_of_the_years_1_to_9999() {
    for (text, millis) in [
        ("1970-01-01T00:00:00.000Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-02-29T12:34:56.789Z", 951_827_696_789),
        ("2026-11-22T11:22:33.044Z", 1_795_346_553_044),
        ("0001-01-01T00:00:00.000Z", Timestamp::MIN.unix_millis()),
        ("9999-12-31T23:59:59.999Z", Timestamp::MAX.unix_millis()),
    ] {
        assert_eq!(at(text).unix_millis(), millis, "{text}");
        assert_eq!(at(text).to_string(), text);
    }
    for text in [
        "1900-02-29T00:00:00.000Z",
        "2100-02-29T00:00:00.000Z",
        "2023-02-29T00:00:00.000Z",
        "2024-02-30T00:00:00.000Z",
        "2024-06-31T00:00:00.000Z",
        "2024-12-32T00:00:00.000Z",
        "2016-12-31T23:59:60.000Z",
        "2024-01-01T24:00:00.000Z",
        "0000-12-31T00:00:00.000Z",
    ] {
        assert_eq!(text.parse::<Timestamp>(), Err(TimestampError::Calendar), "{text}");
    }
    let (first, last) = (Timestamp::MIN, Timestamp::MAX);
    assert_eq!(Timestamp::from_unix_millis(i64::MAX), Err(TimestampError::Range));
    assert_eq!(Timestamp::from_unix_millis(last.unix_millis() + 1), Err(TimestampError::Range));
    assert_eq!(Timestamp::from_unix_millis(first.unix_millis() - 1), Err(TimestampError::Range));
    assert_eq!(last.checked_add(Duration::from_millis(1)), None);
    assert_eq!(first.checked_sub(Duration::from_millis(1)), None);
    assert_eq!(last.checked_add(Duration::MAX), None);
    assert_eq!(last.saturating_add(Duration::MAX), last);
    assert_eq!(
        first.checked_add(Duration::from_micros(1999)).map(|t| t.to_string()).as_deref(),
        Some("0001-01-01T00:00:00.001Z"),
        "finer parts are cut off"
    );
    assert_eq!(last.saturating_since(first), Duration::from_millis(315_537_897_599_999));
    assert_eq!(first.saturating_since(last), Duration::ZERO);
}

#[test]
fn serde_takes_and_gives_texts_only() {
    let digest = Digest::of(b"serde");
    assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{digest}\""));
    let time = at("2026-01-01T00:00:00.000Z");
    assert_eq!(serde_json::to_string(&time).unwrap(), format!("\"{time}\""));
    assert_eq!(serde_json::from_str::<Timestamp>(&format!("\"{time}\"")).unwrap(), time);
    for bad in ["1", "null", "\"\"", "[]"] {
        assert!(serde_json::from_str::<Digest>(bad).is_err());
        assert!(serde_json::from_str::<Timestamp>(bad).is_err());
        assert!(serde_json::from_str::<PublicKey>(bad).is_err());
        assert!(serde_json::from_str::<Signature>(bad).is_err());
    }
}
