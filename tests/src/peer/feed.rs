//! What a reader of the fake's log is sent.

use std::time::{Duration, Instant};

use hsmd_chain::testing::LogBuilder;
use hsmd_chain::{Digest, SignedEvent};
use hsmd_proto::v1;
use hsmd_proto::v1::watch_events_response::Message;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::{event, statement};

/// One reader's feed: events and, more often than from a real daemon, heartbeats. It ends with the
/// peer or its reader.
pub(super) struct Feed {
    pub(super) next: usize,
    pub(super) log: watch::Receiver<LogBuilder>,
    pub(super) frozen: watch::Receiver<bool>,
    pub(super) lying: watch::Receiver<bool>,
    pub(super) hostile: watch::Receiver<Option<SignedEvent>>,
    pub(super) stop: watch::Receiver<bool>,
    /// What the head's key stated last, for which head and when: as a daemon, it does not for each beat.
    pub(super) stated: Option<(Digest, Instant, v1::HeadStatement)>,
}

impl Feed {
    pub(super) async fn run(
        mut self,
        sender: mpsc::Sender<Result<v1::WatchEventsResponse, Status>>,
    ) {
        while !*self.stop.borrow() {
            for message in self.messages() {
                let message = v1::WatchEventsResponse { message: Some(message) };
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                _ = self.log.changed() => {}
                _ = self.frozen.changed() => {}
                _ = self.hostile.changed() => {}
                _ = self.stop.changed() => {}
                () = sender.closed() => return,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    fn messages(&mut self) -> Vec<Message> {
        if *self.frozen.borrow_and_update() {
            return Vec::new();
        }
        let log = self.log.borrow_and_update();
        let new = log.events().iter().skip(self.next);
        let mut messages: Vec<_> = new.map(|new| Message::Event(event(new))).collect();
        self.next = self.next.max(log.events().len());
        let hostile = self.hostile.borrow_and_update();
        messages.extend(hostile.iter().map(|hostile| Message::Event(event(hostile))));
        let head = log.head().event();
        let is_new = |(of, at, _): &(Digest, Instant, _)| {
            *of == head.id() && at.elapsed() < Duration::from_secs(1)
        };
        if !self.stated.as_ref().is_some_and(is_new) {
            self.stated = Some((head.id(), Instant::now(), statement(&log)));
        }
        let id = if *self.lying.borrow() { Digest::of(b"another") } else { head.id() };
        messages.push(Message::Heartbeat(v1::Heartbeat {
            head_id: id.to_string(),
            head_sequence_number: head.sequence_number(),
            statement: self.stated.as_ref().map(|(_, _, statement)| statement.clone()),
        }));
        messages
    }
}
