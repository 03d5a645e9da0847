//! How much one app instance serves, and what verifying costs. The numbers depend on the machine and the
//! build (`--release` for real ones); what is asserted is that every request was served and verified.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::{Nonce, PublicKey, SignedPayload, Timestamp};
use hsmd_client::Clock;
use hsmd_protocol::Reply;
use hsmd_protocol::access::{AccessWindow, Required, verify};
use hsmd_protocol::store::{AccessStore, ServerKeys, StoreError};
use tokio::task::JoinSet;

use crate::WINDOW;
use crate::fleet::stack::{Face, Fleet};
use crate::fleet::user::User;

const CONNECTIONS: usize = 8;
const REQUESTS: usize = 50;

/// The rules without their stores: every server key is endorsed, no nonce is used, no device revoked.
struct Admitted;

impl ServerKeys for Admitted {
    async fn is_endorsed(&self, _: &PublicKey, _: Timestamp) -> Result<bool, StoreError> {
        Ok(true)
    }
}

impl AccessStore for Admitted {
    async fn use_nonce(
        &self,
        _: &Nonce,
        _: Timestamp,
        _: AccessWindow,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn is_revoked(&self, _: &hsmd_chain::Digest) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accesses_through_one_app_and_the_cost_of_a_verification() {
    let fleet = Fleet::start().await;
    let user = Arc::new(User::enrol(&fleet.face).await);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };

    let mut connections = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..CONNECTIONS {
        connections.spawn(served(fleet.face.clone(), Arc::clone(&user)));
    }
    let key = connections.join_all().await[0];
    let rate = (CONNECTIONS * REQUESTS) as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{rate:.0} accesses a second through one app instance ({build} build, {CONNECTIONS} \
         connections; this client, who signs each request and verifies each reply, on the same machine)"
    );

    let required = Required { role: "user", permission: "read" };
    let requests: Vec<_> = std::iter::repeat_with(|| user.request()).take(REQUESTS).collect();
    let each = cost(&requests, async |(text, _)| {
        let (now, window) = (Clock::system().now(), AccessWindow::default());
        verify(text.as_bytes(), &Admitted, &Admitted, required, window, now).await.unwrap();
    })
    .await;
    println!("verifying an access request, token and request signature: {each:.1?}");

    let (_, text) = fleet.face.keys.get(&format!("/keys/{key}")).await;
    let signed = SignedPayload::parse(&text).unwrap();
    let log = &fleet.face.log;
    let check = || log.check_endorsement(&signed, "response", &key, WINDOW).unwrap();
    let verified = check();
    let first = cost(&requests, async |_| drop(check())).await;
    let again = cost(&requests, async |_| {
        log.recheck_endorsement(&verified, WINDOW).unwrap();
    })
    .await;
    println!("verifying an endorsement: {first:.1?}, once verified: {again:.1?}");
}

/// Makes and sends requests one after the other, over one connection, and verifies each reply.
async fn served(face: Face, user: Arc<User>) -> PublicKey {
    let mut server = None;
    for _ in 0..REQUESTS {
        let (text, nonce) = user.request();
        let (status, body) = face.app.post("/foo/bar", text).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let reply = Reply::<'_, serde_json::Value>::parse(&body).unwrap();
        let key = *server.get_or_insert(*reply.server_identity());
        reply.verify(&key, &nonce).unwrap();
    }
    server.unwrap()
}

/// The least time that a task took over these: what comes on top is the machine's other work.
async fn cost<T>(over: &[T], task: impl AsyncFn(&T)) -> Duration {
    let mut least = Duration::MAX;
    for item in over {
        let begun = Instant::now();
        task(item).await;
        least = least.min(begun.elapsed());
    }
    least
}
