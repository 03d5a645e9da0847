//! A device among servers: sends requests, believes only verified replies, and moves its keys on.

use std::{cell::Cell, time::Duration};

use hsmd_chain::{Anchor, cesr::Digest};
use hsmd_protocol::{
    Authentication, Empty, Operation, Reply,
    access::AccessMembers,
    client::{self, ErrorReply, KeyChain, Outgoing},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    arguments::Trusted,
    error::DeviceError,
    http::{Answer, Http},
    outside::{nonce, now, random},
    state::{Session, StateFile},
    trust::Trust,
};

/// The servers, and what they are measured by.
pub(crate) struct Servers {
    http: Http,
    keys_url: String,
    hsm: Anchor,
    timeout: Duration,
    /// The newest head of the key log that was verified.
    seen: Cell<Option<Anchor>>,
}

impl Servers {
    pub(crate) fn new(trusted: &Trusted) -> Self {
        Self {
            http: Http::new(trusted.timeout),
            keys_url: trusted.keys.clone(),
            hsm: trusted.hsm_identity,
            timeout: trusted.timeout,
            seen: Cell::new(None),
        }
    }

    /// Posts a request to the auth service and returns the verified response.
    fn exchange<O: Operation>(
        &self,
        auth_url: &str,
        request: &Outgoing<O>,
    ) -> Result<O::Response, DeviceError> {
        let answer = self.http.post(auth_url, request.route(), &request.text)?;
        let reply = read_reply(&answer)?;
        self.believe(reply, &request.nonce)
    }

    /// Gives the response if the server's key is endorsed and signed it for our request.
    fn believe<'a, R: Deserialize<'a>>(
        &self,
        reply: Reply<'a, R>,
        nonce: &hsmd_chain::Nonce,
    ) -> Result<R, DeviceError> {
        let key = *reply.server_identity();
        let trust = Trust {
            http: &self.http,
            keys_url: &self.keys_url,
            hsm: self.hsm,
            timeout: self.timeout,
        };
        let head = trust.response_key(&key, self.seen.get(), now())?;
        self.seen.set(Some(head));
        reply.verify(&key, nonce).map_err(DeviceError::Reply)
    }
}

fn read_reply<'a, R: Deserialize<'a>>(answer: &'a Answer) -> Result<Reply<'a, R>, DeviceError> {
    if answer.status == 200 {
        return Reply::parse(&answer.body).map_err(DeviceError::Reply);
    }
    match ErrorReply::parse(&answer.body) {
        Some(reply) => Err(DeviceError::Refused { status: answer.status, reply }),
        None => Err(DeviceError::NotAReply { url: answer.url.clone(), status: answer.status }),
    }
}

/// What a rotation commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The key after the revealed one.
    ToNextKey,
    /// No key at all: the device will never rotate again.
    ToNothing,
}

/// A device with its state and the auth service it belongs to.
pub(crate) struct Device {
    pub(crate) file: StateFile,
    servers: Servers,
    auth_url: String,
}

impl Device {
    pub(crate) fn new(file: StateFile, servers: Servers, auth_url: String) -> Self {
        servers.seen.set(file.state.hsm);
        Self { file, servers, auth_url }
    }

    pub(crate) fn identity(&self) -> Digest {
        self.file.state.identity
    }

    pub(crate) fn device(&self) -> Digest {
        self.file.state.device
    }

    /// Sends a request whose keys are in the state, which is written first.
    pub(crate) fn send<O: Operation>(
        &mut self,
        request: &Outgoing<O>,
    ) -> Result<O::Response, DeviceError> {
        self.file.save()?;
        let response = self.servers.exchange(&self.auth_url, request);
        self.file.state.hsm = self.servers.seen.get();
        response
    }

    /// Sends an operation that rotates the authentication key. If the outcome of an earlier one is not
    /// known, the server may hold the key before or after it, and both are tried.
    pub(crate) fn rotate<O: Operation<Response = Empty>>(
        &mut self,
        operation: impl Fn(Authentication) -> O,
        commit: Commit,
    ) -> Result<(), DeviceError> {
        let mut places = self.file.state.keys.places().peekable();
        while let Some(place) = places.next() {
            let state = &mut self.file.state;
            state.keys.prepare(place, &mut random());
            let Some(reveal) = state.keys.reveal(place) else { continue };
            let reveal = if commit == Commit::ToNothing { reveal.last() } else { reveal };
            let rotation = client::rotation(state.identity, state.device, &reveal);
            let request = Outgoing::signed(&operation(rotation), nonce(), reveal.key);
            match self.send(&request) {
                Ok(Empty {}) => {
                    self.file.state.keys.confirm(place);
                    return self.file.save();
                }
                Err(error) if uncommitted(&error) && places.peek().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Begins a session with the key that the server holds, which this also finds out.
    pub(crate) fn begin_session(&mut self) -> Result<(), DeviceError> {
        let candidates: Vec<_> =
            self.file.state.keys.candidates().map(|(place, key)| (place, key.clone())).collect();
        let last = candidates.len() - 1;
        for (place, key) in candidates {
            let request = Outgoing::request_session(self.identity(), nonce());
            let challenge = self.send(&request)?.authentication.nonce;
            let keys = KeyChain::generate(&mut random());
            let device = self.device();
            let request = Outgoing::create_session(device, challenge, &keys, nonce(), &key);
            match self.send(&request) {
                Ok(reply) => {
                    self.file.state.keys.confirm(place);
                    self.file.state.session = Some(Session { keys, token: reply.access.token });
                    return self.file.save();
                }
                Err(error) if misjudged(&error) && place < last => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Continues the session.
    pub(crate) fn refresh_session(&mut self) -> Result<(), DeviceError> {
        let session = self.file.state.session.as_mut().ok_or(DeviceError::NoSession)?;
        session.keys.prepare(1, &mut random());
        let Some(reveal) = session.keys.reveal(1) else { return Err(DeviceError::NoSession) };
        let request = Outgoing::refresh_session(session.token.clone(), &reveal, nonce());
        let reply = self.send(&request)?;
        if let Some(session) = &mut self.file.state.session {
            session.keys.confirm(1);
            session.token = reply.access.token;
        }
        self.file.save()
    }
}

/// Sends a request to an application and returns the verified response's text.
pub(crate) fn access(
    file: &mut StateFile,
    servers: &Servers,
    app_url: &str,
    path: &str,
    request: &str,
) -> Result<String, DeviceError> {
    let session = file.state.session.as_ref().ok_or(DeviceError::NoSession)?;
    let members =
        AccessMembers { nonce: nonce(), timestamp: now().into(), token: session.token.clone() };
    let message = client::access_request(&members, request, session.keys.current())
        .map_err(|error| DeviceError::Argument("the request", error))?;
    servers.seen.set(file.state.hsm);
    let answer = servers.http.post(app_url, path, &message)?;
    let response: &RawValue = servers.believe(read_reply(&answer)?, &members.nonce)?;
    file.state.hsm = servers.seen.get();
    file.save()?;
    Ok(response.get().to_owned())
}

/// The server holds another key than the one before the revealed one.
fn uncommitted(error: &DeviceError) -> bool {
    error.refusal() == Some((401, "BA104"))
}

/// The server holds another key than the one that signed.
fn misjudged(error: &DeviceError) -> bool {
    error.refusal() == Some((401, "BA101"))
}
