//! Members in the order that the wire form gives: what we read is compared with what we would write.
//!
//! For `#[serde(with = "crate::ordered")]`: a value read in this way had, byte for byte, the text that
//! [`compact`] writes for it, so it is compact, its members in the declared order, nothing double.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error};
use serde_json::value::RawValue;

pub(crate) fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.serialize(to)
}

pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Serialize + DeserializeOwned,
    D: Deserializer<'de>,
{
    let text = <&RawValue>::deserialize(from)?.get();
    let value: T = serde_json::from_str(text).map_err(D::Error::custom)?;
    if compact(&value) == text {
        Ok(value)
    } else {
        Err(D::Error::custom("not compact, or members out of order"))
    }
}

/// The compact JSON text of one of our wire types.
#[expect(
    clippy::expect_used,
    reason = "serde_json fails only for maps with non-string keys and failing Serialize impls, and our wire types have neither"
)]
pub(crate) fn compact<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("wire types serialize")
}

/// The same text as a JSON value that is written as it is.
#[expect(clippy::expect_used, reason = "what serde_json has written is JSON")]
pub(crate) fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    RawValue::from_string(compact(value)).expect("serde_json writes JSON")
}
