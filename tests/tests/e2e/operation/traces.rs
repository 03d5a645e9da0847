//! Traces of calls, as an OpenTelemetry collector gets them by OTLP over gRPC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hsmd_proto::v1;
use hsmd_tests::{Hsmd, Rpc, until};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::operation::{DOCUMENT, with_callers};

/// A call of somebody who is traced (W3C Trace Context), and one of somebody who is not.
const TRACED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNTRACED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// What came, with the name of the service that sent it.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock();
        for of_service in request.into_inner().resource_spans {
            let resource = of_service.resource.unwrap_or_default();
            let service = text(&resource.attributes, "service.name").unwrap_or_default();
            for of_scope in of_service.scope_spans {
                spans.extend(of_scope.spans.into_iter().map(|span| (service.clone(), span)));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn listen() -> (Self, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (collector, address) = (Self::default(), listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (collector, address)
    }

    /// The span of the call with this id.
    async fn span(&self, id: &str) -> (String, Span) {
        until(&format!("the span of {id}"), async || {
            let spans = self.spans.lock();
            let is_it = |span: &Span| text(&span.attributes, "request_id").as_deref() == Some(id);
            spans.iter().find(|(_, span)| is_it(span)).cloned()
        })
        .await
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

async fn sign(rpc: &Rpc, payload: &str, id: &str, parent: Option<&str>) -> Result<(), Status> {
    let mut request =
        Request::new(v1::SignRequest { payload: payload.to_owned().into(), ..Default::default() });
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    if let Some(parent) = parent {
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    }
    rpc.signer.clone().sign(request).await.map(drop)
}

#[tokio::test]
async fn a_call_is_a_span_with_its_method_caller_and_outcome() {
    let (collector, address) = Collector::listen().await;
    let hsmd = with_callers(Hsmd::initialised().await, "")
        .set("trace.endpoint", format!("http://{address}"));
    let daemon = hsmd.serve().await;
    sign(&daemon, DOCUMENT, "signed", Some(TRACED)).await.unwrap();
    sign(&daemon, r#"{"purpose":"access"}"#, "refused", None).await.unwrap_err();
    // A stop sends what is left.
    daemon.stop().await;

    for (id, outcome) in [("signed", "Ok"), ("refused", "InvalidArgument")] {
        let (service, span) = collector.span(id).await;
        assert_eq!((service.as_str(), span.name.as_str()), ("hsmd", "Sign"));
        assert_eq!(span.kind, SpanKind::Server as i32);
        for (key, expected) in
            [("rpc.system", "grpc"), ("caller", "tester"), ("rpc.grpc.status", outcome)]
        {
            assert_eq!(text(&span.attributes, key).as_deref(), Some(expected), "{key}: {span:?}");
        }
        assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{span:?}");
        assert!(!format!("{span:?}").contains("purpose"), "no piece of a payload: {span:?}");
    }
    let (_, span) = collector.span("signed").await;
    let parent = TRACED.split('-').collect::<Vec<_>>();
    assert_eq!(hex(&span.trace_id), parent[1], "the caller's trace goes on");
    assert_eq!(hex(&span.parent_span_id), parent[2]);
}

#[tokio::test]
async fn the_caller_decides_what_is_traced_and_the_ratio_where_it_does_not() {
    let (collector, address) = Collector::listen().await;
    let hsmd = with_callers(Hsmd::initialised().await, "")
        .set("trace.endpoint", format!("http://{address}"))
        .set("trace.ratio", 0.0);
    let daemon = hsmd.serve().await;
    sign(&daemon, DOCUMENT, "of-the-ratio", None).await.unwrap();
    sign(&daemon, DOCUMENT, "not-traced", Some(UNTRACED)).await.unwrap();
    sign(&daemon, DOCUMENT, "traced", Some(TRACED)).await.unwrap();
    daemon.stop().await;
    collector.span("traced").await;
    assert_eq!(collector.spans.lock().len(), 1, "nothing else: {:?}", collector.spans.lock());
}

/// A collector that is not there costs traces and nothing else.
#[tokio::test]
async fn a_daemon_serves_and_stops_without_its_collector() {
    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let hsmd = with_callers(Hsmd::initialised().await, "")
        .set("trace.endpoint", format!("http://{address}"));
    let daemon = hsmd.serve().await;
    sign(&daemon, DOCUMENT, "untold", None).await.unwrap();
    daemon.stop().await;
    let log = std::fs::read_to_string(hsmd.path("log")).unwrap();
    assert!(log.contains("ExportError") || log.contains("cannot send the last traces"), "{log}");
    let hsmd = hsmd.set("trace.endpoint", "no address at all");
    hsmd.run(&["serve"]).await.ended(64, "trace.endpoint is not usable");
    let hsmd = hsmd.set("log.filter", "info,hsmd=loud");
    hsmd.run(&["serve"]).await.ended(64, "log.filter is not valid");
    hsmd.set("trace.ratio", 1.5).run(&["check"]).await.ended(64, "trace.ratio is 0 to 1");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
