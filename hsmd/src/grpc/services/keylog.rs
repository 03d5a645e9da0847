//! `hsmd.v1.KeyLog`: the log as it is, for readers who verify it themselves.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::KeyLog as VerifiedLog;
use hsmd_proto::v1;
use hsmd_proto::v1::key_log_server::KeyLog;
use hsmd_proto::v1::watch_events_response::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

use crate::daemon::state::{Phase, Shared};
use crate::grpc::convert;
use crate::grpc::layers::authorization;
use crate::grpc::layers::context::CallContext;
use crate::grpc::layers::memory::SharedReservation;
use crate::grpc::status::{bytes_in_flight, connection_age, not_newest, not_serving, status};

const MAX_PAGE: usize = 1000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How long a watcher may leave untaken what it was sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Events on their way to one watcher; one that reads slowly is not fed faster.
const WATCH_BUFFER: usize = 16;

/// The service.
#[derive(Debug)]
pub struct KeyLogService {
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl KeyLog for KeyLogService {
    async fn get_head(
        &self,
        request: Request<v1::GetHeadRequest>,
    ) -> Result<Response<v1::GetHeadResponse>, Status> {
        let context = CallContext::of(&request)?;
        let log = self.log()?;
        let statement = self.shared.head_statement(&log.head().event().id());
        if let Some(signed) = &statement {
            let generation = &signed.generation;
            context.note_signed(generation.sequence_number());
        }
        Ok(Response::new(v1::GetHeadResponse {
            head: Some(convert::event(log.head())),
            statement: statement.map(|signed| convert::head_statement(&signed)),
        }))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let reservation = request.extensions().get::<SharedReservation>().cloned();
        let v1::ListEventsRequest { from_sequence, page_size } = request.into_inner();
        let log = self.log()?;
        let rest = from(&log, from_sequence)?;
        let size = match page_size as usize {
            0 => MAX_PAGE,
            size => size.min(MAX_PAGE),
        };
        let page = &rest[..size.min(rest.len())];
        if let Some(reservation) = reservation {
            let bytes = page.iter().map(|event| event.text().len()).sum();
            reservation.lock().add(bytes).map_err(|error| bytes_in_flight(&error))?;
        }
        let events: Vec<_> = page.iter().map(|event| convert::event(event)).collect();
        Ok(Response::new(v1::ListEventsResponse {
            next_sequence: from_sequence + events.len() as u32,
            head_sequence_number: log.head().event().sequence_number(),
            events,
        }))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let context = CallContext::of(&request)?;
        let next = request.into_inner().from_sequence;
        from(&self.log()?, next)?;
        let (sender, stream) = mpsc::channel(WATCH_BUFFER);
        let watcher = Watcher { context, next, sender };
        tokio::spawn(watcher.run(Arc::clone(&self.shared)));
        let shared = Arc::clone(&self.shared);
        let stream = ReceiverStream::new(stream)
            .map(move |message| message.map(|response| with_statement(&shared, response)));
        Ok(Response::new(Box::pin(stream)))
    }
}

impl KeyLogService {
    /// The newest log.
    fn log(&self) -> Result<VerifiedLog, Status> {
        may_publish(&self.shared)?;
        self.shared.snapshot().ok_or_else(|| not_serving(&self.shared.phase()))
    }
}

fn may_publish(shared: &Shared) -> Result<(), Status> {
    shared.withholds_log().map_or(Ok(()), |reason| Err(not_newest(&reason)))
}

/// A caller who follows the log.
struct Watcher {
    context: Arc<CallContext>,
    /// The first number that was not sent yet.
    next: u32,
    sender: mpsc::Sender<Result<v1::WatchEventsResponse, Status>>,
}

/// The watcher has left, or takes nothing any more.
struct Gone;

impl Watcher {
    /// Sends events and heartbeats until the watcher leaves or may read no longer, or the daemon stops.
    async fn run(mut self, shared: Arc<Shared>) {
        let mut changes = shared.log.subscribe();
        let mut phase = shared.watch_phase();
        let old_at = tokio::time::Instant::from_std(self.context.connection_old_at);
        loop {
            if let Err(refusal) = authorization::still_reads(&shared, &self.context) {
                return self.end(refusal).await;
            }
            if let Err(silent) = may_publish(&shared) {
                return self.end(silent).await;
            }
            let Some(log) = changes.borrow_and_update().clone() else { return };
            if self.send_new(&log).await.is_err() {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(HEARTBEAT_INTERVAL) => {}
                () = tokio::time::sleep_until(old_at) => return self.end(connection_age()).await,
                () = self.sender.closed() => return,
                () = stopping(&mut phase) => return self.end(not_serving(&Phase::Stopping)).await,
            }
        }
    }

    /// Sends what the watcher has not seen, and a heartbeat.
    async fn send_new(&mut self, log: &VerifiedLog) -> Result<(), Gone> {
        for event in log.events().iter().skip(self.next as usize) {
            self.send(Message::Event(convert::event(event))).await?;
            self.next += 1;
        }
        let head = log.head().event();
        self.send(Message::Heartbeat(v1::Heartbeat {
            head_id: head.id().to_string(),
            head_sequence_number: head.sequence_number(),
            statement: None,
        }))
        .await
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        let response = v1::WatchEventsResponse { message: Some(message) };
        // A watcher that takes nothing for so long is cut off; it can come back where it was.
        match tokio::time::timeout(SEND_TIMEOUT, self.sender.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    async fn end(self, status: Status) {
        // An error means that the watcher has left.
        drop(self.sender.send(Err(status)).await);
    }
}

/// Puts the newest head statement into a heartbeat when the transport takes it: what waited for a slow
/// watcher must not carry a signature that may leave no more.
fn with_statement(
    shared: &Shared,
    mut response: v1::WatchEventsResponse,
) -> v1::WatchEventsResponse {
    if let Some(Message::Heartbeat(heartbeat)) = &mut response.message
        && let Ok(head) = heartbeat.head_id.parse()
    {
        let statement = shared.head_statement(&head);
        heartbeat.statement = statement.map(|signed| convert::head_statement(&signed));
    }
    response
}

async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // An error means that the daemon's state is gone: then it is stopping, too.
    drop(phase.wait_for(|phase| *phase == Phase::Stopping).await);
}

/// The events from a number on; the reader may know the head, but nothing beyond it.
fn from(log: &VerifiedLog, from: u32) -> Result<&[Arc<hsmd_chain::SignedEvent>], Status> {
    log.events().get(from as usize..).ok_or_else(|| {
        let head = log.head().event();
        let metadata = HashMap::from([
            ("head_sequence_number".to_owned(), head.sequence_number().to_string()),
            ("head_id".to_owned(), head.id().to_string()),
        ]);
        let message = format!(
            "from_sequence {from} lies beyond the head, event {}: the daemon knows less than you do",
            head.sequence_number()
        );
        status(Code::OutOfRange, "BEYOND_HEAD", message, metadata)
    })
}
