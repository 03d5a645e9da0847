//! Properties: no changed byte survives, and what is printed is parsed again as the same.

use std::time::Duration;

use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{
    Anchor, BodyTail, Digest, EndorsementPayload, Event, Head, KeyLog, Nonce, Payload, PublicKey,
    SignedBody, SignedEvent, Timestamp,
};
use proptest::prelude::*;

const SKEW: Duration = Duration::from_secs(5);

/// Every byte of a published log, with every single bit flipped.
#[test]
fn no_flipped_bit_of_a_published_log_is_accepted() {
    let log = LogBuilder::new("flip").rotate().taint();
    let now = log.head().event().created_at();
    let mut json = log.to_json().into_bytes();
    let accepted = |json: &[u8]| KeyLog::verify_json(json, &log.anchor(), now, SKEW).is_ok();
    assert!(accepted(&json));
    for at in 0..json.len() {
        for bit in 0..8 {
            json[at] ^= 1 << bit;
            assert!(!accepted(&json), "byte {at}: {}", String::from_utf8_lossy(&json));
            json[at] ^= 1 << bit;
        }
    }
}

/// Every byte of a published endorsement, with every single bit flipped.
#[test]
fn no_flipped_bit_of_an_endorsement_is_accepted() {
    let builder = LogBuilder::new("flip").rotate();
    let (log, now) = (builder.log(), builder.head().event().created_at());
    let key = *SoftwareKey::from_seed("service").public_key();
    let expiration = now.saturating_add(Duration::from_secs(60));
    let mut json = builder.endorse(1, "access", &key, expiration).to_json().into_bytes();
    let accepted = |json: &[u8]| {
        SignedBody::parse(json).is_ok_and(|signed| {
            signed.verify_endorsement(&log, "access", &key, now, Duration::ZERO).is_ok()
        })
    };
    assert!(accepted(&json));
    for at in 0..json.len() {
        for bit in 0..8 {
            json[at] ^= 1 << bit;
            assert!(!accepted(&json), "byte {at}: {}", String::from_utf8_lossy(&json));
            json[at] ^= 1 << bit;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_replaced_byte_of_a_published_log_is_accepted(at in any::<prop::sample::Index>(), byte: u8) {
        let log = LogBuilder::new("replace").rotate().rotate().taint().rotate();
        let mut json = log.to_json().into_bytes();
        let at = at.index(json.len());
        prop_assume!(json[at] != byte);
        json[at] = byte;
        let now = log.head().event().created_at();
        prop_assert!(KeyLog::verify_json(&json, &log.anchor(), now, SKEW).is_err());
    }

    #[test]
    fn no_cut_or_doubled_piece_of_a_published_log_is_accepted(
        from in any::<prop::sample::Index>(), length in 1..700_usize, doubled: bool,
    ) {
        let log = LogBuilder::new("cut").rotate().rotate();
        let mut json = log.to_json().into_bytes();
        let from = from.index(json.len());
        let to = (from + length).min(json.len());
        let piece = json[from..to].to_vec();
        json.splice(from..to, if doubled { piece.repeat(2) } else { Vec::new() });
        let anchor = log.log().anchor();
        let now = log.head().event().created_at();
        prop_assert!(KeyLog::verify_json(&json, &anchor, now, SKEW).is_err());
    }

    #[test]
    fn times_round_trip(millis in Timestamp::MIN.unix_millis()..=Timestamp::MAX.unix_millis()) {
        let instant = Timestamp::from_unix_millis(millis).unwrap();
        let text = instant.to_string();
        prop_assert_eq!(text.len(), Timestamp::LENGTH);
        prop_assert_eq!(text.parse(), Ok(instant));
        if let Some(next) = instant.checked_add(Duration::from_millis(1)) {
            prop_assert!(next.to_string() > text, "texts sort as instants do");
            prop_assert_eq!(next.checked_sub(Duration::from_millis(1)), Some(instant));
        }
    }

    #[test]
    fn texts_round_trip(bytes: [u8; 16], message: Vec<u8>) {
        let nonce = Nonce::from_bytes(bytes);
        prop_assert_eq!(nonce.as_str().parse(), Ok(nonce));
        let digest = Digest::of(&message);
        prop_assert_eq!(digest.as_str().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        let anchor = Anchor::with_head(Digest::of(&bytes), Head { sequence_number: 7, id: digest });
        prop_assert_eq!(anchor.to_string().parse(), Ok(anchor));
    }

    #[test]
    fn keys_and_signatures_round_trip_and_verify(seed: String, message: Vec<u8>) {
        let key = SoftwareKey::from_seed(&seed);
        let public_key: PublicKey = key.public_key().as_str().parse().unwrap();
        prop_assert_eq!(&public_key, key.public_key());
        for signature in [key.sign(&message), key.sign_other_s(&message)] {
            prop_assert_eq!(signature.as_str().parse(), Ok(signature));
            prop_assert!(public_key.verify(&message, &signature).is_ok());
            let mut other = message.clone();
            other.push(0);
            prop_assert!(public_key.verify(&other, &signature).is_err());
        }
    }

    #[test]
    fn events_round_trip(
        seed: String, millis in 0..4_000_000_000_000_i64, step in 1..1_000_000_000_i64, taint: bool,
    ) {
        let [one, two, three] = [1, 2, 3].map(|n| SoftwareKey::from_seed(&format!("{seed}{n}")));
        let time = |millis| Timestamp::from_unix_millis(millis).unwrap();
        let first = Event::inception(*one.public_key(), two.digest(), time(millis));
        let second = Event::successor(
            &first, *two.public_key(), three.digest(), time(millis + step), taint,
        ).unwrap();
        for (event, key) in [(&first, &one), (&second, &two)] {
            let parsed = Event::parse(&event.text()).unwrap();
            prop_assert_eq!(&parsed, event);
            let signature = key.sign(event.text().as_bytes());
            let signed = SignedEvent::parse(&event.text(), signature.as_str()).unwrap();
            prop_assert_eq!(signed, SignedEvent::new(parsed, signature));
        }
    }

    #[test]
    fn bodies_round_trip_and_name_their_signer(text in "\\PC*", number in 0..3_usize) {
        let builder = LogBuilder::of_length("bodies", 3);
        let payload = serde_json::json!({ "purpose": "document", "text": text }).to_string();
        let signed = builder.sign(number, &payload);
        prop_assert_eq!(&SignedBody::parse(signed.to_json()).unwrap(), &signed);
        prop_assert_eq!(signed.payload(), &payload);
        prop_assert_eq!(Payload::parse(payload).unwrap().string("text"), Some(text));
        let log = builder.log();
        let now = builder.head().event().created_at();
        let verified = signed.verify(&log, now, Duration::from_secs(86_400)).unwrap();
        prop_assert_eq!(verified.sequence_number() as usize, number);
        prop_assert_eq!(verified.generation_id(), builder.id(number));
        // Under the name of another generation the same signature proves nothing.
        let other = BodyTail::new(builder.identity(), builder.id((number + 1) % 3));
        let body = other.body(&Payload::parse(signed.payload()).unwrap());
        let renamed = SignedBody::new(body, &other, *signed.signature());
        prop_assert!(renamed.verify(&log, now, Duration::from_secs(86_400)).is_err());
    }

    #[test]
    fn endorsement_payloads_have_one_text(
        purpose in "[!#-\\[\\]-~]{1,64}", seed: String, millis in 0..4_000_000_000_000_i64,
    ) {
        let key = *SoftwareKey::from_seed(&seed).public_key();
        let expiration = Timestamp::from_unix_millis(millis).unwrap();
        let payload = EndorsementPayload::new(purpose.clone(), key, expiration).unwrap();
        prop_assert_eq!(&EndorsementPayload::parse(&payload.text()).unwrap(), &payload);
        prop_assert_eq!(payload.length(), payload.text().len());
        let expected = format!(
            r#"{{"purpose":"{purpose}","publicKey":"{key}","expiration":"{expiration}"}}"#
        );
        prop_assert_eq!(payload.text(), expected);
    }
}
