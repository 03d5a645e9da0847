//! What is allocated on the way to a signature, counted: it may not grow unnoticed.

use allocation_counter::{AllocationInfo, measure};
use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{BodyTail, EndorsementPayload, Payload};

const DOCUMENT: &str = r#"{"purpose":"document","text":"a document of the size of most tokens"}"#;

fn count(work: impl FnOnce()) -> u64 {
    let AllocationInfo { count_total, .. } = measure(work);
    count_total
}

#[test]
fn a_signature_allocates_its_body_and_little_more() {
    let builder = LogBuilder::of_length("allocations", 2);
    let tail = BodyTail::new(builder.identity(), builder.id(1));
    let key = SoftwareKey::from_seed("a service");
    let endorsement =
        EndorsementPayload::new("access", *key.public_key(), builder.head().event().created_at());
    let endorsement = endorsement.unwrap();
    let bytes = DOCUMENT.as_bytes().to_vec();
    let mut payload = None;
    // The list of its members, and of their names, to find one that is there twice.
    assert_eq!(count(|| payload = Some(Payload::parse(bytes).unwrap())), 2);
    let payload = payload.unwrap();
    let mut body = None;
    // The text that is signed.
    assert_eq!(count(|| body = Some(tail.body(&payload))), 1);
    let body = body.unwrap();
    assert_eq!(count(|| drop(tail.endorsement(&endorsement))), 1);
    assert_eq!(count(|| assert_eq!(body.signing_input().as_bytes().len(), 32)), 0);
    let signature = key.sign(body.text().as_bytes());
    assert_eq!(count(|| drop(signature.to_string())), 1);
    assert_eq!(count(|| drop(body.into_bytes())), 0);
}
