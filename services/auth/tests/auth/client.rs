//! A client for the tests: posts whatever it is told to, and plays devices by the protocol's rules.

use std::time::Duration;

use hsmd_chain::cesr::{Digest, Nonce, PublicKey};
use hsmd_protocol::{
    Authentication, CreateAccount, CreateSession, Operation, PrivateKey, RefreshSession, Reply,
    RequestSession,
    client::{self, KeyChain, Outgoing},
    key_hash,
};
pub(crate) use hsmd_service::random::{key, nonce};

/// Blocking HTTP to one service.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) url: String,
    agent: ureq::Agent,
}

/// An answer; status 0 when there was none.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: ureq::http::HeaderMap,
}

impl Http {
    pub(crate) fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .build();
        Self { url: url.to_owned(), agent: config.new_agent() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(format!("{}{path}", self.url)).call())
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        answer(self.agent.post(format!("{}{path}", self.url)).send(body))
    }

    pub(crate) fn options(&self, path: &str) -> Answer {
        answer(self.agent.options(format!("{}{path}", self.url)).call())
    }

    /// Sends a request that must succeed and returns the response.
    pub(crate) fn send<O: Operation>(&self, request: &Outgoing<O>) -> O::Response {
        let answer = self.post(request.route(), &request.text);
        assert_eq!(answer.status, 200, "{}: {}", O::ROUTE, answer.body);
        let reply = Reply::<'_, O::Response>::parse(answer.body.as_bytes()).expect("a reply");
        let server = *reply.server_identity();
        reply.verify(&server, &request.nonce).expect("signed, for this request")
    }
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let Ok(mut response) = response else {
        return Answer { status: 0, body: String::new(), headers: Default::default() };
    };
    let body = response.body_mut().read_to_string().unwrap_or_default();
    Answer { status: response.status().as_u16(), body, headers: response.headers().clone() }
}

impl Answer {
    /// The code of an error reply.
    pub(crate) fn code(&self) -> String {
        let error = client::ErrorReply::parse(self.body.as_bytes());
        error.map_or_else(|| panic!("no error reply: {}", self.body), |error| error.code)
    }

    /// The status, and the code of an error reply.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let error = client::ErrorReply::parse(self.body.as_bytes());
        (self.status, error.map(|error| error.code).unwrap_or_default())
    }
}

/// A chain of five keys.
pub(crate) fn chain() -> KeyChain {
    KeyChain::from_keys(std::iter::repeat_with(key).take(5)).expect("five keys")
}

pub(crate) fn sign<O: Operation>(operation: &O, key: &PrivateKey) -> Outgoing<O> {
    Outgoing::signed(operation, nonce(), key)
}

/// An account with its first device, which has never rotated.
pub(crate) struct Account {
    pub(crate) identity: Digest,
    pub(crate) device: Digest,
    pub(crate) keys: KeyChain,
    pub(crate) recovery: PrivateKey,
}

impl Account {
    /// An account that is not registered yet, and the request for it.
    pub(crate) fn draft() -> (Self, Outgoing<CreateAccount>) {
        let (keys, recovery) = (chain(), key());
        let new = client::new_account(&keys, key_hash(recovery.public_key()));
        let account = Self { identity: new.identity, device: new.device, keys, recovery };
        let request = sign(&CreateAccount { authentication: new }, account.keys.current());
        (account, request)
    }

    pub(crate) fn create(http: &Http) -> Self {
        let (account, request) = Self::draft();
        http.send(&request);
        account
    }

    /// The members of the rotation that reveals the key at this place, and that key.
    pub(crate) fn rotation(&self, place: usize) -> (Authentication, &PrivateKey) {
        let reveal = self.keys.reveal(place).expect("five keys");
        (client::rotation(self.identity, self.device, &reveal), reveal.key)
    }

    pub(crate) fn challenge(&self, http: &Http) -> Nonce {
        let request: Outgoing<RequestSession> = Outgoing::request_session(self.identity, nonce());
        http.send(&request).authentication.nonce
    }

    /// The answer to a challenge, signed by the current key.
    pub(crate) fn answer(&self, challenge: Nonce, session: &KeyChain) -> Outgoing<CreateSession> {
        let current = self.keys.current();
        Outgoing::create_session(self.device, challenge, session, nonce(), current)
    }

    /// A session's keys and its first token.
    pub(crate) fn session(&self, http: &Http) -> (KeyChain, String) {
        let session = chain();
        let token = http.send(&self.answer(self.challenge(http), &session)).access.token;
        (session, token)
    }
}

pub(crate) fn refresh(token: &str, session: &KeyChain, place: usize) -> Outgoing<RefreshSession> {
    let reveal = session.reveal(place).expect("five keys");
    Outgoing::refresh_session(token.to_owned(), &reveal, nonce())
}

/// The response key that signed a reply.
pub(crate) fn server_of(body: &str) -> PublicKey {
    *Reply::<'_, serde_json::Value>::parse(body.as_bytes()).expect("a reply").server_identity()
}
