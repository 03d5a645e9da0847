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
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::convert;
use super::status::{denied, not_serving, status};
use crate::state::{Phase, Shared};

const MAX_PAGE: usize = 1000;
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Events on their way to one watcher; one that reads slowly is not fed faster.
const WATCH_BUFFER: usize = 16;

/// The service.
#[derive(Debug)]
pub(super) struct KeyLogService {
    pub(super) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl KeyLog for KeyLogService {
    async fn get_head(
        &self,
        request: Request<v1::GetHeadRequest>,
    ) -> Result<Response<v1::GetHeadResponse>, Status> {
        let log = self.admit(&request)?;
        Ok(Response::new(v1::GetHeadResponse { head: Some(convert::event(log.head())) }))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let log = self.admit(&request)?;
        let v1::ListEventsRequest { from_sequence, page_size } = request.into_inner();
        let rest = from(&log, from_sequence)?;
        let size = match page_size as usize {
            0 => MAX_PAGE,
            size => size.min(MAX_PAGE),
        };
        let events: Vec<_> = rest.iter().take(size).map(|event| convert::event(event)).collect();
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
        let log = self.admit(&request)?;
        let next = request.into_inner().from_sequence;
        from(&log, next)?;
        let (sender, stream) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(watch(Arc::clone(&self.shared), next, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl KeyLogService {
    /// The newest log, for a caller who may read it.
    fn admit<T>(&self, request: &Request<T>) -> Result<VerifiedLog, Status> {
        let peer = convert::peer(request)?;
        let _permit = self.shared.policy.read(&peer).map_err(denied)?;
        self.shared.snapshot().ok_or_else(|| not_serving(&self.shared.phase()))
    }
}

/// Sends events and heartbeats until the watcher leaves or the daemon stops.
async fn watch(
    shared: Arc<Shared>,
    mut next: u32,
    sender: mpsc::Sender<Result<v1::WatchEventsResponse, Status>>,
) {
    let mut changes = shared.log.subscribe();
    let mut phase = shared.watch_phase();
    loop {
        let Some(log) = changes.borrow_and_update().clone() else { return };
        for event in log.events().iter().skip(next as usize) {
            if send(&sender, Message::Event(convert::event(event))).await.is_err() {
                return;
            }
            next += 1;
        }
        let head = log.head().event();
        let heartbeat = v1::Heartbeat {
            head_id: head.id().to_string(),
            head_sequence_number: head.sequence_number(),
        };
        if send(&sender, Message::Heartbeat(heartbeat)).await.is_err() {
            return;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(HEARTBEAT) => {}
            () = sender.closed() => return,
            () = stopping(&mut phase) => {
                let stopping = not_serving(&Phase::Stopping);
                // A watcher who has left does not mind.
                drop(sender.send(Err(stopping)).await);
                return;
            }
        }
    }
}

async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // An error means that the daemon's state is gone: then it is stopping, too.
    drop(phase.wait_for(|phase| *phase == Phase::Stopping).await);
}

async fn send(
    sender: &mpsc::Sender<Result<v1::WatchEventsResponse, Status>>,
    message: Message,
) -> Result<(), ()> {
    let response = v1::WatchEventsResponse { message: Some(message) };
    sender.send(Ok(response)).await.map_err(|_| ())
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
