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
        /// What the system answered.
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
        /// What is wrong with the value.
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
/// [`ConfigError::Read`], and [`ConfigError::Parse`]: it is not what `T` wants.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse(&text, path)
}

/// As [`load`], from the file's text; `path` is for messages only.
///
/// # Errors
/// [`ConfigError::Parse`]: it is not what `T` wants.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text)
        .map_err(|error| ConfigError::Parse { path: path.into(), message: place(text, &error) })
}

/// Where a TOML text is wrong and why, without its values: one may be a secret that belongs into a file of
/// its own.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let key = text.lines().nth(line - 1).and_then(|line| line.split_once('='));
    let key = key.map(|(key, _)| format!(", at {}", key.trim())).unwrap_or_default();
    format!("line {line}, column {column}{key}: {}", without_values(error.message()))
}

/// Serde quotes the value that it refuses, as `…` or "…", before what it expected.
fn without_values(message: &str) -> String {
    let quotes_value =
        ["invalid type", "invalid value", "unknown variant", "unknown time unit", "invalid length"]
            .iter()
            .any(|begin| message.starts_with(begin));
    let end = message.rfind(", expected").or_else(|| message.rfind(", supported"));
    let (value, rest) = message.split_at(end.unwrap_or(message.len()));
    match value.find(['`', '"']) {
        Some(quote) if quotes_value => format!("{}…{rest}", &value[..quote]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[expect(dead_code, reason = "only parsed")]
        pin_file: Option<PathBuf>,
        #[expect(dead_code, reason = "only parsed")]
        keep: Option<bool>,
        #[expect(dead_code, reason = "only parsed")]
        format: Option<Format>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Format {
        Text,
    }

    #[test]
    fn no_message_repeats_a_value() {
        let _text = Format::Text;
        for (text, expected) in [
            ("pin = \"hunter2\"", "line 1, column 1, at pin: unknown field `pin`, expected"),
            (
                "\npin_file = 271828",
                "line 2, column 12, at pin_file: invalid type: integer …, expected",
            ),
            (
                "keep = \"hunter2, expected\"",
                "line 1, column 8, at keep: invalid type: string …, expected",
            ),
            ("format = \"hunter2\"", "line 1, column 10, at format: unknown variant …, expected"),
            ("pin = hunter2", "line 1, column 7"),
            ("pin = \"hunter2", "line 1, column "),
        ] {
            let error = toml::from_str::<Section>(text).unwrap_err();
            let message = place(text, &error);
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains("hunter2") && !message.contains("271828"), "{message}");
        }
    }
}
