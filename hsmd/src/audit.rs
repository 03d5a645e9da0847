//! Audit records: every refused call, every endorsement and every admin action, and every signature where
//! that is configured; one JSON object a line. Never a secret and never a payload.
//!
//! A thread of its own writes them from a bounded queue, so that writing never delays a call. What finds no
//! room, and what can't be written, is counted and said. Refusals are summarised ([`refusals`]), so that
//! they displace no other record.

mod refusals;
mod sink;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use hsmd_chain::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::AuditConfig;
use crate::observe::metrics::AuditMetrics;
use refusals::Refusals;
use sink::Sink;

/// Records that wait for the thread.
const QUEUE: usize = 8192;

/// How often the thread looks for summaries that are due and for a file that was moved.
const TICK: Duration = Duration::from_secs(1);

/// Where records follow each other closely, the thread collects for so long before it writes again: to wake it
/// for each would cost a call more than its record does.
const COLLECTION: Duration = Duration::from_millis(2);

/// How long the end waits for what is still in the queue.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// One record.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// "audit": tells a record from a log line on the same stream.
    pub log: &'static str,
    /// When the call came.
    pub at: Timestamp,
    /// The call's id in logs and admin records.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request_id: Arc<str>,
    /// The RPC.
    pub method: &'static str,
    /// The peer: user, certificate or plaintext.
    pub peer: String,
    /// Its name in the configuration, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The purpose that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The generation that signed, or that an admin moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The digests of the bodies that were signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bodies: Vec<String>,
    /// The gRPC code.
    pub outcome: String,
    /// What a refused caller was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In a summary: how many such calls it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Where records go.
#[derive(Debug)]
pub struct Audit {
    sender: Mutex<Option<SyncSender<Message>>>,
    ended: Mutex<Receiver<()>>,
    refusals: Arc<Mutex<Refusals>>,
    metrics: AuditMetrics,
    signatures: bool,
}

enum Message {
    Record(Box<Record>),
    Reopen,
}

impl Audit {
    /// Opens the sink and starts its thread.
    ///
    /// # Errors
    /// The file can't be opened, or the system has no thread left.
    pub fn start(config: &AuditConfig, clock: Clock, metrics: AuditMetrics) -> io::Result<Self> {
        let sink = Sink::open(&config.sink)?;
        let (sender, messages) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(1);
        let refusals = Arc::<Mutex<Refusals>>::default();
        let writer =
            Writer { sink, clock, refusals: Arc::clone(&refusals), metrics: metrics.clone() };
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            writer.run(&messages);
            // An error means that the end was not waited for.
            let _waited_for = ending.send(());
        })?;
        let signatures = config.signatures;
        let (sender, ended) = (Mutex::new(Some(sender)), Mutex::new(ended));
        Ok(Self { sender, ended, refusals, metrics, signatures })
    }

    /// Whether each signature of Sign and SignBatch is recorded.
    pub fn records_signatures(&self) -> bool {
        self.signatures
    }

    /// Hands a record over; never waits.
    pub fn write(&self, record: Record) {
        self.send(Message::Record(Box::new(record)));
    }

    /// Hands over the record of a refused call: in full, or as one more in a summary. True when in full.
    pub fn write_refusal(&self, record: Record) -> bool {
        let in_full = self.refusals.lock().count(&record, Instant::now());
        if in_full {
            self.write(record);
        }
        in_full
    }

    /// Opens the file again: it may have been moved.
    pub fn reopen(&self) {
        self.send(Message::Reopen);
    }

    /// Writes what was handed over and ends the thread. Blocks, for two seconds at the most.
    pub fn stop(&self) {
        self.sender.lock().take();
        if self.ended.lock().recv_timeout(STOP_TIMEOUT).is_err() {
            tracing::error!("audit records are lost: their sink takes nothing");
        }
    }

    fn send(&self, message: Message) {
        let sender = self.sender.lock();
        let Some(sender) = sender.as_ref() else { return self.metrics.lost(1) };
        match sender.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.metrics.lost(1),
        }
    }
}

/// The thread's own.
struct Writer {
    sink: Sink,
    clock: Clock,
    refusals: Arc<Mutex<Refusals>>,
    metrics: AuditMetrics,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let (mut ticked, mut said) = (Instant::now(), 0);
        let mut woken = Instant::now();
        loop {
            match messages.recv_timeout(TICK) {
                Ok(first) => {
                    self.take(first);
                    messages.try_iter().take(QUEUE).for_each(|message| self.take(message));
                    if woken.elapsed() < 2 * COLLECTION {
                        std::thread::sleep(COLLECTION);
                    }
                    woken = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick(false);
                said = self.say_lost(said);
            }
        }
        self.tick(true);
        self.say_lost(said);
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Record(record) => self.write(&record),
            Message::Reopen => self.reopen(),
        }
    }

    fn write(&mut self, record: &Record) {
        match serde_json::to_vec(record)
            .map_err(io::Error::from)
            .and_then(|line| self.sink.write(line))
        {
            Ok(()) => {
                if self.metrics.set_problem(None) {
                    tracing::info!("audit records are written again");
                }
            }
            Err(error) => {
                self.metrics.lost(1);
                if self.metrics.set_problem(Some(error.to_string())) {
                    tracing::error!(%error, "cannot write audit records: they are lost");
                }
            }
        }
    }

    fn reopen(&mut self) {
        if let Err(error) = self.sink.reopen() {
            tracing::error!(%error, "cannot reopen the audit file");
        }
    }

    /// Writes the summaries that are due, all of them at the end, and notices a file that is gone.
    fn tick(&mut self, at_the_end: bool) {
        if self.sink.is_moved() {
            tracing::warn!("the audit file was moved or deleted: a new one is opened");
            self.reopen();
        }
        let due = self.refusals.lock().due(Instant::now(), at_the_end);
        for mut summary in due {
            if let Ok(now) = self.clock.now() {
                summary.at = now;
            }
            let count = summary.count.unwrap_or_default();
            tracing::warn!(
                method = summary.method,
                caller = summary.caller.as_deref().unwrap_or("unknown"),
                outcome = summary.outcome,
                count,
                "more calls refused"
            );
            self.write(&summary);
        }
    }

    /// Says in a record how many were lost since the last time.
    fn say_lost(&mut self, said: u64) -> u64 {
        let lost = self.metrics.lost_so_far();
        let Ok(at) = self.clock.now() else { return said };
        if lost == said {
            return said;
        }
        tracing::error!(count = lost - said, "audit records lost");
        let record = Record {
            log: "audit",
            at,
            request_id: "".into(),
            method: "audit",
            peer: "hsmd".into(),
            caller: None,
            purpose: None,
            generation: None,
            bodies: Vec::new(),
            outcome: "Lost".into(),
            message: None,
            count: Some(lost - said),
        };
        self.write(&record);
        self.metrics.lost_so_far().min(lost)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::AuditSink;

    pub(super) fn record(number: usize) -> Record {
        Record {
            log: "audit",
            at: Timestamp::from_unix_millis(0).unwrap(),
            request_id: number.to_string().into(),
            method: "Endorse",
            peer: "uid 1".into(),
            caller: None,
            purpose: None,
            generation: None,
            bodies: Vec::new(),
            outcome: "Ok".into(),
            message: None,
            count: None,
        }
    }

    fn audit(file: &Path) -> (Audit, AuditMetrics) {
        let sink = AuditSink::File { file: file.into(), max_bytes: 1 << 30, keep: 1 };
        let metrics = AuditMetrics::default();
        let config = AuditConfig { sink, signatures: false };
        (Audit::start(&config, Clock::start(), metrics.clone()).unwrap(), metrics)
    }

    #[test]
    fn a_sink_that_takes_nothing_delays_no_call_and_what_is_lost_is_counted_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Held open and not read: it takes 64 KiB.
        let reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let (audit, metrics) = audit(&pipe);
        let most = 4 * QUEUE;
        for number in 0..most {
            audit.write(record(number));
        }
        let lost = metrics.lost_so_far() as usize;
        assert!((1..most).contains(&lost), "{lost}");
        let reading = std::thread::spawn(move || {
            use std::io::BufRead;
            let mut lines = std::io::BufReader::new(reader).lines();
            let said = lines.find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                (line["outcome"] == "Lost").then(|| line["count"].as_u64())
            });
            said.flatten()
        });
        assert_eq!(reading.join().unwrap(), Some(lost as u64));
    }

    #[test]
    fn refusals_of_unknown_peers_leave_room_for_a_taints_record() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let (audit, metrics) = audit(&file);
        for number in 0..30_000 {
            let refused = Record { outcome: "PermissionDenied".into(), ..record(number) };
            assert_eq!(audit.write_refusal(refused), number == 0);
        }
        audit.write(Record { method: "Taint", caller: Some("ops".into()), ..record(7) });
        audit.stop();
        assert_eq!(metrics.lost_so_far(), 0);
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line["method"].as_str().unwrap(), line["count"].as_u64()))
            .collect();
        assert_eq!(found, [("Endorse", None), ("Taint", None), ("Endorse", Some(29_999))]);
    }
}
