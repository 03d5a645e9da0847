//! The call context: what is known of a call before its request is read, made once, and what its service
//! adds for the record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hsmd_chain::{Digest, Timestamp};
use http::HeaderMap;
use parking_lot::Mutex;
use tonic::{Request, Status};
use tracing::Span;

use super::trace;
use crate::authz::{Caller, Denied, Peer};
use crate::config::well_formed;
use crate::daemon::state::Shared;
use crate::grpc::convert;
use crate::grpc::transport::ConnectionInfo;

/// The header of a call's id, in requests and in answers.
pub const REQUEST_ID: &str = "x-request-id";

/// Which listener a call came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Signer, KeyLog, health, reflection.
    Service,
    /// Admin, health, reflection.
    Admin,
}

/// A call.
#[derive(Debug)]
pub struct CallContext {
    pub listener: Listener,
    /// One of a known set, whatever was asked for: it becomes a label.
    pub method: &'static str,
    pub peer: Arc<Peer>,
    /// The caller, or on the admin listener the admin, that the peer is.
    pub caller: Result<Caller, Denied>,
    pub at: Timestamp,
    pub deadline: Option<Instant>,
    /// When the connection is as old as it may be.
    pub connection_old_at: Instant,
    pub request_id: Arc<str>,
    pub span: Span,
    facts: Mutex<Facts>,
}

/// What only the service can know.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The purpose that was asked for.
    pub purpose: Option<String>,
    /// The generation that an admin moved to.
    pub generation: Option<Digest>,
    /// The number of the oldest generation that signed what the reply carries.
    pub signed_by: Option<u32>,
    /// What was signed, where that is recorded.
    pub signed: Vec<SignedBodies>,
}

/// What one generation signed for one purpose.
#[derive(Clone, Debug)]
pub struct SignedBodies {
    pub purpose: String,
    pub generation: Digest,
    /// The digests of the bodies.
    pub bodies: Vec<String>,
}

impl CallContext {
    /// Looks at who calls, what, and until when.
    pub fn new<B>(
        shared: &Shared,
        listener: Listener,
        request: &http::Request<B>,
    ) -> Result<Self, Status> {
        let connection = request.extensions().get::<ConnectionInfo>();
        let connection =
            connection.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let at = shared.clock.now().map_err(|error| Status::internal(error.to_string()))?;
        let peer = Arc::clone(&connection.peer);
        let caller = identify(shared, listener, &peer, at);
        let method = method(request.uri().path());
        let request_id = request_id(request.headers());
        Ok(Self {
            listener,
            method,
            peer,
            caller,
            at,
            deadline: convert::deadline(request.headers()),
            connection_old_at: connection.old_at,
            span: trace::span(method, &request_id, request.headers()),
            request_id,
            facts: Mutex::default(),
        })
    }

    /// The context of a request that has passed the layers.
    pub fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        let context = request.extensions().get::<Arc<Self>>();
        context.cloned().ok_or_else(|| Status::internal("the call has no context"))
    }

    /// The caller's name in the configuration, if the peer has one.
    pub fn caller_name(&self) -> Option<&str> {
        self.caller.as_ref().ok().map(Caller::name)
    }

    /// Notes the purpose that was asked for.
    pub fn note_purpose(&self, purpose: &str) {
        // Anything else is a piece of a payload, which no record may hold.
        if well_formed(purpose) {
            self.facts.lock().purpose = Some(purpose.to_owned());
        }
    }

    /// Notes the generation that an admin moved to.
    pub fn note_generation(&self, id: Digest) {
        self.facts.lock().generation = Some(id);
    }

    /// Notes that the reply carries a signature of this generation: from now on the release check decides
    /// whether the reply leaves.
    pub fn note_signed(&self, sequence_number: u32) {
        let mut facts = self.facts.lock();
        let oldest = facts.signed_by.map_or(sequence_number, |oldest| oldest.min(sequence_number));
        facts.signed_by = Some(oldest);
    }

    /// Notes the digest of a body that was signed, for the record. One batch may have several purposes, and
    /// several generations where a rotation comes in between.
    pub fn note_body(&self, purpose: &str, generation: Digest, body: &str) {
        let body = Digest::of(body.as_bytes()).to_string();
        let mut facts = self.facts.lock();
        let same = |of: &&mut SignedBodies| of.purpose == purpose && of.generation == generation;
        match facts.signed.iter_mut().find(same) {
            Some(of) => of.bodies.push(body),
            None => facts.signed.push(SignedBodies {
                purpose: purpose.to_owned(),
                generation,
                bodies: vec![body],
            }),
        }
    }

    /// What the service has noted, to be taken once.
    pub fn take_facts(&self) -> Facts {
        std::mem::take(&mut *self.facts.lock())
    }
}

/// The caller, or on the admin listener the admin, that a peer is.
pub fn identify(
    shared: &Shared,
    listener: Listener,
    peer: &Peer,
    at: Timestamp,
) -> Result<Caller, Denied> {
    let policy = shared.policy.load();
    match listener {
        Listener::Service => policy.caller(peer, at),
        Listener::Admin => policy.admin_caller(peer, at),
    }
}

/// The method of a path, or "other".
fn method(path: &str) -> &'static str {
    const METHODS: [&str; 10] = [
        "hsmd.v1.Signer/Endorse",
        "hsmd.v1.Signer/Sign",
        "hsmd.v1.Signer/SignBatch",
        "hsmd.v1.KeyLog/GetHead",
        "hsmd.v1.KeyLog/ListEvents",
        "hsmd.v1.KeyLog/WatchEvents",
        "hsmd.v1.Admin/Status",
        "hsmd.v1.Admin/Rotate",
        "hsmd.v1.Admin/Taint",
        "hsmd.v1.Admin/ListActions",
    ];
    let known = METHODS.into_iter().find(|known| path.strip_prefix('/') == Some(known));
    known.and_then(|known| known.split_once('/')).map_or("other", |(_, method)| method)
}

/// The caller's request id, if it is fit for a log, or one of our own.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic()))
        .map_or_else(
            || format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into(),
            Arc::from,
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn methods_are_of_a_known_set() {
        assert_eq!(method("/hsmd.v1.Signer/Sign"), "Sign");
        for other in ["", "/", "/hsmd.v1.Signer/", "hsmd.v1.Signer/Sign", "/hsmd.v1.Signer/sign"] {
            assert_eq!(method(other), "other", "{other}");
        }
    }

    #[test]
    fn ids_are_fit_for_a_log() {
        let with = |id: &'static [u8]| {
            let value = HeaderValue::from_bytes(id).unwrap();
            request_id(&HeaderMap::from_iter([(http::HeaderName::from_static(REQUEST_ID), value)]))
                .to_string()
        };
        assert_eq!(with(b"of-the-caller/7"), "of-the-caller/7");
        let ours = std::process::id().to_string();
        let long: &'static [u8] = &[b'a'; 65];
        for bad in [b"".as_slice(), b"two words", b"a\tb", "ü".as_bytes(), long] {
            assert!(with(bad).starts_with(&ours), "{bad:?}");
        }
    }
}
