//! `POST /verify`: `{"endorsement":…,"purpose":…,"publicKey":…,"lookBack":"12h"}` against the followed log.
//! 200 says `{"valid":true,…}` or `{"valid":false,"why":…}`; 503 that the log can't be relied on now.

use std::time::Duration;

use axum::{Json, extract::State};
use bytes::Bytes;
use hsmd_chain::{
    Lifetime, PublicKey, SignedPayload, body::BodyError, endorsement::EndorsementError,
};
use hsmd_client::CheckError;
use hsmd_support::{chain, duration};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{Gateway, error::Refusal};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question<'a> {
    /// As it was published, byte for byte.
    #[serde(borrow)]
    endorsement: &'a RawValue,
    purpose: String,
    public_key: String,
    /// How long a generation counts after an ordinary rotation.
    #[serde(default = "twelve_hours", deserialize_with = "duration")]
    look_back: Duration,
}

fn twelve_hours() -> Duration {
    Duration::from_secs(12 * 3600)
}

pub(crate) async fn verify(
    State(gateway): State<Gateway>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let question: Question<'_> = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("the request: {error}")))?;
    let key = question.public_key.parse::<PublicKey>();
    let key = key.map_err(|error| Refusal::bad(format!("publicKey: {error}")))?;
    let no = |why: String| Ok(Json(json!({"valid": false, "why": why})));
    let signed = match SignedPayload::parse(question.endorsement.get()) {
        Ok(signed) => signed,
        Err(error) => return no(chain(&error)),
    };
    let (purpose, window) = (&question.purpose, question.look_back);
    match gateway.log.check_endorsement(&signed, purpose, &key, window) {
        Ok(verified) => Ok(Json(json!({
            "valid": true,
            "generationId": verified.generation_id(),
            "expiration": verified.expiration(),
        }))),
        Err(CheckError::Endorsement(error)) => no(why(&gateway, &error)),
        Err(error) => Err(error.into()),
    }
}

/// Why an endorsement does not hold. Of a generation that is no longer live: whether it was tainted.
fn why(gateway: &Gateway, error: &EndorsementError) -> String {
    if let EndorsementError::Body(BodyError::NotLive { generation_id }) = error
        && let Some(log) = gateway.log.snapshot()
        && log.stops_being_live(generation_id, Duration::ZERO) == Some(Lifetime::Tainted)
    {
        return format!("generation {generation_id} is tainted");
    }
    chain(error)
}
