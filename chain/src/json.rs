//! What serde leaves open about the shape of a JSON text.

use serde::{Deserialize, de::Error as _};

/// Deserialises a struct from an object only: serde would take an array of the members as well.
pub(crate) fn from_object<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
    if json.trim_start().starts_with('{') {
        serde_json::from_str(json)
    } else {
        Err(serde_json::Error::custom("not an object"))
    }
}
