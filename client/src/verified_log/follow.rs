//! The background task: read the source, believe nothing, start again after every failure.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hsmd_proto::v1::WatchEventsResponse;
use hsmd_proto::v1::watch_events_response::Message;
use tokio::time::timeout;

use super::error::Fault;
use super::state::Shared;
use super::{LogSource, Problem};
use crate::backoff::Backoff;
use crate::client::{head_statement, signed_event};
use crate::{CallError, Client};

/// A heartbeat comes every 5 seconds: after two and a bit the feed is dead.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(12);

/// Follows until the log halts or the task is aborted.
pub(super) async fn run(source: LogSource, shared: Arc<Shared>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let fault = match &source {
            LogSource::Grpc(client) => {
                let fault = never(grpc(client, &shared)).await;
                shared.feed_ended(&fault);
                fault
            }
            LogSource::Http(http) => never(http.follow(&shared)).await,
        };
        // What was learned before the failure is kept, a taint from the future included.
        shared.save().await;
        if shared.problem().is_none() {
            backoff.reset();
        }
        if shared.failed(fault) {
            return;
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn never(attempt: impl Future<Output = Result<Infallible, Fault>>) -> Fault {
    match attempt.await {
        Ok(never) => match never {},
        Err(fault) => fault,
    }
}

async fn grpc(client: &Client, shared: &Shared) -> Result<Infallible, Fault> {
    if shared.snapshot().is_none() {
        let events = client.events(0).await.map_err(Problem::Call)?;
        shared.adopt(events)?;
    }
    // Our head is asked for again: if the daemon's event of that number is another, it shows.
    let start = head_sequence(shared)?;
    let refused = |error: CallError| {
        if error.reason() == Some("BEYOND_HEAD") {
            Problem::Behind { head_sequence: start }
        } else {
            Problem::Call(error)
        }
    };
    let mut feed = within_heartbeats(client.watch(start)).await?.map_err(refused)?;
    loop {
        let message = within_heartbeats(feed.message()).await?;
        let message = message.map_err(|status| refused(client.watch_error(status)))?;
        take(message.ok_or(Problem::Ended)?, start, shared)?;
        shared.save().await;
    }
}

async fn within_heartbeats<T>(wait: impl Future<Output = T>) -> Result<T, Problem> {
    timeout(HEARTBEAT_TIMEOUT, wait).await.map_err(|_| Problem::Silent)
}

/// Takes one message of a feed that began at our head `start`.
fn take(message: WatchEventsResponse, start: u32, shared: &Shared) -> Result<(), Fault> {
    match message.message {
        Some(Message::Event(event)) => {
            let event = signed_event("WatchEvents", Some(event)).map_err(Problem::Call)?;
            shared.extend(event)
        }
        Some(Message::Heartbeat(heartbeat)) => {
            let ours = shared.snapshot().map(|log| log.position()).ok_or(Problem::Heartbeat)?;
            if heartbeat.head_sequence_number < start {
                return Err(Problem::Behind { head_sequence: start }.into());
            }
            if heartbeat.head_sequence_number != ours.sequence_number {
                // Events are on their way, or the beat was made before the last one.
                return Ok(());
            }
            if heartbeat.head_id != ours.id.as_str() {
                // Not yet proof of a fork: a new feed begins with the event of that number.
                return Err(Problem::Heartbeat.into());
            }
            if let Some(statement) = heartbeat.statement {
                let statement = head_statement("WatchEvents", statement).map_err(Problem::Call)?;
                // The feed is authenticated: the statement is for those who follow us.
                if let Err(error) = shared.keep_statement(statement) {
                    tracing::debug!(%error, "the heartbeat's head statement is not kept");
                }
            }
            shared.confirmed()
        }
        None => Ok(()),
    }
}

fn head_sequence(shared: &Shared) -> Result<u32, Problem> {
    shared.snapshot().map(|log| log.position().sequence_number).ok_or(Problem::Ended)
}
