//! `hsmctl rotate` and `hsmctl taint`: move the key's life forward, and say what has happened.

use hsmd_client::chain::{Digest, SignedEvent};
use hsmd_client::{AdminClient, CallError, Rotated};
use serde_json::json;

use crate::args::{Change, Format};
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
    tell("rotate", expected, rotated.map_err(|error| lost("rotate", &expected, error))?, output)
}

/// Declares the active key compromised and replaces it.
pub(crate) async fn taint(
    admin: &AdminClient,
    change: &Change,
    output: &Output,
) -> Result<(), Failure> {
    let expected = expected(admin, change).await?;
    let rotated = admin.taint(&expected, &change.reason).await;
    tell("taint", expected, rotated.map_err(|error| lost("taint", &expected, error))?, output)
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
    output: &Output,
) -> Result<(), Failure> {
    let event = rotated.event.event();
    if output.format == Format::Json {
        let result = json!({
            "command": command,
            "performed": rotated.performed,
            "keyDestroyed": rotated.key_destroyed,
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
    output.line(&fields.text())?;
    Ok(())
}
