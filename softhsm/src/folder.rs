//! The folder that holds a token: SoftHSM's configuration file and its object store.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Error;

/// The configuration file, with a placeholder for the object store's folder.
const TEMPLATE: &str = include_str!("../softhsm2.conf.in");

/// A folder with a `softhsm2.conf` and the tokens that it names. Everything of a token lies in here:
/// a copy of the folder's `tokens` is a backup of the token, removing the folder removes the token.
#[derive(Debug, Clone)]
pub struct TokenFolder {
    path: PathBuf,
}

impl TokenFolder {
    /// Makes the folder, readable by its owner only, and writes the configuration file. Safe to
    /// repeat; an existing object store stays as it is.
    pub fn create(path: &Path) -> Result<Self, Error> {
        make_folder(path)?;
        let folder = Self::open(path)?;
        make_folder(&folder.tokens())?;
        write_file(&folder.conf(), &TEMPLATE.replace("@TOKENS@", &folder.tokens_text()?))?;
        Ok(folder)
    }

    /// An existing folder; its path is made absolute, as SoftHSM needs it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path =
            path.canonicalize().map_err(Error::file("cannot open the token folder", path))?;
        Ok(Self { path })
    }

    /// The configuration file: the value for `SOFTHSM2_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.path.join("softhsm2.conf")
    }

    /// The object store's folder.
    pub fn tokens(&self) -> PathBuf {
        self.path.join("tokens")
    }

    fn tokens_text(&self) -> Result<String, Error> {
        let tokens = self.tokens();
        match tokens.to_str() {
            Some(text) if !text.contains('\n') => Ok(text.to_owned()),
            _ => Err(Error::File {
                action: "cannot be written into softhsm2.conf",
                path: tokens,
                source: std::io::ErrorKind::InvalidFilename.into(),
            }),
        }
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("cannot make the folder", path))
}

/// Replaces the file in one step: a daemon that starts meanwhile reads the old or the new one.
fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&draft, path))
        .map_err(Error::file("cannot be written", path))
}
