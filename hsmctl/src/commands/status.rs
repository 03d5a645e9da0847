//! `hsmctl status`: what the daemon is, does and lacks.

use std::time::Duration;

use hsmd_client::AdminClient;
use hsmd_client::chain::SignedEvent;
use hsmd_client::proto::{DatabaseStatus, ServingState, StatusResponse, TokenStatus};
use serde_json::{Value, json};

use super::now;
use crate::args::Format;
use crate::failure::{Failure, Kind};
use crate::output::{Fields, Output, Style, event_json, time_and_age};

/// Prints the status; fails when the daemon neither serves nor stands by.
pub(crate) async fn run(admin: &AdminClient, output: &Output) -> Result<(), Failure> {
    let status = admin.status().await?;
    let printed = match output.format {
        Format::Text => output.line(&text(&status, output)),
        Format::Json => output.line(&json(&status).to_string()),
    };
    match printed {
        // The exit code is about the daemon, also for a reader that has gone (`hsmctl status | true`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    match status.state() {
        ServingState::Serving | ServingState::Standby => Ok(()),
        _ => Err(Failure::told(Kind::Failed)),
    }
}

fn text(status: &StatusResponse, output: &Output) -> String {
    let mut fields = Fields::default();
    let style = match status.state() {
        ServingState::Serving => Style::Good,
        ServingState::Degraded | ServingState::Unspecified => Style::Bad,
        ServingState::Starting | ServingState::Standby | ServingState::Stopping => Style::Warning,
    };
    fields.add("state", output.paint(style, state_name(status.state())));
    fields.add("identity", or_unknown(&status.identity));
    if let Some(head) = head(status) {
        let event = head.event();
        fields.add("head", format!("{} {}", event.sequence_number(), event.id()));
        fields.add("created", time_and_age(event.created_at(), now()));
    } else {
        fields.add("head", or_unknown(""));
    }
    fields.add("signs with", or_unknown(&status.active_generation_id));
    for token in &status.tokens {
        fields.add("token", token_text(token, output));
    }
    if let Some(database) = &status.database {
        fields.add("database", database_text(database, output));
    }
    fields.add("queue", format!("{} waiting", status.queue_depth));
    let last = status.last_signature_age_ms.map_or_else(
        || "none yet".to_owned(),
        |age| format!("{} ago", humantime::format_duration(Duration::from_millis(age))),
    );
    fields.add("last signature", last);
    let uptime = Duration::from_secs(status.uptime_seconds);
    fields.add("uptime", humantime::format_duration(uptime).to_string());
    fields.add("version", status.version.clone());
    let label = if status.state() == ServingState::Starting { "start" } else { "problem" };
    for problem in &status.problems {
        fields.add(label, output.paint(Style::Bad, problem));
    }
    fields.text()
}

fn json(status: &StatusResponse) -> Value {
    let tokens = status.tokens.iter().map(|token| {
        json!({
            "label": token.label,
            "serial": token.serial,
            "ready": token.ready,
            "problem": token.problem,
        })
    });
    let database = status.database.as_ref().map(|database| {
        json!({
            "connected": database.connected,
            "lockHeld": database.lock_held,
            "problem": database.problem,
        })
    });
    json!({
        "state": state_name(status.state()),
        "identity": status.identity,
        "problems": status.problems,
        "head": head(status).map(|head| event_json(&head)),
        "activeGenerationId": status.active_generation_id,
        "tokens": tokens.collect::<Vec<_>>(),
        "database": database,
        "queueDepth": status.queue_depth,
        "lastSignatureAgeMs": status.last_signature_age_ms,
        "uptimeSeconds": status.uptime_seconds,
        "version": status.version,
    })
}

fn head(status: &StatusResponse) -> Option<SignedEvent> {
    let head = status.head.as_ref()?;
    SignedEvent::parse(&head.text, &head.signature).ok()
}

fn token_text(token: &TokenStatus, output: &Output) -> String {
    let name = if token.serial.is_empty() {
        token.label.clone()
    } else {
        format!("{} (serial {})", token.label, token.serial)
    };
    let state = if token.ready {
        output.paint(Style::Good, "ready")
    } else {
        output.paint(Style::Bad, &format!("not ready: {}", token.problem))
    };
    format!("{name}, {state}")
}

fn database_text(database: &DatabaseStatus, output: &Output) -> String {
    let state = match (database.connected, database.lock_held) {
        (true, true) => output.paint(Style::Good, "connected, holds the writer lock"),
        (true, false) => output.paint(Style::Warning, "connected, without the writer lock"),
        (false, _) => output.paint(Style::Bad, "not connected"),
    };
    if database.problem.is_empty() { state } else { format!("{state}: {}", database.problem) }
}

fn state_name(state: ServingState) -> &'static str {
    match state {
        ServingState::Unspecified => "unspecified",
        ServingState::Starting => "starting",
        ServingState::Standby => "standby",
        ServingState::Serving => "serving",
        ServingState::Degraded => "degraded",
        ServingState::Stopping => "stopping",
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}
