//! The whole key log in `state_dir`: a line an event, in the published form, appended and synced. It is as
//! public as the log, and verified wherever it is used; with it a database that has lost events heals
//! without anybody's copy.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hsmd_chain::{Digest, KeyLog, SignedEvent};
use hsmd_support::durable;

use super::JournalError;

/// The file of one identity.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// How many events it holds.
    events: usize,
    /// How many bytes these are; what follows was cut off by a crash, or damaged.
    length: u64,
}

impl LogFile {
    /// The file of an identity, and the events in it: well-formed, but not verified. What is not is left
    /// out, with all after it; [`extend`](Self::extend) replaces it.
    ///
    /// # Errors
    /// [`JournalError::Read`]. What is damaged ends the log with a warning.
    pub fn open(
        state_dir: &Path,
        identity: &Digest,
    ) -> Result<(Self, Vec<SignedEvent>), JournalError> {
        let path = state_dir.join(format!("{identity}.{EXTENSION}"));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(JournalError::Read { path, source }),
        };
        let (mut events, mut length) = (Vec::new(), 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(event) = parse(line) else {
                tracing::warn!(path = %path.display(), events = events.len(), "the log's file ends in damage");
                break;
            };
            events.push(event);
            length += line.len() as u64;
        }
        Ok((Self { path, events: events.len(), length }, events))
    }

    /// The one identity whose log is in this folder; none where there are several or none.
    pub fn only_identity(state_dir: &Path) -> Option<Digest> {
        let entries = std::fs::read_dir(state_dir).ok()?;
        let mut identities = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok()
        });
        identities.next().filter(|_| identities.next().is_none())
    }

    /// Makes the file of a log's identity hold this log and nothing else.
    ///
    /// # Errors
    /// [`JournalError::Write`]; the file holds what it held before.
    pub fn replace(state_dir: &Path, log: &KeyLog) -> Result<(), JournalError> {
        let path = state_dir.join(format!("{}.{EXTENSION}", log.identity()));
        Self { path, events: 0, length: 0 }.extend(log)
    }

    /// Appends the events of a log that the file lacks, durably.
    ///
    /// # Errors
    /// [`JournalError::Write`]; the file holds what it held before.
    pub fn extend(&mut self, log: &KeyLog) -> Result<(), JournalError> {
        let Some(new) = log.events().get(self.events..).filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        let mut lines = String::new();
        for event in new {
            event.write_json(&mut lines);
            lines.push('\n');
        }
        let error = |source| JournalError::Write { path: self.path.clone(), source };
        self.write(lines.as_bytes()).map_err(error)?;
        self.events = log.events().len();
        self.length += lines.len() as u64;
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        if self.length == 0 {
            return durable::write(&self.path, bytes);
        }
        let mut file: File = OpenOptions::new().write(true).mode(0o600).open(&self.path)?;
        file.set_len(self.length)?;
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

const EXTENSION: &str = "log";

fn parse(line: &[u8]) -> Option<SignedEvent> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut events = KeyLog::parse_json(format!("[{line}]").as_bytes()).ok()?;
    events.pop().filter(|_| events.is_empty())
}

#[cfg(test)]
mod tests {
    use hsmd_chain::testing::LogBuilder;

    use super::*;

    #[test]
    fn a_log_is_appended_event_by_event_and_survives_a_torn_write() {
        let (folder, history) = (tempfile::tempdir().unwrap(), LogBuilder::of_length("file", 5));
        let identity = history.log().identity();
        let open = || LogFile::open(folder.path(), &identity).unwrap();
        assert!(open().1.is_empty() && LogFile::only_identity(folder.path()).is_none());
        for known in [1, 2, 4] {
            let (mut file, _) = open();
            file.extend(&history.rewound_to(known).log()).unwrap();
            file.extend(&history.rewound_to(known).log()).unwrap();
            assert_eq!(open().1, history.events()[..known]);
        }
        assert_eq!(LogFile::only_identity(folder.path()), Some(identity));

        let path = folder.path().join(format!("{identity}.log"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let (mut file, events) = open();
        assert_eq!(events, history.events()[..3]);
        file.extend(&history.log()).unwrap();
        assert_eq!(open().1, history.events());

        let text = std::fs::read_to_string(&path).unwrap();
        let damaged = text.replacen("\"sequenceNumber\":2", "\"sequenceNumber\":7", 1);
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(open().1, history.events()[..2]);
    }
}
