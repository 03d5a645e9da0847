//! Every malformed or forbidden request gets its documented code and reason, and changes nothing.

use std::time::Duration;

use hsmd_chain::PublicKey;
use hsmd_proto::v1;
use hsmd_tests::{Hsmd, Refusal, Rpc};
use tonic::Code::{self, InvalidArgument, OutOfRange, PermissionDenied, ResourceExhausted};

use crate::system::{DOCUMENT, WINDOW, service_key};

/// A call that is to be refused.
#[derive(Clone, Debug)]
enum Call {
    Endorse(&'static str, String, Option<prost_types::Duration>),
    Sign(Vec<u8>),
    Batch(Vec<Vec<u8>>),
    Rotate(String, String),
    Taint(String, String),
    List(u32),
    Watch(u32),
    Head,
    Status,
}

impl Call {
    async fn refused(self, rpc: &Rpc) -> Refusal {
        let context = format!("{self:?}");
        let (mut signer, mut log) = (rpc.signer.clone(), rpc.key_log.clone());
        let mut admin = rpc.admin.clone();
        let refusal = match self {
            Call::Endorse(purpose, public_key, ttl) => {
                let purpose = purpose.into();
                signer
                    .endorse(v1::EndorseRequest { purpose, public_key, ttl, ..Default::default() })
                    .await
                    .err()
            }
            Call::Sign(payload) => signer
                .sign(v1::SignRequest { payload: payload.into(), ..Default::default() })
                .await
                .err(),
            Call::Batch(payloads) => {
                let payloads = payloads.into_iter().map(Into::into).collect();
                signer
                    .sign_batch(v1::SignBatchRequest { payloads, ..Default::default() })
                    .await
                    .err()
            }
            Call::Rotate(expected_generation_id, reason) => {
                admin.rotate(v1::RotateRequest { expected_generation_id, reason }).await.err()
            }
            Call::Taint(expected_generation_id, reason) => {
                admin.taint(v1::TaintRequest { expected_generation_id, reason }).await.err()
            }
            Call::List(from_sequence) => {
                log.list_events(v1::ListEventsRequest { from_sequence, page_size: 0 }).await.err()
            }
            Call::Watch(from_sequence) => {
                log.watch_events(v1::WatchEventsRequest { from_sequence }).await.err()
            }
            Call::Head => log.get_head(v1::GetHeadRequest {}).await.err(),
            Call::Status => admin.status(v1::StatusRequest {}).await.err(),
        };
        refusal.unwrap_or_else(|| panic!("not refused: {context:.200}")).into()
    }
}

/// Asserts the answer to each call, and that nothing at all has changed.
async fn assert_refused(hsmd: &Hsmd, calls: impl IntoIterator<Item = (Call, Code, &'static str)>) {
    let state = async || {
        let objects = hsmd.token.objects();
        (hsmd.database.events().await, hsmd.database.admin_rows().await, objects)
    };
    let daemon = hsmd.serve().await;
    let before = state().await;
    for (call, code, reason) in calls {
        let refusal = call.clone().refused(&daemon).await;
        let found = (refusal.code, refusal.reason.as_str());
        assert_eq!(found, (code, reason), "{call:.200?}: {}", refusal.message);
        assert!(!refusal.message.is_empty(), "{call:.200?}");
    }
    assert_eq!(state().await, before);
    daemon.stop().await;
}

fn ttl(seconds: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_secs(seconds)).ok()
}

#[tokio::test]
async fn endorse() {
    let key = || service_key().to_string();
    let with_ttl = |ttl| Call::Endorse("access", key(), ttl);
    let for_purpose = |purpose| Call::Endorse(purpose, key(), ttl(60));
    let of_key = |key: String| Call::Endorse("access", key, ttl(60));
    let negative = prost_types::Duration { seconds: -60, nanos: 0 };
    let nanos = prost_types::Duration { seconds: 0, nanos: 999_999_999 };
    let abnormal = prost_types::Duration { seconds: i64::MAX, nanos: i32::MAX };
    let wrong_code = format!("1AAJ{}", &key()[4..]);
    let calls = [
        (with_ttl(None), InvalidArgument, "MALFORMED_TTL"),
        (with_ttl(ttl(0)), InvalidArgument, "MALFORMED_TTL"),
        (with_ttl(Some(negative)), InvalidArgument, "MALFORMED_TTL"),
        (with_ttl(Some(nanos)), InvalidArgument, "MALFORMED_TTL"),
        (with_ttl(Some(abnormal)), PermissionDenied, "TTL_TOO_LONG"),
        (with_ttl(ttl(24 * 3600 + 1)), PermissionDenied, "TTL_TOO_LONG"),
        (with_ttl(ttl(i64::MAX as u64)), PermissionDenied, "TTL_TOO_LONG"),
        (for_purpose(""), InvalidArgument, "MALFORMED_PURPOSE"),
        (for_purpose("Access"), InvalidArgument, "MALFORMED_PURPOSE"),
        (for_purpose("access\",\"x\":\""), InvalidArgument, "MALFORMED_PURPOSE"),
        (for_purpose("health"), InvalidArgument, "PURPOSE_RESERVED"),
        (for_purpose("key-authorization"), InvalidArgument, "PURPOSE_RESERVED"),
        (for_purpose("document"), InvalidArgument, "PURPOSE_WRONG_KIND"),
        (for_purpose("response"), PermissionDenied, "PURPOSE_NOT_ALLOWED"),
        (for_purpose("unheard-of"), PermissionDenied, "PURPOSE_NOT_ALLOWED"),
        (of_key(String::new()), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(key()[..47].into()), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(key() + "A"), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(key() + "\n"), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(wrong_code), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(off_the_curve()), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(with_first_byte("BA")), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(with_first_byte("AA")), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
        (of_key(uncompressed()), InvalidArgument, "MALFORMED_PUBLIC_KEY"),
    ];
    assert_refused(&Hsmd::initialised().await, calls).await;
}

/// A compressed point of canonical form whose x has no y: of the small x, every second hasn't.
fn off_the_curve() -> String {
    let with_x = |x: char| format!("1AAIAgAA{}AAA{x}", "AAAA".repeat(9));
    ('B'..='Z').map(with_x).find(|text| text.parse::<PublicKey>().is_err()).unwrap()
}

/// A good key's text with another tag than 02 or 03 in its first byte: 04 is uncompressed.
fn with_first_byte(base64: &str) -> String {
    format!("1AAI{base64}{}", &service_key().as_str()[6..])
}

/// An uncompressed point has 65 bytes: 88 characters.
fn uncompressed() -> String {
    format!("1AAIB{}", "A".repeat(87))
}

#[tokio::test]
async fn sign() {
    let sign = |text: &str| Call::Sign(text.as_bytes().to_vec());
    let malformed = |call| (call, InvalidArgument, "MALFORMED_PAYLOAD");
    let purpose = |json: &str| format!(r#"{{"purpose":{json}}}"#);
    let deep = |levels: usize| {
        format!(r#"{{"purpose":"document","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    let large = format!(r#"{{"purpose":"document","text":"{}"}}"#, "a".repeat(64 * 1024));
    let calls = [
        malformed(sign("")),
        malformed(sign("{")),
        malformed(sign("null")),
        malformed(sign("[]")),
        malformed(sign("\"document\"")),
        malformed(sign("{\"purpose\":\"document\",}")),
        malformed(sign(&format!("{DOCUMENT}{DOCUMENT}"))),
        malformed(sign(&format!("\u{feff}{DOCUMENT}"))),
        malformed(sign(&format!(" {DOCUMENT}"))),
        malformed(sign(&format!("{DOCUMENT}\n"))),
        malformed(sign(r#"{"purpose": "document"}"#)),
        malformed(sign(r#"{"purpose":"document","purpose":"document"}"#)),
        malformed(sign(r#"{"purpose":"document","purpos\u0065":"other"}"#)),
        malformed(sign(r#"{"purpose":"document","a":{"b":1,"b":2}}"#)),
        malformed(sign(r#"{"purpose":"document","a":[{"b":1,"\u0062":2}]}"#)),
        malformed(sign(r#"{"purpose":"document","a":"\ud800"}"#)),
        malformed(sign(r#"{"purpose":"document","a":01}"#)),
        malformed(sign(r#"{"purpose":"document","a":NaN}"#)),
        malformed(Call::Sign(b"{\"purpose\":\"document\",\"a\":\"\xff\"}".to_vec())),
        malformed(sign(&deep(32))),
        malformed(sign("{}")),
        malformed(sign(&purpose("7"))),
        malformed(sign(&purpose("null"))),
        malformed(sign(r#"{"purpose":"document","publicKey":"x"}"#)),
        malformed(sign(r#"{"purpose":"document","public\u004bey":1}"#)),
        malformed(sign(r#"{"purpose":"document","expiration":null}"#)),
        // Names that pass for an endorsement's in parsers that fold case or cut strings.
        malformed(sign(r#"{"purpose":"document","PublicKey":"x"}"#)),
        malformed(sign(r#"{"purpose":"document","EXPIRATION":1}"#)),
        malformed(sign(r#"{"purpose":"document","purpo\u017fe":"access"}"#)),
        malformed(sign(r#"{"purpose":"document","public\u212aey":1}"#)),
        malformed(sign(r#"{"purpose":"document","a\u0000":1}"#)),
        (sign(&large), InvalidArgument, "PAYLOAD_TOO_LARGE"),
        // Refused by the transport, before there is a request to speak of.
        (Call::Sign(vec![b'a'; 5 << 20]), OutOfRange, ""),
        (sign(&purpose("\"\"")), InvalidArgument, "MALFORMED_PURPOSE"),
        (sign(&purpose("\"Document\"")), InvalidArgument, "MALFORMED_PURPOSE"),
        (sign(&purpose("\"health\"")), InvalidArgument, "PURPOSE_RESERVED"),
        (sign(&purpose("\"key-authorization\"")), InvalidArgument, "PURPOSE_RESERVED"),
        (sign(&purpose("\"access\"")), InvalidArgument, "PURPOSE_WRONG_KIND"),
        (sign(&purpose("\"other\"")), PermissionDenied, "PURPOSE_NOT_ALLOWED"),
        (sign(&purpose("\"unheard-of\"")), PermissionDenied, "PURPOSE_NOT_ALLOWED"),
    ];
    assert_refused(&Hsmd::initialised().await, calls).await;
}

#[tokio::test]
async fn sign_batch() {
    let good = || DOCUMENT.as_bytes().to_vec();
    let with = |bad: &str| Call::Batch(vec![good(), bad.as_bytes().to_vec(), good()]);
    let calls = [
        (Call::Batch(vec![]), InvalidArgument, "MALFORMED_PAYLOAD"),
        (Call::Batch(vec![good(); 257]), ResourceExhausted, "BATCH_TOO_LARGE"),
        (with("{}"), InvalidArgument, "MALFORMED_PAYLOAD"),
        (with(r#"{"purpose":"access"}"#), InvalidArgument, "PURPOSE_WRONG_KIND"),
        (with(r#"{"purpose":"other"}"#), PermissionDenied, "PURPOSE_NOT_ALLOWED"),
    ];
    let hsmd = Hsmd::initialised().await;
    assert_refused(&hsmd, calls).await;
    let daemon = hsmd.serve().await;
    let largest = vec![DOCUMENT.to_owned(); 256];
    assert_eq!(daemon.sign_batch(&largest).await.unwrap().len(), 256);
}

#[tokio::test]
async fn rotate_and_taint() {
    let hsmd = Hsmd::initialised().await;
    let head = hsmd.database.events().await[0].event().id().to_string();
    let long = "ü".repeat(501);
    let bad_ids = ["", "E", "0", &head[1..], &format!("{head}A"), &head.replacen('E', "F", 1)];
    let bad_ids = bad_ids.map(|id| (id.to_owned(), "why".to_owned(), "MALFORMED_GENERATION_ID"));
    let bad_reasons = ["", "a\nb", "\u{7f}", "\u{85}", &long];
    let bad_reasons = bad_reasons.map(|why| (head.clone(), why.to_owned(), "MALFORMED_REASON"));
    let calls = bad_ids.into_iter().chain(bad_reasons).flat_map(|(id, why, reason)| {
        [Call::Rotate(id.clone(), why.clone()), Call::Taint(id, why)]
            .map(|call| (call, InvalidArgument, reason))
    });
    assert_refused(&hsmd, calls).await;
}

#[tokio::test]
async fn reads_beyond_the_head() {
    let calls = [Call::List(2), Call::List(u32::MAX), Call::Watch(2), Call::Watch(u32::MAX)];
    let calls = calls.map(|call| (call, OutOfRange, "BEYOND_HEAD"));
    let hsmd = Hsmd::initialised().await;
    assert_refused(&hsmd, calls).await;
    let daemon = hsmd.serve().await;
    let refusal = Call::Watch(9).refused(&daemon).await;
    let head = daemon.head().await;
    assert_eq!(refusal.metadata["head_id"], head.event().id().to_string());
    assert_eq!(refusal.metadata["head_sequence_number"], "0");
}

/// Every call there is, well-formed.
fn every_call(head: &str) -> [Call; 9] {
    let why = || "why".to_owned();
    [
        Call::Endorse("access", service_key().to_string(), ttl(WINDOW.as_secs())),
        Call::Sign(DOCUMENT.as_bytes().to_vec()),
        Call::Batch(vec![DOCUMENT.as_bytes().to_vec()]),
        Call::Rotate(head.into(), why()),
        Call::Taint(head.into(), why()),
        Call::List(0),
        Call::Watch(0),
        Call::Head,
        Call::Status,
    ]
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let hsmd = Hsmd::initialised().await;
    let head = hsmd.database.events().await[0].event().id().to_string();
    let hsmd = hsmd.set("caller.0.uid", 4_000_000).set("admin.0.uid", 4_000_000);
    let calls = every_call(&head).map(|call| (call, PermissionDenied, "CALLER_UNKNOWN"));
    assert_refused(&hsmd, calls).await;
}

#[tokio::test]
async fn a_caller_gets_what_it_is_allowed() {
    let hsmd = Hsmd::initialised().await;
    let head = hsmd.database.events().await[0].event().id().to_string();
    let none = toml::Value::Array(vec![]);
    let hsmd = ["caller.0.endorse", "caller.0.sign", "admin.0.allow"]
        .into_iter()
        .fold(hsmd, |hsmd, list| hsmd.set(list, none.clone()))
        .set("caller.0.read_log", false);
    let calls = every_call(&head).map(|call| {
        let reason = match call {
            Call::Endorse(..) | Call::Sign(_) | Call::Batch(_) => "PURPOSE_NOT_ALLOWED",
            Call::List(_) | Call::Watch(_) | Call::Head => "READ_NOT_ALLOWED",
            Call::Rotate(..) | Call::Taint(..) | Call::Status => "ACTION_NOT_ALLOWED",
        };
        (call, PermissionDenied, reason)
    });
    assert_refused(&hsmd, calls).await;
}
