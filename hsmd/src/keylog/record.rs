//! Admin records: who did what and why, kept in the transaction of the event that it led to.

use std::borrow::Cow;

use hsmd_chain::{Digest, KeyLog, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest reason, in characters.
pub const MAX_REASON: usize = 500;

/// What an administrator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminAction {
    /// Made the identity.
    Init,
    /// Rotated the key.
    Rotate,
    /// Tainted the key.
    Taint,
    /// Imported a copy of the log.
    Import,
    /// No administrator asked: the daemon appended again what the database had lost.
    Recovered,
}

impl AdminAction {
    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Rotate => "rotate",
            Self::Taint => "taint",
            Self::Import => "import",
            Self::Recovered => "recovered",
        }
    }
}

/// One admin action. The journal keeps it beside its event, so that a crash loses neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRecord {
    /// When, by our clock.
    pub at: Timestamp,
    /// What.
    pub action: AdminAction,
    /// By whom: the admin's name in the configuration, or the local user for commands.
    pub caller: String,
    /// Why, in the caller's words.
    pub reason: String,
    /// The request's id in the logs.
    pub request_id: String,
    /// Of an import: the digest of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_digest: Option<Digest>,
}

impl AdminRecord {
    /// The reason as the table takes it. One that an earlier hsmd left in the journal may be what is no reason
    /// any more: its event must get into the database all the same.
    pub(super) fn readable_reason(&self) -> Cow<'_, str> {
        if is_reason(&self.reason) {
            return Cow::Borrowed(&self.reason);
        }
        let shown: String = self.reason.escape_default().take(MAX_REASON).collect();
        Cow::Owned(if is_reason(&shown) { shown } else { "(blank)".to_owned() })
    }
}

/// Whether a text can stand as a reason: not blank, not long, and it reads as it is. The table's CHECK says
/// the same.
pub fn is_reason(text: &str) -> bool {
    // Characters that change the direction of text can make a record read like another.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    (1..=MAX_REASON).contains(&text.chars().count())
        && !text.trim().is_empty()
        && !text.chars().any(hidden)
}

/// What in the verified log contradicts a record of this action and this event: who may write into the
/// database can write records, but no events.
pub fn contradiction(action: &str, sequence_number: u32, log: &KeyLog) -> Option<String> {
    // An event that is newer than our copy of the log contradicts nothing yet.
    let event = log.events().get(usize::try_from(sequence_number).ok()?)?.event();
    let said = match action {
        "init" if sequence_number > 0 => "is not the first",
        "rotate" | "taint" if sequence_number == 0 => "is the first",
        "rotate" if event.taint_previous() => "taints its predecessor",
        "taint" if !event.taint_previous() => "taints nothing",
        _ => return None,
    };
    Some(format!("event {sequence_number} {said}"))
}

#[cfg(test)]
mod tests {
    use hsmd_chain::testing::LogBuilder;

    use super::*;

    #[test]
    fn a_reason_is_a_line_that_reads_as_it_is() {
        assert!(is_reason("key leaked, ticket 7 (ü)"));
        let long = "a".repeat(MAX_REASON + 1);
        for bad in
            ["", " \u{a0} ", "a\nb", "a\u{202e}b", "a\u{2066}b", "\u{200f}", "\u{9b}2J", &long]
        {
            assert!(!is_reason(bad), "{bad:?}");
            let record = AdminRecord {
                at: Timestamp::from_unix_millis(0).unwrap(),
                action: AdminAction::Taint,
                caller: "ops".into(),
                reason: bad.into(),
                request_id: String::new(),
                file_digest: None,
            };
            assert!(is_reason(&record.readable_reason()), "{bad:?}");
        }
    }

    #[test]
    fn a_record_is_held_against_its_event() {
        let log = LogBuilder::of_length("records", 2).taint().log();
        for (action, number, expected) in [
            ("init", 0, None),
            ("init", 1, Some("event 1 is not the first")),
            ("rotate", 0, Some("event 0 is the first")),
            ("rotate", 1, None),
            ("rotate", 2, Some("event 2 taints its predecessor")),
            ("taint", 1, Some("event 1 taints nothing")),
            ("taint", 2, None),
            ("import", 2, None),
            ("recovered", 1, None),
            ("rotate", 3, None),
        ] {
            assert_eq!(
                contradiction(action, number, &log).as_deref(),
                expected,
                "{action} {number}"
            );
        }
    }
}
