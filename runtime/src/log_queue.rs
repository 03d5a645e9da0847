//! Log lines are written by a thread of their own from a bounded queue: a reader of standard error that
//! stalls stops no call. What finds no room is counted, and said when there is room again.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the thread.
const QUEUE: usize = 4096;

/// The longest line; what goes beyond is cut, so that the queue is bounded in bytes.
const LONGEST: usize = 16 * 1024;

/// The process' queue, to be flushed at its end: a process has one standard error and one log.
static PROCESS: OnceLock<LogQueue> = OnceLock::new();

/// The queue, as the writer of a log.
#[derive(Clone, Debug)]
pub struct LogQueue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    /// Whether lines begin with their priority, for systemd's journal.
    priorities: bool,
}

/// One line on its way.
#[derive(Debug)]
pub struct Line {
    queue: LogQueue,
    level: Level,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// The queue before standard error.
    ///
    /// # Errors
    /// There is no descriptor or no thread left.
    pub fn stderr() -> io::Result<Self> {
        if let Some(queue) = PROCESS.get() {
            return Ok(queue.clone());
        }
        // A descriptor of its own: a stalled write holds no lock that others take.
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let queue = Self::before(file)?;
        Ok(PROCESS.get_or_init(|| queue).clone())
    }

    fn before(file: File) -> io::Result<Self> {
        let (sender, messages) = sync_channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let queue = Self { sender, dropped: Arc::clone(&dropped), priorities: is_journal(&file) };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(file, &messages, &dropped))?;
        Ok(queue)
    }

    fn flush(&self, timeout: Duration) {
        let begun = Instant::now();
        let (done, flushed) = sync_channel(1);
        let mut message = Message::Flush(done);
        while begun.elapsed() < timeout {
            match self.sender.try_send(message) {
                Ok(()) => {
                    // An error means that the reader still takes nothing.
                    let _in_time = flushed.recv_timeout(timeout.saturating_sub(begun.elapsed()));
                    return;
                }
                Err(TrySendError::Full(same)) => message = same,
                Err(TrySendError::Disconnected(_)) => return,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until the log's lines are written, at most for this long.
pub fn flush_log(timeout: Duration) {
    if let Some(queue) = PROCESS.get() {
        queue.flush(timeout);
    }
}

/// Whether a file is the journal of systemd, as JOURNAL_STREAM says.
pub fn is_journal(file: &File) -> bool {
    #[expect(clippy::disallowed_methods, reason = "JOURNAL_STREAM is systemd's protocol")]
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    file.metadata().is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

fn write_all(mut file: File, messages: &Receiver<Message>, dropped: &AtomicU64) {
    for message in messages {
        match message {
            // An error means that standard error is closed or full: then no line can say so.
            Message::Line(line) => drop(file.write_all(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
        let count = dropped.swap(0, Ordering::AcqRel);
        if count > 0 {
            drop(writeln!(file, "{count} log lines dropped: standard error was not read"));
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { queue: self.clone(), level: Level::INFO }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line { queue: self.clone(), level: *metadata.level() }
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut line = Vec::with_capacity(text.len().min(LONGEST) + 4);
        if self.queue.priorities {
            line.extend_from_slice(match self.level {
                Level::ERROR => b"<3>",
                Level::WARN => b"<4>",
                Level::INFO => b"<6>",
                Level::DEBUG | Level::TRACE => b"<7>",
            });
        }
        line.extend_from_slice(&text[..text.len().min(LONGEST)]);
        if text.len() > LONGEST {
            line.push(b'\n');
        }
        if self.queue.sender.try_send(Message::Line(line)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::AcqRel);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_reader_that_stalls_stops_no_call_and_what_is_dropped_is_counted_and_said() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = LogQueue::before(File::from(std::os::fd::OwnedFd::from(writer))).unwrap();
        let most = 3 * QUEUE;
        let line = [b"a".repeat(200), b"\n".to_vec()].concat();
        for _ in 0..most {
            queue.make_writer().write_all(&line).unwrap();
        }
        let reading = std::thread::spawn(move || {
            let (mut written, mut dropped) = (0, 0);
            for read in BufReader::new(reader).lines().map(Result::unwrap) {
                match read.split_once(" log lines dropped") {
                    Some((count, _)) => dropped += count.parse::<usize>().unwrap(),
                    None => written += 1,
                }
            }
            (written, dropped)
        });
        queue.flush(Duration::from_secs(60));
        drop(queue);
        let (written, dropped) = reading.join().unwrap();
        assert_eq!(written + dropped, most);
        // The queue, and what the pipe takes if the thread ran by then, is all that there is room for.
        assert!(dropped > QUEUE && written >= QUEUE, "{written} written, {dropped} dropped");
    }
}
