//! A file in the place of a mail server, for development.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use super::{Mail, SendError};

/// A file that gets one JSON object a line.
pub(super) struct Outbox(PathBuf);

impl Outbox {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// One write for each line: replicas may share the file.
    pub(super) async fn append(&self, mail: Mail) -> Result<(), SendError> {
        let path = self.0.clone();
        let append = move || {
            let mut line = serde_json::to_vec(&mail).map_err(io::Error::other)?;
            line.push(b'\n');
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o600).open(path)?.write_all(&line)
        };
        let written = tokio::task::spawn_blocking(append).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(SendError::Outbox)
    }
}
