//! The names that Sign refuses: those that a parser may take for a member of an endorsement.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use hsmd_chain::Payload;
use hsmd_chain::payload::{NameError, is_reserved};

fn check(text: &str) -> Result<(), NameError> {
    Payload::parse(text).unwrap().check_names()
}

#[test]
fn names_that_fold_to_a_member_of_an_endorsement() {
    for name in [
        "publicKey",
        "expiration",
        "Purpose",
        "PURPOSE",
        "purpo\u{17f}e",
        "purpo\\u017fe",
        "publickey",
        "PublicKey",
        "PUBLICKEY",
        "public\u{212a}ey",
        "public\\u212aey",
        "\\u0070ublicKey",
        "Expiration",
        "EXPIRATION",
        "expirat\\u0049on",
    ] {
        for text in
            [format!(r#"{{"purpose":"a","{name}":1}}"#), format!(r#"{{"{name}":1,"purpose":"a"}}"#)]
        {
            assert!(matches!(check(&text), Err(NameError::Endorsement(_))), "{text}");
        }
    }
    for good in [
        r#"{"purpose":"document"}"#,
        r#"{"purpo\u0073e":"document"}"#,
        r#"{"purpose":"a","purposes":1,"public_key":2,"expirations":3,"expiry":4}"#,
        r#"{"purpose":"a","nested":{"publicKey":1,"Purpose":2,"EXPIRATION":3}}"#,
        // No other character folds to these letters, dotless i and sharp s included.
        r#"{"purpose":"a","exp\u0131ration":1,"purpoße":2,"pub1icKey":3}"#,
        "{}",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
}

#[test]
fn names_with_a_nul_at_any_depth() {
    for bad in [
        r#"{"purpose":"a","publicKey\u0000":1}"#,
        r#"{"purpose\u0000x":"a"}"#,
        r#"{"purpose":"a","b":[{"c":{"\u0000":1}}]}"#,
    ] {
        assert_eq!(check(bad), Err(NameError::Nul), "{bad}");
    }
    assert_eq!(check(r#"{"purpose":"a","b":"\u0000","\\u0000":1}"#), Ok(()));
}

#[test]
fn four_purposes_are_reserved() {
    for purpose in ["batch", "head", "health", "key-authorization"] {
        assert!(is_reserved(purpose));
    }
    for purpose in ["access", "Batch", "heads", ""] {
        assert!(!is_reserved(purpose));
    }
}
