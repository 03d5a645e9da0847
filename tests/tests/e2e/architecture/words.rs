//! Words that no source uses: ARCHITECTURE.md, "Words", has the ones to use.

use super::{FOLDERS, sources};

#[test]
fn no_source_uses_the_names_that_the_glossary_replaced() {
    let replaced = [
        "Purse",
        "Lane",
        "Lanes",
        "Pulse",
        "Visit",
        "LeavesAs",
        "Gate",
        "GateLayer",
        "Taken",
        "Incarnation",
        "outwait",
        "settle",
        "align",
        "Halt",
        "Wish",
        "OpenGate",
        "unsettled",
        "look_after",
    ];
    for (path, text) in FOLDERS.into_iter().flat_map(sources) {
        if path.ends_with("/architecture/words.rs") {
            continue;
        }
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let bad = replaced.contains(&word) || word.starts_with("Door");
            assert!(!bad, "{path} says {word}: see the glossary in ARCHITECTURE.md");
        }
    }
}

/// Words that another field uses in another sense, or that leave out who is meant.
#[test]
fn the_shipped_sources_use_plain_words() {
    let refused = [
        "nobody", "whoever", "gate", "halt", "halted", "wish", "purse", "patience", "silence",
        "breath", "awake",
    ];
    // PKCS#11 has slots, and nothing else here.
    let of_pkcs11 = ["hsmd/src/token", "softhsm/", "bench/src/raw.rs"];
    for folder in FOLDERS.into_iter().filter(|folder| *folder != "tests") {
        for (path, text) in sources(folder) {
            if path.contains("/tests/") {
                continue;
            }
            for word in text.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase) {
                assert!(!refused.contains(&word.as_str()), "{path} says {word}");
                let elsewhere =
                    word == "slot" && !of_pkcs11.iter().any(|own| path.starts_with(own));
                assert!(!elsewhere, "{path} says {word}, which is PKCS#11's");
            }
        }
    }
}
