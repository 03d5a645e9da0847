//! A fake of hsmd: a gRPC server on a real Unix socket that serves and signs with a log made of software
//! keys. It stands in where a test needs what no real daemon does: a log of chosen keys and times, answers
//! that lie, refusals in a chosen order. Everything else is tested with the real daemon.

mod feed;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hsmd_chain::testing::LogBuilder;
use hsmd_chain::{BatchedSignature, EndorsementPayload, SignedBody, SignedEvent};
use hsmd_proto::v1;
use hsmd_proto::v1::admin_server::{Admin, AdminServer};
use hsmd_proto::v1::key_log_server::{KeyLog, KeyLogServer};
use hsmd_proto::v1::signer_server::{Signer, SignerServer};
use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use self::feed::Feed;
use crate::now;

/// A running peer. Its socket lives in a folder of its own.
pub struct Peer {
    /// What it serves.
    pub state: Arc<State>,
    folder: tempfile::TempDir,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

/// What the peer serves and how.
pub struct State {
    /// The log; a new value is told to every reader.
    pub log: watch::Sender<LogBuilder>,
    /// Whether those who accept a batch get one.
    pub batching: AtomicBool,
    /// Errors with which the next endorsements are answered.
    pub endorse_errors: Mutex<VecDeque<Status>>,
    /// How many endorsements were asked for.
    pub endorse_calls: watch::Sender<usize>,
    /// Holds the feed back while endorsements are already made by the new head.
    pub frozen: watch::Sender<bool>,
    /// Whether heartbeats name a head that the log does not have.
    pub lying: watch::Sender<bool>,
    /// An event that is sent after the log's own, whether or not it fits.
    pub hostile: watch::Sender<Option<SignedEvent>>,
    /// The certificates of calls for the head and of watches, in DER.
    pub callers: Mutex<Vec<Vec<u8>>>,
    stop: watch::Receiver<bool>,
}

impl Peer {
    /// Serves a log.
    pub fn start(log: LogBuilder) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = Arc::new(State::new(log));
        let mut peer = Self { state, folder, running: None };
        peer.resume();
        peer
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Stops serving: connections end and the socket is gone.
    pub async fn stop(&mut self) {
        let (stop, task) = self.running.take().expect("a running peer");
        stop.send_replace(true);
        task.await.expect("the server ends");
        std::fs::remove_file(self.socket()).expect("the socket is there");
    }

    /// Serves again, the same state at the same place.
    pub fn resume(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let mut state = State::new(self.state.log.borrow().clone());
        state.stop = stopped.clone();
        self.state = Arc::new(state);
        let listener = UnixListener::bind(self.socket()).expect("a socket");
        let server = services(Server::builder(), &self.state).serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            async move {
                let mut stopped = stopped;
                let _gone = stopped.wait_for(|stop| *stop).await;
            },
        );
        let task = tokio::spawn(async move { server.await.expect("serves") });
        self.running = Some((stop, task));
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("service.sock")
    }
}

/// All three services of a state, on a server of the test's own making.
pub fn services(mut server: Server, state: &Arc<State>) -> Router {
    server
        .add_service(SignerServer::from_arc(Arc::clone(state)))
        .add_service(KeyLogServer::from_arc(Arc::clone(state)))
        .add_service(AdminServer::from_arc(Arc::clone(state)))
}

impl State {
    /// A state that serves this log and does no mischief.
    pub fn new(log: LogBuilder) -> Self {
        Self {
            log: watch::Sender::new(log),
            batching: AtomicBool::new(false),
            endorse_errors: Mutex::default(),
            endorse_calls: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
            lying: watch::Sender::new(false),
            hostile: watch::Sender::new(None),
            callers: Mutex::default(),
            stop: watch::channel(false).1,
        }
    }

    /// Appends an event made now, as the daemon does.
    pub fn append(&self, taint: bool) {
        self.log.send_modify(|log| {
            let next = log.head().event().created_at().saturating_add(Duration::from_millis(1));
            *log = log.clone().append(now().max(next), taint);
        });
    }

    fn note<T>(&self, request: &Request<T>) {
        let certificates = request.peer_certs();
        let own = certificates.as_ref().and_then(|chain| chain.first());
        self.callers.lock().extend(own.map(|own| own.to_vec()));
    }

    fn sign(&self, sign: impl FnOnce(&LogBuilder, usize) -> SignedBody) -> v1::SignedBody {
        let log = self.log.borrow();
        let number = log.events().len() - 1;
        body(&sign(&log, number), number)
    }

    /// One batch of the payloads, if the caller accepts it and the peer makes batches.
    fn batch(&self, accept: bool, payloads: &[String]) -> Option<(Vec<v1::Leaf>, v1::SignedBody)> {
        if !accept || !self.batching.load(Ordering::Relaxed) {
            return None;
        }
        let log = self.log.borrow();
        let number = log.events().len() - 1;
        let items = log.batch(number, payloads);
        let batch = body(items[0].batch().signed(), number);
        let leaf = |item: &BatchedSignature| v1::Leaf {
            payload: item.payload().to_owned().into(),
            index: item.index(),
            path: item.path().iter().map(ToString::to_string).collect(),
            batch: 0,
        };
        Some((items.iter().map(leaf).collect(), batch))
    }

    fn change(&self, expected: &str, taint: bool) -> Result<(v1::Event, u32, bool), Status> {
        let replaced =
            self.log.borrow().events().iter().position(|it| it.event().id().as_str() == expected);
        let replaced = replaced.ok_or_else(|| error(Code::FailedPrecondition, "NOT_HEAD"))?;
        let performed = replaced + 1 == self.log.borrow().events().len();
        if performed {
            self.append(taint);
        }
        let number = u32::try_from(replaced + 1).expect("a number");
        Ok((event(&self.log.borrow().events()[replaced + 1]), number, performed))
    }
}

fn body(signed: &SignedBody, number: usize) -> v1::SignedBody {
    v1::SignedBody {
        body: signed.text().to_owned().into(),
        signature: signed.signature().to_string(),
        identity: signed.identity().to_string(),
        generation_id: signed.generation_id().to_string(),
        sequence_number: u32::try_from(number).expect("a number"),
    }
}

/// An error as the daemon sends them.
pub fn error(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, hsmd_proto::ERROR_DOMAIN, []);
    Status::with_error_details(code, "said the peer", details)
}

fn statement(log: &LogBuilder) -> v1::HeadStatement {
    let statement = log.head_statement(now());
    let signed = statement.signed();
    v1::HeadStatement {
        body: signed.text().as_bytes().to_vec().into(),
        signature: signed.signature().to_string(),
    }
}

fn event(event: &SignedEvent) -> v1::Event {
    v1::Event { text: event.text().to_owned(), signature: event.signature().to_string() }
}

#[tonic::async_trait]
impl Signer for State {
    async fn endorse(
        &self,
        request: Request<v1::EndorseRequest>,
    ) -> Result<Response<v1::EndorseResponse>, Status> {
        self.endorse_calls.send_modify(|calls| *calls += 1);
        if let Some(error) = self.endorse_errors.lock().pop_front() {
            return Err(error);
        }
        let request = request.into_inner();
        let ttl = request.ttl.expect("a ttl");
        let ttl = Duration::new(ttl.seconds.unsigned_abs(), ttl.nanos.unsigned_abs());
        let expiration = now().saturating_add(ttl);
        let key = request
            .public_key
            .parse()
            .map_err(|_| error(Code::InvalidArgument, "MALFORMED_PUBLIC_KEY"))?;
        let text = expiration.to_string();
        let neighbour = r#"{"purpose":"document"}"#.to_owned();
        let payload = EndorsementPayload::new(request.purpose.as_str(), key, expiration);
        let payloads = [neighbour, payload.expect("a purpose").text()];
        if let Some((leaves, batch)) = self.batch(request.accept_batch, &payloads) {
            return Ok(Response::new(v1::EndorseResponse {
                endorsement: None,
                expiration: text,
                leaf: leaves.into_iter().nth(1),
                batch: Some(batch),
            }));
        }
        let signed =
            self.sign(|log, number| log.endorse(number, &request.purpose, &key, expiration));
        let expiration = text;
        Ok(Response::new(v1::EndorseResponse {
            endorsement: Some(signed),
            expiration,
            ..Default::default()
        }))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let request = request.into_inner();
        let payload = String::from_utf8(request.payload.to_vec()).expect("UTF-8");
        if let Some((leaves, batch)) = self.batch(request.accept_batch, slice::from_ref(&payload)) {
            let leaf = leaves.into_iter().next();
            return Ok(Response::new(v1::SignResponse { signed: None, leaf, batch: Some(batch) }));
        }
        let signed = self.sign(|log, number| log.sign(number, &payload));
        Ok(Response::new(v1::SignResponse { signed: Some(signed), ..Default::default() }))
    }

    async fn sign_batch(
        &self,
        request: Request<v1::SignBatchRequest>,
    ) -> Result<Response<v1::SignBatchResponse>, Status> {
        let request = request.into_inner();
        let payloads: Vec<String> = request
            .payloads
            .iter()
            .map(|payload| String::from_utf8(payload.to_vec()).expect("UTF-8"))
            .collect();
        if let Some((leaves, batch)) = self.batch(request.accept_batch, &payloads) {
            let batches = vec![batch];
            let response = v1::SignBatchResponse { leaves, batches, ..Default::default() };
            return Ok(Response::new(response));
        }
        let signed = payloads
            .iter()
            .map(|payload| self.sign(|log, number| log.sign(number, payload)))
            .collect();
        Ok(Response::new(v1::SignBatchResponse { signed, ..Default::default() }))
    }
}

#[tonic::async_trait]
impl KeyLog for State {
    async fn get_head(
        &self,
        request: Request<v1::GetHeadRequest>,
    ) -> Result<Response<v1::GetHeadResponse>, Status> {
        self.note(&request);
        Ok(Response::new(v1::GetHeadResponse {
            head: Some(event(self.log.borrow().head())),
            statement: Some(statement(&self.log.borrow())),
        }))
    }

    /// Pages of two events, so that every longer log takes several.
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let log = self.log.borrow();
        let from = request.into_inner().from_sequence;
        let page = log.events().iter().skip(from as usize).take(2).map(event);
        let events: Vec<_> = page.collect();
        Ok(Response::new(v1::ListEventsResponse {
            next_sequence: from + u32::try_from(events.len()).expect("a page"),
            head_sequence_number: log.head().event().sequence_number(),
            events,
        }))
    }

    type WatchEventsStream = ReceiverStream<Result<v1::WatchEventsResponse, Status>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.note(&request);
        let from = request.into_inner().from_sequence as usize;
        if from > self.log.borrow().events().len() {
            return Err(error(Code::OutOfRange, "BEYOND_HEAD"));
        }
        let (sender, receiver) = mpsc::channel(16);
        let feed = Feed {
            next: from,
            log: self.log.subscribe(),
            frozen: self.frozen.subscribe(),
            lying: self.lying.subscribe(),
            hostile: self.hostile.subscribe(),
            stop: self.stop.clone(),
            stated: None,
        };
        tokio::spawn(feed.run(sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Admin for State {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let log = self.log.borrow();
        let head = log.head();
        Ok(Response::new(v1::StatusResponse {
            identity: log.identity().to_string(),
            state: v1::ServingState::Serving.into(),
            head: Some(event(head)),
            head_sequence_number: head.event().sequence_number(),
            active_generation_id: head.event().id().to_string(),
            version: "peer".to_owned(),
            ..Default::default()
        }))
    }

    async fn list_actions(
        &self,
        _request: Request<v1::ListActionsRequest>,
    ) -> Result<Response<v1::ListActionsResponse>, Status> {
        Ok(Response::new(v1::ListActionsResponse::default()))
    }

    async fn rotate(
        &self,
        request: Request<v1::RotateRequest>,
    ) -> Result<Response<v1::RotateResponse>, Status> {
        let (event, sequence_number, performed) =
            self.change(&request.into_inner().expected_generation_id, false)?;
        Ok(Response::new(v1::RotateResponse { event: Some(event), sequence_number, performed }))
    }

    async fn taint(
        &self,
        request: Request<v1::TaintRequest>,
    ) -> Result<Response<v1::TaintResponse>, Status> {
        let (event, sequence_number, performed) =
            self.change(&request.into_inner().expected_generation_id, true)?;
        Ok(Response::new(v1::TaintResponse {
            event: Some(event),
            sequence_number,
            performed,
            key_destroyed: true,
            pending: false,
        }))
    }
}
