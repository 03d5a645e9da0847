//! Callers: plain gRPC clients, each with one call under way at a time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsmd_proto::v1;
use hsmd_proto::v1::signer_client::SignerClient;
use hsmd_tests::Hsmd;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::sample::Sample;

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// One document.
    Sign,
    /// One document, and no matter if it is refused, as while a taint runs.
    SignIfPossible,
    /// One endorsement.
    Endorse,
    /// One endorsement, which may be a leaf of a batch.
    EndorseAccepting,
    /// 64 documents in a call; counted as 64.
    Batch,
    /// The same, as leaves of one batch.
    BatchAccepting,
    /// The health service: a call that does nothing, the floor of gRPC itself.
    Echo,
}

const BATCH: usize = 64;
const DOCUMENT: &str = r#"{"purpose":"document","text":"a document of the size of most tokens"}"#;
const KEY: &str = "1AAIA5AZhbSNwxYbb23tNppKskVjk5JfUwnVbe-dB5X5idlh";

/// A schema and an identity, and callers who may have as many signatures as there can be.
pub(crate) async fn installation() -> Hsmd {
    let hsmd = Hsmd::initialised().await;
    hsmd.set("limits.rate.per_second", 1_000_000).set("limits.rate.burst", 1_000_000)
}

/// A connection to a Unix socket.
pub(crate) async fn connect(socket: &Path) -> Channel {
    let socket: PathBuf = socket.into();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .expect("a connection to hsmd")
}

/// Lets so many callers sign until it is dropped.
pub(crate) fn press(channel: &Channel, callers: usize) -> JoinSet<Vec<Duration>> {
    let began = Instant::now();
    let caller = |_| caller(channel.clone(), Ask::SignIfPossible, began, Duration::MAX);
    (0..callers).map(caller).collect()
}

/// Lets so many callers ask for so long. They share one connection, as the tasks of one service do.
pub(crate) async fn measure(channel: &Channel, ask: Ask, callers: usize, millis: u64) -> Sample {
    let (began, time) = (Instant::now(), Duration::from_millis(millis));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(caller(channel.clone(), ask, began, time));
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.expect("a caller"));
    }
    let mut sample = Sample::of(times, began.elapsed());
    if matches!(ask, Ask::Batch | Ask::BatchAccepting) {
        sample.rate *= BATCH as f64;
    }
    sample
}

async fn caller(channel: Channel, ask: Ask, began: Instant, time: Duration) -> Vec<Duration> {
    let mut signer = SignerClient::new(channel.clone());
    let mut health = tonic::client::Grpc::new(channel);
    let mut times = Vec::new();
    while began.elapsed() < time {
        let one = Instant::now();
        match ask {
            Ask::Sign => {
                let request = v1::SignRequest { payload: DOCUMENT.into(), ..Default::default() };
                signer.sign(request).await.expect("a signature");
            }
            Ask::SignIfPossible => {
                let request = v1::SignRequest { payload: DOCUMENT.into(), ..Default::default() };
                drop(signer.sign(request).await);
            }
            Ask::Endorse | Ask::EndorseAccepting => {
                let request = endorse_request(ask == Ask::EndorseAccepting);
                signer.endorse(request).await.expect("an endorsement");
            }
            Ask::Batch | Ask::BatchAccepting => {
                let request = v1::SignBatchRequest {
                    payloads: vec![DOCUMENT.into(); BATCH],
                    accept_batch: ask == Ask::BatchAccepting,
                };
                signer.sign_batch(request).await.expect("a batch");
            }
            Ask::Echo => echo(&mut health).await,
        }
        times.push(one.elapsed());
    }
    times
}

/// A request for an endorsement of an hour.
pub(crate) fn endorse_request(accept_batch: bool) -> v1::EndorseRequest {
    v1::EndorseRequest {
        purpose: "access".into(),
        public_key: KEY.into(),
        ttl: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        accept_batch,
    }
}

/// A call of the standard health service, without a dependency on its messages: both are bytes.
async fn echo(health: &mut tonic::client::Grpc<Channel>) {
    health.ready().await.expect("a connection");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    health.unary(tonic::Request::new(()), path, codec).await.expect("a health check");
}
