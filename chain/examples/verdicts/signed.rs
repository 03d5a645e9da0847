//! Endorsements by the keys of a log, in either form, good and bad.

use std::time::Duration;

use hsmd_chain::testing::{LogBuilder, Random, SoftwareKey};
use hsmd_chain::{EndorsementPayload, KeyLog, PublicKey, SignedPayload, Timestamp};
use serde_json::{Value, json};

pub fn verdict(random: &mut Random, builder: &LogBuilder, log: &KeyLog, now: Timestamp) -> Value {
    let key = *SoftwareKey::from_seed(&format!("service {}", random.below(5))).public_key();
    let text = text(random, builder, &key, now);
    let purpose = if random.once_in(20) { "access" } else { "response" };
    let wanted = if random.once_in(20) { *builder.key(0).public_key() } else { key };
    let window = random.pick(&[0, 1, 43_200_000, 86_400_000]);
    let verified =
        SignedPayload::parse(&text).map_err(|error| error.to_string()).and_then(|signed| {
            signed
                .verify_endorsement(log, purpose, &wanted, now, Duration::from_millis(window))
                .map_err(|error| error.to_string())
        });
    json!({
        "text": text, "purpose": purpose, "key": wanted.to_string(), "window": window,
        "accept": verified.is_ok(), "why": verified.err(),
    })
}

fn text(random: &mut Random, builder: &LogBuilder, key: &PublicKey, now: Timestamp) -> String {
    let newest = builder.events().len() - 1;
    let generation = if random.once_in(2) { newest } else { random.below(newest + 1) };
    let expiration = match random.below(12) {
        0 => now,
        1 => now.saturating_add(Duration::from_millis(1)),
        _ => now.saturating_add(Duration::from_secs(60 + random.number() % 50_000)),
    };
    let payload = match EndorsementPayload::new("response", *key, expiration) {
        Ok(payload) => payload.text(),
        Err(error) => unreachable!("{error}"),
    };
    let payload = match random.below(12) {
        // A document, which is no endorsement, in forms that only just may be signed.
        0 => payload.replace("publicKey", random.pick(&["publickey", "key", "public\\u004bey"])),
        1 => payload.replace("\"}", "\",\"more\":[1.50e+3,{\"\":null},\"\\ud83d\\ude00é\"]}"),
        2 => payload.replace("response", random.pick(&["batch", "head", "respons\\u0065"])),
        _ => payload,
    };
    let text = if random.once_in(2) {
        builder.sign(generation, &payload).to_json()
    } else {
        let mut payloads: Vec<String> =
            (0..random.below(6)).map(|n| format!("{{\"n\":{n}}}")).collect();
        let at = random.below(payloads.len() + 1);
        payloads.insert(at, payload);
        builder.batch(generation, &payloads)[at].to_json()
    };
    match random.below(8) {
        0 => random.damage(&text),
        1 => format!(" {}\n", text.replacen(',', ", ", 1)),
        _ => text,
    }
}
