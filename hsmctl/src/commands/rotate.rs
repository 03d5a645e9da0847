//! `hsmctl rotate` and `hsmctl taint`: move the key's life forward, and say what has happened.

use std::path::PathBuf;

use hsmd_client::chain::{Digest, SignedEvent};
use hsmd_client::{AdminClient, CallError, Rotated};
use hsmd_support::durable;
use serde_json::json;

use crate::args::{Change, Format, Taint};
use crate::failure::{Failure, Kind};
use crate::output::{Fields, Output, Style, event_json};

/// Makes the committed next key the active one.
pub(crate) async fn rotate(
    admin: &AdminClient,
    change: &Change,
    output: &Output,
) -> Result<(), Failure> {
    let expected = expected(admin, change).await?;
    let rotated = admin.rotate(&expected, &change.reason).await;
    let rotated = rotated.map_err(|error| lost("rotate", &expected, error))?;
    tell("rotate", expected, rotated, None, output)
}

/// Declares the active key compromised and replaces it. An event that the daemon's database does not have
/// is written to a file: with the daemon's host lost as well, it is not lost.
pub(crate) async fn taint(
    admin: &AdminClient,
    taint: &Taint,
    output: &Output,
) -> Result<(), Failure> {
    let expected = expected(admin, &taint.change).await?;
    let rotated = admin.taint(&expected, &taint.change.reason).await;
    let rotated = rotated.map_err(|error| lost("taint", &expected, error))?;
    let kept = (rotated.pending == Some(true)).then(|| keep(taint, &rotated.event));
    let written = kept.as_ref().and_then(|kept| kept.as_ref().ok()).cloned();
    tell("taint", expected, rotated, written, output)?;
    kept.transpose().map(drop)
}

/// Writes the event as a part of a published log.
fn keep(taint: &Taint, event: &SignedEvent) -> Result<PathBuf, Failure> {
    let number = event.event().sequence_number();
    let default = || PathBuf::from(format!("hsmd-taint-{number}.json"));
    let path = taint.event_file.clone().unwrap_or_else(default);
    let json = format!("[{}]", event.to_json());
    match durable::write_public(&path, json.as_bytes()) {
        Ok(()) => Ok(path),
        Err(error) => {
            let message = format!("tainted, but can't write {}: {error}", path.display());
            let advice = format!("The database does not have the event yet. Keep it:\n{json}");
            Err(Failure::text(Kind::Failed, message).advise(advice))
        }
    }
}

/// The generation to be replaced: as typed, else the head that the daemon names.
async fn expected(admin: &AdminClient, change: &Change) -> Result<Digest, Failure> {
    if let Some(expected) = change.expected {
        return Ok(expected);
    }
    let head = admin.status().await?.head;
    head.and_then(|head| SignedEvent::parse(&head.text, &head.signature).ok())
        .map(|head| head.event().id())
        .ok_or_else(|| {
            Failure::text(Kind::Unavailable, "the daemon does not know its head yet")
                .advise("Wait until `hsmctl status` shows one, or give --expected.")
        })
}

/// After a lost answer it is not known whether it was done: a repetition must name the generation.
fn lost(command: &str, expected: &Digest, error: CallError) -> Failure {
    let unknown = match &error {
        // The daemon's own words for an admin request that it did not begin or took back.
        CallError::Refused { message, .. } if message.starts_with("nothing ") => false,
        CallError::Refused { .. } => error.is_retryable(),
        _ => true,
    };
    let failure = Failure::from(error);
    if unknown {
        failure.advise(format!(
            "It may have been done or not. Repeat it with `hsmctl {command} --expected {expected} \
             --reason …`: that does nothing twice."
        ))
    } else {
        failure
    }
}

fn tell(
    command: &'static str,
    replaced: Digest,
    rotated: Rotated,
    written: Option<PathBuf>,
    output: &Output,
) -> Result<(), Failure> {
    let event = rotated.event.event();
    if output.format == Format::Json {
        let result = json!({
            "command": command,
            "performed": rotated.performed,
            "keyDestroyed": rotated.key_destroyed,
            "pending": rotated.pending,
            "eventFile": written,
            "replacedGenerationId": replaced.as_str(),
            "event": event_json(&rotated.event),
        });
        output.line(&result.to_string())?;
        return Ok(());
    }
    let done = match (command, rotated.performed) {
        ("taint", true) => "tainted now",
        ("taint", false) => "had been tainted before, nothing was done now",
        (_, true) => "rotated now",
        (_, false) => "had been rotated before, nothing was done now",
    };
    let mut fields = Fields::default();
    fields.add("result", output.paint(Style::Good, done));
    let old = if event.taint_previous() {
        format!("{replaced} {}", output.paint(Style::Bad, "TAINTED"))
    } else {
        replaced.to_string()
    };
    fields.add("replaced", old);
    fields.add("by", format!("{} {}", event.sequence_number(), event.id()));
    fields.add("at", event.created_at().to_string());
    if rotated.key_destroyed == Some(false) {
        let left = "NOT destroyed: the token refuses; destroy it with the vendor's tool \
                    (`hsmctl status` lists it until it is gone)";
        fields.add("old key", output.paint(Style::Bad, left));
    }
    if rotated.pending == Some(true) {
        let pending = "NOT in the database yet: the daemon keeps the event and appends it by itself \
                       when the database is right again; until then it does not rotate";
        fields.add("database", output.paint(Style::Bad, pending));
    }
    if let Some(path) = written {
        let kept =
            format!("{}, for `hsmd import` if the daemon's host is lost, too", path.display());
        fields.add("event", kept);
    }
    output.line(&fields.text())?;
    Ok(())
}
