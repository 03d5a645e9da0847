//! The functions that every signature and every verification go through, one by one: `cargo bench -p
//! hsmd-bench`. Times are for comparing two versions on one machine; what is asserted about them is
//! counted instead (chain/tests/allocations.rs, tests/tests/e2e/system/work.rs).
#![expect(clippy::expect_used, reason = "a measuring program stops when it can't measure")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{
    BodyTail, EndorsementPayload, KeyLog, Payload, Signature, SignedBody, SignedEvent,
};

const DOCUMENT: &str = r#"{"purpose":"document","text":"a document of the size of most tokens"}"#;
const SKEW: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(12 * 3600);

/// What the daemon does for a signature beside the token.
fn signing(criterion: &mut Criterion) {
    let builder = LogBuilder::of_length("hot", 2);
    let tail = BodyTail::new(builder.identity(), builder.id(1));
    let payload = Payload::parse(DOCUMENT).expect("a payload");
    let key = SoftwareKey::from_seed("a service");
    let expiration = builder.head().event().created_at();
    let endorsement =
        EndorsementPayload::new("access", *key.public_key(), expiration).expect("a payload");
    let body = tail.body(&payload);
    let signature = key.sign(body.text().as_bytes());
    let text = signature.to_string();
    criterion.bench_function("Payload::parse", |b| {
        b.iter_batched(
            || DOCUMENT.to_owned(),
            |text| Payload::parse(text).expect("a payload"),
            criterion::BatchSize::SmallInput,
        );
    });
    criterion.bench_function("BodyTail::body", |b| b.iter(|| tail.body(black_box(&payload))));
    criterion.bench_function("BodyTail::endorsement", |b| {
        b.iter(|| tail.endorsement(black_box(&endorsement)));
    });
    criterion
        .bench_function("Body::signing_input", |b| b.iter(|| black_box(&body).signing_input()));
    criterion
        .bench_function("Signature, to text", |b| b.iter(|| black_box(&signature).to_string()));
    criterion.bench_function("Signature, from text", |b| {
        b.iter(|| black_box(&text).parse::<Signature>().expect("a signature"));
    });
}

/// What a verifier does.
fn verifying(criterion: &mut Criterion) {
    let builder = LogBuilder::of_length("hot", 100);
    let (log, last) = (builder.log(), builder.head());
    let now = last.event().created_at();
    let all_but_last = builder.events()[..99].to_vec();
    let anchor = builder.anchor();
    let shorter = KeyLog::verify(all_but_last, &anchor, now, SKEW).expect("a log");
    let signed = builder.sign(99, DOCUMENT);
    let json = signed.to_json();
    let text = last.text();
    let signature = last.signature().to_string();
    criterion.bench_function("PublicKey::verify", |b| {
        let key = last.event().public_key();
        b.iter(|| key.verify(text.as_bytes(), last.signature()).expect("a good signature"));
    });
    criterion.bench_function("SignedEvent::parse", |b| {
        b.iter(|| SignedEvent::parse(black_box(text), &signature).expect("an event"));
    });
    criterion.bench_function("KeyLog::extend", |b| {
        b.iter(|| shorter.clone().extend(last.clone(), now, SKEW).expect("an extension"));
    });
    criterion.bench_function("SignedBody::parse", |b| {
        b.iter(|| SignedBody::parse(black_box(&json)).expect("a signed body"));
    });
    criterion.bench_function("SignedBody::verify", |b| {
        b.iter(|| signed.verify(&log, now, WINDOW).map(drop).expect("a good body"));
    });
}

criterion_group!(hot, signing, verifying);
criterion_main!(hot);
