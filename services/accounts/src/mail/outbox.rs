//! A file in the place of a mail server, for development.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{CheckError, Mail, SendError};

/// A file that gets one JSON object a line.
pub(super) struct Outbox(PathBuf);

impl Outbox {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether it can be written; says where it is.
    pub(super) fn check(&self) -> Result<String, CheckError> {
        let shown = self.0.display().to_string();
        match open(&self.0) {
            Ok(_) => Ok(format!("the outbox {shown} can be written")),
            Err(error) => Err(CheckError::Outbox(shown, error)),
        }
    }

    /// One write for each line: replicas may share the file.
    pub(super) async fn append(&self, mail: Mail) -> Result<(), SendError> {
        let path = self.0.clone();
        let append = move || {
            let mut line = serde_json::to_vec(&mail).map_err(io::Error::other)?;
            line.push(b'\n');
            open(&path)?.write_all(&line)
        };
        let written = tokio::task::spawn_blocking(append).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(SendError::Outbox)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
