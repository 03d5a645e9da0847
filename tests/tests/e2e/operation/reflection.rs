//! Reflection, in the version of today and in the one that many tools still ask for.

use std::collections::BTreeSet;

use hsmd_tests::Hsmd;
use tonic::transport::{Channel, Endpoint};

/// The services that one version of reflection lists.
macro_rules! listed {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let asked = tokio_stream::once(request);
        let answers = ServerReflectionClient::new($channel).server_reflection_info(asked).await;
        let answer = answers.unwrap().into_inner().message().await.unwrap().expect("an answer");
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
            }
            other => panic!("{other:?}"),
        }
    }};
}

fn channel(hsmd: &Hsmd, socket: &str) -> Channel {
    let uri = format!("unix://{}", hsmd.path(socket).display());
    Endpoint::from_shared(uri).unwrap().connect_lazy()
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services() {
    let hsmd = Hsmd::initialised().await;
    let _daemon = hsmd.serve().await;
    for (socket, services) in [
        ("service.sock", &["hsmd.v1.Signer", "hsmd.v1.KeyLog"][..]),
        ("admin.sock", &["hsmd.v1.Admin"][..]),
    ] {
        let channel = channel(&hsmd, socket);
        for listed in [listed!(v1, channel.clone()), listed!(v1alpha, channel.clone())] {
            for service in services {
                assert!(listed.contains(*service), "{socket}: {listed:?}");
            }
        }
    }
}
