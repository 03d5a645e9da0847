//! What must hold of the daemon's parsers for any bytes whatever, shared by the fuzz targets and by
//! the test that replays the corpus (`hsmd/tests/parsers.rs`). Each function panics when it does not.

use std::path::Path;
use std::time::Duration;

use hsmd::Config;
use hsmd::parsers::{is_reserved, journal as decode, well_formed, write_journal as encode};

/// A parser's rules: for any bytes it refuses them or all that it promises holds.
pub(crate) type Oracle = fn(&[u8]);

/// Every oracle under the name of its fuzz target and corpus folder.
pub(crate) const ORACLES: [(&str, Oracle); 3] =
    [("config", config), ("journal", journal), ("document", document)];

/// A configuration that is accepted has no contradiction in it.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = Config::parse(text, Path::new("hsmd.toml")) else { return };
    let purposes = || config.purposes.endorse.iter().chain(&config.purposes.sign);
    assert!(purposes().all(|purpose| well_formed(purpose) && !is_reserved(purpose)));
    assert!(config.purposes.endorse.iter().all(|purpose| !config.purposes.sign.contains(purpose)));
    assert!(!config.token.is_empty());
    assert!(config.token.iter().all(|token| token.queue_length > 0 && !token.name().is_empty()));
    assert!(config.lock_grace >= Duration::from_millis(500));
    for (index, caller) in config.caller.iter().enumerate() {
        assert!(caller.endorse.iter().all(|one| config.purposes.endorse.contains(one)));
        assert!(caller.sign.iter().all(|one| config.purposes.sign.contains(one)));
        let earlier = &config.caller[..index];
        assert!(earlier.iter().all(|other| other.name != caller.name));
        assert!(earlier.iter().all(|other| other.who() != caller.who()), "known by the same");
    }
    assert_eq!(Config::parse(text, Path::new("hsmd.toml")).ok(), Some(config));
}

/// A journal that is accepted means the same after it has been written again, and its events
/// are well-formed.
pub(crate) fn journal(data: &[u8]) {
    let Ok(entries) = decode(data) else { return };
    assert_eq!(decode(&encode(&entries)).as_ref(), Ok(&entries));
    for event in entries.events() {
        let parsed = event.parse().expect("an event that was parsed before");
        assert_eq!((parsed.text(), parsed.signature().as_str()), (&*event.text, &*event.signature));
    }
    assert!(!entries.are_ahead_of(&entries, u32::MAX), "ahead of itself");
}

/// A document that Sign accepts is signed as it is, and nothing in it makes it an endorsement.
pub(crate) fn document(data: &[u8]) {
    let Ok((payload, purpose)) = hsmd::parsers::document(data.to_vec().into()) else { return };
    assert_eq!(payload.text().as_bytes(), data);
    assert!(!payload.has("publicKey") && !payload.has("expiration"));
    assert_eq!(payload.string("purpose"), Some(purpose));
}
