//! A user's device: asks, and believes only what it has verified.

use hsmd_chain::{Digest, SignedPayload};
use hsmd_client::{CheckError, Clock, VerifiedLog};
use hsmd_protocol::access::AccessMembers;
use hsmd_protocol::client::{self, ErrorReply, KeyChain, Outgoing};
use hsmd_protocol::{
    CreateAccount, DeviceReference, Operation, PrivateKey, Reply, UnlinkDevice, key_hash,
};
use hsmd_service::random;
use http_body_util::BodyExt;
use hyper_util::{client::legacy, client::legacy::connect::HttpConnector, rt::TokioExecutor};
use serde_json::Value;

use crate::WINDOW;
use crate::fleet::stack::Face;

/// HTTP to one service. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) url: String,
    client: legacy::Client<HttpConnector, String>,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// A reply that was verified.
    Accepted,
    /// The service said no: status and code.
    Refused(u16, String),
    /// The service replied, but nobody vouches for the key that it replied with.
    Unendorsed,
    /// The service replied, but the keys service or the key log could not be asked about it.
    Unknown,
}

/// A device of an account, with a session.
pub(crate) struct User {
    identity: Digest,
    session: KeyChain,
    token: String,
}

impl Http {
    pub(crate) fn new(url: &str) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { url: url.to_owned(), client }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        self.ask("GET", path, String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: String) -> (u16, Vec<u8>) {
        self.ask("POST", path, body).await
    }

    /// The status, 0 without an answer, and the body.
    async fn ask(&self, method: &str, path: &str, body: String) -> (u16, Vec<u8>) {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let Ok(response) = self.client.request(request).await else { return (0, Vec::new()) };
        let status = response.status().as_u16();
        let body = response.into_body().collect().await;
        body.map_or((0, Vec::new()), |body| (status, body.to_bytes().to_vec()))
    }
}

impl User {
    /// Makes an account and a session; everything must go well.
    pub(crate) async fn enrol(fleet: &Face) -> Self {
        Self::enrol_device(fleet).await.0
    }

    /// The same, and then unlinks the device.
    pub(crate) async fn revoked(fleet: &Face) -> Self {
        let (user, device, keys) = Self::enrol_device(fleet).await;
        let reveal = keys.reveal(1).unwrap();
        let authentication = client::rotation(user.identity, device, &reveal);
        let unlink = UnlinkDevice { authentication, link: DeviceReference { device } };
        let unlink = Outgoing::signed(&unlink, random::nonce(), reveal.key);
        send(&fleet.auth[0], &unlink).await;
        user
    }

    async fn enrol_device(fleet: &Face) -> (Self, Digest, KeyChain) {
        let auth = &fleet.auth[0];
        let chain = || KeyChain::from_keys(std::iter::repeat_with(random::key).take(3)).unwrap();
        let (keys, session) = (chain(), chain());
        let new = client::new_account(&keys, key_hash(random::key().public_key()));
        let (identity, device) = (new.identity, new.device);
        let create = CreateAccount { authentication: new };
        send(auth, &Outgoing::signed(&create, random::nonce(), keys.current())).await;
        let challenge = send(auth, &Outgoing::request_session(identity, random::nonce())).await;
        let challenge = challenge.authentication.nonce;
        let answer =
            Outgoing::create_session(device, challenge, &session, random::nonce(), keys.current());
        let token = send(auth, &answer).await.access.token;
        (Self { identity, session, token }, device, keys)
    }

    /// A request to the app, with its nonce.
    pub(crate) fn request(&self) -> (String, hsmd_chain::Nonce) {
        let nonce = random::nonce();
        let timestamp = Clock::system().now().into();
        let members = AccessMembers { nonce, timestamp, token: self.token.clone() };
        let key: &PrivateKey = self.session.current();
        let request = r#"{"foo":"a","bar":"b"}"#;
        (client::access_request(&members, request, key).unwrap(), nonce)
    }

    /// Asks the app for something.
    pub(crate) async fn access(&self, fleet: &Face) -> Outcome {
        let (text, nonce) = self.request();
        let (status, body) = fleet.app.post("/foo/bar", text).await;
        judge(fleet, status, &body, &nonce).await
    }

    /// Asks one of auth for a challenge.
    pub(crate) async fn challenge(&self, fleet: &Face, replica: usize) -> Outcome {
        let request = Outgoing::request_session(self.identity, random::nonce());
        let auth = &fleet.auth[replica];
        let (status, body) = auth.post(request.route(), request.text.clone()).await;
        judge(fleet, status, &body, &request.nonce).await
    }
}

/// Verifies a reply as a device does: the key by the keys service and the log, the text by the key.
async fn judge(fleet: &Face, status: u16, body: &[u8], nonce: &hsmd_chain::Nonce) -> Outcome {
    if status != 200 {
        let code = ErrorReply::parse(body).map(|error| error.code).unwrap_or_default();
        return Outcome::Refused(status, code);
    }
    let reply = Reply::<'_, Value>::parse(body).expect("a reply of the documented form");
    let key = *reply.server_identity();
    let verdict = vouched_for(&fleet.keys, &fleet.log, &key).await;
    if verdict == Outcome::Accepted {
        reply.verify(&key, nonce).expect("signed by the key that it names, for this request");
    }
    verdict
}

async fn vouched_for(keys: &Http, log: &VerifiedLog, key: &hsmd_chain::PublicKey) -> Outcome {
    let (status, text) = keys.get(&format!("/keys/{key}")).await;
    match status {
        200 => {}
        404 => return Outcome::Unendorsed,
        _ => return Outcome::Unknown,
    }
    let endorsement = SignedPayload::parse(&text).expect("an endorsement of the documented form");
    match log.check_endorsement(&endorsement, "response", key, WINDOW) {
        Ok(_) => Outcome::Accepted,
        Err(CheckError::Endorsement(_)) => Outcome::Unendorsed,
        Err(_) => Outcome::Unknown,
    }
}

/// Sends a request that must succeed, and returns the response.
async fn send<O: Operation>(http: &Http, request: &Outgoing<O>) -> O::Response {
    let (status, body) = http.post(request.route(), request.text.clone()).await;
    assert_eq!(status, 200, "{}: {}", O::ROUTE, String::from_utf8_lossy(&body));
    let reply = Reply::<'_, O::Response>::parse(&body).unwrap();
    let key = *reply.server_identity();
    reply.verify(&key, &request.nonce).unwrap()
}
