//! Logs: good ones in all their forms, and mutants that are hashed and signed anew.

use std::time::Duration;

use hsmd_chain::testing::{Draft, LogBuilder, Random, SoftwareKey, published};
use hsmd_chain::{Anchor, Digest, KeyLog, Signature, Timestamp};
use serde_json::{Value, json};

use crate::signed;

const SKEW: Duration = Duration::from_secs(5);

/// Texts of events, which need not be events, with their signatures.
type Texts = Vec<(String, Signature)>;

pub fn verdict(random: &mut Random, number: u64) -> Value {
    let builder = good(random, number);
    let now = moment(random, &builder);
    let (kind, (log, identity)) = match random.below(10) {
        0..=4 => ("good", (good_text(random, &builder), None)),
        5..=6 => ("resealed", resealed(random, &builder, now)),
        7 => ("structure", (structure(random, &builder, now), None)),
        _ => ("damaged", (damaged(random, &builder), None)),
    };
    let anchor = identity.unwrap_or_else(|| anchor(random, &builder));
    let mut line = json!({"kind": kind, "log": log, "anchor": anchor, "now": now.to_string()});
    let verified = match anchor.parse::<Anchor>() {
        Ok(anchor) => KeyLog::verify_json(log.as_bytes(), &anchor, now, SKEW)
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    line["accept"] = verified.is_ok().into();
    match verified {
        Ok(log) => line["signed"] = signed::verdict(random, &builder, &log, now),
        Err(why) => line["why"] = why.into(),
    }
    line
}

fn good(random: &mut Random, number: u64) -> LogBuilder {
    let mut log = LogBuilder::new(&format!("verdicts {} {number}", random.number()));
    for _ in 0..random.below(5) {
        let ahead = Duration::from_millis(1 + random.number() % 50_000_000);
        let created_at = log.head().event().created_at().saturating_add(ahead);
        log = log.append(created_at, random.once_in(3));
    }
    log
}

/// Usually after the head; at times at the edge of the skew, or a moment before it.
fn moment(random: &mut Random, log: &LogBuilder) -> Timestamp {
    let head = log.head().event().created_at();
    match random.below(20) {
        0 => head.checked_sub(SKEW).unwrap_or(head),
        1 => head.checked_sub(SKEW + Duration::from_millis(1)).unwrap_or(head),
        2 => head,
        _ => head.saturating_add(Duration::from_millis(random.number() % 60_000_000)),
    }
}

fn anchor(random: &mut Random, log: &LogBuilder) -> String {
    let known = random.below(log.events().len());
    let other = Digest::of(b"another");
    match random.below(40) {
        0 => format!("{}@{known}:{other}", log.identity()),
        1 => format!("{}@{}:{}", log.identity(), log.events().len(), other),
        2 => format!("{}@0{known}:{}", log.identity(), log.id(known)),
        3 => other.to_string(),
        4 => random.damage(&format!("{}@{known}:{}", log.identity(), log.id(known))),
        5..=12 => format!("{}@{known}:{}", log.identity(), log.id(known)),
        _ => log.identity().to_string(),
    }
}

fn texts(log: &LogBuilder) -> Texts {
    log.events().iter().map(|event| (event.text().to_owned(), *event.signature())).collect()
}

fn text_of(texts: &Texts) -> String {
    published(texts.iter().map(|(text, signature)| (text.as_str(), signature)))
}

/// The same log: as published, with blanks where nothing is signed, members the other way round, or other
/// signatures by the same keys.
fn good_text(random: &mut Random, log: &LogBuilder) -> String {
    match random.below(5) {
        0 => {
            let blank = |random: &mut Random| random.pick(&["", " ", "\n", "\t ", "\r\n"]);
            let mut text = format!("{}[", blank(random));
            for (number, (event, signature)) in texts(log).iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                let (a, b, c) = (blank(random), blank(random), blank(random));
                let payload = format!("\"payload\"{a}:{b}{event}");
                let signature = format!("\"signature\":{b}\"{signature}\"");
                let (first, second) =
                    if random.once_in(3) { (signature, payload) } else { (payload, signature) };
                text.push_str(&format!("{c}{comma}{a}{{{b}{first}{c},{a}{second}{b}}}"));
            }
            format!("{text}{}]{}", blank(random), blank(random))
        }
        1 => {
            let mut texts = texts(log);
            for (number, (text, signature)) in texts.iter_mut().enumerate() {
                *signature = log.key(number).sign_other_s(text.as_bytes());
            }
            text_of(&texts)
        }
        _ => text_of(&texts(log)),
    }
}

/// One event with a member changed, hashed and signed again by its own key or another. Event 0 is then that
/// of another identity, which is returned.
fn resealed(random: &mut Random, log: &LogBuilder, now: Timestamp) -> (String, Option<String>) {
    let number = random.below(log.events().len());
    let event = log.events()[number].event();
    let draft = Draft::of(event);
    let names =
        ["id", "prefix", "sequenceNumber", "createdAt", "purpose", "publicKey", "rotationHash"];
    let name = random.pick(&names);
    let quoted = |text: String| format!("\"{text}\"");
    let old = draft.member(name).to_owned();
    let value = match random.below(13) {
        0 => random.damage(&old),
        1 => quoted(Digest::of(b"any").to_string()),
        2 => quoted(event.public_key().digest().to_string()),
        3 => quoted(log.key(random.below(number + 1)).public_key().to_string()),
        4 => quoted(now.saturating_add(SKEW).to_string()),
        5 => quoted(now.saturating_add(SKEW + Duration::from_millis(1)).to_string()),
        6 => quoted(event.created_at().saturating_add(Duration::from_millis(1)).to_string()),
        7 => random
            .pick(&[
                "0",
                "1",
                "2",
                "-0",
                "1e0",
                "1.0",
                "01",
                "100000000",
                "true",
                "null",
                "[]",
                "{}",
            ])
            .into(),
        8 => format!(" {old}"),
        9 => quoted(log.id(random.below(log.events().len())).to_string()),
        10 => quoted(
            "2026-02-29T24:00:00.000Z".replace("29T24", random.pick(&["28T23", "29T00", "28T24"])),
        ),
        // A number becomes a string.
        11 => quoted(old.trim_matches('"').to_owned()),
        _ => old.clone(),
    };
    let draft = draft.set(name, &value, "");
    let draft = match random.below(30) {
        0 => draft.repeat(name),
        1 if name != "id" => draft.without(name),
        2 if name != "rotationHash" => draft.swapped(name),
        3 => draft.set("taintPrevious", random.pick(&["true", "false", "null", "1"]), "purpose"),
        4 => draft.set("extra", "1", "purpose"),
        5 if name != "purpose" => {
            draft.set("previous", &quoted(Digest::of(b"other").to_string()), "purpose")
        }
        _ => draft,
    };
    let draft = if random.once_in(6) { draft } else { draft.sealed() };
    let thief = SoftwareKey::from_seed("thief");
    let key = if random.once_in(8) { &thief } else { log.key(number) };
    let identity = (number == 0).then(|| draft.member("id").trim_matches('"').to_owned());
    let mut texts = texts(log);
    texts[number] = draft.signed(key);
    // What follows would name the old id: usually the mutant is the last.
    if !random.once_in(5) {
        texts.truncate(number + 1);
    }
    (text_of(&texts), identity)
}

/// Events left out, doubled, swapped, from another log, or a fork.
fn structure(random: &mut Random, log: &LogBuilder, now: Timestamp) -> String {
    let mut texts = texts(log);
    let at = random.below(texts.len());
    let other = random.below(texts.len());
    match random.below(6) {
        0 => drop(texts.remove(at)),
        1 => texts.insert(at, texts[other].clone()),
        2 => texts.swap(at, other),
        3 => {
            let created_at =
                log.events()[at].event().created_at().saturating_add(Duration::from_secs(1));
            let fork = log.stolen_at(at + 1, "thief").append(created_at, random.once_in(2));
            return text_of(&self::texts(&fork));
        }
        4 => {
            let later = now.saturating_add(Duration::from_millis(random.number() % 10_000));
            if later > log.head().event().created_at() {
                return text_of(&self::texts(&log.clone().append(later, random.once_in(2))));
            }
        }
        _ => texts[at].1 = texts[other].1,
    }
    text_of(&texts)
}

fn damaged(random: &mut Random, log: &LogBuilder) -> String {
    let text = text_of(&texts(log));
    random.damage(&text)
}
