//! Audit records: every refused call, every endorsement and every admin action, one JSON object a
//! line. Never a secret and never a payload. A thread of its own writes them; when it can't keep up,
//! callers wait rather than records being lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use hsmd_chain::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::AuditConfig;

const BUFFER: usize = 1024;

/// One record.
#[derive(Debug, Serialize)]
pub struct Record {
    /// When the call came.
    pub at: Timestamp,
    /// The call's id in logs and admin records.
    pub request_id: String,
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
    /// The gRPC code.
    pub outcome: String,
    /// What a refused caller was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where records go.
#[derive(Debug)]
pub struct Audit {
    sender: Mutex<Option<mpsc::Sender<Record>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Opens the sink and starts its thread.
    ///
    /// # Errors
    /// The file can't be opened, or the system has no thread left.
    pub fn start(config: &AuditConfig) -> io::Result<Self> {
        let mut sink = Sink::open(config)?;
        let (sender, mut records) = mpsc::channel(BUFFER);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || {
            while let Some(record) = records.blocking_recv() {
                if let Err(error) = sink.write(&record) {
                    tracing::error!(%error, ?record, "cannot write an audit record");
                }
            }
        })?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Hands a record over.
    pub async fn write(&self, record: Record) {
        let sender = self.sender.lock().clone();
        match sender {
            Some(sender) => {
                if let Err(mpsc::error::SendError(record)) = sender.send(record).await {
                    tracing::error!(?record, "audit record dropped: the audit thread has ended");
                }
            }
            None => tracing::warn!(?record, "audit record dropped: the audit thread has ended"),
        }
    }

    /// Writes what was handed over and ends the thread. Blocks.
    pub fn stop(&self) {
        self.sender.lock().take();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the audit thread panicked");
        }
    }
}

enum Sink {
    Stderr,
    Stdout,
    File { file: File, path: PathBuf, size: u64, max_bytes: u64, keep: u32 },
}

impl Sink {
    fn open(config: &AuditConfig) -> io::Result<Self> {
        Ok(match config {
            AuditConfig::Stderr => Self::Stderr,
            AuditConfig::Stdout => Self::Stdout,
            AuditConfig::File { file: path, max_bytes, keep } => {
                let file = open(path)?;
                let size = file.metadata()?.len();
                Self::File { file, path: path.clone(), size, max_bytes: *max_bytes, keep: *keep }
            }
        })
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        match self {
            Self::Stderr => io::stderr().lock().write_all(&line),
            Self::Stdout => io::stdout().lock().write_all(&line),
            Self::File { file, path, size, max_bytes, keep } => {
                if *size > 0 && *size + line.len() as u64 > *max_bytes {
                    rotate_files(path, *keep)?;
                    *file = open(path)?;
                    *size = 0;
                }
                file.write_all(&line)?;
                *size += line.len() as u64;
                Ok(())
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Moves file to file.1, file.1 to file.2 and so on; the oldest goes.
fn rotate_files(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match std::fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let config = AuditConfig::File { file: file.clone(), max_bytes: 300, keep: 2 };
        let mut sink = Sink::open(&config).unwrap();
        for number in 0..10 {
            let record = Record {
                at: Timestamp::from_unix_millis(0).unwrap(),
                request_id: number.to_string(),
                method: "Endorse",
                peer: "uid 1".into(),
                caller: None,
                purpose: None,
                generation: None,
                outcome: "Ok".into(),
                message: None,
            };
            sink.write(&record).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
        let text = std::fs::read_to_string(&file).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["request_id"], "9");
    }
}
