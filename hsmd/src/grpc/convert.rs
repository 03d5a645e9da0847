//! Between messages and domain types.

use std::time::{Duration, Instant};

use hsmd_chain::{Digest, KeyLog, Payload, PublicKey, Signature, SignedEvent};
use hsmd_proto::v1;
use hsmd_support::chain;
use http::HeaderMap;
use tonic::Status;
use tonic::codegen::Bytes;

use super::status::invalid;
use crate::keylog::{ActionRow, MAX_REASON, contradiction, is_reason};
use crate::signer::{Generation, Leaf, Signed};

/// The largest document to be signed.
const MAX_PAYLOAD: usize = 64 * 1024;

/// When the caller stops waiting, from the header `grpc-timeout` (digits and a unit).
pub fn deadline(headers: &HeaderMap) -> Option<Instant> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    };
    Instant::now().checked_add(timeout)
}

/// A ttl in whole milliseconds, at least a second.
pub fn ttl(request: &v1::EndorseRequest) -> Result<Duration, Status> {
    let bad = |message| invalid("MALFORMED_TTL", message);
    let ttl = request.ttl.as_ref().ok_or_else(|| bad("ttl is missing"))?;
    let ttl = Duration::try_from(*ttl).map_err(|_| bad("ttl is negative or out of range"))?;
    if ttl < Duration::from_secs(1) {
        return Err(bad("ttl is less than one second"));
    }
    Ok(Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)))
}

pub fn public_key(text: &str) -> Result<PublicKey, Status> {
    text.parse()
        .map_err(|error| invalid("MALFORMED_PUBLIC_KEY", format!("public_key is refused: {error}")))
}

/// A document with its purpose. Whether the caller may have it signed is the policy's question.
///
/// # Errors
/// INVALID_ARGUMENT, with the reason: too large, not a payload, one that could pass for an endorsement,
/// or without a purpose.
pub fn document(bytes: Bytes) -> Result<(Payload, String), Status> {
    let bad = |message: String| invalid("MALFORMED_PAYLOAD", message);
    if bytes.len() > MAX_PAYLOAD {
        return Err(invalid(
            "PAYLOAD_TOO_LARGE",
            format!("the payload has {} bytes, {MAX_PAYLOAD} are allowed", bytes.len()),
        ));
    }
    let payload = Payload::parse(Vec::from(bytes))
        .map_err(|error| bad(format!("the payload is refused: {}", chain(&error))))?;
    payload.check_names().map_err(|error| bad(format!("the payload is refused: {error}")))?;
    let purpose = payload.string("purpose").ok_or_else(|| {
        bad("the payload has no top-level string `purpose`, which names a signing purpose".into())
    })?;
    Ok((payload, purpose))
}

pub fn expected_generation(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|_| {
        invalid(
            "MALFORMED_GENERATION_ID",
            "expected_generation_id is required: the id of the head, as Status shows it",
        )
    })
}

pub fn reason(text: &str) -> Result<String, Status> {
    if is_reason(text) {
        return Ok(text.to_owned());
    }
    Err(invalid(
        "MALFORMED_REASON",
        format!(
            "reason is required: 1 to {MAX_REASON} characters, not blank, no control or bidi characters"
        ),
    ))
}

pub fn event(event: &SignedEvent) -> v1::Event {
    v1::Event { text: event.text().to_owned(), signature: event.signature().to_string() }
}

/// A record, held against the log where there is one.
pub fn action(row: ActionRow, log: Option<&KeyLog>) -> v1::AdminRecord {
    let contradiction = log.and_then(|log| contradiction(&row.action, row.sequence_number, log));
    v1::AdminRecord {
        number: row.number,
        at: row.at,
        action: row.action,
        caller: row.caller,
        reason: row.reason,
        request_id: row.request_id,
        sequence_number: row.sequence_number,
        file_digest: row.file_digest.unwrap_or_default(),
        contradiction: contradiction.unwrap_or_default(),
    }
}

pub fn signed_body(signed: Signed) -> v1::SignedBody {
    let Signed { body, signature, generation } = signed;
    body_message(body.into_bytes().into(), &signature, &generation)
}

/// The body of a batch, which the replies to several callers share.
pub fn batch_body(signed: &Signed) -> v1::SignedBody {
    let body = Bytes::copy_from_slice(signed.body.as_bytes());
    body_message(body, &signed.signature, &signed.generation)
}

fn body_message(body: Bytes, signature: &Signature, generation: &Generation) -> v1::SignedBody {
    v1::SignedBody {
        body,
        signature: signature.to_string(),
        identity: generation.identity().to_string(),
        generation_id: generation.id().to_string(),
        sequence_number: generation.sequence_number(),
    }
}

/// A leaf of the reply's batch of this number, with its path, which is made here.
pub fn leaf(leaf: Leaf, batch: usize) -> v1::Leaf {
    let path = leaf.path().iter().map(ToString::to_string).collect();
    let Leaf { payload, index, .. } = leaf;
    v1::Leaf { payload: payload.into_bytes().into(), index, path, batch: batch as u32 }
}

pub fn head_statement(signed: &Signed) -> v1::HeadStatement {
    v1::HeadStatement {
        body: Bytes::copy_from_slice(signed.body.as_bytes()),
        signature: signed.signature.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read() {
        let with = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            deadline(&headers).map(|at| at.saturating_duration_since(Instant::now()))
        };
        assert!(with("5S").unwrap() > Duration::from_secs(4));
        assert!(with("99999999H").is_some());
        for bad in ["", "S", "5", "5x", "123456789S", "-1S"] {
            assert!(with(bad).is_none(), "{bad}");
        }
    }
}
