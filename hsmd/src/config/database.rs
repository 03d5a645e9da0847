//! `[database]`: where the key log lives and as whom to go there.

use std::path::PathBuf;

use serde::Deserialize;

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
