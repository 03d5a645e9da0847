//! How a configuration file is read: TOML, unknown keys are errors, and nothing reads it later.

use std::path::{Path, PathBuf};

use hsmd_support::SecretError;
use serde::de::DeserializeOwned;

/// Why a configuration can't be used. It never carries a secret: those are in files of their own.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML of the documented shape.
    #[error("the configuration {path} is not valid:\n{message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A file that a setting names should hold a secret and does not.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A section has a value that can't be used.
    #[error("the section [{section}] is not valid")]
    Section {
        /// The section.
        section: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ConfigError {
    /// A section has a value that can't be used.
    pub fn section(
        section: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Section { section, source: source.into() }
    }
}

/// Reads a TOML file. `T` should refuse unknown fields.
///
/// # Errors
/// The file can't be read or is not what `T` wants.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.into(), message: error.to_string() })
}
