//! Runs the `hsmd-softhsm` command: how a test sets up and inspects a token.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::{Error, ObjectInfo, Selection, TokenFolder, TokenInfo};

/// The `hsmd-softhsm` command, bound to one token. Every method is one child process, because the
/// module's configuration belongs to a process.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Path of the command.
    pub program: PathBuf,
    /// The token's folder.
    pub dir: PathBuf,
    /// The token's label.
    pub label: String,
    /// The file that holds the user PIN.
    pub pin_file: PathBuf,
}

impl Tool {
    /// Makes the token if it is not there and returns its folder.
    pub fn provision(&self) -> Result<TokenFolder, Error> {
        self.run("provision", &[])?;
        TokenFolder::open(&self.dir)
    }

    /// What the token says of itself.
    pub fn info(&self) -> Result<TokenInfo, Error> {
        parse("info", &self.run("info", &[])?)
    }

    /// The objects on the token, ordered by label, id and class.
    pub fn keys(&self) -> Result<Vec<ObjectInfo>, Error> {
        self.run("keys", &[])?.lines().map(|line| parse("keys", line)).collect()
    }

    /// Makes a key pair for a sequence number and describes its public half.
    pub fn generate(&self, key_label: &str, id: u32) -> Result<ObjectInfo, Error> {
        let selection = Selection::pair(key_label, id);
        parse("generate", &self.run("generate", &arguments(&selection))?)
    }

    /// Copies the selected objects: a duplicate of a pair.
    pub fn copy(&self, selection: &Selection) -> Result<(), Error> {
        self.run("copy", &arguments(selection)).map(drop)
    }

    /// Destroys the selected objects; an empty selection is an error.
    pub fn destroy(&self, selection: &Selection) -> Result<(), Error> {
        self.run("destroy", &arguments(selection)).map(drop)
    }

    fn run(&self, command: &'static str, arguments: &[String]) -> Result<String, Error> {
        let output = Command::new(&self.program)
            .args([OsStr::new(command), OsStr::new("--dir"), self.dir.as_os_str()])
            .args([OsStr::new("--label"), OsStr::new(&self.label)])
            .args([OsStr::new("--pin-file"), self.pin_file.as_os_str()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Run { program: self.program.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Failed { command, status: output.status, stderr })
    }
}

fn arguments(selection: &Selection) -> Vec<String> {
    let mut arguments = vec![format!("--key-label={}", selection.label)];
    arguments.extend(selection.id.map(|id| format!("--id={id}")));
    arguments.extend(selection.class.map(|class| format!("--class={}", class.name())));
    arguments
}

fn parse<T: DeserializeOwned>(command: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Output { command, source })
}
