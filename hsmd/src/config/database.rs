//! `[database]`: where the key log lives and as whom to go there.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

/// How to reach Postgres.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A file with the URL of the role that may only SELECT and INSERT.
    pub writer_url_file: PathBuf,
    /// A file with the URL of the role that owns the schema; only `migrate` reads it.
    pub owner_url_file: Option<PathBuf>,
    /// The schema of this identity's tables.
    #[serde(default = "schema", deserialize_with = "identifier")]
    pub schema: String,
}

fn schema() -> String {
    "hsmd".into()
}

/// A lower-case SQL identifier, so that it never needs quotes.
fn identifier<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.is_empty()
        || text.len() > 48
        || text.starts_with(|c: char| c.is_ascii_digit())
        || !text.chars().all(plain)
    {
        return Err(serde::de::Error::custom("a schema is up to 48 of a-z, 0-9 and _"));
    }
    Ok(text)
}

/// Reads a file that holds one secret on one line, without its line end.
///
/// # Errors
/// The file can't be read or is empty.
pub fn read_secret(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the file is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
