//! `hsmctl identity` and `hsmctl log`: both print only what they have verified.

use std::io::Write;
use std::time::Duration;

use hsmd_client::chain::{Anchor, Freshness, KeyLog, Lifetime, SignedEvent, Timestamp};
use hsmd_client::{Client, LogOptions, LogSource, Problem, VerifiedLog};
use serde_json::json;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::now;
use crate::args::{Format, Global, Log};
use hsmd_support::chain;

use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, escaped};

/// Prints the identity.
pub(crate) async fn identity(
    client: &Client,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let log = fetch(client, global).await?;
    match output.format {
        Format::Text => output.line(log.identity().as_str())?,
        Format::Json => {
            let head = log.position();
            let value = json!({
                "identity": log.identity().as_str(),
                "anchor": log.anchor().to_string(),
                "head": {"sequenceNumber": head.sequence_number, "id": head.id.as_str()},
            });
            output.line(&value.to_string())?;
        }
    }
    Ok(())
}

/// Prints the log, or each event as it comes.
pub(crate) async fn run(
    client: &Client,
    args: &Log,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    if args.follow {
        return follow(client, args, global, output).await;
    }
    if args.head {
        return head(client, args, global, output).await;
    }
    let log = fetch(client, global).await?;
    if args.json || output.format == Format::Json {
        output.exact(&log.to_json())?;
    } else {
        output.line(&table(&log, now(), args.window, output))?;
    }
    Ok(())
}

/// Prints the newest head statement, verified against the log.
async fn head(
    client: &Client,
    args: &Log,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let freshness = Freshness { max_staleness: args.max_staleness, skew: global.clock_skew };
    let mut tries = 0;
    let statement = loop {
        let log = fetch(client, global).await?;
        let Some(statement) = client.head_statement().await? else {
            return Err(Failure::text(Kind::Unavailable, "the daemon makes no head statement now")
                .advise(
                    "`hsmctl status` says why it is not serving, or whether clocks disagree.",
                ));
        };
        match statement.verify(&log, now(), freshness) {
            Ok(_) => break statement,
            // An event was made between the two questions.
            Err(error) if error.is_ahead() && tries < 3 => tries += 1,
            Err(error) => {
                let text = format!("the head statement is refused: {}", chain(&error));
                return Err(Failure::text(Kind::Unverified, text));
            }
        }
    };
    if args.json || output.format == Format::Json {
        return Ok(output.exact(&statement.signed().to_json())?);
    }
    let (number, issued_at) = (statement.sequence_number(), statement.issued_at());
    let age = now().saturating_since(issued_at).as_secs();
    let id = statement.signed().generation_id();
    output.line(&format!("head  {number}  {id}\nas of {issued_at}, {age} s ago"))?;
    Ok(())
}

/// The whole log, verified against the identity given, else against the one that it claims.
async fn fetch(client: &Client, global: &Global) -> Result<KeyLog, Failure> {
    let events = client.events(0).await?;
    let anchor = match (global.identity, events.first()) {
        (Some(anchor), _) => anchor,
        (None, Some(first)) => Anchor::new(first.event().prefix()),
        (None, None) => {
            let failure = Failure::text(Kind::Unverified, "the daemon's key log is empty");
            return Err(failure.advise("Run `hsmd init`, or import a copy of the log."));
        }
    };
    KeyLog::verify(events, &anchor, now(), global.clock_skew).map_err(|error| {
        Failure::text(Kind::Unverified, format!("the key log does not verify: {}", chain(&error)))
            .advise("Do not rely on this daemon: compare its log with another copy of it.")
    })
}

async fn follow(
    client: &Client,
    args: &Log,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let json = args.json || output.format == Format::Json;
    let anchor = match global.identity {
        Some(anchor) => anchor,
        None => client.claimed_identity().await?,
    };
    let options = LogOptions {
        clock_skew: global.clock_skew,
        max_staleness: args.max_staleness,
        ..LogOptions::default()
    };
    let log = VerifiedLog::follow(LogSource::Grpc(client.clone()), anchor, options);
    let log = log.map_err(|error| Failure::new(Kind::Failed, &error))?;
    tokio::select! {
        biased;
        printed = print_changes(&log, json, output) => printed,
        error = log.wait_terminal_error() => {
            Err(Failure::new(Kind::Unverified, &*error)
                .advise("Do not rely on this daemon: compare its log with another copy of it."))
        }
        failure = first_contact(&log, global.timeout) => Err(failure),
        error = warn_when_stale(&log) => Err(Failure::from(error)),
        () = reader_gone() => Ok(()),
    }
}

/// Done when standard output is a pipe and its reader has gone (`hsmctl log --follow | head`): without a new
/// event no write would notice.
async fn reader_gone() {
    #[expect(deprecated, reason = "its successor is unsafe; standard output stays open to the end")]
    let output = AsyncFd::with_interest(std::io::stdout(), Interest::ERROR);
    match output {
        Ok(output) => drop(output.ready(Interest::ERROR).await),
        // A file or a device has no reader.
        Err(_) => std::future::pending().await,
    }
}

/// Fails if nothing verified comes in time; later outages are waited out.
async fn first_contact(log: &VerifiedLog, timeout: Duration) -> Failure {
    match tokio::time::timeout(timeout, log.ready()).await {
        Ok(_) => std::future::pending().await,
        Err(_) => match log.problem().as_deref() {
            Some(problem @ (Problem::Log(_) | Problem::Event(_))) => {
                Failure::new(Kind::Unverified, problem)
            }
            Some(problem) => Failure::new(Kind::Unavailable, problem),
            None => Failure::text(Kind::Unavailable, "no answer from the daemon"),
        },
    }
}

/// Says so when a log without news may have missed some, and when it is fresh again.
async fn warn_when_stale(log: &VerifiedLog) -> std::io::Error {
    let mut told = false;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stale = log.fresh().err().filter(|_| log.snapshot().is_some());
        let warning = match &stale {
            Some(error) if !told => format!("hsmctl: {error}; still trying"),
            None if told => "hsmctl: the key log is followed again".to_owned(),
            _ => continue,
        };
        told = stale.is_some();
        if let Err(error) = writeln!(std::io::stderr(), "{}", escaped(&warning, false)) {
            return error;
        }
    }
}

async fn print_changes(log: &VerifiedLog, json: bool, output: &Output) -> Result<(), Failure> {
    let mut changes = log.changes();
    let mut printed = 0;
    loop {
        let snapshot = changes.borrow_and_update().clone();
        for event in snapshot.iter().flat_map(|log| &log.events()[printed..]) {
            output.line(&if json { event.to_json() } else { line(event, output) })?;
        }
        printed = snapshot.map_or(0, |log| log.events().len());
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// One event, for a person who watches.
fn line(event: &SignedEvent, output: &Output) -> String {
    let event = event.event();
    let mark = match event.previous() {
        Some(previous) if event.taint_previous() => {
            output.paint(Style::Bad, &format!("  TAINTS {previous}"))
        }
        _ => String::new(),
    };
    format!("{:>5}  {}  {}{mark}", event.sequence_number(), event.id(), event.created_at())
}

/// The generations in columns, oldest first, and what each is worth now.
pub(crate) fn table(log: &KeyLog, now: Timestamp, window: Duration, output: &Output) -> String {
    let identity = log.identity();
    let header = output.paint(
        Style::Quiet,
        &format!("{:>5}  {:44}  {:24}  {}", "SEQ", "GENERATION", "CREATED", "STATE"),
    );
    let mut lines = vec![format!("identity  {identity}"), header];
    for event in log.events() {
        let event = event.event();
        let state = match log.stops_being_live(&event.id(), window) {
            Some(Lifetime::Open) => output.paint(Style::Good, "head"),
            Some(Lifetime::Tainted) => output.paint(Style::Bad, "TAINTED"),
            Some(Lifetime::Until(last)) if now <= last => {
                output.paint(Style::Good, &format!("live until {last}"))
            }
            Some(Lifetime::Until(_)) | None => output.paint(Style::Quiet, "past"),
        };
        lines.push(format!(
            "{:>5}  {}  {}  {state}",
            event.sequence_number(),
            event.id(),
            event.created_at()
        ));
    }
    lines.join("\n")
}
