//! The last release's messages, each with every field set, and its methods: `tests/compat/messages.py` wrote them
//! with that release's proto files.

use hsmd_proto::{FILE_DESCRIPTOR_SET, v1};
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::Value;

const OLD: &str = include_str!("../../../compat/2026-11-21/messages.json");

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Reads a message and writes it again; what is not known any more is not in it. Also as it is printed.
fn through<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> (Vec<u8>, String) {
    let message = M::decode(bytes).unwrap();
    (message.encode_to_vec(), format!("{message:?}"))
}

macro_rules! read {
    ($name:expr, $bytes:expr, $($message:ident)*) => {
        match $name {
            $(stringify!($message) => through::<v1::$message>($bytes),)*
            other => panic!("there is no message {other} any more"),
        }
    };
}

fn read(name: &str, bytes: &[u8]) -> (Vec<u8>, String) {
    read!(name, bytes,
        SignedBody EndorseRequest EndorseResponse SignRequest SignResponse SignBatchRequest SignBatchResponse
        Event GetHeadRequest GetHeadResponse ListEventsRequest ListEventsResponse WatchEventsRequest
        WatchEventsResponse Heartbeat StatusRequest StatusResponse TokenStatus DatabaseStatus RotateRequest
        RotateResponse TaintRequest TaintResponse ListActionsRequest ListActionsResponse AdminRecord)
}

#[test]
fn every_field_of_the_last_release_is_read() {
    let old: Value = serde_json::from_str(OLD).unwrap();
    let messages = old["messages"].as_array().unwrap();
    assert!(messages.len() >= 27, "{}", messages.len());
    for message in messages {
        let name = message["name"].as_str().unwrap();
        let sent = bytes(message["bytes"].as_str().unwrap());
        let (again, printed) = read(name, &sent);
        assert_eq!(again, sent, "{name} has lost or changed a field: {printed}");
        for field in message["fields"].as_array().unwrap() {
            let field = field.as_str().unwrap();
            assert!(printed.contains(field), "{name} has no {field}: {printed}");
        }
    }
}

#[test]
fn every_method_of_the_last_release_is_there() {
    let old: Value = serde_json::from_str(OLD).unwrap();
    let today = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = today.file.iter().flat_map(|file| &file.service);
    let methods: Vec<Value> = services
        .flat_map(|service| service.method.iter().map(move |method| (service.name(), method)))
        .map(|(service, method)| {
            let message = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
            serde_json::json!([
                service,
                method.name(),
                message(method.input_type()),
                message(method.output_type()),
                method.server_streaming()
            ])
        })
        .collect();
    let wanted = old["methods"].as_array().unwrap();
    assert!(wanted.len() >= 10, "{}", wanted.len());
    for method in wanted {
        assert!(methods.contains(method), "{method} is not among {methods:?}");
    }
}
